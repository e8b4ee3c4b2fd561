// SPDX-License-Identifier: Apache-2.0
//
// What the conformance suite cannot ask of the Vulkan device: machines without
// a loader, driver or memory, a device that is lost, and the driver's own
// mappings. Faults are planted in the device's table of functions.
#include <stdlib.h>
#include <string.h>

#include "backend/vulkan/vulkan_backend.h"
#include "backend/vulkan/vulkan_register.h"
#include "core/objects.h"
#include "support/device_fixture.h"
#include "tegula/tegula.h"

static const device_config small_tiles = {"vulkan", "vulkan", 65536, false,
                                          false};
static const device_config told = {"vulkan", "vulkan", 65536, true, false};

static bool is_there(void) {
  uint32_t count;
  return tegi_vk_backend.probe(&count, NULL) == TEG_OK;
}

#define NEEDS_DEVICE() \
  (void)state;         \
  if (!is_there()) skip()

static tegi_vk_device* native(device_fixture* fx) {
  return tegi_vk_device_from(fx->device);
}

// ---- Machines that lack something.

static void loader_that_is_not_there_is_named(void** state) {
  (void)state;
  static const char* const names[] = {"libtegula-no-vulkan.so", NULL};
  tegi_vk_loader loader;
  teg_error err;
  assert_int_equal(tegi_vk_loader_open(&loader, names, &err), TEG_UNAVAILABLE);
  assert_non_null(strstr(err.message, names[0]));
  assert_null(loader.library);
  tegi_vk_loader_close(&loader);
}

static void library_that_is_no_loader_is_refused(void** state) {
  (void)state;
  static const char* const names[] = {"libm.so.6", NULL};
  tegi_vk_loader loader;
  teg_error err;
  assert_int_equal(tegi_vk_loader_open(&loader, names, &err), TEG_UNAVAILABLE);
  assert_non_null(strstr(err.message, "vkGetInstanceProcAddr"));
  assert_null(loader.library);
}

static void second_name_is_tried(void** state) {
  NEEDS_DEVICE();
  static const char* const names[] = {"libtegula-no-vulkan.so",
                                      "libvulkan.so.1", NULL};
  tegi_vk_loader loader;
  assert_int_equal(tegi_vk_loader_open(&loader, names, NULL), TEG_OK);
  assert_non_null(loader.CreateInstance);
  tegi_vk_loader_close(&loader);
}

static void machine_without_drivers_is_unavailable(void** state) {
  NEEDS_DEVICE();
  // Both names that loaders have had for it.
  setenv("VK_DRIVER_FILES", "/nowhere/none.json", 1);
  setenv("VK_ICD_FILENAMES", "/nowhere/none.json", 1);
  uint32_t count = 7;
  teg_error err;
  assert_int_equal(tegi_vk_backend.probe(&count, &err), TEG_UNAVAILABLE);
  assert_int_equal(count, 0);
  assert_true(strlen(err.message) > 10);
  teg_device_description description = {.struct_size = sizeof description};
  assert_int_equal(tegi_vk_backend.describe(0, &description, &err),
                   TEG_UNAVAILABLE);
  device_fixture fx = {.config = &small_tiles};
  teg_backend_open_params params = device_fixture_params(&fx);
  assert_int_equal(tegi_vk_backend.open(&params, &fx.device, &err),
                   TEG_UNAVAILABLE);
  assert_null(fx.device);
  assert_int_equal(tegi_load_relaxed(&fx.allocator.live_count), 0);
  // The library is still usable.
  teg_device* device;
  assert_int_equal(teg_device_create(NULL, &device, &err), TEG_OK);
  teg_device_destroy(device);
  unsetenv("VK_DRIVER_FILES");
  unsetenv("VK_ICD_FILENAMES");
}

