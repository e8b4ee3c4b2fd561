// SPDX-License-Identifier: Apache-2.0
//
// What the hazard checker has found on a device that was opened with the
// option check=on (null is always checked). It follows each byte of device
// memory, whatever addresses and buffers name it, and reports what would be
// wrong on some device, if not on this one: two commands that meet on bytes,
// one of them writing, and that no barrier or wait orders; tiles moved under
// commands that use them, or used before they are there; CPU access to bytes
// that commands still use; bytes read that their owner has not written.
//
// A command found wrong runs all the same; the wait for its batch returns
// TEG_HAZARD with the text. What acts at once, such as a map of a buffer, is
// refused with TEG_HAZARD. Checking costs time and host memory.
#ifndef TEGULA_CHECK_H
#define TEGULA_CHECK_H

#include "tegula/device.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct teg_check_report {
  uint32_t struct_size;
  uint64_t hazard_count;
  char first_hazard[512];  // names commands, bytes and owners; "" = none
} teg_check_report;

#define TEG_CHECK_REPORT_INIT          \
  {                                    \
    sizeof(teg_check_report), 0, { 0 } \
  }

// Fills |out_report| with what was found since the device was opened or the
// report was reset. Returns TEG_UNSUPPORTED where nothing is checked.
// Threads: any.
TEG_API TEG_NODISCARD teg_result teg_device_get_check_report(
    teg_device* device, teg_check_report* out_report, teg_error* err);

// Forgets what was found so far.
TEG_API void teg_device_reset_check_report(teg_device* device);

#ifdef __cplusplus
}
#endif

#endif  // TEGULA_CHECK_H
