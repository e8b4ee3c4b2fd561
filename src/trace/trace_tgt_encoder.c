// SPDX-License-Identifier: Apache-2.0
//
// Writes tegula's own trace format; docs/trace-format.md describes it. Owns
// the events of the block being filled, the columns they become, and the
// compressor. Every block stands alone: running values begin anew in it.
#include <inttypes.h>
#include <string.h>

#include "trace/trace_crc.h"
#include "trace/trace_format.h"
#include "trace/trace_writer.h"

enum { DEFAULT_LEVEL = 19 };

typedef struct tgt_encoder {
  teg_trace_event* events;  // writer->block_event_count of them
  uint32_t event_count;
  uint64_t base_id;          // highest id before the block
  size_t written_tag_count;  // of writer->tags
  tegi_trace_map size_indices;
  tegi_trace_bytes sizes;
  tegi_trace_bytes columns[TEGI_TGT_COLUMN_COUNT];
  uint64_t column_bits[TEGI_TGT_COLUMN_COUNT];  // or of the values
  tegi_trace_bytes plain;
  uint8_t* packed;
  size_t packed_capacity;
  ZSTD_CCtx* zstd;
} tgt_encoder;

static teg_result tgt_open(teg_trace_writer* writer, teg_error* err) {
  tgt_encoder* encoder = tegi_host_alloc(&writer->host, sizeof *encoder);
  if (!encoder) return tegi_trace_writer_no_memory(writer, err);
  writer->state = encoder;
  tegi_trace_map_init(&encoder->size_indices, &writer->host);
  encoder->events = tegi_host_calloc(&writer->host, writer->block_event_count,
                                     sizeof *encoder->events);
  encoder->zstd =
      ZSTD_createCCtx_advanced(tegi_trace_zstd_memory(&writer->host));
  if (!encoder->events || !encoder->zstd) {
    return tegi_trace_writer_no_memory(writer, err);
  }
  ZSTD_CCtx_setParameter(encoder->zstd, ZSTD_c_compressionLevel,
                         writer->level ? writer->level : DEFAULT_LEVEL);
  ZSTD_CCtx_setParameter(encoder->zstd, ZSTD_c_checksumFlag, 1);

  uint8_t header[TEGI_TGT_MAX_HEADER_SIZE];
  uint32_t name_size = (uint32_t)strlen(writer->name);
  uint32_t source_size = (uint32_t)strlen(writer->source);
  uint32_t checked = TEGI_TGT_HEADER_FIXED_SIZE + name_size + source_size;
  memcpy(header, TEGI_TGT_MAGIC, TEGI_TGT_MAGIC_SIZE);
  tegi_store_u32(header + 8, TEGI_TGT_VERSION);
  tegi_store_u32(header + 12, checked + TEGI_TGT_CRC_SIZE);
  tegi_store_u32(header + 16, 0);
  tegi_store_u32(header + 20, name_size);
  tegi_store_u32(header + 24, source_size);
  memcpy(header + TEGI_TGT_HEADER_FIXED_SIZE, writer->name, name_size);
  memcpy(header + TEGI_TGT_HEADER_FIXED_SIZE + name_size, writer->source,
         source_size);
  tegi_store_u32(header + checked, tegi_trace_crc32c(0, header, checked));
  return tegi_trace_output_write(&writer->output, header,
                                 checked + TEGI_TGT_CRC_SIZE, err);
}

static void tgt_close(teg_trace_writer* writer) {
  tgt_encoder* encoder = writer->state;
  if (!encoder) return;
  tegi_host_free(&writer->host, encoder->events,
                 writer->block_event_count * sizeof *encoder->events);
  tegi_trace_map_deinit(&encoder->size_indices);
  tegi_trace_bytes_deinit(&encoder->sizes, &writer->host);
  for (int i = 0; i < TEGI_TGT_COLUMN_COUNT; ++i) {
    tegi_trace_bytes_deinit(&encoder->columns[i], &writer->host);
  }
  tegi_trace_bytes_deinit(&encoder->plain, &writer->host);
  tegi_host_free(&writer->host, encoder->packed, encoder->packed_capacity);
  ZSTD_freeCCtx(encoder->zstd);
  tegi_host_free(&writer->host, encoder, sizeof *encoder);
  writer->state = NULL;
}

// ---------------------------------------------------------------------------
// Columns

