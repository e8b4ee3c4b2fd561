// SPDX-License-Identifier: Apache-2.0
//
// The host device from the native side: what it holds of the operating
// system, and, for a device that was opened told, the means to let submitted
// batches execute without waiting for them. Pointers to memory come from the
// map group of backend.h.
#ifndef TEGULA_HOST_H
#define TEGULA_HOST_H

#include "tegula/backend.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct teg_host_info {
  uint32_t struct_size;
  int file_descriptor;          // the memfd all heaps lie in; do not close it
  uint64_t page_bytes;          // of the operating system
  uint64_t heap_bytes;          // in heaps, rounded as the file needs it
  uint64_t heap_file_bytes;     // length of the file
  uint64_t large_buffer_bytes;  // in buffers with pages of their own
  uint64_t mapping_count;       // kernel mappings of all address ranges
  uint64_t mapping_limit;       // at most so many
  uint64_t object_count;        // memories, ranges and streams alive
} teg_host_info;

#define TEG_HOST_INFO_INIT \
  { sizeof(teg_host_info), -1, 0, 0, 0, 0, 0, 0, 0 }

// Returns TEG_INVALID if |device| is not a host device. Threads: any.
TEG_API TEG_NODISCARD teg_result teg_host_get_info(teg_backend_device* device,
                                                   teg_host_info* out_info);

// Executes up to |max_count| submitted batches, oldest first, on the calling
// thread. Returns how many; 0 if |device| is not a told host device.
// Threads: any. May block: while another thread executes a batch.
TEG_API uint64_t teg_host_run_batches(teg_backend_device* device,
                                      uint64_t max_count);

#ifdef __cplusplus
}
#endif

#endif  // TEGULA_HOST_H
