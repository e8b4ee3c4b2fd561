// SPDX-License-Identifier: Apache-2.0
//
// An opened model: its files, the list of its tensors, its metadata. A reader
// fills it file by file, each file's tensors behind those of the last;
// afterwards it does not change.
#ifndef TEGULA_LOAD_MODEL_H
#define TEGULA_LOAD_MODEL_H

#include "load/model_file.h"
#include "load/model_input.h"
#include "tegula/load.h"

enum {
  TEGI_MODEL_MOST_FILES = 4096,
  TEGI_MODEL_MOST_TENSORS = 1 << 20,
  TEGI_MODEL_MOST_PAIRS = 1 << 20,
};

typedef struct tegi_model_tensor {
  teg_tensor_info info;
  uint64_t place;  // in the file, of what describes it
} tegi_model_tensor;

typedef struct tegi_model_pair {
  const char* key;
  const char* value;
  uint64_t place;
} tegi_model_pair;

typedef struct tegi_model_page tegi_model_page;

struct teg_model {
  tegi_host host;
  char format[32];
  tegi_model_file* files;
  size_t file_capacity;
  uint32_t file_count;
  tegi_model_tensor* tensors;
  size_t tensor_capacity;
  uint64_t tensor_count;
  uint32_t* by_name;  // indices of tensors
  uint64_t tensor_bytes;
  tegi_model_pair* pairs;
  size_t pair_capacity;
  uint64_t pair_count;
  tegi_model_page* pages;  // of texts
};

// ---- For the loader ---------------------------------------------------------

// NULL past the end. How to open it again, and to see whether it is what it
// was, is in model_file.h.
const tegi_model_file* tegi_model_file_at(const teg_model* model,
                                          uint32_t index);

// ---- For readers ------------------------------------------------------------

teg_result tegi_model_no_memory(const char* path, teg_error* err);

// A copy that lives as long as the model; NULL if there is no memory.
const char* tegi_model_text(teg_model* model, const char* bytes, size_t length);

// Adds a tensor of the last file; |info|'s name is one of tegi_model_text.
teg_result tegi_model_add_tensor(teg_model* model, const teg_tensor_info* info,
                                 uint64_t place, teg_error* err);
// Adds metadata; both are copied.
teg_result tegi_model_add_pair(teg_model* model, const char* key,
                               const char* value, uint64_t place,
                               teg_error* err);
// Refuses a key that is there twice, from pair |first| on.
teg_result tegi_model_check_keys(const teg_model* model, uint64_t first,
                                 const tegi_model_input* input, teg_error* err);
// Sorts the tensors from |first| on by their bytes; refuses overlaps.
teg_result tegi_model_sort_tensors(teg_model* model, uint64_t first,
                                   const tegi_model_input* input,
                                   teg_error* err);

// Elements of a shape; false if they are 2^63 or more. 0 if any is 0.
bool tegi_model_count_elements(const teg_tensor_info* info,
                               uint64_t* out_count);

// Makes by_name, once all tensors are there; refuses a name that is there
// twice. A reader that asks for names calls it, otherwise it is done for it.
teg_result tegi_model_index_names(teg_model* model, teg_error* err);
// Index of the tensor of that name; false if there is none.
bool tegi_model_find_name(const teg_model* model, const char* name,
                          uint64_t* out_index);

// One file of a kind that is known; |input| is at its first byte.
typedef teg_result (*tegi_model_reader)(teg_model* model,
                                        tegi_model_input* input,
                                        teg_error* err);
// Opens |path|, adds it to the files, and reads it with |read|.
teg_result tegi_model_read_file(teg_model* model, const char* path,
                                tegi_model_reader read, teg_error* err);

teg_result tegi_read_gguf(teg_model* model, tegi_model_input* input,
                          teg_error* err);
teg_result tegi_read_safetensors(teg_model* model, tegi_model_input* input,
                                 teg_error* err);
// The index of a sharded model, and then its files. The index is not one of
// them.
teg_result tegi_read_safetensors_index(teg_model* model,
                                       tegi_model_input* input, teg_error* err);

// The model that the folder |path| has, as a path to free with
// tegi_host_free(path, strlen + 1). TEG_NOT_FOUND if there is none or several.
teg_result tegi_model_in_folder(tegi_host* host, const char* path,
                                char** out_path, teg_error* err);

#endif  // TEGULA_LOAD_MODEL_H
