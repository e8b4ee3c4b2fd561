// SPDX-License-Identifier: Apache-2.0
//
// AMD's Vulkan Memory Allocator as an anchor: its virtual block, the two-level
// segregated fit over [0, bytes) that it places buffers by, without a device.
// bench/vma_block.cpp is built into a module of its own where the header
// vk_mem_alloc.h is installed (bench/run does that), and loaded by name.
#ifndef TEGULA_BENCH_VMA_BLOCK_H
#define TEGULA_BENCH_VMA_BLOCK_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct vma_block_ops {
  // NULL without memory.
  void* (*open)(uint64_t bytes);
  // A handle, and where it lies; NULL when nothing fits.
  void* (*take)(void* block, uint64_t size, uint64_t alignment,
                uint64_t* out_offset);
  void (*give)(void* block, void* handle);
  void (*close)(void* block);
} vma_block_ops;

#define VMA_BLOCK_SYMBOL "vma_block_table"
extern const vma_block_ops vma_block_table;

#ifdef __cplusplus
}
#endif

#endif  // TEGULA_BENCH_VMA_BLOCK_H
