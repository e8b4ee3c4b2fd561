// SPDX-License-Identifier: Apache-2.0
//
// Any bytes as a trace. What is read must keep the promises of
// teg_trace_event, and what was read whole must come back the same after it
// was written in the own format. The first byte chooses a mutation that
// random bytes would not find: mending the checksums of the own format, so
// that the decoder behind them is reached.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tegula/trace.h"
#include "trace/trace_codec.h"
#include "trace/trace_crc.h"
#include "trace/trace_format.h"

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

enum { MAX_EVENTS = 20000 };

#define CHECK(condition)                                      \
  do {                                                        \
    if (!(condition)) {                                       \
      fprintf(stderr, "line %d: %s\n", __LINE__, #condition); \
      abort();                                                \
    }                                                         \
  } while (0)

typedef struct bytes {
  uint8_t* data;
  size_t size, capacity;
} bytes;

static void add(bytes* to, const void* data, size_t size) {
  if (to->size + size > to->capacity) {
    to->capacity = (to->size + size) * 2;
    to->data = realloc(to->data, to->capacity);
    CHECK(to->data);
  }
  if (size > 0) memcpy(to->data + to->size, data, size);
  to->size += size;
}

static teg_result write_bytes(void* user, const void* data, size_t size,
                              teg_error* err) {
  (void)err;
  add(user, data, size);
  return TEG_OK;
}

static void add_block(bytes* to, uint32_t type, uint32_t count, uint64_t first,
                      const uint8_t* payload, size_t size, size_t plain) {
  uint8_t header[TEGI_TGT_BLOCK_HEADER_SIZE];
  tegi_store_u32(header, type);
  tegi_store_u32(header + 4, count);
  tegi_store_u32(header + 8, (uint32_t)size);
  tegi_store_u32(header + 12, (uint32_t)plain);
  tegi_store_u64(header + 16, first);
  tegi_store_u32(header + 24, tegi_trace_crc32c(0, payload, size));
  tegi_store_u32(header + 28, tegi_trace_crc32c(0, header, 28));
  add(to, header, sizeof header);
  add(to, payload, size);
}

// |data| is "COUNT PLAIN...", and again after each 0xfe 0xed; all of it
// becomes a file of the own format with good checksums.
static bytes wrap(const uint8_t* data, size_t size) {
  bytes file = {0};
  uint8_t header[TEGI_TGT_HEADER_FIXED_SIZE + TEGI_TGT_CRC_SIZE] = {0};
  memcpy(header, TEGI_TGT_MAGIC, TEGI_TGT_MAGIC_SIZE);
  tegi_store_u32(header + 8, TEGI_TGT_VERSION);
  tegi_store_u32(header + 12, sizeof header);
  tegi_store_u32(header + 28, tegi_trace_crc32c(0, header, 28));
  add(&file, header, sizeof header);
  uint64_t first = 0;
  while (size > 1) {
    uint32_t count = data[0];
    const uint8_t* end = memmem(data + 1, size - 1, "\xfe\xed", 2);
    size_t plain = end ? (size_t)(end - data) - 1 : size - 1;
    size_t bound = ZSTD_compressBound(plain);
    uint8_t* packed = malloc(bound);
    CHECK(packed);
    size_t packed_size = ZSTD_compress(packed, bound, data + 1, plain, 1);
    CHECK(!ZSTD_isError(packed_size));
    add_block(&file, TEGI_TGT_BLOCK_EVENTS, count, first, packed, packed_size,
              plain);
    free(packed);
    first += count;
    size -= plain + 1 + (end ? 2 : 0);
    data += plain + 1 + (end ? 2 : 0);
  }
  uint8_t totals[TEGI_TGT_FOOTER_SIZE] = {0};
  tegi_store_u64(totals, first);
  add_block(&file, TEGI_TGT_BLOCK_FOOTER, 0, first, totals, sizeof totals,
            sizeof totals);
  return file;
}

// Reads up to MAX_EVENTS; TEG_OK if there were more.
static teg_result read_events(teg_trace_reader* reader, teg_trace_event* events,
                              size_t* out_count) {
  teg_error err;
  *out_count = 0;
  for (;;) {
    size_t count;
    size_t room = MAX_EVENTS - *out_count;
    if (room == 0) return TEG_OK;
    teg_result result = teg_trace_reader_next_many(
        reader, room < 100 ? room : 100, events + *out_count, &count, &err);
    if (result != TEG_OK) {
      CHECK(count == 0 && err.result == result);
      CHECK(result == TEG_END || err.message[0] != '\0');
      return result;
    }
    CHECK(count > 0);
    *out_count += count;
  }
}

// The promises that need no table; the writer checks the others.
static void check_events(const teg_trace_event* events, size_t count) {
  uint64_t last_id = 0;
  for (size_t i = 0; i < count; ++i) {
    const teg_trace_event* event = &events[i];
    CHECK(event->kind >= TEG_TRACE_ALLOCATE &&
          event->kind <= TEG_TRACE_RUN_END);
    if (event->kind == TEG_TRACE_ALLOCATE) {
      CHECK(event->id > last_id && event->size > 0);
      last_id = event->id;
    } else if (event->kind == TEG_TRACE_FREE) {
      CHECK(event->id > 0 && event->size > 0 && event->flags == 0);
    }
  }
}

static bytes write_events(teg_trace_reader* reader,
                          const teg_trace_event* events, size_t count,
                          teg_trace_format format) {
  bytes file = {0};
  teg_trace_sink sink = {write_bytes, &file};
  teg_trace_writer_params params = TEG_TRACE_WRITER_PARAMS_INIT;
  params.format = format;
  params.block_event_count = 64;
  params.compression_level = 1;
  teg_trace_writer* writer;
  CHECK(teg_trace_writer_open_sink(&sink, &params, &writer, NULL) == TEG_OK);
  teg_trace_reader_info info;
  teg_trace_reader_info_get(reader, &info);
  for (uint32_t i = 1; i <= info.tag_count; ++i) {
    uint32_t tag;
    CHECK(teg_trace_writer_add_tag(writer, teg_trace_reader_tag(reader, i),
                                   &tag, NULL) == TEG_OK);
    CHECK(tag == i);
  }
  for (size_t i = 0; i < count; ++i) {
    CHECK(teg_trace_writer_append(writer, &events[i], NULL) == TEG_OK);
  }
  CHECK(teg_trace_writer_finish(writer, NULL) == TEG_OK);
  teg_trace_writer_close(writer);
  return file;
}

static void expect_same(const bytes* file, const teg_trace_event* events,
                        size_t count) {
  static teg_trace_event again[MAX_EVENTS];
  teg_trace_reader* reader;
  CHECK(teg_trace_reader_open_memory(file->data, file->size, NULL, &reader,
                                     NULL) == TEG_OK);
  size_t again_count;
  teg_result result = read_events(reader, again, &again_count);
  CHECK(result == TEG_END || again_count == MAX_EVENTS);
  CHECK(again_count == count);
  CHECK(memcmp(again, events, count * sizeof *events) == 0);
  teg_trace_reader_close(reader);
}

static void read_one(const uint8_t* data, size_t size) {
  static teg_trace_event events[MAX_EVENTS];
  teg_error err;
  teg_trace_reader* reader;
  teg_trace_reader_params params = TEG_TRACE_READER_PARAMS_INIT;
  params.max_live_count = 100000;
  teg_result result =
      teg_trace_reader_open_memory(data, size, &params, &reader, &err);
  CHECK(err.result == result);
  if (result != TEG_OK) {
    CHECK(!reader && err.message[0] != '\0');
    return;
  }
  size_t count;
  (void)read_events(reader, events, &count);
  check_events(events, count);
  bytes file = write_events(reader, events, count, TEG_TRACE_FORMAT_TGT);
  expect_same(&file, events, count);
  free(file.data);
  file = write_events(reader, events, count, TEG_TRACE_FORMAT_CHROME_JSON);
  free(file.data);
  teg_trace_reader_close(reader);
}

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size > 0 && data[0] == 'W') {
    bytes file = wrap(data + 1, size - 1);
    read_one(file.data, file.size);
    free(file.data);
  } else {
    read_one(data, size);
  }
  return 0;
}
