// SPDX-License-Identifier: Apache-2.0
//
// tegula next to a program's own Vulkan: a device that it adopts and leaves as
// it was, the objects it gives out, and semaphores both ways. The program's
// functions can be replaced, so that its device lacks what real ones may lack.
#include <stdio.h>
#include <string.h>

#include "backend/vulkan/vulkan_backend.h"
#include "backend/vulkan/vulkan_register.h"
#include "core/objects.h"
#include "support/device_fixture.h"
#include "tegula/tegula.h"
#include "tegula/vulkan.h"

// ---- A program with a device of its own.

typedef struct program {
  tegi_host host;
  tegi_vk_instance instance;
  tegi_vk_facts facts;
  VkDevice device;
  tegi_vk_device_table vk;
  VkQueue queue;
  teg_vulkan_adopt_params adopt;
  uint32_t complaint_count;  // of the driver or a layer
  char complaint[512];
  int lock_count;  // 1 = held
  uint32_t locked_count;
  teg_error err;
} program;

#define ALL_SPARSE                                                  \
  (TEG_VULKAN_SPARSE_BINDING | TEG_VULKAN_SPARSE_RESIDENCY_BUFFER | \
   TEG_VULKAN_SPARSE_RESIDENCY_ALIASED)

static void complain(void* user, teg_log_level level, const char* line) {
  program* p = user;
  (void)level;
  if (p->complaint_count++) return;
  snprintf(p->complaint, sizeof p->complaint, "%s", line);
}

static void take_lock(void* user) {
  program* p = user;
  assert_int_equal(p->lock_count, 0);
  p->lock_count++;
  p->locked_count++;
}

static void drop_lock(void* user) {
  program* p = user;
  assert_int_equal(p->lock_count, 1);
  p->lock_count--;
}

static void* as_symbol(PFN_vkGetInstanceProcAddr get) {
  void* symbol;
  memcpy(&symbol, &get, sizeof symbol);
  return symbol;
}

static void create_device(program* p) {
  const float priority = 1.0f;
  const VkDeviceQueueCreateInfo queue = {
      .sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO,
      .queueFamilyIndex = p->facts.queue_family,
      .queueCount = 1,
      .pQueuePriorities = &priority,
  };
  VkPhysicalDeviceVulkan12Features vulkan12 = {
      .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES,
      .timelineSemaphore = VK_TRUE,
      .bufferDeviceAddress = p->facts.has_address,
  };
  const VkPhysicalDeviceFeatures2 features = {
      .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2,
      .pNext = &vulkan12,
      .features = {.sparseBinding = p->facts.has_sparse,
                   .sparseResidencyBuffer = p->facts.has_sparse,
                   .sparseResidencyAliased = p->facts.has_sparse},
  };
  static const char* const extensions[] = {VK_EXT_MEMORY_BUDGET_EXTENSION_NAME};
  const VkDeviceCreateInfo info = {
      .sType = VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO,
      .pNext = &features,
      .queueCreateInfoCount = 1,
      .pQueueCreateInfos = &queue,
      .enabledExtensionCount = p->facts.has_budget ? 1 : 0,
      .ppEnabledExtensionNames = extensions,
  };
  assert_int_equal(
      p->instance.vk.CreateDevice(p->facts.gpu, &info, NULL, &p->device),
      VK_SUCCESS);
  assert_int_equal(
      tegi_vk_load_device(&p->instance.vk, p->device, &p->vk, &p->err), TEG_OK);
  p->vk.GetDeviceQueue(p->device, p->facts.queue_family, 0, &p->queue);
}

