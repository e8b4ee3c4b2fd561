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
  ring->dropped_count++;
}

static void reclaim(teg_stream* stream, tegi_ring* ring) {
  uint64_t completed = teg_stream_completed(stream);
  while (ring->slot_count > 0) {
    const tegi_slot* slot = &ring->slots[ring->first_slot];
    if (slot->is_held || slot->serial > completed) return;
    drop_first_slot(ring);
  }
}

static tegi_slot* last_slot(tegi_ring* ring) {
  size_t last = ring->first_slot + ring->slot_count - 1;
  return &ring->slots[last % ring->slot_capacity];
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
  // One that is empty has all of its bytes in one piece.
  if (ring->slot_count == 0) ring->head = ring->tail = 0;
  uint64_t at = ring->head % ring->size;
  uint64_t skipped = at + size > ring->size ? ring->size - at : 0;
  if (ring->head - ring->tail + skipped + size > ring->size) return false;
  ring->head += skipped;
  *out_offset = ring->head % ring->size;
  ring->head += size;
  size_t last = (ring->first_slot + ring->slot_count) % ring->slot_capacity;
  ring->slots[last] = (tegi_slot){ring->head, serial, false};
  ring->slot_count++;
  return true;
}

// ---- Staging memory --------------------------------------------------------

teg_result tegi_staging_create(teg_session* session, uint64_t bytes,
                               bool is_readback, tegi_extent** out_extent,
                               char** out_pointer, teg_error* err) {
  teg_device* device = session->device;
  tegi_source* source = &session->source.base;
  tegi_mutex_lock(&session->growth);
  teg_result result =
      source->ops->staging_create(source, bytes, is_readback, out_extent, err);
  tegi_mutex_unlock(&session->growth);
  if (result != TEG_OK) return result;
  *out_pointer =
      device->tables.map->host_pointer(device->backend, (*out_extent)->memory);
  return TEG_OK;
}

void tegi_staging_retire(teg_stream* stream, tegi_extent* extent) {
  teg_session* session = stream->session;
  tegi_use_set use = {.stream = stream->timeline.id,
                      .serial = teg_stream_recording(stream)};
  tegi_lock_acquire(&session->lock);
  session->source.base.ops->retire(&session->source.base, extent, &use);
  tegi_lock_release(&session->lock);
}

teg_result tegi_device_host_access(teg_device* device, const teg_span* span,
                                   bool is_written, teg_error* err) {
  const teg_check_ops* check = device->tables.check;
  if (!check) return TEG_OK;
  return check->host_access(device->backend, span, !is_written, is_written,
                            err);
}

teg_result tegi_device_flush(teg_device* device, teg_memory* memory,
                             uint64_t offset, uint64_t size, teg_error* err) {
  const teg_map_ops* map = device->tables.map;
  if (!map->flush) return TEG_OK;
  return map->flush(device->backend, memory, offset, size, err);
}

teg_result tegi_device_invalidate(teg_device* device, teg_memory* memory,
                                  uint64_t offset, uint64_t size,
                                  teg_error* err) {
  const teg_map_ops* map = device->tables.map;
  if (!map->invalidate) return TEG_OK;
  return map->invalidate(device->backend, memory, offset, size, err);
}

// The ring's memory goes back once the copies that use it are over. Nothing of
// it is held, or |outgrown| keeps it until that is over.
static void retire_memory(teg_stream* stream, tegi_ring* ring,
                          tegi_ring_memory* outgrown) {
  if (!ring->extent) return;
  if (outgrown) {
    outgrown->extent = ring->extent;
    outgrown->next = ring->outgrown;
    ring->outgrown = outgrown;
  } else {
    tegi_staging_retire(stream, ring->extent);
  }
  ring->extent = NULL;
  ring->dropped_count += ring->slot_count;
  ring->slot_count = 0;
  ring->head = ring->tail = 0;
}

static uint64_t count_held(const tegi_ring* ring) {
  uint64_t count = 0;
  for (size_t i = 0; i < ring->slot_count; ++i) {
    size_t at = (ring->first_slot + i) % ring->slot_capacity;
    if (ring->slots[at].is_held) count++;
  }
  return count;
}

// What is kept of the ring's memory after it has grown. NULL = nothing, or
// there is no host memory for it.
static tegi_ring_memory* make_outgrown(tegi_host* host, const tegi_ring* ring,
                                       uint64_t held_count) {
  if (held_count == 0) return NULL;
  tegi_ring_memory* outgrown = tegi_host_alloc(host, sizeof *outgrown);
  if (outgrown) *outgrown = (tegi_ring_memory){NULL, ring->extent, held_count};
  return outgrown;
}

