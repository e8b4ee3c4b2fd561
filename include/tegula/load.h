// SPDX-License-Identifier: Apache-2.0
//
// Model files: what is in them, and loading their tensors into a session, each
// byte once. Reads safetensors (one file, or the index of a sharded model) and
// GGUF (versions 2 and 3).
//
// A model is opened once and does not change: files are checked as a whole
// before anything is made of them, and are read again, by offset, when tensors
// are loaded. Threads: any.
#ifndef TEGULA_LOAD_H
#define TEGULA_LOAD_H

#include "tegula/session.h"
#include "tegula/stream.h"

#ifdef __cplusplus
extern "C" {
#endif

// ---- Models ----------------------------------------------------------------

typedef struct teg_model teg_model;

enum { TEG_TENSOR_MOST_DIMENSIONS = 8 };

typedef struct teg_tensor_info {
  const char* name;  // lives as long as the model
  const char* type;  // as the format calls it: "F32", "BF16", "Q4_K" ...
  uint32_t dimension_count;
  uint64_t shape[TEG_TENSOR_MOST_DIMENSIONS];  // outermost first
  uint32_t file_index;
  uint64_t file_offset;
  uint64_t bytes;
} teg_tensor_info;

// Opens a model: NAME.safetensors, NAME.safetensors.index.json, NAME.gguf, or a
// folder that has one of them. Told apart by their content.
//   allocator  NULL = malloc
// Returns TEG_NOT_FOUND, TEG_IO, or, with the place in the file, TEG_CORRUPT,
// TEG_TRUNCATED (shorter than it says), TEG_BAD_VERSION, TEG_UNSUPPORTED (a
// type of tensor that is not known, a big-endian file).
TEG_API TEG_NODISCARD teg_result teg_model_open(const char* path,
                                                const teg_allocator* allocator,
                                                teg_model** out_model,
                                                teg_error* err);
TEG_API void teg_model_close(teg_model* model);

// "safetensors", "sharded safetensors", "gguf v2", "gguf v3"
TEG_API const char* teg_model_format(const teg_model* model);
TEG_API uint32_t teg_model_file_count(const teg_model* model);
TEG_API const char* teg_model_file_path(const teg_model* model, uint32_t index);

// Tensors in the order of their bytes in the files; false past the end. One
// with a 0 in its shape has 0 bytes.
TEG_API uint64_t teg_model_tensor_count(const teg_model* model);
TEG_API uint64_t teg_model_tensor_bytes(const teg_model* model);  // of all
TEG_API bool teg_model_tensor(const teg_model* model, uint64_t index,
                              teg_tensor_info* out_info);
// TEG_NOT_FOUND names the nearest.
TEG_API TEG_NODISCARD teg_result teg_model_find(const teg_model* model,
                                                const char* name,
                                                uint64_t* out_index,
                                                teg_error* err);

// Metadata as text, in the order of the file; false past the end. Arrays are
// written as [a, b, ... 9 in all] and cut after a few, texts after 64 KiB.
TEG_API bool teg_model_metadata(const teg_model* model, uint64_t index,
                                const char** out_key, const char** out_value);

// ---- Loading ---------------------------------------------------------------

typedef struct teg_weights teg_weights;

typedef enum teg_load_way {
  TEG_LOAD_AUTO = 0,    // what is faster on this device
  TEG_LOAD_MAPPED = 1,  // reads land in mapped device memory
  TEG_LOAD_STAGED = 2,  // in slots of a bounded ring, copied from there
} teg_load_way;

#define TEG_LOAD_AS_IT_IS UINT64_MAX

typedef struct teg_load_progress {
  uint64_t done_bytes;
  uint64_t total_bytes;
  uint64_t elapsed_ns;
} teg_load_progress;

// Called now and then on the calling thread. False cancels.
typedef bool (*teg_load_watch)(void* user, const teg_load_progress* progress);

// Called once a tensor, on the calling thread and in the order of the tensors,
// when its original bytes are in |original| in their place in |stream|; makes
// the result there by recording commands into |result|, which has the size
// that |result_bytes| gave it. What it allocates for itself it gives back
// before it returns. An error ends the load.
//
// The original is a buffer of the session's that is destroyed when the
// conversion is over; the next one is read after that.
typedef struct teg_load_hook {
  void* user;
  // Size of what is kept of the tensor, also where that is its own. 0 = it is
  // not kept. TEG_LOAD_AS_IT_IS = it is, and convert is not called.
  uint64_t (*result_bytes)(void* user, const teg_tensor_info* tensor);
  teg_result (*convert)(void* user, const teg_tensor_info* tensor,
                        teg_stream* stream, teg_buffer* original,
                        teg_buffer* result, uint64_t result_offset,
                        teg_error* err);
} teg_load_hook;

typedef struct teg_load_params {
  uint32_t struct_size;
  const uint64_t* tensors;  // which ones; NULL = all
  uint64_t tensor_count;
  bool is_packed;  // into few buffers, instead of one a tensor
  teg_load_way way;
  uint32_t thread_count;  // that read; 0 = as many as help, at most 4
  uint32_t tag;           // of the buffers
  teg_load_watch watch;   // NULL = none
  void* watch_user;
  const teg_load_hook* hook;  // NULL = tensors are kept as they are
} teg_load_params;

#define TEG_LOAD_PARAMS_INIT \
  { sizeof(teg_load_params), 0, 0, false, TEG_LOAD_AUTO, 0, 0, 0, 0, 0 }

// Loads tensors into STATIC buffers of the session. The device never holds
// more than the weights and a ring of at most ring_max bytes (and the original
// of a tensor that is converted), the process no more than that ring. On
// failure, or when cancelled (TEG_CANCELLED), the session is as before. Returns
// TEG_OUT_OF_MEMORY or TEG_OVER_BUDGET, with how much is missing, before
// anything is read; TEG_IO for a file that cannot be read or has changed.
TEG_API TEG_NODISCARD teg_result teg_load(teg_session* session,
                                          const teg_model* model,
                                          const teg_load_params* params,
                                          teg_weights** out_weights,
                                          teg_error* err);
// Destroys the buffers, too. Before their session. NULL is fine.
TEG_API void teg_weights_destroy(teg_weights* weights);

// Where a tensor is: |index| counts as in the model. A tensor without bytes
// has no buffer: NULL. TEG_NOT_FOUND if it was not loaded, or not kept.
TEG_API TEG_NODISCARD teg_result teg_weights_tensor(
    const teg_weights* weights, uint64_t index, teg_buffer** out_buffer,
    uint64_t* out_offset, uint64_t* out_bytes, teg_error* err);

typedef struct teg_load_stats {
  uint32_t struct_size;
  teg_load_way way;
  uint32_t thread_count;
  uint64_t bytes;                // read from files
  uint64_t mapped_bytes;         // of them, read straight into device memory
  uint64_t staged_bytes;         // of them, through the ring
  uint64_t elapsed_ns;           // of it all
  uint64_t allocate_ns;          // of it, making the buffers
  uint64_t peak_reserved_bytes;  // of the device, while it loaded
  uint64_t ring_bytes;           // of staging, at most
} teg_load_stats;

TEG_API void teg_weights_get_stats(const teg_weights* weights,
                                   teg_load_stats* out_stats);

// ---- Saving ----------------------------------------------------------------

typedef struct teg_save_tensor {
  const char* name;
  const char* type;  // one of safetensors': "F32", "BF16", "U8" ...
  uint32_t dimension_count;
  uint64_t shape[TEG_TENSOR_MOST_DIMENSIONS];
  teg_buffer* buffer;
  uint64_t offset;  // in the buffer; as many bytes as type and shape say
} teg_save_tensor;

// Writes a safetensors file, through the stream's readback ring. The file is
// there whole or not at all.
TEG_API TEG_NODISCARD teg_result teg_save(teg_stream* stream, const char* path,
                                          const teg_save_tensor* tensors,
                                          uint64_t tensor_count,
                                          teg_error* err);

#ifdef __cplusplus
}
#endif

#endif  // TEGULA_LOAD_H