static void devices_are_described(void** state) {
  NEEDS_DEVICE();
  uint32_t count;
  assert_int_equal(tegi_vk_backend.probe(&count, NULL), TEG_OK);
  teg_device_description description;
  for (uint32_t i = 0; i < count; i++) {
    assert_int_equal(tegi_vk_backend.describe(i, &description, NULL), TEG_OK);
    assert_true(strlen(description.name) > 0);
    assert_true(strlen(description.driver) > 0);
    assert_non_null(strstr(description.version, ", Vulkan 1."));
    assert_true(description.heap_count > 0);
    for (uint32_t h = 0; h < description.heap_count; h++) {
      const teg_device_heap* heap = &description.heaps[h];
      assert_true(heap->bytes > 0);
      assert_true(heap->available_bytes == UINT64_MAX ||
                  heap->available_bytes <= heap->bytes);
    }
    assert_true(description.max_binding_bytes >= UINT64_C(1) << 27);
  }
  teg_error err;
  assert_int_equal(tegi_vk_backend.describe(count, &description, &err),
                   TEG_INVALID);
}

static void queue_families_are_chosen(void** state) {
  (void)state;
  enum {
    G = VK_QUEUE_GRAPHICS_BIT | VK_QUEUE_COMPUTE_BIT,
    C = VK_QUEUE_COMPUTE_BIT,
    T = VK_QUEUE_TRANSFER_BIT,
    B = VK_QUEUE_SPARSE_BINDING_BIT,
  };
  const uint32_t none = UINT32_MAX;
  const struct {
    VkQueueFlags flags[4];
    uint32_t count, queue, bind;
  } cases[] = {
      {{G | B, T | B, C | B}, 3, 0, 0},  // as on most GPUs
      {{G | T, C | B, T | B}, 3, 1, 1},  // both at once is better
      {{G | T, T | B}, 2, 0, 1},         // two queues
      {{T | B, B, C, G}, 4, 2, 0},       // the first of each
      {{G | T}, 1, 0, none},             // nothing binds
      {{T | B}, 1, none, 0},             // nothing computes
      {{0}, 0, none, none},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    VkQueueFamilyProperties families[4];
    for (uint32_t f = 0; f < 4; f++) {
      families[f] = (VkQueueFamilyProperties){.queueFlags = cases[i].flags[f],
                                              .queueCount = 1};
    }
    uint32_t queue, bind;
    tegi_vk_choose_families(families, cases[i].count, &queue, &bind);
    assert_int_equal(queue, cases[i].queue);
    assert_int_equal(bind, cases[i].bind);
  }
  // A family without queues is none.
  VkQueueFamilyProperties empty = {.queueFlags = C | B};
  uint32_t queue, bind;
  tegi_vk_choose_families(&empty, 1, &queue, &bind);
  assert_true(queue == none && bind == none);
}

static VKAPI_ATTR void VKAPI_CALL transfer_only(VkPhysicalDevice gpu,
                                                uint32_t* count,
                                                VkQueueFamilyProperties* list) {
  (void)gpu;
  *count = 1;
  list[0] = (VkQueueFamilyProperties){.queueFlags = VK_QUEUE_TRANSFER_BIT,
                                      .queueCount = 1};
}

static VKAPI_ATTR void VKAPI_CALL
no_features(VkPhysicalDevice gpu, VkPhysicalDeviceFeatures2* features) {
  (void)gpu;
  (void)features;
}

static PFN_vkGetPhysicalDeviceProperties real_properties;
static VKAPI_ATTR void VKAPI_CALL
version_1_1(VkPhysicalDevice gpu, VkPhysicalDeviceProperties* properties) {
  real_properties(gpu, properties);
  properties->apiVersion = VK_API_VERSION_1_1;
}

static VKAPI_ATTR VkResult VKAPI_CALL no_gpus(VkInstance instance,
                                              uint32_t* count,
                                              VkPhysicalDevice* list) {
  (void)instance;
  (void)list;
  *count = 0;
  return VK_SUCCESS;
}

static void expect_no_gpus(const tegi_vk_instance* instance, const char* part) {
  VkPhysicalDevice gpus[TEGI_VK_MAX_GPUS];
  uint32_t count = 7;
  teg_error err;
  assert_int_equal(tegi_vk_instance_gpus(instance, gpus, &count, &err),
                   TEG_UNAVAILABLE);
  assert_int_equal(count, 0);
  if (!strstr(err.message, part)) fail_msg("%s", err.message);
}

