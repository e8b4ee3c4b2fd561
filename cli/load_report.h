// SPDX-License-Identifier: Apache-2.0
//
// What `tegula load` says.
#ifndef TEGULA_CLI_LOAD_REPORT_H
#define TEGULA_CLI_LOAD_REPORT_H

#include <stdbool.h>
#include <stddef.h>

#include "tegula/load.h"

// One load.
typedef struct cli_load_result {
  teg_load_stats stats;
  uint64_t peak_resident_bytes;      // more than before
  uint64_t peak_own_resident_bytes;  // the same without the device's memory
  bool is_verified;
  uint64_t verify_ns;
} cli_load_result;

typedef struct cli_load_results {
  const char* path;
  const char* format;
  const char* device;  // as it was asked for
  uint64_t tensor_count;
  uint64_t bytes;  // of the tensors
  const cli_load_result* loads;
  size_t load_count;
} cli_load_results;

void cli_print_load(const cli_load_results* results);
void cli_print_load_json(const cli_load_results* results);

#endif  // TEGULA_CLI_LOAD_REPORT_H
