// SPDX-License-Identifier: Apache-2.0
//
// Reads tegula's own trace format; docs/trace-format.md describes it. Owns
// two buffers that grow to the largest block, and the block's size table. A
// block is checked against both of its checksums before any of its events is
// given out. Invariant: |cursors| lie within |plain|.
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "trace/trace_crc.h"
#include "trace/trace_format.h"
#include "trace/trace_reader.h"

typedef struct cursor {
  const uint8_t* at;
  const uint8_t* end;
  bool is_zero;  // the column is not stored: every value is 0
} cursor;

typedef struct block_header {
  uint32_t type;
  uint32_t event_count;
  uint32_t packed_size;
  uint32_t plain_size;
  uint64_t first_event;
  uint32_t payload_crc;
} block_header;

typedef struct tgt_decoder {
  ZSTD_DCtx* zstd;
  uint8_t* packed;
  size_t packed_capacity;
  uint8_t* plain;
  size_t plain_capacity;
  uint64_t* sizes;  // the block's size table
  size_t size_capacity, size_count;
  cursor cursors[TEGI_TGT_COLUMN_COUNT];
  uint64_t block_index;   // of the block being read, from 0
  uint64_t block_offset;  // of its header in the file
  uint32_t block_events;  // in this block
  uint32_t block_left;    // not given out yet
  uint64_t time_unit;
  uint64_t time, thread, stream;  // running values, time in units
  uint64_t event_index;           // of the event being decoded, from 0
  uint64_t allocate_count, free_count;
  bool is_in_events;  // for place(): an event, not a block, is at fault
} tgt_decoder;

static void tgt_place(const teg_trace_reader* reader,
                      char out_text[TEGI_TRACE_PLACE_SIZE]) {
  const tgt_decoder* decoder = reader->state;
  if (!decoder || decoder->block_offset == 0) {
    snprintf(out_text, TEGI_TRACE_PLACE_SIZE, "header at byte 0");
    return;
  }
  int used = snprintf(out_text, TEGI_TRACE_PLACE_SIZE,
                      "block %" PRIu64 " at byte %" PRIu64,
                      decoder->block_index, decoder->block_offset);
  if (decoder->is_in_events && used > 0) {
    snprintf(out_text + used, TEGI_TRACE_PLACE_SIZE - (size_t)used,
             ", event %" PRIu64, decoder->event_index);
  }
}

static teg_result truncated(teg_trace_reader* reader, const char* inside,
                            teg_error* err) {
  char place[TEGI_TRACE_PLACE_SIZE];
  tgt_place(reader, place);
  return tegi_error_set(err, TEG_TRUNCATED,
                        "%s: %s: the file ends inside %s, after %" PRIu64
                        " bytes",
                        reader->path, place, inside, reader->input.offset);
}

// Reads exactly |size| bytes.
static teg_result read_exact(teg_trace_reader* reader, void* buffer,
                             size_t size, const char* inside, teg_error* err) {
  size_t got;
  teg_result result =
      tegi_trace_input_read(&reader->input, buffer, size, &got, err);
  if (result != TEG_OK) return result;
  return got == size ? TEG_OK : truncated(reader, inside, err);
}

// ---------------------------------------------------------------------------
// File header

// Replaces |*text| by |size| bytes at |bytes|.
static teg_result take_text(teg_trace_reader* reader, char** text,
                            const uint8_t* bytes, size_t size, teg_error* err) {
  if (memchr(bytes, 0, size)) {
    return tegi_trace_reader_corrupt(reader, err, "a text holds a zero byte");
  }
  char* copy = tegi_host_alloc(&reader->host, size + 1);
  if (!copy) return tegi_trace_reader_no_memory(reader, err);
  memcpy(copy, bytes, size);
  tegi_host_free(&reader->host, *text, strlen(*text) + 1);
  *text = copy;
  return TEG_OK;
}

