// SPDX-License-Identifier: Apache-2.0
//
// The checker behind hazard.h. All fields are guarded by hazard->mutex.
//
// Invariants:
// - A physical memory's segments ascend, the first starts at 0, and each ends
//   where the next starts; neighbours may be alike. There is always room for
//   two more segments per byte range that a pending command will write.
// - A memory lives while it is not removed, or a pending command or a range's
//   slot names it.
// - pending lists, in record order, every command that is not executed.
#include "backend/null/hazard.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/checked.h"
#include "base/error.h"
#include "base/thread.h"

#define NOBODY UINT64_MAX  // the owner of bytes that were never written
#define TEXT_SIZE 512

typedef struct segment {
  uint64_t start;
  uint64_t owner;
  uint64_t serial;     // of the writing batch; 0 = the CPU
  uint64_t stream_id;  // 0 = the CPU
  const char* what;
} segment;

typedef struct slot {
  tegi_hazard_memory* heap;  // NULL = no tile
  uint32_t tile_index;
} slot;

struct tegi_hazard_memory {
  uint64_t id;
  uint64_t size;
  void* user;
  uint64_t reference_count;
  bool is_removed;
  bool is_range;
  slot* slots;  // range
  uint32_t slot_count;
  segment* segments;  // physical
  size_t segment_count;
  size_t segment_capacity;
  size_t pending_write_count;
  uint32_t* tile_maps;  // physical: how often each tile is mapped
  uint64_t tile_count;
};

// Physical bytes; |memory| NULL where nothing is mapped.
typedef struct piece {
  tegi_hazard_memory* memory;
  uint64_t offset;
  uint64_t size;
} piece;

typedef struct span_record {
  tegi_hazard_span span;
  size_t first_piece;
  size_t piece_count;
} span_record;

struct tegi_hazard_command {
  tegi_hazard_command* previous;
  tegi_hazard_command* next;
  tegi_hazard_stream* stream;
  uint64_t sequence;  // record order over all streams
  uint64_t serial;
  const char* what;
  teg_result result;
  bool is_call;
  bool is_submitted;
  uint32_t span_count;
  size_t piece_count;
  size_t allocated_bytes;
  span_record* spans;
  piece* pieces;
};

struct tegi_hazard_stream {
  tegi_hazard* hazard;
  uint64_t id;
  uint64_t submitted;
  char text[TEXT_SIZE];
};

struct tegi_hazard {
  tegi_hazard_params params;
  tegi_mutex mutex;
  tegi_hazard_command* first_pending;
  tegi_hazard_command* last_pending;
  uint64_t last_sequence;
  uint64_t last_memory_id;
  uint64_t last_stream_id;
  uint64_t report_count;
  char first_text[TEXT_SIZE];
};

// ---- Reports.

static teg_result report(tegi_hazard* hazard, tegi_hazard_command* command,
                         teg_error* err, const char* format, ...)
    TEGI_PRINTF(4, 5);

static teg_result report(tegi_hazard* hazard, tegi_hazard_command* command,
                         teg_error* err, const char* format, ...) {
  char text[TEXT_SIZE];
  va_list args;
  va_start(args, format);
  vsnprintf(text, sizeof text, format, args);
  va_end(args);
  if (hazard->report_count++ == 0) {
    memcpy(hazard->first_text, text, sizeof text);
  }
  if (command) {
    command->result = TEG_HAZARD;
    if (command->stream->text[0] == '\0') {
      memcpy(command->stream->text, text, sizeof text);
    }
  }
  return tegi_error_set(err, TEG_HAZARD, "%s", text);
}

typedef struct name_text {
  char text[128];
} name_text;

// "stream 1 batch 3 (copy)"
static name_text command_name(const tegi_hazard_command* command) {
  name_text name;
  snprintf(name.text, sizeof name.text, "stream %llu batch %llu (%s)",
           (unsigned long long)command->stream->id,
           (unsigned long long)command->serial, command->what);
  return name;
}

static name_text writer_name(const segment* writer) {
  name_text name;
  if (writer->owner == NOBODY) {
    snprintf(name.text, sizeof name.text, "nobody");
  } else if (writer->stream_id == 0) {
    snprintf(name.text, sizeof name.text, "owner %llu, by the CPU",
             (unsigned long long)writer->owner);
  } else {
    snprintf(name.text, sizeof name.text,
             "owner %llu, in stream %llu batch %llu (%s)",
             (unsigned long long)writer->owner,
             (unsigned long long)writer->stream_id,
             (unsigned long long)writer->serial, writer->what);
  }
  return name;
}

