// SPDX-License-Identifier: Apache-2.0
//
// tegula bench, transfer: bytes to the device and back. Each thread has a
// session, a stream, a buffer and an equal part of the bytes. A write to a
// buffer that nothing uses is a store (direct); one to a buffer that the
// program also uses behind the library's back goes through the staging ring,
// and is over when its copy is.
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"
#include "bench_vulkan.h"
#include "json.h"

enum {
  MOST_THREADS = 4,
  ROUNDS = 7,
  QUICK_ROUNDS = 3,
  MOST_ROWS = 32,
};

typedef enum transfer_way {
  WAY_DIRECT,  // upload
  WAY_RING,    // upload
  WAY_READ,    // download
  WAY_COUNT,
} transfer_way;

static const char* const way_names[WAY_COUNT] = {"upload, direct",
                                                 "upload, ring", "download"};

typedef struct transfer_row {
  transfer_way way;
  uint32_t thread_count;
  uint64_t bytes;
  // Bytes a nanosecond; 0 = not measured.
  double rate;
  double memcpy_rate;
  double staged_rate;
} transfer_row;

// What one thread moves.
typedef struct transfer_lane {
  struct transfer_room* room;
  teg_session* session;
  teg_stream* stream;
  teg_buffer* buffer;
  char* data;   // the program's
  char* plain;  // where memcpy copies to
  uint64_t bytes;
  uint64_t begin_ns;  // of the last round
  uint64_t end_ns;
  teg_error err;
  teg_result result;
} transfer_lane;

typedef struct transfer_room {
  cli_bench* bench;
  teg_device* device;
  teg_options* options;
  cli_vulkan* vulkan;  // NULL = nothing to compare with
  transfer_way way;
  uint32_t thread_count;
  uint32_t repeat_count;  // of a round, so that small ones last
  bool is_memcpy;         // this time
  pthread_barrier_t barrier;
  transfer_lane lanes[MOST_THREADS];
} transfer_room;

// ---- One thread -------------------------------------------------------------

static teg_result upload(transfer_lane* lane) {
  teg_error* err = &lane->err;
  teg_result result = teg_stream_write(lane->stream, lane->buffer, 0,
                                       lane->data, lane->bytes, err);
  if (result != TEG_OK || lane->room->way == WAY_DIRECT) return result;
  uint64_t serial = 0;
  result = teg_stream_submit(lane->stream, &serial, err);
  if (result != TEG_OK) return result;
  return teg_stream_wait(lane->stream, serial, err);
}

static teg_result move_once(transfer_lane* lane) {
  if (lane->room->way != WAY_READ) return upload(lane);
  return teg_stream_read(lane->stream, lane->buffer, 0, lane->data, lane->bytes,
                         &lane->err);
}

static void copy_once(transfer_lane* lane) {
  if (lane->room->way == WAY_READ) {
    memcpy(lane->data, lane->plain, lane->bytes);
  } else {
    memcpy(lane->plain, lane->data, lane->bytes);
  }
  // Each copy is one: the compiler may not join them.
  __asm__ volatile("" ::: "memory");
}

static void* run_lane(void* user) {
  transfer_lane* lane = user;
  transfer_room* room = lane->room;
  pthread_barrier_wait(&room->barrier);
  lane->begin_ns = cli_bench_now_ns();
  for (uint32_t i = 0; i < room->repeat_count; ++i) {
    if (room->is_memcpy) {
      copy_once(lane);
    } else if (lane->result == TEG_OK) {
      lane->result = move_once(lane);
    }
  }
  lane->end_ns = cli_bench_now_ns();
  return NULL;
}

// ---- All of them ------------------------------------------------------------

static uint64_t bytes_of(const transfer_room* room) {
  return room->lanes[0].bytes * room->thread_count * room->repeat_count;
}

