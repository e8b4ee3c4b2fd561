// SPDX-License-Identifier: Apache-2.0
//
// What the conformance suite cannot see of the Vulkan device's dispatches: how
// many native calls they take, what is refused, and what is left when the
// driver fails. Calls are counted, and failures planted, in the device's table
// of functions.
#include <string.h>

#include "backend/vulkan/vulkan_backend.h"
#include "backend/vulkan/vulkan_features.h"
#include "backend/vulkan/vulkan_register.h"
#include "kernel_add.spv.h"
#include "kernel_narrow.spv.h"
#include "kernel_step.spv.h"
#include "support/device_fixture.h"

static const device_config plain = {"vulkan", "vulkan", 65536, false, false};

#define NEEDS_DEVICE()   \
  (void)state;           \
  uint32_t device_count; \
  if (tegi_vk_backend.probe(&device_count, NULL) != TEG_OK) skip()

static tegi_vk_device* native(device_fixture* fx) {
  return tegi_vk_device_from(fx->device);
}

// ---- Counted and planted calls.

static struct {
  uint32_t barriers;
  uint32_t pipelines;
  uint32_t sets;
  uint32_t updates;
  uint64_t parameters;  // where the last set has them
  uint32_t parameter_offset;
} counts;

static bool is_noted_only;  // sets are not written and bound

static tegi_vk_device_table real;
static uint32_t fail_at;  // the call that fails; 0 = none

static bool must_fail(void) { return fail_at > 0 && --fail_at == 0; }

static VKAPI_ATTR void VKAPI_CALL
counted_barrier(VkCommandBuffer buffer, VkPipelineStageFlags from,
                VkPipelineStageFlags to, VkDependencyFlags flags,
                uint32_t memory_count, const VkMemoryBarrier* memories,
                uint32_t buffer_count, const VkBufferMemoryBarrier* buffers,
                uint32_t image_count, const VkImageMemoryBarrier* images) {
  counts.barriers++;
  real.CmdPipelineBarrier(buffer, from, to, flags, memory_count, memories,
                          buffer_count, buffers, image_count, images);
}

static VKAPI_ATTR void VKAPI_CALL counted_pipeline(VkCommandBuffer buffer,
                                                   VkPipelineBindPoint point,
                                                   VkPipeline pipeline) {
  counts.pipelines++;
  real.CmdBindPipeline(buffer, point, pipeline);
}

static VKAPI_ATTR void VKAPI_CALL counted_sets(
    VkCommandBuffer buffer, VkPipelineBindPoint point, VkPipelineLayout layout,
    uint32_t first, uint32_t count, const VkDescriptorSet* sets,
    uint32_t offset_count, const uint32_t* offsets) {
  counts.sets++;
  if (offset_count) counts.parameter_offset = offsets[0];
  if (is_noted_only) return;
  real.CmdBindDescriptorSets(buffer, point, layout, first, count, sets,
                             offset_count, offsets);
}

static VKAPI_ATTR void VKAPI_CALL counted_update(
    VkDevice device, uint32_t write_count, const VkWriteDescriptorSet* writes,
    uint32_t copy_count, const VkCopyDescriptorSet* copies) {
  counts.updates++;
  counts.parameters = writes[write_count - 1].pBufferInfo->offset;
  if (is_noted_only) return;
  real.UpdateDescriptorSets(device, write_count, writes, copy_count, copies);
}

static VKAPI_ATTR VkResult VKAPI_CALL failing_layout(
    VkDevice device, const VkDescriptorSetLayoutCreateInfo* info,
    const VkAllocationCallbacks* callbacks, VkDescriptorSetLayout* out) {
  return must_fail()
             ? VK_ERROR_OUT_OF_DEVICE_MEMORY
             : real.CreateDescriptorSetLayout(device, info, callbacks, out);
}

