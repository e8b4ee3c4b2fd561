// SPDX-License-Identifier: Apache-2.0
//
// Streams by id, and the rule of reuse asked against them. The table is
// guarded by device->lock; a stream that is waited for without the lock is
// pinned, and its removal waits for the pins.
#include "core/objects.h"

#include "base/error.h"

// device->lock is held.
static teg_stream* stream_of(const teg_device* device, tegi_stream_id id) {
  return id < device->stream_capacity ? device->streams[id] : NULL;
}

static const tegi_timeline* find(void* user, tegi_stream_id id) {
  const teg_stream* stream = stream_of(user, id);
  return stream ? &stream->timeline : NULL;
}

teg_result tegi_timeline_add(teg_device* device, teg_stream* stream,
                             teg_error* err) {
  tegi_lock_acquire(&device->lock);
  device->timelines.find = find;
  device->timelines.user = device;
  tegi_stream_id id = device->next_stream_id + 1;
  bool is_full = id >= TEGI_USE_QUEUE ||
                 !tegi_host_grow_array(&device->host, &device->streams,
                                       &device->stream_capacity, (size_t)id + 1,
                                       sizeof(teg_stream*));
  if (!is_full) {
    device->next_stream_id = id;
    stream->timeline.id = id;
    device->streams[id] = stream;
  }
  tegi_lock_release(&device->lock);
  if (is_full) {
    return tegi_error_set(err, TEG_OUT_OF_HOST_MEMORY,
                          "stream: no host memory for its id");
  }
  return TEG_OK;
}

void tegi_timeline_remove(teg_device* device, teg_stream* stream) {
  bool is_pinned = true;
  while (is_pinned) {
    tegi_lock_acquire(&device->lock);
    is_pinned = stream->pin_count > 0;
    if (!is_pinned) device->streams[stream->timeline.id] = NULL;
    tegi_lock_release(&device->lock);
    if (is_pinned) tegi_thread_yield();
  }
}

void tegi_stream_poll(teg_stream* stream) {
  if (tegi_load_relaxed(&stream->timeline.completed) ==
      tegi_load_relaxed(&stream->timeline.submitted)) {
    return;
  }
  const teg_device* device = stream->session->device;
  uint64_t completed = device->tables.queue->completed(stream->queue);
  tegi_atomic_max(&stream->timeline.completed, completed);
}

bool tegi_device_set_is_idle(teg_device* device, const tegi_use_set* set) {
  if (tegi_use_is_empty(set)) return true;
  tegi_lock_acquire(&device->lock);
  bool is_idle = tegi_set_is_idle(&device->timelines, set);
  tegi_lock_release(&device->lock);
  return is_idle;
}

tegi_verdict tegi_device_check(teg_device* device, const tegi_use_set* set,
                               tegi_write write, tegi_stream_id stream) {
  if (tegi_use_is_empty(set)) return TEGI_REUSE_NOW;
  tegi_lock_acquire(&device->lock);
  tegi_verdict verdict =
      tegi_reuse_check(&device->timelines, set, write, find(device, stream),
                       device->caps.remap == TEG_REMAP_QUEUE_ORDERED);
  tegi_lock_release(&device->lock);
  return verdict;
}

void tegi_device_prune(teg_device* device, tegi_use_set* set) {
  tegi_lock_acquire(&device->lock);
  tegi_set_prune(&device->host, &device->timelines, set);
  tegi_lock_release(&device->lock);
}

// Pins the stream of |use| if there is something to wait for.
static teg_stream* pin(teg_device* device, tegi_use use) {
  tegi_lock_acquire(&device->lock);
  teg_stream* stream = stream_of(device, use.stream & ~TEGI_USE_QUEUE);
  if (stream && tegi_use_phase(&stream->timeline, use) == TEGI_PHASE_IDLE) {
    stream = NULL;
  }
  if (stream) stream->pin_count++;
  tegi_lock_release(&device->lock);
  return stream;
}

static void unpin(teg_device* device, teg_stream* stream) {
  tegi_lock_acquire(&device->lock);
  stream->pin_count--;
  tegi_lock_release(&device->lock);
}

static void keep_error(teg_stream* stream, const teg_error* kept) {
  teg_device* device = stream->session->device;
  tegi_lock_acquire(&device->lock);
  if (tegi_change_state(&stream->has_kept_error, 0, 1)) {
    stream->kept_error = *kept;
  }
  tegi_lock_release(&device->lock);
}

// device->lock is held.
static void take_kept_error(teg_stream* stream, teg_error* out) {
  if (tegi_change_state(&stream->has_kept_error, 1, 0)) {
    *out = stream->kept_error;
  }
}

teg_result tegi_stream_report(teg_stream* stream, uint64_t serial,
                              teg_error* err) {
  teg_device* device = stream->session->device;
  teg_error error;
  teg_error_clear(&error);
  error.result = device->tables.queue->wait(stream->queue, serial, &error);
  tegi_stream_poll(stream);
  if (error.result == TEG_OK && !tegi_load_state(&stream->has_kept_error)) {
    return TEG_OK;
  }
  tegi_lock_acquire(&device->lock);
  if (error.result == TEG_OK) take_kept_error(stream, &error);
  if (error.result != TEG_OK) {
    stream->last_error = error;
    tegi_fetch_add_relaxed(&stream->error_count, 1);
  }
  tegi_lock_release(&device->lock);
  if (err && error.result != TEG_OK) *err = error;
  return error.result;
}