// False where there is no device.
static bool program_open(program* p) {
  *p = (program){.lock_count = 0};
  uint32_t count;
  if (tegi_vk_backend.probe(&count, NULL) != TEG_OK) return false;
  assert_int_equal(tegi_host_init(&p->host, NULL, NULL), TEG_OK);
  const teg_log log = {complain, p, TEG_LOG_WARNING};
  assert_int_equal(
      tegi_vk_instance_create(&p->instance, &p->host, log, &p->err), TEG_OK);
  VkPhysicalDevice gpus[TEGI_VK_MAX_GPUS];
  assert_int_equal(tegi_vk_instance_gpus(&p->instance, gpus, &count, &p->err),
                   TEG_OK);
  assert_int_equal(
      tegi_vk_facts_read(&p->instance, &p->host, gpus[0], &p->facts, &p->err),
      TEG_OK);
  create_device(p);
  p->adopt = (teg_vulkan_adopt_params)TEG_VULKAN_ADOPT_PARAMS_INIT;
  p->adopt.features = TEG_VULKAN_TIMELINE_SEMAPHORE;
  if (p->facts.has_sparse) p->adopt.features |= ALL_SPARSE;
  if (p->facts.has_address) {
    p->adopt.features |= TEG_VULKAN_BUFFER_DEVICE_ADDRESS;
  }
  if (p->facts.has_budget) p->adopt.features |= TEG_VULKAN_MEMORY_BUDGET;
  p->adopt.instance = p->instance.handle;
  p->adopt.physical_device = p->facts.gpu;
  p->adopt.device = p->device;
  p->adopt.queue = p->queue;
  p->adopt.queue_family = p->facts.queue_family;
  p->adopt.get_instance_proc_addr =
      as_symbol(p->instance.loader.GetInstanceProcAddr);
  p->adopt.lock = take_lock;
  p->adopt.unlock = drop_lock;
  p->adopt.user = p;
  return true;
}

// Everything the program has made still works, and is its own to destroy.
static void program_close(program* p) {
  assert_int_equal(p->lock_count, 0);
  assert_int_equal(p->vk.DeviceWaitIdle(p->device), VK_SUCCESS);
  p->vk.DestroyDevice(p->device, NULL);
  tegi_vk_instance_destroy(&p->instance);
  if (p->complaint_count) fail_msg("%s", p->complaint);
}

#define NEEDS_PROGRAM(p) \
  (void)state;           \
  static program p;      \
  if (!program_open(&p)) skip()

static VkSemaphore create_timeline(program* p) {
  const VkSemaphoreTypeCreateInfo type = {
      .sType = VK_STRUCTURE_TYPE_SEMAPHORE_TYPE_CREATE_INFO,
      .semaphoreType = VK_SEMAPHORE_TYPE_TIMELINE,
  };
  const VkSemaphoreCreateInfo info = {
      .sType = VK_STRUCTURE_TYPE_SEMAPHORE_CREATE_INFO, .pNext = &type};
  VkSemaphore semaphore;
  assert_int_equal(p->vk.CreateSemaphore(p->device, &info, NULL, &semaphore),
                   VK_SUCCESS);
  return semaphore;
}

// An empty submit between two values of timelines; VK_NULL_HANDLE = none.
static void submit_between(program* p, VkSemaphore wait, uint64_t wait_value,
                           VkSemaphore signal, uint64_t signal_value) {
  const VkPipelineStageFlags stage = VK_PIPELINE_STAGE_ALL_COMMANDS_BIT;
  const VkTimelineSemaphoreSubmitInfo values = {
      .sType = VK_STRUCTURE_TYPE_TIMELINE_SEMAPHORE_SUBMIT_INFO,
      .waitSemaphoreValueCount = wait ? 1 : 0,
      .pWaitSemaphoreValues = &wait_value,
      .signalSemaphoreValueCount = 1,
      .pSignalSemaphoreValues = &signal_value,
  };
  const VkSubmitInfo info = {
      .sType = VK_STRUCTURE_TYPE_SUBMIT_INFO,
      .pNext = &values,
      .waitSemaphoreCount = wait ? 1 : 0,
      .pWaitSemaphores = &wait,
      .pWaitDstStageMask = &stage,
      .signalSemaphoreCount = 1,
      .pSignalSemaphores = &signal,
  };
  take_lock(p);
  assert_int_equal(p->vk.QueueSubmit(p->queue, 1, &info, VK_NULL_HANDLE),
                   VK_SUCCESS);
  drop_lock(p);
}

