// SPDX-License-Identifier: Apache-2.0
//
// The ways bytes take between the program and buffers: fresh blocks for
// buffers written anew while in use, reads by ticket, memory that has no host
// pointer or is slow to read, and staging that must be flushed.
#include <stdlib.h>
#include <string.h>

#include "support/call.h"
#include "support/core_fixture.h"

static core_fixture fx;
static teg_session* session;
static teg_stream* stream;

static void open_with(const char* backend, const char* session_options) {
  core_open(&fx, backend, "tile_bytes=64KiB;heap_min=64KiB");
  session = core_session(&fx, "test", session_options);
  stream = teg_session_stream(session);
}

static int end(void** state) {
  (void)state;
  if (session) core_validate(&fx, session);
  session = NULL;
  core_close(&fx);
  return 0;
}

static void expect_no_hazard(void) {
  teg_null_report report = TEG_NULL_REPORT_INIT;
  CORE_OK(&fx, teg_null_get_report(fx.backend, &report));
  assert_string_equal(report.first_hazard, "");
}

// ---- Fresh blocks

static teg_result sum(void* user, void* const* pointers, const uint64_t* sizes,
                      uint32_t count) {
  (void)count;
  const uint8_t* bytes = pointers[0];
  uint64_t* total = user;
  for (uint64_t i = 0; i < sizes[0]; ++i) *total += bytes[i];
  return TEG_OK;
}

static void read_by_kernel(teg_buffer* buffer, uint64_t* total) {
  test_argument argument = {.buffer = buffer, .is_read = true};
  CORE_OK(&fx, test_stream_call(fx.device, stream, sum, total, &argument, 1,
                                &fx.err));
}

// Runs overlap: each run's input is written while the runs before still wait.
static void inputs_of_runs_rotate_over_a_few_blocks(void** state) {
  enum { SIZE = 1000, RUNS = 40 };
  const char* policy = *state;
  open_with("null", policy);
  teg_buffer* input = core_buffer(&fx, session, SIZE);
  uint64_t number = core_info(input).number;
  uint8_t bytes[SIZE];
  uint64_t totals[RUNS] = {0};
  const void* places[RUNS];
  uint64_t offsets[RUNS];
  for (uint32_t run = 0; run < RUNS; ++run) {
    memset(bytes, (int)run, SIZE);
    CORE_OK(&fx, teg_stream_write(stream, input, 0, bytes, SIZE, &fx.err));
    read_by_kernel(input, &totals[run]);
    core_submit(&fx, stream);
    places[run] = core_info(input).memory;
    offsets[run] = core_info(input).offset;
    core_validate(&fx, session);
  }
  core_finish(&fx, stream);
  for (uint32_t run = 0; run < RUNS; ++run) {
    assert_int_equal(totals[run], run * SIZE);
  }
  assert_int_equal(core_info(input).number, number);
  uint32_t place_count = 0;
  for (uint32_t i = 0; i < RUNS; ++i) {
    bool is_new = true;
    for (uint32_t j = 0; j < i; ++j) {
      if (places[j] == places[i] && offsets[j] == offsets[i]) is_new = false;
    }
    place_count += is_new;
  }
  // Four batches run ahead.
  assert_in_range(place_count, 2, 5);
  teg_stats stats = core_session_stats(session);
  assert_int_equal(stats.ring_write_bytes, 0);
  assert_true(stats.fresh_write_bytes >= (RUNS - 6) * SIZE);
  assert_int_equal(stats.direct_write_bytes + stats.fresh_write_bytes,
                   RUNS * SIZE);
  expect_no_hazard();
}