static VKAPI_ATTR VkResult VKAPI_CALL failing_pipeline_layout(
    VkDevice device, const VkPipelineLayoutCreateInfo* info,
    const VkAllocationCallbacks* callbacks, VkPipelineLayout* out) {
  return must_fail() ? VK_ERROR_OUT_OF_DEVICE_MEMORY
                     : real.CreatePipelineLayout(device, info, callbacks, out);
}

static VKAPI_ATTR VkResult VKAPI_CALL
failing_module(VkDevice device, const VkShaderModuleCreateInfo* info,
               const VkAllocationCallbacks* callbacks, VkShaderModule* out) {
  return must_fail() ? VK_ERROR_OUT_OF_DEVICE_MEMORY
                     : real.CreateShaderModule(device, info, callbacks, out);
}

static VKAPI_ATTR VkResult VKAPI_CALL
failing_pipelines(VkDevice device, VkPipelineCache cache, uint32_t count,
                  const VkComputePipelineCreateInfo* infos,
                  const VkAllocationCallbacks* callbacks, VkPipeline* out) {
  return must_fail() ? VK_ERROR_OUT_OF_DEVICE_MEMORY
                     : real.CreateComputePipelines(device, cache, count, infos,
                                                   callbacks, out);
}

static VKAPI_ATTR VkResult VKAPI_CALL failing_descriptor_pool(
    VkDevice device, const VkDescriptorPoolCreateInfo* info,
    const VkAllocationCallbacks* callbacks, VkDescriptorPool* out) {
  return must_fail() ? VK_ERROR_OUT_OF_DEVICE_MEMORY
                     : real.CreateDescriptorPool(device, info, callbacks, out);
}

static VKAPI_ATTR VkResult VKAPI_CALL
failing_sets(VkDevice device, const VkDescriptorSetAllocateInfo* info,
             VkDescriptorSet* out) {
  return must_fail() ? VK_ERROR_OUT_OF_DEVICE_MEMORY
                     : real.AllocateDescriptorSets(device, info, out);
}

static void open(device_fixture* fx) {
  device_fixture_open(fx, &plain, NULL);
  tegi_vk_device_table* vk = &native(fx)->vk;
  real = *vk;
  vk->CmdPipelineBarrier = counted_barrier;
  vk->CmdBindPipeline = counted_pipeline;
  vk->CmdBindDescriptorSets = counted_sets;
  vk->UpdateDescriptorSets = counted_update;
  vk->CreateDescriptorSetLayout = failing_layout;
  vk->CreatePipelineLayout = failing_pipeline_layout;
  vk->CreateShaderModule = failing_module;
  vk->CreateComputePipelines = failing_pipelines;
  vk->CreateDescriptorPool = failing_descriptor_pool;
  vk->AllocateDescriptorSets = failing_sets;
  memset(&counts, 0, sizeof counts);
  is_noted_only = false;
  fail_at = 0;
}

// ---- Kernels and commands.

static const teg_access add_bindings[] = {TEG_ACCESS_READ, TEG_ACCESS_READ,
                                          TEG_ACCESS_WRITE};
static const teg_access step_bindings[] = {TEG_ACCESS_READ_WRITE};

static const teg_kernel_params add_params = {
    .struct_size = sizeof add_params,
    .name = "add",
    .spirv = kernel_add_spv,
    .spirv_bytes = sizeof kernel_add_spv,
    .bindings = add_bindings,
    .binding_count = 3,
    .parameter_bytes = 8,
};

static const teg_kernel_params step_params = {
    .struct_size = sizeof step_params,
    .name = "step",
    .spirv = kernel_step_spv,
    .spirv_bytes = sizeof kernel_step_spv,
    .bindings = step_bindings,
    .binding_count = 1,
};

static teg_backend_kernel* make(device_fixture* fx,
                                const teg_kernel_params* params) {
  teg_backend_kernel* kernel;
  EXPECT_OK(fx,
            fx->tables.kernel->create(fx->device, params, &kernel, &fx->err));
  return kernel;
}

static void unmake(device_fixture* fx, teg_backend_kernel* kernel) {
  fx->tables.kernel->destroy(fx->device, kernel);
}

