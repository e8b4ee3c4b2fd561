// SPDX-License-Identifier: Apache-2.0
//
// The scenarios of the rule of reuse on a Vulkan device under the hazard
// checker: neither lavapipe nor the layers see what goes wrong there.
#include "support/reuse_scenarios.h"

#include <stdio.h>

#include "backend/vulkan/vulkan_register.h"
#include "kernel_scene.spv.h"

int main(void) {
  uint32_t count;
  teg_error err;
  if (tegi_vk_backend.probe(&count, &err) != TEG_OK) {
    printf("SKIPPED: vulkan: %s\n", err.message);
    return 77;
  }
  const reuse_setup setup = {
      .name = "vulkan_reuse",
      .backend = "vulkan",
      .options = "check=on;tile_bytes=64KiB;heap_min=64KiB",
      .spirv = kernel_scene_spv,
      .spirv_bytes = sizeof kernel_scene_spv,
      .is_range_unmappable = true,
      .is_driver_real = true,
  };
  return reuse_scenarios_run(&setup);
}
