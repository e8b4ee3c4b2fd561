// SPDX-License-Identifier: Apache-2.0
//
// Imports the CSV log of RMM (rapidsai/rmm, logging_resource_adaptor):
//
//   Thread,Time,Action,Pointer,Size,Stream
//   1718,10:31:22.123456,allocate,0x7f0000000000,256,0x0
//
// and what tegula adds to it: a time that is a number of microseconds, with up
// to three decimals, and the marks load_end, run_begin and run_end. Addresses
// come back after a free, so buffers are numbered 1, 2, 3 ... in the order of
// their allocation. Failed allocations are counted and passed over.
#include <inttypes.h>

#include "trace/trace_lines.h"

enum {
  COLUMN_THREAD,
  COLUMN_TIME,
  COLUMN_ACTION,
  COLUMN_POINTER,
  COLUMN_SIZE,
  COLUMN_STREAM,
  COLUMN_COUNT,
  MAX_NAMES = 65536,
};
#define DAY_US (UINT64_C(24) * 3600 * 1000000)
// Numbers from here on stand for thread and stream handles that are larger
// than 31 bits, in the order in which they appear.
#define FIRST_NAMED (UINT64_C(1) << 31)

typedef enum time_form { TIME_UNKNOWN, TIME_NUMBER, TIME_CLOCK } time_form;

typedef struct rmm_decoder {
  tegi_trace_line line;
  time_form form;
  uint64_t clock_start_us;  // of the first event
  uint64_t clock_last_us;   // with the days passed so far
  uint64_t clock_days_us;
  tegi_trace_map threads;  // large thread numbers -> their number here
  tegi_trace_map streams;
} rmm_decoder;

static void rmm_place(const teg_trace_reader* reader,
                      char out_text[TEGI_TRACE_PLACE_SIZE]) {
  const rmm_decoder* decoder = reader->state;
  tegi_trace_line_place(&decoder->line, out_text);
}

static teg_result bad_field(teg_trace_reader* reader, int column,
                            const char* expected, teg_error* err) {
  static const char* const names[COLUMN_COUNT] = {"Thread",  "Time", "Action",
                                                  "Pointer", "Size", "Stream"};
  rmm_decoder* decoder = reader->state;
  tegi_trace_field field = decoder->line.fields[column];
  int shown = field.size < 40 ? (int)field.size : 40;
  return tegi_trace_line_bad(reader, &decoder->line, err,
                             "%s is \"%.*s\", expected %s", names[column],
                             shown, field.text, expected);
}

static teg_result rmm_open(teg_trace_reader* reader, teg_error* err) {
  rmm_decoder* decoder = tegi_host_alloc(&reader->host, sizeof *decoder);
  if (!decoder) return tegi_trace_reader_no_memory(reader, err);
  reader->state = decoder;
  tegi_trace_map_init(&decoder->threads, &reader->host);
  tegi_trace_map_init(&decoder->streams, &reader->host);
  teg_result result = tegi_trace_line_next(reader, &decoder->line, err);
  if (result != TEG_OK) return result;
  const tegi_trace_field* fields = decoder->line.fields;
  if (decoder->line.field_count == COLUMN_COUNT &&
      tegi_trace_field_is(fields[COLUMN_THREAD], "Thread") &&
      tegi_trace_field_is(fields[COLUMN_TIME], "Time") &&
      tegi_trace_field_is(fields[COLUMN_ACTION], "Action") &&
      tegi_trace_field_is(fields[COLUMN_POINTER], "Pointer") &&
      tegi_trace_field_is(fields[COLUMN_SIZE], "Size") &&
      tegi_trace_field_is(fields[COLUMN_STREAM], "Stream")) {
    return TEG_OK;
  }
  return tegi_trace_line_bad(reader, &decoder->line, err,
                             "expected the header "
                             "Thread,Time,Action,Pointer,Size,Stream");
}

static void rmm_close(teg_trace_reader* reader) {
  rmm_decoder* decoder = reader->state;
  if (!decoder) return;
  tegi_trace_map_deinit(&decoder->threads);
  tegi_trace_map_deinit(&decoder->streams);
  tegi_host_free(&reader->host, decoder, sizeof *decoder);
  reader->state = NULL;
}

// ---------------------------------------------------------------------------
// Columns

