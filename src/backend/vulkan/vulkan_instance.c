// SPDX-License-Identifier: Apache-2.0
//
// Instances, the choice of a physical device, and reading its facts. A device
// has an instance of its own, so that nothing is shared between two.
#include "backend/vulkan/vulkan_instance.h"

#include <stdio.h>
#include <string.h>

#include "base/checked.h"
#include "base/error.h"

// ---- Messages of the driver, the loader and layers.

static teg_log_level level_of(VkDebugUtilsMessageSeverityFlagBitsEXT severity,
                              VkDebugUtilsMessageTypeFlagsEXT types) {
  // What a driver says in general is not about tegula's calls.
  if (!(types & ~(uint32_t)VK_DEBUG_UTILS_MESSAGE_TYPE_GENERAL_BIT_EXT)) {
    return TEG_LOG_DEBUG;
  }
  if (severity & VK_DEBUG_UTILS_MESSAGE_SEVERITY_ERROR_BIT_EXT) {
    return TEG_LOG_ERROR;
  }
  if (severity & VK_DEBUG_UTILS_MESSAGE_SEVERITY_WARNING_BIT_EXT) {
    return TEG_LOG_WARNING;
  }
  return TEG_LOG_DEBUG;
}

static VKAPI_ATTR VkBool32 VKAPI_CALL
on_message(VkDebugUtilsMessageSeverityFlagBitsEXT severity,
           VkDebugUtilsMessageTypeFlagsEXT types,
           const VkDebugUtilsMessengerCallbackDataEXT* data, void* user) {
  const teg_log* log = user;
  teg_log_level level = level_of(severity, types);
  if (level <= log->level) {
    char line[1024];
    snprintf(line, sizeof line, "vulkan: %s: %s",
             data->pMessageIdName ? data->pMessageIdName : "driver",
             data->pMessage ? data->pMessage : "");
    log->write(log->user, level, line);
  }
  return VK_FALSE;
}

static VkDebugUtilsMessengerCreateInfoEXT messenger_info(teg_log* log) {
  return (VkDebugUtilsMessengerCreateInfoEXT){
      .sType = VK_STRUCTURE_TYPE_DEBUG_UTILS_MESSENGER_CREATE_INFO_EXT,
      .messageSeverity = VK_DEBUG_UTILS_MESSAGE_SEVERITY_WARNING_BIT_EXT |
                         VK_DEBUG_UTILS_MESSAGE_SEVERITY_ERROR_BIT_EXT,
      .messageType = VK_DEBUG_UTILS_MESSAGE_TYPE_GENERAL_BIT_EXT |
                     VK_DEBUG_UTILS_MESSAGE_TYPE_VALIDATION_BIT_EXT |
                     VK_DEBUG_UTILS_MESSAGE_TYPE_PERFORMANCE_BIT_EXT,
      .pfnUserCallback = on_message,
      .pUserData = log,
  };
}

// ---- Extensions.

static bool has_name(const VkExtensionProperties* list, uint32_t count,
                     const char* name) {
  for (uint32_t i = 0; i < count; i++) {
    if (strcmp(list[i].extensionName, name) == 0) return true;
  }
  return false;
}

static teg_result no_list(teg_error* err) {
  return tegi_error_set(err, TEG_OUT_OF_HOST_MEMORY,
                        "vulkan: no host memory for a list of extensions");
}

static teg_result has_instance_extension(const tegi_vk_loader* loader,
                                         tegi_host* host, const char* name,
                                         bool* out_has, teg_error* err) {
  *out_has = false;
  uint32_t count = 0;
  VkResult native =
      loader->EnumerateInstanceExtensionProperties(NULL, &count, NULL);
  if (native != VK_SUCCESS || count == 0) return TEG_OK;
  uint32_t capacity = count;
  VkExtensionProperties* list = tegi_host_calloc(host, capacity, sizeof *list);
  if (!list) return no_list(err);
  native = loader->EnumerateInstanceExtensionProperties(NULL, &count, list);
  *out_has = native >= VK_SUCCESS && has_name(list, count, name);
  tegi_host_free(host, list, capacity * sizeof *list);
  return TEG_OK;
}