// A session that ends with spares, and a stream that goes, find no buffers in
// them.
static void spares_end_with_their_buffer(void** state) {
  (void)state;
  open_with("null", "policy=tiled");
  teg_stream* second = NULL;
  CORE_OK(&fx, teg_stream_create(session, &second, &fx.err));
  teg_buffer* input = core_buffer(&fx, session, 1000);
  uint8_t bytes[1000] = {1};
  uint64_t total = 0;
  for (int run = 0; run < 3; ++run) {
    CORE_OK(&fx, teg_stream_write(stream, input, 0, bytes, 1000, &fx.err));
    read_by_kernel(input, &total);
    core_submit(&fx, stream);
  }
  assert_true(core_session_stats(session).fresh_write_bytes > 0);
  teg_stream_destroy(second);
  teg_buffer_destroy(input);
  core_validate(&fx, session);
  input = core_buffer(&fx, session, 1000);
  core_fill(&fx, stream, input, 1);
  CORE_OK(&fx, teg_stream_write(stream, input, 0, bytes, 1000, &fx.err));
  teg_session_destroy(session);
  session = NULL;
  (void)teg_device_trim(fx.device, TEG_TRIM_ALL);
  assert_int_equal(core_reserved(&fx), 0);
}

// Neighbours in a chunk trade places too.
static void blocks_side_by_side_trade_places(void** state) {
  (void)state;
  open_with("null", "policy=tiled;slack=0");
  enum { COUNT = 6 };
  teg_buffer* buffers[COUNT];
  uint8_t bytes[256];
  for (uint32_t i = 0; i < COUNT; ++i) {
    buffers[i] = core_buffer(&fx, session, 256);
  }
  for (uint32_t round = 0; round < 50; ++round) {
    for (uint32_t i = 0; i < COUNT; ++i) {
      memset(bytes, (int)(round * 7 + i), sizeof bytes);
      CORE_OK(&fx, teg_stream_write(stream, buffers[i], 0, bytes, sizeof bytes,
                                    &fx.err));
      uint64_t total = 0;
      read_by_kernel(buffers[i], &total);
      core_validate(&fx, session);
      if (round % 3 == 0) core_submit(&fx, stream);
      if (round % 5 == 0) core_finish(&fx, stream);
      core_finish(&fx, stream);
    }
  }
  for (uint32_t i = 0; i < COUNT; ++i) {
    uint32_t word = (49 * 7 + i) & 0xff;
    core_expect_pattern(&fx, stream, buffers[i], word * 0x01010101u);
    teg_buffer_destroy(buffers[i]);
  }
  expect_no_hazard();
}

static teg_buffer* buffer_with(teg_buffer_flags flags, teg_lifetime lifetime,
                               uint64_t max_size) {
  teg_buffer_params params = TEG_BUFFER_PARAMS_INIT;
  params.size = 512;
  params.flags = flags;
  params.lifetime = lifetime;
  params.max_size = max_size;
  teg_buffer* buffer = NULL;
  CORE_OK(&fx, teg_buffer_create(session, &params, &buffer, &fx.err));
  return buffer;
}

static void what_has_a_known_place_stays_there(void** state) {
  (void)state;
  open_with("null", "policy=tiled");
  teg_buffer* stay[] = {
      buffer_with(TEG_BUFFER_DEDICATED, TEG_LIFETIME_RUN, 0),
      buffer_with(TEG_BUFFER_FOREIGN, TEG_LIFETIME_RUN, 0),
      buffer_with(0, TEG_LIFETIME_STATIC, 0),
      buffer_with(0, TEG_LIFETIME_STATE, 4096),
  };
  uint8_t bytes[512] = {1};
  for (size_t i = 0; i < sizeof stay / sizeof *stay; ++i) {
    core_fill(&fx, stream, stay[i], 1);
    teg_buffer_info before = core_info(stay[i]);
    CORE_OK(&fx, teg_stream_write(stream, stay[i], 0, bytes, 512, &fx.err));
    assert_ptr_equal(core_info(stay[i]).memory, before.memory);
    assert_int_equal(core_info(stay[i]).offset, before.offset);
  }
  // Nor does a part of a buffer, or a large one.
  teg_buffer* part = core_buffer(&fx, session, 512);
  core_fill(&fx, stream, part, 1);
  CORE_OK(&fx, teg_stream_write(stream, part, 4, bytes, 508, &fx.err));
  static uint8_t large[2 << 20];
  teg_buffer* big = core_buffer(&fx, session, sizeof large);
  core_fill(&fx, stream, big, 1);
  CORE_OK(&fx, teg_stream_write(stream, big, 0, large, sizeof large, &fx.err));
  assert_int_equal(core_session_stats(session).fresh_write_bytes, 0);
  core_finish(&fx, stream);
}