static void what_devices_lack_is_named(void** state) {
  NEEDS_DEVICE();
  tegi_host host;
  assert_int_equal(tegi_host_init(&host, NULL, NULL), TEG_OK);
  tegi_vk_instance instance;
  const teg_log silent = {0};
  assert_int_equal(tegi_vk_instance_create(&instance, &host, silent, NULL),
                   TEG_OK);
  const tegi_vk_instance_table real = instance.vk;
  instance.vk.GetPhysicalDeviceQueueFamilyProperties = transfer_only;
  expect_no_gpus(&instance, "lacks a compute queue");
  instance.vk = real;
  instance.vk.GetPhysicalDeviceFeatures2 = no_features;
  expect_no_gpus(&instance, "lacks timeline semaphores");
  instance.vk = real;
  real_properties = real.GetPhysicalDeviceProperties;
  instance.vk.GetPhysicalDeviceProperties = version_1_1;
  expect_no_gpus(&instance, "lacks Vulkan 1.2");
  instance.vk = real;
  instance.vk.EnumeratePhysicalDevices = no_gpus;
  expect_no_gpus(&instance, "the drivers list none");
  instance.vk = real;
  tegi_vk_instance_destroy(&instance);
}

// ---- Memory that is left.

static PFN_vkGetPhysicalDeviceMemoryProperties2 real_memory;
static uint64_t given_budget, given_usage;
static VKAPI_ATTR void VKAPI_CALL given_memory(
    VkPhysicalDevice gpu, VkPhysicalDeviceMemoryProperties2* properties) {
  real_memory(gpu, properties);
  VkPhysicalDeviceMemoryBudgetPropertiesEXT* budget = properties->pNext;
  if (!budget) return;
  for (uint32_t i = 0; i < VK_MAX_MEMORY_HEAPS; i++) {
    budget->heapBudget[i] = given_budget;
    budget->heapUsage[i] = given_usage;
  }
}

static void available_bytes_are_what_the_budget_leaves(void** state) {
  NEEDS_DEVICE();
  device_fixture fx;
  device_fixture_open(&fx, &small_tiles, NULL);
  const teg_device_ops* ops = fx.tables.device;
  tegi_vk_device* device = native(&fx);
  device->facts.has_budget = false;
  assert_true(ops->query_available(fx.device) == UINT64_MAX);
  device->facts.has_budget = true;
  real_memory = device->instance.vk.GetPhysicalDeviceMemoryProperties2;
  device->instance.vk.GetPhysicalDeviceMemoryProperties2 = given_memory;
  given_budget = 1000;
  given_usage = 400;
  assert_int_equal(ops->query_available(fx.device), 600);
  given_usage = 1001;
  assert_int_equal(ops->query_available(fx.device), 0);
  device_fixture_close(&fx);
}

// ---- Planted failures.

static VkResult planted;
static uint32_t planted_count;  // calls that fail from now on

static bool must_fail(void) {
  if (planted_count == 0) return false;
  planted_count--;
  return true;
}

static void plant(VkResult result, uint32_t count) {
  planted = result;
  planted_count = count;
}

static PFN_vkQueueSubmit real_submit;
static VKAPI_ATTR VkResult VKAPI_CALL failing_submit(VkQueue queue,
                                                     uint32_t count,
                                                     const VkSubmitInfo* infos,
                                                     VkFence fence) {
  return must_fail() ? planted : real_submit(queue, count, infos, fence);
}

static PFN_vkQueueBindSparse real_bind;
static VKAPI_ATTR VkResult VKAPI_CALL
failing_bind(VkQueue queue, uint32_t count, const VkBindSparseInfo* infos,
             VkFence fence) {
  return must_fail() ? planted : real_bind(queue, count, infos, fence);
}

static PFN_vkWaitSemaphores real_wait;
static VKAPI_ATTR VkResult VKAPI_CALL failing_wait(
    VkDevice device, const VkSemaphoreWaitInfo* info, uint64_t timeout) {
  return must_fail() ? planted : real_wait(device, info, timeout);
}

static PFN_vkAllocateMemory real_allocate;
static VKAPI_ATTR VkResult VKAPI_CALL failing_allocate(
    VkDevice device, const VkMemoryAllocateInfo* info,
    const VkAllocationCallbacks* callbacks, VkDeviceMemory* out_memory) {
  return must_fail() ? planted
                     : real_allocate(device, info, callbacks, out_memory);
}

