// SPDX-License-Identifier: Apache-2.0
//
// Damage of every kind to small files: the reader reports it, or the events
// are those of the whole file; never others.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "support/trace_fixture.h"
#include "trace/trace_crc.h"
#include "trace/trace_format.h"

enum { COUNT = 60 };

static void file_of(teg_trace_format format, fixture_bytes* out_bytes,
                    teg_trace_event** out_events) {
  *out_events = fixture_events(11, COUNT, format != TEG_TRACE_FORMAT_TGT);
  *out_bytes = fixture_write(*out_events, COUNT, format, 25, 3);
}

// |read| is the beginning of |events|, ended by an error that is told.
static void expect_prefix_and_error(fixture_read* read,
                                    const teg_trace_event* events) {
  assert_true(read->result != TEG_OK && read->result != TEG_END);
  assert_int_equal(read->err.result, read->result);
  assert_true(strlen(read->err.message) > 10);
  assert_true(read->count <= COUNT);
  assert_true(fixture_same(read->events, read->count, events, read->count));
  fixture_read_free(read);
}

static void corrupt_own_file_cut_anywhere_is_truncated(void** state) {
  fixture_bytes bytes;
  teg_trace_event* events;
  file_of(TEG_TRACE_FORMAT_TGT, &bytes, &events);
  for (size_t size = 0; size < bytes.size; ++size) {
    // Of its own size, so that a sanitizer sees a read behind it.
    uint8_t* cut = malloc(size + !size);
    assert_non_null(cut);
    memcpy(cut, bytes.data, size);
    fixture_read read = fixture_read_memory(cut, size);
    if (read.result != TEG_TRUNCATED) {
      fail_msg("cut to %zu bytes: %s", size, teg_result_name(read.result));
    }
    expect_prefix_and_error(&read, events);
    free(cut);
  }
  free(bytes.data);
  free(events);
}

static void corrupt_own_file_with_any_bit_flipped_fails(void** state) {
  fixture_bytes bytes;
  teg_trace_event* events;
  file_of(TEG_TRACE_FORMAT_TGT, &bytes, &events);
  for (size_t i = 0; i < bytes.size * 8; ++i) {
    bytes.data[i / 8] ^= (uint8_t)(1u << i % 8);
    fixture_read read = fixture_read_memory(bytes.data, bytes.size);
    if (read.result == TEG_END) fail_msg("bit %zu flipped is not seen", i);
    expect_prefix_and_error(&read, events);
    bytes.data[i / 8] ^= (uint8_t)(1u << i % 8);
  }
  free(bytes.data);
  free(events);
}

static void corrupt_own_file_with_any_byte_replaced_fails(void** state) {
  fixture_bytes bytes;
  teg_trace_event* events;
  file_of(TEG_TRACE_FORMAT_TGT, &bytes, &events);
  for (size_t i = 0; i < bytes.size; ++i) {
    static const uint8_t values[] = {0, 0xff, 0x80, '\n'};
    uint8_t kept = bytes.data[i];
    for (size_t j = 0; j < sizeof values; ++j) {
      if (values[j] == kept) continue;
      bytes.data[i] = values[j];
      fixture_read read = fixture_read_memory(bytes.data, bytes.size);
      expect_prefix_and_error(&read, events);
    }
    bytes.data[i] = kept;
  }
  free(bytes.data);
  free(events);
}

static void corrupt_blocks_moved_or_repeated_fail(void** state) {
  fixture_bytes bytes;
  teg_trace_event* events;
  file_of(TEG_TRACE_FORMAT_TGT, &bytes, &events);
  size_t first = tegi_load_u32(bytes.data + 12);
  size_t second = first + TEGI_TGT_BLOCK_HEADER_SIZE +
                  tegi_load_u32(bytes.data + first + 8);
  // The first block twice.
  size_t size = bytes.size + (second - first);
  uint8_t* twice = malloc(size);
  assert_non_null(twice);
  memcpy(twice, bytes.data, second);
  memcpy(twice + second, bytes.data + first, bytes.size - first);
  fixture_read read = fixture_read_memory(twice, size);
  assert_int_equal(read.result, TEG_CORRUPT);
  assert_int_equal(read.count, 25);
  expect_prefix_and_error(&read, events);
  // Without the first block.
  memcpy(twice, bytes.data, first);
  memcpy(twice + first, bytes.data + second, bytes.size - second);
  read = fixture_read_memory(twice, bytes.size - (second - first));
  assert_int_equal(read.result, TEG_CORRUPT);
  assert_int_equal(read.count, 0);
  expect_prefix_and_error(&read, events);
  free(twice);
  free(bytes.data);
  free(events);
}