// No memory for another block: the ring does it.
static void without_memory_the_ring_is_taken(void** state) {
  (void)state;
  core_open(&fx, "null", "tile_bytes=64KiB;heap_min=64KiB;budget=192KiB");
  session =
      core_session(&fx, "test", "policy=simple;ring_min=64KiB;ring_max=64KiB");
  stream = teg_session_stream(session);
  teg_buffer* a = core_buffer(&fx, session, 100 * 1024);
  core_fill(&fx, stream, a, 1);
  static uint8_t bytes[100 * 1024];
  memset(bytes, 9, sizeof bytes);
  CORE_OK(&fx, teg_stream_write(stream, a, 0, bytes, sizeof bytes, &fx.err));
  assert_int_equal(core_session_stats(session).ring_write_bytes, sizeof bytes);
  core_expect_pattern(&fx, stream, a, 0x09090909);
}

// ---- Reads by ticket

static void a_ticket_has_the_bytes_of_its_place(void** state) {
  (void)state;
  open_with("null", NULL);
  teg_buffer* a = core_buffer(&fx, session, 4096);
  teg_read* reads[4];
  for (uint32_t i = 0; i < 4; ++i) {
    core_fill(&fx, stream, a, i + 1);
    CORE_OK(&fx, teg_stream_read_begin(stream, a, 4, 8, &reads[i], &fx.err));
    assert_false(teg_read_is_ready(reads[i]));
  }
  core_finish(&fx, stream);
  // In any order.
  const uint32_t order[] = {2, 0, 3, 1};
  for (uint32_t i = 0; i < 4; ++i) {
    uint32_t words[2] = {0};
    assert_true(teg_read_is_ready(reads[order[i]]));
    CORE_OK(&fx, teg_read_finish(reads[order[i]], words, &fx.err));
    assert_int_equal(words[0], order[i] + 1);
    assert_int_equal(words[1], order[i] + 1);
  }
  assert_int_equal(stream->readback.slot_count, 0);
}

static void tickets_are_bounded_and_can_be_cancelled(void** state) {
  (void)state;
  open_with("null", "ring_min=64KiB;ring_max=64KiB");
  teg_buffer* a = core_buffer(&fx, session, 65536);
  core_fill(&fx, stream, a, 7);
  teg_read* reads[4];
  for (int i = 0; i < 4; ++i) {
    CORE_OK(&fx,
            teg_stream_read_begin(stream, a, 0, 16384, &reads[i], &fx.err));
  }
  teg_read* more = (teg_read*)1;
  CORE_EXPECT(&fx, TEG_LIMIT,
              teg_stream_read_begin(stream, a, 0, 16384, &more, &fx.err));
  core_expect_text(fx.err.message, "not finished");
  assert_null(more);
  // The oldest must go before there is room: a ring.
  teg_read_cancel(reads[0]);
  CORE_OK(&fx, teg_stream_read_begin(stream, a, 0, 16384, &more, &fx.err));
  static uint32_t words[4096];
  CORE_OK(&fx, teg_read_finish(more, words, &fx.err));
  assert_int_equal(words[4095], 7);
  for (int i = 1; i < 4; ++i) teg_read_cancel(reads[i]);
  teg_read_cancel(NULL);
  CORE_EXPECT(&fx, TEG_INVALID,
              teg_stream_read_begin(stream, a, 0, 0, &more, &fx.err));
  CORE_EXPECT(&fx, TEG_INVALID,
              teg_stream_read_begin(stream, a, 65536, 1, &more, &fx.err));
  CORE_EXPECT(&fx, TEG_INVALID,
              teg_stream_read_begin(NULL, a, 0, 1, &more, &fx.err));
  CORE_EXPECT(&fx, TEG_INVALID, teg_read_finish(NULL, words, &fx.err));
  assert_false(teg_read_is_ready(NULL));
}

static teg_result break_down(void* user, void* const* pointers,
                             const uint64_t* sizes, uint32_t count) {
  (void)user;
  (void)pointers;
  (void)sizes;
  (void)count;
  return TEG_HAZARD;
}