uint64_t tegi_hazard_get_report(tegi_hazard* hazard, char* text,
                                size_t text_size) {
  tegi_mutex_lock(&hazard->mutex);
  uint64_t count = hazard->report_count;
  if (text) snprintf(text, text_size, "%s", hazard->first_text);
  tegi_mutex_unlock(&hazard->mutex);
  return count;
}

void tegi_hazard_reset(tegi_hazard* hazard) {
  tegi_mutex_lock(&hazard->mutex);
  hazard->report_count = 0;
  hazard->first_text[0] = '\0';
  tegi_mutex_unlock(&hazard->mutex);
}

void tegi_hazard_take_text(tegi_hazard_stream* stream, char* text,
                           size_t text_size) {
  tegi_mutex_lock(&stream->hazard->mutex);
  snprintf(text, text_size, "%s", stream->text);
  stream->text[0] = '\0';
  tegi_mutex_unlock(&stream->hazard->mutex);
}

// ---- The checker and its memories.

teg_result tegi_hazard_create(const tegi_hazard_params* params,
                              tegi_hazard** out_hazard, teg_error* err) {
  *out_hazard = NULL;
  tegi_hazard* hazard = tegi_host_alloc(params->host, sizeof *hazard);
  if (!hazard || tegi_mutex_init(&hazard->mutex) != TEG_OK) {
    tegi_host_free(params->host, hazard, sizeof *hazard);
    return tegi_error_set(err, TEG_OUT_OF_HOST_MEMORY,
                          "no host memory for a hazard checker");
  }
  hazard->params = *params;
  *out_hazard = hazard;
  return TEG_OK;
}

void tegi_hazard_destroy(tegi_hazard* hazard) {
  if (!hazard) return;
  TEG_ASSERT(!hazard->first_pending);
  tegi_mutex_destroy(&hazard->mutex);
  tegi_host_free(hazard->params.host, hazard, sizeof *hazard);
}

static void memory_free(tegi_hazard* hazard, tegi_hazard_memory* memory) {
  tegi_host* host = hazard->params.host;
  tegi_host_free(host, memory->slots,
                 memory->slot_count * sizeof *memory->slots);
  tegi_host_free(host, memory->segments,
                 memory->segment_capacity * sizeof *memory->segments);
  tegi_host_free(host, memory->tile_maps,
                 (size_t)memory->tile_count * sizeof *memory->tile_maps);
  tegi_host_free(host, memory, sizeof *memory);
}

static void memory_retain(tegi_hazard_memory* memory) {
  if (memory) memory->reference_count++;
}

static void memory_release(tegi_hazard* hazard, tegi_hazard_memory* memory) {
  if (!memory) return;
  memory->reference_count--;
  if (memory->reference_count == 0) memory_free(hazard, memory);
}

// Slots of a range, or segments and tile counts of physical memory.
static bool memory_init(tegi_hazard* hazard, tegi_hazard_memory* memory) {
  tegi_host* host = hazard->params.host;
  uint64_t tile_bytes = hazard->params.tile_bytes;
  if (memory->is_range) {
    uint32_t slot_count = (uint32_t)(memory->size / tile_bytes);
    memory->slots = tegi_host_calloc(host, slot_count, sizeof *memory->slots);
    if (memory->slots) memory->slot_count = slot_count;
    return memory->slots != NULL;
  }
  uint64_t tile_count = tile_bytes ? memory->size / tile_bytes : 0;
  if (tile_count) {
    memory->tile_maps =
        tegi_host_calloc(host, (size_t)tile_count, sizeof *memory->tile_maps);
    if (!memory->tile_maps) return false;
    memory->tile_count = tile_count;
  }
  if (!tegi_host_grow_array(host, &memory->segments, &memory->segment_capacity,
                            1, sizeof *memory->segments)) {
    return false;
  }
  memory->segments[0] = (segment){.owner = NOBODY};
  memory->segment_count = 1;
  return true;
}

