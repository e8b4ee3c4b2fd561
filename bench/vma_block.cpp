// SPDX-License-Identifier: Apache-2.0
//
// See support/vma_block.h. Needs the header vk_mem_alloc.h (Debian 13 and
// later: libvulkan-memory-allocator-dev); nothing of it is kept here.
#define VMA_IMPLEMENTATION
#define VMA_STATIC_VULKAN_FUNCTIONS 0
#define VMA_DYNAMIC_VULKAN_FUNCTIONS 0
#include <vk_mem_alloc.h>

#include "support/vma_block.h"

namespace {

static_assert(sizeof(VmaVirtualAllocation) == sizeof(void*),
              "handles of virtual allocations are pointers");

void* OpenBlock(uint64_t bytes) {
  VmaVirtualBlockCreateInfo info = {};
  info.size = bytes;
  VmaVirtualBlock block = nullptr;
  return vmaCreateVirtualBlock(&info, &block) == VK_SUCCESS ? block : nullptr;
}

void* Take(void* block, uint64_t size, uint64_t alignment,
           uint64_t* out_offset) {
  VmaVirtualAllocationCreateInfo info = {};
  info.size = size;
  info.alignment = alignment;
  VmaVirtualAllocation handle = nullptr;
  VkResult result = vmaVirtualAllocate(static_cast<VmaVirtualBlock>(block),
                                       &info, &handle, out_offset);
  return result == VK_SUCCESS ? reinterpret_cast<void*>(handle) : nullptr;
}

void Give(void* block, void* handle) {
  vmaVirtualFree(static_cast<VmaVirtualBlock>(block),
                 reinterpret_cast<VmaVirtualAllocation>(handle));
}

void CloseBlock(void* block) {
  vmaClearVirtualBlock(static_cast<VmaVirtualBlock>(block));
  vmaDestroyVirtualBlock(static_cast<VmaVirtualBlock>(block));
}

}  // namespace

extern "C" __attribute__((visibility("default")))
const vma_block_ops vma_block_table = {OpenBlock, Take, Give, CloseBlock};
