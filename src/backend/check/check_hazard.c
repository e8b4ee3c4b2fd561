// SPDX-License-Identifier: Apache-2.0
//
// Commands and batches of the checker behind check_hazard.h: what is reported
// when they are recorded, submitted, executed and known to be complete.
//
// pending lists every command that is not known to be complete, in record
// order; a stream's oldest to newest are those of the batch recorded now.
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "backend/check/check_parts.h"
#include "base/checked.h"

// ---- Reports.

// The first text about a batch is its error.
static void keep_text(tegi_hazard_stream* stream, uint64_t serial,
                      const char* text) {
  if (serial > stream->submitted) {
    if (stream->recorded_text[0] == '\0') {
      snprintf(stream->recorded_text, sizeof stream->recorded_text, "%s", text);
    }
  } else if (stream->kept_serial == 0 || serial < stream->kept_serial) {
    stream->kept_serial = serial;
    snprintf(stream->kept_text, sizeof stream->kept_text, "%s", text);
  }
}

teg_result tegi_hazard_report(tegi_hazard* hazard, tegi_hazard_stream* stream,
                              uint64_t serial, teg_error* err,
                              const char* format, ...) {
  char text[TEGI_HAZARD_TEXT_BYTES];
  va_list args;
  va_start(args, format);
  vsnprintf(text, sizeof text, format, args);
  va_end(args);
  if (hazard->report_count++ == 0) {
    memcpy(hazard->first_text, text, sizeof text);
  }
  if (stream) keep_text(stream, serial, text);
  return tegi_error_set(err, TEG_HAZARD, "%s", text);
}

tegi_name_text tegi_hazard_command_name(const tegi_hazard_command* command) {
  tegi_name_text name;
  snprintf(name.text, sizeof name.text, "stream %llu batch %llu (%s)",
           (unsigned long long)command->stream->id,
           (unsigned long long)command->serial, command->what);
  return name;
}