static PFN_vkCreateBuffer real_create_buffer;
static VKAPI_ATTR VkResult VKAPI_CALL failing_create_buffer(
    VkDevice device, const VkBufferCreateInfo* info,
    const VkAllocationCallbacks* callbacks, VkBuffer* out_buffer) {
  return must_fail() ? planted
                     : real_create_buffer(device, info, callbacks, out_buffer);
}

static PFN_vkBindBufferMemory real_bind_memory;
static VKAPI_ATTR VkResult VKAPI_CALL failing_bind_memory(VkDevice device,
                                                          VkBuffer buffer,
                                                          VkDeviceMemory memory,
                                                          VkDeviceSize offset) {
  return must_fail() ? planted
                     : real_bind_memory(device, buffer, memory, offset);
}

static void open_with_plants(device_fixture* fx, const device_config* config) {
  device_fixture_open(fx, config, NULL);
  tegi_vk_device_table* vk = &native(fx)->vk;
  real_submit = vk->QueueSubmit;
  vk->QueueSubmit = failing_submit;
  real_bind = vk->QueueBindSparse;
  vk->QueueBindSparse = failing_bind;
  real_wait = vk->WaitSemaphores;
  vk->WaitSemaphores = failing_wait;
  real_allocate = vk->AllocateMemory;
  vk->AllocateMemory = failing_allocate;
  real_create_buffer = vk->CreateBuffer;
  vk->CreateBuffer = failing_create_buffer;
  real_bind_memory = vk->BindBufferMemory;
  vk->BindBufferMemory = failing_bind_memory;
}

static void fill(device_fixture* fx, teg_queue_stream* stream,
                 teg_memory* memory, uint64_t offset, uint32_t pattern) {
  teg_span span = {memory, offset, 16, 1};
  fixture_barrier(fx, stream);
  EXPECT_OK(fx,
            fx->tables.queue->record_fill(stream, &span, pattern, &fx->err));
}

static void failed_submit_stays_recorded(void** state) {
  NEEDS_DEVICE();
  device_fixture fx;
  open_with_plants(&fx, &small_tiles);
  const teg_queue_ops* queue = fx.tables.queue;
  teg_memory* buffer = fixture_buffer(&fx, 256);
  teg_queue_stream* stream = fixture_stream(&fx);
  fill(&fx, stream, buffer, 0, 0x01010101);
  for (int i = 0; i < 3; i++) {
    plant(VK_ERROR_OUT_OF_DEVICE_MEMORY, 1);
    EXPECT_RESULT(&fx, TEG_OUT_OF_MEMORY, queue->submit(stream, 1, &fx.err));
    assert_int_equal(fx.err.native_code, VK_ERROR_OUT_OF_DEVICE_MEMORY);
    // More may be recorded behind it.
    fill(&fx, stream, buffer, 16u * (uint32_t)(i + 1), 0x01010101);
  }
  EXPECT_OK(&fx, queue->submit(stream, 1, &fx.err));
  EXPECT_OK(&fx, queue->wait(stream, 1, &fx.err));
  assert_true(fixture_all_bytes(fixture_bytes(&fx, buffer), 64, 1));
  fill(&fx, stream, buffer, 0, 0x02020202);
  plant(VK_ERROR_OUT_OF_HOST_MEMORY, 1);
  EXPECT_RESULT(&fx, TEG_OUT_OF_HOST_MEMORY, queue->submit(stream, 2, &fx.err));
  queue->discard(stream);
  EXPECT_OK(&fx, queue->submit(stream, 2, &fx.err));
  EXPECT_OK(&fx, queue->wait(stream, 2, &fx.err));
  assert_true(fixture_all_bytes(fixture_bytes(&fx, buffer), 64, 1));
  fixture_stream_destroy(&fx, stream);
  fixture_destroy(&fx, buffer);
  device_fixture_close(&fx);
}

