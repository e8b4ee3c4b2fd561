// SPDX-License-Identifier: Apache-2.0
//
// The front door of reading traces: finds the format, keeps the table of live
// buffers, checks every event, and remembers the first failure. One thread at
// a time; no locks. Invariants: live_bytes is the sum of the sizes in |live|
// and below TEGI_MAX_BYTES; last_id never falls.
#include "trace/trace_reader.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "trace/trace_format.h"

enum { DEFAULT_MAX_LIVE = 1 << 24, SNIFF_SIZE = 4096 };

static const char expected_formats[] =
    "expected tegula's own format, RMM's CSV (Thread,Time,Action,Pointer,"
    "Size,Stream) or an interval CSV (id,lower,upper,size), the latter two "
    "also as .gz or .zst";

const char* teg_trace_format_name(teg_trace_format format) {
  switch (format) {
    case TEG_TRACE_FORMAT_TGT:
      return "tgt";
    case TEG_TRACE_FORMAT_RMM_CSV:
      return "rmm-csv";
    case TEG_TRACE_FORMAT_INTERVAL_CSV:
      return "interval-csv";
    case TEG_TRACE_FORMAT_CHROME_JSON:
      return "chrome-json";
    case TEG_TRACE_FORMAT_UNKNOWN:
      break;
  }
  return "unknown";
}

const char* teg_trace_kind_name(uint32_t kind) {
  static const char* const names[] = {"unknown",  "allocate",  "free",
                                      "load_end", "run_begin", "run_end"};
  return kind < sizeof names / sizeof *names ? names[kind] : names[0];
}

teg_result tegi_trace_reader_no_memory(teg_trace_reader* reader,
                                       teg_error* err) {
  return tegi_error_set(err, TEG_OUT_OF_HOST_MEMORY,
                        "%s: no host memory to read it", reader->path);
}

teg_result tegi_trace_reader_corrupt(teg_trace_reader* reader, teg_error* err,
                                     const char* format, ...) {
  char text[400];
  char place[TEGI_TRACE_PLACE_SIZE];
  va_list args;
  va_start(args, format);
  vsnprintf(text, sizeof text, format, args);
  va_end(args);
  reader->decoder->place(reader, place);
  return tegi_error_set(err, TEG_CORRUPT, "%s: %s: %s", reader->path, place,
                        text);
}

// ---------------------------------------------------------------------------
// Checks against what is live

teg_result tegi_trace_reader_allocate(teg_trace_reader* reader, uint64_t key,
                                      const teg_trace_event* event,
                                      teg_error* err) {
  if (event->size == 0) {
    return tegi_trace_reader_corrupt(reader, err, "an allocation of 0 bytes");
  }
  uint64_t live_bytes;
  if (event->size >= TEGI_MAX_BYTES ||
      !tegi_add_u64(reader->live_bytes, event->size, &live_bytes) ||
      live_bytes >= TEGI_MAX_BYTES) {
    return tegi_trace_reader_corrupt(
        reader, err,
        "an allocation of %llu bytes on top of %llu live: a size and the sum "
        "of live sizes must be below 2^62",
        (unsigned long long)event->size,
        (unsigned long long)reader->live_bytes);
  }
  tegi_trace_entry* entry = tegi_trace_map_find(&reader->live, key);
  if (entry) {
    return tegi_trace_reader_corrupt(
        reader, err,
        "allocates %s%llx, which is live already (buffer %llu, %llu bytes)",
        "0x", (unsigned long long)key, (unsigned long long)entry->id,
        (unsigned long long)entry->size);
  }
  if (reader->live.count >= reader->max_live_count) {
    return tegi_error_set(
        err, TEG_LIMIT,
        "%s: more than %llu buffers are live at once (max_live_count)",
        reader->path, (unsigned long long)reader->max_live_count);
  }
  entry = tegi_trace_map_add(&reader->live, key);
  if (!entry) return tegi_trace_reader_no_memory(reader, err);
  entry->id = event->id;
  entry->size = event->size;
  entry->tag = event->tag;
  entry->lifetime = event->lifetime;
  reader->live_bytes = live_bytes;
  reader->last_id = event->id;
  return TEG_OK;
}