static void corrupt_block_sizes_above_the_limits_allocate_nothing(
    void** state) {
  fixture_bytes bytes;
  teg_trace_event* events;
  file_of(TEG_TRACE_FORMAT_TGT, &bytes, &events);
  size_t first = tegi_load_u32(bytes.data + 12);
  uint8_t* header = bytes.data + first;
  for (size_t field = 4; field <= 12; field += 4) {
    uint32_t kept = tegi_load_u32(header + field);
    tegi_store_u32(header + field, UINT32_MAX);
    tegi_store_u32(header + 28, tegi_trace_crc32c(0, header, 28));
    fixture_heap heap = {0};
    teg_trace_reader_params params = TEG_TRACE_READER_PARAMS_INIT;
    params.allocator = fixture_allocator(&heap);
    teg_error err;
    teg_trace_reader* reader;
    assert_int_equal(teg_trace_reader_open_memory(bytes.data, bytes.size,
                                                  &params, &reader, &err),
                     TEG_OK);
    teg_trace_event event;
    assert_int_equal(teg_trace_reader_next(reader, &event, &err), TEG_CORRUPT);
    assert_non_null(strstr(err.message, "outside the limits"));
    teg_trace_reader_close(reader);
    assert_true(heap.peak_bytes < 1 << 20);
    tegi_store_u32(header + field, kept);
  }
  free(bytes.data);
  free(events);
}

// Damages |bytes|, packed CSV, and expects no other events.
static void expect_packed_damage_is_seen(const fixture_bytes* bytes,
                                         const teg_trace_event* events) {
  uint8_t* copy = malloc(bytes->size);
  assert_non_null(copy);
  memcpy(copy, bytes->data, bytes->size);
  for (size_t size = 0; size < bytes->size; ++size) {
    fixture_read read = fixture_read_memory(copy, size);
    expect_prefix_and_error(&read, events);
  }
  for (size_t i = 0; i < bytes->size * 8; ++i) {
    copy[i / 8] ^= (uint8_t)(1u << i % 8);
    fixture_read read = fixture_read_memory(copy, bytes->size);
    // A flip in a time stamp of the packer or the like changes nothing.
    if (read.result == TEG_END) {
      assert_true(fixture_same(read.events, read.count, events, COUNT));
    }
    fixture_read_free(&read);
    copy[i / 8] ^= (uint8_t)(1u << i % 8);
  }
  free(copy);
}

static fixture_bytes bytes_of_path(const char* path) {
  fixture_bytes bytes = {0};
  FILE* file = fopen(path, "rb");
  assert_non_null(file);
  bytes.data = malloc(1 << 20);
  assert_non_null(bytes.data);
  bytes.size = fread(bytes.data, 1, 1 << 20, file);
  fclose(file);
  remove(path);
  return bytes;
}

static void corrupt_packed_csv_ends_in_an_error_or_whole(void** state) {
  teg_trace_event* events = fixture_events(11, COUNT, 1);
  static const char* const paths[] = {"damage.csv.gz", "damage.csv.zst"};
  for (size_t i = 0; i < 2; ++i) {
    teg_error err;
    teg_trace_writer* writer;
    assert_int_equal(teg_trace_writer_open(paths[i], NULL, &writer, &err),
                     TEG_OK);
    for (size_t j = 0; j < COUNT; ++j) {
      assert_int_equal(teg_trace_writer_append(writer, &events[j], &err),
                       TEG_OK);
    }
    assert_int_equal(teg_trace_writer_finish(writer, &err), TEG_OK);
    teg_trace_writer_close(writer);
    fixture_bytes bytes = bytes_of_path(paths[i]);
    expect_packed_damage_is_seen(&bytes, events);
    free(bytes.data);
  }
  free(events);
}

static void corrupt_plain_csv_never_crashes(void** state) {
  fixture_bytes bytes;
  teg_trace_event* events;
  file_of(TEG_TRACE_FORMAT_RMM_CSV, &bytes, &events);
  for (size_t size = 0; size < bytes.size; ++size) {
    fixture_read read = fixture_read_memory(bytes.data, size);
    // Cut between lines it is a shorter log.
    assert_true(read.count <= COUNT);
    if (read.count > 0) {
      assert_true(
          fixture_same(read.events, read.count - 1, events, read.count - 1));
    }
    fixture_read_free(&read);
  }
  uint64_t seed = 3;
  for (int i = 0; i < 20000; ++i) {
    size_t at = fixture_random(&seed) % bytes.size;
    uint8_t kept = bytes.data[at];
    bytes.data[at] = (uint8_t)fixture_random(&seed);
    fixture_read read = fixture_read_memory(bytes.data, bytes.size);
    if (read.result != TEG_END) assert_true(read.err.message[0] != '\0');
    fixture_read_free(&read);
    bytes.data[at] = kept;
  }
  free(bytes.data);
  free(events);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(corrupt_own_file_cut_anywhere_is_truncated),
      cmocka_unit_test(corrupt_own_file_with_any_bit_flipped_fails),
      cmocka_unit_test(corrupt_own_file_with_any_byte_replaced_fails),
      cmocka_unit_test(corrupt_blocks_moved_or_repeated_fail),
      cmocka_unit_test(corrupt_block_sizes_above_the_limits_allocate_nothing),
      cmocka_unit_test(corrupt_packed_csv_ends_in_an_error_or_whole),
      cmocka_unit_test(corrupt_plain_csv_never_crashes),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
