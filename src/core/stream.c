// SPDX-License-Identifier: Apache-2.0
//
// Streams: recording, submitting, waiting. A stream belongs to the thread that
// uses it; what other threads read of it is its timeline. Every command stamps
// the buffers it touches before it is recorded.
#include <inttypes.h>

#include "base/error.h"
#include "core/objects.h"

static void use_from_this_thread(teg_stream* stream) {
  tegi_store_relaxed(&stream->thread, tegi_thread_self());
}

// ---- Life ------------------------------------------------------------------

teg_result teg_stream_create(teg_session* session, teg_stream** out_stream,
                             teg_error* err) {
  TEG_REQUIRE(out_stream, err, "stream_create: out_stream is NULL");
  *out_stream = NULL;
  TEG_REQUIRE(session, err, "stream_create: session is NULL");
  teg_device* device = session->device;
  teg_stream* stream =
      tegi_host_alloc_aligned(&device->host, sizeof *stream, TEGI_CACHE_LINE);
  if (!stream) {
    return tegi_error_set(err, TEG_OUT_OF_HOST_MEMORY,
                          "stream_create: no host memory");
  }
  stream->session = session;
  stream->timeline.queue_id = 1;
  teg_result result =
      device->tables.queue->stream_create(device->backend, &stream->queue, err);
  if (result == TEG_OK) {
    result = tegi_timeline_add(device, stream, err);
    if (result != TEG_OK) {
      device->tables.queue->stream_destroy(device->backend, stream->queue);
    }
  }
  if (result != TEG_OK) {
    tegi_host_free(&device->host, stream, sizeof *stream);
    return result;
  }
  tegi_mutex_lock(&device->registry);
  stream->next = session->streams;
  session->streams = stream;
  tegi_mutex_unlock(&device->registry);
  *out_stream = stream;
  return TEG_OK;
}

static void unlink_stream(teg_stream* stream) {
  teg_device* device = stream->session->device;
  tegi_mutex_lock(&device->registry);
  teg_stream** at = &stream->session->streams;
  while (*at && *at != stream) at = &(*at)->next;
  if (*at) *at = stream->next;
  tegi_mutex_unlock(&device->registry);
}

// Buffers of a stream that goes are at home on the session's first one.
static void rehome(void* user, void* record) {
  const teg_stream* gone = user;
  teg_buffer* buffer = record;
  bool is_buffer = buffer->block.state == TEGI_BLOCK_USED && buffer->session;
  if (is_buffer && buffer->stream == gone) {
    buffer->stream = gone->session->first_stream;
  }
}

static void begin_batch(teg_stream* stream) {
  tegi_barriers_restart(&stream->barriers);
  stream->dispatch_count = 0;
  stream->staged_bytes = 0;
}

// Hands the recorded batch to the queue; nothing else.
static teg_result submit_batch(teg_stream* stream, uint64_t* out_serial,
                               teg_error* err) {
  uint64_t serial = tegi_stream_recording(stream);
  const teg_queue_ops* queue = stream->session->device->tables.queue;
  uint64_t bound;
  teg_result result = tegi_binds_wait(stream, &bound, err);
  if (result == TEG_OK) result = queue->submit(stream->queue, serial, err);
  if (result != TEG_OK) return result;
  stream->bound = bound;
  begin_batch(stream);
  tegi_store_release(&stream->timeline.submitted, serial);
  tegi_stream_poll(stream);
  *out_serial = serial;
  return TEG_OK;
}

// What is recorded goes while its stamps can still be found.
static void drop_and_wait(teg_stream* stream) {
  const teg_queue_ops* queue = stream->session->device->tables.queue;
  teg_error ignored;
  uint64_t serial = tegi_load_acquire(&stream->timeline.submitted);
  queue->discard(stream->queue);
  begin_batch(stream);
  (void)submit_batch(stream, &serial, &ignored);
  (void)queue->wait(stream->queue, serial, &ignored);
}

void teg_stream_destroy(teg_stream* stream) {
  if (!stream || stream == stream->session->first_stream) return;
  teg_session* session = stream->session;
  teg_device* device = session->device;
  unlink_stream(stream);
  tegi_lock_acquire(&session->lock);
  tegi_slab_each(&session->blocks, rehome, stream);
  tegi_lock_release(&session->lock);
  drop_and_wait(stream);
  tegi_ring_destroy(stream, &stream->ring);
  tegi_ring_destroy(stream, &stream->readback);
  tegi_parameters_destroy(stream);
  tegi_timeline_remove(device, stream);
  device->tables.queue->stream_destroy(device->backend, stream->queue);
  tegi_host_free(&device->host, stream, sizeof *stream);
}

