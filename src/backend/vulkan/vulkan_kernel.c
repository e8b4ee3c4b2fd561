// SPDX-License-Identifier: Apache-2.0
//
// Kernels of the Vulkan device, compute pipelines made of SPIR-V that was
// checked before, and their dispatches.
//
// A batch holds a reference to every kernel that it runs, so that a pipeline
// goes when its owner and the last batch have let go of it. Of one command
// buffer it is known what is bound, and only what differs is bound.
#include <stdio.h>

#include "backend/common/spirv.h"
#include "backend/vulkan/vulkan_backend.h"
#include "base/checked.h"
#include "base/error.h"

#define KERNEL_MAGIC 0x766b6b65u
// What vkCmdDispatchIndirect reads, and its alignment.
#define INDIRECT_BYTES 12u
#define INDIRECT_ALIGNMENT 4u

struct tegi_vk_kernel {
  uint32_t magic;
  uint32_t parameter_bytes;
  const tegi_vk_layout* layout;
  VkPipeline pipeline;
  tegi_atomic_u32 reference_count;
  // The use of the batch that took a reference last. Where a batch finds its
  // own number it has one already.
  tegi_atomic_u64 last_use;
};

static tegi_vk_kernel* kernel_from(teg_backend_kernel* kernel) {
  tegi_vk_kernel* vk_kernel = (tegi_vk_kernel*)(void*)kernel;
  TEG_ASSERT(vk_kernel && vk_kernel->magic == KERNEL_MAGIC);
  return vk_kernel;
}

// ---- Creation.

static const char* name_of(const teg_kernel_params* params) {
  return params->name ? params->name : "without a name";
}

static teg_result check_params(const tegi_vk_device* device,
                               const teg_kernel_params* params,
                               teg_error* err) {
  const tegi_vk_facts* facts = &device->facts;
  const char* name = name_of(params);
  if (!params->spirv) {
    return tegi_error_set(
        err, TEG_UNSUPPORTED,
        "kernel \"%.60s\" has no SPIR-V, the form that Vulkan "
        "devices take",
        name);
  }
  const uint32_t version = facts->api_version >= VK_API_VERSION_1_3
                               ? TEGI_SPIRV_VERSION(1, 6)
                               : TEGI_SPIRV_VERSION(1, 5);
  teg_result result = tegi_spirv_check(params, version, err);
  if (result != TEG_OK) return result;
  if (params->binding_count > facts->max_storage_buffers) {
    return tegi_error_set(
        err, TEG_UNSUPPORTED,
        "kernel \"%.60s\": %u bindings are more than this device's %u", name,
        params->binding_count, facts->max_storage_buffers);
  }
  if (params->parameter_bytes > facts->max_uniform_bytes) {
    return tegi_error_set(err, TEG_UNSUPPORTED,
                          "kernel \"%.60s\": %u bytes of parameters are more "
                          "than this device's %llu",
                          name, params->parameter_bytes,
                          (unsigned long long)facts->max_uniform_bytes);
  }
  return tegi_vk_check_alive((tegi_vk_device*)device, err);
}

static teg_result native_failed(tegi_vk_device* device, VkResult native,
                                const char* call, const char* name,
                                teg_error* err) {
  char what[128];
  snprintf(what, sizeof what, "kernel \"%.60s\": %s", name, call);
  return tegi_vk_device_failed(device, native, what, err);
}

static teg_result make_pipeline(tegi_vk_device* device,
                                const teg_kernel_params* params,
                                tegi_vk_kernel* kernel, teg_error* err) {
  const VkShaderModuleCreateInfo module_info = {
      .sType = VK_STRUCTURE_TYPE_SHADER_MODULE_CREATE_INFO,
      .codeSize = params->spirv_bytes,
      .pCode = params->spirv,
  };
  VkShaderModule module;
  VkResult native = device->vk.CreateShaderModule(device->handle, &module_info,
                                                  NULL, &module);
  if (native != VK_SUCCESS) {
    return native_failed(device, native, "vkCreateShaderModule",
                         name_of(params), err);
  }
  const VkComputePipelineCreateInfo info = {
      .sType = VK_STRUCTURE_TYPE_COMPUTE_PIPELINE_CREATE_INFO,
      .stage =
          {
              .sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_CREATE_INFO,
              .stage = VK_SHADER_STAGE_COMPUTE_BIT,
              .module = module,
              .pName = tegi_spirv_entry_point(params),
          },
      .layout = kernel->layout->pipeline,
      .basePipelineIndex = -1,
  };
  native = device->vk.CreateComputePipelines(device->handle, VK_NULL_HANDLE, 1,
                                             &info, NULL, &kernel->pipeline);
  device->vk.DestroyShaderModule(device->handle, module, NULL);
  if (native == VK_SUCCESS) return TEG_OK;
  kernel->pipeline = VK_NULL_HANDLE;
  return native_failed(device, native, "vkCreateComputePipelines",
                       name_of(params), err);
}