static teg_result try_step(device_fixture* fx, teg_queue_stream* stream,
                           teg_backend_kernel* kernel, teg_memory* memory,
                           uint64_t offset, uint64_t size) {
  const teg_binding binding = {{memory, offset, size, 1}, true, true};
  const teg_dispatch dispatch = {.kernel = kernel,
                                 .bindings = &binding,
                                 .binding_count = 1,
                                 .group_count = {1, 1, 1}};
  return fx->tables.kernel->record_dispatch(stream, &dispatch, &fx->err);
}

static void step(device_fixture* fx, teg_queue_stream* stream,
                 teg_backend_kernel* kernel, teg_memory* memory,
                 uint64_t offset) {
  EXPECT_OK(fx, try_step(fx, stream, kernel, memory, offset, 64));
}

static void run(device_fixture* fx, teg_queue_stream* stream, uint64_t serial) {
  EXPECT_OK(fx, fx->tables.queue->submit(stream, serial, &fx->err));
  EXPECT_OK(fx, fx->tables.queue->wait(stream, serial, &fx->err));
}

static void drop(device_fixture* fx, teg_queue_stream* stream) {
  fx->tables.queue->stream_destroy(fx->device, stream);
}

// ---- How much is called.

static void barrier_behind_another_is_dropped(void** state) {
  NEEDS_DEVICE();
  device_fixture fx;
  open(&fx);
  teg_memory* buffer = fixture_buffer(&fx, 1024);
  teg_queue_stream* stream = fixture_stream(&fx);
  const teg_span span = {buffer, 0, 64, 1};
  fixture_barrier(&fx, stream);
  fixture_barrier(&fx, stream);
  if (fx.tables.queue->record_timestamp) {
    uint64_t number;
    EXPECT_OK(&fx, fx.tables.queue->record_timestamp(stream, &number, &fx.err));
  }
  fixture_barrier(&fx, stream);
  assert_int_equal(counts.barriers, 1);
  // None stands there unasked.
  for (uint32_t i = 0; i < 4; i++) {
    const teg_span part = {buffer, 64 * i, 64, 1};
    EXPECT_OK(&fx, fx.tables.queue->record_fill(stream, &part, 1, &fx.err));
  }
  assert_int_equal(counts.barriers, 1);
  fixture_barrier(&fx, stream);
  EXPECT_OK(&fx, fx.tables.queue->record_fill(stream, &span, 1, &fx.err));
  assert_int_equal(counts.barriers, 2);
  // The last one shows the bytes to the CPU.
  run(&fx, stream, 1);
  assert_int_equal(counts.barriers, 3);
  // It does not stand for one of the next batch.
  fixture_barrier(&fx, stream);
  assert_int_equal(counts.barriers, 4);
  fx.tables.queue->discard(stream);
  fixture_barrier(&fx, stream);
  assert_int_equal(counts.barriers, 5);
  drop(&fx, stream);
  fixture_destroy(&fx, buffer);
  device_fixture_close(&fx);
}

static void only_what_differs_is_bound(void** state) {
  NEEDS_DEVICE();
  device_fixture fx;
  open(&fx);
  teg_memory* buffer = fixture_buffer(&fx, 4096);
  teg_queue_stream* stream = fixture_stream(&fx);
  teg_backend_kernel* a = make(&fx, &step_params);
  teg_backend_kernel* b = make(&fx, &step_params);
  fixture_barrier(&fx, stream);
  for (int i = 0; i < 5; i++) {
    step(&fx, stream, a, buffer, 0);
    fixture_barrier(&fx, stream);
  }
  assert_int_equal(counts.pipelines, 1);
  assert_int_equal(counts.sets, 1);
  assert_int_equal(counts.updates, 1);
  // Another kernel that is laid out alike finds its set bound.
  step(&fx, stream, b, buffer, 0);
  fixture_barrier(&fx, stream);
  assert_int_equal(counts.pipelines, 2);
  assert_int_equal(counts.sets, 1);
  step(&fx, stream, b, buffer, 256);
  assert_int_equal(counts.pipelines, 2);
  assert_int_equal(counts.sets, 2);
  run(&fx, stream, 1);
  // A new command buffer has nothing bound; the sets say it already.
  fixture_barrier(&fx, stream);
  step(&fx, stream, b, buffer, 0);
  assert_int_equal(counts.pipelines, 3);
  assert_int_equal(counts.sets, 3);
  assert_int_equal(counts.updates, 2);
  run(&fx, stream, 2);
  unmake(&fx, b);
  unmake(&fx, a);
  drop(&fx, stream);
  fixture_destroy(&fx, buffer);
  device_fixture_close(&fx);
}

