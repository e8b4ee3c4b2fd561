// SPDX-License-Identifier: Apache-2.0
//
// The rule of reuse through the public API, on any device under the hazard
// checker. A scenario is one function that is run twice: with the rule on
// nothing may be reported and every byte must be right; with the rule off the
// checker must report the same steps.
#ifndef TEGULA_TESTS_REUSE_SCENARIOS_H
#define TEGULA_TESTS_REUSE_SCENARIOS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct reuse_setup {
  const char* name;
  const char* backend;
  const char* options;       // of the device; must be checked, tiles of 64 KiB
  const uint32_t* spirv;     // of tests/shaders/kernel_scene.comp, if it needs
  size_t spirv_bytes;        //   that
  bool is_range_unmappable;  // teg_buffer_map refuses what lies in tiles
  // A batch that uses memory which is gone must not run: the driver would
  // crash. Once something is reported batches are dropped.
  bool is_driver_real;
} reuse_setup;

// Returns the number of failures.
int reuse_scenarios_run(const reuse_setup* setup);

#endif  // TEGULA_TESTS_REUSE_SCENARIOS_H
