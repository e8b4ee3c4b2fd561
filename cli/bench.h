// SPDX-License-Identifier: Apache-2.0
//
// What the parts of `tegula bench` share. A part opens the device itself,
// with the options it needs, measures, prints its table and adds a member to
// the JSON. Times are medians over rounds; what a figure is compared with is
// measured in the same rounds, in turns.
#ifndef TEGULA_CLI_BENCH_H
#define TEGULA_CLI_BENCH_H

#include <jansson.h>

#include "cli.h"
#include "table.h"

enum { CLI_BENCH_MOST_ROUNDS = 32 };

typedef struct cli_bench {
  const char* backend;
  uint32_t device_index;
  teg_device_description description;
  bool is_quick;
  bool has_tables;
  json_t* json;
  teg_error err;  // of the call that failed
} cli_bench;

// Each returns TEG_OK, or a result with |bench->err| filled in.
// TEG_UNSUPPORTED: the device cannot do what the part measures.
teg_result cli_bench_bind(cli_bench* bench);
teg_result cli_bench_transfer(cli_bench* bench);
teg_result cli_bench_dispatch(cli_bench* bench);

// Opens the device. |settings| are "key=value" up to a NULL; those of sessions
// are in |*out_options|, which is given back with teg_options_destroy().
teg_result cli_bench_open(cli_bench* bench, const char* const* settings,
                          teg_options** out_options, teg_device** out_device);
teg_result cli_bench_session(cli_bench* bench, teg_device* device,
                             const teg_options* options,
                             teg_session** out_session);

// Fills |bench->err|; returns |result|.
teg_result cli_bench_fail(cli_bench* bench, teg_result result,
                          const char* format, ...)
    __attribute__((format(printf, 3, 4)));

// Of the machine, and of the processor time of the calling thread.
uint64_t cli_bench_now_ns(void);
uint64_t cli_bench_thread_ns(void);

// Some values of one figure.
typedef struct cli_bench_values {
  double at[CLI_BENCH_MOST_ROUNDS];
  size_t count;
} cli_bench_values;

void cli_bench_add(cli_bench_values* values, double value);
// Sorts them. 0 of none.
double cli_bench_median(cli_bench_values* values);

// A number rounded for people: three digits that count. "-" for 0 or less.
cli_text cli_bench_number(double value);
void cli_bench_cell(cli_cell* cell, cli_text text);
// null for 0 or less: not measured.
json_t* cli_bench_json(double value);

#endif  // TEGULA_CLI_BENCH_H
