// SPDX-License-Identifier: Apache-2.0
//
// Layouts of descriptors, by how many buffers there are and whether there are
// parameters. Kernels laid out alike share one, so that a set which is bound
// for one stays bound for the next.
//
// layouts.lock guards the making; what is made stays as it is.
#include "backend/vulkan/vulkan_backend.h"
#include "base/error.h"

teg_result tegi_vk_layouts_init(tegi_vk_device* device, teg_error* err) {
  device->layouts.has_lock = tegi_mutex_init(&device->layouts.lock) == TEG_OK;
  if (device->layouts.has_lock) return TEG_OK;
  return tegi_error_set(err, TEG_OUT_OF_HOST_MEMORY,
                        "vulkan: cannot make a lock");
}

static void destroy(tegi_vk_device* device, tegi_vk_layout* layout) {
  if (!layout) return;
  device->vk.DestroyPipelineLayout(device->handle, layout->pipeline, NULL);
  device->vk.DestroyDescriptorSetLayout(device->handle, layout->sets, NULL);
  tegi_host_free(&device->host, layout, sizeof *layout);
}

void tegi_vk_layouts_deinit(tegi_vk_device* device) {
  if (!device->layouts.has_lock) return;
  for (uint32_t i = 0; i < TEGI_VK_LAYOUTS; i++) {
    destroy(device, device->layouts.made[i]);
  }
  tegi_mutex_destroy(&device->layouts.lock);
  device->layouts.has_lock = false;
}

static VkResult make_sets(tegi_vk_device* device, tegi_vk_layout* layout) {
  VkDescriptorSetLayoutBinding bindings[TEG_MOST_BINDINGS + 1];
  uint32_t count = 0;
  while (count < layout->buffer_count + layout->has_parameters) {
    bindings[count] = (VkDescriptorSetLayoutBinding){
        .binding = count,
        .descriptorType = count < layout->buffer_count
                              ? VK_DESCRIPTOR_TYPE_STORAGE_BUFFER
                              : VK_DESCRIPTOR_TYPE_UNIFORM_BUFFER_DYNAMIC,
        .descriptorCount = 1,
        .stageFlags = VK_SHADER_STAGE_COMPUTE_BIT,
    };
    count++;
  }
  if (count == 0) return VK_SUCCESS;
  const VkDescriptorSetLayoutCreateInfo info = {
      .sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_LAYOUT_CREATE_INFO,
      .bindingCount = count,
      .pBindings = bindings,
  };
  VkResult native = device->vk.CreateDescriptorSetLayout(device->handle, &info,
                                                         NULL, &layout->sets);
  if (native != VK_SUCCESS) layout->sets = VK_NULL_HANDLE;
  return native;
}

static VkResult make_pipeline(tegi_vk_device* device, tegi_vk_layout* layout) {
  const VkPipelineLayoutCreateInfo info = {
      .sType = VK_STRUCTURE_TYPE_PIPELINE_LAYOUT_CREATE_INFO,
      .setLayoutCount = layout->sets ? 1 : 0,
      .pSetLayouts = &layout->sets,
  };
  VkResult native = device->vk.CreatePipelineLayout(device->handle, &info, NULL,
                                                    &layout->pipeline);
  if (native != VK_SUCCESS) layout->pipeline = VK_NULL_HANDLE;
  return native;
}

static teg_result make(tegi_vk_device* device, uint32_t buffer_count,
                       bool has_parameters, tegi_vk_layout** out_layout,
                       teg_error* err) {
  tegi_vk_layout* layout = tegi_host_alloc(&device->host, sizeof *layout);
  if (!layout) {
    return tegi_error_set(err, TEG_OUT_OF_HOST_MEMORY,
                          "no host memory for a layout of %u bindings",
                          buffer_count);
  }
  layout->buffer_count = buffer_count;
  layout->has_parameters = has_parameters;
  VkResult native = make_sets(device, layout);
  if (native == VK_SUCCESS) native = make_pipeline(device, layout);
  if (native == VK_SUCCESS) {
    *out_layout = layout;
    return TEG_OK;
  }
  destroy(device, layout);
  return tegi_vk_device_failed(device, native, "making a pipeline layout", err);
}

teg_result tegi_vk_layouts_get(tegi_vk_device* device, uint32_t buffer_count,
                               bool has_parameters,
                               const tegi_vk_layout** out_layout,
                               teg_error* err) {
  *out_layout = NULL;
  tegi_vk_layout** made =
      &device->layouts.made[tegi_vk_layout_index(buffer_count, has_parameters)];
  teg_result result = TEG_OK;
  tegi_mutex_lock(&device->layouts.lock);
  if (!*made) result = make(device, buffer_count, has_parameters, made, err);
  *out_layout = *made;
  tegi_mutex_unlock(&device->layouts.lock);
  return result;
}