static void release(tegi_vk_device* device, tegi_vk_kernel* kernel) {
  if (!tegi_release(&kernel->reference_count)) return;
  device->vk.DestroyPipeline(device->handle, kernel->pipeline, NULL);
  kernel->magic = 0;
  tegi_host_free(&device->host, kernel, sizeof *kernel);
}

static teg_result create(teg_backend_device* base,
                         const teg_kernel_params* params,
                         teg_backend_kernel** out_kernel, teg_error* err) {
  *out_kernel = NULL;
  tegi_vk_device* device = tegi_vk_device_from(base);
  teg_result result = check_params(device, params, err);
  if (result != TEG_OK) return result;
  tegi_vk_kernel* kernel = tegi_host_alloc(&device->host, sizeof *kernel);
  if (!kernel) {
    return tegi_error_set(err, TEG_OUT_OF_HOST_MEMORY,
                          "no host memory for kernel \"%.60s\"",
                          name_of(params));
  }
  kernel->magic = KERNEL_MAGIC;
  kernel->parameter_bytes = params->parameter_bytes;
  tegi_retain(&kernel->reference_count);
  result =
      tegi_vk_layouts_get(device, params->binding_count,
                          params->parameter_bytes > 0, &kernel->layout, err);
  if (result == TEG_OK) result = make_pipeline(device, params, kernel, err);
  if (result != TEG_OK) {
    release(device, kernel);
    return result;
  }
  tegi_fetch_add_relaxed(&device->object_count, 1);
  *out_kernel = (teg_backend_kernel*)(void*)kernel;
  return TEG_OK;
}

static void destroy(teg_backend_device* base, teg_backend_kernel* kernel) {
  if (!kernel) return;
  tegi_vk_device* device = tegi_vk_device_from(base);
  release(device, kernel_from(kernel));
  tegi_fetch_add_relaxed(&device->object_count, (uint64_t)-1);
}

// ---- What a batch keeps.

void tegi_vk_dispatches_begin(tegi_vk_device* device,
                              tegi_vk_dispatches* dispatches) {
  dispatches->use = tegi_vk_next_id(device);
}

void tegi_vk_dispatches_unbind(tegi_vk_dispatches* dispatches) {
  dispatches->pipeline = VK_NULL_HANDLE;
  dispatches->set = VK_NULL_HANDLE;
}

void tegi_vk_dispatches_reset(tegi_vk_device* device,
                              tegi_vk_dispatches* dispatches) {
  for (size_t i = 0; i < dispatches->kernel_count; i++) {
    release(device, dispatches->kernels[i]);
  }
  dispatches->kernel_count = 0;
  // The references of this use are gone.
  tegi_vk_dispatches_begin(device, dispatches);
  tegi_vk_sets_reset(dispatches);
}

void tegi_vk_dispatches_deinit(tegi_vk_device* device,
                               tegi_vk_dispatches* dispatches) {
  tegi_vk_dispatches_reset(device, dispatches);
  tegi_vk_sets_deinit(device, dispatches);
  tegi_host_free(&device->host, (void*)dispatches->kernels,
                 dispatches->kernel_capacity * sizeof *dispatches->kernels);
}

// The batch has a reference to |kernel|.
static teg_result hold(tegi_vk_device* device, tegi_vk_dispatches* dispatches,
                       tegi_vk_kernel* kernel, teg_error* err) {
  if (tegi_load_relaxed(&kernel->last_use) == dispatches->use) return TEG_OK;
  if (!tegi_host_grow_array(&device->host, (void*)&dispatches->kernels,
                            &dispatches->kernel_capacity,
                            dispatches->kernel_count + 1,
                            sizeof *dispatches->kernels)) {
    return tegi_error_set(err, TEG_OUT_OF_HOST_MEMORY,
                          "no host memory to record a dispatch");
  }
  tegi_retain(&kernel->reference_count);
  dispatches->kernels[dispatches->kernel_count++] = kernel;
  tegi_store_relaxed(&kernel->last_use, dispatches->use);
  return TEG_OK;
}

// ---- Dispatches.