static bool put(teg_trace_writer* writer, tegi_tgt_column column,
                uint64_t value) {
  tgt_encoder* encoder = writer->state;
  encoder->column_bits[column] |= value;
  return tegi_trace_bytes_add_varint(&encoder->columns[column], &writer->host,
                                     value);
}

// The index of |size| in the block's table, which it may join.
static bool put_size(teg_trace_writer* writer, uint64_t size) {
  tgt_encoder* encoder = writer->state;
  tegi_trace_entry* entry = tegi_trace_map_find(&encoder->size_indices, size);
  if (!entry) {
    if (!tegi_trace_bytes_add_varint(&encoder->sizes, &writer->host, size)) {
      return false;
    }
    entry = tegi_trace_map_add(&encoder->size_indices, size);
    if (!entry) return false;
    entry->id = encoder->size_indices.count - 1;
  }
  return put(writer, TEGI_TGT_SIZE_INDEX, entry->id);
}

// Microseconds where every time of the block is whole in them.
static uint64_t time_unit(const tgt_encoder* encoder) {
  for (uint32_t i = 0; i < encoder->event_count; ++i) {
    if (encoder->events[i].time_ns % 1000 != 0) return 1;
  }
  return 1000;
}

static bool put_events(teg_trace_writer* writer, uint64_t unit) {
  tgt_encoder* encoder = writer->state;
  teg_trace_event last = {0};
  uint64_t last_id = encoder->base_id;
  for (uint32_t i = 0; i < encoder->event_count; ++i) {
    const teg_trace_event* event = &encoder->events[i];
    bool is_put =
        put(writer, TEGI_TGT_KIND, event->kind - 1u) &&
        put(writer, TEGI_TGT_TIME,
            tegi_zigzag(event->time_ns / unit - last.time_ns / unit)) &&
        put(writer, TEGI_TGT_THREAD,
            tegi_zigzag((uint64_t)event->thread - last.thread)) &&
        put(writer, TEGI_TGT_STREAM,
            tegi_zigzag((uint64_t)event->stream - last.stream));
    if (event->kind == TEG_TRACE_ALLOCATE) {
      is_put = is_put &&
               put(writer, TEGI_TGT_ID_GAP, event->id - last_id - 1) &&
               put_size(writer, event->size) &&
               put(writer, TEGI_TGT_LIFETIME, event->lifetime) &&
               put(writer, TEGI_TGT_TAG, event->tag) &&
               put(writer, TEGI_TGT_FLAGS, event->flags);
      last_id = event->id;
    } else if (event->kind == TEG_TRACE_FREE) {
      is_put = is_put && put(writer, TEGI_TGT_DISTANCE, last_id - event->id);
    }
    if (!is_put) return false;
    last = *event;
  }
  return true;
}

static bool put_tags(teg_trace_writer* writer) {
  tgt_encoder* encoder = writer->state;
  tegi_host* host = &writer->host;
  size_t first = encoder->written_tag_count;
  bool is_put = tegi_trace_bytes_add_varint(&encoder->plain, host, first + 1) &&
                tegi_trace_bytes_add_varint(&encoder->plain, host,
                                            writer->tag_count - first);
  for (size_t i = first; i < writer->tag_count && is_put; ++i) {
    size_t size = strlen(writer->tags[i]);
    is_put = tegi_trace_bytes_add_varint(&encoder->plain, host, size) &&
             tegi_trace_bytes_add(&encoder->plain, host, writer->tags[i], size);
  }
  return is_put;
}

// Fills |plain| with the block's content.
static bool build_plain(teg_trace_writer* writer) {
  tgt_encoder* encoder = writer->state;
  tegi_host* host = &writer->host;
  tegi_trace_bytes* plain = &encoder->plain;
  plain->size = 0;
  encoder->sizes.size = 0;
  tegi_trace_map_clear(&encoder->size_indices);
  for (int i = 0; i < TEGI_TGT_COLUMN_COUNT; ++i) {
    encoder->columns[i].size = 0;
    encoder->column_bits[i] = 0;
  }
  uint64_t unit = time_unit(encoder);
  bool is_built =
      put_events(writer, unit) &&
      tegi_trace_bytes_add_varint(plain, host, unit) &&
      tegi_trace_bytes_add_varint(plain, host, encoder->base_id) &&
      put_tags(writer) &&
      tegi_trace_bytes_add_varint(plain, host, encoder->size_indices.count) &&
      tegi_trace_bytes_add(plain, host, encoder->sizes.data,
                           encoder->sizes.size);
  for (int i = 0; i < TEGI_TGT_COLUMN_COUNT && is_built; ++i) {
    if (encoder->column_bits[i] == 0) encoder->columns[i].size = 0;
    is_built =
        tegi_trace_bytes_add_varint(plain, host, encoder->columns[i].size);
  }
  for (int i = 0; i < TEGI_TGT_COLUMN_COUNT && is_built; ++i) {
    is_built = tegi_trace_bytes_add(plain, host, encoder->columns[i].data,
                                    encoder->columns[i].size);
  }
  return is_built;
}

