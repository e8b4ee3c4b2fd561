// SPDX-License-Identifier: Apache-2.0
//
// tegula bench, bind: what it costs to move tiles under other addresses. Two
// STATE buffers hand the same tiles to one another: one shrinks, the other
// grows. Their tiles lie in one run of a heap, or each apart from the others
// with a tile of a third buffer between.
#include <inttypes.h>
#include <stdlib.h>

#include "bench.h"
#include "json.h"

enum { MOST_TILES = 1024, MOST_COUNTS = 8, ROUNDS = 15, QUICK_ROUNDS = 3 };

typedef struct bind_times {
  double map_ns;        // a growth
  double unmap_ns;      // a shrinking
  double driver_calls;  // of the growth
} bind_times;

typedef struct bind_row {
  uint32_t tile_count;
  bind_times one_run;
  bind_times scattered;
} bind_row;

typedef struct bind_room {
  cli_bench* bench;
  teg_options* options;
  teg_device* device;
  uint64_t tile_bytes;
  teg_session* session;  // of one measurement, with its buffers
  teg_buffer* growing[3];
} bind_room;

static teg_result resize(bind_room* room, int index, uint64_t tile_count) {
  return teg_buffer_resize(room->growing[index], tile_count * room->tile_bytes,
                           &room->bench->err);
}

static teg_stats stats_of(const bind_room* room) {
  teg_stats stats = {.struct_size = sizeof stats};
  teg_device_get_stats(room->device, &stats);
  return stats;
}

// The device once for all measurements: a driver may allow a process only so
// many. Without slack a heap is as large as what asks for it.
static teg_result open_room(cli_bench* bench, const char* tile_setting,
                            bind_room* room) {
  *room = (bind_room){.bench = bench};
  const char* const settings[] = {"policy=tiled", "slack=0", "heap_max=16GiB",
                                  tile_setting, NULL};
  teg_result result =
      cli_bench_open(bench, settings, &room->options, &room->device);
  if (result != TEG_OK) return result;
  teg_backend_caps caps = {.struct_size = sizeof caps};
  teg_device_get_caps(room->device, &caps);
  room->tile_bytes = caps.tile_bytes;
  return TEG_OK;
}

static void close_room(bind_room* room) {
  teg_device_destroy(room->device);
  teg_options_destroy(room->options);
}

// A new session with three buffers of a tile each, and no other memory.
static teg_result begin_layout(bind_room* room) {
  teg_error* err = &room->bench->err;
  teg_result result = cli_bench_session(room->bench, room->device,
                                        room->options, &room->session);
  teg_buffer_params params = TEG_BUFFER_PARAMS_INIT;
  params.lifetime = TEG_LIFETIME_STATE;
  params.size = room->tile_bytes;
  params.max_size = (2 * MOST_TILES + 1) * room->tile_bytes;
  for (int i = 0; result == TEG_OK && i < 3; ++i) {
    result = teg_buffer_create(room->session, &params, &room->growing[i], err);
  }
  return result;
}

static void end_layout(bind_room* room) {
  teg_session_destroy(room->session);
  room->session = NULL;
  (void)teg_device_trim(room->device, TEG_TRIM_ALL);
}

// Buffer |from|, which has a tile more than |tile_count|, hands them to |to|.
static teg_result hand_over(bind_room* room, int from, int to,
                            uint32_t tile_count, bind_times* times) {
  uint64_t unmap_begin = cli_bench_now_ns();
  teg_result result = resize(room, from, 1);
  uint64_t unmap_end = cli_bench_now_ns();
  if (result != TEG_OK) return result;
  teg_stats before = stats_of(room);
  uint64_t map_begin = cli_bench_now_ns();
  result = resize(room, to, tile_count + 1);
  uint64_t map_end = cli_bench_now_ns();
  teg_stats after = stats_of(room);
  *times = (bind_times){.map_ns = (double)(map_end - map_begin),
                        .unmap_ns = (double)(unmap_end - unmap_begin),
                        .driver_calls = (double)(after.driver_call_count -
                                                 before.driver_call_count)};
  return result;
}

static teg_result measure_hand_overs(bind_room* room, uint32_t tile_count,
                                     bind_times* out_times) {
  cli_bench_values map = {.count = 0};
  cli_bench_values unmap = {.count = 0};
  cli_bench_values calls = {.count = 0};
  int rounds = room->bench->is_quick ? QUICK_ROUNDS : ROUNDS;
  // The first is to warm up.
  for (int round = -1; round < rounds; ++round) {
    bind_times times;
    int from = (round + 1) % 2;
    teg_result result = hand_over(room, from, 1 - from, tile_count, &times);
    if (result != TEG_OK) return result;
    if (round < 0) continue;
    cli_bench_add(&map, times.map_ns);
    cli_bench_add(&unmap, times.unmap_ns);
    cli_bench_add(&calls, times.driver_calls);
  }
  *out_times = (bind_times){cli_bench_median(&map), cli_bench_median(&unmap),
                            cli_bench_median(&calls)};
  return TEG_OK;
}

static teg_result measure_one_run(bind_room* room, uint32_t tile_count,
                                  bind_times* out_times) {
  teg_result result = begin_layout(room);
  if (result == TEG_OK) result = resize(room, 0, tile_count + 1);
  if (result == TEG_OK) {
    result = measure_hand_overs(room, tile_count, out_times);
  }
  end_layout(room);
  return result;
}

