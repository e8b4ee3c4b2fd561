// SPDX-License-Identifier: Apache-2.0
//
// The driver's objects behind a checked device's. What the program does with
// them is not followed: a buffer whose handle it has taken is FOREIGN.
#include "backend/check/check_backend.h"

static const teg_native_ops* native_of(const tegi_checkdev* device) {
  return device->tables->native;
}

static teg_result describe_device(teg_backend_device* base, void* out,
                                  teg_error* err) {
  tegi_checkdev* device = tegi_checkdev_from(base);
  return native_of(device)->describe_device(device->inner, out, err);
}

static teg_result describe_memory(teg_backend_device* base, teg_memory* memory,
                                  uint64_t offset, void* out, teg_error* err) {
  tegi_checkdev* device = tegi_checkdev_from(base);
  teg_memory* inner = tegi_checkdev_memory_from(memory)->inner;
  return native_of(device)->describe_memory(device->inner, inner, offset, out,
                                            err);
}

static teg_result describe_stream(teg_queue_stream* queue_stream, void* out,
                                  teg_error* err) {
  tegi_checkdev_stream* stream = tegi_checkdev_stream_from(queue_stream);
  return native_of(stream->device)->describe_stream(stream->inner, out, err);
}

static teg_result record_wait(teg_queue_stream* queue_stream, const void* event,
                              teg_error* err) {
  tegi_checkdev_stream* stream = tegi_checkdev_stream_from(queue_stream);
  return native_of(stream->device)->record_wait(stream->inner, event, err);
}

teg_native_ops tegi_checkdev_native_ops(const tegi_checkdev* device) {
  return (teg_native_ops){
      .abi_version = TEG_BACKEND_ABI_VERSION,
      .struct_size = sizeof(teg_native_ops),
      .backend = native_of(device)->backend,
      .describe_device = describe_device,
      .describe_memory = describe_memory,
      .describe_stream = describe_stream,
      .record_wait = record_wait,
  };
}