teg_result tegi_trace_reader_free(teg_trace_reader* reader, uint64_t key,
                                  teg_trace_event* event, teg_error* err) {
  tegi_trace_entry* entry = tegi_trace_map_find(&reader->live, key);
  if (!entry) {
    return tegi_trace_reader_corrupt(
        reader, err,
        "frees %llu (0x%llx), which is not live: never allocated, or freed "
        "before",
        (unsigned long long)key, (unsigned long long)key);
  }
  if (event->size != 0 && event->size != entry->size) {
    return tegi_trace_reader_corrupt(
        reader, err, "frees %llu (0x%llx) as %llu bytes, allocated as %llu",
        (unsigned long long)key, (unsigned long long)key,
        (unsigned long long)event->size, (unsigned long long)entry->size);
  }
  event->id = entry->id;
  event->size = entry->size;
  event->tag = entry->tag;
  event->lifetime = entry->lifetime;
  reader->live_bytes -= entry->size;
  tegi_trace_map_remove(&reader->live, entry);
  return TEG_OK;
}

teg_result tegi_trace_reader_add_tag(teg_trace_reader* reader, const char* text,
                                     size_t size, teg_error* err) {
  if (!tegi_host_grow_array(&reader->host, &reader->tags, &reader->tag_capacity,
                            reader->tag_count + 1, sizeof *reader->tags)) {
    return tegi_trace_reader_no_memory(reader, err);
  }
  char* copy = tegi_host_alloc(&reader->host, size + 1);
  if (!copy) return tegi_trace_reader_no_memory(reader, err);
  memcpy(copy, text, size);
  reader->tags[reader->tag_count++] = copy;
  return TEG_OK;
}

// ---------------------------------------------------------------------------
// Recognising the format

static bool begins_with(const uint8_t* data, size_t size, const char* text) {
  size_t length = strlen(text);
  return size >= length && memcmp(data, text, length) == 0;
}

// The end of the file cut the magic number short.
static bool is_partial_magic(const uint8_t* data, size_t size) {
  return size < TEGI_TGT_MAGIC_SIZE && memcmp(data, TEGI_TGT_MAGIC, size) == 0;
}

static bool is_pickle(const uint8_t* data, size_t size) {
  return size >= 2 && data[0] == 0x80 && data[1] >= 2 && data[1] <= 5;
}

static teg_result foreign(teg_trace_reader* reader, const uint8_t* data,
                          size_t size, teg_error* err) {
  if (begins_with(data, size, "\x89TGT")) {
    return tegi_error_set(err, TEG_CORRUPT,
                          "%s: tegula's own format, but its first %d bytes "
                          "are damaged, as by a transfer as text",
                          reader->path, TEGI_TGT_MAGIC_SIZE);
  }
  char start[33] = {0};
  for (size_t i = 0; i < size && i < sizeof start - 1; ++i) {
    bool is_plain = data[i] >= 0x20 && data[i] < 0x7f;
    start[i] = is_plain ? (char)data[i] : '.';
  }
  return tegi_error_set(err, TEG_CORRUPT,
                        "%s: not a trace: begins with \"%s\"; %s", reader->path,
                        start, expected_formats);
}

static teg_result find_format(teg_trace_reader* reader, teg_error* err) {
  const uint8_t* data;
  size_t size;
  teg_result result =
      tegi_trace_input_peek(&reader->input, SNIFF_SIZE, &data, &size, err);
  if (result != TEG_OK) return result;
  if (size == 0) {
    return tegi_error_set(err, TEG_TRUNCATED, "%s: the file is empty; %s",
                          reader->path, expected_formats);
  }
  const uint8_t* text = data;
  size_t text_size = size;
  if (begins_with(text, text_size, "\xef\xbb\xbf")) {
    text += 3;
    text_size -= 3;
  }
  if (begins_with(data, size, TEGI_TGT_MAGIC)) {
    reader->format = TEG_TRACE_FORMAT_TGT;
    reader->decoder = &tegi_trace_tgt_decoder;
  } else if (is_partial_magic(data, size)) {
    return tegi_error_set(err, TEG_TRUNCATED,
                          "%s: ends inside its first %d bytes", reader->path,
                          TEGI_TGT_MAGIC_SIZE);
  } else if (begins_with(text, text_size, "Thread,Time,")) {
    reader->format = TEG_TRACE_FORMAT_RMM_CSV;
    reader->decoder = &tegi_trace_rmm_decoder;
  } else if (begins_with(text, text_size, "id,lower,")) {
    reader->format = TEG_TRACE_FORMAT_INTERVAL_CSV;
    reader->decoder = &tegi_trace_interval_decoder;
  } else if (is_pickle(data, size)) {
    return tegi_error_set(
        err, TEG_UNSUPPORTED,
        "%s: a Python pickle; if it is a PyTorch memory snapshot, turn it "
        "into a CSV log with: python3 tools/pytorch_snapshot.py SNAPSHOT "
        "OUT.csv",
        reader->path);
  } else {
    return foreign(reader, data, size, err);
  }
  if (text != data) tegi_trace_input_skip(&reader->input, 3);
  return TEG_OK;
}