static teg_result read_header(teg_trace_reader* reader, teg_error* err) {
  uint8_t header[TEGI_TGT_MAX_HEADER_SIZE];
  teg_result result = read_exact(reader, header, TEGI_TGT_HEADER_FIXED_SIZE,
                                 "the file header", err);
  if (result != TEG_OK) return result;
  uint32_t version = tegi_load_u32(header + 8);
  uint32_t header_size = tegi_load_u32(header + 12);
  uint32_t flags = tegi_load_u32(header + 16);
  uint32_t name_size = tegi_load_u32(header + 20);
  uint32_t source_size = tegi_load_u32(header + 24);
  if (version != TEGI_TGT_VERSION) {
    return tegi_error_set(
        err, TEG_BAD_VERSION,
        "%s: version %u of the trace format; this program reads version %d",
        reader->path, version, TEGI_TGT_VERSION);
  }
  if (name_size > TEGI_TGT_MAX_NAME || source_size > TEGI_TGT_MAX_SOURCE ||
      header_size != TEGI_TGT_HEADER_FIXED_SIZE + name_size + source_size +
                         TEGI_TGT_CRC_SIZE) {
    return tegi_trace_reader_corrupt(
        reader, err, "the sizes of its parts (%u, %u, %u) do not fit",
        header_size, name_size, source_size);
  }
  uint8_t* rest = header + TEGI_TGT_HEADER_FIXED_SIZE;
  result = read_exact(reader, rest, header_size - TEGI_TGT_HEADER_FIXED_SIZE,
                      "the file header", err);
  if (result != TEG_OK) return result;
  uint32_t checked = header_size - TEGI_TGT_CRC_SIZE;
  if (tegi_trace_crc32c(0, header, checked) !=
      tegi_load_u32(header + checked)) {
    return tegi_trace_reader_corrupt(reader, err, "wrong checksum");
  }
  if (flags != 0) {
    return tegi_error_set(err, TEG_BAD_VERSION,
                          "%s: needs features 0x%x of a newer version",
                          reader->path, flags);
  }
  reader->version = version;
  result = take_text(reader, &reader->name, rest, name_size, err);
  if (result != TEG_OK) return result;
  return take_text(reader, &reader->source, rest + name_size, source_size, err);
}

static teg_result tgt_open(teg_trace_reader* reader, teg_error* err) {
  teg_result result = read_header(reader, err);
  if (result != TEG_OK) return result;
  tgt_decoder* decoder = tegi_host_alloc(&reader->host, sizeof *decoder);
  if (!decoder) return tegi_trace_reader_no_memory(reader, err);
  reader->state = decoder;
  decoder->zstd =
      ZSTD_createDCtx_advanced(tegi_trace_zstd_memory(&reader->host));
  if (!decoder->zstd) return tegi_trace_reader_no_memory(reader, err);
  return TEG_OK;
}

static void tgt_close(teg_trace_reader* reader) {
  tgt_decoder* decoder = reader->state;
  if (!decoder) return;
  ZSTD_freeDCtx(decoder->zstd);
  tegi_host_free(&reader->host, decoder->packed, decoder->packed_capacity);
  tegi_host_free(&reader->host, decoder->plain, decoder->plain_capacity);
  tegi_host_free(&reader->host, decoder->sizes,
                 decoder->size_capacity * sizeof *decoder->sizes);
  tegi_host_free(&reader->host, decoder, sizeof *decoder);
  reader->state = NULL;
}

// ---------------------------------------------------------------------------
// Blocks

static teg_result read_block_header(teg_trace_reader* reader,
                                    block_header* header, teg_error* err) {
  tgt_decoder* decoder = reader->state;
  decoder->block_offset = reader->input.offset;
  uint8_t bytes[TEGI_TGT_BLOCK_HEADER_SIZE];
  teg_result result = read_exact(reader, bytes, sizeof bytes,
                                 "a block header (no footer yet)", err);
  if (result != TEG_OK) return result;
  if (tegi_trace_crc32c(0, bytes, sizeof bytes - TEGI_TGT_CRC_SIZE) !=
      tegi_load_u32(bytes + 28)) {
    return tegi_trace_reader_corrupt(reader, err,
                                     "wrong checksum of the block header");
  }
  *header = (block_header){
      .type = tegi_load_u32(bytes),
      .event_count = tegi_load_u32(bytes + 4),
      .packed_size = tegi_load_u32(bytes + 8),
      .plain_size = tegi_load_u32(bytes + 12),
      .first_event = tegi_load_u64(bytes + 16),
      .payload_crc = tegi_load_u32(bytes + 24),
  };
  if (header->first_event != reader->event_count) {
    return tegi_trace_reader_corrupt(reader, err,
                                     "begins with event %" PRIu64
                                     " instead of %" PRIu64
                                     ": a block is missing, repeated or moved",
                                     header->first_event, reader->event_count);
  }
  return TEG_OK;
}