// ---------------------------------------------------------------------------
// Blocks

static teg_result write_block(teg_trace_writer* writer, uint32_t type,
                              uint32_t event_count, uint64_t first_event,
                              const uint8_t* payload, size_t packed_size,
                              size_t plain_size, teg_error* err) {
  uint8_t header[TEGI_TGT_BLOCK_HEADER_SIZE];
  tegi_store_u32(header, type);
  tegi_store_u32(header + 4, event_count);
  tegi_store_u32(header + 8, (uint32_t)packed_size);
  tegi_store_u32(header + 12, (uint32_t)plain_size);
  tegi_store_u64(header + 16, first_event);
  tegi_store_u32(header + 24, tegi_trace_crc32c(0, payload, packed_size));
  tegi_store_u32(header + 28, tegi_trace_crc32c(0, header, 28));
  teg_result result =
      tegi_trace_output_write(&writer->output, header, sizeof header, err);
  if (result != TEG_OK) return result;
  return tegi_trace_output_write(&writer->output, payload, packed_size, err);
}

// Writes the events gathered so far, |end_event| being the next one's number.
static teg_result flush(teg_trace_writer* writer, uint64_t end_event,
                        teg_error* err) {
  tgt_encoder* encoder = writer->state;
  if (encoder->event_count == 0) return TEG_OK;
  size_t bound =
      build_plain(writer) ? ZSTD_compressBound(encoder->plain.size) : SIZE_MAX;
  if (bound == SIZE_MAX ||
      !tegi_host_grow_array(&writer->host, &encoder->packed,
                            &encoder->packed_capacity, bound, 1)) {
    return tegi_trace_writer_no_memory(writer, err);
  }
  size_t size =
      ZSTD_compress2(encoder->zstd, encoder->packed, encoder->packed_capacity,
                     encoder->plain.data, encoder->plain.size);
  if (ZSTD_isError(size)) return tegi_trace_writer_no_memory(writer, err);
  teg_result result =
      write_block(writer, TEGI_TGT_BLOCK_EVENTS, encoder->event_count,
                  end_event - encoder->event_count, encoder->packed, size,
                  encoder->plain.size, err);
  encoder->event_count = 0;
  encoder->written_tag_count = writer->tag_count;
  encoder->base_id = writer->last_id;
  return result;
}

static teg_result tgt_append(teg_trace_writer* writer,
                             const teg_trace_event* event, teg_error* err) {
  tgt_encoder* encoder = writer->state;
  encoder->events[encoder->event_count++] = *event;
  if (encoder->event_count < writer->block_event_count) return TEG_OK;
  return flush(writer, writer->event_count + 1, err);
}

static teg_result tgt_finish(teg_trace_writer* writer, teg_error* err) {
  teg_result result = flush(writer, writer->event_count, err);
  if (result != TEG_OK) return result;
  const uint64_t totals[] = {writer->event_count, writer->allocate_count,
                             writer->free_count,  writer->live.count,
                             writer->live_bytes,  writer->last_id};
  uint8_t footer[TEGI_TGT_FOOTER_SIZE];
  _Static_assert(sizeof totals == sizeof footer, "six totals");
  for (size_t i = 0; i < sizeof totals / sizeof *totals; ++i) {
    tegi_store_u64(footer + 8 * i, totals[i]);
  }
  return write_block(writer, TEGI_TGT_BLOCK_FOOTER, 0, writer->event_count,
                     footer, sizeof footer, sizeof footer, err);
}

const tegi_trace_encoder_ops tegi_trace_tgt_encoder = {.open = tgt_open,
                                                       .append = tgt_append,
                                                       .finish = tgt_finish,
                                                       .close = tgt_close};
