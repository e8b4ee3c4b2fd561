// SPDX-License-Identifier: Apache-2.0
//
// What `tegula replay` found out, and the three forms it is shown in: a table,
// a JSON array, an HTML page.
#ifndef TEGULA_CLI_RESULTS_H
#define TEGULA_CLI_RESULTS_H

#include <stdbool.h>
#include <stdio.h>

#include "tegula/replay.h"

// One trace and its replays. Owns the names of nothing.
typedef struct cli_trace {
  const char* path;
  char name[128];
  teg_trace_format format;
  uint64_t event_count;
  uint64_t run_count;
  teg_replay_result* rows;  // one a policy
  size_t row_count;         // fewer than policies when the device failed
} cli_trace;

typedef struct cli_results {
  const char* command;  // as typed
  cli_trace* traces;
  size_t trace_count;  // those that were read
} cli_results;

// Prints the group of one trace: a headline, and a row a policy.
void cli_print_results(FILE* stream, const cli_trace* trace);
// What the table's words and signs mean.
void cli_print_legend(FILE* stream);

// Both are of the form cli_output_write() takes; |user| is a cli_results.
void cli_write_json(FILE* stream, const void* user);
void cli_write_report(FILE* stream, const void* user);

#endif  // TEGULA_CLI_RESULTS_H