static void a_ticket_of_a_failed_batch_gives_the_error(void** state) {
  (void)state;
  open_with("null", NULL);
  teg_buffer* a = core_buffer(&fx, session, 64);
  core_fill(&fx, stream, a, 5);
  CORE_OK(&fx, test_stream_call(fx.device, stream, break_down, NULL, NULL, 0,
                                &fx.err));
  teg_read* read;
  CORE_OK(&fx, teg_stream_read_begin(stream, a, 0, 64, &read, &fx.err));
  uint32_t words[16] = {0};
  CORE_EXPECT(&fx, TEG_HAZARD, teg_read_finish(read, words, &fx.err));
  assert_int_equal(words[0], 0);
  CORE_OK(&fx, teg_stream_read(stream, a, 0, words, 64, &fx.err));
  assert_int_equal(words[0], 5);
}

// Bytes of a batch that failed are never given, whoever was told before.
static void every_ticket_of_a_failed_batch_gives_the_error(void** state) {
  (void)state;
  open_with("null", NULL);
  teg_buffer* a = core_buffer(&fx, session, 64);
  core_fill(&fx, stream, a, 5);
  CORE_OK(&fx, test_stream_call(fx.device, stream, break_down, NULL, NULL, 0,
                                &fx.err));
  teg_read* reads[3];
  for (int i = 0; i < 3; ++i) {
    CORE_OK(&fx, teg_stream_read_begin(stream, a, 0, 64, &reads[i], &fx.err));
  }
  uint32_t words[16] = {0};
  for (int i = 0; i < 3; ++i) {
    CORE_EXPECT(&fx, TEG_HAZARD, teg_read_finish(reads[i], words, &fx.err));
    core_expect_text(fx.err.message, "batch 1");
    assert_int_equal(words[0], 0);
  }
  CORE_OK(&fx, teg_stream_read_begin(stream, a, 0, 64, &reads[0], &fx.err));
  CORE_OK(&fx, teg_read_finish(reads[0], words, &fx.err));
  assert_int_equal(words[0], 5);
}

static void fail_on_another_stream(teg_buffer* a, teg_stream* other) {
  test_argument argument = {.buffer = a, .is_read = true, .is_written = true};
  core_fill(&fx, stream, a, 5);
  core_finish(&fx, stream);
  CORE_OK(&fx, test_stream_call(fx.device, other, break_down, NULL, &argument,
                                1, &fx.err));
  core_submit(&fx, other);
}

static void bytes_of_another_streams_failed_batch_give_its_error(void** state) {
  (void)state;
  open_with("null", NULL);
  teg_stream* other;
  CORE_OK(&fx, teg_stream_create(session, &other, &fx.err));
  teg_buffer* a = core_buffer(&fx, session, 64);
  uint32_t words[16] = {0};
  for (int is_complete = 0; is_complete < 2; ++is_complete) {
    fail_on_another_stream(a, other);
    CORE_OK(&fx, teg_stream_wait_for(stream, other, teg_stream_submitted(other),
                                     &fx.err));
    if (is_complete) teg_null_run_batches(fx.backend, UINT64_MAX);
    CORE_EXPECT(&fx, TEG_HAZARD,
                teg_stream_read(stream, a, 0, words, 64, &fx.err));
    assert_int_equal(words[0], 0);
    // It was told, once.
    CORE_OK(&fx, teg_stream_wait(other, teg_stream_submitted(other), &fx.err));
    CORE_OK(&fx, teg_stream_read(stream, a, 0, words, 64, &fx.err));
    assert_int_equal(words[0], 5);
    words[0] = 0;
  }
  teg_stream_destroy(other);
}

// Who had the bytes before, in another session, is told itself.
static void errors_of_another_session_stay_there(void** state) {
  (void)state;
  open_with("null", "policy=simple");
  teg_session* two = core_session(&fx, "two", "policy=simple");
  teg_buffer* a = core_buffer(&fx, two, 4096);
  teg_stream* other = teg_session_stream(two);
  test_argument argument = {.buffer = a, .is_written = true};
  CORE_OK(&fx, test_stream_call(fx.device, other, break_down, NULL, &argument,
                                1, &fx.err));
  core_submit(&fx, other);
  teg_buffer* b = core_buffer(&fx, session, 4096);
  // As if b had taken a's bytes over.
  tegi_use_set* use = &b->block.use;
  assert_true(tegi_use_stamp(&fx.device->host, use, other->timeline.id, 1));
  core_fill(&fx, stream, b, 3);
  uint32_t words[16];
  CORE_OK(&fx, teg_stream_read(stream, b, 0, words, 64, &fx.err));
  assert_int_equal(words[0], 3);
  CORE_EXPECT(&fx, TEG_HAZARD, teg_stream_wait(other, 1, &fx.err));
  teg_session_destroy(two);
}