// |field| is "MICROSECONDS" or "MICROSECONDS.NNN".
static bool parse_number_time(tegi_trace_field field, uint64_t* out_ns) {
  const char* dot = memchr(field.text, '.', field.size);
  tegi_trace_field whole = field;
  uint64_t fraction_ns = 0;
  if (dot) {
    whole.size = (size_t)(dot - field.text);
    tegi_trace_field rest = {dot + 1, field.size - whole.size - 1};
    if (rest.size > 3 || !tegi_trace_field_decimal(rest, &fraction_ns)) {
      return false;
    }
    for (size_t i = rest.size; i < 3; ++i) fraction_ns *= 10;
  }
  uint64_t us;
  return tegi_trace_field_decimal(whole, &us) &&
         tegi_mul_u64(us, 1000, out_ns) &&
         tegi_add_u64(*out_ns, fraction_ns, out_ns);
}

static bool two_digits(const char* text, uint64_t limit, uint64_t* out_value) {
  tegi_trace_field field = {text, 2};
  return tegi_trace_field_decimal(field, out_value) && *out_value < limit;
}

// |field| is "HH:MM:SS:ffffff" or "HH:MM:SS.ffffff".
static bool parse_clock(tegi_trace_field field, uint64_t* out_us) {
  uint64_t hours, minutes, seconds, us;
  if (field.size != 15 || field.text[2] != ':' || field.text[5] != ':' ||
      (field.text[8] != ':' && field.text[8] != '.')) {
    return false;
  }
  tegi_trace_field fraction = {field.text + 9, 6};
  if (!two_digits(field.text, 24, &hours) ||
      !two_digits(field.text + 3, 60, &minutes) ||
      !two_digits(field.text + 6, 61, &seconds) ||
      !tegi_trace_field_decimal(fraction, &us)) {
    return false;
  }
  *out_us = ((hours * 60 + minutes) * 60 + seconds) * 1000000 + us;
  return true;
}

// A clock that falls by more than half a day has passed midnight.
static uint64_t clock_to_ns(rmm_decoder* decoder, uint64_t us) {
  if (decoder->form == TIME_UNKNOWN) {
    decoder->clock_start_us = us;
    decoder->clock_last_us = us;
  }
  us += decoder->clock_days_us;
  if (us + DAY_US / 2 < decoder->clock_last_us) {
    us += DAY_US;
    decoder->clock_days_us += DAY_US;
  }
  decoder->clock_last_us = us;
  // Threads may log a little out of order around the first event.
  uint64_t start = decoder->clock_start_us;
  return us > start ? (us - start) * 1000 : 0;
}

static teg_result take_time(teg_trace_reader* reader, uint64_t* out_ns,
                            teg_error* err) {
  rmm_decoder* decoder = reader->state;
  tegi_trace_field field = decoder->line.fields[COLUMN_TIME];
  uint64_t us;
  if (decoder->form != TIME_CLOCK && parse_number_time(field, out_ns)) {
    decoder->form = TIME_NUMBER;
    return TEG_OK;
  }
  if (decoder->form != TIME_NUMBER && parse_clock(field, &us)) {
    *out_ns = clock_to_ns(decoder, us);
    decoder->form = TIME_CLOCK;
    return TEG_OK;
  }
  return bad_field(
      reader, COLUMN_TIME,
      decoder->form == TIME_CLOCK    ? "HH:MM:SS.ffffff as on the lines before"
      : decoder->form == TIME_NUMBER ? "microseconds as on the lines before"
                                     : "microseconds or HH:MM:SS.ffffff",
      err);
}

// A thread or stream: small numbers as they are, handles by appearance.
static teg_result take_name(teg_trace_reader* reader, int column,
                            tegi_trace_map* names, uint32_t* out_number,
                            teg_error* err) {
  rmm_decoder* decoder = reader->state;
  tegi_trace_field field = decoder->line.fields[column];
  uint64_t value;
  if (!tegi_trace_field_number(field, &value)) {
    return bad_field(reader, column, "a number", err);
  }
  if (value < FIRST_NAMED) {
    *out_number = (uint32_t)value;
    return TEG_OK;
  }
  tegi_trace_entry* entry = tegi_trace_map_find(names, value);
  if (!entry) {
    if (names->count == MAX_NAMES) {
      return bad_field(reader, column, "fewer than 65536 different handles",
                       err);
    }
    entry = tegi_trace_map_add(names, value);
    if (!entry) return tegi_trace_reader_no_memory(reader, err);
    entry->id = FIRST_NAMED + names->count - 1;
  }
  *out_number = (uint32_t)entry->id;
  return TEG_OK;
}

