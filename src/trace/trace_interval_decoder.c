// SPDX-License-Identifier: Apache-2.0
//
// Imports interval CSV, the input of static planners such as MiniMalloc:
//
//   id,lower,upper,size
//   b1,0,3,4096
//
// A buffer is live in [lower, upper). Columns after the fourth (alignment,
// offset ...) are ignored. The rows are held in memory and sorted into events
// by time, frees before allocations at the same instant, each in the order of
// the rows. One unit of time becomes a microsecond; buffers are numbered by
// allocation.
#include <inttypes.h>
#include <stdlib.h>

#include "trace/trace_lines.h"

enum { COLUMN_ID, COLUMN_LOWER, COLUMN_UPPER, COLUMN_SIZE, COLUMN_COUNT };

typedef struct interval {
  uint64_t lower, upper;
  uint64_t size;
  uint64_t name_hash;
  uint64_t line;
} interval;

typedef struct interval_decoder {
  tegi_trace_line line;  // while reading; then .number is the event's line
  interval* rows;        // sorted by (lower, line)
  size_t count, capacity;
  uint32_t* ends;  // indices into rows, sorted by (upper, line)
  size_t next_begin, next_end;
} interval_decoder;

static void interval_place(const teg_trace_reader* reader,
                           char out_text[TEGI_TRACE_PLACE_SIZE]) {
  const interval_decoder* decoder = reader->state;
  tegi_trace_line_place(&decoder->line, out_text);
}

// FNV-1a; names are only compared to find rows given twice.
static uint64_t hash_of(tegi_trace_field field) {
  uint64_t hash = UINT64_C(0xcbf29ce484222325);
  for (size_t i = 0; i < field.size; ++i) {
    hash = (hash ^ (unsigned char)field.text[i]) * UINT64_C(0x100000001b3);
  }
  return hash;
}

static teg_result check_header(teg_trace_reader* reader, teg_error* err) {
  interval_decoder* decoder = reader->state;
  teg_result result = tegi_trace_line_next(reader, &decoder->line, err);
  if (result != TEG_OK) return result;
  const tegi_trace_field* fields = decoder->line.fields;
  if (decoder->line.field_count >= COLUMN_COUNT &&
      tegi_trace_field_is(fields[COLUMN_ID], "id") &&
      tegi_trace_field_is(fields[COLUMN_LOWER], "lower") &&
      tegi_trace_field_is(fields[COLUMN_UPPER], "upper") &&
      tegi_trace_field_is(fields[COLUMN_SIZE], "size")) {
    return TEG_OK;
  }
  return tegi_trace_line_bad(reader, &decoder->line, err,
                             "expected the header id,lower,upper,size");
}

static bool take_time(tegi_trace_field field, uint64_t* out_ns) {
  return tegi_trace_field_decimal(field, out_ns) &&
         tegi_mul_u64(*out_ns, 1000, out_ns);
}

static teg_result take_row(teg_trace_reader* reader, interval* row,
                           teg_error* err) {
  interval_decoder* decoder = reader->state;
  const tegi_trace_field* fields = decoder->line.fields;
  if (decoder->line.field_count < COLUMN_COUNT) {
    return tegi_trace_line_bad(reader, &decoder->line, err,
                               "%zu columns instead of %d",
                               decoder->line.field_count, COLUMN_COUNT);
  }
  if (fields[COLUMN_ID].size == 0) {
    return tegi_trace_line_bad(reader, &decoder->line, err, "the id is empty");
  }
  if (!take_time(fields[COLUMN_LOWER], &row->lower) ||
      !take_time(fields[COLUMN_UPPER], &row->upper) ||
      !tegi_trace_field_decimal(fields[COLUMN_SIZE], &row->size)) {
    return tegi_trace_line_bad(reader, &decoder->line, err,
                               "lower, upper and size must be whole numbers");
  }
  if (row->lower >= row->upper) {
    return tegi_trace_line_bad(reader, &decoder->line, err,
                               "upper (%" PRIu64
                               ") must be above lower (%" PRIu64 ")",
                               row->upper / 1000, row->lower / 1000);
  }
  if (row->size == 0 || row->size >= TEGI_MAX_BYTES) {
    return tegi_trace_line_bad(reader, &decoder->line, err,
                               "a size of %" PRIu64
                               " bytes; it must be above 0 and below 2^62",
                               row->size);
  }
  row->name_hash = hash_of(fields[COLUMN_ID]);
  row->line = decoder->line.number;
  return TEG_OK;
}

static teg_result read_rows(teg_trace_reader* reader, teg_error* err) {
  interval_decoder* decoder = reader->state;
  uint64_t limit = tegi_min_u64(reader->max_live_count, UINT32_MAX);
  for (;;) {
    teg_result result = tegi_trace_line_next(reader, &decoder->line, err);
    if (result == TEG_END) return TEG_OK;
    if (result != TEG_OK) return result;
    if (decoder->count >= limit) {
      return tegi_error_set(err, TEG_LIMIT,
                            "%s: more than %" PRIu64 " rows (max_live_count)",
                            reader->path, limit);
    }
    if (!tegi_host_grow_array(&reader->host, &decoder->rows, &decoder->capacity,
                              decoder->count + 1, sizeof *decoder->rows)) {
      return tegi_trace_reader_no_memory(reader, err);
    }
    result = take_row(reader, &decoder->rows[decoder->count], err);
    if (result != TEG_OK) return result;
    ++decoder->count;
  }
}