teg_result tegi_hazard_memory_add(tegi_hazard* hazard, bool is_range,
                                  uint64_t size, void* memory_user,
                                  tegi_hazard_memory** out_memory,
                                  teg_error* err) {
  *out_memory = NULL;
  tegi_hazard_memory* memory =
      tegi_host_alloc(hazard->params.host, sizeof *memory);
  if (memory) {
    memory->is_range = is_range;
    memory->size = size;
    memory->user = memory_user;
    memory->reference_count = 1;
    if (!memory_init(hazard, memory)) {
      memory_free(hazard, memory);
      memory = NULL;
    }
  }
  if (!memory) {
    return tegi_error_set(err, TEG_OUT_OF_HOST_MEMORY,
                          "no host memory for the records of a memory");
  }
  tegi_mutex_lock(&hazard->mutex);
  memory->id = ++hazard->last_memory_id;
  tegi_mutex_unlock(&hazard->mutex);
  *out_memory = memory;
  return TEG_OK;
}

// ---- Resolving addresses to physical bytes.

// The physical bytes from |offset| on, as many of |size| as lie in one tile.
static piece resolve(const tegi_hazard* hazard, tegi_hazard_memory* memory,
                     uint64_t offset, uint64_t size) {
  if (!memory->is_range) return (piece){memory, offset, size};
  uint64_t tile_bytes = hazard->params.tile_bytes;
  uint64_t in_tile = offset % tile_bytes;
  const slot* at = &memory->slots[offset / tile_bytes];
  return (piece){at->heap, at->tile_index * tile_bytes + in_tile,
                 tegi_min_u64(size, tile_bytes - in_tile)};
}

static uint64_t max_piece_count(const tegi_hazard* hazard,
                                const tegi_hazard_span* span) {
  if (span->size == 0) return 0;
  if (!span->memory->is_range) return 1;
  return (span->offset + span->size - 1) / hazard->params.tile_bytes -
         span->offset / hazard->params.tile_bytes + 1;
}

static bool pieces_meet(const piece* a, const piece* b) {
  return a->memory && a->memory == b->memory &&
         a->offset < b->offset + b->size && b->offset < a->offset + a->size;
}

// The first span of |command| that meets |bytes| and, with |only_written|,
// writes it. NULL if there is none.
static const span_record* span_on(const tegi_hazard_command* command,
                                  const piece* bytes, bool only_written) {
  for (uint32_t i = 0; i < command->span_count; i++) {
    const span_record* record = &command->spans[i];
    if (only_written && !record->span.is_written) continue;
    for (size_t p = 0; p < record->piece_count; p++) {
      if (pieces_meet(&command->pieces[record->first_piece + p], bytes)) {
        return record;
      }
    }
  }
  return NULL;
}

// The first unexecuted command that touches |bytes|.
static tegi_hazard_command* pending_on(const tegi_hazard* hazard,
                                       const piece* bytes, bool only_written,
                                       bool only_recorded) {
  for (tegi_hazard_command* command = hazard->first_pending; command;
       command = command->next) {
    if (only_recorded && command->is_submitted) continue;
    if (span_on(command, bytes, only_written)) return command;
  }
  return NULL;
}

void tegi_hazard_memory_remove(tegi_hazard* hazard,
                               tegi_hazard_memory* memory) {
  if (!memory) return;
  tegi_mutex_lock(&hazard->mutex);
  tegi_hazard_command* command = NULL;
  if (memory->is_range) {
    // By address: a span of this range, whatever is under it.
    for (command = hazard->first_pending; command; command = command->next) {
      bool is_user = false;
      for (uint32_t i = 0; i < command->span_count; i++) {
        is_user = is_user || command->spans[i].span.memory == memory;
      }
      if (is_user) break;
    }
    for (uint32_t i = 0; i < memory->slot_count; i++) {
      tegi_hazard_memory* heap = memory->slots[i].heap;
      if (!heap) continue;
      heap->tile_maps[memory->slots[i].tile_index]--;
      memory_release(hazard, heap);
    }
  } else {
    piece all = {memory, 0, memory->size};
    command = pending_on(hazard, &all, false, false);
    uint64_t mapped_count = 0;
    for (uint64_t i = 0; i < memory->tile_count; i++) {
      mapped_count += memory->tile_maps[i] != 0;
    }
    if (mapped_count) {
      report(hazard, NULL, NULL,
             "memory %llu is destroyed with %llu of its tiles mapped",
             (unsigned long long)memory->id, (unsigned long long)mapped_count);
    }
  }
  if (command) {
    report(hazard, NULL, NULL,
           "memory %llu is destroyed before %s, which touches it, is complete",
           (unsigned long long)memory->id, command_name(command).text);
  }
  memory->is_removed = true;
  memory_release(hazard, memory);
  tegi_mutex_unlock(&hazard->mutex);
}

