// SPDX-License-Identifier: Apache-2.0
//
// The front door of writing traces: checks parameters and every event, keeps
// what is live, and remembers the first failure. One thread at a time; no
// locks. Invariants: as in trace_reader.c, so that whatever a writer accepted
// a reader reads.
#include "trace/trace_writer.h"

#include <inttypes.h>
#include <string.h>

#include "trace/trace_format.h"

static bool ends_with(const char* path, const char* suffix) {
  size_t size = strlen(path);
  size_t tail = strlen(suffix);
  return size > tail && strcmp(path + size - tail, suffix) == 0;
}

typedef struct extension {
  const char* suffix;
  teg_trace_format format;
  tegi_trace_packing packing;
} extension;

static const extension extensions[] = {
    {".tgt", TEG_TRACE_FORMAT_TGT, TEGI_TRACE_PLAIN},
    {".csv", TEG_TRACE_FORMAT_RMM_CSV, TEGI_TRACE_PLAIN},
    {".csv.gz", TEG_TRACE_FORMAT_RMM_CSV, TEGI_TRACE_GZIP},
    {".csv.zst", TEG_TRACE_FORMAT_RMM_CSV, TEGI_TRACE_ZSTD},
    {".json", TEG_TRACE_FORMAT_CHROME_JSON, TEGI_TRACE_PLAIN},
    {".json.gz", TEG_TRACE_FORMAT_CHROME_JSON, TEGI_TRACE_GZIP},
    {".json.zst", TEG_TRACE_FORMAT_CHROME_JSON, TEGI_TRACE_ZSTD},
};

static const extension* extension_of(const char* path) {
  for (size_t i = 0; i < sizeof extensions / sizeof *extensions; ++i) {
    if (ends_with(path, extensions[i].suffix)) return &extensions[i];
  }
  return NULL;
}

teg_trace_format teg_trace_format_of_path(const char* path) {
  const extension* found = path ? extension_of(path) : NULL;
  return found ? found->format : TEG_TRACE_FORMAT_UNKNOWN;
}

teg_result tegi_trace_writer_no_memory(teg_trace_writer* writer,
                                       teg_error* err) {
  const char* path = writer->output.path;
  return tegi_error_set(err, TEG_OUT_OF_HOST_MEMORY,
                        "%s: no host memory to write it",
                        path ? path : "trace");
}

// ---------------------------------------------------------------------------
// Opening and closing

static teg_result check_params(const teg_trace_writer_params* params,
                               teg_error* err) {
  TEG_REQUIRE(params->struct_size == sizeof *params, err,
              "teg_trace_writer_params: struct_size %u instead of %zu",
              params->struct_size, sizeof *params);
  TEG_REQUIRE(params->reserved == 0 && params->reserved2 == 0, err,
              "teg_trace_writer_params: a reserved field is not 0");
  TEG_REQUIRE(params->compression_level >= 0 && params->compression_level <= 19,
              err, "compression_level %d is not in 0..19",
              params->compression_level);
  TEG_REQUIRE(params->block_event_count <= TEGI_TGT_MAX_BLOCK_EVENTS, err,
              "block_event_count %u is above %d", params->block_event_count,
              TEGI_TGT_MAX_BLOCK_EVENTS);
  TEG_REQUIRE(!params->name || strlen(params->name) <= TEGI_TGT_MAX_NAME, err,
              "the name of the trace is longer than %d bytes",
              TEGI_TGT_MAX_NAME);
  TEG_REQUIRE(!params->source || strlen(params->source) <= TEGI_TGT_MAX_SOURCE,
              err, "the source of the trace is longer than %d bytes",
              TEGI_TGT_MAX_SOURCE);
  return TEG_OK;
}