// One read less holds bytes of |extent|, which the ring has outgrown.
static void release_outgrown(teg_stream* stream, tegi_ring* ring,
                             const tegi_extent* extent) {
  tegi_ring_memory** at = &ring->outgrown;
  while ((*at)->extent != extent) at = &(*at)->next;
  tegi_ring_memory* outgrown = *at;
  if (--outgrown->held_count > 0) return;
  *at = outgrown->next;
  tegi_staging_retire(stream, outgrown->extent);
  tegi_host_free(&device_of(stream)->host, outgrown, sizeof *outgrown);
}

// Replaces the memory by |size| bytes. On failure the ring is as it was.
static teg_result grow_ring(teg_stream* stream, tegi_ring* ring, uint64_t size,
                            teg_error* err) {
  tegi_host* host = &device_of(stream)->host;
  uint64_t held_count = count_held(ring);
  tegi_ring_memory* outgrown = make_outgrown(host, ring, held_count);
  if (held_count > 0 && !outgrown) {
    return tegi_error_set(err, TEG_OUT_OF_HOST_MEMORY,
                          "read: no host memory for one more ring");
  }
  tegi_extent* extent;
  char* pointer;
  bool is_readback = ring == &stream->readback;
  teg_result result = tegi_staging_create(stream->session, size, is_readback,
                                          &extent, &pointer, err);
  if (result != TEG_OK) {
    tegi_host_free(host, outgrown, sizeof *outgrown);
    return result;
  }
  retire_memory(stream, ring, outgrown);
  ring->extent = extent;
  ring->size = extent->bytes;
  ring->pointer = pointer;
  return TEG_OK;
}

// Makes the oldest slot free, by waiting for its batch.
static teg_result wait_oldest(teg_stream* stream, tegi_ring* ring,
                              teg_error* err) {
  const tegi_slot* oldest = &ring->slots[ring->first_slot];
  if (oldest->is_held) {
    return tegi_error_set(err, TEG_LIMIT,
                          "read: the reads that are not finished hold all of "
                          "the stream's %" PRIu64 " bytes of readback memory",
                          ring->size);
  }
  teg_result result = tegi_stream_wait_own(stream, oldest->serial, err);
  if (result == TEG_OK) reclaim(stream, ring);
  return result;
}

// What the ring grows to for |size| bytes that do not fit; 0 = it may not.
// What it has outgrown may be used for a while, so steps are large: all of that
// together is at most a third of ring_max, and ring_min.
static uint64_t next_ring_size(const teg_options* options,
                               const tegi_ring* ring, uint64_t size) {
  uint64_t most = options->ring_max;
  if (ring->extent && ring->size >= most) return 0;
  uint64_t wanted = ring->extent ? most : options->ring_min;
  if (ring->extent) {
    while (wanted / 4 > ring->size && wanted / 4 >= size) wanted /= 4;
  } else {
    while (wanted < size) wanted *= 2;
  }
  return tegi_min_u64(wanted, most);
}

static teg_result ring_take(teg_stream* stream, tegi_ring* ring, uint64_t size,
                            uint64_t* out_offset, teg_error* err) {
  const teg_options* options = &stream->session->options;
  tegi_host* host = &device_of(stream)->host;
  size = tegi_align_up(size, SLOT_ALIGNMENT);
  if (size > options->ring_max) {
    return tegi_error_set(err, TEG_LIMIT,
                          "read: %" PRIu64
                          " bytes at once are more than the %" PRIu64
                          " of ring_max",
                          size, options->ring_max);
  }
  reclaim(stream, ring);
  for (;;) {
    if (!reserve_slot(host, ring)) {
      return tegi_error_set(err, TEG_OUT_OF_HOST_MEMORY,
                            "write: no host memory for the staging ring");
    }
    uint64_t serial = teg_stream_recording(stream);
    if (take_bytes(ring, size, serial, out_offset)) return TEG_OK;
    uint64_t wanted = next_ring_size(options, ring, size);
    teg_result result = TEG_EXHAUSTED;
    if (wanted > 0) result = grow_ring(stream, ring, wanted, err);
    if (result != TEG_OK && ring->slot_count > 0) {
      result = wait_oldest(stream, ring, err);
    }
    if (result != TEG_OK) return result;
  }
}

