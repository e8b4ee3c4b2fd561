// SPDX-License-Identifier: Apache-2.0
//
// Uploads and downloads. A write is taken over before it returns and lands in
// its place in the stream: directly where nothing can touch the bytes any
// more, else by a copy recorded from the ring. A read waits for what was
// recorded before it, and reports the errors of those batches instead of
// giving stale bytes.
#include "core/transfer.h"

#include <inttypes.h>
#include <string.h>

#include "base/error.h"
#include "core/objects.h"

enum {
  SLOT_ALIGNMENT = 16,
  PIECES_PER_RING = 4,
  LEAST_PIECE_BYTES = 16384,
};

static teg_device* device_of(const teg_stream* stream) {
  return stream->session->device;
}

// ---- The ring --------------------------------------------------------------

static void drop_first_slot(tegi_ring* ring) {
  ring->tail = ring->slots[ring->first_slot].end;
  ring->first_slot = (ring->first_slot + 1) % ring->slot_capacity;
  ring->slot_count--;
}

static void reclaim(teg_stream* stream, tegi_ring* ring) {
  uint64_t completed = teg_stream_completed(stream);
  while (ring->slot_count > 0 &&
         ring->slots[ring->first_slot].serial <= completed) {
    drop_first_slot(ring);
  }
}

// Makes room for one more slot. The queue is unrolled into a larger array.
static bool reserve_slot(tegi_host* host, tegi_ring* ring) {
  if (ring->slot_count < ring->slot_capacity) return true;
  size_t capacity = ring->slot_capacity ? ring->slot_capacity * 2 : 16;
  tegi_slot* slots = tegi_host_calloc(host, capacity, sizeof *slots);
  if (!slots) return false;
  size_t before = ring->slot_capacity;
  for (size_t i = 0; before > 0 && i < ring->slot_count; ++i) {
    slots[i] = ring->slots[(ring->first_slot + i) % before];
  }
  tegi_host_free(host, ring->slots, before * sizeof *slots);
  ring->slots = slots;
  ring->slot_capacity = capacity;
  ring->first_slot = 0;
  return true;
}

// Takes |size| bytes that do not wrap, if they are free.
static bool take_bytes(tegi_ring* ring, uint64_t size, uint64_t serial,
                       uint64_t* out_offset) {
  if (!ring->extent) return false;
  uint64_t at = ring->head % ring->size;
  uint64_t skipped = at + size > ring->size ? ring->size - at : 0;
  if (ring->head - ring->tail + skipped + size > ring->size) return false;
  ring->head += skipped;
  *out_offset = ring->head % ring->size;
  ring->head += size;
  size_t last = (ring->first_slot + ring->slot_count) % ring->slot_capacity;
  ring->slots[last] = (tegi_slot){ring->head, serial};
  ring->slot_count++;
  return true;
}

// The ring's memory goes back once the copies that read it are over.
static void retire_memory(teg_stream* stream, tegi_ring* ring) {
  if (!ring->extent) return;
  teg_session* session = stream->session;
  tegi_use_set use = {.stream = stream->timeline.id,
                      .serial = teg_stream_recording(stream)};
  tegi_lock_acquire(&session->lock);
  session->source.base.ops->retire(&session->source.base, ring->extent, &use);
  tegi_lock_release(&session->lock);
  ring->extent = NULL;
  ring->slot_count = 0;
  ring->head = ring->tail = 0;
}

// Replaces the memory by |size| bytes. On failure the ring is as it was.
static teg_result grow_ring(teg_stream* stream, tegi_ring* ring, uint64_t size,
                            teg_error* err) {
  teg_session* session = stream->session;
  teg_device* device = session->device;
  tegi_source* source = &session->source.base;
  tegi_extent* extent;
  tegi_mutex_lock(&session->growth);
  teg_result result = source->ops->buffer_create(source, size, &extent, err);
  tegi_mutex_unlock(&session->growth);
  if (result != TEG_OK) return result;
  retire_memory(stream, ring);
  ring->extent = extent;
  ring->size = extent->bytes;
  ring->pointer =
      device->tables.map->host_pointer(device->backend, extent->memory);
  return TEG_OK;
}

// Waits until the oldest slot is free, submitting its batch if need be.
static teg_result wait_oldest(teg_stream* stream, tegi_ring* ring,
                              teg_error* err) {
  uint64_t serial = ring->slots[ring->first_slot].serial;
  if (serial == teg_stream_recording(stream)) {
    teg_result result = teg_stream_submit(stream, NULL, err);
    if (result != TEG_OK) return result;
  }
  tegi_use_set use = {.stream = stream->timeline.id, .serial = serial};
  teg_result result =
      tegi_device_wait(device_of(stream), &use, stream->timeline.id, err);
  if (result == TEG_OK) reclaim(stream, ring);
  return result;
}