teg_result tegi_stream_last_error(teg_stream* stream, teg_error* err) {
  teg_device* device = stream->session->device;
  tegi_lock_acquire(&device->lock);
  teg_result result = stream->last_error.result;
  if (err) *err = stream->last_error;
  tegi_lock_release(&device->lock);
  return result;
}

static teg_result wait_for_use(teg_device* device, teg_stream* stream,
                               tegi_use use, tegi_stream_id asking,
                               teg_error* err) {
  if (tegi_use_phase(&stream->timeline, use) == TEGI_PHASE_RECORDED) {
    if (stream->timeline.id != asking) {
      return tegi_error_set(err, TEG_BAD_STATE,
                            "wait: the batch is recorded on another stream "
                            "and not submitted");
    }
    teg_result result = tegi_stream_submit_own(stream, err);
    if (result != TEG_OK) return result;
  }
  teg_error error;
  teg_error_clear(&error);
  teg_result result =
      device->tables.queue->wait(stream->queue, use.serial, &error);
  tegi_stream_poll(stream);
  if (result == TEG_OK) return TEG_OK;
  // A batch that has failed is over; its error is the program's to see.
  if (tegi_use_phase(&stream->timeline, use) == TEGI_PHASE_IDLE) {
    keep_error(stream, &error);
    if (result != TEG_DEVICE_LOST) return TEG_OK;
  }
  if (err) *err = error;
  return result;
}

teg_result tegi_device_record_waits(teg_device* device,
                                    teg_queue_stream* waiting,
                                    const tegi_use_set* set, teg_error* err) {
  if (device->timelines.is_rule_off) return TEG_OK;
  teg_result result = TEG_OK;
  tegi_use use;
  for (size_t i = 0; result == TEG_OK && tegi_use_at(set, i, &use); ++i) {
    teg_stream* stream = pin(device, use);
    if (!stream) continue;
    // The backend refuses what is not submitted.
    result = device->tables.queue->record_wait(waiting, stream->queue,
                                               use.serial, err);
    unpin(device, stream);
  }
  return result;
}

teg_result tegi_device_submit_use(teg_device* device, tegi_use use,
                                  teg_error* err) {
  if (device->timelines.is_rule_off) return TEG_OK;
  teg_stream* stream = pin(device, use);
  if (!stream) return TEG_OK;
  teg_result result = TEG_OK;
  if (tegi_use_phase(&stream->timeline, use) == TEGI_PHASE_RECORDED) {
    result = tegi_stream_submit_own(stream, err);
  }
  unpin(device, stream);
  return result;
}

teg_result tegi_device_wait(teg_device* device, const tegi_use_set* set,
                            tegi_stream_id asking, teg_error* err) {
  if (device->timelines.is_rule_off) return TEG_OK;
  if (set->host_holds > 0) {
    return tegi_error_set(err, TEG_BAD_STATE,
                          "wait: the bytes are mapped by the program");
  }
  uint64_t begin_ns = 0;
  teg_result result = TEG_OK;
  tegi_use use;
  for (size_t i = 0; result == TEG_OK && tegi_use_at(set, i, &use); ++i) {
    teg_stream* stream = pin(device, use);
    if (!stream) continue;
    if (begin_ns == 0) begin_ns = tegi_now_ns();
    result = wait_for_use(device, stream, use, asking, err);
    unpin(device, stream);
  }
  if (begin_ns != 0) {
    tegi_fetch_add_relaxed(&device->wait_count, 1);
    tegi_fetch_add_relaxed(&device->wait_ns, tegi_now_ns() - begin_ns);
  }
  return result;
}

// Pins the stream of |use| if it is there and |session|'s; what it did may be
// over.
static teg_stream* pin_own(teg_device* device, const teg_session* session,
                           tegi_use use) {
  tegi_lock_acquire(&device->lock);
  teg_stream* stream = stream_of(device, use.stream & ~TEGI_USE_QUEUE);
  if (stream && stream->session != session) stream = NULL;
  if (stream) stream->pin_count++;
  tegi_lock_release(&device->lock);
  return stream;
}

teg_result tegi_session_wait_reporting(teg_session* session,
                                       const tegi_use_set* set,
                                       tegi_stream_id asking, teg_error* err) {
  teg_device* device = session->device;
  teg_result result = tegi_device_wait(device, set, asking, err);
  if (device->timelines.is_rule_off) return result;
  tegi_use use;
  for (size_t i = 0; result == TEG_OK && tegi_use_at(set, i, &use); ++i) {
    teg_stream* stream = pin_own(device, session, use);
    if (!stream) continue;
    result = tegi_stream_report(stream, use.serial, err);
    unpin(device, stream);
  }
  return result;
}