// ---------------------------------------------------------------------------
// Sorting: three orders of the same rows

static int order(uint64_t a, uint64_t b) { return (a > b) - (a < b); }

static int by_name(const void* a, const void* b) {
  const interval* left = a;
  const interval* right = b;
  int names = order(left->name_hash, right->name_hash);
  return names ? names : order(left->line, right->line);
}

static int by_lower(const void* a, const void* b) {
  const interval* left = a;
  const interval* right = b;
  int times = order(left->lower, right->lower);
  return times ? times : order(left->line, right->line);
}

static int by_upper(const interval* left, const interval* right) {
  int times = order(left->upper, right->upper);
  return times ? times : order(left->line, right->line);
}

// Heap sort of |ends|: qsort gives its comparison no context.
static void sift(interval_decoder* decoder, size_t root, size_t count) {
  uint32_t* ends = decoder->ends;
  for (size_t child; (child = 2 * root + 1) < count; root = child) {
    if (child + 1 < count && by_upper(&decoder->rows[ends[child]],
                                      &decoder->rows[ends[child + 1]]) < 0) {
      ++child;
    }
    if (by_upper(&decoder->rows[ends[root]], &decoder->rows[ends[child]]) >=
        0) {
      return;
    }
    uint32_t swapped = ends[root];
    ends[root] = ends[child];
    ends[child] = swapped;
  }
}

static void sort_ends(interval_decoder* decoder) {
  size_t count = decoder->count;
  for (size_t i = count / 2; i-- > 0;) sift(decoder, i, count);
  while (count-- > 1) {
    uint32_t swapped = decoder->ends[0];
    decoder->ends[0] = decoder->ends[count];
    decoder->ends[count] = swapped;
    sift(decoder, 0, count);
  }
}

static teg_result check_names(teg_trace_reader* reader, teg_error* err) {
  interval_decoder* decoder = reader->state;
  if (decoder->count < 2) return TEG_OK;
  qsort(decoder->rows, decoder->count, sizeof *decoder->rows, by_name);
  for (size_t i = 1; i < decoder->count; ++i) {
    const interval* row = &decoder->rows[i];
    if (row->name_hash != row[-1].name_hash) continue;
    return tegi_error_set(err, TEG_CORRUPT,
                          "%s: line %" PRIu64 ": the id of line %" PRIu64
                          " again",
                          reader->path, row->line, row[-1].line);
  }
  qsort(decoder->rows, decoder->count, sizeof *decoder->rows, by_lower);
  return TEG_OK;
}

static teg_result interval_open(teg_trace_reader* reader, teg_error* err) {
  interval_decoder* decoder = tegi_host_alloc(&reader->host, sizeof *decoder);
  if (!decoder) return tegi_trace_reader_no_memory(reader, err);
  reader->state = decoder;
  teg_result result = check_header(reader, err);
  if (result == TEG_OK) result = read_rows(reader, err);
  if (result == TEG_OK) result = check_names(reader, err);
  if (result != TEG_OK || decoder->count == 0) return result;
  decoder->ends =
      tegi_host_calloc(&reader->host, decoder->count, sizeof *decoder->ends);
  if (!decoder->ends) return tegi_trace_reader_no_memory(reader, err);
  for (size_t i = 0; i < decoder->count; ++i) decoder->ends[i] = (uint32_t)i;
  sort_ends(decoder);
  return TEG_OK;
}

static void interval_close(teg_trace_reader* reader) {
  interval_decoder* decoder = reader->state;
  if (!decoder) return;
  tegi_host_free(&reader->host, decoder->rows,
                 decoder->capacity * sizeof *decoder->rows);
  tegi_host_free(&reader->host, decoder->ends,
                 decoder->count * sizeof *decoder->ends);
  tegi_host_free(&reader->host, decoder, sizeof *decoder);
  reader->state = NULL;
}

// Buffer i + 1 is row i: rows are in the order of allocation.
static teg_result interval_next(teg_trace_reader* reader,
                                teg_trace_event* event, teg_error* err) {
  interval_decoder* decoder = reader->state;
  if (decoder->next_end == decoder->count) return TEG_END;
  uint32_t end_index = decoder->ends[decoder->next_end];
  const interval* end = &decoder->rows[end_index];
  const interval* begin = &decoder->rows[decoder->next_begin];
  bool is_free =
      decoder->next_begin == decoder->count || end->upper <= begin->lower;
  if (is_free) {
    ++decoder->next_end;
    decoder->line.number = end->line;
    event->kind = TEG_TRACE_FREE;
    event->time_ns = end->upper;
    return tegi_trace_reader_free(reader, (uint64_t)end_index + 1, event, err);
  }
  ++decoder->next_begin;
  decoder->line.number = begin->line;
  event->kind = TEG_TRACE_ALLOCATE;
  event->time_ns = begin->lower;
  event->size = begin->size;
  event->id = decoder->next_begin;
  return tegi_trace_reader_allocate(reader, event->id, event, err);
}

const tegi_trace_decoder_ops tegi_trace_interval_decoder = {
    .open = interval_open,
    .next = interval_next,
    .place = interval_place,
    .close = interval_close};