void tegi_ring_destroy(teg_stream* stream, tegi_ring* ring) {
  retire_memory(stream, ring, NULL);
  while (ring->outgrown) {
    ring->outgrown->held_count = 1;
    release_outgrown(stream, ring, ring->outgrown->extent);
  }
  tegi_host_free(&device_of(stream)->host, ring->slots,
                 ring->slot_capacity * sizeof *ring->slots);
  *ring = (tegi_ring){0};
}

// ---- Host pointers of buffers ----------------------------------------------

char* tegi_buffer_pointer(const teg_buffer* buffer, uint64_t offset,
                          uint64_t* out_bytes) {
  const teg_device* device = buffer->session->device;
  const teg_map_ops* map = device->tables.map;
  teg_memory* memory = buffer->block.extent->memory;
  *out_bytes = buffer->size - offset;
  if (!map) return NULL;
  offset += buffer->block.offset;
  char* base = map->host_pointer(device->backend, memory);
  if (base) return base + offset;
  if (!map->tile_pointer) return NULL;
  uint64_t bytes = 0;
  char* pointer = map->tile_pointer(device->backend, memory, offset, &bytes);
  *out_bytes = tegi_min_u64(*out_bytes, bytes);
  return pointer;
}

static bool is_mapped(const teg_buffer* buffer) {
  uint64_t bytes;
  return tegi_buffer_pointer(buffer, 0, &bytes) != NULL;
}

// One piece of the buffer is written from |from|, or read to |to|.
static teg_result copy_piece(const teg_buffer* buffer, uint64_t offset,
                             char* pointer, uint64_t size, const char* from,
                             char* to, teg_error* err) {
  teg_device* device = buffer->session->device;
  teg_memory* memory = buffer->block.extent->memory;
  uint64_t at = buffer->block.offset + offset;
  if (from) {
    memcpy(pointer, from, size);
    return tegi_device_flush(device, memory, at, size, err);
  }
  teg_result result = tegi_device_invalidate(device, memory, at, size, err);
  if (result == TEG_OK) memcpy(to, pointer, size);
  return result;
}

// Copies between the program and the buffer through host pointers: from |from|,
// or else to |to|. What uses the bytes is over.
static teg_result copy_mapped(teg_buffer* buffer, uint64_t offset,
                              const char* from, char* to, uint64_t size,
                              teg_error* err) {
  teg_result result =
      tegi_buffer_host_access(buffer, offset, size, from != NULL, err);
  uint64_t done = 0;
  while (result == TEG_OK && done < size) {
    uint64_t piece;
    char* pointer = tegi_buffer_pointer(buffer, offset + done, &piece);
    TEG_ASSERT(pointer && piece > 0);
    piece = tegi_min_u64(piece, size - done);
    result = copy_piece(buffer, offset + done, pointer, piece,
                        from ? from + done : NULL, to ? to + done : NULL, err);
    done += piece;
  }
  return result;
}

// ---- Writing ---------------------------------------------------------------

static bool is_idle_for_host(teg_stream* stream, const teg_buffer* target) {
  tegi_stream_poll(stream);
  teg_session* session = target->session;
  tegi_lock_acquire(&session->lock);
  tegi_use_set use = target->block.use;
  // The program's own maps do not stand in its own way.
  use.host_holds = 0;
  tegi_verdict verdict = tegi_device_check(
      session->device, &use, TEGI_WRITE_HOST, stream->timeline.id);
  tegi_lock_release(&session->lock);
  return verdict == TEGI_REUSE_NOW;
}

tegi_way tegi_transfer_choose(teg_stream* stream, teg_buffer* target,
                              uint64_t offset, uint64_t size) {
  if ((target->flags & TEG_BUFFER_FOREIGN) || target->foreign ||
      !is_mapped(target)) {
    return TEGI_WAY_RING;
  }
  if (is_idle_for_host(stream, target)) return TEGI_WAY_DIRECT;
  bool is_whole = offset == 0 && size == target->size;
  if (is_whole && size <= stream->session->options.fresh_max &&
      tegi_fresh_block(stream, target)) {
    return TEGI_WAY_FRESH;
  }
  return TEGI_WAY_RING;
}

