// SPDX-License-Identifier: Apache-2.0
//
// tegula bench, dispatch: processor time of the calling thread to record and
// submit a batch of dispatches, by the library and by Vulkan called by hand.
// The kernel reads and writes the same words each time, so that there is a
// barrier before each dispatch; parameters differ each time. Waiting for the
// batch is not part of it.
#include <inttypes.h>
#include <string.h>

#include "bench.h"
#include "bench_vulkan.h"
#include "json.h"

enum {
  WORDS = 64,
  ROUNDS = 21,
  QUICK_ROUNDS = 5,
  ROUND_DISPATCHES = 512,
  MOST_ROWS = 3,
};

typedef struct dispatch_row {
  uint32_t batch_dispatches;
  double ns;       // a dispatch
  double hand_ns;  // 0 = not measured
} dispatch_row;

typedef struct dispatch_room {
  cli_bench* bench;
  teg_device* device;
  teg_options* options;
  teg_session* session;
  teg_stream* stream;
  teg_buffer* buffer;
  teg_kernel* kernel;
  cli_vulkan* vulkan;  // NULL = nothing to compare with
} dispatch_room;

static teg_result run_work(const teg_invocation* invocation) {
  uint32_t* words = invocation->pointers[0];
  const uint32_t* parameters = invocation->parameters;
  for (uint64_t i = 0; i < invocation->sizes[0] / 4; ++i) {
    words[i] = words[i] * parameters[0] + parameters[1];
  }
  return TEG_OK;
}

static void close_room(dispatch_room* room) {
  cli_vulkan_close(room->vulkan);
  teg_buffer_destroy(room->buffer);
  teg_session_destroy(room->session);
  teg_kernel_destroy(room->kernel);
  teg_device_destroy(room->device);
  teg_options_destroy(room->options);
}

static teg_result make_kernel(dispatch_room* room) {
  static const teg_access bindings[] = {TEG_ACCESS_READ_WRITE};
  teg_kernel_params params = TEG_KERNEL_PARAMS_INIT;
  params.name = "bench work";
  params.function = run_work;
  params.spirv = cli_vulkan_work_spirv(&params.spirv_bytes);
  params.bindings = bindings;
  params.binding_count = 1;
  params.parameter_bytes = 2 * sizeof(uint32_t);
  return teg_kernel_create(room->device, &params, &room->kernel,
                           &room->bench->err);
}

static teg_result make_buffer(dispatch_room* room) {
  teg_buffer_params params = TEG_BUFFER_PARAMS_INIT;
  params.size = WORDS * sizeof(uint32_t);
  teg_result result = teg_buffer_create(room->session, &params, &room->buffer,
                                        &room->bench->err);
  if (result != TEG_OK) return result;
  room->stream = teg_session_stream(room->session);
  return teg_stream_fill(room->stream, room->buffer, 0, params.size, 1,
                         &room->bench->err);
}

// The program says where a batch ends.
static teg_result open_room(cli_bench* bench, dispatch_room* room) {
  static const char* const settings[] = {"batch_dispatches=0", "batch_age=0",
                                         NULL};
  *room = (dispatch_room){.bench = bench};
  teg_result result =
      cli_bench_open(bench, settings, &room->options, &room->device);
  if (result == TEG_OK) result = make_kernel(room);
  if (result == TEG_OK) {
    result =
        cli_bench_session(bench, room->device, room->options, &room->session);
  }
  if (result == TEG_OK) result = make_buffer(room);
  if (result == TEG_OK) {
    room->vulkan = cli_vulkan_open(bench);
  } else {
    close_room(room);
  }
  return result;
}

static teg_result record_batch(dispatch_room* room, uint32_t dispatch_count,
                               uint64_t* out_serial) {
  static const uint32_t one_group[3] = {1, 1, 1};
  teg_argument argument = {.buffer = room->buffer};
  teg_error* err = &room->bench->err;
  for (uint32_t i = 0; i < dispatch_count; ++i) {
    uint32_t parameters[2] = {3, i};
    teg_result result = teg_stream_dispatch(
        room->stream, room->kernel, &argument, 1, parameters, one_group, err);
    if (result != TEG_OK) return result;
  }
  return teg_stream_submit(room->stream, out_serial, err);
}

// Nanoseconds a dispatch over one round of batches.
static teg_result run_round(dispatch_room* room, uint32_t batch_dispatches,
                            double* out_ns) {
  uint32_t batch_count = ROUND_DISPATCHES / batch_dispatches;
  uint64_t total = 0;
  for (uint32_t i = 0; i < batch_count; ++i) {
    uint64_t serial = 0;
    uint64_t begin = cli_bench_thread_ns();
    teg_result result = record_batch(room, batch_dispatches, &serial);
    total += cli_bench_thread_ns() - begin;
    if (result == TEG_OK) {
      result = teg_stream_wait(room->stream, serial, &room->bench->err);
    }
    if (result != TEG_OK) return result;
  }
  *out_ns = (double)total / ROUND_DISPATCHES;
  return TEG_OK;
}