#ifndef NDEBUG
// What core has checked; see teg_kernel_ops.
static bool are_bindings_good(const tegi_vk_device* device,
                              const tegi_vk_kernel* kernel,
                              const teg_dispatch* dispatch) {
  if (dispatch->binding_count != kernel->layout->buffer_count) return false;
  for (uint32_t i = 0; i < dispatch->binding_count; i++) {
    const teg_span* span = &dispatch->bindings[i].span;
    if (!tegi_vk_is_inside(span) || span->size == 0 ||
        !tegi_is_aligned(span->offset, device->facts.storage_alignment) ||
        span->size > device->facts.max_binding_bytes) {
      return false;
    }
  }
  return true;
}

static bool are_parameters_good(const tegi_vk_device* device,
                                const tegi_vk_kernel* kernel,
                                const teg_dispatch* dispatch) {
  const teg_span* span = &dispatch->parameters;
  if (!span->memory) return kernel->parameter_bytes == 0;
  return kernel->parameter_bytes > 0 && tegi_vk_is_inside(span) &&
         span->size >= kernel->parameter_bytes &&
         tegi_is_aligned(span->offset, device->facts.uniform_alignment);
}

static bool are_groups_good(const tegi_vk_device* device,
                            const teg_dispatch* dispatch) {
  const teg_span* indirect = dispatch->indirect;
  if (indirect) {
    return tegi_vk_is_inside(indirect) && indirect->size >= INDIRECT_BYTES &&
           tegi_is_aligned(indirect->offset, INDIRECT_ALIGNMENT);
  }
  const uint32_t* count = dispatch->group_count;
  const uint32_t* most = device->facts.max_group_count;
  return count[0] <= most[0] && count[1] <= most[1] && count[2] <= most[2];
}
#endif

static void bind(const tegi_vk_device* device, VkCommandBuffer buffer,
                 tegi_vk_dispatches* bound, const tegi_vk_kernel* kernel,
                 VkDescriptorSet set, uint32_t parameter_offset) {
  if (bound->pipeline != kernel->pipeline) {
    device->vk.CmdBindPipeline(buffer, VK_PIPELINE_BIND_POINT_COMPUTE,
                               kernel->pipeline);
    bound->pipeline = kernel->pipeline;
  }
  const tegi_vk_layout* layout = kernel->layout;
  if (!set ||
      (bound->set == set && bound->parameter_offset == parameter_offset)) {
    return;
  }
  device->vk.CmdBindDescriptorSets(buffer, VK_PIPELINE_BIND_POINT_COMPUTE,
                                   layout->pipeline, 0, 1, &set,
                                   layout->has_parameters, &parameter_offset);
  bound->set = set;
  bound->parameter_offset = parameter_offset;
}

static void dispatch_groups(const tegi_vk_device* device,
                            VkCommandBuffer buffer,
                            const teg_dispatch* dispatch) {
  const teg_span* indirect = dispatch->indirect;
  const uint32_t* count = dispatch->group_count;
  if (indirect) {
    device->vk.CmdDispatchIndirect(
        buffer, tegi_vk_memory_from(indirect->memory)->buffer,
        indirect->offset);
  } else {
    device->vk.CmdDispatch(buffer, count[0], count[1], count[2]);
  }
}

static teg_result record_dispatch(teg_queue_stream* queue_stream,
                                  const teg_dispatch* dispatch,
                                  teg_error* err) {
  tegi_vk_stream* stream = tegi_vk_stream_from(queue_stream);
  tegi_vk_device* device = stream->device;
  tegi_vk_kernel* kernel = kernel_from(dispatch->kernel);
  TEG_ASSERT(are_bindings_good(device, kernel, dispatch));
  TEG_ASSERT(are_parameters_good(device, kernel, dispatch));
  TEG_ASSERT(are_groups_good(device, dispatch));
  VkCommandBuffer buffer;
  tegi_vk_dispatches* dispatches;
  teg_result result = tegi_vk_command_begin(stream, &buffer, &dispatches, err);
  if (result != TEG_OK) return result;
  VkDescriptorSet set;
  result = tegi_vk_sets_take(device, dispatches, kernel->layout, dispatch,
                             kernel->parameter_bytes, &set, err);
  if (result == TEG_OK) result = hold(device, dispatches, kernel, err);
  if (result != TEG_OK) return result;
  bind(device, buffer, dispatches, kernel, set,
       (uint32_t)dispatch->parameters.offset);
  dispatch_groups(device, buffer, dispatch);
  return TEG_OK;
}

const teg_kernel_ops tegi_vk_kernel_ops = {
    .abi_version = TEG_BACKEND_ABI_VERSION,
    .struct_size = sizeof(teg_kernel_ops),
    .create = create,
    .destroy = destroy,
    .record_dispatch = record_dispatch,
};