// ---- How much tickets hold

// Finishes tickets of |size| bytes each: word 0 of number i is i + 1.
static void finish_all(teg_read** reads, uint32_t count, uint32_t* words) {
  for (uint32_t i = 0; i < count; ++i) {
    uint32_t at = (i * 7 + 3) % count;
    CORE_OK(&fx, teg_read_finish(reads[at], words, &fx.err));
    assert_int_equal(words[0], at + 1);
  }
}

static void tickets_hold_as_much_as_ring_max(void** state) {
  (void)state;
  enum { COUNT = 10, SIZE = 48 * 1024 };
  open_with("null", "ring_min=64KiB;ring_max=512KiB");
  static uint32_t words[SIZE / 4];
  teg_buffer* a = core_buffer(&fx, session, SIZE);
  teg_read* reads[COUNT];
  for (uint32_t i = 0; i < COUNT; ++i) {
    core_fill(&fx, stream, a, i + 1);
    CORE_OK(&fx, teg_stream_read_begin(stream, a, 0, SIZE, &reads[i], &fx.err));
  }
  assert_true(stream->readback.outgrown != NULL);
  finish_all(reads, COUNT, words);
  assert_null(stream->readback.outgrown);
  // Nothing is left of what was outgrown.
  core_finish(&fx, stream);
  assert_int_equal(session->retired_count, 0);
}

static void tickets_that_are_cancelled_let_go_of_outgrown_memory(void** state) {
  (void)state;
  open_with("null", "ring_min=64KiB;ring_max=256KiB");
  teg_buffer* a = core_buffer(&fx, session, 65536);
  core_fill(&fx, stream, a, 1);
  teg_read* reads[3];
  for (int i = 0; i < 3; ++i) {
    CORE_OK(&fx,
            teg_stream_read_begin(stream, a, 0, 65536, &reads[i], &fx.err));
  }
  for (int i = 0; i < 3; ++i) teg_read_cancel(reads[i]);
  assert_null(stream->readback.outgrown);
  core_finish(&fx, stream);
  assert_int_equal(session->retired_count, 0);
}

static void a_ticket_may_be_as_large_as_the_ring(void** state) {
  (void)state;
  enum { SIZE = 96 * 1024 };
  open_with("null", "ring_min=64KiB;ring_max=96KiB");
  static uint32_t words[SIZE / 4];
  teg_buffer* a = core_buffer(&fx, session, 2 * SIZE);
  core_fill(&fx, stream, a, 9);
  // After any other: what is left over is in one piece.
  const uint64_t sizes[] = {SIZE, 40000, SIZE, SIZE - 16, SIZE, 70000, 70000};
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; ++i) {
    teg_read* read;
    CORE_OK(&fx, teg_stream_read_begin(stream, a, 0, sizes[i], &read, &fx.err));
    CORE_OK(&fx, teg_read_finish(read, words, &fx.err));
    assert_int_equal(words[sizes[i] / 4 - 1], 9);
  }
  teg_read* read;
  CORE_EXPECT(&fx, TEG_LIMIT,
              teg_stream_read_begin(stream, a, 0, SIZE + 1, &read, &fx.err));
  core_expect_text(fx.err.message, "ring_max");
}

// ---- Memory without host pointers, or slow to read

// The device's memory as that of a discrete GPU: only staging is mapped, and
// reading what the device reads is slow.
static const teg_map_ops* real_map;
static teg_memory* staging[64];
static uint32_t staging_count;
static uint32_t flush_count;
static uint32_t invalidate_count;
static bool is_all_mapped;

static bool is_staging(const teg_memory* memory) {
  for (uint32_t i = 0; i < staging_count; ++i) {
    if (staging[i] == memory) return true;
  }
  return false;
}