#define OK(p, call)                                            \
  do {                                                         \
    teg_result got_ = (call);                                  \
    if (got_ != TEG_OK) print_error("%s\n", (p)->err.message); \
    assert_string_equal(teg_result_name(got_), "ok");          \
  } while (0)

// ---- Adopted.

// A run of remapping and commands over the tables.
static void use_tables(program* p, const teg_vulkan_adopt_params* adopt) {
  static const device_config config = {"adopted", "vulkan", 65536, false,
                                       false};
  device_fixture fx = {.config = &config};
  teg_backend_open_params params = device_fixture_params(&fx);
  params.adopt = adopt;
  device_fixture_open(&fx, &config, &params);
  assert_true(!fx.tables.remap ==
              !(adopt->features & TEG_VULKAN_SPARSE_BINDING));
  const uint64_t tile = fx.caps.tile_bytes;
  teg_memory* heap = fixture_heap(&fx, 4 * tile);
  teg_queue_stream* stream = fixture_stream(&fx);
  teg_memory* target = heap;
  if (fx.tables.remap) {
    target = fixture_range(&fx, 4 * tile);
    fixture_map(&fx, target, 0, heap, 2, 2);
  }
  const teg_span span = {target, tile - 8, 16, 1};
  EXPECT_OK(&fx, fx.tables.queue->record_fill(stream, &span, 7, &fx.err));
  EXPECT_OK(&fx, fx.tables.queue->submit(stream, 1, &fx.err));
  EXPECT_OK(&fx, fx.tables.queue->wait(stream, 1, &fx.err));
  uint8_t word[4];
  fixture_peek(&fx, target, tile, 4, word);
  assert_int_equal(word[0], 7);
  if (fx.tables.remap) {
    fixture_peek(&fx, heap, 3 * tile, 4, word);
    assert_int_equal(word[0], 7);
    fixture_unmap(&fx, target, 0, 2);
    fx.tables.remap->range_release(fx.device, target);
  }
  fixture_stream_destroy(&fx, stream);
  fixture_destroy(&fx, heap);
  assert_true(fx.tables.device->query_available(fx.device) > 0);
  device_fixture_close(&fx);
  assert_int_equal(p->lock_count, 0);
}

static void adopted_device_is_used_and_left(void** state) {
  NEEDS_PROGRAM(p);
  uint32_t before = p.locked_count;
  use_tables(&p, &p.adopt);
  assert_true(p.locked_count >= before + 3);
  // Once more, without a lock, and through the machine's loader.
  p.adopt.lock = NULL;
  p.adopt.unlock = NULL;
  p.adopt.get_instance_proc_addr = NULL;
  before = p.locked_count;
  use_tables(&p, &p.adopt);
  assert_int_equal(p.locked_count, before);
  program_close(&p);
}

static void without_sparse_features_buffers_lie_in_heaps(void** state) {
  NEEDS_PROGRAM(p);
  p.adopt.features &= ~(uint32_t)TEG_VULKAN_SPARSE_RESIDENCY_ALIASED;
  p.adopt.features &= ~(uint32_t)TEG_VULKAN_SPARSE_BINDING;
  use_tables(&p, &p.adopt);
  teg_device* device;
  OK(&p, teg_device_adopt_vulkan(NULL, &p.adopt, &device, &p.err));
  teg_backend_caps caps;
  teg_device_get_caps(device, &caps);
  assert_int_equal(caps.remap, TEG_REMAP_NONE);
  teg_vulkan_device_info info = TEG_VULKAN_DEVICE_INFO_INIT;
  OK(&p, teg_vulkan_device_handles(device, &info, &p.err));
  assert_null(info.bind_queue);
  teg_device_destroy(device);
  program_close(&p);
}

// The functions of the program say that one family computes and another one
// binds. Both queues are the same one; tegula cannot know.
static PFN_vkGetInstanceProcAddr real_get;
static VkQueueFlags family_flags[2];

