// SPDX-License-Identifier: Apache-2.0
//
// The memory of this process that is in RAM.
#ifndef TEGULA_CLI_RESIDENT_H
#define TEGULA_CLI_RESIDENT_H

#include <stdbool.h>
#include <stdint.h>

// Watches how much more of the process gets resident than at the beginning,
// where what the device holds is left out if that is the process's own memory.
typedef struct cli_resident {
  bool is_device_memory_counted;  // and so to be taken off
  int64_t begin_bytes;
  uint64_t looked_at_ns;
  int64_t peak_bytes;      // more than at the beginning
  int64_t peak_own_bytes;  // the same without the device's
} cli_resident;

// Bytes of the process that are resident; 0 if the system does not say.
uint64_t cli_resident_bytes(void);

void cli_resident_begin(cli_resident* resident, bool is_device_memory_counted);
// Looks, but not more often than every few milliseconds unless |is_forced|.
//   device_bytes  of the device, written by now
void cli_resident_look(cli_resident* resident, uint64_t device_bytes,
                       bool is_forced);

#endif  // TEGULA_CLI_RESIDENT_H