// Reads the payload of |header| into |packed| and checks it.
static teg_result read_payload(teg_trace_reader* reader,
                               const block_header* header, teg_error* err) {
  tgt_decoder* decoder = reader->state;
  if (!tegi_host_grow_array(&reader->host, &decoder->packed,
                            &decoder->packed_capacity, header->packed_size,
                            1)) {
    return tegi_trace_reader_no_memory(reader, err);
  }
  teg_result result =
      read_exact(reader, decoder->packed, header->packed_size, "a block", err);
  if (result != TEG_OK) return result;
  if (tegi_trace_crc32c(0, decoder->packed, header->packed_size) !=
      header->payload_crc) {
    return tegi_trace_reader_corrupt(reader, err,
                                     "wrong checksum of the block's content");
  }
  return TEG_OK;
}

static teg_result unpack(teg_trace_reader* reader, const block_header* header,
                         teg_error* err) {
  tgt_decoder* decoder = reader->state;
  if (!tegi_host_grow_array(&reader->host, &decoder->plain,
                            &decoder->plain_capacity, header->plain_size, 1)) {
    return tegi_trace_reader_no_memory(reader, err);
  }
  size_t size =
      ZSTD_decompressDCtx(decoder->zstd, decoder->plain, header->plain_size,
                          decoder->packed, header->packed_size);
  if (ZSTD_isError(size)) {
    if (ZSTD_getErrorCode(size) == ZSTD_error_memory_allocation) {
      return tegi_trace_reader_no_memory(reader, err);
    }
    return tegi_trace_reader_corrupt(reader, err, "cannot be unpacked: %s",
                                     ZSTD_getErrorName(size));
  }
  if (size != header->plain_size) {
    return tegi_trace_reader_corrupt(reader, err,
                                     "unpacks to %zu bytes instead of %u", size,
                                     header->plain_size);
  }
  return TEG_OK;
}

static teg_result ends_early(teg_trace_reader* reader, const char* what,
                             teg_error* err) {
  return tegi_trace_reader_corrupt(reader, err, "%s end early or do not fit",
                                   what);
}

static teg_result take_tags(teg_trace_reader* reader, cursor* in,
                            teg_error* err) {
  uint64_t first, count;
  if (!tegi_varint_load(&in->at, in->end, &first) ||
      !tegi_varint_load(&in->at, in->end, &count) ||
      first != reader->tag_count + 1 ||
      count > TEGI_TGT_MAX_TAGS - reader->tag_count) {
    return ends_early(reader, "the tags", err);
  }
  for (uint64_t i = 0; i < count; ++i) {
    uint64_t size;
    if (!tegi_varint_load(&in->at, in->end, &size) || size == 0 ||
        size > TEGI_TGT_MAX_TAG_SIZE || size > (size_t)(in->end - in->at) ||
        memchr(in->at, 0, (size_t)size)) {
      return ends_early(reader, "the tags", err);
    }
    teg_result result = tegi_trace_reader_add_tag(reader, (const char*)in->at,
                                                  (size_t)size, err);
    if (result != TEG_OK) return result;
    in->at += size;
  }
  return TEG_OK;
}

static teg_result take_sizes(teg_trace_reader* reader, cursor* in,
                             teg_error* err) {
  tgt_decoder* decoder = reader->state;
  uint64_t count;
  if (!tegi_varint_load(&in->at, in->end, &count) ||
      count > decoder->block_events) {
    return ends_early(reader, "the sizes", err);
  }
  if (!tegi_host_grow_array(&reader->host, &decoder->sizes,
                            &decoder->size_capacity, (size_t)count,
                            sizeof *decoder->sizes)) {
    return tegi_trace_reader_no_memory(reader, err);
  }
  decoder->size_count = (size_t)count;
  for (size_t i = 0; i < count; ++i) {
    if (!tegi_varint_load(&in->at, in->end, &decoder->sizes[i])) {
      return ends_early(reader, "the sizes", err);
    }
  }
  return TEG_OK;
}

// Sets the cursors over the columns, whose lengths come first.
static teg_result take_columns(teg_trace_reader* reader, cursor* in,
                               teg_error* err) {
  tgt_decoder* decoder = reader->state;
  uint64_t lengths[TEGI_TGT_COLUMN_COUNT];
  for (int i = 0; i < TEGI_TGT_COLUMN_COUNT; ++i) {
    if (!tegi_varint_load(&in->at, in->end, &lengths[i])) {
      return ends_early(reader, "the columns", err);
    }
  }
  for (int i = 0; i < TEGI_TGT_COLUMN_COUNT; ++i) {
    if (lengths[i] > (size_t)(in->end - in->at)) {
      return ends_early(reader, "the columns", err);
    }
    decoder->cursors[i] =
        (cursor){in->at, in->at + lengths[i], lengths[i] == 0};
    in->at += lengths[i];
  }
  if (in->at != in->end) {
    return tegi_trace_reader_corrupt(reader, err,
                                     "%zu bytes follow the columns",
                                     (size_t)(in->end - in->at));
  }
  return TEG_OK;
}

