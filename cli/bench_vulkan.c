// SPDX-License-Identifier: Apache-2.0
//
// Vulkan called by hand, for tegula bench. The loader is opened at run time,
// as the library does it; functions are looked up once, those of the device
// without the loader's detour.
#include "bench_vulkan.h"

#ifdef CLI_HAS_VULKAN

#define VK_NO_PROTOTYPES 1
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>
#include <vulkan/vulkan_core.h>

#include "bench_work.spv.h"

#define GLOBAL_FUNCTIONS(X) X(CreateInstance)
#define INSTANCE_FUNCTIONS(X)               \
  X(DestroyInstance)                        \
  X(EnumeratePhysicalDevices)               \
  X(GetPhysicalDeviceProperties)            \
  X(GetPhysicalDeviceMemoryProperties)      \
  X(GetPhysicalDeviceQueueFamilyProperties) \
  X(CreateDevice)                           \
  X(GetDeviceProcAddr)
#define DEVICE_FUNCTIONS(X)      \
  X(DestroyDevice)               \
  X(GetDeviceQueue)              \
  X(CreateBuffer)                \
  X(DestroyBuffer)               \
  X(GetBufferMemoryRequirements) \
  X(AllocateMemory)              \
  X(FreeMemory)                  \
  X(BindBufferMemory)            \
  X(MapMemory)                   \
  X(CreateCommandPool)           \
  X(DestroyCommandPool)          \
  X(ResetCommandPool)            \
  X(AllocateCommandBuffers)      \
  X(BeginCommandBuffer)          \
  X(EndCommandBuffer)            \
  X(CmdPipelineBarrier)          \
  X(CmdCopyBuffer)               \
  X(CmdBindPipeline)             \
  X(CmdBindDescriptorSets)       \
  X(CmdDispatch)                 \
  X(QueueSubmit)                 \
  X(CreateFence)                 \
  X(DestroyFence)                \
  X(WaitForFences)               \
  X(ResetFences)                 \
  X(CreateShaderModule)          \
  X(DestroyShaderModule)         \
  X(CreateDescriptorSetLayout)   \
  X(DestroyDescriptorSetLayout)  \
  X(CreatePipelineLayout)        \
  X(DestroyPipelineLayout)       \
  X(CreateComputePipelines)      \
  X(DestroyPipeline)             \
  X(CreateDescriptorPool)        \
  X(DestroyDescriptorPool)       \
  X(AllocateDescriptorSets)      \
  X(UpdateDescriptorSets)

enum {
  MOST_GPUS = 16,
  MOST_FAMILIES = 32,
  MOST_DISPATCHES = 64,
  WORD_BYTES = 256,  // that the kernel changes
};

// A buffer with memory of its own.
typedef struct hand_buffer {
  VkBuffer handle;
  VkDeviceMemory memory;
  void* pointer;  // NULL where it is not mapped
} hand_buffer;

struct cli_vulkan {
  void* library;
  PFN_vkGetInstanceProcAddr GetInstanceProcAddr;
#define MEMBER(name) PFN_vk##name name;
  GLOBAL_FUNCTIONS(MEMBER)
  INSTANCE_FUNCTIONS(MEMBER)
  DEVICE_FUNCTIONS(MEMBER)
#undef MEMBER
  VkInstance instance;
  VkPhysicalDevice gpu;
  VkPhysicalDeviceMemoryProperties memory;
  VkDevice device;
  uint32_t family;
  VkQueue queue;
  VkCommandPool pool;
  VkCommandBuffer commands;
  VkFence fence;
  // Transfers.
  hand_buffer target;
  hand_buffer upload;
  hand_buffer readback;
  // Dispatches.
  hand_buffer words;
  hand_buffer parameters;
  uint32_t parameter_stride;
  VkDescriptorSetLayout set_layout;
  VkPipelineLayout layout;
  VkPipeline pipeline;
  VkDescriptorPool sets;
  VkDescriptorSet set;
};

// ---- Opening ----------------------------------------------------------------