static teg_result has_device_extension(const tegi_vk_instance* instance,
                                       tegi_host* host, VkPhysicalDevice gpu,
                                       const char* name, bool* out_has,
                                       teg_error* err) {
  *out_has = false;
  uint32_t count = 0;
  VkResult native =
      instance->vk.EnumerateDeviceExtensionProperties(gpu, NULL, &count, NULL);
  if (native != VK_SUCCESS || count == 0) return TEG_OK;
  uint32_t capacity = count;
  VkExtensionProperties* list = tegi_host_calloc(host, capacity, sizeof *list);
  if (!list) return no_list(err);
  native =
      instance->vk.EnumerateDeviceExtensionProperties(gpu, NULL, &count, list);
  *out_has = native >= VK_SUCCESS && has_name(list, count, name);
  tegi_host_free(host, list, capacity * sizeof *list);
  return TEG_OK;
}

// ---- Life.

static teg_result create_instance(tegi_vk_instance* instance, bool has_messages,
                                  teg_error* err) {
  uint32_t version = VK_API_VERSION_1_0;
  (void)instance->loader.EnumerateInstanceVersion(&version);
  if (version < VK_API_VERSION_1_2) {
    return tegi_error_set(err, TEG_UNAVAILABLE,
                          "the Vulkan loader knows Vulkan %u.%u only, 1.2 is "
                          "needed",
                          VK_API_VERSION_MAJOR(version),
                          VK_API_VERSION_MINOR(version));
  }
  const VkApplicationInfo application = {
      .sType = VK_STRUCTURE_TYPE_APPLICATION_INFO,
      .pApplicationName = "tegula",
      .pEngineName = "tegula",
      .apiVersion = VK_API_VERSION_1_3,
  };
  static const char* const extensions[] = {VK_EXT_DEBUG_UTILS_EXTENSION_NAME};
  const VkDebugUtilsMessengerCreateInfoEXT messenger =
      messenger_info(&instance->log);
  const VkInstanceCreateInfo info = {
      .sType = VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO,
      .pNext = has_messages ? &messenger : NULL,
      .pApplicationInfo = &application,
      .enabledExtensionCount = has_messages ? 1 : 0,
      .ppEnabledExtensionNames = extensions,
  };
  VkResult native =
      instance->loader.CreateInstance(&info, NULL, &instance->handle);
  if (native == VK_ERROR_INCOMPATIBLE_DRIVER) {
    return tegi_error_native(err, TEG_UNAVAILABLE, "vulkan", native,
                             "no Vulkan driver is installed");
  }
  if (native != VK_SUCCESS) {
    instance->handle = VK_NULL_HANDLE;
    return tegi_vk_failed(native, "vkCreateInstance", err);
  }
  return TEG_OK;
}

teg_result tegi_vk_instance_create(tegi_vk_instance* instance, tegi_host* host,
                                   teg_log log, teg_error* err) {
  *instance = (tegi_vk_instance){.log = log};
  teg_result result = tegi_vk_loader_open(&instance->loader, NULL, err);
  bool has_messages = false;
  if (result == TEG_OK && log.write) {
    result = has_instance_extension(&instance->loader, host,
                                    VK_EXT_DEBUG_UTILS_EXTENSION_NAME,
                                    &has_messages, err);
  }
  if (result == TEG_OK) result = create_instance(instance, has_messages, err);
  if (result == TEG_OK) {
    result = tegi_vk_load_instance(&instance->loader, instance->handle,
                                   &instance->vk, err);
  }
  if (result != TEG_OK) {
    tegi_vk_instance_destroy(instance);
    return result;
  }
  if (has_messages && instance->vk.CreateDebugUtilsMessengerEXT) {
    const VkDebugUtilsMessengerCreateInfoEXT info =
        messenger_info(&instance->log);
    // Without a messenger there are no messages, which is no failure.
    if (instance->vk.CreateDebugUtilsMessengerEXT(instance->handle, &info, NULL,
                                                  &instance->messenger) !=
        VK_SUCCESS) {
      instance->messenger = VK_NULL_HANDLE;
    }
  }
  return TEG_OK;
}

teg_result tegi_vk_instance_adopt(tegi_vk_instance* instance, VkInstance handle,
                                  PFN_vkGetInstanceProcAddr get, teg_log log,
                                  teg_error* err) {
  *instance = (tegi_vk_instance){.log = log};
  teg_result result = TEG_OK;
  if (get) {
    instance->loader.GetInstanceProcAddr = get;
  } else {
    result = tegi_vk_loader_open(&instance->loader, NULL, err);
  }
  if (result == TEG_OK) {
    instance->handle = handle;
    instance->is_adopted = true;
    result =
        tegi_vk_load_instance(&instance->loader, handle, &instance->vk, err);
  }
  if (result != TEG_OK) tegi_vk_instance_destroy(instance);
  return result;
}