uint64_t teg_stream_recording(const teg_stream* stream) {
  return stream ? tegi_stream_recording(stream) : 0;
}

uint64_t teg_stream_submitted(const teg_stream* stream) {
  return stream ? tegi_load_acquire(&stream->timeline.submitted) : 0;
}

uint64_t teg_stream_completed(teg_stream* stream) {
  if (!stream) return 0;
  tegi_stream_poll(stream);
  return tegi_load_acquire(&stream->timeline.completed);
}

// ---- Commands --------------------------------------------------------------

teg_result tegi_buffer_bad_range(const teg_buffer* buffer, const char* what,
                                 uint64_t offset, uint64_t size,
                                 teg_error* err) {
  TEG_REQUIRE(buffer, err, "%s: buffer is NULL", what);
  return tegi_error_set(
      err, TEG_INVALID,
      "%s: bytes %" PRIu64 " to %" PRIu64 " are outside of buffer %" PRIu64
      ", which has %" PRIu64,
      what, offset, offset + size, buffer->number, buffer->size);
}

teg_result tegi_stream_check_session(const teg_stream* stream,
                                     const teg_buffer* buffer, teg_error* err) {
  // A session's memory goes with it, whatever others have recorded: so it is
  // its own streams' only.
  TEG_REQUIRE(buffer->session == stream->session, err,
              "buffer %" PRIu64
              " belongs to session \"%.60s\", the stream to "
              "\"%.60s\"",
              buffer->number, buffer->session->name, stream->session->name);
  return TEG_OK;
}

// The first use of a new owner on another stream than its home: what the home
// stream has recorded on the bytes for who had them before is not overtaken.
// (Streams of other queues would have to be waited for on the device as well.)
static teg_result take_over(teg_stream* stream, const teg_buffer* buffer,
                            teg_error* err) {
  teg_result result = tegi_stream_check_session(stream, buffer, err);
  if (result != TEG_OK) return result;
  tegi_use inherited = tegi_buffer_inherited(buffer);
  if (!inherited.serial || inherited.stream == stream->timeline.id) {
    return TEG_OK;
  }
  return tegi_device_submit_use(stream->session->device, inherited, err);
}

// There is nothing to take over.
static bool is_own(const teg_session* session, const teg_buffer* buffer) {
  return buffer->session == session &&
         !(buffer->flags & TEGI_BUFFER_HAS_INHERITED);
}

teg_result tegi_stream_begin_uses(teg_stream* stream,
                                  teg_buffer* const* buffers, uint32_t count,
                                  teg_error* err) {
  use_from_this_thread(stream);
  teg_session* session = stream->session;
  for (uint32_t i = 0; i < count; ++i) {
    if (is_own(session, buffers[i])) continue;
    teg_result result = take_over(stream, buffers[i], err);
    if (result != TEG_OK) return result;
  }
  tegi_host* host = &session->device->host;
  uint64_t serial = tegi_stream_recording(stream);
  uint32_t done = 0;
  tegi_lock_acquire(&session->lock);
  while (done < count && tegi_use_stamp(host, &buffers[done]->block.use,
                                        stream->timeline.id, serial)) {
    done++;
  }
  tegi_lock_release(&session->lock);
  if (done == count) return TEG_OK;
  return tegi_error_set(err, TEG_OUT_OF_HOST_MEMORY,
                        "no host memory for one more stream that uses buffer "
                        "%" PRIu64,
                        buffers[done]->number);
}

teg_result tegi_stream_begin_use(teg_stream* stream, teg_buffer* buffer,
                                 teg_error* err) {
  return tegi_stream_begin_uses(stream, &buffer, 1, err);
}

teg_result teg_stream_fill(teg_stream* stream, teg_buffer* target,
                           uint64_t offset, uint64_t size, uint32_t pattern,
                           teg_error* err) {
  TEG_REQUIRE(stream, err, "fill: stream is NULL");
  teg_result result =
      tegi_buffer_check_range(target, "fill", offset, size, err);
  if (result != TEG_OK || size == 0) return result;
  result = tegi_stream_begin_use(stream, target, err);
  if (result != TEG_OK) return result;
  teg_binding binding = {tegi_buffer_span(target, offset, size), false, true};
  result = tegi_barriers_before(stream, &binding, 1, err);
  if (result != TEG_OK) return result;
  const teg_queue_ops* queue = stream->session->device->tables.queue;
  return queue->record_fill(stream->queue, &binding.span, pattern, err);
}

