// SPDX-License-Identifier: Apache-2.0
//
// A device: one opened GPU, or the host's memory playing one. It owns heaps,
// free tiles and free buffers, and lends them to its sessions. It outlives
// its sessions: destroying it ends those that are left.
#ifndef TEGULA_DEVICE_H
#define TEGULA_DEVICE_H

#include "tegula/backend.h"
#include "tegula/options.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct teg_device teg_device;

typedef struct teg_device_params {
  uint32_t struct_size;
  uint32_t device_index;       // which of the backend's devices
  const char* backend;         // "host", "null", "vulkan"; NULL = "host"
  const teg_options* options;  // device options are read; NULL = defaults
  teg_allocator allocator;     // all-zero = malloc
  teg_log log;                 // all-zero = silent
  // The program's own objects to work with, instead of opening a device: see
  // the backend's header (tegula/vulkan.h). NULL = none.
  const void* adopt;
} teg_device_params;

#define TEG_DEVICE_PARAMS_INIT                                    \
  {                                                               \
    sizeof(teg_device_params), 0, NULL, NULL, {NULL, NULL, NULL}, \
        {NULL, NULL, TEG_LOG_ERROR}, NULL                         \
  }

// Opens a device.
// Returns TEG_NOT_FOUND (no such backend: |err| names the nearest),
//         TEG_UNAVAILABLE (driver not there), TEG_INVALID, TEG_DEVICE_ERROR,
//         TEG_UNSUPPORTED (it adopts nothing, or not what it was given).
// Threads: any. May block: yes.
TEG_API TEG_NODISCARD teg_result teg_device_create(
    const teg_device_params* params, teg_device** out_device, teg_error* err);

// Ends every session, waits for submitted work and closes the device.
// What was still alive is named in the log. NULL is fine.
TEG_API void teg_device_destroy(teg_device* device);

TEG_API void teg_device_get_caps(const teg_device* device,
                                 teg_backend_caps* out_caps);
TEG_API const char* teg_device_backend_name(const teg_device* device);

typedef enum teg_trim_level {
  TEG_TRIM_UNUSED = 0,  // heaps and buffers nothing was placed in for a run
  TEG_TRIM_FREE = 1,    // everything that is free and idle
  TEG_TRIM_ALL = 2,     // as above, waiting for what is only submitted
} teg_trim_level;

// Gives free memory of the device and all its idle sessions back to the
// driver. Returns the bytes given back. Threads: any. May block: TEG_TRIM_ALL.
TEG_API uint64_t teg_device_trim(teg_device* device, teg_trim_level level);

// Lists the backends that were built in: index 0, 1, ... until NULL.
typedef struct teg_backend_info {
  uint32_t struct_size;
  const char* name;
  const char* summary;
  uint32_t device_count;
  teg_result result;  // TEG_OK, or why there is no device
  teg_error error;
} teg_backend_info;

// Returns TEG_END past the last one.
TEG_API TEG_NODISCARD teg_result
teg_backend_get_info(size_t index, teg_backend_info* out_info);

// Describes one device of a backend, without keeping it open.
// Returns TEG_END past the last backend, TEG_INVALID (no such device),
//         TEG_UNSUPPORTED (the backend does not say), TEG_UNAVAILABLE.
TEG_API TEG_NODISCARD teg_result
teg_backend_describe(size_t index, uint32_t device_index,
                     teg_device_description* out_description, teg_error* err);

#ifdef __cplusplus
}
#endif

#endif  // TEGULA_DEVICE_H
