// SPDX-License-Identifier: Apache-2.0
//
// Streams of a checked device: each command is noted by the checker, then
// recorded on the device.
#include "backend/check/check_backend.h"
#include "backend/check/check_wrap.h"
#include "base/error.h"

#define STREAM_MAGIC 0x63687374u

enum { MOST_SPANS = TEG_MOST_BINDINGS + 2 };  // parameters, indirect counts

tegi_checkdev_stream* tegi_checkdev_stream_from(teg_queue_stream* stream) {
  tegi_checkdev_stream* checked = (tegi_checkdev_stream*)(void*)stream;
  TEG_ASSERT(checked && checked->magic == STREAM_MAGIC);
  return checked;
}

static const teg_queue_ops* queue_of(const tegi_checkdev_stream* stream) {
  return stream->device->tables->queue;
}

// ---- Life.

teg_result tegi_checkdev_stream_make(tegi_checkdev* device, bool is_bind,
                                     teg_queue_stream* inner,
                                     tegi_checkdev_stream** out_stream,
                                     teg_error* err) {
  *out_stream = NULL;
  tegi_checkdev_stream* stream = tegi_host_alloc(&device->host, sizeof *stream);
  if (!stream) {
    return tegi_error_set(err, TEG_OUT_OF_HOST_MEMORY,
                          "no host memory for a stream");
  }
  stream->magic = STREAM_MAGIC;
  stream->device = device;
  stream->inner = inner;
  teg_result result =
      tegi_hazard_stream_add(device->hazard, is_bind, &stream->hazard, err);
  if (result != TEG_OK) {
    tegi_host_free(&device->host, stream, sizeof *stream);
    return result;
  }
  tegi_mutex_lock(&device->mutex);
  stream->next = device->streams;
  if (stream->next) stream->next->previous = stream;
  device->streams = stream;
  tegi_mutex_unlock(&device->mutex);
  *out_stream = stream;
  return TEG_OK;
}

static void stream_unlink(tegi_checkdev_stream* stream) {
  tegi_checkdev* device = stream->device;
  tegi_mutex_lock(&device->mutex);
  if (stream->previous) {
    stream->previous->next = stream->next;
  } else {
    device->streams = stream->next;
  }
  if (stream->next) stream->next->previous = stream->previous;
  tegi_mutex_unlock(&device->mutex);
}

static void stream_free(tegi_checkdev_stream* stream) {
  tegi_checkdev* device = stream->device;
  tegi_hazard_stream_remove(device->hazard, stream->hazard);
  stream->magic = 0;
  tegi_host_free(&device->host, stream, sizeof *stream);
}

void tegi_checkdev_stream_drop(tegi_checkdev_stream* stream) {
  stream_unlink(stream);
  stream_free(stream);
}

static teg_result stream_create(teg_backend_device* base,
                                teg_queue_stream** out_stream, teg_error* err) {
  *out_stream = NULL;
  tegi_checkdev* device = tegi_checkdev_from(base);
  const teg_queue_ops* queue = device->tables->queue;
  teg_queue_stream* inner;
  teg_result result = queue->stream_create(device->inner, &inner, err);
  if (result != TEG_OK) return result;
  tegi_checkdev_stream* stream;
  result = tegi_checkdev_stream_make(device, false, inner, &stream, err);
  if (result != TEG_OK) {
    queue->stream_destroy(device->inner, inner);
    return result;
  }
  *out_stream = (teg_queue_stream*)(void*)stream;
  return TEG_OK;
}

static void stream_destroy(teg_backend_device* base,
                           teg_queue_stream* queue_stream) {
  if (!queue_stream) return;
  tegi_checkdev* device = tegi_checkdev_from(base);
  tegi_checkdev_stream* stream = tegi_checkdev_stream_from(queue_stream);
  stream_unlink(stream);
  // It still asks about commands while it waits for them.
  device->tables->queue->stream_destroy(device->inner, stream->inner);
  stream_free(stream);
}

static void look(tegi_checkdev_stream* stream) {
  uint64_t serial = queue_of(stream)->completed(stream->inner);
  tegi_hazard_observe(stream->hazard, serial);
}

void tegi_check_observe_all(teg_backend_device* base) {
  tegi_checkdev* device = tegi_checkdev_from(base);
  tegi_mutex_lock(&device->mutex);
  for (tegi_checkdev_stream* stream = device->streams; stream;
       stream = stream->next) {
    look(stream);
  }
  tegi_mutex_unlock(&device->mutex);
}

// ---- Recording.