static VKAPI_ATTR void VKAPI_CALL two_families(VkPhysicalDevice gpu,
                                               uint32_t* count,
                                               VkQueueFamilyProperties* list) {
  (void)gpu;
  *count = 2;
  for (int i = 0; i < 2; i++) {
    list[i] = (VkQueueFamilyProperties){.queueFlags = family_flags[i],
                                        .queueCount = 1};
  }
}

static VKAPI_ATTR PFN_vkVoidFunction VKAPI_CALL
get_with_two_families(VkInstance instance, const char* name) {
  if (strcmp(name, "vkGetPhysicalDeviceQueueFamilyProperties") == 0) {
    return (PFN_vkVoidFunction)two_families;
  }
  return real_get(instance, name);
}

static VKAPI_ATTR PFN_vkVoidFunction VKAPI_CALL
get_without_features(VkInstance instance, const char* name) {
  if (strcmp(name, "vkGetPhysicalDeviceFeatures2") == 0) return NULL;
  return real_get(instance, name);
}

static void bind_queue_of_another_family_is_used(void** state) {
  NEEDS_PROGRAM(p);
  if (!p.facts.has_sparse) {
    program_close(&p);
    skip();
  }
  real_get = p.instance.loader.GetInstanceProcAddr;
  p.adopt.get_instance_proc_addr = as_symbol(get_with_two_families);
  family_flags[0] = VK_QUEUE_COMPUTE_BIT | VK_QUEUE_TRANSFER_BIT;
  family_flags[1] = VK_QUEUE_SPARSE_BINDING_BIT;
  p.adopt.bind_queue = p.queue;
  p.adopt.bind_queue_family = 1;
  use_tables(&p, &p.adopt);
  teg_device* device;
  OK(&p, teg_device_adopt_vulkan(NULL, &p.adopt, &device, &p.err));
  teg_vulkan_device_info info = TEG_VULKAN_DEVICE_INFO_INIT;
  OK(&p, teg_vulkan_device_handles(device, &info, &p.err));
  assert_int_equal(info.queue_family, 0);
  assert_int_equal(info.bind_queue_family, 1);
  teg_device_destroy(device);
  // Without it nothing binds, and that is no error.
  p.adopt.bind_queue = NULL;
  OK(&p, teg_device_adopt_vulkan(NULL, &p.adopt, &device, &p.err));
  teg_backend_caps caps;
  teg_device_get_caps(device, &caps);
  assert_int_equal(caps.remap, TEG_REMAP_NONE);
  teg_device_destroy(device);
  program_close(&p);
}

// ---- Refused.

static void expect_refusal(program* p, const teg_vulkan_adopt_params* adopt,
                           teg_result result, const char* part) {
  teg_device* device = (teg_device*)(void*)p;
  teg_result got = teg_device_adopt_vulkan(NULL, adopt, &device, &p->err);
  if (got != result || !strstr(p->err.message, part)) {
    fail_msg("%s instead of %s with \"%s\": %s", teg_result_name(got),
             teg_result_name(result), part, p->err.message);
  }
  assert_null(device);
  assert_int_equal(p->lock_count, 0);
}

static void missing_handles_are_named(void** state) {
  NEEDS_PROGRAM(p);
  expect_refusal(&p, NULL, TEG_INVALID, "no parameters");
  teg_vulkan_adopt_params wrong = p.adopt;
  wrong.struct_size--;
  expect_refusal(&p, &wrong, TEG_INVALID, "struct_size");
  wrong = p.adopt;
  wrong.instance = NULL;
  expect_refusal(&p, &wrong, TEG_INVALID, "instance is NULL");
  wrong = p.adopt;
  wrong.physical_device = NULL;
  expect_refusal(&p, &wrong, TEG_INVALID, "physical_device is NULL");
  wrong = p.adopt;
  wrong.device = NULL;
  expect_refusal(&p, &wrong, TEG_INVALID, "device is NULL");
  wrong = p.adopt;
  wrong.queue = NULL;
  expect_refusal(&p, &wrong, TEG_INVALID, "queue is NULL");
  wrong = p.adopt;
  wrong.unlock = NULL;
  expect_refusal(&p, &wrong, TEG_INVALID, "unlock");
  wrong = p.adopt;
  wrong.features |= 1u << 30;
  expect_refusal(&p, &wrong, TEG_INVALID, "unknown bits");
  program_close(&p);
}