static VKAPI_ATTR void VKAPI_CALL drop_dispatch(VkCommandBuffer buffer,
                                                uint32_t x, uint32_t y,
                                                uint32_t z) {
  (void)buffer;
  (void)x;
  (void)y;
  (void)z;
}

static void dispatch_add(device_fixture* fx, teg_queue_stream* stream,
                         teg_backend_kernel* kernel, teg_memory* buffer,
                         uint64_t parameters) {
  const teg_binding bindings[3] = {{{buffer, 0, 64, 1}, true, false},
                                   {{buffer, 256, 64, 1}, true, false},
                                   {{buffer, 512, 64, 1}, false, true}};
  const teg_dispatch dispatch = {.kernel = kernel,
                                 .bindings = bindings,
                                 .binding_count = 3,
                                 .parameters = {buffer, parameters, 8, 1},
                                 .group_count = {1, 1, 1}};
  EXPECT_OK(fx,
            fx->tables.kernel->record_dispatch(stream, &dispatch, &fx->err));
}

// A set is for bytes, not for parameters: those are an offset when it is bound.
static void other_parameters_take_no_other_set(void** state) {
  NEEDS_DEVICE();
  device_fixture fx;
  open(&fx);
  teg_memory* buffer = fixture_buffer(&fx, 8192);
  memset(fixture_bytes(&fx, buffer), 0, 8192);
  teg_queue_stream* stream = fixture_stream(&fx);
  teg_backend_kernel* kernel = make(&fx, &add_params);
  for (uint32_t i = 0; i < 10; i++) {
    fixture_barrier(&fx, stream);
    dispatch_add(&fx, stream, kernel, buffer, 4096 + 256 * i);
  }
  assert_int_equal(counts.updates, 1);
  assert_int_equal(counts.sets, 10);
  fixture_barrier(&fx, stream);
  dispatch_add(&fx, stream, kernel, buffer, 4096 + 256 * 9);
  assert_int_equal(counts.sets, 10);
  run(&fx, stream, 1);
  unmake(&fx, kernel);
  drop(&fx, stream);
  fixture_destroy(&fx, buffer);
  device_fixture_close(&fx);
}

// An offset that is given when a set is bound has 32 bits.
static void parameters_may_be_past_4_gib(void** state) {
  NEEDS_DEVICE();
  device_fixture fx;
  open(&fx);
  teg_memory* buffer = fixture_buffer(&fx, 8192);
  teg_queue_stream* stream = fixture_stream(&fx);
  teg_backend_kernel* kernel = make(&fx, &add_params);
  const uint64_t gib4 = UINT64_C(1) << 32;
  // Only said to be so large, so the commands are dropped.
  tegi_vk_memory_from(buffer)->size = 4 * gib4;
  is_noted_only = true;
  native(&fx)->vk.CmdDispatch = drop_dispatch;
  dispatch_add(&fx, stream, kernel, buffer, 4096);
  assert_true(counts.parameters == 0 && counts.parameter_offset == 4096);
  dispatch_add(&fx, stream, kernel, buffer, 3 * gib4 + 256);
  assert_true(counts.parameters == 3 * gib4 && counts.parameter_offset == 256);
  assert_int_equal(counts.updates, 2);
  dispatch_add(&fx, stream, kernel, buffer, 4 * gib4 - 256);
  assert_int_equal(counts.updates, 2);
  assert_true(counts.parameter_offset == UINT32_MAX - 255);
  fx.tables.queue->discard(stream);
  tegi_vk_memory_from(buffer)->size = 8192;
  unmake(&fx, kernel);
  drop(&fx, stream);
  fixture_destroy(&fx, buffer);
  device_fixture_close(&fx);
}