static void failed_creations_leave_nothing(void** state) {
  NEEDS_DEVICE();
  device_fixture fx;
  open_with_plants(&fx, &small_tiles);
  const uint64_t tile = fx.caps.tile_bytes;
  tegi_vk_device* device = native(&fx);
  uint64_t live = tegi_load_relaxed(&fx.allocator.live_count);
  // Buffer, allocation and bind, each in turn: three calls at most.
  for (uint32_t nth = 0; nth < 2; nth++) {
    VkResult results[2] = {VK_ERROR_OUT_OF_DEVICE_MEMORY,
                           VK_ERROR_TOO_MANY_OBJECTS};
    teg_memory* memory;
    plant(results[nth], 1);
    teg_result want = nth ? TEG_LIMIT : TEG_OUT_OF_MEMORY;
    EXPECT_RESULT(
        &fx, want,
        fx.tables.device->heap_create(fx.device, tile, &memory, &fx.err));
    assert_null(memory);
    plant(results[nth], 1);
    EXPECT_RESULT(
        &fx, want,
        fx.tables.device->buffer_create(fx.device, tile, &memory, &fx.err));
    plant(results[nth], 1);
    EXPECT_RESULT(
        &fx, want,
        fx.tables.remap->range_reserve(fx.device, tile, &memory, &fx.err));
    assert_null(memory);
    device->vk.CreateBuffer = real_create_buffer;
    plant(results[nth], 1);
    EXPECT_RESULT(
        &fx, want,
        fx.tables.device->heap_create(fx.device, tile, &memory, &fx.err));
    device->vk.AllocateMemory = real_allocate;
    plant(results[nth], 1);
    EXPECT_RESULT(
        &fx, want,
        fx.tables.device->heap_create(fx.device, tile, &memory, &fx.err));
    device->vk.CreateBuffer = failing_create_buffer;
    device->vk.AllocateMemory = failing_allocate;
  }
  assert_int_equal(tegi_load_relaxed(&fx.allocator.live_count), live);
  assert_int_equal(tegi_load_relaxed(&device->sparse_bytes), 0);
  assert_int_equal(tegi_load_relaxed(&device->range_mappings.count), 0);
  device_fixture_close(&fx);
}

static void failed_bind_changes_nothing(void** state) {
  NEEDS_DEVICE();
  device_fixture fx;
  open_with_plants(&fx, &small_tiles);
  if (!fx.tables.remap) {
    device_fixture_close(&fx);
    skip();
  }
  const uint64_t tile = fx.caps.tile_bytes;
  tegi_vk_device* device = native(&fx);
  teg_memory* heap = fixture_heap(&fx, 4 * tile);
  teg_memory* range = fixture_range(&fx, 4 * tile);
  const teg_tile_run run = {heap, 0, 1, 2};
  uint64_t count = tegi_load_relaxed(&device->range_mappings.count);
  plant(VK_ERROR_OUT_OF_DEVICE_MEMORY, 1);
  EXPECT_RESULT(&fx, TEG_OUT_OF_MEMORY, fixture_map_runs(&fx, range, &run, 1));
  assert_int_equal(tegi_load_relaxed(&device->range_mappings.count), count);
  EXPECT_OK(&fx, fixture_map_runs(&fx, range, &run, 1));
  count = tegi_load_relaxed(&device->range_mappings.count);
  plant(VK_ERROR_OUT_OF_DEVICE_MEMORY, 1);
  EXPECT_RESULT(&fx, TEG_OUT_OF_MEMORY,
                fixture_unmap_runs(&fx, range, &run, 1));
  assert_int_equal(tegi_load_relaxed(&device->range_mappings.count), count);
  EXPECT_OK(&fx, fixture_unmap_runs(&fx, range, &run, 1));
  fx.tables.remap->range_release(fx.device, range);
  fixture_destroy(&fx, heap);
  device_fixture_close(&fx);
}

