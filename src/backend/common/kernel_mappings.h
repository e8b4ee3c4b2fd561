// SPDX-License-Identifier: Apache-2.0
//
// Kernel mappings of this process, which the kernel limits. Devices whose
// tiles are mappings (host, and Vulkan on a driver that runs on the CPU) take
// what they need from here before they map anything. All devices of the
// process share one count, because they share the kernel's limit.
#ifndef TEGULA_BACKEND_COMMON_KERNEL_MAPPINGS_H
#define TEGULA_BACKEND_COMMON_KERNEL_MAPPINGS_H

#include "base/atomic.h"
#include "tegula/result.h"

// Mappings left to the rest of the process.
#define TEGI_MAPPINGS_RESERVE UINT64_C(2048)

// What one device may map and has mapped. Threads: any.
typedef struct tegi_mappings {
  const char* device_name;  // for errors
  bool is_own;              // not the kernel's: the process does not count
  uint64_t limit;           // of this device
  uint64_t process_limit;   // of all devices together, at init
  tegi_atomic_u64 count;
} tegi_mappings;

// Sets the limits from what the process has mapped now; |wanted_limit| > 0
// lowers the device's own.
void tegi_mappings_init(tegi_mappings* mappings, const char* device_name,
                        uint64_t wanted_limit);
// As above where tiles are no kernel mappings and only |limit| counts.
void tegi_mappings_init_own(tegi_mappings* mappings, const char* device_name,
                            uint64_t limit);
// Takes |count| mappings, or none. TEG_LIMIT.
teg_result tegi_mappings_add(tegi_mappings* mappings, uint64_t count,
                             teg_error* err);
void tegi_mappings_sub(tegi_mappings* mappings, uint64_t count);

// The kernel's limit on mappings of a process, and how many it has.
uint64_t tegi_mappings_kernel_limit(void);
uint64_t tegi_mappings_kernel_count(void);

#endif  // TEGULA_BACKEND_COMMON_KERNEL_MAPPINGS_H