void tegi_vk_instance_destroy(tegi_vk_instance* instance) {
  if (instance->messenger) {
    instance->vk.DestroyDebugUtilsMessengerEXT(instance->handle,
                                               instance->messenger, NULL);
  }
  if (instance->handle && !instance->is_adopted) {
    PFN_vkDestroyInstance destroy =
        instance->vk.DestroyInstance
            ? instance->vk.DestroyInstance
            : (PFN_vkDestroyInstance)instance->loader.GetInstanceProcAddr(
                  instance->handle, "vkDestroyInstance");
    if (destroy) destroy(instance->handle, NULL);
  }
  tegi_vk_loader_close(&instance->loader);
  *instance = (tegi_vk_instance){0};
}

// ---- Physical devices.

// Smaller is better.
static int rank_of(VkPhysicalDeviceType type) {
  switch (type) {
    case VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU:
      return 0;
    case VK_PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU:
      return 1;
    case VK_PHYSICAL_DEVICE_TYPE_VIRTUAL_GPU:
      return 2;
    case VK_PHYSICAL_DEVICE_TYPE_CPU:
      return 3;
    default:
      return 4;
  }
}

uint32_t tegi_vk_read_families(const tegi_vk_instance* instance,
                               VkPhysicalDevice gpu,
                               VkQueueFamilyProperties* out_families) {
  uint32_t count = TEGI_VK_MAX_FAMILIES;
  instance->vk.GetPhysicalDeviceQueueFamilyProperties(gpu, &count,
                                                      out_families);
  return count;
}

void tegi_vk_choose_families(const VkQueueFamilyProperties* families,
                             uint32_t count, uint32_t* out_queue,
                             uint32_t* out_bind) {
  const VkQueueFlags both = VK_QUEUE_COMPUTE_BIT | VK_QUEUE_SPARSE_BINDING_BIT;
  *out_queue = *out_bind = UINT32_MAX;
  for (uint32_t i = count; i-- > 0;) {
    VkQueueFlags flags = families[i].queueFlags;
    if (families[i].queueCount == 0) continue;
    if (flags & VK_QUEUE_COMPUTE_BIT) *out_queue = i;
    if (flags & VK_QUEUE_SPARSE_BINDING_BIT) *out_bind = i;
  }
  for (uint32_t i = count; i-- > 0;) {
    if (families[i].queueCount == 0) continue;
    if ((families[i].queueFlags & both) == both) *out_queue = *out_bind = i;
  }
}

static void find_families(const tegi_vk_instance* instance,
                          VkPhysicalDevice gpu, uint32_t* out_queue,
                          uint32_t* out_bind) {
  VkQueueFamilyProperties families[TEGI_VK_MAX_FAMILIES];
  uint32_t count = tegi_vk_read_families(instance, gpu, families);
  tegi_vk_choose_families(families, count, out_queue, out_bind);
}

// NULL if tegula can open it, or what it lacks.
static const char* lack_of(const tegi_vk_instance* instance,
                           VkPhysicalDevice gpu,
                           const VkPhysicalDeviceProperties* properties) {
  if (properties->apiVersion < VK_API_VERSION_1_2) return "Vulkan 1.2";
  uint32_t queue, bind;
  find_families(instance, gpu, &queue, &bind);
  if (queue == UINT32_MAX) return "a compute queue";
  VkPhysicalDeviceTimelineSemaphoreFeatures timeline = {
      .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_TIMELINE_SEMAPHORE_FEATURES};
  VkPhysicalDeviceFeatures2 features = {
      .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2,
      .pNext = &timeline};
  instance->vk.GetPhysicalDeviceFeatures2(gpu, &features);
  return timeline.timelineSemaphore ? NULL : "timeline semaphores";
}

// Inserts before the first that is worse, so that equals keep the driver's
// order.
static void insert_ranked(VkPhysicalDevice* gpus, int* ranks, uint32_t count,
                          VkPhysicalDevice gpu, int rank) {
  uint32_t at = count;
  while (at > 0 && ranks[at - 1] > rank) {
    gpus[at] = gpus[at - 1];
    ranks[at] = ranks[at - 1];
    at--;
  }
  gpus[at] = gpu;
  ranks[at] = rank;
}

