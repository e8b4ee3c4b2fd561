// SPDX-License-Identifier: Apache-2.0
//
// The bind stream. See binds.h.
#include "core/binds.h"

#include "base/error.h"
#include "core/objects.h"

teg_result tegi_binds_init(teg_device* device, teg_error* err) {
  tegi_binds* binds = &device->binds;
  if (tegi_mutex_init(&binds->mutex) != TEG_OK) {
    return tegi_error_set(err, TEG_OUT_OF_HOST_MEMORY,
                          "device_create: no host memory");
  }
  if (device->caps.remap == TEG_REMAP_QUEUE_ORDERED) {
    binds->stream = device->tables.remap->bind_stream(device->backend);
  }
  binds->has_mutex = true;
  return TEG_OK;
}

void tegi_binds_deinit(teg_device* device) {
  if (device->binds.has_mutex) tegi_mutex_destroy(&device->binds.mutex);
}

teg_result tegi_binds_begin(teg_device* device, const tegi_use_set* after,
                            teg_error* err) {
  tegi_binds* binds = &device->binds;
  if (!binds->stream) return TEG_OK;
  tegi_mutex_lock(&binds->mutex);
  if (!after || binds->is_wait_off) return TEG_OK;
  teg_result result =
      tegi_device_record_waits(device, binds->stream, after, err);
  return result == TEG_OK ? TEG_OK : tegi_binds_end(device, result, err);
}

teg_result tegi_binds_end(teg_device* device, teg_result result,
                          teg_error* err) {
  tegi_binds* binds = &device->binds;
  if (!binds->stream) return result;
  const teg_queue_ops* queue = device->tables.queue;
  if (result == TEG_OK) {
    uint64_t serial = tegi_load_relaxed(&binds->submitted) + 1;
    result = queue->submit(binds->stream, serial, err);
    if (result == TEG_OK) tegi_store_release(&binds->submitted, serial);
  }
  if (result != TEG_OK) queue->discard(binds->stream);
  tegi_mutex_unlock(&binds->mutex);
  return result;
}

teg_result tegi_binds_wait(teg_stream* stream, uint64_t* out_serial,
                           teg_error* err) {
  teg_device* device = stream->session->device;
  tegi_binds* binds = &device->binds;
  *out_serial = tegi_load_acquire(&binds->submitted);
  if (*out_serial <= stream->bound || binds->is_wait_off) return TEG_OK;
  return device->tables.queue->record_wait(stream->queue, binds->stream,
                                           *out_serial, err);
}