static teg_result begin_events(teg_trace_reader* reader,
                               const block_header* header, teg_error* err) {
  tgt_decoder* decoder = reader->state;
  if (header->event_count == 0 ||
      header->event_count > TEGI_TGT_MAX_BLOCK_EVENTS ||
      header->packed_size == 0 || header->plain_size == 0 ||
      header->packed_size > TEGI_TGT_MAX_PACKED_SIZE ||
      header->plain_size > TEGI_TGT_MAX_PLAIN_SIZE) {
    return tegi_trace_reader_corrupt(
        reader, err, "%u events in %u bytes, %u unpacked: outside the limits",
        header->event_count, header->packed_size, header->plain_size);
  }
  teg_result result = read_payload(reader, header, err);
  if (result != TEG_OK) return result;
  result = unpack(reader, header, err);
  if (result != TEG_OK) return result;
  decoder->block_events = header->event_count;
  decoder->time = 0;
  decoder->thread = 0;
  decoder->stream = 0;
  cursor in = {decoder->plain, decoder->plain + header->plain_size, false};
  uint64_t base_id;
  if (!tegi_varint_load(&in.at, in.end, &decoder->time_unit) ||
      !tegi_varint_load(&in.at, in.end, &base_id) || decoder->time_unit == 0 ||
      base_id != reader->last_id) {
    return ends_early(reader, "the first values", err);
  }
  result = take_tags(reader, &in, err);
  if (result == TEG_OK) result = take_sizes(reader, &in, err);
  if (result == TEG_OK) result = take_columns(reader, &in, err);
  if (result != TEG_OK) return result;
  decoder->block_left = header->event_count;
  return TEG_OK;
}

// Checks the footer against what was read, and that nothing follows.
static teg_result read_footer(teg_trace_reader* reader,
                              const block_header* header, teg_error* err) {
  tgt_decoder* decoder = reader->state;
  if (header->event_count != 0 || header->packed_size != TEGI_TGT_FOOTER_SIZE ||
      header->plain_size != TEGI_TGT_FOOTER_SIZE) {
    return tegi_trace_reader_corrupt(reader, err, "a footer of wrong size");
  }
  teg_result result = read_payload(reader, header, err);
  if (result != TEG_OK) return result;
  const uint64_t expected[] = {reader->event_count, decoder->allocate_count,
                               decoder->free_count, reader->live.count,
                               reader->live_bytes,  reader->last_id};
  _Static_assert(sizeof expected == TEGI_TGT_FOOTER_SIZE, "six totals");
  for (size_t i = 0; i < sizeof expected / sizeof *expected; ++i) {
    uint64_t total = tegi_load_u64(decoder->packed + 8 * i);
    if (total == expected[i]) continue;
    return tegi_trace_reader_corrupt(reader, err,
                                     "total %zu of the footer is %" PRIu64
                                     ", but %" PRIu64 " was read",
                                     i, total, expected[i]);
  }
  const uint8_t* data;
  size_t size;
  result = tegi_trace_input_peek(&reader->input, 1, &data, &size, err);
  if (result != TEG_OK) return result;
  if (size > 0) {
    return tegi_trace_reader_corrupt(
        reader, err, "bytes follow the footer, at byte %" PRIu64,
        reader->input.offset);
  }
  return TEG_END;
}

static teg_result next_block(teg_trace_reader* reader, teg_error* err) {
  tgt_decoder* decoder = reader->state;
  if (decoder->block_offset != 0) ++decoder->block_index;
  decoder->is_in_events = false;
  block_header header = {0};
  teg_result result = read_block_header(reader, &header, err);
  if (result != TEG_OK) return result;
  if (header.type == TEGI_TGT_BLOCK_EVENTS) {
    return begin_events(reader, &header, err);
  }
  if (header.type == TEGI_TGT_BLOCK_FOOTER) {
    return read_footer(reader, &header, err);
  }
  return tegi_trace_reader_corrupt(reader, err, "unknown block type 0x%x",
                                   header.type);
}

// ---------------------------------------------------------------------------
// Events