// Loses the device where |call| says, with a batch submitted before.
static void lose_device(const device_config* config, bool in_wait) {
  device_fixture fx;
  open_with_plants(&fx, config);
  const teg_queue_ops* queue = fx.tables.queue;
  teg_memory* buffer = fixture_buffer(&fx, 256);
  teg_queue_stream* stream = fixture_stream(&fx);
  teg_queue_stream* other = fixture_stream(&fx);
  fill(&fx, stream, buffer, 0, 1);
  EXPECT_OK(&fx, queue->submit(stream, 1, &fx.err));
  EXPECT_OK(&fx, queue->submit(other, 1, &fx.err));
  plant(VK_ERROR_DEVICE_LOST, 1);
  if (in_wait) {
    EXPECT_RESULT(&fx, TEG_DEVICE_LOST, queue->wait(stream, 1, &fx.err));
  } else {
    fill(&fx, stream, buffer, 0, 2);
    EXPECT_RESULT(&fx, TEG_DEVICE_LOST, queue->submit(stream, 2, &fx.err));
  }
  plant(VK_SUCCESS, 0);
  // Every serial completes as lost, nothing new begins.
  assert_int_equal(queue->completed(stream), 1);
  assert_int_equal(queue->completed(other), 1);
  EXPECT_RESULT(&fx, TEG_DEVICE_LOST, queue->wait(other, 1, &fx.err));
  EXPECT_RESULT(&fx, TEG_DEVICE_LOST, queue->submit(other, 2, &fx.err));
  teg_memory* memory;
  EXPECT_RESULT(
      &fx, TEG_DEVICE_LOST,
      fx.tables.device->buffer_create(fx.device, 256, &memory, &fx.err));
  assert_true(strlen(fx.err.message) > 10);
  teg_queue_stream* late;
  EXPECT_RESULT(&fx, TEG_DEVICE_LOST,
                fx.tables.device->heap_create(fx.device, fx.caps.tile_bytes,
                                              &memory, &fx.err));
  teg_span span = {buffer, 0, 16, 1};
  EXPECT_RESULT(&fx, TEG_DEVICE_LOST,
                queue->record_fill(stream, &span, 1, &fx.err));
  EXPECT_RESULT(&fx, TEG_DEVICE_LOST,
                queue->record_copy(stream, &span, &span, &fx.err));
  EXPECT_RESULT(&fx, TEG_DEVICE_LOST,
                queue->record_wait(stream, other, 1, &fx.err));
  EXPECT_RESULT(&fx, TEG_DEVICE_LOST,
                queue->stream_create(fx.device, &late, &fx.err));
  fixture_stream_destroy(&fx, other);
  fixture_stream_destroy(&fx, stream);
  fixture_destroy(&fx, buffer);
  device_fixture_close(&fx);
}

// With binds submitted, and others only noted.
static void lose_device_while_binding(const device_config* config) {
  device_fixture fx;
  open_with_plants(&fx, config);
  const teg_remap_ops* remap = fx.tables.remap;
  if (!remap) {
    device_fixture_close(&fx);
    return;
  }
  const teg_queue_ops* queue = fx.tables.queue;
  teg_queue_stream* binds = remap->bind_stream(fx.device);
  const uint64_t tile = fx.caps.tile_bytes;
  teg_memory* heap = fixture_heap(&fx, 8 * tile);
  teg_memory* range = fixture_range(&fx, 8 * tile);
  teg_memory* other = fixture_range(&fx, 8 * tile);
  fixture_map(&fx, range, 0, heap, 0, 2);
  const teg_tile_run run = {heap, 4, 4, 2};
  const teg_tile_run gone = {NULL, 0, 0, 2};
  EXPECT_OK(&fx, remap->map(fx.device, range, &run, 1, &fx.err));
  EXPECT_OK(&fx, remap->map(fx.device, other, &run, 1, &fx.err));
  // A told device hands nothing over, so it is lost in the wait.
  plant(VK_ERROR_DEVICE_LOST, 1);
  if (config->is_told) {
    EXPECT_RESULT(&fx, TEG_DEVICE_LOST, queue->wait(binds, 1, &fx.err));
  } else {
    EXPECT_RESULT(&fx, TEG_DEVICE_LOST, queue->submit(binds, 2, &fx.err));
  }
  plant(VK_SUCCESS, 0);
  assert_int_equal(queue->completed(binds), 1);
  EXPECT_RESULT(&fx, TEG_DEVICE_LOST, queue->submit(binds, 2, &fx.err));
  EXPECT_RESULT(&fx, TEG_DEVICE_LOST,
                remap->map(fx.device, range, &run, 1, &fx.err));
  EXPECT_RESULT(&fx, TEG_DEVICE_LOST,
                remap->unmap(fx.device, range, &gone, 1, &fx.err));
  teg_memory* late;
  EXPECT_RESULT(&fx, TEG_DEVICE_LOST,
                remap->range_reserve(fx.device, tile, &late, &fx.err));
  remap->range_release(fx.device, range);
  queue->discard(binds);
  remap->range_release(fx.device, other);
  fixture_destroy(&fx, heap);
  device_fixture_close(&fx);
}