// ---------------------------------------------------------------------------
// Lines

static teg_result take_buffer(teg_trace_reader* reader, teg_trace_event* event,
                              teg_error* err) {
  rmm_decoder* decoder = reader->state;
  const tegi_trace_field* fields = decoder->line.fields;
  uint64_t pointer;
  if (!tegi_trace_field_number(fields[COLUMN_POINTER], &pointer)) {
    return bad_field(reader, COLUMN_POINTER, "an address or a number", err);
  }
  bool is_free = event->kind == TEG_TRACE_FREE;
  bool is_unsaid = is_free && fields[COLUMN_SIZE].size == 0;
  if (!is_unsaid &&
      !tegi_trace_field_decimal(fields[COLUMN_SIZE], &event->size)) {
    return bad_field(reader, COLUMN_SIZE, "a number of bytes", err);
  }
  teg_result result =
      take_name(reader, COLUMN_STREAM, &decoder->streams, &event->stream, err);
  if (result != TEG_OK) return result;
  if (is_free) {
    if (event->size == 0 && !is_unsaid) {
      return bad_field(reader, COLUMN_SIZE, "the size that was allocated", err);
    }
    return tegi_trace_reader_free(reader, pointer, event, err);
  }
  event->id = reader->last_id + 1;
  return tegi_trace_reader_allocate(reader, pointer, event, err);
}

// The columns after the action must be empty, or the stream may be given.
static teg_result take_mark(teg_trace_reader* reader, teg_trace_event* event,
                            teg_error* err) {
  rmm_decoder* decoder = reader->state;
  const tegi_trace_field* fields = decoder->line.fields;
  for (int column = COLUMN_POINTER; column <= COLUMN_SIZE; ++column) {
    if (fields[column].size == 0) continue;
    return bad_field(reader, column, "nothing beside a mark", err);
  }
  if (fields[COLUMN_STREAM].size == 0) return TEG_OK;
  return take_name(reader, COLUMN_STREAM, &decoder->streams, &event->stream,
                   err);
}

// The kind of |field|; 0 = a failed allocation, -1 = none.
static int kind_of(tegi_trace_field field) {
  if (tegi_trace_field_is(field, "allocate")) return TEG_TRACE_ALLOCATE;
  if (tegi_trace_field_is(field, "free")) return TEG_TRACE_FREE;
  if (tegi_trace_field_is(field, "load_end")) return TEG_TRACE_LOAD_END;
  if (tegi_trace_field_is(field, "run_begin")) return TEG_TRACE_RUN_BEGIN;
  if (tegi_trace_field_is(field, "run_end")) return TEG_TRACE_RUN_END;
  if (tegi_trace_field_is(field, "allocate failure")) return 0;
  return -1;
}

static teg_result rmm_next(teg_trace_reader* reader, teg_trace_event* event,
                           teg_error* err) {
  rmm_decoder* decoder = reader->state;
  int kind;
  for (;;) {
    teg_result result = tegi_trace_line_next(reader, &decoder->line, err);
    if (result != TEG_OK) return result;
    if (decoder->line.field_count != COLUMN_COUNT) {
      return tegi_trace_line_bad(reader, &decoder->line, err,
                                 "%zu columns instead of %d",
                                 decoder->line.field_count, COLUMN_COUNT);
    }
    kind = kind_of(decoder->line.fields[COLUMN_ACTION]);
    if (kind != 0) break;
    ++reader->skipped_count;
  }
  if (kind < 0) {
    return bad_field(reader, COLUMN_ACTION,
                     "allocate, free, allocate failure, load_end, run_begin "
                     "or run_end",
                     err);
  }
  event->kind = (uint8_t)kind;
  teg_result result = take_time(reader, &event->time_ns, err);
  if (result != TEG_OK) return result;
  result =
      take_name(reader, COLUMN_THREAD, &decoder->threads, &event->thread, err);
  if (result != TEG_OK) return result;
  bool is_mark = kind != TEG_TRACE_ALLOCATE && kind != TEG_TRACE_FREE;
  return is_mark ? take_mark(reader, event, err)
                 : take_buffer(reader, event, err);
}

const tegi_trace_decoder_ops tegi_trace_rmm_decoder = {
    .open = rmm_open, .next = rmm_next, .place = rmm_place, .close = rmm_close};