// ---- Tiles.

static teg_result check_tiles_idle(tegi_hazard* hazard, const piece* tiles,
                                   const char* what, teg_error* err) {
  // A queue that orders remaps runs what is submitted first.
  bool only_recorded = hazard->params.remap == TEG_REMAP_QUEUE_ORDERED;
  tegi_hazard_command* command =
      pending_on(hazard, tiles, false, only_recorded);
  if (!command) return TEG_OK;
  return report(hazard, NULL, err,
                "tile %llu of memory %llu is %s before %s, which touches it, "
                "is complete",
                (unsigned long long)(tiles->offset / hazard->params.tile_bytes),
                (unsigned long long)tiles->memory->id, what,
                command_name(command).text);
}

teg_result tegi_hazard_check_map(tegi_hazard* hazard, tegi_hazard_memory* range,
                                 const tegi_hazard_run* runs, size_t run_count,
                                 teg_error* err) {
  (void)range;
  uint64_t tile_bytes = hazard->params.tile_bytes;
  teg_result result = TEG_OK;
  tegi_mutex_lock(&hazard->mutex);
  for (size_t i = 0; i < run_count && result == TEG_OK; i++) {
    const tegi_hazard_run* run = &runs[i];
    piece tiles = {run->heap, run->heap_tile_index * tile_bytes,
                   run->tile_count * tile_bytes};
    result = check_tiles_idle(hazard, &tiles, "mapped", err);
    for (uint32_t t = 0; t < run->tile_count && result == TEG_OK; t++) {
      uint32_t tile = run->heap_tile_index + t;
      if (run->heap->tile_maps[tile] == 0) continue;
      result = report(hazard, NULL, err,
                      "tile %u of memory %llu is mapped elsewhere already",
                      tile, (unsigned long long)run->heap->id);
    }
  }
  tegi_mutex_unlock(&hazard->mutex);
  return result;
}

void tegi_hazard_map_done(tegi_hazard* hazard, tegi_hazard_memory* range,
                          const tegi_hazard_run* runs, size_t run_count) {
  tegi_mutex_lock(&hazard->mutex);
  for (size_t i = 0; i < run_count; i++) {
    for (uint32_t t = 0; t < runs[i].tile_count; t++) {
      uint32_t tile = runs[i].heap_tile_index + t;
      range->slots[runs[i].range_tile_index + t] = (slot){runs[i].heap, tile};
      runs[i].heap->tile_maps[tile]++;
      memory_retain(runs[i].heap);
    }
  }
  tegi_mutex_unlock(&hazard->mutex);
}

teg_result tegi_hazard_check_unmap(tegi_hazard* hazard,
                                   tegi_hazard_memory* range,
                                   const tegi_hazard_run* runs,
                                   size_t run_count, teg_error* err) {
  uint64_t tile_bytes = hazard->params.tile_bytes;
  teg_result result = TEG_OK;
  tegi_mutex_lock(&hazard->mutex);
  for (size_t i = 0; i < run_count && result == TEG_OK; i++) {
    for (uint32_t t = 0; t < runs[i].tile_count && result == TEG_OK; t++) {
      uint64_t offset = (runs[i].range_tile_index + (uint64_t)t) * tile_bytes;
      piece tile = resolve(hazard, range, offset, tile_bytes);
      if (tile.memory) {
        result = check_tiles_idle(hazard, &tile, "unmapped", err);
      }
    }
  }
  tegi_mutex_unlock(&hazard->mutex);
  return result;
}

void tegi_hazard_unmap_done(tegi_hazard* hazard, tegi_hazard_memory* range,
                            const tegi_hazard_run* runs, size_t run_count) {
  tegi_mutex_lock(&hazard->mutex);
  for (size_t i = 0; i < run_count; i++) {
    for (uint32_t t = 0; t < runs[i].tile_count; t++) {
      slot* at = &range->slots[runs[i].range_tile_index + t];
      if (!at->heap) continue;
      at->heap->tile_maps[at->tile_index]--;
      memory_release(hazard, at->heap);
      *at = (slot){NULL, 0};
    }
  }
  tegi_mutex_unlock(&hazard->mutex);
}

