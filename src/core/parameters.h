// SPDX-License-Identifier: Apache-2.0
//
// Parameters of dispatches. Each stream keeps rings of slots of staging memory,
// by powers of four of their size. Content that a slot still has is bound
// again; else the next slot of the ring is written whose batches are complete.
// Slots are added while the stream has less than parameters_max.
#ifndef TEGULA_CORE_PARAMETERS_H
#define TEGULA_CORE_PARAMETERS_H

#include "policy/policy.h"
#include "tegula/stream.h"

enum {
  TEGI_PARAMETER_CLASSES = 5,  // 256 bytes to 64 KiB
  TEGI_PARAMETER_HEADS = 256,
};

typedef struct tegi_parameter_slot tegi_parameter_slot;
typedef struct tegi_parameter_page tegi_parameter_page;

// Slots of one size, in a ring.
typedef struct tegi_parameter_class {
  tegi_parameter_slot* last;    // used last; NULL = there are none
  tegi_parameter_slot* before;  // the one before the next to be written
} tegi_parameter_class;

typedef struct tegi_parameters {
  tegi_parameter_class classes[TEGI_PARAMETER_CLASSES];
  tegi_parameter_slot* heads[TEGI_PARAMETER_HEADS];  // by hash of the content
  tegi_parameter_page* pages;
  uint64_t bytes;
  uint64_t hit_count;
  uint64_t miss_count;
} tegi_parameters;

// The bytes of a slot with this content, for the batch being recorded.
// May submit the batch and wait, when all slots are in use and no more may be
// made. |size| is at most the device's max_parameter_bytes.
teg_result tegi_parameters_put(teg_stream* stream, const void* content,
                               uint32_t size, teg_span* out_span,
                               teg_error* err);

// Gives the memory back; the dispatches that read it are over or dropped.
void tegi_parameters_destroy(teg_stream* stream);

#endif  // TEGULA_CORE_PARAMETERS_H
