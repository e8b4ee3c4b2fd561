// SPDX-License-Identifier: Apache-2.0
//
// The driver's objects behind tegula's: arguments are checked here, the rest
// is the backend's.
#include <string.h>

#include "base/error.h"
#include "core/objects.h"
#include "tegula/native.h"

// The device's native group, if |backend| is who has it.
static teg_result find_group(const teg_device* device, const char* backend,
                             const teg_native_ops** out_ops, teg_error* err) {
  *out_ops = device->tables.native;
  if (*out_ops && strcmp((*out_ops)->backend, backend) == 0) return TEG_OK;
  return tegi_error_set(err, TEG_UNSUPPORTED,
                        "a device of backend \"%.30s\" has no objects of "
                        "\"%.30s\"%s",
                        device->backend_name, backend,
                        strcmp(device->backend_name, backend) == 0
                            ? " that may be used past its checks"
                            : "");
}

teg_result teg_device_native(const teg_device* device, const char* backend,
                             void* out, teg_error* err) {
  TEG_REQUIRE(device && backend && out, err,
              "device_native: device, backend or out is NULL");
  const teg_native_ops* native;
  teg_result result = find_group(device, backend, &native, err);
  if (result != TEG_OK) return result;
  return native->describe_device(device->backend, out, err);
}

teg_result teg_buffer_native(const teg_buffer* buffer, const char* backend,
                             void* out, teg_error* err) {
  TEG_REQUIRE(buffer && backend && out, err,
              "buffer_native: buffer, backend or out is NULL");
  const teg_device* device = buffer->session->device;
  const teg_native_ops* native;
  teg_result result = find_group(device, backend, &native, err);
  if (result != TEG_OK) return result;
  TEG_REQUIRE(buffer->flags & TEG_BUFFER_FOREIGN, err,
              "buffer_native: buffer %llu was not made with "
              "TEG_BUFFER_FOREIGN, tegula would not see its use",
              (unsigned long long)buffer->number);
  return native->describe_memory(device->backend, buffer->block.extent->memory,
                                 buffer->block.offset, out, err);
}

teg_result teg_stream_native(const teg_stream* stream, const char* backend,
                             void* out, teg_error* err) {
  TEG_REQUIRE(stream && backend && out, err,
              "stream_native: stream, backend or out is NULL");
  const teg_native_ops* native;
  teg_result result =
      find_group(stream->session->device, backend, &native, err);
  if (result != TEG_OK) return result;
  return native->describe_stream(stream->queue, out, err);
}

teg_result teg_stream_wait_native(teg_stream* stream, const char* backend,
                                  const void* event, teg_error* err) {
  TEG_REQUIRE(stream && backend && event, err,
              "stream_wait_native: stream, backend or event is NULL");
  const teg_native_ops* native;
  teg_result result =
      find_group(stream->session->device, backend, &native, err);
  if (result != TEG_OK) return result;
  tegi_store_relaxed(&stream->thread, tegi_thread_self());
  return native->record_wait(stream->queue, event, err);
}