// A data pointer as a function pointer, which ISO C has no cast for.
static PFN_vkVoidFunction as_function(void* symbol) {
  PFN_vkVoidFunction function;
  memcpy(&function, &symbol, sizeof function);
  return function;
}

static bool load_library(cli_vulkan* vk) {
  vk->library = dlopen("libvulkan.so.1", RTLD_NOW | RTLD_LOCAL);
  if (!vk->library) return false;
  vk->GetInstanceProcAddr = (PFN_vkGetInstanceProcAddr)as_function(
      dlsym(vk->library, "vkGetInstanceProcAddr"));
  if (!vk->GetInstanceProcAddr) return false;
#define LOAD(name)                                                    \
  vk->name = (PFN_vk##name)vk->GetInstanceProcAddr(NULL, "vk" #name); \
  if (!vk->name) return false;
  GLOBAL_FUNCTIONS(LOAD)
#undef LOAD
  return true;
}

static bool make_instance(cli_vulkan* vk) {
  const VkApplicationInfo application = {
      .sType = VK_STRUCTURE_TYPE_APPLICATION_INFO,
      .apiVersion = VK_API_VERSION_1_2};
  const VkInstanceCreateInfo info = {
      .sType = VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO,
      .pApplicationInfo = &application};
  if (vk->CreateInstance(&info, NULL, &vk->instance) != VK_SUCCESS) {
    return false;
  }
#define LOAD(name)                                                            \
  vk->name = (PFN_vk##name)vk->GetInstanceProcAddr(vk->instance, "vk" #name); \
  if (!vk->name) return false;
  INSTANCE_FUNCTIONS(LOAD)
#undef LOAD
  return true;
}

// Devices are numbered differently here and there; names are the same.
static bool find_gpu(cli_vulkan* vk, const char* name) {
  VkPhysicalDevice gpus[MOST_GPUS];
  uint32_t count = MOST_GPUS;
  if (vk->EnumeratePhysicalDevices(vk->instance, &count, gpus) < VK_SUCCESS) {
    return false;
  }
  for (uint32_t i = 0; i < count && !vk->gpu; ++i) {
    VkPhysicalDeviceProperties properties;
    vk->GetPhysicalDeviceProperties(gpus[i], &properties);
    if (strcmp(properties.deviceName, name) != 0) continue;
    vk->gpu = gpus[i];
    uint64_t alignment = properties.limits.minUniformBufferOffsetAlignment;
    vk->parameter_stride = (uint32_t)(alignment > 64 ? alignment : 64);
  }
  if (!vk->gpu) return false;
  vk->GetPhysicalDeviceMemoryProperties(vk->gpu, &vk->memory);
  VkQueueFamilyProperties families[MOST_FAMILIES];
  count = MOST_FAMILIES;
  vk->GetPhysicalDeviceQueueFamilyProperties(vk->gpu, &count, families);
  for (uint32_t i = 0; i < count; ++i) {
    vk->family = i;
    if (families[i].queueFlags & VK_QUEUE_COMPUTE_BIT) return true;
  }
  return false;
}

static bool make_device(cli_vulkan* vk) {
  const float priority = 1;
  const VkDeviceQueueCreateInfo queue = {
      .sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO,
      .queueFamilyIndex = vk->family,
      .queueCount = 1,
      .pQueuePriorities = &priority};
  const VkDeviceCreateInfo info = {
      .sType = VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO,
      .queueCreateInfoCount = 1,
      .pQueueCreateInfos = &queue};
  if (vk->CreateDevice(vk->gpu, &info, NULL, &vk->device) != VK_SUCCESS) {
    return false;
  }
#define LOAD(name)                                                        \
  vk->name = (PFN_vk##name)vk->GetDeviceProcAddr(vk->device, "vk" #name); \
  if (!vk->name) return false;
  DEVICE_FUNCTIONS(LOAD)
#undef LOAD
  vk->GetDeviceQueue(vk->device, vk->family, 0, &vk->queue);
  return true;
}

static bool make_commands(cli_vulkan* vk) {
  const VkCommandPoolCreateInfo pool = {
      .sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO,
      .flags = VK_COMMAND_POOL_CREATE_TRANSIENT_BIT,
      .queueFamilyIndex = vk->family};
  const VkFenceCreateInfo fence = {.sType =
                                       VK_STRUCTURE_TYPE_FENCE_CREATE_INFO};
  if (vk->CreateCommandPool(vk->device, &pool, NULL, &vk->pool) < VK_SUCCESS ||
      vk->CreateFence(vk->device, &fence, NULL, &vk->fence) < VK_SUCCESS) {
    return false;
  }
  const VkCommandBufferAllocateInfo info = {
      .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO,
      .commandPool = vk->pool,
      .level = VK_COMMAND_BUFFER_LEVEL_PRIMARY,
      .commandBufferCount = 1};
  return vk->AllocateCommandBuffers(vk->device, &info, &vk->commands) ==
         VK_SUCCESS;
}

// ---- Buffers ----------------------------------------------------------------

// The first memory type with the needed and the wanted properties, or else
// with the needed ones; UINT32_MAX if there is none.
static uint32_t find_type(const cli_vulkan* vk, uint32_t allowed,
                          VkMemoryPropertyFlags needed,
                          VkMemoryPropertyFlags wanted) {
  const VkMemoryPropertyFlags tries[] = {needed | wanted, needed};
  for (size_t t = 0; t < 2; ++t) {
    for (uint32_t i = 0; i < vk->memory.memoryTypeCount; ++i) {
      VkMemoryPropertyFlags has = vk->memory.memoryTypes[i].propertyFlags;
      if (allowed & 1u << i && (has & tries[t]) == tries[t]) return i;
    }
  }
  return UINT32_MAX;
}

static void free_buffer(const cli_vulkan* vk, hand_buffer* buffer) {
  if (buffer->handle) vk->DestroyBuffer(vk->device, buffer->handle, NULL);
  if (buffer->memory) vk->FreeMemory(vk->device, buffer->memory, NULL);
  *buffer = (hand_buffer){0};
}

static bool make_buffer(const cli_vulkan* vk, uint64_t bytes,
                        VkMemoryPropertyFlags needed,
                        VkMemoryPropertyFlags wanted, hand_buffer* out) {
  const VkBufferCreateInfo info = {
      .sType = VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO,
      .size = bytes,
      .usage = VK_BUFFER_USAGE_TRANSFER_SRC_BIT |
               VK_BUFFER_USAGE_TRANSFER_DST_BIT |
               VK_BUFFER_USAGE_STORAGE_BUFFER_BIT |
               VK_BUFFER_USAGE_UNIFORM_BUFFER_BIT};
  *out = (hand_buffer){0};
  if (vk->CreateBuffer(vk->device, &info, NULL, &out->handle) < VK_SUCCESS) {
    return false;
  }
  VkMemoryRequirements requirements;
  vk->GetBufferMemoryRequirements(vk->device, out->handle, &requirements);
  const VkMemoryAllocateInfo allocation = {
      .sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO,
      .allocationSize = requirements.size,
      .memoryTypeIndex =
          find_type(vk, requirements.memoryTypeBits, needed, wanted)};
  if (allocation.memoryTypeIndex == UINT32_MAX ||
      vk->AllocateMemory(vk->device, &allocation, NULL, &out->memory) <
          VK_SUCCESS ||
      vk->BindBufferMemory(vk->device, out->handle, out->memory, 0) <
          VK_SUCCESS) {
    return false;
  }
  if (!(needed & VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT)) return true;
  return vk->MapMemory(vk->device, out->memory, 0, VK_WHOLE_SIZE, 0,
                       &out->pointer) == VK_SUCCESS;
}

static const VkMemoryPropertyFlags mapped =
    VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT;

// ---- Batches ----------------------------------------------------------------

// Everything recorded behind it sees what was written before.
static void record_barrier(const cli_vulkan* vk) {
  const VkMemoryBarrier barrier = {
      .sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER,
      .srcAccessMask = VK_ACCESS_MEMORY_WRITE_BIT,
      .dstAccessMask = VK_ACCESS_MEMORY_READ_BIT | VK_ACCESS_MEMORY_WRITE_BIT};
  vk->CmdPipelineBarrier(vk->commands, VK_PIPELINE_STAGE_ALL_COMMANDS_BIT,
                         VK_PIPELINE_STAGE_ALL_COMMANDS_BIT, 0, 1, &barrier, 0,
                         NULL, 0, NULL);
}

static bool begin_batch(const cli_vulkan* vk) {
  const VkCommandBufferBeginInfo begin = {
      .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO,
      .flags = VK_COMMAND_BUFFER_USAGE_ONE_TIME_SUBMIT_BIT};
  return vk->ResetCommandPool(vk->device, vk->pool, 0) == VK_SUCCESS &&
         vk->BeginCommandBuffer(vk->commands, &begin) == VK_SUCCESS;
}

static bool submit_batch(const cli_vulkan* vk) {
  const VkSubmitInfo submit = {.sType = VK_STRUCTURE_TYPE_SUBMIT_INFO,
                               .commandBufferCount = 1,
                               .pCommandBuffers = &vk->commands};
  return vk->EndCommandBuffer(vk->commands) == VK_SUCCESS &&
         vk->QueueSubmit(vk->queue, 1, &submit, vk->fence) == VK_SUCCESS;
}

bool cli_vulkan_wait(cli_vulkan* vk) {
  return vk->WaitForFences(vk->device, 1, &vk->fence, VK_TRUE, UINT64_MAX) ==
             VK_SUCCESS &&
         vk->ResetFences(vk->device, 1, &vk->fence) == VK_SUCCESS;
}

// ---- Transfers --------------------------------------------------------------

bool cli_vulkan_reserve(cli_vulkan* vk, uint64_t bytes) {
  free_buffer(vk, &vk->target);
  free_buffer(vk, &vk->upload);
  free_buffer(vk, &vk->readback);
  return make_buffer(vk, bytes, 0, VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT,
                     &vk->target) &&
         make_buffer(vk, bytes, mapped, 0, &vk->upload) &&
         make_buffer(vk, bytes, mapped, VK_MEMORY_PROPERTY_HOST_CACHED_BIT,
                     &vk->readback);
}

static bool copy(cli_vulkan* vk, const hand_buffer* from, const hand_buffer* to,
                 uint64_t bytes) {
  const VkBufferCopy region = {.size = bytes};
  if (!begin_batch(vk)) return false;
  record_barrier(vk);
  vk->CmdCopyBuffer(vk->commands, from->handle, to->handle, 1, &region);
  record_barrier(vk);
  return submit_batch(vk) && cli_vulkan_wait(vk);
}

bool cli_vulkan_upload(cli_vulkan* vk, const void* data, uint64_t bytes) {
  memcpy(vk->upload.pointer, data, bytes);
  return copy(vk, &vk->upload, &vk->target, bytes);
}

bool cli_vulkan_download(cli_vulkan* vk, void* data, uint64_t bytes) {
  if (!copy(vk, &vk->target, &vk->readback, bytes)) return false;
  memcpy(data, vk->readback.pointer, bytes);
  return true;
}

// ---- Dispatches -------------------------------------------------------------

static bool make_layouts(cli_vulkan* vk) {
  const VkDescriptorSetLayoutBinding bindings[] = {
      {.binding = 0,
       .descriptorType = VK_DESCRIPTOR_TYPE_STORAGE_BUFFER,
       .descriptorCount = 1,
       .stageFlags = VK_SHADER_STAGE_COMPUTE_BIT},
      {.binding = 1,
       .descriptorType = VK_DESCRIPTOR_TYPE_UNIFORM_BUFFER_DYNAMIC,
       .descriptorCount = 1,
       .stageFlags = VK_SHADER_STAGE_COMPUTE_BIT}};
  const VkDescriptorSetLayoutCreateInfo set = {
      .sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_LAYOUT_CREATE_INFO,
      .bindingCount = 2,
      .pBindings = bindings};
  if (vk->CreateDescriptorSetLayout(vk->device, &set, NULL, &vk->set_layout) <
      VK_SUCCESS) {
    return false;
  }
  const VkPipelineLayoutCreateInfo layout = {
      .sType = VK_STRUCTURE_TYPE_PIPELINE_LAYOUT_CREATE_INFO,
      .setLayoutCount = 1,
      .pSetLayouts = &vk->set_layout};
  return vk->CreatePipelineLayout(vk->device, &layout, NULL, &vk->layout) ==
         VK_SUCCESS;
}

static bool make_pipeline(cli_vulkan* vk) {
  const VkShaderModuleCreateInfo shader = {
      .sType = VK_STRUCTURE_TYPE_SHADER_MODULE_CREATE_INFO,
      .codeSize = sizeof bench_work_spv,
      .pCode = bench_work_spv};
  VkShaderModule module;
  if (vk->CreateShaderModule(vk->device, &shader, NULL, &module) < VK_SUCCESS) {
    return false;
  }
  const VkComputePipelineCreateInfo info = {
      .sType = VK_STRUCTURE_TYPE_COMPUTE_PIPELINE_CREATE_INFO,
      .stage = {.sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_CREATE_INFO,
                .stage = VK_SHADER_STAGE_COMPUTE_BIT,
                .module = module,
                .pName = "main"},
      .layout = vk->layout};
  VkResult result = vk->CreateComputePipelines(vk->device, VK_NULL_HANDLE, 1,
                                               &info, NULL, &vk->pipeline);
  vk->DestroyShaderModule(vk->device, module, NULL);
  return result == VK_SUCCESS;
}

static bool make_set(cli_vulkan* vk) {
  const VkDescriptorPoolSize sizes[] = {
      {VK_DESCRIPTOR_TYPE_STORAGE_BUFFER, 1},
      {VK_DESCRIPTOR_TYPE_UNIFORM_BUFFER_DYNAMIC, 1}};
  const VkDescriptorPoolCreateInfo pool = {
      .sType = VK_STRUCTURE_TYPE_DESCRIPTOR_POOL_CREATE_INFO,
      .maxSets = 1,
      .poolSizeCount = 2,
      .pPoolSizes = sizes};
  if (vk->CreateDescriptorPool(vk->device, &pool, NULL, &vk->sets) <
      VK_SUCCESS) {
    return false;
  }
  const VkDescriptorSetAllocateInfo info = {
      .sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_ALLOCATE_INFO,
      .descriptorPool = vk->sets,
      .descriptorSetCount = 1,
      .pSetLayouts = &vk->set_layout};
  if (vk->AllocateDescriptorSets(vk->device, &info, &vk->set) < VK_SUCCESS) {
    return false;
  }
  const VkDescriptorBufferInfo buffers[] = {{vk->words.handle, 0, WORD_BYTES},
                                            {vk->parameters.handle, 0, 8}};
  const VkWriteDescriptorSet writes[] = {
      {.sType = VK_STRUCTURE_TYPE_WRITE_DESCRIPTOR_SET,
       .dstSet = vk->set,
       .dstBinding = 0,
       .descriptorCount = 1,
       .descriptorType = VK_DESCRIPTOR_TYPE_STORAGE_BUFFER,
       .pBufferInfo = &buffers[0]},
      {.sType = VK_STRUCTURE_TYPE_WRITE_DESCRIPTOR_SET,
       .dstSet = vk->set,
       .dstBinding = 1,
       .descriptorCount = 1,
       .descriptorType = VK_DESCRIPTOR_TYPE_UNIFORM_BUFFER_DYNAMIC,
       .pBufferInfo = &buffers[1]}};
  vk->UpdateDescriptorSets(vk->device, 2, writes, 0, NULL);
  return true;
}

static bool make_dispatches(cli_vulkan* vk) {
  return make_buffer(vk, WORD_BYTES, 0, VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT,
                     &vk->words) &&
         make_buffer(vk, (uint64_t)MOST_DISPATCHES * vk->parameter_stride,
                     mapped, 0, &vk->parameters) &&
         make_layouts(vk) && make_pipeline(vk) && make_set(vk);
}

bool cli_vulkan_dispatch(cli_vulkan* vk, uint32_t count) {
  if (!begin_batch(vk)) return false;
  vk->CmdBindPipeline(vk->commands, VK_PIPELINE_BIND_POINT_COMPUTE,
                      vk->pipeline);
  for (uint32_t i = 0; i < count; ++i) {
    uint32_t values[2] = {3, i};
    uint32_t offset = i * vk->parameter_stride;
    memcpy((char*)vk->parameters.pointer + offset, values, sizeof values);
    record_barrier(vk);
    vk->CmdBindDescriptorSets(vk->commands, VK_PIPELINE_BIND_POINT_COMPUTE,
                              vk->layout, 0, 1, &vk->set, 1, &offset);
    vk->CmdDispatch(vk->commands, 1, 1, 1);
  }
  return submit_batch(vk);
}

const uint32_t* cli_vulkan_work_spirv(size_t* out_bytes) {
  *out_bytes = sizeof bench_work_spv;
  return bench_work_spv;
}

// ---- Life -------------------------------------------------------------------

static void close_device(cli_vulkan* vk) {
  hand_buffer* buffers[] = {&vk->target, &vk->upload, &vk->readback, &vk->words,
                            &vk->parameters};
  for (size_t i = 0; i < sizeof buffers / sizeof *buffers; ++i) {
    free_buffer(vk, buffers[i]);
  }
  vk->DestroyDescriptorPool(vk->device, vk->sets, NULL);
  vk->DestroyPipeline(vk->device, vk->pipeline, NULL);
  vk->DestroyPipelineLayout(vk->device, vk->layout, NULL);
  vk->DestroyDescriptorSetLayout(vk->device, vk->set_layout, NULL);
  vk->DestroyFence(vk->device, vk->fence, NULL);
  vk->DestroyCommandPool(vk->device, vk->pool, NULL);
  vk->DestroyDevice(vk->device, NULL);
}

void cli_vulkan_close(cli_vulkan* vk) {
  if (!vk) return;
  if (vk->queue) close_device(vk);
  if (vk->instance && vk->DestroyInstance) {
    vk->DestroyInstance(vk->instance, NULL);
  }
  if (vk->library) dlclose(vk->library);
  free(vk);
}

cli_vulkan* cli_vulkan_open(const cli_bench* bench) {
  if (strcmp(bench->backend, "vulkan") != 0) return NULL;
  cli_vulkan* vk = calloc(1, sizeof *vk);
  if (!vk) return NULL;
  if (load_library(vk) && make_instance(vk) &&
      find_gpu(vk, bench->description.name) && make_device(vk) &&
      make_commands(vk) && make_dispatches(vk)) {
    return vk;
  }
  cli_vulkan_close(vk);
  return NULL;
}

#else  // CLI_HAS_VULKAN

// Nothing is ever opened, so nothing else is called.
cli_vulkan* cli_vulkan_open(const cli_bench* bench) {
  (void)bench;
  return NULL;
}

void cli_vulkan_close(cli_vulkan* vk) { (void)vk; }

bool cli_vulkan_reserve(cli_vulkan* vk, uint64_t bytes) {
  (void)vk;
  (void)bytes;
  return false;
}

bool cli_vulkan_upload(cli_vulkan* vk, const void* data, uint64_t bytes) {
  (void)vk;
  (void)data;
  (void)bytes;
  return false;
}

bool cli_vulkan_download(cli_vulkan* vk, void* data, uint64_t bytes) {
  (void)vk;
  (void)data;
  (void)bytes;
  return false;
}

bool cli_vulkan_dispatch(cli_vulkan* vk, uint32_t count) {
  (void)vk;
  (void)count;
  return false;
}

bool cli_vulkan_wait(cli_vulkan* vk) {
  (void)vk;
  return false;
}

const uint32_t* cli_vulkan_work_spirv(size_t* out_bytes) {
  *out_bytes = 0;
  return NULL;
}

#endif  // CLI_HAS_VULKAN