teg_result tegi_vk_instance_gpus(const tegi_vk_instance* instance,
                                 VkPhysicalDevice* out_gpus,
                                 uint32_t* out_count, teg_error* err) {
  *out_count = 0;
  VkPhysicalDevice all[TEGI_VK_MAX_GPUS];
  uint32_t count = TEGI_VK_MAX_GPUS;
  VkResult native =
      instance->vk.EnumeratePhysicalDevices(instance->handle, &count, all);
  if (native < VK_SUCCESS) {
    return tegi_vk_failed(native, "vkEnumeratePhysicalDevices", err);
  }
  int ranks[TEGI_VK_MAX_GPUS];
  char lacks[256] = "";
  for (uint32_t i = 0; i < count; i++) {
    VkPhysicalDeviceProperties properties;
    instance->vk.GetPhysicalDeviceProperties(all[i], &properties);
    const char* lack = lack_of(instance, all[i], &properties);
    if (!lack) {
      insert_ranked(out_gpus, ranks, (*out_count)++, all[i],
                    rank_of(properties.deviceType));
    } else if (!lacks[0]) {
      snprintf(lacks, sizeof lacks, "%.120s lacks %s", properties.deviceName,
               lack);
    }
  }
  if (*out_count) return TEG_OK;
  return tegi_error_set(err, TEG_UNAVAILABLE, "no Vulkan device to use: %s",
                        lacks[0] ? lacks : "the drivers list none");
}

// ---- Facts.

static uint32_t min_u32(uint32_t a, uint32_t b) { return a < b ? a : b; }

static void read_kernel_limits(const VkPhysicalDeviceLimits* limits,
                               tegi_vk_facts* facts) {
  facts->storage_alignment = limits->minStorageBufferOffsetAlignment;
  facts->uniform_alignment = limits->minUniformBufferOffsetAlignment;
  facts->atom_bytes = limits->nonCoherentAtomSize;
  facts->max_uniform_bytes = limits->maxUniformBufferRange;
  // The parameters' uniform buffer is a resource as well.
  facts->max_storage_buffers =
      min_u32(min_u32(limits->maxPerStageDescriptorStorageBuffers,
                      limits->maxDescriptorSetStorageBuffers),
              limits->maxPerStageResources - 1);
  for (uint32_t i = 0; i < 3; i++) {
    facts->max_group_count[i] = limits->maxComputeWorkGroupCount[i];
  }
  facts->timestamp_ns = limits->timestampPeriod;
}

// Drivers pack their version as Vulkan packs its own, save one.
static void write_version(const VkPhysicalDeviceProperties* properties,
                          VkDriverId driver, char* out, size_t size) {
  const uint32_t packed = properties->driverVersion;
  const uint32_t api = properties->apiVersion;
  if (driver == VK_DRIVER_ID_NVIDIA_PROPRIETARY) {
    snprintf(out, size, "%u.%u.%u", packed >> 22, (packed >> 14) & 0xffu,
             (packed >> 6) & 0xffu);
  } else {
    snprintf(out, size, "%u.%u.%u", VK_API_VERSION_MAJOR(packed),
             VK_API_VERSION_MINOR(packed), VK_API_VERSION_PATCH(packed));
  }
  size_t length = strlen(out);
  snprintf(out + length, size - length, ", Vulkan %u.%u.%u",
           VK_API_VERSION_MAJOR(api), VK_API_VERSION_MINOR(api),
           VK_API_VERSION_PATCH(api));
}

static void read_limits(const tegi_vk_instance* instance,
                        tegi_vk_facts* facts) {
  VkPhysicalDeviceMaintenance4Properties maintenance4 = {
      .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MAINTENANCE_4_PROPERTIES};
  VkPhysicalDeviceMaintenance3Properties maintenance3 = {
      .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MAINTENANCE_3_PROPERTIES,
      // Part of Vulkan 1.3.
      .pNext = facts->api_version >= VK_API_VERSION_1_3 ? &maintenance4 : NULL};
  VkPhysicalDeviceDriverProperties driver = {
      .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_DRIVER_PROPERTIES,
      .pNext = &maintenance3};
  VkPhysicalDeviceProperties2 all = {
      .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2,
      .pNext = &driver};
  instance->vk.GetPhysicalDeviceProperties2(facts->gpu, &all);
  const VkPhysicalDeviceLimits* limits = &all.properties.limits;
  facts->type = all.properties.deviceType;
  snprintf(facts->name, sizeof facts->name, "%s", all.properties.deviceName);
  snprintf(facts->driver, sizeof facts->driver, "%s %s", driver.driverName,
           driver.driverInfo);
  write_version(&all.properties, driver.driverID, facts->version,
                sizeof facts->version);
  facts->is_cpu_driver = driver.driverID == VK_DRIVER_ID_MESA_LLVMPIPE;
  facts->offset_alignment =
      tegi_max_u64(tegi_max_u64(limits->minStorageBufferOffsetAlignment,
                                limits->minUniformBufferOffsetAlignment),
                   tegi_max_u64(limits->minTexelBufferOffsetAlignment,
                                limits->nonCoherentAtomSize));
  facts->max_buffer_bytes =
      maintenance4.maxBufferSize ? maintenance4.maxBufferSize : TEGI_MAX_BYTES;
  facts->max_allocation_bytes = maintenance3.maxMemoryAllocationSize;
  uint32_t most = limits->maxMemoryAllocationCount;
  facts->max_allocation_count = most == UINT32_MAX ? 0 : most;
  facts->max_binding_bytes = limits->maxStorageBufferRange;
  read_kernel_limits(limits, facts);
  // lavapipe names 2 GiB and does not mean it: its limit is the process's
  // addresses.
  facts->sparse_bytes =
      facts->is_cpu_driver ? 0 : limits->sparseAddressSpaceSize;
}

