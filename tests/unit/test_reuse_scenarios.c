// SPDX-License-Identifier: Apache-2.0
//
// The scenarios of the rule of reuse on the null device: batches run when they
// are waited for, and fresh memory is poisoned.
#include "support/reuse_scenarios.h"

int main(void) {
  const reuse_setup setup = {
      .name = "scenarios",
      .backend = "null",
      .options = "tile_bytes=64KiB;heap_min=64KiB",
  };
  return reuse_scenarios_run(&setup);
}