// What a program sees of it.
static void lose_device_of_core(const char* remap) {
  teg_error err;
  teg_options* options;
  assert_int_equal(teg_options_create(NULL, &options, &err), TEG_OK);
  assert_int_equal(teg_options_set(options, "remap", remap, &err), TEG_OK);
  teg_device_params params = TEG_DEVICE_PARAMS_INIT;
  params.backend = "vulkan";
  params.options = options;
  teg_device* device;
  assert_int_equal(teg_device_create(&params, &device, &err), TEG_OK);
  teg_options_destroy(options);
  tegi_vk_device* vk_device = tegi_vk_device_from(tegi_device_backend(device));
  real_submit = vk_device->vk.QueueSubmit;
  vk_device->vk.QueueSubmit = failing_submit;
  teg_session* session;
  assert_int_equal(teg_session_create(device, NULL, &session, &err), TEG_OK);
  teg_stream* stream;
  assert_int_equal(teg_stream_create(session, &stream, &err), TEG_OK);
  teg_buffer_params wanted = TEG_BUFFER_PARAMS_INIT;
  wanted.size = 1 << 20;
  teg_buffer* buffer;
  assert_int_equal(teg_buffer_create(session, &wanted, &buffer, &err), TEG_OK);
  assert_int_equal(teg_stream_fill(stream, buffer, 0, 64, 1, &err), TEG_OK);
  plant(VK_ERROR_DEVICE_LOST, 1);
  assert_int_equal(teg_stream_submit(stream, NULL, &err), TEG_DEVICE_LOST);
  assert_true(strlen(err.message) > 10);
  plant(VK_SUCCESS, 0);
  assert_int_equal(teg_stream_submit(stream, NULL, &err), TEG_DEVICE_LOST);
  assert_int_equal(teg_stream_fill(stream, buffer, 0, 64, 1, &err),
                   TEG_DEVICE_LOST);
  uint8_t byte;
  assert_int_equal(teg_stream_read(stream, buffer, 0, &byte, 1, &err),
                   TEG_DEVICE_LOST);
  wanted.size = 64 << 20;
  wanted.flags = TEG_BUFFER_DEDICATED;
  teg_buffer* late;
  assert_int_equal(teg_buffer_create(session, &wanted, &late, &err),
                   TEG_DEVICE_LOST);
  teg_buffer_destroy(buffer);
  teg_device_destroy(device);
}

static void lost_device_is_survived(void** state) {
  NEEDS_DEVICE();
  lose_device(&small_tiles, false);
  lose_device(&small_tiles, true);
  lose_device(&told, true);
  lose_device_while_binding(&small_tiles);
  lose_device_while_binding(&told);
  lose_device_of_core("off");
  lose_device_of_core("on");
  // Another one can be opened in its place.
  device_fixture fx;
  device_fixture_open(&fx, &small_tiles, NULL);
  device_fixture_close(&fx);
}

// ---- Limits.

static void ranges_past_the_largest_buffer_meet_a_limit(void** state) {
  NEEDS_DEVICE();
  device_fixture fx;
  device_fixture_open(&fx, &small_tiles, NULL);
  if (fx.tables.remap && fx.caps.max_range_bytes < UINT64_C(1) << 47) {
    teg_memory* range;
    EXPECT_RESULT(&fx, TEG_LIMIT,
                  fx.tables.remap->range_reserve(
                      fx.device, fx.caps.max_range_bytes + fx.caps.tile_bytes,
                      &range, &fx.err));
    assert_null(range);
    range = fixture_range(&fx, fx.caps.max_range_bytes);
    fx.tables.remap->range_release(fx.device, range);
  }
  device_fixture_close(&fx);
}