teg_result tegi_stream_record_copy(teg_stream* stream, const teg_span* to,
                                   const teg_span* from, teg_error* err) {
  teg_binding bindings[2] = {{*to, false, true}, {*from, true, false}};
  teg_result result = tegi_barriers_before(stream, bindings, 2, err);
  if (result != TEG_OK) return result;
  const teg_queue_ops* queue = stream->session->device->tables.queue;
  return queue->record_copy(stream->queue, to, from, err);
}

teg_result teg_stream_copy(teg_stream* stream, teg_buffer* target,
                           uint64_t target_offset, teg_buffer* source,
                           uint64_t source_offset, uint64_t size,
                           teg_error* err) {
  TEG_REQUIRE(stream, err, "copy: stream is NULL");
  teg_result result =
      tegi_buffer_check_range(target, "copy target", target_offset, size, err);
  if (result == TEG_OK) {
    result = tegi_buffer_check_range(source, "copy source", source_offset, size,
                                     err);
  }
  if (result != TEG_OK || size == 0) return result;
  bool is_apart = target_offset + size <= source_offset ||
                  source_offset + size <= target_offset;
  TEG_REQUIRE(target != source || is_apart, err,
              "copy: the two ranges of buffer %" PRIu64 " overlap",
              target->number);
  result = tegi_stream_begin_use(stream, target, err);
  if (result == TEG_OK) result = tegi_stream_begin_use(stream, source, err);
  if (result != TEG_OK) return result;
  teg_span to = tegi_buffer_span(target, target_offset, size);
  teg_span from = tegi_buffer_span(source, source_offset, size);
  return tegi_stream_record_copy(stream, &to, &from, err);
}

// ---- Timestamps ------------------------------------------------------------

teg_result teg_stream_timestamp(teg_stream* stream,
                                teg_timestamp* out_timestamp, teg_error* err) {
  TEG_REQUIRE(stream && out_timestamp, err, "timestamp: an argument is NULL");
  *out_timestamp = (teg_timestamp){0};
  const teg_queue_ops* queue = stream->session->device->tables.queue;
  if (!queue->record_timestamp) {
    return tegi_error_set(err, TEG_UNSUPPORTED,
                          "timestamp: this device has no clock for commands");
  }
  teg_result result = tegi_stream_begin_command(stream, false, err);
  if (result != TEG_OK) return result;
  out_timestamp->serial = tegi_stream_recording(stream);
  return queue->record_timestamp(stream->queue, &out_timestamp->number, err);
}

teg_result teg_stream_timestamp_ns(teg_stream* stream,
                                   const teg_timestamp* timestamp,
                                   uint64_t* out_ns, teg_error* err) {
  TEG_REQUIRE(stream && timestamp && out_ns, err,
              "timestamp_ns: an argument is NULL");
  *out_ns = 0;
  const teg_queue_ops* queue = stream->session->device->tables.queue;
  if (timestamp->number == 0 || !queue->timestamp) {
    return tegi_error_set(err, TEG_NOT_FOUND,
                          "timestamp_ns: no such timestamp was taken");
  }
  if (timestamp->serial > teg_stream_completed(stream)) {
    return tegi_error_set(err, TEG_BAD_STATE,
                          "timestamp_ns: batch %" PRIu64
                          " is not complete (the last one is %" PRIu64 ")",
                          timestamp->serial, teg_stream_completed(stream));
  }
  return queue->timestamp(stream->queue, timestamp->number, out_ns, err);
}

// ---- Submit and wait -------------------------------------------------------

// What policies do after a submit; and what has become idle goes back.
static void after_submit(teg_session* session) {
  if (session->has_submit_hooks) {
    tegi_lock_acquire(&session->lock);
    for (uint32_t i = 0; i < session->slot_count; ++i) {
      tegi_policy* policy = session->slots[i];
      if (policy->ops->submitted) policy->ops->submitted(policy);
    }
    tegi_lock_release(&session->lock);
  }
  tegi_session_collect(session);
}

// At most so many batches run ahead: the oldest is waited for.
static teg_result bound_flight(teg_stream* stream, teg_error* err) {
  uint64_t most = stream->session->options.batches_in_flight;
  uint64_t submitted = tegi_load_relaxed(&stream->timeline.submitted);
  if (most == 0 ||
      submitted - tegi_load_relaxed(&stream->timeline.completed) < most ||
      submitted - teg_stream_completed(stream) < most) {
    return TEG_OK;
  }
  return tegi_stream_wait_own(stream, submitted - most + 1, err);
}