static teg_result create(const teg_trace_writer_params* params,
                         teg_trace_writer** out_writer, teg_error* err) {
  tegi_host host;
  teg_result result = tegi_host_init(&host, &params->allocator, err);
  if (result != TEG_OK) return result;
  teg_trace_writer* writer = tegi_host_alloc(&host, sizeof *writer);
  if (!writer) {
    return tegi_error_set(err, TEG_OUT_OF_HOST_MEMORY,
                          "no host memory for a trace writer");
  }
  *out_writer = writer;
  writer->host.allocator = host.allocator;
  atomic_init(&writer->host.live_bytes, sizeof *writer);
  writer->level = params->compression_level;
  writer->block_event_count = params->block_event_count
                                  ? params->block_event_count
                                  : TEGI_TGT_MAX_BLOCK_EVENTS;
  tegi_trace_map_init(&writer->live, &writer->host);
  writer->name =
      tegi_host_strdup(&writer->host, params->name ? params->name : "");
  writer->source =
      tegi_host_strdup(&writer->host, params->source ? params->source : "");
  if (!writer->name || !writer->source) {
    return tegi_trace_writer_no_memory(writer, err);
  }
  return TEG_OK;
}

static teg_result choose_encoder(teg_trace_writer* writer,
                                 teg_trace_format format, teg_error* err) {
  writer->format = format;
  switch (format) {
    case TEG_TRACE_FORMAT_TGT:
      writer->encoder = &tegi_trace_tgt_encoder;
      return TEG_OK;
    case TEG_TRACE_FORMAT_RMM_CSV:
      writer->encoder = &tegi_trace_rmm_encoder;
      return TEG_OK;
    case TEG_TRACE_FORMAT_CHROME_JSON:
      writer->encoder = &tegi_trace_chrome_encoder;
      return TEG_OK;
    case TEG_TRACE_FORMAT_INTERVAL_CSV:
    case TEG_TRACE_FORMAT_UNKNOWN:
      break;
  }
  return tegi_error_set(err, TEG_UNSUPPORTED,
                        "traces are not written in the format %s",
                        teg_trace_format_name(format));
}

static teg_result open_any(const char* path, const teg_trace_sink* sink,
                           teg_trace_format format, tegi_trace_packing packing,
                           const teg_trace_writer_params* params,
                           teg_trace_writer** out_writer, teg_error* err) {
  teg_trace_writer* writer = NULL;
  teg_result result = create(params, &writer, err);
  if (result == TEG_OK) result = choose_encoder(writer, format, err);
  if (result == TEG_OK) {
    result = tegi_trace_output_init(&writer->output, &writer->host, path, sink,
                                    packing, writer->level, err);
  }
  if (result == TEG_OK) result = writer->encoder->open(writer, err);
  if (result != TEG_OK) {
    teg_trace_writer_close(writer);
    return result;
  }
  *out_writer = writer;
  return TEG_OK;
}

static const teg_trace_writer_params defaults = TEG_TRACE_WRITER_PARAMS_INIT;

teg_result teg_trace_writer_open(const char* path,
                                 const teg_trace_writer_params* params,
                                 teg_trace_writer** out_writer,
                                 teg_error* err) {
  teg_error_clear(err);
  TEG_REQUIRE(out_writer, err, "out_writer is NULL");
  *out_writer = NULL;
  TEG_REQUIRE(path && *path, err, "the path of the trace is empty");
  if (!params) params = &defaults;
  teg_result result = check_params(params, err);
  if (result != TEG_OK) return result;
  const extension* found = extension_of(path);
  teg_trace_format format = params->format;
  if (format == TEG_TRACE_FORMAT_UNKNOWN && found) format = found->format;
  TEG_REQUIRE(format != TEG_TRACE_FORMAT_UNKNOWN, err,
              "%s: its extension names no format; use .tgt, .csv or .json, "
              "the last two also with .gz or .zst",
              path);
  tegi_trace_packing packing = found ? found->packing : TEGI_TRACE_PLAIN;
  return open_any(path, NULL, format, packing, params, out_writer, err);
}

teg_result teg_trace_writer_open_sink(const teg_trace_sink* sink,
                                      const teg_trace_writer_params* params,
                                      teg_trace_writer** out_writer,
                                      teg_error* err) {
  teg_error_clear(err);
  TEG_REQUIRE(out_writer, err, "out_writer is NULL");
  *out_writer = NULL;
  TEG_REQUIRE(sink && sink->write, err, "sink->write is NULL");
  if (!params) params = &defaults;
  teg_result result = check_params(params, err);
  if (result != TEG_OK) return result;
  TEG_REQUIRE(params->format != TEG_TRACE_FORMAT_UNKNOWN, err,
              "a sink needs params->format");
  return open_any(NULL, sink, params->format, TEGI_TRACE_PLAIN, params,
                  out_writer, err);
}