static teg_result write_piece(teg_stream* stream, teg_buffer* target,
                              uint64_t offset, const char* data, uint64_t size,
                              teg_error* err) {
  tegi_ring* ring = &stream->ring;
  uint64_t at;
  teg_result result = tegi_stream_begin_command(stream, false, err);
  if (result == TEG_OK) result = ring_take(stream, ring, size, &at, err);
  if (result != TEG_OK) return result;
  teg_span from = {ring->extent->memory, at, size, 0};
  result = tegi_device_host_access(device_of(stream), &from, true, err);
  if (result != TEG_OK) return result;
  memcpy(ring->pointer + at, data, size);
  result =
      tegi_device_flush(device_of(stream), ring->extent->memory, at, size, err);
  if (result == TEG_OK) result = tegi_stream_begin_use(stream, target, err);
  if (result != TEG_OK) return result;
  teg_span to = tegi_buffer_span(target, offset, size);
  result = tegi_stream_record_copy(stream, &to, &from, err);
  if (result == TEG_OK) stream->staged_bytes += size;
  return result;
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
  result = tegi_stream_check_session(stream, target, err);
  if (result != TEG_OK) return result;
  if (!device_of(stream)->tables.map) {
    return tegi_error_set(err, TEG_UNSUPPORTED,
                          "write: this device has no memory with host "
                          "pointers");
  }
  tegi_way way = tegi_transfer_choose(stream, target, offset, size);
  if (way != TEGI_WAY_RING) {
    result = copy_mapped(target, offset, data, NULL, size, err);
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
  result = tegi_session_wait_reporting(session, &use, stream->timeline.id, err);
  tegi_use_clear(host, &use);
  return result;
}

// A read by ticket. Its slot of the readback ring is held.
struct teg_read {
  teg_stream* stream;
  tegi_extent* extent;  // of the ring when it began
  const char* pointer;
  uint64_t slot;  // how many slots the ring had before it
  uint64_t at;    // in the extent
  uint64_t size;
  uint64_t serial;
  uint64_t error_count;  // of the stream when it began
};

// The bytes as they are at this place of the stream go to the readback ring.
static teg_result record_read(teg_stream* stream, teg_buffer* source,
                              uint64_t offset, uint64_t size,
                              teg_read* out_read, teg_error* err) {
  tegi_ring* ring = &stream->readback;
  uint64_t at;
  teg_result result = tegi_stream_begin_command(stream, false, err);
  if (result == TEG_OK) result = ring_take(stream, ring, size, &at, err);
  if (result == TEG_OK) result = tegi_stream_begin_use(stream, source, err);
  if (result != TEG_OK) return result;
  teg_span from = tegi_buffer_span(source, offset, size);
  teg_span to = {ring->extent->memory, at, size, 0};
  result = tegi_stream_record_copy(stream, &to, &from, err);
  if (result == TEG_OK) result = teg_stream_submit(stream, NULL, err);
  if (result != TEG_OK) return result;
  tegi_slot* slot = last_slot(ring);
  slot->is_held = true;
  *out_read = (teg_read){
      .stream = stream,
      .extent = ring->extent,
      .pointer = ring->pointer + at,
      .slot = ring->dropped_count + ring->slot_count - 1,
      .at = at,
      .size = size,
      .serial = slot->serial,
      .error_count = tegi_load_relaxed(&stream->error_count),
  };
  return TEG_OK;
}

// Lets go of the slot, and of those behind it that wait for this one only.
static void release_slot(const teg_read* read) {
  tegi_ring* ring = &read->stream->readback;
  if (read->extent != ring->extent) {
    release_outgrown(read->stream, ring, read->extent);
    return;
  }
  uint64_t index = read->slot - ring->dropped_count;
  size_t at = (ring->first_slot + (size_t)index) % ring->slot_capacity;
  ring->slots[at].is_held = false;
  reclaim(read->stream, ring);
}

static teg_result fetch(const teg_read* read, void* data, teg_error* err) {
  teg_stream* stream = read->stream;
  teg_memory* memory = read->extent->memory;
  teg_result result = teg_stream_wait(stream, read->serial, err);
  // What was told another read or wait meanwhile may be about these bytes.
  if (result == TEG_OK &&
      tegi_load_relaxed(&stream->error_count) != read->error_count) {
    result = tegi_stream_last_error(stream, err);
  }
  if (result == TEG_OK) {
    result = tegi_device_invalidate(device_of(stream), memory, read->at,
                                    read->size, err);
  }
  if (result == TEG_OK) {
    teg_span span = {memory, read->at, read->size, 0};
    result = tegi_device_host_access(device_of(stream), &span, false, err);
  }
  if (result == TEG_OK) memcpy(data, read->pointer, read->size);
  release_slot(read);
  return result;
}

// Through the readback ring, in pieces: one is copied by the device while the
// one before is fetched.
static teg_result read_by_ring(teg_stream* stream, teg_buffer* source,
                               uint64_t offset, char* data, uint64_t size,
                               teg_error* err) {
  uint64_t most = stream->session->options.ring_max / PIECES_PER_RING;
  teg_read before = {.size = 0};
  teg_result result = TEG_OK;
  while (result == TEG_OK && size > 0) {
    uint64_t piece = tegi_min_u64(size, most);
    teg_read read;
    result = record_read(stream, source, offset, piece, &read, err);
    if (is_out_of_memory(result) && most > LEAST_PIECE_BYTES) {
      most /= 2;
      result = TEG_OK;
      continue;
    }
    if (result != TEG_OK) break;
    if (before.size > 0) {
      result = fetch(&before, data, err);
      data += before.size;
    }
    before = read;
    offset += piece;
    size -= piece;
  }
  if (before.size == 0) return result;
  if (result == TEG_OK) return fetch(&before, data, err);
  release_slot(&before);
  return result;
}

static teg_result check_read(const teg_stream* stream, const teg_buffer* source,
                             uint64_t offset, uint64_t size, teg_error* err) {
  TEG_REQUIRE(stream, err, "read: stream is NULL");
  teg_result result =
      tegi_buffer_check_range(source, "read", offset, size, err);
  if (result != TEG_OK) return result;
  result = tegi_stream_check_session(stream, source, err);
  if (result != TEG_OK) return result;
  if (device_of(stream)->tables.map) return TEG_OK;
  return tegi_error_set(err, TEG_UNSUPPORTED,
                        "read: this device has no memory with host pointers");
}

// Whether the CPU reads the buffer where it is, and not slowly.
static bool is_readable(const teg_buffer* buffer) {
  const teg_device* device = buffer->session->device;
  const teg_map_ops* map = device->tables.map;
  if (!is_mapped(buffer)) return false;
  return !map->is_cached ||
         map->is_cached(device->backend, buffer->block.extent->memory);
}

teg_result teg_stream_read(teg_stream* stream, teg_buffer* source,
                           uint64_t offset, void* data, uint64_t size,
                           teg_error* err) {
  teg_result result = check_read(stream, source, offset, size, err);
  if (result != TEG_OK) return result;
  TEG_REQUIRE(data || size == 0, err, "read: data is NULL");
  result = settle(stream, source, err);
  if (result != TEG_OK || size == 0) return result;
  if (!is_readable(source)) {
    return read_by_ring(stream, source, offset, data, size, err);
  }
  return copy_mapped(source, offset, NULL, data, size, err);
}

teg_result teg_stream_read_begin(teg_stream* stream, teg_buffer* source,
                                 uint64_t offset, uint64_t size,
                                 teg_read** out_read, teg_error* err) {
  TEG_REQUIRE(out_read, err, "read_begin: out_read is NULL");
  *out_read = NULL;
  teg_result result = check_read(stream, source, offset, size, err);
  if (result != TEG_OK) return result;
  TEG_REQUIRE(size > 0, err, "read_begin: no bytes");
  teg_read* read = tegi_host_alloc(&device_of(stream)->host, sizeof *read);
  if (!read) {
    return tegi_error_set(err, TEG_OUT_OF_HOST_MEMORY,
                          "read_begin: no host memory for the ticket");
  }
  result = record_read(stream, source, offset, size, read, err);
  if (result != TEG_OK) {
    tegi_host_free(&device_of(stream)->host, read, sizeof *read);
    return result;
  }
  *out_read = read;
  return TEG_OK;
}

bool teg_read_is_ready(teg_read* read) {
  return read && teg_stream_completed(read->stream) >= read->serial;
}

teg_result teg_read_finish(teg_read* read, void* data, teg_error* err) {
  TEG_REQUIRE(read && data, err, "read_finish: an argument is NULL");
  teg_device* device = device_of(read->stream);
  teg_result result = fetch(read, data, err);
  tegi_host_free(&device->host, read, sizeof *read);
  return result;
}

void teg_read_cancel(teg_read* read) {
  if (!read) return;
  teg_device* device = device_of(read->stream);
  release_slot(read);
  tegi_host_free(&device->host, read, sizeof *read);
}