static teg_result ring_take(teg_stream* stream, tegi_ring* ring, uint64_t size,
                            uint64_t* out_offset, teg_error* err) {
  const teg_options* options = &stream->session->options;
  tegi_host* host = &device_of(stream)->host;
  size = tegi_align_up(size, SLOT_ALIGNMENT);
  reclaim(stream, ring);
  for (;;) {
    if (!reserve_slot(host, ring)) {
      return tegi_error_set(err, TEG_OUT_OF_HOST_MEMORY,
                            "write: no host memory for the staging ring");
    }
    uint64_t serial = teg_stream_recording(stream);
    if (take_bytes(ring, size, serial, out_offset)) return TEG_OK;
    uint64_t least = tegi_min_u64(options->ring_min, options->ring_max);
    uint64_t wanted = ring->extent ? ring->size * 2 : least;
    while (wanted < size) wanted *= 2;
    teg_result result = TEG_EXHAUSTED;
    if (wanted <= options->ring_max) {
      result = grow_ring(stream, ring, wanted, err);
    }
    if (result != TEG_OK && ring->slot_count > 0) {
      result = wait_oldest(stream, ring, err);
    }
    if (result != TEG_OK) return result;
  }
}

void tegi_ring_destroy(teg_stream* stream, tegi_ring* ring) {
  retire_memory(stream, ring);
  tegi_host_free(&device_of(stream)->host, ring->slots,
                 ring->slot_capacity * sizeof *ring->slots);
  *ring = (tegi_ring){0};
}

// ---- Writing ---------------------------------------------------------------

static char* pointer_of(const teg_buffer* buffer) {
  const teg_device* device = buffer->session->device;
  if (!device->tables.map) return NULL;
  char* base = device->tables.map->host_pointer(device->backend,
                                                buffer->block.extent->memory);
  return base ? base + buffer->block.offset : NULL;
}

tegi_way tegi_transfer_choose(teg_stream* stream, const teg_buffer* target) {
  if ((target->flags & TEG_BUFFER_FOREIGN) || target->foreign ||
      !pointer_of(target)) {
    return TEGI_WAY_RING;
  }
  tegi_stream_poll(stream);
  teg_session* session = target->session;
  tegi_lock_acquire(&session->lock);
  tegi_use_set use = target->block.use;
  // The program's own maps do not stand in its own way.
  use.host_holds = 0;
  tegi_verdict verdict = tegi_device_check(
      session->device, &use, TEGI_WRITE_HOST, stream->timeline.id);
  tegi_lock_release(&session->lock);
  return verdict == TEGI_REUSE_NOW ? TEGI_WAY_DIRECT : TEGI_WAY_RING;
}

static teg_result write_direct(teg_buffer* target, uint64_t offset,
                               const char* data, uint64_t size,
                               teg_error* err) {
  teg_result result = tegi_buffer_host_access(target, offset, size, true, err);
  if (result != TEG_OK) return result;
  memcpy(pointer_of(target) + offset, data, size);
  return TEG_OK;
}

static teg_result write_piece(teg_stream* stream, teg_buffer* target,
                              uint64_t offset, const char* data, uint64_t size,
                              teg_error* err) {
  tegi_ring* ring = &stream->ring;
  uint64_t at;
  teg_result result = ring_take(stream, ring, size, &at, err);
  if (result != TEG_OK) return result;
  memcpy(ring->pointer + at, data, size);
  result = tegi_stream_begin_use(stream, target, err);
  if (result != TEG_OK) return result;
  teg_span to = {target->block.extent->memory, target->block.offset + offset,
                 size, target->number};
  teg_span from = {ring->extent->memory, at, size, 0};
  return device_of(stream)->tables.queue->record_copy(stream->queue, &to, &from,
                                                      err);
}

static bool is_out_of_memory(teg_result result) {
  return result == TEG_OUT_OF_MEMORY || result == TEG_OVER_BUDGET;
}

static teg_result write_by_ring(teg_stream* stream, teg_buffer* target,
                                uint64_t offset, const char* data,
                                uint64_t size, teg_error* err) {
  uint64_t most = stream->session->options.ring_max / PIECES_PER_RING;
  while (size > 0) {
    uint64_t piece = tegi_min_u64(size, most);
    teg_result result = write_piece(stream, target, offset, data, piece, err);
    if (is_out_of_memory(result) && most > LEAST_PIECE_BYTES) {
      // Little memory is left: a smaller ring does it, too.
      most /= 2;
      continue;
    }
    if (result != TEG_OK) return result;
    offset += piece;
    data += piece;
    size -= piece;
  }
  return TEG_OK;
}