static tegi_name_text writer_name(const tegi_segment* writer) {
  tegi_name_text name;
  if (writer->owner == TEGI_NOBODY) {
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

teg_result tegi_hazard_take_error(tegi_hazard_stream* stream, uint64_t serial,
                                  teg_error* err) {
  teg_result result = TEG_OK;
  tegi_mutex_lock(&stream->hazard->mutex);
  if (stream->kept_serial && stream->kept_serial <= serial) {
    result = tegi_error_set(err, TEG_HAZARD, "%s", stream->kept_text);
    stream->kept_serial = 0;
  }
  tegi_mutex_unlock(&stream->hazard->mutex);
  return result;
}

// ---- The checker.

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
  TEG_ASSERT(!hazard->first_pending && !hazard->streams);
  tegi_host* host = hazard->params.host;
  tegi_hazard_moves_discard(hazard);
  tegi_host_free(host, hazard->moves,
                 hazard->move_capacity * sizeof *hazard->moves);
  tegi_clock_free(host, &hazard->bind_clock);
  tegi_mutex_destroy(&hazard->mutex);
  tegi_host_free(host, hazard, sizeof *hazard);
}

// ---- Looking for commands.

const tegi_span_record* tegi_hazard_span_on(const tegi_hazard_command* command,
                                            const tegi_piece* bytes,
                                            bool only_written) {
  for (uint32_t i = 0; i < command->span_count; i++) {
    const tegi_span_record* record = &command->spans[i];
    if (only_written && !record->span.is_written) continue;
    for (size_t p = 0; p < record->piece_count; p++) {
      if (tegi_pieces_meet(&command->pieces[record->first_piece + p], bytes)) {
        return record;
      }
    }
  }
  return NULL;
}

tegi_hazard_command* tegi_hazard_pending_on(const tegi_hazard* hazard,
                                            const tegi_piece* bytes,
                                            bool only_written,
                                            bool only_recorded) {
  for (tegi_hazard_command* command = hazard->first_pending; command;
       command = command->next) {
    if (only_recorded && command->is_submitted) continue;
    if (tegi_hazard_span_on(command, bytes, only_written)) return command;
  }
  return NULL;
}

// Where two commands meet, one of the two writing.
typedef struct meeting {
  const tegi_span_record* early;
  const tegi_span_record* late;
  const tegi_hazard_memory* memory;
  uint64_t offset;
  uint64_t size;
} meeting;

static bool spans_meet(const tegi_hazard_command* early,
                       const tegi_span_record* early_span,
                       const tegi_hazard_command* late,
                       const tegi_span_record* late_span, meeting* out) {
  for (size_t i = 0; i < early_span->piece_count; i++) {
    const tegi_piece* a = &early->pieces[early_span->first_piece + i];
    for (size_t j = 0; j < late_span->piece_count; j++) {
      const tegi_piece* b = &late->pieces[late_span->first_piece + j];
      if (!tegi_pieces_meet(a, b)) continue;
      uint64_t start = tegi_max_u64(a->offset, b->offset);
      uint64_t end = tegi_min_u64(a->offset + a->size, b->offset + b->size);
      *out = (meeting){early_span, late_span, a->memory, start, end - start};
      return true;
    }
  }
  return false;
}

// |is_any_owner|: also of one owner, or of none that is followed.
static bool find_meeting(const tegi_hazard_command* early,
                         const tegi_hazard_command* late, bool is_any_owner,
                         meeting* out) {
  for (uint32_t i = 0; i < early->span_count; i++) {
    const tegi_hazard_span* a = &early->spans[i].span;
    for (uint32_t j = 0; j < late->span_count; j++) {
      const tegi_hazard_span* b = &late->spans[j].span;
      if (!a->is_written && !b->is_written) continue;
      bool is_other = a->owner && b->owner && a->owner != b->owner;
      if (!is_other && !is_any_owner) continue;
      if (spans_meet(early, &early->spans[i], late, &late->spans[j], out)) {
        return true;
      }
    }
  }
  return false;
}

// ---- The CPU.

static teg_result check_host_order(tegi_hazard* hazard,
                                   const tegi_hazard_span* span,
                                   const tegi_piece* bytes, teg_error* err) {
  const tegi_hazard_command* command =
      tegi_hazard_pending_on(hazard, bytes, !span->is_written, false);
  if (!command) return TEG_OK;
  return tegi_hazard_report(
      hazard, NULL, 0, err,
      "the CPU %s %llu bytes at %llu of memory %llu before %s is complete",
      span->is_written ? "writes" : "reads", (unsigned long long)bytes->size,
      (unsigned long long)bytes->offset, (unsigned long long)bytes->memory->id,
      tegi_hazard_command_name(command).text);
}

static teg_result check_host_read(tegi_hazard* hazard,
                                  const tegi_hazard_span* span,
                                  const tegi_piece* bytes, teg_error* err) {
  uint64_t offset;
  const tegi_segment* writer = tegi_bytes_foreign(bytes, span->owner, &offset);
  if (!writer) return TEG_OK;
  return tegi_hazard_report(
      hazard, NULL, 0, err,
      "the CPU reads byte %llu of memory %llu for owner %llu; written last by "
      "%s",
      (unsigned long long)offset, (unsigned long long)bytes->memory->id,
      (unsigned long long)span->owner, writer_name(writer).text);
}

static teg_result host_write(tegi_hazard* hazard, const tegi_hazard_span* span,
                             const tegi_piece* bytes, teg_error* err) {
  if (!tegi_bytes_reserve(hazard, bytes->memory)) {
    return tegi_error_set(err, TEG_OUT_OF_HOST_MEMORY,
                          "no host memory to note a write");
  }
  tegi_bytes_write(bytes, &(tegi_segment){.owner = span->owner, .what = "CPU"});
  return TEG_OK;
}

static teg_result host_access_locked(tegi_hazard* hazard,
                                     const tegi_hazard_span* span,
                                     teg_error* err) {
  teg_result result = TEG_OK;
  for (uint64_t done = 0; done < span->size;) {
    tegi_piece bytes = tegi_bytes_resolve(
        hazard, span->memory, span->offset + done, span->size - done, NULL);
    done += bytes.size;
    teg_result found = TEG_OK;
    if (!bytes.memory) {
      result = tegi_hazard_report(
          hazard, NULL, 0, err,
          "the CPU touches addresses of memory %llu with no tile",
          (unsigned long long)span->memory->id);
      continue;
    }
    found = check_host_order(hazard, span, &bytes, err);
    if (found != TEG_OK) result = found;
    if (span->is_read) found = check_host_read(hazard, span, &bytes, err);
    if (found != TEG_OK) result = found;
    if (!span->is_written) continue;
    found = host_write(hazard, span, &bytes, err);
    if (found != TEG_OK) return found;
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

// ---- Commands come and go.

static void pieces_release(tegi_hazard* hazard, tegi_hazard_command* command) {
  for (uint32_t i = 0; i < command->span_count; i++) {
    const tegi_span_record* record = &command->spans[i];
    for (size_t p = 0; p < record->piece_count; p++) {
      tegi_hazard_memory* memory =
          command->pieces[record->first_piece + p].memory;
      bool is_reserved = record->span.is_written && !command->is_executed;
      if (memory && is_reserved) memory->unwritten_count--;
      tegi_bytes_release(hazard, memory);
    }
    tegi_bytes_release(hazard, record->span.memory);
  }
}

static void unlink_recorded(tegi_hazard_command* command) {
  tegi_hazard_stream* stream = command->stream;
  if (command->older) {
    command->older->newer = command->newer;
  } else {
    stream->oldest = command->newer;
  }
  if (command->newer) {
    command->newer->older = command->older;
  } else {
    stream->newest = command->older;
  }
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
  if (!command->is_submitted) {
    unlink_recorded(command);
    hazard->recorded_count--;
  }
  pieces_release(hazard, command);
  tegi_host_free(hazard->params.host, command, command->allocated_bytes);
}

static uint64_t max_piece_count(const tegi_hazard* hazard,
                                const tegi_hazard_span* span) {
  if (span->size == 0) return 0;
  if (!span->memory->is_range) return 1;
  return (span->offset + span->size - 1) / hazard->params.tile_bytes -
         span->offset / hazard->params.tile_bytes + 1;
}

static void append_command(tegi_hazard_stream* stream,
                           tegi_hazard_command* command) {
  tegi_hazard* hazard = stream->hazard;
  command->previous = hazard->last_pending;
  if (command->previous) {
    command->previous->next = command;
  } else {
    hazard->first_pending = command;
  }
  hazard->last_pending = command;
  command->older = stream->newest;
  if (command->older) {
    command->older->newer = command;
  } else {
    stream->oldest = command;
  }
  stream->newest = command;
  hazard->recorded_count++;
}

// A command of the stream without spans. NULL without memory.
static tegi_hazard_command* command_new(tegi_hazard_stream* stream,
                                        const tegi_hazard_span* spans,
                                        uint32_t span_count) {
  tegi_hazard* hazard = stream->hazard;
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
  command->spans = (tegi_span_record*)(void*)(command + 1);
  command->pieces = (tegi_piece*)(void*)(command->spans + span_count);
  command->stream = stream;
  command->serial = stream->submitted + 1;
  command->epoch = stream->barrier_count;
  append_command(stream, command);
  return command;
}

// Makes |next| part of |last| if it goes on where that ends.
static bool extend(tegi_piece* last, const tegi_piece* next) {
  bool goes_on = last->memory == next->memory &&
                 (!next->memory || last->offset + last->size == next->offset);
  if (goes_on) last->size += next->size;
  return goes_on;
}

// Writes the pieces of one span behind those that are there, neighbours
// merged, and makes room for its writes. False without memory; then the
// pieces so far are held and counted.
static bool add_pieces(tegi_hazard* hazard, tegi_hazard_command* command,
                       tegi_span_record* record) {
  const tegi_hazard_span* span = &record->span;
  record->first_piece = command->piece_count;
  for (uint64_t done = 0; done < span->size;) {
    uint64_t bind;
    tegi_piece next = tegi_bytes_resolve(
        hazard, span->memory, span->offset + done, span->size - done, &bind);
    done += next.size;
    command->bind = tegi_max_u64(command->bind, bind);
    if (record->piece_count &&
        extend(&command->pieces[command->piece_count - 1], &next)) {
      continue;
    }
    if (next.memory && span->is_written) {
      if (!tegi_bytes_reserve(hazard, next.memory)) return false;
      next.memory->unwritten_count++;
    }
    tegi_bytes_retain(next.memory);
    command->pieces[command->piece_count++] = next;
    record->piece_count++;
  }
  return true;
}

static bool add_spans(tegi_hazard* hazard, tegi_hazard_command* command,
                      const tegi_hazard_span* spans, uint32_t span_count) {
  for (uint32_t i = 0; i < span_count; i++) {
    command->span_count = i + 1;
    command->spans[i].span = spans[i];
    tegi_bytes_retain(spans[i].memory);
    if (!add_pieces(hazard, command, &command->spans[i])) return false;
  }
  return true;
}

// ---- Recording.

static teg_result report_on(tegi_hazard_command* command,
                            const char* text_of_it) {
  return tegi_hazard_report(command->stream->hazard, command->stream,
                            command->serial, NULL, "%s", text_of_it);
}

// Nothing orders the two; |missing| says what could.
static void report_unordered(const tegi_hazard_command* early,
                             tegi_hazard_command* late, const meeting* at,
                             const char* missing) {
  char text[TEGI_HAZARD_TEXT_BYTES];
  snprintf(text, sizeof text,
           "no %s between %s, command %llu, which %s %llu bytes at %llu of "
           "memory %llu for owner %llu, and %s, command %llu, which %s them "
           "for owner %llu",
           missing, tegi_hazard_command_name(early).text,
           (unsigned long long)early->number,
           at->early->span.is_written ? "writes" : "reads",
           (unsigned long long)at->size, (unsigned long long)at->offset,
           (unsigned long long)at->memory->id,
           (unsigned long long)at->early->span.owner,
           tegi_hazard_command_name(late).text,
           (unsigned long long)late->number,
           at->late->span.is_written ? "writes" : "reads",
           (unsigned long long)at->late->span.owner);
  report_on(late, text);
}

static void check_tiles(tegi_hazard_command* command) {
  for (uint32_t i = 0; i < command->span_count; i++) {
    const tegi_span_record* record = &command->spans[i];
    for (size_t p = 0; p < record->piece_count; p++) {
      if (command->pieces[record->first_piece + p].memory) continue;
      command->is_bad = true;
      tegi_hazard_report(
          command->stream->hazard, command->stream, command->serial, NULL,
          "%s is recorded for addresses of memory %llu with no tile",
          tegi_hazard_command_name(command).text,
          (unsigned long long)record->span.memory->id);
    }
  }
}

// Against the commands of the batch since the last barrier.
static void check_in_batch(tegi_hazard_command* command) {
  for (const tegi_hazard_command* early = command->older;
       early && early->epoch == command->epoch; early = early->older) {
    meeting at;
    if (!find_meeting(early, command, true, &at)) continue;
    report_unordered(early, command, &at, "barrier");
    return;
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
  tegi_hazard_command* command = command_new(stream, spans, span_count);
  if (command && !add_spans(hazard, command, spans, span_count)) {
    command_drop(hazard, command);
    command = NULL;
  }
  if (command) {
    command->what = what;
    command->is_call = is_call;
    command->number = ++stream->command_count;
    command->sequence = ++hazard->last_sequence;
    check_tiles(command);
    check_in_batch(command);
  }
  tegi_mutex_unlock(&hazard->mutex);
  *out_command = command;
  if (command) return TEG_OK;
  return tegi_error_set(err, TEG_OUT_OF_HOST_MEMORY,
                        "no host memory to note a command");
}

void tegi_hazard_unrecord(tegi_hazard_command* command) {
  tegi_hazard* hazard = command->stream->hazard;
  tegi_mutex_lock(&hazard->mutex);
  TEG_ASSERT(command == command->stream->newest);
  command->stream->command_count--;
  command_drop(hazard, command);
  tegi_mutex_unlock(&hazard->mutex);
}

void tegi_hazard_barrier(tegi_hazard_stream* stream) {
  tegi_mutex_lock(&stream->hazard->mutex);
  stream->barrier_count++;
  tegi_mutex_unlock(&stream->hazard->mutex);
}

// NULL if it is known to be complete.
static const tegi_batch_record* find_batch(const tegi_hazard_stream* stream,
                                           uint64_t serial) {
  const tegi_batch_record* batch = stream->first_batch;
  while (batch && batch->serial != serial) batch = batch->next;
  return batch;
}

teg_result tegi_hazard_reserve_wait(tegi_hazard_stream* stream,
                                    const tegi_hazard_stream* other,
                                    uint64_t serial, teg_error* err) {
  tegi_hazard* hazard = stream->hazard;
  tegi_mutex_lock(&hazard->mutex);
  const tegi_batch_record* batch = find_batch(other, serial);
  size_t more = 1 + (batch ? batch->clock.count : 0);
  bool has_room = tegi_clock_reserve(hazard->params.host, &stream->waits, more);
  tegi_mutex_unlock(&hazard->mutex);
  if (has_room) return TEG_OK;
  return tegi_error_set(err, TEG_OUT_OF_HOST_MEMORY,
                        "no host memory to note a wait");
}

void tegi_hazard_wait_for(tegi_hazard_stream* stream,
                          const tegi_hazard_stream* other, uint64_t serial) {
  tegi_mutex_lock(&stream->hazard->mutex);
  const tegi_batch_record* batch = find_batch(other, serial);
  if (batch) {
    tegi_clock_join(&stream->waits, &batch->clock);
    if (other->is_bind) {
      stream->waits.bind = tegi_max_u64(stream->waits.bind, serial);
    } else {
      tegi_clock_add(&stream->waits, other->id, serial);
    }
  }
  tegi_mutex_unlock(&stream->hazard->mutex);
}

// Nothing is recorded on the stream any more.
static void batch_restart(tegi_hazard_stream* stream) {
  stream->oldest = stream->newest = NULL;
  stream->command_count = 0;
  stream->barrier_count = 0;
  stream->recorded_text[0] = '\0';
  tegi_clock_clear(&stream->waits);
}

static void discard_locked(tegi_hazard_stream* stream) {
  while (stream->newest) command_drop(stream->hazard, stream->newest);
  if (stream->is_bind) tegi_hazard_moves_discard(stream->hazard);
  batch_restart(stream);
}

void tegi_hazard_discard(tegi_hazard_stream* stream) {
  tegi_mutex_lock(&stream->hazard->mutex);
  discard_locked(stream);
  tegi_mutex_unlock(&stream->hazard->mutex);
}

// ---- Execution.

// The bytes are those the command was recorded for.
static bool is_still_there(tegi_hazard* hazard, tegi_hazard_command* command,
                           const tegi_span_record* record) {
  const tegi_hazard_span* span = &record->span;
  bool is_same = !span->memory->is_removed;
  uint64_t done = 0;
  for (size_t p = 0; p < record->piece_count && is_same; p++) {
    tegi_piece old = command->pieces[record->first_piece + p];
    if (!old.memory || old.memory->is_removed) is_same = false;
    while (old.size && is_same) {
      tegi_piece now = tegi_bytes_resolve(hazard, span->memory,
                                          span->offset + done, old.size, NULL);
      is_same = now.memory == old.memory && now.offset == old.offset;
      old.offset += now.size;
      old.size -= now.size;
      done += now.size;
    }
  }
  if (!is_same && !command->is_bad) {
    command->is_bad = true;
    tegi_hazard_report(
        hazard, command->stream, command->serial, NULL,
        "%s executes after the %llu bytes at %llu of memory %llu it was "
        "recorded for were remapped or destroyed",
        tegi_hazard_command_name(command).text, (unsigned long long)span->size,
        (unsigned long long)span->offset, (unsigned long long)span->memory->id);
  }
  return is_same;
}

static void check_read(tegi_hazard* hazard, tegi_hazard_command* command,
                       const tegi_span_record* record) {
  for (size_t p = 0; p < record->piece_count; p++) {
    const tegi_piece* bytes = &command->pieces[record->first_piece + p];
    uint64_t offset;
    const tegi_segment* writer =
        tegi_bytes_foreign(bytes, record->span.owner, &offset);
    if (!writer) continue;
    tegi_hazard_report(
        hazard, command->stream, command->serial, NULL,
        "%s reads byte %llu of memory %llu for owner %llu; written last by %s",
        tegi_hazard_command_name(command).text, (unsigned long long)offset,
        (unsigned long long)bytes->memory->id,
        (unsigned long long)record->span.owner, writer_name(writer).text);
    return;
  }
}

static void do_write(tegi_hazard* hazard, const tegi_hazard_command* command,
                     const tegi_span_record* record) {
  tegi_segment writer = {.owner = record->span.owner,
                         .serial = command->serial,
                         .stream_id = command->stream->id,
                         .what = command->what};
  for (size_t p = 0; p < record->piece_count; p++) {
    const tegi_piece* bytes = &command->pieces[record->first_piece + p];
    if (command->is_call && !record->span.is_read && record->span.owner) {
      tegi_bytes_tell_new_owner(hazard, bytes, record->span.owner);
    }
    tegi_bytes_write(bytes, &writer);
  }
}

// What was kept free for the writes is used or not needed.
static void mark_executed(tegi_hazard_command* command) {
  for (uint32_t i = 0; i < command->span_count; i++) {
    const tegi_span_record* record = &command->spans[i];
    if (!record->span.is_written) continue;
    for (size_t p = 0; p < record->piece_count; p++) {
      tegi_hazard_memory* memory =
          command->pieces[record->first_piece + p].memory;
      if (memory) memory->unwritten_count--;
    }
  }
  command->is_executed = true;
}

static bool execute_locked(tegi_hazard* hazard, tegi_hazard_command* command) {
  bool may_run = true;
  for (uint32_t i = 0; i < command->span_count; i++) {
    may_run = is_still_there(hazard, command, &command->spans[i]) && may_run;
  }
  for (uint32_t i = 0; i < command->span_count && may_run; i++) {
    const tegi_span_record* record = &command->spans[i];
    if (record->span.is_read) check_read(hazard, command, record);
  }
  for (uint32_t i = 0; i < command->span_count && may_run; i++) {
    const tegi_span_record* record = &command->spans[i];
    if (record->span.is_written) do_write(hazard, command, record);
  }
  mark_executed(command);
  return may_run;
}

void tegi_hazard_execute(tegi_hazard_command* command, bool* out_may_run) {
  tegi_hazard* hazard = command->stream->hazard;
  tegi_mutex_lock(&hazard->mutex);
  TEG_ASSERT(command->is_submitted && !command->is_executed);
  *out_may_run = execute_locked(hazard, command);
  tegi_mutex_unlock(&hazard->mutex);
}

// ---- Submitting.

// Something recorded earlier, and not submitted, would now run later.
static void check_overtaking(tegi_hazard* hazard,
                             tegi_hazard_command* command) {
  for (const tegi_hazard_command* early = hazard->first_pending; early;
       early = early->next) {
    if (early->sequence >= command->sequence) return;
    if (early->stream == command->stream || early->is_submitted) continue;
    meeting at;
    if (!find_meeting(early, command, false, &at)) continue;
    tegi_hazard_report(
        hazard, command->stream, command->serial, NULL,
        "%s for owner %llu is submitted before %s for owner %llu, which was "
        "recorded earlier on the same bytes",
        tegi_hazard_command_name(command).text,
        (unsigned long long)at.late->span.owner,
        tegi_hazard_command_name(early).text,
        (unsigned long long)at.early->span.owner);
    return;
  }
}

// Against what was submitted before since the last barrier on the queue.
static void check_before(tegi_hazard* hazard, tegi_hazard_command* command,
                         const tegi_clock* clock) {
  for (const tegi_hazard_command* early = hazard->first_pending; early;
       early = early->next) {
    bool is_before =
        early->is_submitted && early->epoch == command->epoch &&
        (early->stream != command->stream || early->serial != command->serial);
    if (!is_before || tegi_clock_has(clock, early->stream->id, early->serial)) {
      continue;
    }
    meeting at;
    if (!find_meeting(early, command, true, &at)) continue;
    report_unordered(early, command, &at, "barrier or wait");
    return;
  }
}

// |bind|: the last bind batch that the command follows.
static void check_bind(tegi_hazard* hazard, tegi_hazard_command* command,
                       uint64_t bind) {
  const tegi_hazard_stream* binds = hazard->bind_stream;
  if (!binds || command->bind <= bind || command->bind <= binds->observed) {
    return;
  }
  const tegi_span_record* record = &command->spans[0];
  for (uint32_t i = 0; i < command->span_count; i++) {
    if (command->spans[i].span.memory->is_range) record = &command->spans[i];
  }
  tegi_hazard_report(
      hazard, command->stream, command->serial, NULL,
      "%s, command %llu, touches %llu bytes at %llu of memory %llu for owner "
      "%llu and no wait orders it behind bind batch %llu, which maps tiles "
      "there",
      tegi_hazard_command_name(command).text,
      (unsigned long long)command->number,
      (unsigned long long)record->span.size,
      (unsigned long long)record->span.offset,
      (unsigned long long)record->span.memory->id,
      (unsigned long long)record->span.owner,
      (unsigned long long)command->bind);
}

// One command of the batch, in its place on the queue.
static void submit_command(tegi_hazard* hazard, tegi_hazard_command* command,
                           const tegi_clock* clock) {
  bool has_barrier = command->epoch > 0;
  uint64_t queue_bind = has_barrier ? hazard->queue_bind : hazard->barrier_bind;
  bool is_alone = hazard->recorded_count == command->stream->command_count;
  command->epoch += hazard->epoch;
  command->is_submitted = true;
  if (!is_alone) check_overtaking(hazard, command);
  if (!has_barrier) check_before(hazard, command, clock);
  check_bind(hazard, command, tegi_max_u64(clock->bind, queue_bind));
  if (!hazard->params.is_asked) execute_locked(hazard, command);
}

static void submit_commands(tegi_hazard_stream* stream,
                            tegi_batch_record* batch) {
  tegi_hazard* hazard = stream->hazard;
  for (tegi_hazard_command* command = stream->oldest; command;
       command = command->newer) {
    submit_command(hazard, command, &batch->clock);
  }
  hazard->recorded_count -= stream->command_count;
  bool has_barrier = stream->barrier_count > 0;
  uint64_t bind = has_barrier ? hazard->queue_bind : hazard->barrier_bind;
  batch->clock.bind = tegi_max_u64(batch->clock.bind, bind);
  hazard->queue_bind = tegi_max_u64(hazard->queue_bind, batch->clock.bind);
  if (has_barrier) hazard->barrier_bind = hazard->queue_bind;
  hazard->epoch += stream->barrier_count;
  batch->clock.epoch = hazard->epoch;
  // Who waits for the batch has the stream's earlier ones behind it, too.
  if (stream->last_batch) {
    tegi_clock_join(&batch->clock, &stream->last_batch->clock);
  }
}

// Bind batches run one after the other.
static void submit_binds(tegi_hazard_stream* stream, tegi_batch_record* batch) {
  tegi_hazard* hazard = stream->hazard;
  tegi_clock_join(&hazard->bind_clock, &batch->clock);
  tegi_clock_join(&batch->clock, &hazard->bind_clock);
  hazard->bind_clock.bind = batch->serial;
  tegi_hazard_moves_submit(hazard, batch->serial, &batch->clock);
}

// The record of the batch, with room for its clock. NULL without memory.
static tegi_batch_record* batch_new(tegi_hazard_stream* stream) {
  tegi_hazard* hazard = stream->hazard;
  tegi_host* host = hazard->params.host;
  const tegi_batch_record* last = stream->last_batch;
  size_t more = hazard->bind_clock.count;
  if (!stream->is_bind) more = last ? last->clock.count : 0;
  if (!tegi_clock_reserve(host, &stream->waits, more)) return NULL;
  if (stream->is_bind &&
      !tegi_clock_reserve(host, &hazard->bind_clock, stream->waits.count)) {
    return NULL;
  }
  return tegi_host_alloc(host, sizeof(tegi_batch_record));
}

teg_result tegi_hazard_submit_begin(tegi_hazard_stream* stream,
                                    teg_error* err) {
  tegi_mutex_lock(&stream->hazard->mutex);
  stream->fresh = batch_new(stream);
  if (stream->fresh) return TEG_OK;
  tegi_mutex_unlock(&stream->hazard->mutex);
  return tegi_error_set(err, TEG_OUT_OF_HOST_MEMORY,
                        "no host memory to note a batch");
}

void tegi_hazard_submit_end(tegi_hazard_stream* stream, bool is_submitted) {
  tegi_hazard* hazard = stream->hazard;
  tegi_batch_record* batch = stream->fresh;
  stream->fresh = NULL;
  if (!is_submitted) {
    tegi_host_free(hazard->params.host, batch, sizeof *batch);
    tegi_mutex_unlock(&hazard->mutex);
    return;
  }
  batch->serial = ++stream->submitted;
  batch->clock = stream->waits;
  stream->waits = (tegi_clock){0};
  if (stream->recorded_text[0]) {
    keep_text(stream, batch->serial, stream->recorded_text);
  }
  if (stream->is_bind) {
    submit_binds(stream, batch);
  } else {
    submit_commands(stream, batch);
  }
  if (stream->last_batch) {
    stream->last_batch->next = batch;
  } else {
    stream->first_batch = batch;
  }
  stream->last_batch = batch;
  batch_restart(stream);
  tegi_mutex_unlock(&hazard->mutex);
}

// ---- Completion.

static tegi_hazard_stream* find_stream(const tegi_hazard* hazard, uint64_t id) {
  tegi_hazard_stream* stream = hazard->streams;
  while (stream && stream->id != id) stream = stream->next;
  return stream;
}

// The stream's batches up to |serial| are complete, and so is what they
// follow. No deeper than there are streams: each takes its oldest first.
static void complete(tegi_hazard_stream* stream, uint64_t serial) {
  tegi_hazard* hazard = stream->hazard;
  stream->observed = tegi_max_u64(stream->observed, serial);
  while (stream->first_batch && stream->first_batch->serial <= serial) {
    tegi_batch_record* batch = stream->first_batch;
    stream->first_batch = batch->next;
    if (!stream->first_batch) stream->last_batch = NULL;
    hazard->done_epoch = tegi_max_u64(hazard->done_epoch, batch->clock.epoch);
    if (hazard->bind_stream && hazard->bind_stream != stream &&
        batch->clock.bind > hazard->bind_stream->observed) {
      complete(hazard->bind_stream, batch->clock.bind);
    }
    for (size_t i = 0; i < batch->clock.count; i++) {
      const tegi_clock_entry* entry = &batch->clock.entries[i];
      tegi_hazard_stream* other = find_stream(hazard, entry->stream_id);
      if (other && entry->serial > other->observed) {
        complete(other, entry->serial);
      }
    }
    tegi_clock_free(hazard->params.host, &batch->clock);
    tegi_host_free(hazard->params.host, batch, sizeof *batch);
  }
}

static void drop_complete(tegi_hazard* hazard) {
  tegi_hazard_command* command = hazard->first_pending;
  while (command) {
    tegi_hazard_command* next = command->next;
    bool is_complete =
        command->is_executed && (command->epoch < hazard->done_epoch ||
                                 command->serial <= command->stream->observed);
    if (is_complete) command_drop(hazard, command);
    command = next;
  }
}

void tegi_hazard_observe(tegi_hazard_stream* stream, uint64_t serial) {
  tegi_hazard* hazard = stream->hazard;
  tegi_mutex_lock(&hazard->mutex);
  if (stream->first_batch && stream->first_batch->serial <= serial) {
    complete(stream, serial);
    drop_complete(hazard);
  }
  tegi_mutex_unlock(&hazard->mutex);
}

// ---- Streams.

teg_result tegi_hazard_stream_add(tegi_hazard* hazard, bool is_bind,
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
  stream->is_bind = is_bind;
  tegi_mutex_lock(&hazard->mutex);
  if (is_bind) {
    hazard->bind_stream = stream;
  } else {
    stream->id = ++hazard->last_stream_id;
  }
  stream->next = hazard->streams;
  hazard->streams = stream;
  tegi_mutex_unlock(&hazard->mutex);
  *out_stream = stream;
  return TEG_OK;
}

static void stream_unlink(tegi_hazard* hazard, tegi_hazard_stream* stream) {
  tegi_hazard_stream** at = &hazard->streams;
  while (*at != stream) at = &(*at)->next;
  *at = stream->next;
  if (stream == hazard->bind_stream) hazard->bind_stream = NULL;
  tegi_clock_remove(&hazard->bind_clock, stream->id);
}

void tegi_hazard_stream_remove(tegi_hazard* hazard,
                               tegi_hazard_stream* stream) {
  if (!stream) return;
  tegi_mutex_lock(&hazard->mutex);
  discard_locked(stream);
  complete(stream, stream->submitted);
  drop_complete(hazard);
  // Those that the device never ran.
  tegi_hazard_command* command = hazard->first_pending;
  while (command) {
    tegi_hazard_command* next = command->next;
    if (command->stream == stream) command_drop(hazard, command);
    command = next;
  }
  stream_unlink(hazard, stream);
  tegi_clock_free(hazard->params.host, &stream->waits);
  tegi_mutex_unlock(&hazard->mutex);
  tegi_host_free(hazard->params.host, stream, sizeof *stream);
}