// ---- Who wrote the bytes.

// Index of the segment that holds |offset|.
static size_t segment_at(const tegi_hazard_memory* memory, uint64_t offset) {
  size_t low = 0, high = memory->segment_count;
  while (high - low > 1) {
    size_t middle = low + (high - low) / 2;
    if (memory->segments[middle].start <= offset) {
      low = middle;
    } else {
      high = middle;
    }
  }
  return low;
}

static uint64_t segment_end(const tegi_hazard_memory* memory, size_t index) {
  return index + 1 < memory->segment_count ? memory->segments[index + 1].start
                                           : memory->size;
}

// Room for what a write of one more byte range can add.
static bool reserve_segments(tegi_hazard* hazard, tegi_hazard_memory* memory) {
  return tegi_host_grow_array(
             hazard->params.host, &memory->segments, &memory->segment_capacity,
             memory->segment_count + 2 * (memory->pending_write_count + 1),
             sizeof *memory->segments) != 0;
}

// Bytes of |bytes| belong to |writer| from now on. There is room.
static void write_bytes(const piece* bytes, const segment* writer) {
  tegi_hazard_memory* memory = bytes->memory;
  uint64_t start = bytes->offset, end = bytes->offset + bytes->size;
  size_t first = segment_at(memory, start);
  size_t last = segment_at(memory, end - 1);
  segment tail = memory->segments[last];
  bool has_tail = end < segment_end(memory, last);
  // A part of |first| before the bytes stays; those after it are replaced.
  bool has_head = memory->segments[first].start < start;
  size_t put = first + (has_head ? 1 : 0);
  size_t fresh_count = has_tail ? 2 : 1;
  size_t rest = last + 1;
  size_t rest_count = memory->segment_count - rest;
  TEG_ASSERT(put + fresh_count + rest_count <= memory->segment_capacity);
  memmove(&memory->segments[put + fresh_count], &memory->segments[rest],
          rest_count * sizeof *memory->segments);
  memory->segments[put] = *writer;
  memory->segments[put].start = start;
  if (has_tail) {
    tail.start = end;
    memory->segments[put + 1] = tail;
  }
  memory->segment_count = put + fresh_count + rest_count;
}

// The first segment in |bytes| that |owner| must not read; NULL if all is
// well.
static const segment* foreign_segment(const piece* bytes, uint64_t owner,
                                      uint64_t* out_offset) {
  if (owner == 0 || bytes->size == 0) return NULL;
  const tegi_hazard_memory* memory = bytes->memory;
  uint64_t end = bytes->offset + bytes->size;
  for (size_t i = segment_at(memory, bytes->offset);
       i < memory->segment_count && memory->segments[i].start < end; i++) {
    const segment* at = &memory->segments[i];
    if (at->owner != owner && at->owner != 0) {
      *out_offset = tegi_max_u64(at->start, bytes->offset);
      return at;
    }
  }
  return NULL;
}

// Shows bytes that change hands to on_new_owner.
static void tell_new_owner(const tegi_hazard* hazard, const piece* bytes,
                           uint64_t owner) {
  if (!hazard->params.on_new_owner) return;
  const tegi_hazard_memory* memory = bytes->memory;
  uint64_t end = bytes->offset + bytes->size;
  for (size_t i = segment_at(memory, bytes->offset);
       i < memory->segment_count && memory->segments[i].start < end; i++) {
    if (memory->segments[i].owner == owner) continue;
    uint64_t start = tegi_max_u64(memory->segments[i].start, bytes->offset);
    uint64_t stop = tegi_min_u64(segment_end(memory, i), end);
    hazard->params.on_new_owner(hazard->params.user, memory->user, start,
                                stop - start);
  }
}