static teg_result make_staging(teg_backend_device* device, uint64_t size,
                               bool is_readback, teg_memory** out_memory,
                               teg_error* err) {
  (void)is_readback;
  teg_result result =
      device->tables.device->buffer_create(device, size, out_memory, err);
  if (result == TEG_OK) staging[staging_count++] = *out_memory;
  return result;
}

static void* some_pointer(teg_backend_device* device, teg_memory* memory) {
  if (!is_all_mapped && !is_staging(memory)) return NULL;
  return real_map->host_pointer(device, memory);
}

static bool some_cached(teg_backend_device* device, teg_memory* memory) {
  (void)device;
  return is_staging(memory);
}

static teg_result count_flush(teg_backend_device* device, teg_memory* memory,
                              uint64_t offset, uint64_t size, teg_error* err) {
  flush_count++;
  return TEG_OK;
}

static teg_result count_invalidate(teg_backend_device* device,
                                   teg_memory* memory, uint64_t offset,
                                   uint64_t size, teg_error* err) {
  invalidate_count++;
  return TEG_OK;
}

static void open_discrete(bool all_mapped) {
  static teg_device_ops device_ops;
  static teg_map_ops map_ops;
  open_with("null", "ring_min=64KiB;ring_max=256KiB");
  staging_count = flush_count = invalidate_count = 0;
  is_all_mapped = all_mapped;
  device_ops = *fx.device->tables.device;
  device_ops.staging_create = make_staging;
  fx.device->tables.device = &device_ops;
  real_map = fx.device->tables.map;
  map_ops = *real_map;
  map_ops.host_pointer = some_pointer;
  map_ops.is_cached = some_cached;
  map_ops.flush = count_flush;
  map_ops.invalidate = count_invalidate;
  fx.device->tables.map = &map_ops;
}

static void transfer_all(uint64_t size) {
  uint8_t* bytes = malloc(size);
  uint8_t* got = malloc(size);
  for (uint64_t i = 0; i < size; ++i) bytes[i] = (uint8_t)(i * 31 + size);
  teg_buffer* buffer = core_buffer(&fx, session, size);
  CORE_OK(&fx, teg_stream_write(stream, buffer, 0, bytes, size, &fx.err));
  CORE_OK(&fx, teg_stream_read(stream, buffer, 0, got, size, &fx.err));
  assert_memory_equal(got, bytes, size);
  CORE_OK(&fx,
          teg_stream_write(stream, buffer, size / 3, bytes, size / 5, &fx.err));
  memcpy(bytes + size / 3, bytes, size / 5);
  CORE_OK(&fx, teg_stream_read(stream, buffer, 1, got, size - 1, &fx.err));
  assert_memory_equal(got, bytes + 1, size - 1);
  teg_buffer_destroy(buffer);
  free(bytes);
  free(got);
}

static void unmapped_memory_is_reached_through_staging(void** state) {
  (void)state;
  open_discrete(false);
  for (uint64_t size = 2; size < 1000000; size = size * 3 + 1) {
    transfer_all(size);
  }
  teg_stats stats = core_session_stats(session);
  assert_int_equal(stats.direct_write_bytes, 0);
  assert_int_equal(stats.fresh_write_bytes, 0);
  assert_true(stats.ring_write_bytes > 700000);
  assert_true(flush_count > 0 && invalidate_count > 0);
  // The two rings.
  assert_true(stream->ring.size <= 256 * KIB);
  assert_true(stream->readback.size <= 256 * KIB);
  expect_no_hazard();
}

static void slow_memory_is_written_direct_and_read_by_the_ring(void** state) {
  (void)state;
  open_discrete(true);
  uint32_t words[64];
  memset(words, 3, sizeof words);
  teg_buffer* a = core_buffer(&fx, session, sizeof words);
  CORE_OK(&fx, teg_stream_write(stream, a, 0, words, sizeof words, &fx.err));
  assert_int_equal(flush_count, 1);
  assert_int_equal(core_session_stats(session).direct_write_bytes,
                   sizeof words);
  assert_null(stream->readback.extent);
  uint32_t got[64] = {0};
  CORE_OK(&fx, teg_stream_read(stream, a, 0, got, sizeof got, &fx.err));
  assert_memory_equal(got, words, sizeof words);
  assert_non_null(stream->readback.extent);
  assert_int_equal(invalidate_count, 1);
}