// The checker's note of the next command.
static teg_result note(tegi_checkdev_stream* stream, const char* what,
                       bool is_call, const tegi_hazard_span* spans,
                       uint32_t span_count, tegi_hazard_command** out_command,
                       teg_error* err) {
  teg_result result = tegi_hazard_record(stream->hazard, what, is_call, spans,
                                         span_count, out_command, err);
  if (result == TEG_OK && stream->device->next_command) {
    stream->device->next_command(stream->inner, *out_command);
  }
  return result;
}

// The device has taken the command, or not.
static teg_result noted(tegi_hazard_command* command, teg_result result) {
  if (result != TEG_OK) tegi_hazard_unrecord(command);
  return result;
}

static teg_result record_fill(teg_queue_stream* queue_stream,
                              const teg_span* target, uint32_t pattern,
                              teg_error* err) {
  tegi_checkdev_stream* stream = tegi_checkdev_stream_from(queue_stream);
  teg_span inner;
  tegi_hazard_span span;
  teg_result result = tegi_checkdev_span(target, "fill", &inner, &span, err);
  if (result != TEG_OK) return result;
  span.is_written = true;
  tegi_hazard_command* command;
  result = note(stream, "fill", false, &span, 1, &command, err);
  if (result != TEG_OK) return result;
  return noted(command, queue_of(stream)->record_fill(stream->inner, &inner,
                                                      pattern, err));
}

static teg_result record_copy(teg_queue_stream* queue_stream,
                              const teg_span* target, const teg_span* source,
                              teg_error* err) {
  tegi_checkdev_stream* stream = tegi_checkdev_stream_from(queue_stream);
  teg_span inner[2];
  tegi_hazard_span spans[2];
  teg_result result =
      tegi_checkdev_span(target, "copy target", &inner[0], &spans[0], err);
  if (result == TEG_OK) {
    result =
        tegi_checkdev_span(source, "copy source", &inner[1], &spans[1], err);
  }
  if (result != TEG_OK) return result;
  spans[0].is_written = true;
  spans[1].is_read = true;
  tegi_hazard_command* command;
  result = note(stream, "copy", false, spans, 2, &command, err);
  if (result != TEG_OK) return result;
  return noted(command, queue_of(stream)->record_copy(stream->inner, &inner[0],
                                                      &inner[1], err));
}

// A dispatch in the device's terms and in the checker's.
typedef struct translation {
  teg_dispatch inner;
  teg_binding bindings[TEG_MOST_BINDINGS];
  teg_span indirect;
  tegi_hazard_span spans[MOST_SPANS];
  uint32_t span_count;
} translation;

static teg_result translate_read(translation* to, const teg_span* span,
                                 const char* what, teg_span* out_inner,
                                 teg_error* err) {
  tegi_hazard_span* read = &to->spans[to->span_count];
  teg_result result = tegi_checkdev_span(span, what, out_inner, read, err);
  if (result != TEG_OK) return result;
  read->is_read = true;
  to->span_count++;
  return TEG_OK;
}

static teg_result translate(const teg_dispatch* dispatch, translation* to,
                            teg_error* err) {
  TEG_REQUIRE(dispatch->binding_count <= TEG_MOST_BINDINGS, err,
              "dispatch: %u bindings, at most %d", dispatch->binding_count,
              TEG_MOST_BINDINGS);
  to->inner = *dispatch;
  to->inner.bindings = to->bindings;
  to->span_count = dispatch->binding_count;
  for (uint32_t i = 0; i < dispatch->binding_count; i++) {
    const teg_binding* binding = &dispatch->bindings[i];
    to->bindings[i] = *binding;
    teg_result result =
        tegi_checkdev_span(&binding->span, "dispatch binding",
                           &to->bindings[i].span, &to->spans[i], err);
    if (result != TEG_OK) return result;
    to->spans[i].is_read = binding->is_read;
    to->spans[i].is_written = binding->is_written;
  }
  teg_result result = TEG_OK;
  if (dispatch->parameters.memory) {
    result = translate_read(to, &dispatch->parameters, "dispatch parameters",
                            &to->inner.parameters, err);
  }
  if (result == TEG_OK && dispatch->indirect) {
    to->inner.indirect = &to->indirect;
    result = translate_read(to, dispatch->indirect, "dispatch counts",
                            &to->indirect, err);
  }
  return result;
}

static teg_result record_dispatch(teg_queue_stream* queue_stream,
                                  const teg_dispatch* dispatch,
                                  teg_error* err) {
  tegi_checkdev_stream* stream = tegi_checkdev_stream_from(queue_stream);
  translation to;
  teg_result result = translate(dispatch, &to, err);
  if (result != TEG_OK) return result;
  tegi_hazard_command* command;
  result =
      note(stream, "dispatch", true, to.spans, to.span_count, &command, err);
  if (result != TEG_OK) return result;
  return noted(command, stream->device->tables->kernel->record_dispatch(
                            stream->inner, &to.inner, err));
}