static teg_result host_access_locked(tegi_hazard* hazard,
                                     const tegi_hazard_span* span,
                                     teg_error* err) {
  teg_result result = TEG_OK;
  for (uint64_t done = 0; done < span->size;) {
    piece bytes =
        resolve(hazard, span->memory, span->offset + done, span->size - done);
    done += bytes.size;
    if (!bytes.memory) {
      result = report(hazard, NULL, err,
                      "the CPU touches addresses of memory %llu with no tile",
                      (unsigned long long)span->memory->id);
      continue;
    }
    tegi_hazard_command* command =
        pending_on(hazard, &bytes, !span->is_written, false);
    if (command) {
      result = report(
          hazard, NULL, err,
          "the CPU %s %llu bytes at %llu of memory %llu before %s "
          "is complete",
          span->is_written ? "writes" : "reads", (unsigned long long)bytes.size,
          (unsigned long long)bytes.offset,
          (unsigned long long)bytes.memory->id, command_name(command).text);
    }
    uint64_t offset = 0;
    const segment* writer =
        span->is_read ? foreign_segment(&bytes, span->owner, &offset) : NULL;
    if (writer) {
      result = report(
          hazard, NULL, err,
          "the CPU reads byte %llu of memory %llu for owner %llu; "
          "written last by %s",
          (unsigned long long)offset, (unsigned long long)bytes.memory->id,
          (unsigned long long)span->owner, writer_name(writer).text);
    }
    if (!span->is_written) continue;
    if (!reserve_segments(hazard, bytes.memory)) {
      return tegi_error_set(err, TEG_OUT_OF_HOST_MEMORY,
                            "no host memory to note a write");
    }
    write_bytes(&bytes, &(segment){.owner = span->owner, .what = "CPU"});
  }
  return result;
}

teg_result tegi_hazard_host_access(tegi_hazard* hazard,
                                   const tegi_hazard_span* span,
                                   teg_error* err) {
  tegi_mutex_lock(&hazard->mutex);
  teg_result result = host_access_locked(hazard, span, err);
  tegi_mutex_unlock(&hazard->mutex);
  return result;
}

// ---- Streams and commands.

teg_result tegi_hazard_stream_add(tegi_hazard* hazard,
                                  tegi_hazard_stream** out_stream,
                                  teg_error* err) {
  *out_stream = NULL;
  tegi_hazard_stream* stream =
      tegi_host_alloc(hazard->params.host, sizeof *stream);
  if (!stream) {
    return tegi_error_set(err, TEG_OUT_OF_HOST_MEMORY,
                          "no host memory for a stream");
  }
  stream->hazard = hazard;
  tegi_mutex_lock(&hazard->mutex);
  stream->id = ++hazard->last_stream_id;
  tegi_mutex_unlock(&hazard->mutex);
  *out_stream = stream;
  return TEG_OK;
}

// Takes a command out of the pending ones and frees it.
static void command_drop(tegi_hazard* hazard, tegi_hazard_command* command) {
  if (command->previous) {
    command->previous->next = command->next;
  } else {
    hazard->first_pending = command->next;
  }
  if (command->next) {
    command->next->previous = command->previous;
  } else {
    hazard->last_pending = command->previous;
  }
  for (uint32_t i = 0; i < command->span_count; i++) {
    const span_record* record = &command->spans[i];
    for (size_t p = 0; p < record->piece_count; p++) {
      tegi_hazard_memory* memory =
          command->pieces[record->first_piece + p].memory;
      if (memory && record->span.is_written) memory->pending_write_count--;
      memory_release(hazard, memory);
    }
    memory_release(hazard, record->span.memory);
  }
  tegi_host_free(hazard->params.host, command, command->allocated_bytes);
}

void tegi_hazard_stream_remove(tegi_hazard* hazard,
                               tegi_hazard_stream* stream) {
  if (!stream) return;
  tegi_mutex_lock(&hazard->mutex);
  tegi_hazard_command* command = hazard->first_pending;
  while (command) {
    tegi_hazard_command* next = command->next;
    if (command->stream == stream) command_drop(hazard, command);
    command = next;
  }
  tegi_mutex_unlock(&hazard->mutex);
  tegi_host_free(hazard->params.host, stream, sizeof *stream);
}

// Writes the pieces of one span behind those that are there, neighbours
// merged, and makes room for its writes. False without memory; then the
// pieces so far are held and counted.
static bool add_pieces(tegi_hazard* hazard, tegi_hazard_command* command,
                       span_record* record) {
  const tegi_hazard_span* span = &record->span;
  record->first_piece = command->piece_count;
  for (uint64_t done = 0; done < span->size;) {
    piece next =
        resolve(hazard, span->memory, span->offset + done, span->size - done);
    done += next.size;
    piece* last =
        record->piece_count ? &command->pieces[command->piece_count - 1] : NULL;
    if (last && last->memory == next.memory &&
        (!next.memory || last->offset + last->size == next.offset)) {
      last->size += next.size;
      continue;
    }
    if (next.memory && span->is_written) {
      if (!reserve_segments(hazard, next.memory)) return false;
      next.memory->pending_write_count++;
    }
    memory_retain(next.memory);
    command->pieces[command->piece_count++] = next;
    record->piece_count++;
  }
  return true;
}