static void missing_features_are_named(void** state) {
  NEEDS_PROGRAM(p);
  teg_vulkan_adopt_params wrong = p.adopt;
  wrong.features &= ~(uint32_t)TEG_VULKAN_TIMELINE_SEMAPHORE;
  expect_refusal(&p, &wrong, TEG_UNSUPPORTED, "timelineSemaphore");
  wrong = p.adopt;
  wrong.queue_family = 99;
  expect_refusal(&p, &wrong, TEG_INVALID, "queue_family is 99");
  real_get = p.instance.loader.GetInstanceProcAddr;
  wrong = p.adopt;
  wrong.get_instance_proc_addr = as_symbol(get_without_features);
  expect_refusal(&p, &wrong, TEG_UNAVAILABLE, "vkGetPhysicalDeviceFeatures2");
  wrong.get_instance_proc_addr = as_symbol(get_with_two_families);
  family_flags[0] = VK_QUEUE_TRANSFER_BIT;
  family_flags[1] = VK_QUEUE_COMPUTE_BIT;
  wrong.queue_family = 0;
  expect_refusal(&p, &wrong, TEG_INVALID, "do not compute");
  wrong.queue_family = 1;
  wrong.bind_queue = p.queue;
  wrong.bind_queue_family = 0;
  expect_refusal(&p, &wrong, TEG_INVALID, "do not bind");
  if (!p.facts.has_budget) {
    wrong = p.adopt;
    wrong.features |= TEG_VULKAN_MEMORY_BUDGET;
    expect_refusal(&p, &wrong, TEG_INVALID, "VK_EXT_memory_budget");
  }
  // Nothing of it has done the program's device any harm.
  use_tables(&p, &p.adopt);
  program_close(&p);
}

static void other_backends_adopt_nothing(void** state) {
  (void)state;
  teg_vulkan_adopt_params adopt = TEG_VULKAN_ADOPT_PARAMS_INIT;
  teg_device_params params = TEG_DEVICE_PARAMS_INIT;
  params.backend = "host";
  params.adopt = &adopt;
  teg_device* device;
  teg_error err;
  assert_int_equal(teg_device_create(&params, &device, &err), TEG_UNSUPPORTED);
  assert_non_null(strstr(err.message, "host"));
  assert_null(device);
}

// ---- Objects given out.

typedef struct session_of {
  teg_device* device;
  teg_session* session;
  teg_stream* stream;
} session_of;

// Without remapping: its order is the tables' to test.
static session_of open_session(program* p, const char* remap,
                               const char* check) {
  session_of s;
  teg_options* options;
  OK(p, teg_options_create(NULL, &options, &p->err));
  OK(p, teg_options_set(options, "remap", remap, &p->err));
  OK(p, teg_options_set(options, "check", check, &p->err));
  teg_device_params params = TEG_DEVICE_PARAMS_INIT;
  params.options = options;
  OK(p, teg_device_adopt_vulkan(&params, &p->adopt, &s.device, &p->err));
  teg_options_destroy(options);
  OK(p, teg_session_create(s.device, NULL, &s.session, &p->err));
  OK(p, teg_stream_create(s.session, &s.stream, &p->err));
  return s;
}

static teg_buffer* foreign_buffer(program* p, const session_of* s,
                                  uint64_t size) {
  teg_buffer_params params = TEG_BUFFER_PARAMS_INIT;
  params.size = size;
  params.flags = TEG_BUFFER_FOREIGN;
  params.stream = s->stream;
  teg_buffer* buffer;
  OK(p, teg_buffer_create(s->session, &params, &buffer, &p->err));
  return buffer;
}