static teg_result record_barrier(teg_queue_stream* queue_stream,
                                 teg_error* err) {
  tegi_checkdev_stream* stream = tegi_checkdev_stream_from(queue_stream);
  teg_result result = queue_of(stream)->record_barrier(stream->inner, err);
  if (result == TEG_OK) tegi_hazard_barrier(stream->hazard);
  return result;
}

static teg_result record_timestamp(teg_queue_stream* queue_stream,
                                   uint64_t* out_number, teg_error* err) {
  tegi_checkdev_stream* stream = tegi_checkdev_stream_from(queue_stream);
  return queue_of(stream)->record_timestamp(stream->inner, out_number, err);
}

static teg_result timestamp(teg_queue_stream* queue_stream, uint64_t number,
                            uint64_t* out_ns, teg_error* err) {
  tegi_checkdev_stream* stream = tegi_checkdev_stream_from(queue_stream);
  return queue_of(stream)->timestamp(stream->inner, number, out_ns, err);
}

static teg_result record_wait(teg_queue_stream* queue_stream,
                              teg_queue_stream* queue_other, uint64_t serial,
                              teg_error* err) {
  tegi_checkdev_stream* stream = tegi_checkdev_stream_from(queue_stream);
  tegi_checkdev_stream* other = tegi_checkdev_stream_from(queue_other);
  teg_result result =
      tegi_hazard_reserve_wait(stream->hazard, other->hazard, serial, err);
  if (result != TEG_OK) return result;
  result =
      queue_of(stream)->record_wait(stream->inner, other->inner, serial, err);
  if (result != TEG_OK) return result;
  tegi_hazard_wait_for(stream->hazard, other->hazard, serial);
  return TEG_OK;
}

static void discard(teg_queue_stream* queue_stream) {
  tegi_checkdev_stream* stream = tegi_checkdev_stream_from(queue_stream);
  queue_of(stream)->discard(stream->inner);
  tegi_hazard_discard(stream->hazard);
}

// ---- Submitting and waiting.

static teg_result submit(teg_queue_stream* queue_stream, uint64_t serial,
                         teg_error* err) {
  tegi_checkdev_stream* stream = tegi_checkdev_stream_from(queue_stream);
  teg_result result = tegi_hazard_submit_begin(stream->hazard, err);
  if (result != TEG_OK) return result;
  result = queue_of(stream)->submit(stream->inner, serial, err);
  tegi_hazard_submit_end(stream->hazard, result == TEG_OK);
  return result;
}

static uint64_t completed(teg_queue_stream* queue_stream) {
  tegi_checkdev_stream* stream = tegi_checkdev_stream_from(queue_stream);
  uint64_t serial = queue_of(stream)->completed(stream->inner);
  tegi_hazard_observe(stream->hazard, serial);
  return serial;
}

static teg_result wait(teg_queue_stream* queue_stream, uint64_t serial,
                       teg_error* err) {
  tegi_checkdev_stream* stream = tegi_checkdev_stream_from(queue_stream);
  teg_result result = queue_of(stream)->wait(stream->inner, serial, err);
  look(stream);
  // A failure of the device comes first.
  if (result != TEG_OK) return result;
  return tegi_hazard_take_error(stream->hazard, serial, err);
}

const teg_queue_ops tegi_checkdev_queue_ops = {
    .abi_version = TEG_BACKEND_ABI_VERSION,
    .struct_size = sizeof(teg_queue_ops),
    .stream_create = stream_create,
    .stream_destroy = stream_destroy,
    .record_fill = record_fill,
    .record_copy = record_copy,
    .record_barrier = record_barrier,
    .record_timestamp = record_timestamp,
    .timestamp = timestamp,
    .record_wait = record_wait,
    .discard = discard,
    .submit = submit,
    .completed = completed,
    .wait = wait,
};

// ---- Kernels are the device's own.

static teg_result kernel_create(teg_backend_device* base,
                                const teg_kernel_params* params,
                                teg_backend_kernel** out_kernel,
                                teg_error* err) {
  tegi_checkdev* device = tegi_checkdev_from(base);
  return device->tables->kernel->create(device->inner, params, out_kernel, err);
}

static void kernel_destroy(teg_backend_device* base,
                           teg_backend_kernel* kernel) {
  tegi_checkdev* device = tegi_checkdev_from(base);
  device->tables->kernel->destroy(device->inner, kernel);
}

const teg_kernel_ops tegi_checkdev_kernel_ops = {
    .abi_version = TEG_BACKEND_ABI_VERSION,
    .struct_size = sizeof(teg_kernel_ops),
    .create = kernel_create,
    .destroy = kernel_destroy,
    .record_dispatch = record_dispatch,
};
