// SPDX-License-Identifier: Apache-2.0
//
// The null device from outside: host with the lights on, for tests. Batches
// execute exactly when told (inside wait, or teg_null_run_batches), calls
// fail on demand, the memory can be made smaller, memory that its owner has
// not written yet reads as TEG_NULL_POISON, and each command is checked by
// physical bytes (see check.h).
//
// A hazard found in a command is the result of its batch, TEG_HAZARD, with
// the text in the error of the wait that reports it. Mapping or unmapping
// tiles that unfinished commands touch, and mapping a tile twice, is refused
// with TEG_HAZARD. Destroying such memory cannot be refused: it is counted,
// and the commands are not run. All of them count in teg_null_report.
//
// Every function takes a device opened from the backend "null"; with another
// one, or NULL, it returns TEG_INVALID or 0. Threads: any.
#ifndef TEGULA_NULL_H
#define TEGULA_NULL_H

#include "tegula/backend.h"

#ifdef __cplusplus
extern "C" {
#endif

// What bytes read as, as a repeated little-endian 32-bit word, until their
// owner writes them. As a float it is not a number.
#define TEG_NULL_POISON UINT32_C(0x7fc0dead)

// Groups of calls that can be made to fail.
typedef uint32_t teg_null_calls;
enum {
  TEG_NULL_BUFFER_CREATE = 1u << 0,
  TEG_NULL_HEAP_CREATE = 1u << 1,
  TEG_NULL_RANGE_RESERVE = 1u << 2,
  TEG_NULL_MAP = 1u << 3,
  TEG_NULL_UNMAP = 1u << 4,
  TEG_NULL_STREAM_CREATE = 1u << 5,
  TEG_NULL_RECORD = 1u << 6,
  TEG_NULL_SUBMIT = 1u << 7,
  TEG_NULL_WAIT = 1u << 8,
  TEG_NULL_ALL_CALLS = (1u << 9) - 1,
};

// From now on calls in |calls| are counted, and number |k| (1 = the next)
// fails with |result|, and with it the calls after it until |count| have
// failed (UINT64_MAX = all of them). Nothing reaches the device in a call
// that fails. |k| 0 disarms.
TEG_API TEG_NODISCARD teg_result teg_null_fail(teg_backend_device* device,
                                               teg_null_calls calls, uint64_t k,
                                               uint64_t count,
                                               teg_result result);

// Buffers and heaps may hold |bytes| together; more is TEG_OUT_OF_MEMORY.
// What is held already stays. UINT64_MAX, the default: as the host allows.
TEG_API TEG_NODISCARD teg_result teg_null_set_budget(teg_backend_device* device,
                                                     uint64_t bytes);

// Executes up to |max_count| submitted batches, oldest first; returns how
// many there were.
TEG_API uint64_t teg_null_run_batches(teg_backend_device* device,
                                      uint64_t max_count);

typedef struct teg_null_report {
  uint32_t struct_size;
  uint64_t hazard_count;
  uint64_t counted_calls;  // calls in the armed groups since teg_null_fail()
  uint64_t failed_calls;   // those of them that were made to fail
  uint64_t used_bytes;     // in buffers and heaps
  char first_hazard[512];  // "" = none
} teg_null_report;

#define TEG_NULL_REPORT_INIT                   \
  {                                            \
    sizeof(teg_null_report), 0, 0, 0, 0, { 0 } \
  }

TEG_API TEG_NODISCARD teg_result
teg_null_get_report(teg_backend_device* device, teg_null_report* out_report);

// Forgets the hazards found so far.
TEG_API void teg_null_reset_report(teg_backend_device* device);

#ifdef __cplusplus
}
#endif

#endif  // TEGULA_NULL_H