static double run_hand_round(dispatch_room* room, uint32_t batch_dispatches) {
  uint32_t batch_count = ROUND_DISPATCHES / batch_dispatches;
  uint64_t total = 0;
  for (uint32_t i = 0; i < batch_count; ++i) {
    uint64_t begin = cli_bench_thread_ns();
    bool is_ok = cli_vulkan_dispatch(room->vulkan, batch_dispatches);
    total += cli_bench_thread_ns() - begin;
    if (!is_ok || !cli_vulkan_wait(room->vulkan)) return 0;
  }
  return (double)total / ROUND_DISPATCHES;
}

static teg_result measure_row(dispatch_room* room, dispatch_row* row) {
  cli_bench_values own = {.count = 0};
  cli_bench_values hand = {.count = 0};
  int rounds = room->bench->is_quick ? QUICK_ROUNDS : ROUNDS;
  // The first is to warm up.
  for (int round = -1; round < rounds; ++round) {
    double ns = 0;
    teg_result result = run_round(room, row->batch_dispatches, &ns);
    if (result != TEG_OK) return result;
    double hand_ns =
        room->vulkan ? run_hand_round(room, row->batch_dispatches) : 0;
    if (round < 0) continue;
    cli_bench_add(&own, ns);
    cli_bench_add(&hand, hand_ns);
  }
  row->ns = cli_bench_median(&own);
  row->hand_ns = cli_bench_median(&hand);
  return TEG_OK;
}

static double ratio_of(const dispatch_row* row) {
  return row->hand_ns > 0 ? row->ns / row->hand_ns : 0;
}

// Without anything to compare with the last two columns are left out.
static void print_rows(const dispatch_row* rows, size_t row_count,
                       bool has_hand) {
  static const cli_column columns[] = {
      {{"dispatches", "a batch"}, false},
      {{"ns a", "dispatch"}, false},
      {{"Vulkan", "by hand"}, false},
      {{"", "ratio"}, false},
  };
  enum { COLUMNS = sizeof columns / sizeof *columns };
  size_t column_count = has_hand ? COLUMNS : COLUMNS - 2;
  cli_cell cells[MOST_ROWS * COLUMNS] = {0};
  for (size_t r = 0; r < row_count; ++r) {
    cli_cell* at = &cells[r * column_count];
    cli_bench_cell(at++, cli_grouped(rows[r].batch_dispatches));
    cli_bench_cell(at++, cli_bench_number(rows[r].ns));
    if (!has_hand) continue;
    cli_bench_cell(at++, cli_bench_number(rows[r].hand_ns));
    cli_bench_cell(at, cli_bench_number(ratio_of(&rows[r])));
  }
  puts("dispatch: processor time of the thread that records and submits");
  cli_print_table(stdout, columns, column_count, cells, row_count,
                  cli_is_coloured(stdout));
  putchar('\n');
}

static json_t* rows_to_json(const dispatch_row* rows, size_t row_count) {
  json_t* array = json_array();
  for (size_t r = 0; r < row_count; ++r) {
    json_t* object = json_object();
    json_object_set_new(object, "batch_dispatches",
                        cli_json_count(rows[r].batch_dispatches));
    json_object_set_new(object, "ns_per_dispatch", cli_bench_json(rows[r].ns));
    json_object_set_new(object, "hand_ns_per_dispatch",
                        cli_bench_json(rows[r].hand_ns));
    json_object_set_new(object, "ratio", cli_bench_json(ratio_of(&rows[r])));
    json_array_append_new(array, object);
  }
  return array;
}

teg_result cli_bench_dispatch(cli_bench* bench) {
  dispatch_row rows[MOST_ROWS] = {{.batch_dispatches = 1},
                                  {.batch_dispatches = 8},
                                  {.batch_dispatches = 64}};
  dispatch_room room;
  teg_result result = open_room(bench, &room);
  if (result != TEG_OK) return result;
  for (size_t r = 0; result == TEG_OK && r < MOST_ROWS; ++r) {
    result = measure_row(&room, &rows[r]);
  }
  bool has_hand = room.vulkan != NULL;
  close_room(&room);
  if (result != TEG_OK) return result;
  json_object_set_new(bench->json, "dispatch", rows_to_json(rows, MOST_ROWS));
  if (bench->has_tables) print_rows(rows, MOST_ROWS, has_hand);
  return TEG_OK;
}
