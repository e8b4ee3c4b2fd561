// SPDX-License-Identifier: Apache-2.0
//
// The bytes touched since the last barrier, as a short list: most batches have
// barriers often. When the list is full a barrier empties it.
#include "core/barriers.h"

#include "core/objects.h"

static bool conflicts(const tegi_touched* before, const teg_binding* next) {
  return (before->is_written || next->is_written) &&
         before->memory == next->span.memory &&
         before->offset < next->span.offset + next->span.size &&
         next->span.offset < before->end;
}

static bool needs_barrier(const tegi_barriers* barriers,
                          const teg_binding* bindings, uint32_t count) {
  if (!barriers->has_begun) return true;
  if (barriers->count + count > TEGI_BARRIER_SPANS) return true;
  for (uint32_t i = 0; i < barriers->count; ++i) {
    for (uint32_t j = 0; j < count; ++j) {
      if (conflicts(&barriers->touched[i], &bindings[j])) return true;
    }
  }
  return false;
}

teg_result tegi_barriers_before(teg_stream* stream, const teg_binding* bindings,
                                uint32_t binding_count, teg_error* err) {
  teg_device* device = stream->session->device;
  tegi_barriers* barriers = &stream->barriers;
  if (!device->is_barrier_off &&
      needs_barrier(barriers, bindings, binding_count)) {
    teg_result result =
        device->tables.queue->record_barrier(stream->queue, err);
    if (result != TEG_OK) return result;
    barriers->has_begun = true;
    barriers->count = 0;
  }
  uint32_t room = TEGI_BARRIER_SPANS - barriers->count;
  if (binding_count > room) binding_count = room;
  tegi_touched* touched = &barriers->touched[barriers->count];
  for (uint32_t i = 0; i < binding_count; ++i) {
    const teg_span* span = &bindings[i].span;
    touched[i].memory = span->memory;
    touched[i].offset = span->offset;
    touched[i].end = span->offset + span->size;
    touched[i].is_written = bindings[i].is_written;
  }
  barriers->count += binding_count;
  return TEG_OK;
}