// Maps of memory that the CPU and the device do not see alike.
static void maps_are_invalidated_and_flushed(void** state) {
  (void)state;
  open_discrete(true);
  teg_buffer* a = core_buffer(&fx, session, 256);
  core_fill(&fx, stream, a, 1);
  core_submit(&fx, stream);
  void* pointer = NULL;
  CORE_OK(&fx, teg_buffer_map(a, &pointer, &fx.err));
  assert_int_equal(invalidate_count, 1);
  assert_int_equal(flush_count, 0);
  memset(pointer, 2, 256);
  teg_buffer_unmap(a);
  assert_int_equal(flush_count, 1);
  core_expect_pattern(&fx, stream, a, 0x02020202);
}

// Longer than a piece: the next is on its way while one is fetched.
static void long_reads_keep_two_pieces_on_their_way(void** state) {
  (void)state;
  open_discrete(false);
  enum { SIZE = 1 << 20 };
  static uint32_t words[SIZE / 4];
  static uint32_t got[SIZE / 4];
  for (uint32_t i = 0; i < SIZE / 4; ++i) words[i] = i * 2654435761u;
  teg_buffer* a = core_buffer(&fx, session, SIZE);
  CORE_OK(&fx, teg_stream_write(stream, a, 0, words, SIZE, &fx.err));
  CORE_OK(&fx, teg_stream_read(stream, a, 0, got, SIZE, &fx.err));
  assert_memory_equal(got, words, SIZE);
  assert_true(stream->readback.size >= 2 * 65536);
  // A batch that fails on the way gives its error, and the ring back.
  CORE_OK(&fx, test_stream_call(fx.device, stream, break_down, NULL, NULL, 0,
                                &fx.err));
  CORE_EXPECT(&fx, TEG_HAZARD,
              teg_stream_read(stream, a, 0, got, SIZE, &fx.err));
  CORE_OK(&fx, teg_stream_read(stream, a, 0, got, SIZE, &fx.err));
  assert_int_equal(stream->readback.slot_count, 0);
}

#define TEST(name) cmocka_unit_test_teardown(name, end)
#define TEST_OF(name, policy) \
  { #name " " policy, name, NULL, end, policy }

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST_OF(inputs_of_runs_rotate_over_a_few_blocks, "policy=tiled"),
      TEST_OF(inputs_of_runs_rotate_over_a_few_blocks, "policy=paged"),
      TEST_OF(inputs_of_runs_rotate_over_a_few_blocks, "policy=simple"),
      TEST_OF(inputs_of_runs_rotate_over_a_few_blocks, "policy=bucket"),
      TEST_OF(inputs_of_runs_rotate_over_a_few_blocks, "policy=dynamic"),
      TEST_OF(inputs_of_runs_rotate_over_a_few_blocks, "policy=exclusive"),
      TEST_OF(inputs_of_runs_rotate_over_a_few_blocks, "policy=lazy"),
      TEST(spares_end_with_their_buffer),
      TEST(blocks_side_by_side_trade_places),
      TEST(what_has_a_known_place_stays_there),
      TEST(without_memory_the_ring_is_taken),
      TEST(a_ticket_has_the_bytes_of_its_place),
      TEST(tickets_are_bounded_and_can_be_cancelled),
      TEST(a_ticket_of_a_failed_batch_gives_the_error),
      TEST(every_ticket_of_a_failed_batch_gives_the_error),
      TEST(bytes_of_another_streams_failed_batch_give_its_error),
      TEST(errors_of_another_session_stay_there),
      TEST(tickets_hold_as_much_as_ring_max),
      TEST(tickets_that_are_cancelled_let_go_of_outgrown_memory),
      TEST(a_ticket_may_be_as_large_as_the_ring),
      TEST(unmapped_memory_is_reached_through_staging),
      TEST(slow_memory_is_written_direct_and_read_by_the_ring),
      TEST(maps_are_invalidated_and_flushed),
      TEST(long_reads_keep_two_pieces_on_their_way),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