static bool take(tgt_decoder* decoder, tegi_tgt_column column,
                 uint64_t* out_value) {
  cursor* in = &decoder->cursors[column];
  if (in->at < in->end && *in->at < 0x80) {
    *out_value = *in->at++;
    return true;
  }
  *out_value = 0;
  return in->is_zero || tegi_varint_load(&in->at, in->end, out_value);
}

// What every event has.
static bool take_common(tgt_decoder* decoder, teg_trace_event* event) {
  uint64_t kind, time, thread, stream;
  if (!take(decoder, TEGI_TGT_KIND, &kind) ||
      !take(decoder, TEGI_TGT_TIME, &time) ||
      !take(decoder, TEGI_TGT_THREAD, &thread) ||
      !take(decoder, TEGI_TGT_STREAM, &stream)) {
    return false;
  }
  decoder->time += tegi_unzigzag(time);
  decoder->thread += tegi_unzigzag(thread);
  decoder->stream += tegi_unzigzag(stream);
  if (kind > TEG_TRACE_RUN_END - 1 || decoder->thread > UINT32_MAX ||
      decoder->stream > UINT32_MAX ||
      !tegi_mul_u64(decoder->time, decoder->time_unit, &event->time_ns)) {
    return false;
  }
  event->kind = (uint8_t)(kind + 1);
  event->thread = (uint32_t)decoder->thread;
  event->stream = (uint32_t)decoder->stream;
  return true;
}

static bool take_allocation(const teg_trace_reader* reader,
                            tgt_decoder* decoder, teg_trace_event* event) {
  uint64_t gap, size_index, lifetime, tag, flags;
  if (!take(decoder, TEGI_TGT_ID_GAP, &gap) ||
      !take(decoder, TEGI_TGT_SIZE_INDEX, &size_index) ||
      !take(decoder, TEGI_TGT_LIFETIME, &lifetime) ||
      !take(decoder, TEGI_TGT_TAG, &tag) ||
      !take(decoder, TEGI_TGT_FLAGS, &flags)) {
    return false;
  }
  if (!tegi_add_u64(reader->last_id, gap, &event->id) ||
      event->id == UINT64_MAX || size_index >= decoder->size_count ||
      lifetime > UINT8_MAX || tag > reader->tag_count ||
      flags > TEGI_TRACE_KNOWN_FLAGS) {
    return false;
  }
  ++event->id;
  event->size = decoder->sizes[size_index];
  event->lifetime = (uint8_t)lifetime;
  event->tag = (uint32_t)tag;
  event->flags = (uint16_t)flags;
  ++decoder->allocate_count;
  return true;
}

// After the last event of a block nothing may be left in its columns.
static teg_result end_events(teg_trace_reader* reader, teg_error* err) {
  tgt_decoder* decoder = reader->state;
  for (int i = 0; i < TEGI_TGT_COLUMN_COUNT; ++i) {
    if (decoder->cursors[i].at != decoder->cursors[i].end) {
      return tegi_trace_reader_corrupt(
          reader, err, "column %d holds more values than events", i);
    }
  }
  return TEG_OK;
}

static teg_result tgt_next(teg_trace_reader* reader, teg_trace_event* event,
                           teg_error* err) {
  tgt_decoder* decoder = reader->state;
  if (decoder->block_left == 0) {
    teg_result result = next_block(reader, err);
    if (result != TEG_OK) return result;
  }
  decoder->is_in_events = true;
  decoder->event_index = reader->event_count;
  if (!take_common(decoder, event)) {
    return ends_early(reader, "the columns", err);
  }
  teg_result result = TEG_OK;
  if (event->kind == TEG_TRACE_ALLOCATE) {
    if (!take_allocation(reader, decoder, event)) {
      return ends_early(reader, "the columns", err);
    }
    result = tegi_trace_reader_allocate(reader, event->id, event, err);
  } else if (event->kind == TEG_TRACE_FREE) {
    uint64_t distance;
    if (!take(decoder, TEGI_TGT_DISTANCE, &distance) ||
        distance > reader->last_id) {
      return ends_early(reader, "the columns", err);
    }
    result =
        tegi_trace_reader_free(reader, reader->last_id - distance, event, err);
    ++decoder->free_count;
  }
  if (result != TEG_OK) return result;
  if (--decoder->block_left == 0) return end_events(reader, err);
  return TEG_OK;
}

const tegi_trace_decoder_ops tegi_trace_tgt_decoder = {
    .open = tgt_open, .next = tgt_next, .place = tgt_place, .close = tgt_close};
