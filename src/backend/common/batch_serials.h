// SPDX-License-Identifier: Apache-2.0
//
// The serials of a stream's batches: 1, 2, 3, in the order of submission
// (tegula/backend.h, teg_queue_ops).
#ifndef TEGULA_BACKEND_COMMON_BATCH_SERIALS_H
#define TEGULA_BACKEND_COMMON_BATCH_SERIALS_H

#include <stdint.h>

#include "base/error.h"

// TEG_INVALID unless |serial| is the one after |submitted|, the last one.
teg_result tegi_serial_check_next(uint64_t submitted, uint64_t serial,
                                  teg_error* err);
// TEG_BAD_STATE if |serial| is not submitted yet.
teg_result tegi_serial_check_submitted(uint64_t submitted, uint64_t serial,
                                       teg_error* err);

#endif  // TEGULA_BACKEND_COMMON_BATCH_SERIALS_H