// From the first that began to the last that ended.
static uint64_t round_ns(const transfer_room* room) {
  uint64_t begin = room->lanes[0].begin_ns;
  uint64_t end = room->lanes[0].end_ns;
  for (uint32_t i = 1; i < room->thread_count; ++i) {
    const transfer_lane* lane = &room->lanes[i];
    if (lane->begin_ns < begin) begin = lane->begin_ns;
    if (lane->end_ns > end) end = lane->end_ns;
  }
  return end - begin;
}

// Bytes a nanosecond of one round by all threads.
static double run_threads(transfer_room* room) {
  pthread_t threads[MOST_THREADS];
  uint32_t count = room->thread_count;
  pthread_barrier_init(&room->barrier, NULL, count);
  for (uint32_t i = 0; i < count; ++i) {
    if (pthread_create(&threads[i], NULL, run_lane, &room->lanes[i]) != 0) {
      // Those that wait at the barrier cannot be told.
      exit(cli_fail(CLI_FAILED, "transfer: no thread can be made"));
    }
  }
  for (uint32_t i = 0; i < count; ++i) pthread_join(threads[i], NULL);
  pthread_barrier_destroy(&room->barrier);
  return (double)bytes_of(room) / (double)round_ns(room);
}

static double run_staged(transfer_room* room) {
  transfer_lane* lane = &room->lanes[0];
  uint64_t begin = cli_bench_now_ns();
  for (uint32_t i = 0; i < room->repeat_count; ++i) {
    bool is_ok =
        room->way == WAY_READ
            ? cli_vulkan_download(room->vulkan, lane->data, lane->bytes)
            : cli_vulkan_upload(room->vulkan, lane->data, lane->bytes);
    if (!is_ok) return 0;
  }
  return (double)bytes_of(room) / (double)(cli_bench_now_ns() - begin);
}

static teg_result lane_failure(transfer_room* room) {
  for (uint32_t i = 0; i < room->thread_count; ++i) {
    if (room->lanes[i].result == TEG_OK) continue;
    room->bench->err = room->lanes[i].err;
    return room->lanes[i].result;
  }
  return TEG_OK;
}

static teg_result run_rounds(transfer_room* room, transfer_row* row) {
  cli_bench_values own = {.count = 0};
  cli_bench_values plain = {.count = 0};
  cli_bench_values staged = {.count = 0};
  bool has_staged = room->vulkan && room->thread_count == 1 &&
                    cli_vulkan_reserve(room->vulkan, row->bytes);
  int rounds = room->bench->is_quick ? QUICK_ROUNDS : ROUNDS;
  // The first is to warm up.
  for (int round = -1; round < rounds; ++round) {
    room->is_memcpy = false;
    double rate = run_threads(room);
    teg_result result = lane_failure(room);
    if (result != TEG_OK) return result;
    room->is_memcpy = true;
    double memcpy_rate = run_threads(room);
    double staged_rate = has_staged ? run_staged(room) : 0;
    if (round < 0) continue;
    cli_bench_add(&own, rate);
    cli_bench_add(&plain, memcpy_rate);
    cli_bench_add(&staged, staged_rate);
  }
  row->rate = cli_bench_median(&own);
  row->memcpy_rate = cli_bench_median(&plain);
  row->staged_rate = cli_bench_median(&staged);
  return TEG_OK;
}

// ---- Lanes ------------------------------------------------------------------

static void close_lane(transfer_lane* lane) {
  teg_buffer_destroy(lane->buffer);
  teg_session_destroy(lane->session);
  free(lane->data);
  free(lane->plain);
}