// A program that records the same batch again writes no set again.
static void repeated_batches_write_no_sets(void** state) {
  NEEDS_DEVICE();
  enum { TIMES = 100 };
  device_fixture fx;
  open(&fx);
  teg_memory* buffer = fixture_buffer(&fx, 256 * TIMES);
  teg_queue_stream* stream = fixture_stream(&fx);
  teg_backend_kernel* kernel = make(&fx, &step_params);
  uint32_t updates = 0;
  for (uint64_t serial = 1; serial <= 10; serial++) {
    fixture_barrier(&fx, stream);
    for (uint32_t i = 0; i < TIMES; i++) {
      step(&fx, stream, kernel, buffer, 256 * i);
    }
    run(&fx, stream, serial);
    if (serial == 3) updates = counts.updates;
  }
  assert_true(updates >= TIMES);
  assert_int_equal(counts.updates, updates);
  unmake(&fx, kernel);
  drop(&fx, stream);
  fixture_destroy(&fx, buffer);
  device_fixture_close(&fx);
}

// A new buffer often gets the handle and address of one that is gone. A set
// that says the old one does not say the new one.
static void sets_of_buffers_that_are_gone_are_written(void** state) {
  NEEDS_DEVICE();
  device_fixture fx;
  open(&fx);
  teg_queue_stream* stream = fixture_stream(&fx);
  teg_backend_kernel* kernel = make(&fx, &step_params);
  for (uint64_t serial = 1; serial <= 20; serial++) {
    teg_memory* buffer = fixture_buffer(&fx, 256);
    uint32_t* words = (uint32_t*)(void*)fixture_bytes(&fx, buffer);
    words[0] = (uint32_t)serial;
    fixture_barrier(&fx, stream);
    step(&fx, stream, kernel, buffer, 0);
    run(&fx, stream, serial);
    assert_int_equal(words[0], 3 * serial + 1);
    fixture_destroy(&fx, buffer);
  }
  assert_int_equal(counts.updates, 20);
  unmake(&fx, kernel);
  drop(&fx, stream);
  device_fixture_close(&fx);
}

// ---- Threads.

typedef struct stepper {
  device_fixture* fx;
  teg_backend_kernel* shared;
  teg_memory* buffer;
} stepper;

enum { STEPPER_BATCHES = 150 };

// A stream of its own, a kernel of all, and kernels that come and go.
static void* run_stepper(void* user) {
  const stepper* self = user;
  device_fixture* fx = self->fx;
  teg_queue_stream* stream = fixture_stream(fx);
  for (uint64_t serial = 1; serial <= STEPPER_BATCHES; serial++) {
    teg_backend_kernel* own = make(fx, &step_params);
    for (uint32_t i = 0; i < 4; i++) {
      fixture_barrier(fx, stream);
      step(fx, stream, i % 2 ? own : self->shared, self->buffer, 0);
    }
    unmake(fx, own);
    EXPECT_OK(fx, fx->tables.queue->submit(stream, serial, &fx->err));
    if (serial % 7 == 0) {
      EXPECT_OK(fx, fx->tables.queue->wait(stream, serial, &fx->err));
    }
  }
  drop(fx, stream);
  return NULL;
}