static tegi_hazard_command* command_new(tegi_hazard* hazard,
                                        const tegi_hazard_span* spans,
                                        uint32_t span_count) {
  uint64_t piece_count = 0;
  for (uint32_t i = 0; i < span_count; i++) {
    piece_count += max_piece_count(hazard, &spans[i]);
  }
  tegi_hazard_command* command;
  size_t bytes = sizeof *command + span_count * sizeof *command->spans +
                 (size_t)piece_count * sizeof *command->pieces;
  command = tegi_host_alloc(hazard->params.host, bytes);
  if (!command) return NULL;
  command->allocated_bytes = bytes;
  command->spans = (span_record*)(void*)(command + 1);
  command->pieces = (piece*)(void*)(command->spans + span_count);
  command->previous = hazard->last_pending;
  if (command->previous) {
    command->previous->next = command;
  } else {
    hazard->first_pending = command;
  }
  hazard->last_pending = command;
  return command;
}

static void check_recorded(tegi_hazard* hazard, tegi_hazard_command* command) {
  for (uint32_t i = 0; i < command->span_count; i++) {
    const span_record* record = &command->spans[i];
    for (size_t p = 0; p < record->piece_count; p++) {
      if (command->pieces[record->first_piece + p].memory) continue;
      report(hazard, command, NULL,
             "%s is recorded for addresses of memory %llu with no tile",
             command_name(command).text,
             (unsigned long long)record->span.memory->id);
    }
  }
}

teg_result tegi_hazard_record(tegi_hazard_stream* stream, const char* what,
                              bool is_call, const tegi_hazard_span* spans,
                              uint32_t span_count,
                              tegi_hazard_command** out_command,
                              teg_error* err) {
  tegi_hazard* hazard = stream->hazard;
  *out_command = NULL;
  tegi_mutex_lock(&hazard->mutex);
  tegi_hazard_command* command = command_new(hazard, spans, span_count);
  bool is_done = command != NULL;
  if (command) {
    command->stream = stream;
    command->what = what;
    command->is_call = is_call;
    command->serial = stream->submitted + 1;
    for (uint32_t i = 0; i < span_count && is_done; i++) {
      command->span_count = i + 1;
      command->spans[i].span = spans[i];
      memory_retain(spans[i].memory);
      is_done = add_pieces(hazard, command, &command->spans[i]);
    }
    if (is_done) {
      command->sequence = ++hazard->last_sequence;
      check_recorded(hazard, command);
      *out_command = command;
    } else {
      command_drop(hazard, command);
    }
  }
  tegi_mutex_unlock(&hazard->mutex);
  if (is_done) return TEG_OK;
  return tegi_error_set(err, TEG_OUT_OF_HOST_MEMORY,
                        "no host memory to note a command");
}

void tegi_hazard_unrecord(tegi_hazard_command* command) {
  tegi_hazard* hazard = command->stream->hazard;
  tegi_mutex_lock(&hazard->mutex);
  command_drop(hazard, command);
  tegi_mutex_unlock(&hazard->mutex);
}

// The bytes of two commands meet, for two owners, one of them writing.
static const span_record* conflict(const tegi_hazard_command* early,
                                   const tegi_hazard_command* late,
                                   const span_record** out_late) {
  for (uint32_t i = 0; i < late->span_count; i++) {
    const span_record* record = &late->spans[i];
    for (size_t p = 0; p < record->piece_count; p++) {
      const span_record* other =
          span_on(early, &late->pieces[record->first_piece + p],
                  !record->span.is_written);
      if (other && other->span.owner && record->span.owner &&
          other->span.owner != record->span.owner) {
        *out_late = record;
        return other;
      }
    }
  }
  return NULL;
}