static teg_result open_lane(transfer_room* room, transfer_lane* lane,
                            uint64_t bytes) {
  cli_bench* bench = room->bench;
  *lane = (transfer_lane){.room = room, .bytes = bytes};
  lane->data = malloc(bytes);
  lane->plain = malloc(bytes);
  if (!lane->data || !lane->plain) {
    return cli_bench_fail(bench, TEG_OUT_OF_HOST_MEMORY, "no memory");
  }
  memset(lane->data, 1, bytes);
  memset(lane->plain, 2, bytes);
  teg_result result =
      cli_bench_session(bench, room->device, room->options, &lane->session);
  if (result != TEG_OK) return result;
  lane->stream = teg_session_stream(lane->session);
  teg_buffer_params params = TEG_BUFFER_PARAMS_INIT;
  params.size = bytes;
  if (room->way == WAY_RING) params.flags = TEG_BUFFER_FOREIGN;
  result =
      teg_buffer_create(lane->session, &params, &lane->buffer, &bench->err);
  if (result != TEG_OK) return result;
  // What is read has been written.
  result = teg_stream_fill(lane->stream, lane->buffer, 0, bytes, 0x03030303,
                           &bench->err);
  uint64_t serial = 0;
  if (result == TEG_OK) {
    result = teg_stream_submit(lane->stream, &serial, &bench->err);
  }
  if (result != TEG_OK) return result;
  return teg_stream_wait(lane->stream, serial, &bench->err);
}

static teg_result open_lanes(transfer_room* room, const transfer_row* row) {
  enum { ROUND_BYTES = 16 << 20, QUICK_ROUND_BYTES = 4 << 20 };
  uint64_t least = room->bench->is_quick ? QUICK_ROUND_BYTES : ROUND_BYTES;
  room->way = row->way;
  room->thread_count = row->thread_count;
  room->repeat_count = 1;
  if (row->bytes < least) room->repeat_count = (uint32_t)(least / row->bytes);
  teg_result result = TEG_OK;
  for (uint32_t i = 0; result == TEG_OK && i < row->thread_count; ++i) {
    result = open_lane(room, &room->lanes[i], row->bytes / row->thread_count);
  }
  return result;
}

// Whether the library has moved the bytes the way that |row| is about.
static bool went_the_way(transfer_room* room, const transfer_row* row,
                         const teg_stats* before) {
  teg_stats after = {.struct_size = sizeof after};
  teg_device_get_stats(room->device, &after);
  if (row->way == WAY_READ) return true;
  uint64_t direct = after.direct_write_bytes - before->direct_write_bytes;
  uint64_t ring = after.ring_write_bytes - before->ring_write_bytes;
  return row->way == WAY_DIRECT ? ring == 0 : direct == 0;
}

static teg_result measure_row(transfer_room* room, transfer_row* row) {
  memset(room->lanes, 0, sizeof room->lanes);
  teg_stats before = {.struct_size = sizeof before};
  teg_device_get_stats(room->device, &before);
  teg_result result = open_lanes(room, row);
  if (result == TEG_OK) result = run_rounds(room, row);
  if (!went_the_way(room, row, &before)) row->rate = 0;
  for (uint32_t i = 0; i < row->thread_count; ++i) close_lane(&room->lanes[i]);
  return result;
}

// ---- Rows -------------------------------------------------------------------

static double share_of(double part, double whole) {
  return whole > 0 ? part / whole : 0;
}

// Without anything to compare with the last two columns are left out.
static void print_rows(const transfer_row* rows, size_t row_count,
                       bool has_staged) {
  static const cli_column columns[] = {
      {{"", "way"}, true},         {{"", "size"}, false},
      {{"", "threads"}, false},    {{"", "GB/s"}, false},
      {{"memcpy", "GB/s"}, false}, {{"of", "memcpy"}, false},
      {{"staged", "GB/s"}, false}, {{"of", "staged"}, false},
  };
  enum { COLUMNS = sizeof columns / sizeof *columns };
  size_t column_count = has_staged ? COLUMNS : COLUMNS - 2;
  cli_cell cells[MOST_ROWS * COLUMNS] = {0};
  for (size_t r = 0; r < row_count; ++r) {
    const transfer_row* row = &rows[r];
    cli_cell* at = &cells[r * column_count];
    snprintf(at++->text, CLI_MAX_CELL, "%s", way_names[row->way]);
    cli_bench_cell(at++, cli_binary(row->bytes));
    cli_bench_cell(at++, cli_grouped(row->thread_count));
    cli_bench_cell(at++, cli_bench_number(row->rate));
    cli_bench_cell(at++, cli_bench_number(row->memcpy_rate));
    cli_bench_cell(at++,
                   cli_bench_number(share_of(row->rate, row->memcpy_rate)));
    if (!has_staged) continue;
    cli_bench_cell(at++, cli_bench_number(row->staged_rate));
    cli_bench_cell(at, cli_bench_number(share_of(row->rate, row->staged_rate)));
  }
  puts("transfer: bytes to the device and back; threads share the bytes");
  if (has_staged) {
    puts("(staged: one copy through mapped memory, by Vulkan called by hand)");
  }
  cli_print_table(stdout, columns, column_count, cells, row_count,
                  cli_is_coloured(stdout));
  putchar('\n');
}

