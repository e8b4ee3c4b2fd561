// SPDX-License-Identifier: Apache-2.0
#include "backend/common/batch_serials.h"

teg_result tegi_serial_check_next(uint64_t submitted, uint64_t serial,
                                  teg_error* err) {
  uint64_t next = submitted + 1;
  if (serial == next) return TEG_OK;
  return tegi_error_set(err, TEG_INVALID,
                        "batch %llu is submitted where %llu is next",
                        (unsigned long long)serial, (unsigned long long)next);
}

teg_result tegi_serial_check_submitted(uint64_t submitted, uint64_t serial,
                                       teg_error* err) {
  if (serial <= submitted) return TEG_OK;
  return tegi_error_set(
      err, TEG_BAD_STATE, "batch %llu is not submitted; the last one is %llu",
      (unsigned long long)serial, (unsigned long long)submitted);
}
