// SPDX-License-Identifier: Apache-2.0
//
// The backends of this build, in the order they are listed and tried, and the
// checker.
#include "core/registry.h"

#include "backend/check/check_wrap.h"
#include "backend/host/host_register.h"
#include "backend/null/null_register.h"
#ifdef TEGI_HAS_VULKAN
#include "backend/vulkan/vulkan_register.h"
#endif

const teg_backend_ops* const tegi_backends[] = {
    &tegi_hostdev_backend,
    &tegi_nulldev_backend,
#ifdef TEGI_HAS_VULKAN
    &tegi_vk_backend,
#endif
    NULL,
};

teg_result tegi_backend_check(teg_backend_device* inner,
                              const teg_allocator* allocator,
                              teg_backend_device** out_device, teg_error* err) {
  const tegi_check_params params = {.allocator = *allocator};
  return tegi_check_wrap(inner, &params, out_device, err);
}
