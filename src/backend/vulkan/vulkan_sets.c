// SPDX-License-Identifier: Apache-2.0
//
// The descriptor sets of a batch. A batch gives its sets out in order, for each
// layout, and has them all again when it is complete: the pools behind them are
// never reset. So the n-th dispatch of a batch meets the set that the n-th had
// when the batch was last used, and a program that does the same again finds
// it written already. What a set says is known by the ids of memories, because
// a handle may come again for another buffer.
//
// Guarded as the batch is, by the stream's thread.
#include "backend/vulkan/vulkan_backend.h"
#include "base/checked.h"
#include "base/error.h"

// Sets of one pool: as many as there are, within these.
#define LEAST_SETS 8u
#define MOST_SETS 64u

// What one binding of a set says.
typedef struct set_entry {
  uint64_t id;  // of the memory
  uint64_t offset;
  uint64_t size;
} set_entry;

// The sets of one layout.
struct tegi_vk_set_list {
  uint32_t width;  // entries of a set
  uint32_t made_count;
  uint32_t used_count;
  VkDescriptorSet* sets;
  set_entry* entries;  // zero = never written
  VkDescriptorPool* pools;
  size_t pool_count;
  size_t set_capacity;
  size_t entry_capacity;
  size_t pool_capacity;
};

static uint32_t width_of(const tegi_vk_layout* layout) {
  return layout->buffer_count + layout->has_parameters;
}

// ---- Making sets.

static VkResult make_pool(const tegi_vk_device* device,
                          const tegi_vk_layout* layout, uint32_t count,
                          VkDescriptorPool* out_pool) {
  VkDescriptorPoolSize sizes[2];
  uint32_t size_count = 0;
  if (layout->buffer_count) {
    sizes[size_count++] = (VkDescriptorPoolSize){
        VK_DESCRIPTOR_TYPE_STORAGE_BUFFER, count * layout->buffer_count};
  }
  if (layout->has_parameters) {
    sizes[size_count++] = (VkDescriptorPoolSize){
        VK_DESCRIPTOR_TYPE_UNIFORM_BUFFER_DYNAMIC, count};
  }
  const VkDescriptorPoolCreateInfo info = {
      .sType = VK_STRUCTURE_TYPE_DESCRIPTOR_POOL_CREATE_INFO,
      .maxSets = count,
      .poolSizeCount = size_count,
      .pPoolSizes = sizes,
  };
  return device->vk.CreateDescriptorPool(device->handle, &info, NULL, out_pool);
}

// |count| sets, from a pool of their own, behind those that |list| has. There
// is room for them.
static VkResult make_sets(const tegi_vk_device* device, tegi_vk_set_list* list,
                          const tegi_vk_layout* layout, uint32_t count) {
  VkDescriptorPool pool;
  VkResult native = make_pool(device, layout, count, &pool);
  if (native != VK_SUCCESS) return native;
  VkDescriptorSetLayout layouts[MOST_SETS];
  for (uint32_t i = 0; i < count; i++) layouts[i] = layout->sets;
  const VkDescriptorSetAllocateInfo info = {
      .sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_ALLOCATE_INFO,
      .descriptorPool = pool,
      .descriptorSetCount = count,
      .pSetLayouts = layouts,
  };
  native = device->vk.AllocateDescriptorSets(device->handle, &info,
                                             &list->sets[list->made_count]);
  if (native != VK_SUCCESS) {
    device->vk.DestroyDescriptorPool(device->handle, pool, NULL);
    return native;
  }
  list->pools[list->pool_count++] = pool;
  list->made_count += count;
  return VK_SUCCESS;
}

static teg_result grow(tegi_vk_device* device, tegi_vk_set_list* list,
                       const tegi_vk_layout* layout, teg_error* err) {
  const uint32_t count = (uint32_t)tegi_min_u64(
      tegi_max_u64(list->made_count, LEAST_SETS), MOST_SETS);
  const size_t most = (size_t)list->made_count + count;
  tegi_host* host = &device->host;
  if (!tegi_host_grow_array(host, (void*)&list->sets, &list->set_capacity, most,
                            sizeof *list->sets) ||
      !tegi_host_grow_array(host, &list->entries, &list->entry_capacity,
                            most * list->width, sizeof *list->entries) ||
      !tegi_host_grow_array(host, (void*)&list->pools, &list->pool_capacity,
                            list->pool_count + 1, sizeof *list->pools)) {
    return tegi_error_set(err, TEG_OUT_OF_HOST_MEMORY,
                          "no host memory for %u descriptor sets", count);
  }
  VkResult native = make_sets(device, list, layout, count);
  if (native == VK_SUCCESS) return TEG_OK;
  return tegi_vk_device_failed(device, native, "making descriptor sets", err);
}

static tegi_vk_set_list* list_of(tegi_vk_device* device,
                                 tegi_vk_dispatches* dispatches,
                                 const tegi_vk_layout* layout) {
  tegi_vk_set_list** list = &dispatches->lists[tegi_vk_layout_index(
      layout->buffer_count, layout->has_parameters)];
  if (!*list) {
    *list = tegi_host_alloc(&device->host, sizeof **list);
    if (*list) (*list)->width = width_of(layout);
  }
  return *list;
}

// ---- Writing sets.

// The part of an offset that a set has; the rest is given when it is bound.
static uint64_t set_offset(const teg_span* parameters) {
  return parameters->offset & ~(uint64_t)UINT32_MAX;
}