static void handles_are_those_of_the_program(void** state) {
  NEEDS_PROGRAM(p);
  session_of s = open_session(&p, "off", "off");
  teg_vulkan_device_info info = TEG_VULKAN_DEVICE_INFO_INIT;
  OK(&p, teg_vulkan_device_handles(s.device, &info, &p.err));
  assert_ptr_equal(info.instance, p.instance.handle);
  assert_ptr_equal(info.physical_device, p.facts.gpu);
  assert_ptr_equal(info.device, p.device);
  assert_ptr_equal(info.queue, p.queue);
  assert_true(info.features & TEG_VULKAN_TIMELINE_SEMAPHORE);
  teg_buffer* buffer = foreign_buffer(&p, &s, 4096);
  teg_vulkan_buffer_info where = TEG_VULKAN_BUFFER_INFO_INIT;
  OK(&p, teg_vulkan_buffer(buffer, &where, &p.err));
  assert_true(where.buffer != 0);
  assert_true(!where.address == !p.facts.has_address);
  teg_buffer* other = foreign_buffer(&p, &s, 4096);
  teg_vulkan_buffer_info beside = TEG_VULKAN_BUFFER_INFO_INIT;
  OK(&p, teg_vulkan_buffer(other, &beside, &p.err));
  if (where.buffer == beside.buffer) {
    assert_int_equal(where.address - where.offset,
                     beside.address - beside.offset);
    assert_true(where.offset != beside.offset);
  }
  // One that tegula thinks it sees all use of is not given out.
  teg_buffer_params plain = TEG_BUFFER_PARAMS_INIT;
  plain.size = 64;
  teg_buffer* hidden;
  OK(&p, teg_buffer_create(s.session, &plain, &hidden, &p.err));
  assert_int_equal(teg_vulkan_buffer(hidden, &where, &p.err), TEG_INVALID);
  assert_non_null(strstr(p.err.message, "TEG_BUFFER_FOREIGN"));
  info.struct_size--;
  assert_int_equal(teg_vulkan_device_handles(s.device, &info, &p.err),
                   TEG_INVALID);
  assert_int_equal(teg_vulkan_device_handles(NULL, &info, &p.err), TEG_INVALID);
  assert_int_equal(teg_vulkan_buffer(NULL, &where, &p.err), TEG_INVALID);
  assert_int_equal(teg_vulkan_stream_wait(s.stream, 0, 1, &p.err), TEG_INVALID);
  teg_device_destroy(s.device);
  program_close(&p);
}

// Copies by the program's own command buffer, between two batches of tegula.
static void copy_between(program* p, const teg_vulkan_buffer_info* target,
                         const teg_vulkan_buffer_info* source, uint64_t size,
                         VkSemaphore after, uint64_t after_value,
                         VkSemaphore done, VkCommandPool* out_pool) {
  const VkCommandPoolCreateInfo pool = {
      .sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO,
      .queueFamilyIndex = p->facts.queue_family,
  };
  assert_int_equal(p->vk.CreateCommandPool(p->device, &pool, NULL, out_pool),
                   VK_SUCCESS);
  const VkCommandBufferAllocateInfo wanted = {
      .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO,
      .commandPool = *out_pool,
      .commandBufferCount = 1,
  };
  VkCommandBuffer commands;
  assert_int_equal(p->vk.AllocateCommandBuffers(p->device, &wanted, &commands),
                   VK_SUCCESS);
  const VkCommandBufferBeginInfo begin = {
      .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO};
  assert_int_equal(p->vk.BeginCommandBuffer(commands, &begin), VK_SUCCESS);
  const VkBufferCopy region = {source->offset, target->offset, size};
  p->vk.CmdCopyBuffer(commands, (VkBuffer)source->buffer,
                      (VkBuffer)target->buffer, 1, &region);
  assert_int_equal(p->vk.EndCommandBuffer(commands), VK_SUCCESS);
  const VkPipelineStageFlags stage = VK_PIPELINE_STAGE_ALL_COMMANDS_BIT;
  const uint64_t done_value = 1;
  const VkTimelineSemaphoreSubmitInfo values = {
      .sType = VK_STRUCTURE_TYPE_TIMELINE_SEMAPHORE_SUBMIT_INFO,
      .waitSemaphoreValueCount = 1,
      .pWaitSemaphoreValues = &after_value,
      .signalSemaphoreValueCount = 1,
      .pSignalSemaphoreValues = &done_value,
  };
  const VkSubmitInfo info = {
      .sType = VK_STRUCTURE_TYPE_SUBMIT_INFO,
      .pNext = &values,
      .waitSemaphoreCount = 1,
      .pWaitSemaphores = &after,
      .pWaitDstStageMask = &stage,
      .commandBufferCount = 1,
      .pCommandBuffers = &commands,
      .signalSemaphoreCount = 1,
      .pSignalSemaphores = &done,
  };
  take_lock(p);
  assert_int_equal(p->vk.QueueSubmit(p->queue, 1, &info, VK_NULL_HANDLE),
                   VK_SUCCESS);
  drop_lock(p);
}