// The driver uses no more kernel mappings than are counted.
static void mapping_count_covers_the_drivers(void** state) {
  NEEDS_DEVICE();
  enum { TILES = 400 };
  device_fixture fx;
  device_fixture_open(&fx, &small_tiles, NULL);
  tegi_vk_device* device = native(&fx);
  if (!device->facts.is_cpu_driver || !fx.tables.remap) {
    device_fixture_close(&fx);
    skip();
  }
  const uint64_t tile = fx.caps.tile_bytes;
  teg_memory* heap = fixture_heap(&fx, TILES * tile);
  teg_memory* range = fixture_range(&fx, TILES * tile);
  uint64_t counted = tegi_load_relaxed(&device->range_mappings.count);
  uint64_t kernel = tegi_mappings_kernel_count();
  srand(7);
  bool is_mapped[TILES] = {false};
  uint64_t most = 0;
  for (int step = 0; step < 3000; step++) {
    uint32_t t = (uint32_t)rand() % TILES;
    if (is_mapped[t]) {
      fixture_unmap(&fx, range, t, 1);
    } else {
      fixture_map(&fx, range, t, heap, rand() % 2 ? t : TILES - 1 - t, 1);
    }
    is_mapped[t] = !is_mapped[t];
    if (step % 100) continue;
    EXPECT_OK(&fx,
              fx.tables.queue->wait(fx.tables.remap->bind_stream(fx.device),
                                    fx.bind_serial, &fx.err));
    uint64_t ours = tegi_load_relaxed(&device->range_mappings.count) - counted;
    uint64_t kernels = tegi_mappings_kernel_count() - kernel;
    assert_true(kernels <= ours + 4);
    assert_true(ours <= kernels + 4);
    if (ours > most) most = ours;
  }
  assert_true(most > 100);
  for (uint32_t t = 0; t < TILES; t++) {
    if (is_mapped[t]) fixture_unmap(&fx, range, t, 1);
  }
  assert_int_equal(tegi_load_relaxed(&device->range_mappings.count), counted);
  fx.tables.remap->range_release(fx.device, range);
  fixture_destroy(&fx, heap);
  device_fixture_close(&fx);
}

// ---- Through core.

static void core_answers_for_memory_without_pointers(void** state) {
  NEEDS_DEVICE();
  teg_error err;
  teg_device_params params = TEG_DEVICE_PARAMS_INIT;
  params.backend = "vulkan";
  teg_device* device;
  assert_int_equal(teg_device_create(&params, &device, &err), TEG_OK);
  teg_backend_caps caps = {.struct_size = sizeof caps};
  teg_device_get_caps(device, &caps);
  teg_session* session;
  assert_int_equal(teg_session_create(device, NULL, &session, &err), TEG_OK);
  teg_buffer_params wanted = TEG_BUFFER_PARAMS_INIT;
  wanted.size = 3 << 20;
  wanted.lifetime = TEG_LIFETIME_RUN;
  teg_buffer* buffer;
  assert_int_equal(teg_buffer_create(session, &wanted, &buffer, &err), TEG_OK);
  void* pointer = &err;
  teg_result result = teg_buffer_map(buffer, &pointer, &err);
  if (caps.remap != TEG_REMAP_NONE) {
    assert_int_equal(result, TEG_UNSUPPORTED);
    assert_null(pointer);
  }
  teg_buffer_destroy(buffer);
  // A buffer of its own has one.
  wanted.flags = TEG_BUFFER_DEDICATED;
  assert_int_equal(teg_buffer_create(session, &wanted, &buffer, &err), TEG_OK);
  result = teg_buffer_map(buffer, &pointer, &err);
  assert_true(result == TEG_OK || result == TEG_UNSUPPORTED);
  if (result == TEG_OK) {
    memset(pointer, 1, wanted.size);
    teg_buffer_unmap(buffer);
  }
  teg_buffer_destroy(buffer);
  teg_device_destroy(device);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(loader_that_is_not_there_is_named),
      cmocka_unit_test(library_that_is_no_loader_is_refused),
      cmocka_unit_test(second_name_is_tried),
      cmocka_unit_test(machine_without_drivers_is_unavailable),
      cmocka_unit_test(devices_are_described),
      cmocka_unit_test(queue_families_are_chosen),
      cmocka_unit_test(what_devices_lack_is_named),
      cmocka_unit_test(available_bytes_are_what_the_budget_leaves),
      cmocka_unit_test(failed_submit_stays_recorded),
      cmocka_unit_test(failed_creations_leave_nothing),
      cmocka_unit_test(failed_bind_changes_nothing),
      cmocka_unit_test(lost_device_is_survived),
      cmocka_unit_test(ranges_past_the_largest_buffer_meet_a_limit),
      cmocka_unit_test(mapping_count_covers_the_drivers),
      cmocka_unit_test(core_answers_for_memory_without_pointers),
  };
  device_fixture_filter();
  return cmocka_run_group_tests_name("vulkan", tests, NULL, NULL);
}