static void kernels_are_shared_by_threads(void** state) {
  NEEDS_DEVICE();
  enum { THREADS = 3 };
  device_fixture fx;
  device_fixture_open(&fx, &plain, NULL);
  teg_backend_kernel* shared = make(&fx, &step_params);
  stepper steppers[THREADS];
  tegi_thread threads[THREADS];
  for (int i = 0; i < THREADS; i++) {
    steppers[i] = (stepper){&fx, shared, fixture_buffer(&fx, 256)};
    memset(fixture_bytes(&fx, steppers[i].buffer), 0, 256);
    assert_int_equal(tegi_thread_create(&threads[i], run_stepper, &steppers[i]),
                     TEG_OK);
  }
  uint32_t want = 0;
  for (int i = 0; i < 4 * STEPPER_BATCHES; i++) want = 3 * want + 1;
  for (int i = 0; i < THREADS; i++) {
    tegi_thread_join(&threads[i]);
    const uint32_t* words =
        (uint32_t*)(void*)fixture_bytes(&fx, steppers[i].buffer);
    assert_int_equal(words[0], want);
    fixture_destroy(&fx, steppers[i].buffer);
  }
  unmake(&fx, shared);
  device_fixture_close(&fx);
}

static void kernels_that_do_not_fit_are_refused(void** state) {
  NEEDS_DEVICE();
  device_fixture fx;
  open(&fx);
  const teg_kernel_ops* kernels = fx.tables.kernel;
  teg_backend_kernel* kernel;
  teg_kernel_params params = add_params;
  params.entry_point = "other";
  EXPECT_RESULT(&fx, TEG_INVALID,
                kernels->create(fx.device, &params, &kernel, &fx.err));
  assert_null(kernel);
  assert_non_null(strstr(fx.err.message, "other"));
  native(&fx)->facts.max_storage_buffers = 2;
  EXPECT_RESULT(&fx, TEG_UNSUPPORTED,
                kernels->create(fx.device, &add_params, &kernel, &fx.err));
  native(&fx)->facts.max_storage_buffers = 3;
  native(&fx)->facts.max_uniform_bytes = 7;
  EXPECT_RESULT(&fx, TEG_UNSUPPORTED,
                kernels->create(fx.device, &add_params, &kernel, &fx.err));
  native(&fx)->facts.max_uniform_bytes = 8;
  native(&fx)->facts.api_version = VK_API_VERSION_1_2;
  unmake(&fx, make(&fx, &add_params));
  uint32_t newer[sizeof kernel_add_spv / 4];
  memcpy(newer, kernel_add_spv, sizeof newer);
  newer[1] = 0x00010600;
  params = add_params;
  params.spirv = newer;
  EXPECT_RESULT(&fx, TEG_UNSUPPORTED,
                kernels->create(fx.device, &params, &kernel, &fx.err));
  device_fixture_close(&fx);
}

// ---- Types that a device need not have.

static tegi_vk_features offered(device_fixture* fx) {
  tegi_vk_features features;
  tegi_vk_features_choose(&native(fx)->instance, &native(fx)->facts,
                          native(fx)->has_remap, &features);
  return features;
}

static const uint16_t narrow_halves[4] = {0x3c00, 0x4000, 0xc200, 0x4e00};
static const int8_t narrow_bytes[4] = {5, -7, 127, -126};

// 2 * 1.0, 2 * 2.0, 2 * -3.0 and 2 * 24.0, above the bytes.
static int64_t narrow_sum(uint32_t i) {
  static const int64_t doubled[4] = {2, 4, -6, 48};
  return doubled[i] * (INT64_C(1) << 32) + narrow_bytes[i];
}