static void count_way(teg_session* session, tegi_way way, uint64_t size) {
  tegi_lock_acquire(&session->lock);
  tegi_counter_add(&session->written_bytes[way], size);
  tegi_lock_release(&session->lock);
}

teg_result teg_stream_write(teg_stream* stream, teg_buffer* target,
                            uint64_t offset, const void* data, uint64_t size,
                            teg_error* err) {
  TEG_REQUIRE(stream, err, "write: stream is NULL");
  teg_result result =
      tegi_buffer_check_range(target, "write", offset, size, err);
  if (result != TEG_OK || size == 0) return result;
  TEG_REQUIRE(data, err, "write: data is NULL");
  TEG_REQUIRE(target->session->device == device_of(stream), err,
              "write: buffer %" PRIu64 " is on another device than the stream",
              target->number);
  if (!device_of(stream)->tables.map) {
    return tegi_error_set(err, TEG_UNSUPPORTED,
                          "write: this device has no memory with host "
                          "pointers");
  }
  tegi_way way = tegi_transfer_choose(stream, target);
  if (way == TEGI_WAY_DIRECT) {
    result = write_direct(target, offset, data, size, err);
  } else {
    result = write_by_ring(stream, target, offset, data, size, err);
  }
  if (result == TEG_OK) count_way(stream->session, way, size);
  return result;
}

// ---- Reading ---------------------------------------------------------------

// Everything recorded on |stream| so far, and what other streams do with the
// bytes, is over after this; errors are reported.
static teg_result settle(teg_stream* stream, const teg_buffer* source,
                         teg_error* err) {
  teg_result result = teg_stream_submit(stream, NULL, err);
  if (result != TEG_OK) return result;
  result = teg_stream_wait(stream, teg_stream_submitted(stream), err);
  if (result != TEG_OK) return result;
  teg_session* session = source->session;
  tegi_host* host = &session->device->host;
  tegi_use_set use;
  tegi_lock_acquire(&session->lock);
  bool is_copied = tegi_use_copy(host, &use, &source->block.use);
  tegi_lock_release(&session->lock);
  if (!is_copied) {
    return tegi_error_set(err, TEG_OUT_OF_HOST_MEMORY, "read: no host memory");
  }
  use.host_holds = 0;
  result = tegi_device_wait(session->device, &use, stream->timeline.id, err);
  tegi_use_clear(host, &use);
  return result;
}

// Through the ring, a piece at a time.
static teg_result read_by_ring(teg_stream* stream, teg_buffer* source,
                               uint64_t offset, char* data, uint64_t size,
                               teg_error* err) {
  tegi_ring* ring = &stream->ring;
  uint64_t most = stream->session->options.ring_max / PIECES_PER_RING;
  while (size > 0) {
    uint64_t piece = tegi_min_u64(size, most);
    uint64_t at;
    teg_result result = ring_take(stream, ring, piece, &at, err);
    if (result == TEG_OK) result = tegi_stream_begin_use(stream, source, err);
    if (result != TEG_OK) return result;
    teg_span from = {source->block.extent->memory,
                     source->block.offset + offset, piece, source->number};
    teg_span to = {ring->extent->memory, at, piece, 0};
    const teg_queue_ops* queue = device_of(stream)->tables.queue;
    result = queue->record_copy(stream->queue, &to, &from, err);
    uint64_t serial = 0;
    if (result == TEG_OK) result = teg_stream_submit(stream, &serial, err);
    if (result == TEG_OK) result = teg_stream_wait(stream, serial, err);
    if (result != TEG_OK) return result;
    memcpy(data, ring->pointer + at, piece);
    offset += piece;
    data += piece;
    size -= piece;
  }
  return TEG_OK;
}

teg_result teg_stream_read(teg_stream* stream, teg_buffer* source,
                           uint64_t offset, void* data, uint64_t size,
                           teg_error* err) {
  TEG_REQUIRE(stream, err, "read: stream is NULL");
  teg_result result =
      tegi_buffer_check_range(source, "read", offset, size, err);
  if (result != TEG_OK) return result;
  TEG_REQUIRE(data || size == 0, err, "read: data is NULL");
  TEG_REQUIRE(source->session->device == device_of(stream), err,
              "read: buffer %" PRIu64 " is on another device than the stream",
              source->number);
  if (!device_of(stream)->tables.map) {
    return tegi_error_set(err, TEG_UNSUPPORTED,
                          "read: this device has no memory with host "
                          "pointers");
  }
  result = settle(stream, source, err);
  if (result != TEG_OK || size == 0) return result;
  const char* pointer = pointer_of(source);
  if (!pointer) {
    return read_by_ring(stream, source, offset, data, size, err);
  }
  result = tegi_buffer_host_access(source, offset, size, false, err);
  if (result != TEG_OK) return result;
  memcpy(data, pointer + offset, size);
  return TEG_OK;
}