// Something recorded earlier, and not submitted, would now run later.
static void check_overtaking(tegi_hazard* hazard,
                             tegi_hazard_command* command) {
  for (const tegi_hazard_command* early = hazard->first_pending; early;
       early = early->next) {
    if (early->sequence >= command->sequence) return;
    if (early->stream == command->stream || early->is_submitted) continue;
    const span_record* late_span;
    const span_record* early_span = conflict(early, command, &late_span);
    if (!early_span) continue;
    report(hazard, command, NULL,
           "%s for owner %llu is submitted before %s for owner %llu, which "
           "was recorded earlier on the same bytes",
           command_name(command).text,
           (unsigned long long)late_span->span.owner, command_name(early).text,
           (unsigned long long)early_span->span.owner);
    return;
  }
}

void tegi_hazard_submit(tegi_hazard_stream* stream) {
  tegi_hazard* hazard = stream->hazard;
  tegi_mutex_lock(&hazard->mutex);
  for (tegi_hazard_command* command = hazard->first_pending; command;
       command = command->next) {
    if (command->stream == stream && !command->is_submitted) {
      command->is_submitted = true;
      check_overtaking(hazard, command);
    }
  }
  stream->submitted++;
  tegi_mutex_unlock(&hazard->mutex);
}

// The bytes are those the command was recorded for.
static bool is_still_there(tegi_hazard* hazard, tegi_hazard_command* command,
                           const span_record* record) {
  const tegi_hazard_span* span = &record->span;
  bool is_same = !span->memory->is_removed;
  uint64_t done = 0;
  for (size_t p = 0; p < record->piece_count && is_same; p++) {
    piece old = command->pieces[record->first_piece + p];
    if (!old.memory || old.memory->is_removed) is_same = false;
    while (old.size && is_same) {
      piece now = resolve(hazard, span->memory, span->offset + done, old.size);
      is_same = now.memory == old.memory && now.offset == old.offset;
      old.offset += now.size;
      old.size -= now.size;
      done += now.size;
    }
  }
  if (!is_same && command->result == TEG_OK) {
    report(hazard, command, NULL,
           "%s executes after the %llu bytes at %llu of memory %llu it was "
           "recorded for were remapped or destroyed",
           command_name(command).text, (unsigned long long)span->size,
           (unsigned long long)span->offset,
           (unsigned long long)span->memory->id);
  }
  return is_same;
}

static void check_read(tegi_hazard* hazard, tegi_hazard_command* command,
                       const span_record* record) {
  for (size_t p = 0; p < record->piece_count; p++) {
    const piece* bytes = &command->pieces[record->first_piece + p];
    uint64_t offset;
    const segment* writer = foreign_segment(bytes, record->span.owner, &offset);
    if (!writer) continue;
    report(hazard, command, NULL,
           "%s reads byte %llu of memory %llu for owner %llu; written last "
           "by %s",
           command_name(command).text, (unsigned long long)offset,
           (unsigned long long)bytes->memory->id,
           (unsigned long long)record->span.owner, writer_name(writer).text);
    return;
  }
}

static void do_write(tegi_hazard* hazard, const tegi_hazard_command* command,
                     const span_record* record) {
  segment writer = {.owner = record->span.owner,
                    .serial = command->serial,
                    .stream_id = command->stream->id,
                    .what = command->what};
  for (size_t p = 0; p < record->piece_count; p++) {
    const piece* bytes = &command->pieces[record->first_piece + p];
    if (command->is_call && !record->span.is_read && record->span.owner) {
      tell_new_owner(hazard, bytes, record->span.owner);
    }
    write_bytes(bytes, &writer);
  }
}

teg_result tegi_hazard_execute(tegi_hazard_command* command,
                               bool* out_may_run) {
  tegi_hazard* hazard = command->stream->hazard;
  tegi_mutex_lock(&hazard->mutex);
  bool may_run = true;
  for (uint32_t i = 0; i < command->span_count; i++) {
    may_run = is_still_there(hazard, command, &command->spans[i]) && may_run;
  }
  for (uint32_t i = 0; i < command->span_count && may_run; i++) {
    const span_record* record = &command->spans[i];
    if (record->span.is_read) check_read(hazard, command, record);
  }
  for (uint32_t i = 0; i < command->span_count && may_run; i++) {
    const span_record* record = &command->spans[i];
    if (record->span.is_written) do_write(hazard, command, record);
  }
  teg_result result = command->result;
  command_drop(hazard, command);
  tegi_mutex_unlock(&hazard->mutex);
  *out_may_run = may_run;
  return result;
}