// The layers complain, and the test fails, where a feature is not enabled.
static void kernels_use_all_types_of_the_gpu(void** state) {
  NEEDS_DEVICE();
  device_fixture fx;
  open(&fx);
  const tegi_vk_features has = offered(&fx);
  if (!has.all.features.shaderInt64 || !has.all.features.shaderInt16 ||
      !has.vulkan12.shaderFloat16 || !has.vulkan12.shaderInt8 ||
      !has.vulkan11.storageBuffer16BitAccess ||
      !has.vulkan12.storageBuffer8BitAccess) {
    device_fixture_close(&fx);
    skip();
  }
  teg_kernel_params params = add_params;
  params.spirv = kernel_narrow_spv;
  params.spirv_bytes = sizeof kernel_narrow_spv;
  params.parameter_bytes = 0;
  teg_backend_kernel* kernel = make(&fx, &params);
  teg_memory* buffer = fixture_buffer(&fx, 4096);
  uint8_t* bytes = fixture_bytes(&fx, buffer);
  memcpy(bytes, narrow_halves, sizeof narrow_halves);
  memcpy(bytes + 1024, narrow_bytes, sizeof narrow_bytes);
  const teg_binding bindings[3] = {
      {{buffer, 0, 8, 1}, true, false},
      {{buffer, 1024, 4, 2}, true, false},
      {{buffer, 2048, 32, 3}, false, true},
  };
  const teg_dispatch dispatch = {.kernel = kernel,
                                 .bindings = bindings,
                                 .binding_count = 3,
                                 .group_count = {1, 1, 1}};
  teg_queue_stream* stream = fixture_stream(&fx);
  fixture_barrier(&fx, stream);
  EXPECT_OK(&fx, fx.tables.kernel->record_dispatch(stream, &dispatch, &fx.err));
  run(&fx, stream, 1);
  for (uint32_t i = 0; i < 4; i++) {
    int64_t found;
    memcpy(&found, bytes + 2048 + 8 * (size_t)i, 8);
    assert_int_equal(found, narrow_sum(i));
  }
  fixture_stream_destroy(&fx, stream);
  unmake(&fx, kernel);
  fixture_destroy(&fx, buffer);
  device_fixture_close(&fx);
}

static VkBool32 each_feature;  // what a GPU says of each
static VKAPI_ATTR void VKAPI_CALL
same_features(VkPhysicalDevice gpu, VkPhysicalDeviceFeatures2* features) {
  (void)gpu;
  VkPhysicalDeviceVulkan11Features* vulkan11 = features->pNext;
  VkPhysicalDeviceVulkan12Features* vulkan12 = vulkan11->pNext;
  VkPhysicalDeviceVulkan13Features* vulkan13 = vulkan12->pNext;
  features->features.shaderInt64 = each_feature;
  features->features.robustBufferAccess = each_feature;
  vulkan11->storageBuffer16BitAccess = each_feature;
  vulkan11->multiview = each_feature;
  vulkan12->shaderFloat16 = each_feature;
  vulkan12->shaderInt8 = each_feature;
  if (vulkan13) vulkan13->shaderIntegerDotProduct = each_feature;
}

static void features_of_kernels_are_taken_where_offered(void** state) {
  NEEDS_DEVICE();
  tegi_vk_instance instance = {0};
  instance.vk.GetPhysicalDeviceFeatures2 = same_features;
  tegi_vk_facts facts = {.api_version = VK_API_VERSION_1_3};
  tegi_vk_features features;
  for (each_feature = VK_FALSE; each_feature <= VK_TRUE; each_feature++) {
    tegi_vk_features_choose(&instance, &facts, false, &features);
    assert_int_equal(features.all.features.shaderInt64, each_feature);
    assert_int_equal(features.vulkan11.storageBuffer16BitAccess, each_feature);
    assert_int_equal(features.vulkan12.shaderFloat16, each_feature);
    assert_int_equal(features.vulkan12.shaderInt8, each_feature);
    assert_int_equal(features.vulkan13.shaderIntegerDotProduct, each_feature);
    // What costs speed, or is for pictures, is left.
    assert_false(features.all.features.robustBufferAccess);
    assert_false(features.vulkan11.multiview);
    assert_true(features.vulkan12.timelineSemaphore);
    assert_false(features.all.features.sparseBinding);
  }
  facts.api_version = VK_API_VERSION_1_2;
  tegi_vk_features_choose(&instance, &facts, true, &features);
  assert_null(features.vulkan12.pNext);
  assert_true(features.all.features.sparseResidencyAliased);
}