// ---------------------------------------------------------------------------
// Opening and closing

// The last part of |path|, up to its first dot that is not its first letter.
static char* stem_of(tegi_host* host, const char* path) {
  const char* slash = strrchr(path, '/');
  const char* base = slash ? slash + 1 : path;
  size_t length = strcspn(base + (*base != '\0'), ".") + (*base != '\0');
  // Names such as model-1.5b.csv keep their first dot.
  const char* end = base + length;
  while (*end == '.' && end[1] >= '0' && end[1] <= '9') {
    end += 1 + strcspn(end + 1, ".");
  }
  length = (size_t)(end - base);
  char* stem = tegi_host_alloc(host, length + 1);
  if (stem) memcpy(stem, base, length);
  return stem;
}

// |path| is for messages, the trace is named after |named|.
static teg_result create(const char* path, const char* named,
                         const teg_trace_reader_params* params,
                         teg_trace_reader** out_reader, teg_error* err) {
  static const teg_trace_reader_params defaults = TEG_TRACE_READER_PARAMS_INIT;
  if (!params) params = &defaults;
  TEG_REQUIRE(params->struct_size == sizeof *params, err,
              "teg_trace_reader_params: struct_size %u instead of %zu",
              params->struct_size, sizeof *params);
  TEG_REQUIRE(params->reserved == 0, err,
              "teg_trace_reader_params: reserved is not 0");
  tegi_host host;
  teg_result result = tegi_host_init(&host, &params->allocator, err);
  if (result != TEG_OK) return result;
  teg_trace_reader* reader = tegi_host_alloc(&host, sizeof *reader);
  if (!reader) {
    return tegi_error_set(err, TEG_OUT_OF_HOST_MEMORY,
                          "%s: no host memory for a reader", path);
  }
  reader->host.allocator = host.allocator;
  atomic_init(&reader->host.live_bytes, sizeof *reader);
  reader->max_live_count =
      params->max_live_count ? params->max_live_count : DEFAULT_MAX_LIVE;
  tegi_trace_map_init(&reader->live, &reader->host);
  *out_reader = reader;
  reader->path = tegi_host_strdup(&reader->host, path);
  reader->name = stem_of(&reader->host, named);
  reader->source = tegi_host_strdup(&reader->host, "");
  if (!reader->path || !reader->name || !reader->source) {
    return tegi_error_set(err, TEG_OUT_OF_HOST_MEMORY,
                          "%s: no host memory for a reader", path);
  }
  return TEG_OK;
}

// Ends each of the three ways to open: |result| is that of the input.
static teg_result open_rest(teg_trace_reader* reader, teg_result result,
                            teg_trace_reader** out_reader, teg_error* err) {
  if (result == TEG_OK) result = find_format(reader, err);
  if (result == TEG_OK) result = reader->decoder->open(reader, err);
  if (result != TEG_OK) {
    teg_trace_reader_close(reader);
    return result;
  }
  *out_reader = reader;
  return TEG_OK;
}

teg_result teg_trace_reader_open(const char* path,
                                 const teg_trace_reader_params* params,
                                 teg_trace_reader** out_reader,
                                 teg_error* err) {
  teg_error_clear(err);
  TEG_REQUIRE(out_reader, err, "out_reader is NULL");
  *out_reader = NULL;
  TEG_REQUIRE(path && *path, err, "the path of the trace is empty");
  teg_trace_reader* reader = NULL;
  teg_result result = create(path, path, params, &reader, err);
  if (result == TEG_OK) {
    result = tegi_trace_input_init_path(&reader->input, &reader->host,
                                        reader->path, err);
  }
  return open_rest(reader, result, out_reader, err);
}

