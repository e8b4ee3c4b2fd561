// SPDX-License-Identifier: Apache-2.0
//
// Resident memory, as Linux counts it.
#include "resident.h"

#include <inttypes.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

enum { INTERVAL_NS = 5000000 };

uint64_t cli_resident_bytes(void) {
  FILE* file = fopen("/proc/self/statm", "re");
  if (!file) return 0;
  uint64_t pages = 0;
  int count = fscanf(file, "%*u %" SCNu64, &pages);
  fclose(file);
  return count == 1 ? pages * (uint64_t)sysconf(_SC_PAGESIZE) : 0;
}

static uint64_t now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

void cli_resident_begin(cli_resident* resident, bool is_device_memory_counted) {
  *resident = (cli_resident){
      .is_device_memory_counted = is_device_memory_counted,
      .begin_bytes = (int64_t)cli_resident_bytes(),
  };
}

void cli_resident_look(cli_resident* resident, uint64_t device_bytes,
                       bool is_forced) {
  uint64_t now = now_ns();
  if (!is_forced && now - resident->looked_at_ns < INTERVAL_NS) return;
  resident->looked_at_ns = now;
  int64_t more = (int64_t)cli_resident_bytes() - resident->begin_bytes;
  if (more > resident->peak_bytes) resident->peak_bytes = more;
  if (resident->is_device_memory_counted) more -= (int64_t)device_bytes;
  if (more > resident->peak_own_bytes) resident->peak_own_bytes = more;
}