// The state is whether the checker rides on the device.
static void program_works_between_two_batches(void** state) {
  const char* check = *state;
  NEEDS_PROGRAM(p);
  session_of s = open_session(&p, "off", check);
  teg_buffer* from = foreign_buffer(&p, &s, 4096);
  teg_buffer* to = foreign_buffer(&p, &s, 4096);
  teg_vulkan_buffer_info source = TEG_VULKAN_BUFFER_INFO_INIT;
  teg_vulkan_buffer_info target = TEG_VULKAN_BUFFER_INFO_INIT;
  OK(&p, teg_vulkan_buffer(from, &source, &p.err));
  OK(&p, teg_vulkan_buffer(to, &target, &p.err));
  teg_vulkan_stream_info stream = TEG_VULKAN_STREAM_INFO_INIT;
  OK(&p, teg_vulkan_stream_semaphore(s.stream, &stream, &p.err));
  VkSemaphore done = create_timeline(&p);

  OK(&p, teg_stream_fill(s.stream, from, 0, 4096, 0x12345678, &p.err));
  OK(&p, teg_stream_fill(s.stream, to, 0, 4096, 0, &p.err));
  uint64_t serial;
  OK(&p, teg_stream_submit(s.stream, &serial, &p.err));
  VkCommandPool pool;
  copy_between(&p, &target, &source, 4096, (VkSemaphore)stream.semaphore,
               serial, done, &pool);
  OK(&p, teg_vulkan_stream_wait(s.stream, (uint64_t)done, 1, &p.err));
  uint32_t words[1024] = {0};
  OK(&p, teg_stream_read(s.stream, to, 0, words, sizeof words, &p.err));
  for (int i = 0; i < 1024; i++) assert_int_equal(words[i], 0x12345678);
  assert_int_equal(p.vk.DeviceWaitIdle(p.device), VK_SUCCESS);
  p.vk.DestroyCommandPool(p.device, pool, NULL);
  p.vk.DestroySemaphore(p.device, done, NULL);
  teg_device_destroy(s.device);
  program_close(&p);
}

static void signal_value(program* p, VkSemaphore semaphore, uint64_t value) {
  PFN_vkSignalSemaphore signal =
      (PFN_vkSignalSemaphore)p->instance.vk.GetDeviceProcAddr(
          p->device, "vkSignalSemaphore");
  const VkSemaphoreSignalInfo info = {
      .sType = VK_STRUCTURE_TYPE_SEMAPHORE_SIGNAL_INFO,
      .semaphore = semaphore,
      .value = value,
  };
  assert_int_equal(signal(p->device, &info), VK_SUCCESS);
}

static uint64_t value_of(program* p, VkSemaphore semaphore) {
  uint64_t value = 0;
  assert_int_equal(p->vk.GetSemaphoreCounterValue(p->device, semaphore, &value),
                   VK_SUCCESS);
  return value;
}