static json_t* rows_to_json(const transfer_row* rows, size_t row_count) {
  static const char* const keys[WAY_COUNT] = {"upload_direct", "upload_ring",
                                              "download"};
  json_t* array = json_array();
  for (size_t r = 0; r < row_count; ++r) {
    const transfer_row* row = &rows[r];
    json_t* object = json_object();
    json_object_set_new(object, "way", json_string(keys[row->way]));
    json_object_set_new(object, "bytes", cli_json_count(row->bytes));
    json_object_set_new(object, "threads", cli_json_count(row->thread_count));
    json_object_set_new(object, "gb_per_s", cli_bench_json(row->rate));
    json_object_set_new(object, "memcpy_gb_per_s",
                        cli_bench_json(row->memcpy_rate));
    json_object_set_new(object, "staged_gb_per_s",
                        cli_bench_json(row->staged_rate));
    json_object_set_new(object, "of_memcpy",
                        cli_bench_json(share_of(row->rate, row->memcpy_rate)));
    json_object_set_new(object, "of_staged",
                        cli_bench_json(share_of(row->rate, row->staged_rate)));
    json_array_append_new(array, object);
  }
  return array;
}

static teg_result measure_rows(transfer_room* room, transfer_row* rows,
                               size_t* out_count) {
  static const uint64_t sizes[] = {UINT64_C(64) << 10, UINT64_C(1) << 20,
                                   UINT64_C(16) << 20, UINT64_C(256) << 20};
  static const uint32_t thread_counts[] = {1, MOST_THREADS};
  size_t size_count = room->bench->is_quick ? 2 : sizeof sizes / sizeof *sizes;
  size_t count = 0;
  for (int way = 0; way < WAY_COUNT; ++way) {
    for (size_t t = 0; t < 2; ++t) {
      for (size_t s = 0; s < size_count; ++s) {
        transfer_row* row = &rows[count];
        *row = (transfer_row){.way = (transfer_way)way,
                              .bytes = sizes[s],
                              .thread_count = thread_counts[t]};
        teg_result result = measure_row(room, row);
        if (result != TEG_OK) return result;
        ++count;
      }
    }
  }
  *out_count = count;
  return TEG_OK;
}

teg_result cli_bench_transfer(cli_bench* bench) {
  static const char* const settings[] = {NULL};
  transfer_room room = {.bench = bench};
  teg_result result =
      cli_bench_open(bench, settings, &room.options, &room.device);
  if (result != TEG_OK) return result;
  room.vulkan = cli_vulkan_open(bench);
  transfer_row rows[MOST_ROWS];
  size_t row_count = 0;
  result = measure_rows(&room, rows, &row_count);
  bool has_staged = room.vulkan != NULL;
  cli_vulkan_close(room.vulkan);
  teg_device_destroy(room.device);
  teg_options_destroy(room.options);
  if (result != TEG_OK) return result;
  json_object_set_new(bench->json, "transfer", rows_to_json(rows, row_count));
  if (bench->has_tables) print_rows(rows, row_count, has_staged);
  return TEG_OK;
}