// ---- Failures.

static void failed_kernels_leave_nothing(void** state) {
  NEEDS_DEVICE();
  device_fixture fx;
  open(&fx);
  const uint64_t live = tegi_load_relaxed(&fx.allocator.live_count);
  const uint64_t objects = tegi_load_relaxed(&native(&fx)->object_count);
  uint32_t failure_count = 0;
  teg_backend_kernel* kernel = NULL;
  for (uint32_t k = 1; !kernel; k++) {
    fail_at = k;
    teg_result result =
        fx.tables.kernel->create(fx.device, &add_params, &kernel, &fx.err);
    if (result == TEG_OK) break;
    assert_int_equal(result, TEG_OUT_OF_MEMORY);
    assert_null(kernel);
    failure_count++;
    assert_int_equal(tegi_load_relaxed(&native(&fx)->object_count), objects);
    // Layouts that were made stay for the next.
    assert_true(tegi_load_relaxed(&fx.allocator.live_count) <= live + 1);
  }
  // The layouts, which are made once, and the module.
  assert_int_equal(failure_count, 3);
  unmake(&fx, kernel);
  // The module and then the pipeline.
  fail_at = 2;
  EXPECT_RESULT(
      &fx, TEG_OUT_OF_MEMORY,
      fx.tables.kernel->create(fx.device, &add_params, &kernel, &fx.err));
  assert_non_null(strstr(fx.err.message, "kernel \"add\""));
  assert_int_equal(fail_at, 0);
  device_fixture_close(&fx);
}

static void failed_dispatches_leave_the_batch(void** state) {
  NEEDS_DEVICE();
  device_fixture fx;
  open(&fx);
  teg_memory* buffer = fixture_buffer(&fx, 4096);
  uint32_t* words = (uint32_t*)(void*)fixture_bytes(&fx, buffer);
  memset(words, 0, 4096);
  teg_queue_stream* stream = fixture_stream(&fx);
  teg_backend_kernel* kernel = make(&fx, &step_params);
  fixture_barrier(&fx, stream);
  for (uint32_t k = 1; k <= 2; k++) {
    fail_at = k;
    EXPECT_RESULT(&fx, TEG_OUT_OF_MEMORY,
                  try_step(&fx, stream, kernel, buffer, 0, 64));
  }
  fail_at = 0;
  // The first pool has room for 8.
  for (uint32_t i = 0; i < 9; i++) {
    fail_at = i == 8;
    if (fail_at) {
      EXPECT_RESULT(&fx, TEG_OUT_OF_MEMORY,
                    try_step(&fx, stream, kernel, buffer, 256 * i, 64));
    }
    fail_at = 0;
    step(&fx, stream, kernel, buffer, 256 * i);
  }
  run(&fx, stream, 1);
  for (uint32_t i = 0; i < 9; i++) assert_int_equal(words[64 * i], 1);
  unmake(&fx, kernel);
  drop(&fx, stream);
  fixture_destroy(&fx, buffer);
  device_fixture_close(&fx);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(barrier_behind_another_is_dropped),
      cmocka_unit_test(only_what_differs_is_bound),
      cmocka_unit_test(other_parameters_take_no_other_set),
      cmocka_unit_test(parameters_may_be_past_4_gib),
      cmocka_unit_test(repeated_batches_write_no_sets),
      cmocka_unit_test(sets_of_buffers_that_are_gone_are_written),
      cmocka_unit_test(kernels_are_shared_by_threads),
      cmocka_unit_test(kernels_that_do_not_fit_are_refused),
      cmocka_unit_test(kernels_use_all_types_of_the_gpu),
      cmocka_unit_test(features_of_kernels_are_taken_where_offered),
      cmocka_unit_test(failed_kernels_leave_nothing),
      cmocka_unit_test(failed_dispatches_leave_the_batch),
  };
  return cmocka_run_group_tests_name("vulkan_kernel", tests, NULL, NULL);
}