static void read_features(const tegi_vk_instance* instance,
                          tegi_vk_facts* facts) {
  VkPhysicalDeviceVulkan12Features vulkan12 = {
      .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES};
  VkPhysicalDeviceFeatures2 features = {
      .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2,
      .pNext = &vulkan12};
  instance->vk.GetPhysicalDeviceFeatures2(facts->gpu, &features);
  facts->has_timeline = vulkan12.timelineSemaphore;
  facts->has_address = vulkan12.bufferDeviceAddress;
  facts->has_sparse = features.features.sparseBinding &&
                      features.features.sparseResidencyBuffer &&
                      features.features.sparseResidencyAliased &&
                      facts->bind_family != UINT32_MAX;
}

teg_result tegi_vk_facts_read(const tegi_vk_instance* instance, tegi_host* host,
                              VkPhysicalDevice gpu, tegi_vk_facts* out_facts,
                              teg_error* err) {
  *out_facts = (tegi_vk_facts){.gpu = gpu};
  VkPhysicalDeviceProperties properties;
  instance->vk.GetPhysicalDeviceProperties(gpu, &properties);
  out_facts->api_version = properties.apiVersion;
  find_families(instance, gpu, &out_facts->queue_family,
                &out_facts->bind_family);
  read_limits(instance, out_facts);
  read_features(instance, out_facts);
  VkPhysicalDeviceMemoryProperties2 memory = {
      .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_PROPERTIES_2};
  instance->vk.GetPhysicalDeviceMemoryProperties2(gpu, &memory);
  out_facts->memory = memory.memoryProperties;
  return has_device_extension(instance, host, gpu,
                              VK_EXT_MEMORY_BUDGET_EXTENSION_NAME,
                              &out_facts->has_budget, err);
}

uint64_t tegi_vk_facts_available(const tegi_vk_instance* instance,
                                 const tegi_vk_facts* facts,
                                 uint32_t heap_index) {
  if (!facts->has_budget) return UINT64_MAX;
  VkPhysicalDeviceMemoryBudgetPropertiesEXT budget = {
      .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_BUDGET_PROPERTIES_EXT};
  VkPhysicalDeviceMemoryProperties2 memory = {
      .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_PROPERTIES_2,
      .pNext = &budget};
  instance->vk.GetPhysicalDeviceMemoryProperties2(facts->gpu, &memory);
  uint64_t most = budget.heapBudget[heap_index];
  uint64_t used = budget.heapUsage[heap_index];
  return most > used ? most - used : 0;
}

uint32_t tegi_vk_facts_timestamp_bits(const tegi_vk_instance* instance,
                                      const tegi_vk_facts* facts) {
  VkQueueFamilyProperties families[TEGI_VK_MAX_FAMILIES];
  uint32_t count = tegi_vk_read_families(instance, facts->gpu, families);
  return facts->queue_family < count
             ? families[facts->queue_family].timestampValidBits
             : 0;
}

// ---- Memory types.

static uint64_t largest_local_heap(const tegi_vk_facts* facts) {
  uint64_t bytes = 0;
  for (uint32_t i = 0; i < facts->memory.memoryHeapCount; i++) {
    const VkMemoryHeap* heap = &facts->memory.memoryHeaps[i];
    if (heap->flags & VK_MEMORY_HEAP_DEVICE_LOCAL_BIT) {
      bytes = tegi_max_u64(bytes, heap->size);
    }
  }
  return bytes;
}