static void free_text(tegi_host* host, char* text) {
  if (text) tegi_host_free(host, text, strlen(text) + 1);
}

void teg_trace_writer_close(teg_trace_writer* writer) {
  if (!writer) return;
  if (writer->encoder) writer->encoder->close(writer);
  tegi_trace_output_deinit(&writer->output);
  tegi_trace_map_deinit(&writer->live);
  for (size_t i = 0; i < writer->tag_count; ++i) {
    free_text(&writer->host, writer->tags[i]);
  }
  tegi_host_free(&writer->host, writer->tags,
                 writer->tag_capacity * sizeof *writer->tags);
  free_text(&writer->host, writer->name);
  free_text(&writer->host, writer->source);
  teg_allocator allocator = writer->host.allocator;
  allocator.release(allocator.user, writer, sizeof *writer);
}

// ---------------------------------------------------------------------------
// Writing

// Remembers a failure; |result| is that of the call which filled |failure|.
static teg_result fail(teg_trace_writer* writer, teg_result result,
                       teg_error* err) {
  writer->failure.result = result;
  if (err) *err = writer->failure;
  return result;
}

static teg_result check_open(const teg_trace_writer* writer, teg_error* err) {
  if (writer->is_finished) {
    return tegi_error_set(err, TEG_BAD_STATE, "the trace is finished already");
  }
  if (writer->failure.result != TEG_OK) {
    if (err) *err = writer->failure;
    return writer->failure.result;
  }
  return TEG_OK;
}

teg_result teg_trace_writer_add_tag(teg_trace_writer* writer, const char* text,
                                    uint32_t* out_tag, teg_error* err) {
  teg_error_clear(err);
  TEG_REQUIRE(out_tag, err, "out_tag is NULL");
  *out_tag = 0;
  TEG_REQUIRE(writer && text, err, "writer or text is NULL");
  size_t size = strlen(text);
  TEG_REQUIRE(size > 0 && size <= TEGI_TGT_MAX_TAG_SIZE, err,
              "a tag of %zu bytes; 1 to %d are allowed", size,
              TEGI_TGT_MAX_TAG_SIZE);
  teg_result result = check_open(writer, err);
  if (result != TEG_OK) return result;
  if (writer->tag_count == TEGI_TGT_MAX_TAGS) {
    return tegi_error_set(err, TEG_LIMIT, "a trace has at most %d tags",
                          TEGI_TGT_MAX_TAGS);
  }
  if (!tegi_host_grow_array(&writer->host, &writer->tags, &writer->tag_capacity,
                            writer->tag_count + 1, sizeof *writer->tags)) {
    return tegi_trace_writer_no_memory(writer, err);
  }
  char* copy = tegi_host_strdup(&writer->host, text);
  if (!copy) return tegi_trace_writer_no_memory(writer, err);
  writer->tags[writer->tag_count++] = copy;
  *out_tag = (uint32_t)writer->tag_count;
  return TEG_OK;
}