// Buffer 2 lets one heap go, from which it and buffer 0 then grow in turns:
// every other tile is of the other.
static teg_result measure_scattered(bind_room* room, uint32_t tile_count,
                                    bind_times* out_times) {
  teg_result result = begin_layout(room);
  if (result == TEG_OK) result = resize(room, 2, 2 * tile_count + 1);
  if (result == TEG_OK) result = resize(room, 2, 1);
  for (uint32_t i = 2; result == TEG_OK && i <= tile_count + 1; ++i) {
    result = resize(room, 0, i);
    if (result == TEG_OK) result = resize(room, 2, i);
  }
  if (result == TEG_OK) {
    result = measure_hand_overs(room, tile_count, out_times);
  }
  end_layout(room);
  return result;
}

static void print_rows(const bind_row* rows, size_t row_count,
                       uint64_t tile_bytes) {
  static const cli_column columns[] = {
      {{"", "tiles"}, false},    {{"one run:", "map us"}, false},
      {{"", "unmap us"}, false}, {{"scattered:", "map us"}, false},
      {{"", "unmap us"}, false}, {{"ratio", "of map"}, false},
  };
  enum { COLUMNS = sizeof columns / sizeof *columns };
  cli_cell cells[MOST_COUNTS * COLUMNS] = {0};
  for (size_t r = 0; r < row_count; ++r) {
    const bind_row* row = &rows[r];
    const bind_times* both[] = {&row->one_run, &row->scattered};
    cli_cell* at = &cells[r * COLUMNS];
    cli_bench_cell(at++, cli_grouped(row->tile_count));
    for (int i = 0; i < 2; ++i) {
      cli_bench_cell(at++, cli_bench_number(both[i]->map_ns / 1000));
      cli_bench_cell(at++, cli_bench_number(both[i]->unmap_ns / 1000));
    }
    cli_bench_cell(
        at, cli_bench_number(row->scattered.map_ns / row->one_run.map_ns));
  }
  printf("bind: a buffer grows by tiles of %s that another let go\n",
         cli_binary(tile_bytes).text);
  cli_print_table(stdout, columns, COLUMNS, cells, row_count,
                  cli_is_coloured(stdout));
  fputc('\n', stdout);
}

static void add_json(json_t* array, uint32_t tile_count, uint64_t tile_bytes,
                     const char* layout, const bind_times* times) {
  json_t* object = json_object();
  json_object_set_new(object, "tiles", cli_json_count(tile_count));
  json_object_set_new(object, "tile_bytes", cli_json_count(tile_bytes));
  json_object_set_new(object, "layout", json_string(layout));
  json_object_set_new(object, "map_ns", cli_json_number(times->map_ns, 1));
  json_object_set_new(object, "unmap_ns", cli_json_number(times->unmap_ns, 1));
  json_object_set_new(object, "driver_calls",
                      cli_json_count((uint64_t)times->driver_calls));
  json_array_append_new(array, object);
}

static json_t* rows_to_json(const bind_row* rows, size_t row_count,
                            uint64_t tile_bytes) {
  json_t* array = json_array();
  for (size_t r = 0; r < row_count; ++r) {
    const bind_row* row = &rows[r];
    add_json(array, row->tile_count, tile_bytes, "one_run", &row->one_run);
    add_json(array, row->tile_count, tile_bytes, "scattered", &row->scattered);
  }
  return array;
}

// With small tiles where they can be had.
static teg_result open_best_room(cli_bench* bench, bind_room* room) {
  teg_result result = open_room(bench, "tile_bytes=64KiB", room);
  if (result != TEG_OK) result = open_room(bench, "tile_bytes=0", room);
  if (result != TEG_OK) return result;
  teg_backend_caps caps = {.struct_size = sizeof caps};
  teg_device_get_caps(room->device, &caps);
  if (caps.remap != TEG_REMAP_NONE) return TEG_OK;
  close_room(room);
  return cli_bench_fail(bench, TEG_UNSUPPORTED, "%s cannot move tiles",
                        bench->backend);
}

teg_result cli_bench_bind(cli_bench* bench) {
  static const uint32_t all_counts[] = {1, 4, 16, 64, 256, MOST_TILES};
  static const uint32_t quick_counts[] = {1, 16};
  const uint32_t* counts = bench->is_quick ? quick_counts : all_counts;
  size_t row_count = bench->is_quick
                         ? sizeof quick_counts / sizeof *quick_counts
                         : sizeof all_counts / sizeof *all_counts;
  bind_room room;
  teg_result result = open_best_room(bench, &room);
  if (result != TEG_OK) return result;
  bind_row rows[MOST_COUNTS] = {0};
  for (size_t i = 0; result == TEG_OK && i < row_count; ++i) {
    rows[i].tile_count = counts[i];
    result = measure_one_run(&room, counts[i], &rows[i].one_run);
    if (result != TEG_OK) break;
    result = measure_scattered(&room, counts[i], &rows[i].scattered);
  }
  close_room(&room);
  if (result != TEG_OK) return result;
  json_object_set_new(bench->json, "bind",
                      rows_to_json(rows, row_count, room.tile_bytes));
  if (bench->has_tables) print_rows(rows, row_count, room.tile_bytes);
  return TEG_OK;
}
