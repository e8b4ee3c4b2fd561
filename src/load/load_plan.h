// SPDX-License-Identifier: Apache-2.0
//
// What a load is going to do, worked out before anything is read or made:
// which tensors, into which buffers, and whether the device has room for it.
#ifndef TEGULA_LOAD_LOAD_PLAN_H
#define TEGULA_LOAD_LOAD_PLAN_H

#include "core/objects.h"
#include "tegula/load.h"

#define TEGI_NO_BUFFER UINT64_MAX

// One tensor: where its bytes are, and where they go.
typedef struct tegi_placement {
  uint64_t tensor;  // index in the model
  uint64_t file_offset;
  uint64_t file_bytes;
  uint64_t buffer;  // index; TEGI_NO_BUFFER = nothing of it is kept
  uint64_t offset;  // in the buffer
  uint64_t bytes;   // in the buffer
  uint32_t file;    // index in the model
  bool is_converted;
} tegi_placement;

typedef struct tegi_load_plan {
  tegi_placement* placements;  // in the order of the files' bytes
  uint64_t placement_count;
  uint64_t* buffer_bytes;  // sizes of the buffers
  uint64_t buffer_count;
  uint64_t file_bytes;           // to be read
  uint64_t device_bytes;         // of all buffers, as they are rounded at least
  uint64_t most_original_bytes;  // of a tensor that is converted
  // Room that was asked for in the arrays.
  uint64_t capacity;
} tegi_load_plan;

// Returns TEG_INVALID for what is wrong with |params|. What is made is given
// back by tegi_load_plan_destroy, on failure, too.
teg_result tegi_load_plan_make(const teg_session* session,
                               const teg_model* model,
                               const teg_load_params* params,
                               tegi_load_plan* out_plan, teg_error* err);
void tegi_load_plan_destroy(tegi_host* host, tegi_load_plan* plan);

// The placement of tensor |tensor|, NULL if it is not loaded.
const tegi_placement* tegi_placement_find(const tegi_placement* placements,
                                          uint64_t count, uint64_t tensor);

// TEG_OVER_BUDGET or TEG_OUT_OF_MEMORY, with what is missing, if the buffers
// and |more_bytes| beside them cannot fit, whatever is given back first.
teg_result tegi_load_plan_check_room(teg_session* session,
                                     const tegi_load_plan* plan,
                                     uint64_t more_bytes, teg_error* err);

#endif  // TEGULA_LOAD_LOAD_PLAN_H