// True if a set with these entries can be bound for |dispatch|.
static inline bool is_set_for(const set_entry* entries,
                              const tegi_vk_layout* layout,
                              const teg_dispatch* dispatch,
                              uint64_t parameter_bytes) {
  const uint32_t count = layout->buffer_count;
  for (uint32_t i = 0; i < count; i++) {
    const teg_span* span = &dispatch->bindings[i].span;
    if (entries[i].id != tegi_vk_memory_from(span->memory)->id ||
        entries[i].offset != span->offset || entries[i].size != span->size) {
      return false;
    }
  }
  if (!layout->has_parameters) return true;
  const teg_span* span = &dispatch->parameters;
  return entries[count].id == tegi_vk_memory_from(span->memory)->id &&
         entries[count].offset == set_offset(span) &&
         entries[count].size == parameter_bytes;
}

static void describe(const tegi_vk_layout* layout, const teg_dispatch* dispatch,
                     uint64_t parameter_bytes, set_entry* out_entries) {
  for (uint32_t i = 0; i < layout->buffer_count; i++) {
    const teg_span* span = &dispatch->bindings[i].span;
    out_entries[i] = (set_entry){tegi_vk_memory_from(span->memory)->id,
                                 span->offset, span->size};
  }
  if (!layout->has_parameters) return;
  const teg_span* span = &dispatch->parameters;
  out_entries[layout->buffer_count] = (set_entry){
      tegi_vk_memory_from(span->memory)->id, set_offset(span), parameter_bytes};
}

static void write(const tegi_vk_device* device, VkDescriptorSet set,
                  const tegi_vk_layout* layout, const teg_dispatch* dispatch,
                  uint64_t parameter_bytes) {
  VkDescriptorBufferInfo infos[TEG_MOST_BINDINGS + 1];
  VkWriteDescriptorSet writes[2];
  uint32_t write_count = 0;
  const uint32_t count = layout->buffer_count;
  for (uint32_t i = 0; i < count; i++) {
    const teg_span* span = &dispatch->bindings[i].span;
    infos[i] = (VkDescriptorBufferInfo){
        tegi_vk_memory_from(span->memory)->buffer, span->offset, span->size};
  }
  // Those past the first go to the bindings behind it.
  if (count) {
    writes[write_count++] = (VkWriteDescriptorSet){
        .sType = VK_STRUCTURE_TYPE_WRITE_DESCRIPTOR_SET,
        .dstSet = set,
        .descriptorCount = count,
        .descriptorType = VK_DESCRIPTOR_TYPE_STORAGE_BUFFER,
        .pBufferInfo = infos,
    };
  }
  if (layout->has_parameters) {
    const teg_span* span = &dispatch->parameters;
    infos[count] =
        (VkDescriptorBufferInfo){tegi_vk_memory_from(span->memory)->buffer,
                                 set_offset(span), parameter_bytes};
    writes[write_count++] = (VkWriteDescriptorSet){
        .sType = VK_STRUCTURE_TYPE_WRITE_DESCRIPTOR_SET,
        .dstSet = set,
        .dstBinding = count,
        .descriptorCount = 1,
        .descriptorType = VK_DESCRIPTOR_TYPE_UNIFORM_BUFFER_DYNAMIC,
        .pBufferInfo = &infos[count],
    };
  }
  device->vk.UpdateDescriptorSets(device->handle, write_count, writes, 0, NULL);
}

teg_result tegi_vk_sets_take(tegi_vk_device* device,
                             tegi_vk_dispatches* dispatches,
                             const tegi_vk_layout* layout,
                             const teg_dispatch* dispatch,
                             uint64_t parameter_bytes, VkDescriptorSet* out_set,
                             teg_error* err) {
  *out_set = VK_NULL_HANDLE;
  if (!layout->sets) return TEG_OK;
  tegi_vk_set_list* list = list_of(device, dispatches, layout);
  if (!list) {
    return tegi_error_set(err, TEG_OUT_OF_HOST_MEMORY,
                          "no host memory for a list of descriptor sets");
  }
  // Often a kernel runs again on the same bytes, with other parameters.
  if (list->used_count) {
    const size_t last = list->used_count - 1u;
    if (is_set_for(&list->entries[last * list->width], layout, dispatch,
                   parameter_bytes)) {
      *out_set = list->sets[last];
      return TEG_OK;
    }
  }
  if (list->used_count == list->made_count) {
    teg_result result = grow(device, list, layout, err);
    if (result != TEG_OK) return result;
  }
  const size_t next = list->used_count++;
  set_entry* entries = &list->entries[next * list->width];
  *out_set = list->sets[next];
  if (!is_set_for(entries, layout, dispatch, parameter_bytes)) {
    write(device, *out_set, layout, dispatch, parameter_bytes);
    describe(layout, dispatch, parameter_bytes, entries);
  }
  return TEG_OK;
}

void tegi_vk_sets_reset(tegi_vk_dispatches* dispatches) {
  for (uint32_t i = 0; i < TEGI_VK_LAYOUTS; i++) {
    if (dispatches->lists[i]) dispatches->lists[i]->used_count = 0;
  }
}

void tegi_vk_sets_deinit(tegi_vk_device* device,
                         tegi_vk_dispatches* dispatches) {
  tegi_host* host = &device->host;
  for (uint32_t i = 0; i < TEGI_VK_LAYOUTS; i++) {
    tegi_vk_set_list* list = dispatches->lists[i];
    if (!list) continue;
    for (size_t p = 0; p < list->pool_count; p++) {
      device->vk.DestroyDescriptorPool(device->handle, list->pools[p], NULL);
    }
    tegi_host_free(host, (void*)list->sets,
                   list->set_capacity * sizeof *list->sets);
    tegi_host_free(host, list->entries,
                   list->entry_capacity * sizeof *list->entries);
    tegi_host_free(host, (void*)list->pools,
                   list->pool_capacity * sizeof *list->pools);
    tegi_host_free(host, list, sizeof *list);
    dispatches->lists[i] = NULL;
  }
}