teg_result teg_trace_reader_open_memory(const void* data, size_t size,
                                        const teg_trace_reader_params* params,
                                        teg_trace_reader** out_reader,
                                        teg_error* err) {
  teg_error_clear(err);
  TEG_REQUIRE(out_reader, err, "out_reader is NULL");
  *out_reader = NULL;
  TEG_REQUIRE(data || size == 0, err, "data is NULL");
  teg_trace_reader* reader = NULL;
  teg_result result = create("trace", "", params, &reader, err);
  if (result == TEG_OK) {
    result = tegi_trace_input_init_memory(&reader->input, &reader->host,
                                          reader->path, data, size, err);
  }
  return open_rest(reader, result, out_reader, err);
}

teg_result teg_trace_reader_open_source(const teg_trace_source* source,
                                        const char* name,
                                        const teg_trace_reader_params* params,
                                        teg_trace_reader** out_reader,
                                        teg_error* err) {
  teg_error_clear(err);
  TEG_REQUIRE(out_reader, err, "out_reader is NULL");
  *out_reader = NULL;
  TEG_REQUIRE(source && source->read, err, "source->read is NULL");
  teg_trace_reader* reader = NULL;
  teg_result result =
      create(name ? name : "trace", name ? name : "", params, &reader, err);
  if (result == TEG_OK) {
    result = tegi_trace_input_init_source(&reader->input, &reader->host,
                                          reader->path, source, err);
  } else if (result != TEG_INVALID && source->close) {
    source->close(source->user);
  }
  return open_rest(reader, result, out_reader, err);
}

static void free_text(tegi_host* host, char* text) {
  if (text) tegi_host_free(host, text, strlen(text) + 1);
}

void teg_trace_reader_close(teg_trace_reader* reader) {
  if (!reader) return;
  if (reader->decoder) reader->decoder->close(reader);
  tegi_trace_input_deinit(&reader->input);
  tegi_trace_map_deinit(&reader->live);
  for (size_t i = 0; i < reader->tag_count; ++i) {
    free_text(&reader->host, reader->tags[i]);
  }
  tegi_host_free(&reader->host, reader->tags,
                 reader->tag_capacity * sizeof *reader->tags);
  free_text(&reader->host, reader->path);
  free_text(&reader->host, reader->name);
  free_text(&reader->host, reader->source);
  teg_allocator allocator = reader->host.allocator;
  allocator.release(allocator.user, reader, sizeof *reader);
}

// ---------------------------------------------------------------------------
// Reading

teg_result teg_trace_reader_next_many(teg_trace_reader* reader, size_t capacity,
                                      teg_trace_event* out_events,
                                      size_t* out_count, teg_error* err) {
  TEG_REQUIRE(out_count, err, "out_count is NULL");
  *out_count = 0;
  TEG_REQUIRE(reader && out_events && capacity > 0, err,
              "reader or out_events is NULL, or capacity is 0");
  size_t count = 0;
  teg_error* failure = &reader->failure;
  while (count < capacity && failure->result == TEG_OK) {
    out_events[count] = (teg_trace_event){0};
    teg_result result =
        reader->decoder->next(reader, &out_events[count], failure);
    if (result == TEG_OK) {
      ++count;
      ++reader->event_count;
    } else {
      failure->result = result;
      out_events[count] = (teg_trace_event){0};
    }
  }
  *out_count = count;
  if (count > 0) return TEG_OK;
  if (err) *err = *failure;
  return failure->result;
}

teg_result teg_trace_reader_next(teg_trace_reader* reader,
                                 teg_trace_event* out_event, teg_error* err) {
  size_t count;
  return teg_trace_reader_next_many(reader, 1, out_event, &count, err);
}

void teg_trace_reader_info_get(const teg_trace_reader* reader,
                               teg_trace_reader_info* out_info) {
  *out_info = (teg_trace_reader_info){
      .format = reader->format,
      .version = reader->version,
      .name = reader->name,
      .source = reader->source,
      .event_count = reader->event_count,
      .skipped_count = reader->skipped_count,
      .byte_count = reader->input.raw_offset,
      .total_bytes = reader->input.total_bytes,
      .live_count = reader->live.count,
      .live_bytes = reader->live_bytes,
      .tag_count = (uint32_t)reader->tag_count,
  };
}

const char* teg_trace_reader_tag(const teg_trace_reader* reader, uint32_t tag) {
  if (tag == 0 || tag > reader->tag_count) return "";
  return reader->tags[tag - 1];
}
