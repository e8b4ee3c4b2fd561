// SPDX-License-Identifier: Apache-2.0
//
// Vulkan called by hand: what tegula bench compares the library with on a
// Vulkan device. As a careful program would do it that does nothing else: one
// queue, everything made beforehand, no checks and no bookkeeping.
#ifndef TEGULA_CLI_BENCH_VULKAN_H
#define TEGULA_CLI_BENCH_VULKAN_H

#include "bench.h"

typedef struct cli_vulkan cli_vulkan;

// The device that |bench| measures; NULL where it is no Vulkan device, or the
// program was built without Vulkan's headers.
cli_vulkan* cli_vulkan_open(const cli_bench* bench);
// NULL is fine.
void cli_vulkan_close(cli_vulkan* vk);

// Makes a buffer on the device and staging memory of |bytes|. Like all below:
// false when Vulkan fails.
bool cli_vulkan_reserve(cli_vulkan* vk, uint64_t bytes);
// Copies by the CPU to or from staging memory, and by the device to or from
// the buffer, and waits. At most what was reserved.
bool cli_vulkan_upload(cli_vulkan* vk, const void* data, uint64_t bytes);
bool cli_vulkan_download(cli_vulkan* vk, void* data, uint64_t bytes);

// Records |count| dispatches, at most 64, with a barrier before each, and
// submits them. The last batch has been waited for.
bool cli_vulkan_dispatch(cli_vulkan* vk, uint32_t count);
bool cli_vulkan_wait(cli_vulkan* vk);

// The kernel that is dispatched; NULL as above.
const uint32_t* cli_vulkan_work_spirv(size_t* out_bytes);

#endif  // TEGULA_CLI_BENCH_VULKAN_H