teg_result teg_stream_submit(teg_stream* stream, uint64_t* out_serial,
                             teg_error* err) {
  if (out_serial) *out_serial = 0;
  TEG_REQUIRE(stream, err, "submit: stream is NULL");
  use_from_this_thread(stream);
  uint64_t serial = 0;
  teg_result result = bound_flight(stream, err);
  if (result == TEG_OK) result = submit_batch(stream, &serial, err);
  if (result != TEG_OK) return result;
  after_submit(stream->session);
  if (out_serial) *out_serial = serial;
  return TEG_OK;
}

static bool is_full(const teg_stream* stream, bool is_dispatch) {
  const teg_options* options = &stream->session->options;
  if (options->batch_bytes && stream->staged_bytes >= options->batch_bytes) {
    return true;
  }
  if (!is_dispatch || stream->dispatch_count == 0) return false;
  if (options->batch_dispatches &&
      stream->dispatch_count >= options->batch_dispatches) {
    return true;
  }
  const uint64_t ns_per_ms = 1000000;
  return options->batch_age && tegi_now_coarse_ns() - stream->begin_ns >=
                                   options->batch_age * ns_per_ms;
}

teg_result tegi_stream_begin_command(teg_stream* stream, bool is_dispatch,
                                     teg_error* err) {
  use_from_this_thread(stream);
  if (is_full(stream, is_dispatch)) {
    teg_result result = teg_stream_submit(stream, NULL, err);
    if (result != TEG_OK) return result;
  }
  if (is_dispatch && stream->dispatch_count == 0) {
    stream->begin_ns = tegi_now_coarse_ns();
  }
  return TEG_OK;
}

teg_result tegi_stream_wait_own(teg_stream* stream, uint64_t serial,
                                teg_error* err) {
  if (serial == tegi_stream_recording(stream)) {
    teg_result result = teg_stream_submit(stream, NULL, err);
    if (result != TEG_OK) return result;
  }
  tegi_use_set use = {.stream = stream->timeline.id, .serial = serial};
  return tegi_device_wait(stream->session->device, &use, stream->timeline.id,
                          err);
}

teg_result teg_stream_discard(teg_stream* stream, teg_error* err) {
  TEG_REQUIRE(stream, err, "discard: stream is NULL");
  stream->session->device->tables.queue->discard(stream->queue);
  begin_batch(stream);
  // The serial goes on as that of an empty batch: what was stamped with it is
  // over when the batches before it are.
  return teg_stream_submit(stream, NULL, err);
}

teg_result tegi_stream_submit_own(teg_stream* stream, teg_error* err) {
  uint64_t thread = tegi_load_relaxed(&stream->thread);
  if (thread != 0 && thread != tegi_thread_self()) {
    return tegi_error_set(err, TEG_BAD_STATE,
                          "stream %" PRIu32
                          " is used by another thread: its batch is not "
                          "submitted for it",
                          stream->timeline.id);
  }
  return teg_stream_submit(stream, NULL, err);
}

teg_result teg_stream_wait(teg_stream* stream, uint64_t serial,
                           teg_error* err) {
  TEG_REQUIRE(stream, err, "wait: stream is NULL");
  uint64_t submitted = tegi_load_acquire(&stream->timeline.submitted);
  if (serial > submitted) {
    return tegi_error_set(err, TEG_BAD_STATE,
                          "wait: batch %" PRIu64
                          " is not submitted yet (the last one is %" PRIu64 ")",
                          serial, submitted);
  }
  if (serial == 0) return TEG_OK;
  teg_result result = tegi_stream_report(stream, serial, err);
  tegi_session_collect(stream->session);
  return result;
}

teg_result teg_stream_wait_for(teg_stream* stream, teg_stream* other,
                               uint64_t serial, teg_error* err) {
  TEG_REQUIRE(stream && other, err, "wait_for: a stream is NULL");
  TEG_REQUIRE(stream->session->device == other->session->device, err,
              "wait_for: the streams are on different devices");
  uint64_t submitted = tegi_load_acquire(&other->timeline.submitted);
  if (serial > submitted) {
    return tegi_error_set(err, TEG_BAD_STATE,
                          "wait_for: batch %" PRIu64
                          " of the other stream is not submitted yet (the "
                          "last one is %" PRIu64 ")",
                          serial, submitted);
  }
  use_from_this_thread(stream);
  if (serial == 0 || stream == other) return TEG_OK;
  const teg_queue_ops* queue = stream->session->device->tables.queue;
  return queue->record_wait(stream->queue, other->queue, serial, err);
}
