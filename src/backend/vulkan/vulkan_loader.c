// SPDX-License-Identifier: Apache-2.0
//
// Opening the Vulkan loader and filling the tables of functions. Nothing here
// is global: two devices may have two loaders.
#include "backend/vulkan/vulkan_loader.h"

#include <dlfcn.h>
#include <string.h>

#include "base/error.h"

// A data pointer as a function pointer, which ISO C has no cast for.
static PFN_vkVoidFunction as_function(void* symbol) {
  PFN_vkVoidFunction function;
  memcpy(&function, &symbol, sizeof function);
  return function;
}

static teg_result no_function(const char* name, teg_error* err) {
  return tegi_error_set(err, TEG_UNAVAILABLE, "vulkan: there is no vk%s", name);
}

static teg_result load_global(tegi_vk_loader* loader, teg_error* err) {
  loader->GetInstanceProcAddr = (PFN_vkGetInstanceProcAddr)as_function(
      dlsym(loader->library, "vkGetInstanceProcAddr"));
  if (!loader->GetInstanceProcAddr)
    return no_function("GetInstanceProcAddr", err);
#define TEGI_VK_GLOBAL(name)                                                 \
  loader->name =                                                             \
      (PFN_vk##name)loader->GetInstanceProcAddr(VK_NULL_HANDLE, "vk" #name); \
  if (!loader->name) return no_function(#name, err);
#include "backend/vulkan/vulkan_symbols.def"
  return TEG_OK;
}

teg_result tegi_vk_loader_open(tegi_vk_loader* loader, const char* const* names,
                               teg_error* err) {
  // The name without a number is a developer's link; it comes last.
  static const char* const usual_names[] = {"libvulkan.so.1", "libvulkan.so",
                                            NULL};
  if (!names) names = usual_names;
  *loader = (tegi_vk_loader){0};
  for (size_t i = 0; names[i] && !loader->library; i++) {
    loader->library = dlopen(names[i], RTLD_NOW | RTLD_LOCAL);
  }
  if (!loader->library) {
    const char* reason = dlerror();
    return tegi_error_set(err, TEG_UNAVAILABLE,
                          "the Vulkan loader %s is not installed: %.300s",
                          names[0], reason ? reason : "no reason given");
  }
  teg_result result = load_global(loader, err);
  if (result != TEG_OK) tegi_vk_loader_close(loader);
  return result;
}

void tegi_vk_loader_close(tegi_vk_loader* loader) {
  if (loader->library) dlclose(loader->library);
  *loader = (tegi_vk_loader){0};
}

teg_result tegi_vk_load_instance(const tegi_vk_loader* loader,
                                 VkInstance instance,
                                 tegi_vk_instance_table* out_table,
                                 teg_error* err) {
#define TEGI_VK_INSTANCE_OPTIONAL(name) \
  out_table->name =                     \
      (PFN_vk##name)loader->GetInstanceProcAddr(instance, "vk" #name);
#define TEGI_VK_INSTANCE(name)    \
  TEGI_VK_INSTANCE_OPTIONAL(name) \
  if (!out_table->name) return no_function(#name, err);
#include "backend/vulkan/vulkan_symbols.def"
  return TEG_OK;
}

// NOLINTNEXTLINE(readability-function-size): one line, repeated by the list
teg_result tegi_vk_load_device(const tegi_vk_instance_table* instance,
                               VkDevice device, tegi_vk_device_table* out_table,
                               teg_error* err) {
#define TEGI_VK_DEVICE(name)                                         \
  out_table->name =                                                  \
      (PFN_vk##name)instance->GetDeviceProcAddr(device, "vk" #name); \
  if (!out_table->name) return no_function(#name, err);
#include "backend/vulkan/vulkan_symbols.def"
  return TEG_OK;
}

// ---- Results.

const char* tegi_vk_result_name(VkResult native) {
#define NAMED(code) \
  case code:        \
    return #code
  switch (native) {
    NAMED(VK_SUCCESS);
    NAMED(VK_NOT_READY);
    NAMED(VK_TIMEOUT);
    NAMED(VK_INCOMPLETE);
    NAMED(VK_ERROR_OUT_OF_HOST_MEMORY);
    NAMED(VK_ERROR_OUT_OF_DEVICE_MEMORY);
    NAMED(VK_ERROR_INITIALIZATION_FAILED);
    NAMED(VK_ERROR_DEVICE_LOST);
    NAMED(VK_ERROR_MEMORY_MAP_FAILED);
    NAMED(VK_ERROR_LAYER_NOT_PRESENT);
    NAMED(VK_ERROR_EXTENSION_NOT_PRESENT);
    NAMED(VK_ERROR_FEATURE_NOT_PRESENT);
    NAMED(VK_ERROR_INCOMPATIBLE_DRIVER);
    NAMED(VK_ERROR_TOO_MANY_OBJECTS);
    NAMED(VK_ERROR_INVALID_OPAQUE_CAPTURE_ADDRESS);
    default:
      return "an unknown VkResult";
  }
#undef NAMED
}

static teg_result result_of(VkResult native) {
  switch (native) {
    case VK_ERROR_OUT_OF_HOST_MEMORY:
      return TEG_OUT_OF_HOST_MEMORY;
    case VK_ERROR_OUT_OF_DEVICE_MEMORY:
    case VK_ERROR_MEMORY_MAP_FAILED:
      return TEG_OUT_OF_MEMORY;
    case VK_ERROR_TOO_MANY_OBJECTS:
      return TEG_LIMIT;
    case VK_ERROR_DEVICE_LOST:
      return TEG_DEVICE_LOST;
    case VK_ERROR_INCOMPATIBLE_DRIVER:
      return TEG_UNAVAILABLE;
    default:
      return TEG_DEVICE_ERROR;
  }
}

teg_result tegi_vk_failed(VkResult native, const char* what, teg_error* err) {
  return tegi_error_native(err, result_of(native), "vulkan", native,
                           "%s failed: %s", what, tegi_vk_result_name(native));
}