static bool has_property(const tegi_vk_facts* facts, uint32_t type,
                         VkMemoryPropertyFlags property) {
  return facts->memory.memoryTypes[type].propertyFlags & property;
}

bool tegi_vk_facts_is_mappable(const tegi_vk_facts* facts, uint32_t type) {
  return has_property(facts, type, VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT);
}

bool tegi_vk_facts_is_coherent(const tegi_vk_facts* facts, uint32_t type) {
  return has_property(facts, type, VK_MEMORY_PROPERTY_HOST_COHERENT_BIT);
}

bool tegi_vk_facts_is_cached(const tegi_vk_facts* facts, uint32_t type) {
  return has_property(facts, type, VK_MEMORY_PROPERTY_HOST_CACHED_BIT);
}

bool tegi_vk_facts_is_unified(const tegi_vk_facts* facts) {
  bool is_apart = facts->type == VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU ||
                  facts->type == VK_PHYSICAL_DEVICE_TYPE_VIRTUAL_GPU;
  if (is_apart) return false;
  uint32_t type = tegi_vk_facts_memory_type(facts, UINT32_MAX);
  return type != UINT32_MAX && tegi_vk_facts_is_mappable(facts, type);
}

// Protected, lazily allocated and vendors' kinds are for other uses.
static bool is_plain(const tegi_vk_facts* facts, uint32_t type) {
  const VkMemoryPropertyFlags known = VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT |
                                      VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT |
                                      VK_MEMORY_PROPERTY_HOST_COHERENT_BIT |
                                      VK_MEMORY_PROPERTY_HOST_CACHED_BIT;
  return !(facts->memory.memoryTypes[type].propertyFlags & ~known);
}

// What a type is worth for a use; larger is better, 0 = not to be used.
typedef uint32_t (*worth_of)(const tegi_vk_facts* facts, uint32_t type);

static uint32_t worth_for_device(const tegi_vk_facts* facts, uint32_t type) {
  const VkMemoryType* one = &facts->memory.memoryTypes[type];
  uint32_t worth = 1;
  if (one->propertyFlags & VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT) worth += 8;
  if (facts->memory.memoryHeaps[one->heapIndex].size >=
      largest_local_heap(facts)) {
    worth += 4;
    if (tegi_vk_facts_is_mappable(facts, type)) {
      worth += tegi_vk_facts_is_coherent(facts, type) ? 2 : 1;
    }
  }
  return worth;
}

// The CPU writes it from end to end, and the device fetches it: no need of
// caches, nor of the device's own memory, of which the CPU often reaches a
// small part only.
static uint32_t worth_for_upload(const tegi_vk_facts* facts, uint32_t type) {
  if (!tegi_vk_facts_is_mappable(facts, type)) return 0;
  uint32_t worth = 1;
  if (tegi_vk_facts_is_coherent(facts, type)) worth += 4;
  if (!has_property(facts, type, VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT)) {
    worth += 2;
  }
  if (!tegi_vk_facts_is_cached(facts, type)) worth += 1;
  return worth;
}

static uint32_t worth_for_readback(const tegi_vk_facts* facts, uint32_t type) {
  if (!tegi_vk_facts_is_mappable(facts, type)) return 0;
  uint32_t worth = 1;
  if (tegi_vk_facts_is_cached(facts, type)) worth += 4;
  if (!has_property(facts, type, VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT)) {
    worth += 2;
  }
  if (tegi_vk_facts_is_coherent(facts, type)) worth += 1;
  return worth;
}

static uint32_t best_type(const tegi_vk_facts* facts, uint32_t type_bits,
                          worth_of worth_of_type) {
  uint32_t best = UINT32_MAX;
  uint32_t best_worth = 0;
  for (uint32_t i = 0; i < facts->memory.memoryTypeCount; i++) {
    if (!((type_bits >> i) & 1u) || !is_plain(facts, i)) continue;
    uint32_t worth = worth_of_type(facts, i);
    if (worth > best_worth) {
      best = i;
      best_worth = worth;
    }
  }
  return best;
}

uint32_t tegi_vk_facts_memory_type(const tegi_vk_facts* facts,
                                   uint32_t type_bits) {
  return best_type(facts, type_bits, worth_for_device);
}

uint32_t tegi_vk_facts_staging_type(const tegi_vk_facts* facts,
                                    uint32_t type_bits, bool is_readback) {
  return best_type(facts, type_bits,
                   is_readback ? worth_for_readback : worth_for_upload);
}
