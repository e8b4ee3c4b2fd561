// SPDX-License-Identifier: Apache-2.0
//
// The process's kernel mappings. See kernel_mappings.h. The one static counter
// adds up all devices.
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "backend/common/kernel_mappings.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/checked.h"
#include "base/error.h"

static tegi_atomic_u64 process_count;

void tegi_mappings_init(tegi_mappings* mappings, const char* device_name,
                        uint64_t wanted_limit) {
  uint64_t ours = tegi_load_relaxed(&process_count);
  uint64_t others = tegi_mappings_kernel_count();
  others = others > ours ? others - ours : 0;
  uint64_t kept = others + TEGI_MAPPINGS_RESERVE;
  uint64_t limit = tegi_mappings_kernel_limit();
  // 0 would read as "no limit".
  limit = limit > kept ? limit - kept : 1;
  mappings->device_name = device_name;
  mappings->is_own = false;
  mappings->process_limit = limit;
  mappings->limit = wanted_limit ? tegi_min_u64(wanted_limit, limit) : limit;
  tegi_store_relaxed(&mappings->count, 0);
}

void tegi_mappings_init_own(tegi_mappings* mappings, const char* device_name,
                            uint64_t limit) {
  mappings->device_name = device_name;
  mappings->is_own = true;
  mappings->process_limit = UINT64_MAX;
  mappings->limit = limit;
  tegi_store_relaxed(&mappings->count, 0);
}

void tegi_mappings_sub(tegi_mappings* mappings, uint64_t count) {
  tegi_fetch_add_relaxed(&mappings->count, (uint64_t)0 - count);
  if (!mappings->is_own) {
    tegi_fetch_add_relaxed(&process_count, (uint64_t)0 - count);
  }
}

teg_result tegi_mappings_add(tegi_mappings* mappings, uint64_t count,
                             teg_error* err) {
  uint64_t own = tegi_fetch_add_relaxed(&mappings->count, count) + count;
  uint64_t all = 0;
  if (!mappings->is_own) {
    all = tegi_fetch_add_relaxed(&process_count, count) + count;
  }
  if (own <= mappings->limit && all <= mappings->process_limit) return TEG_OK;
  tegi_mappings_sub(mappings, count);
  tegi_error_set(err, TEG_LIMIT,
                 "%llu more mappings would pass the limit: this %s device has "
                 "%llu of at most %llu",
                 (unsigned long long)count, mappings->device_name,
                 (unsigned long long)(own - count),
                 (unsigned long long)mappings->limit);
  if (!mappings->is_own) {
    tegi_error_append(err,
                      ", all devices of the process %llu of the kernel's %llu",
                      (unsigned long long)(all - count),
                      (unsigned long long)mappings->process_limit);
  }
  return TEG_LIMIT;
}

uint64_t tegi_mappings_kernel_limit(void) {
  unsigned long long limit = 65530;
  FILE* file = fopen("/proc/sys/vm/max_map_count", "re");
  if (file) {
    if (fscanf(file, "%llu", &limit) != 1) limit = 65530;
    fclose(file);
  }
  return limit;
}

uint64_t tegi_mappings_kernel_count(void) {
  char block[4096];
  uint64_t count = 0;
  int file = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
  if (file < 0) return 0;
  ssize_t got;
  while ((got = read(file, block, sizeof block)) > 0) {
    const char* at = block;
    const char* end = block + got;
    while ((at = memchr(at, '\n', (size_t)(end - at))) != NULL) {
      count++;
      at++;
    }
  }
  close(file);
  return count;
}