static teg_result take_allocation(teg_trace_writer* writer,
                                  const teg_trace_event* event,
                                  teg_error* err) {
  TEG_REQUIRE(event->id > writer->last_id, err,
              "event %" PRIu64 ": allocates id %" PRIu64 " after id %" PRIu64
              "; ids must rise",
              writer->event_count, event->id, writer->last_id);
  uint64_t live_bytes;
  TEG_REQUIRE(event->size > 0 && event->size < TEGI_MAX_BYTES &&
                  tegi_add_u64(writer->live_bytes, event->size, &live_bytes) &&
                  live_bytes < TEGI_MAX_BYTES,
              err,
              "event %" PRIu64 ": allocates %" PRIu64
              " bytes; a size must be above 0, and it and the sum of live "
              "sizes below 2^62",
              writer->event_count, event->size);
  TEG_REQUIRE(event->tag <= writer->tag_count, err,
              "event %" PRIu64 ": tag %u was not added", writer->event_count,
              event->tag);
  TEG_REQUIRE((event->flags & ~TEGI_TRACE_KNOWN_FLAGS) == 0, err,
              "event %" PRIu64 ": unknown flags 0x%x", writer->event_count,
              event->flags);
  tegi_trace_entry* entry = tegi_trace_map_add(&writer->live, event->id);
  if (!entry) return tegi_trace_writer_no_memory(writer, err);
  entry->id = event->id;
  entry->size = event->size;
  entry->tag = event->tag;
  entry->lifetime = event->lifetime;
  writer->live_bytes = live_bytes;
  writer->last_id = event->id;
  ++writer->allocate_count;
  return TEG_OK;
}

// Completes |event| from the allocation.
static teg_result take_free(teg_trace_writer* writer, teg_trace_event* event,
                            teg_error* err) {
  tegi_trace_entry* entry = tegi_trace_map_find(&writer->live, event->id);
  TEG_REQUIRE(entry, err,
              "event %" PRIu64 ": frees id %" PRIu64 ", which is not live",
              writer->event_count, event->id);
  TEG_REQUIRE(event->size == 0 || event->size == entry->size, err,
              "event %" PRIu64 ": frees id %" PRIu64 " as %" PRIu64
              " bytes, allocated as %" PRIu64,
              writer->event_count, event->id, event->size, entry->size);
  TEG_REQUIRE(event->flags == 0, err, "event %" PRIu64 ": a FREE has no flags",
              writer->event_count);
  event->size = entry->size;
  event->tag = entry->tag;
  event->lifetime = entry->lifetime;
  writer->live_bytes -= entry->size;
  tegi_trace_map_remove(&writer->live, entry);
  ++writer->free_count;
  return TEG_OK;
}

static teg_result take_event(teg_trace_writer* writer, teg_trace_event* event,
                             teg_error* err) {
  switch (event->kind) {
    case TEG_TRACE_ALLOCATE:
      return take_allocation(writer, event, err);
    case TEG_TRACE_FREE:
      return take_free(writer, event, err);
    case TEG_TRACE_LOAD_END:
    case TEG_TRACE_RUN_BEGIN:
    case TEG_TRACE_RUN_END:
      TEG_REQUIRE(!event->id && !event->size && !event->tag &&
                      !event->lifetime && !event->flags,
                  err, "event %" PRIu64 ": a mark has no buffer",
                  writer->event_count);
      return TEG_OK;
    default:
      return tegi_error_set(err, TEG_INVALID, "event %" PRIu64 ": kind %u",
                            writer->event_count, event->kind);
  }
}

teg_result teg_trace_writer_append(teg_trace_writer* writer,
                                   const teg_trace_event* event,
                                   teg_error* err) {
  TEG_REQUIRE(writer && event, err, "writer or event is NULL");
  teg_result result = check_open(writer, err);
  if (result != TEG_OK) return result;
  teg_trace_event complete = *event;
  result = take_event(writer, &complete, err);
  if (result == TEG_INVALID) return result;
  if (result != TEG_OK) {
    (void)tegi_trace_writer_no_memory(writer, &writer->failure);
    return fail(writer, result, err);
  }
  result = writer->encoder->append(writer, &complete, &writer->failure);
  if (result != TEG_OK) return fail(writer, result, err);
  ++writer->event_count;
  return TEG_OK;
}

teg_result teg_trace_writer_finish(teg_trace_writer* writer, teg_error* err) {
  teg_error_clear(err);
  TEG_REQUIRE(writer, err, "writer is NULL");
  teg_result result = check_open(writer, err);
  if (result != TEG_OK) return result;
  result = writer->encoder->finish(writer, &writer->failure);
  if (result == TEG_OK) {
    result = tegi_trace_output_commit(&writer->output, &writer->failure);
  }
  if (result != TEG_OK) return fail(writer, result, err);
  writer->is_finished = true;
  return TEG_OK;
}