// A batch does not begin before the program's semaphore is there, nor the
// program's work before the batch is complete.
static void semaphores_order_both_ways(void** state) {
  NEEDS_PROGRAM(p);
  session_of s = open_session(&p, "off", "off");
  teg_buffer* buffer = foreign_buffer(&p, &s, 4096);
  teg_vulkan_stream_info stream = TEG_VULKAN_STREAM_INFO_INIT;
  OK(&p, teg_vulkan_stream_semaphore(s.stream, &stream, &p.err));
  VkSemaphore gate = create_timeline(&p);
  VkSemaphore done = create_timeline(&p);
  OK(&p, teg_vulkan_stream_wait(s.stream, (uint64_t)gate, 4, &p.err));
  OK(&p, teg_vulkan_stream_wait(s.stream, (uint64_t)gate, 5, &p.err));
  OK(&p, teg_stream_fill(s.stream, buffer, 0, 4096, 3, &p.err));
  uint64_t serial;
  OK(&p, teg_stream_submit(s.stream, &serial, &p.err));
  submit_between(&p, (VkSemaphore)stream.semaphore, serial, done, 1);
  for (uint64_t value = 1; value <= 4; value += 3) {
    signal_value(&p, gate, value);
    tegi_thread_sleep_ns(20000000);
    assert_true(teg_stream_completed(s.stream) < serial);
    assert_int_equal(value_of(&p, done), 0);
  }
  signal_value(&p, gate, 5);
  OK(&p, teg_stream_wait(s.stream, serial, &p.err));
  assert_int_equal(p.vk.DeviceWaitIdle(p.device), VK_SUCCESS);
  assert_int_equal(value_of(&p, done), 1);
  teg_device_destroy(s.device);
  p.vk.DestroySemaphore(p.device, done, NULL);
  p.vk.DestroySemaphore(p.device, gate, NULL);
  program_close(&p);
}

static void told_devices_give_out_no_semaphores(void** state) {
  NEEDS_PROGRAM(p);
  teg_options* options;
  OK(&p, teg_options_create(NULL, &options, &p.err));
  OK(&p, teg_options_set(options, "completion", "told", &p.err));
  OK(&p, teg_options_set(options, "remap", "off", &p.err));
  teg_device_params params = TEG_DEVICE_PARAMS_INIT;
  params.options = options;
  teg_device* device;
  OK(&p, teg_device_adopt_vulkan(&params, &p.adopt, &device, &p.err));
  teg_options_destroy(options);
  teg_session* session;
  teg_stream* stream;
  OK(&p, teg_session_create(device, NULL, &session, &p.err));
  OK(&p, teg_stream_create(session, &stream, &p.err));
  teg_vulkan_stream_info info = TEG_VULKAN_STREAM_INFO_INIT;
  assert_int_equal(teg_vulkan_stream_semaphore(stream, &info, &p.err),
                   TEG_UNSUPPORTED);
  teg_device_destroy(device);
  program_close(&p);
}

static void other_devices_have_no_vulkan_objects(void** state) {
  (void)state;
  teg_device* device;
  teg_error err;
  assert_int_equal(teg_device_create(NULL, &device, &err), TEG_OK);
  teg_vulkan_device_info info = TEG_VULKAN_DEVICE_INFO_INIT;
  assert_int_equal(teg_vulkan_device_handles(device, &info, &err),
                   TEG_UNSUPPORTED);
  assert_non_null(strstr(err.message, "\"host\""));
  assert_non_null(strstr(err.message, "\"vulkan\""));
  teg_device_destroy(device);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(adopted_device_is_used_and_left),
      cmocka_unit_test(without_sparse_features_buffers_lie_in_heaps),
      cmocka_unit_test(bind_queue_of_another_family_is_used),
      cmocka_unit_test(missing_handles_are_named),
      cmocka_unit_test(missing_features_are_named),
      cmocka_unit_test(other_backends_adopt_nothing),
      cmocka_unit_test(handles_are_those_of_the_program),
      cmocka_unit_test_prestate(program_works_between_two_batches,
                                (void*)(uintptr_t) "off"),
      cmocka_unit_test_prestate(program_works_between_two_batches,
                                (void*)(uintptr_t) "on"),
      cmocka_unit_test(semaphores_order_both_ways),
      cmocka_unit_test(told_devices_give_out_no_semaphores),
      cmocka_unit_test(other_devices_have_no_vulkan_objects),
  };
  return cmocka_run_group_tests_name("vulkan_native", tests, NULL, NULL);
}
