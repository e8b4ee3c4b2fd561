// SPDX-License-Identifier: Apache-2.0
//
// Opened models: which reader a file is for, the tables that readers fill, and
// the questions that are asked of them. A model is built by one thread and then
// only read, so there is no lock. Texts live in pages and never move.
#define _GNU_SOURCE  // qsort_r

#include "load/model.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/checked.h"
#include "base/error.h"
#include "core/options.h"

enum { PAGE_BYTES = 64 * 1024 };

struct tegi_model_page {
  tegi_model_page* next;
  size_t size;  // of bytes
  size_t used;
  char bytes[];
};

teg_result tegi_model_no_memory(const char* path, teg_error* err) {
  return tegi_error_set(err, TEG_OUT_OF_HOST_MEMORY,
                        "%s: no host memory for the list of its tensors", path);
}

// ---- Tables -----------------------------------------------------------------

// A page with room for |length| bytes. A long text gets one of its own, behind
// the page that is being filled.
static tegi_model_page* add_page(teg_model* model, size_t length) {
  bool is_long = length > PAGE_BYTES / 8;
  size_t size = is_long ? length : PAGE_BYTES;
  tegi_model_page* page = tegi_host_alloc(&model->host, sizeof *page + size);
  if (!page) return NULL;
  page->size = size;
  tegi_model_page** link =
      is_long && model->pages ? &model->pages->next : &model->pages;
  page->next = *link;
  *link = page;
  return page;
}

const char* tegi_model_text(teg_model* model, const char* bytes,
                            size_t length) {
  tegi_model_page* page = model->pages;
  if (!page || page->size - page->used < length + 1) {
    page = add_page(model, length + 1);
    if (!page) return NULL;
  }
  char* text = page->bytes + page->used;
  if (length > 0) memcpy(text, bytes, length);
  text[length] = '\0';
  page->used += length + 1;
  return text;
}

static const char* last_path(const teg_model* model) {
  return model->file_count > 0 ? model->files[model->file_count - 1].path
                               : "model";
}

teg_result tegi_model_add_tensor(teg_model* model, const teg_tensor_info* info,
                                 uint64_t place, teg_error* err) {
  if (model->tensor_count == TEGI_MODEL_MOST_TENSORS) {
    return tegi_error_set(err, TEG_CORRUPT,
                          "%s: byte %" PRIu64
                          ": the model has more than %d tensors",
                          last_path(model), place, TEGI_MODEL_MOST_TENSORS);
  }
  if (!tegi_host_grow_array(&model->host, &model->tensors,
                            &model->tensor_capacity, model->tensor_count + 1,
                            sizeof *model->tensors)) {
    return tegi_model_no_memory(last_path(model), err);
  }
  tegi_model_tensor* tensor = &model->tensors[model->tensor_count++];
  tensor->info = *info;
  tensor->info.file_index = model->file_count - 1;
  tensor->place = place;
  return TEG_OK;
}

teg_result tegi_model_add_pair(teg_model* model, const char* key,
                               const char* value, uint64_t place,
                               teg_error* err) {
  if (model->pair_count == TEGI_MODEL_MOST_PAIRS) {
    return tegi_error_set(err, TEG_CORRUPT,
                          "%s: byte %" PRIu64
                          ": there are more than %d pairs of metadata",
                          last_path(model), place, TEGI_MODEL_MOST_PAIRS);
  }
  const char* own_key = tegi_model_text(model, key, strlen(key));
  const char* own_value = tegi_model_text(model, value, strlen(value));
  if (!own_key || !own_value ||
      !tegi_host_grow_array(&model->host, &model->pairs, &model->pair_capacity,
                            model->pair_count + 1, sizeof *model->pairs)) {
    return tegi_model_no_memory(last_path(model), err);
  }
  model->pairs[model->pair_count++] =
      (tegi_model_pair){own_key, own_value, place};
  return TEG_OK;
}

// ---- Checks of a file's tables ----------------------------------------------

// Indices 0 to |count|; NULL if there is no memory or none.
static uint32_t* make_order(tegi_host* host, uint64_t count) {
  uint32_t* order = tegi_host_calloc(host, count, sizeof *order);
  for (uint64_t i = 0; order && i < count; ++i) order[i] = (uint32_t)i;
  return order;
}

// NOLINTNEXTLINE(readability-non-const-parameter): qsort_r's signature
static int compare_keys(const void* a, const void* b, void* user) {
  const tegi_model_pair* pairs = user;
  uint32_t ia = *(const uint32_t*)a;
  uint32_t ib = *(const uint32_t*)b;
  int order = strcmp(pairs[ia].key, pairs[ib].key);
  return order != 0 ? order : (ia > ib) - (ia < ib);
}

teg_result tegi_model_check_keys(const teg_model* model, uint64_t first,
                                 const tegi_model_input* input,
                                 teg_error* err) {
  uint64_t count = model->pair_count - first;
  if (count < 2) return TEG_OK;
  tegi_model_pair* pairs = model->pairs + first;
  uint32_t* order = make_order(input->host, count);
  if (!order) return tegi_model_no_memory(input->file->path, err);
  qsort_r(order, count, sizeof *order, compare_keys, pairs);
  teg_result result = TEG_OK;
  for (uint64_t i = 1; i < count && result == TEG_OK; ++i) {
    const tegi_model_pair* a = &pairs[order[i - 1]];
    const tegi_model_pair* b = &pairs[order[i]];
    if (strcmp(a->key, b->key) != 0) continue;
    result = tegi_model_input_fail(input, b->place, TEG_CORRUPT, err,
                                   "the key \"%.200s\" is there twice, first "
                                   "at byte %" PRIu64,
                                   b->key, a->place);
  }
  tegi_host_free(input->host, order, count * sizeof *order);
  return result;
}

static int compare_u64(uint64_t a, uint64_t b) { return (a > b) - (a < b); }

static int compare_places(const void* a, const void* b) {
  const tegi_model_tensor* ta = a;
  const tegi_model_tensor* tb = b;
  int order = compare_u64(ta->info.file_offset, tb->info.file_offset);
  if (order == 0) order = compare_u64(ta->info.bytes, tb->info.bytes);
  return order != 0 ? order : compare_u64(ta->place, tb->place);
}

teg_result tegi_model_sort_tensors(teg_model* model, uint64_t first,
                                   const tegi_model_input* input,
                                   teg_error* err) {
  uint64_t count = model->tensor_count - first;
  if (count < 2) return TEG_OK;
  tegi_model_tensor* tensors = model->tensors + first;
  qsort(tensors, count, sizeof *tensors, compare_places);
  for (uint64_t i = 1; i < count; ++i) {
    const teg_tensor_info* last = &tensors[i - 1].info;
    const teg_tensor_info* next = &tensors[i].info;
    if (last->file_offset + last->bytes <= next->file_offset) continue;
    return tegi_model_input_fail(
        input, tensors[i].place, TEG_CORRUPT, err,
        "the tensor \"%.200s\" begins at byte %" PRIu64
        ", inside \"%.200s\", which ends at byte %" PRIu64,
        next->name, next->file_offset, last->name,
        last->file_offset + last->bytes);
  }
  return TEG_OK;
}

bool tegi_model_count_elements(const teg_tensor_info* info,
                               uint64_t* out_count) {
  *out_count = 0;
  for (uint32_t i = 0; i < info->dimension_count; ++i) {
    if (info->shape[i] == 0) return true;
  }
  uint64_t count = 1;
  for (uint32_t i = 0; i < info->dimension_count; ++i) {
    if (!tegi_mul_u64(count, info->shape[i], &count)) return false;
  }
  if (count > INT64_MAX) return false;
  *out_count = count;
  return true;
}

// ---- Names ------------------------------------------------------------------

// NOLINTNEXTLINE(readability-non-const-parameter): qsort_r's signature
static int compare_names(const void* a, const void* b, void* user) {
  const tegi_model_tensor* tensors = user;
  uint32_t ia = *(const uint32_t*)a;
  uint32_t ib = *(const uint32_t*)b;
  int order = strcmp(tensors[ia].info.name, tensors[ib].info.name);
  if (order == 0) {
    order =
        compare_u64(tensors[ia].info.file_index, tensors[ib].info.file_index);
  }
  return order != 0 ? order : compare_u64(tensors[ia].place, tensors[ib].place);
}

static teg_result twice(const teg_model* model, const tegi_model_tensor* a,
                        const tegi_model_tensor* b, teg_error* err) {
  const char* path = model->files[b->info.file_index].path;
  if (a->info.file_index == b->info.file_index) {
    return tegi_error_set(err, TEG_CORRUPT,
                          "%s: byte %" PRIu64
                          ": the tensor \"%.200s\" is there twice, first at "
                          "byte %" PRIu64,
                          path, b->place, b->info.name, a->place);
  }
  return tegi_error_set(
      err, TEG_CORRUPT,
      "%s: byte %" PRIu64 ": the tensor \"%.200s\" is there twice, also in %s",
      path, b->place, b->info.name, model->files[a->info.file_index].path);
}

teg_result tegi_model_index_names(teg_model* model, teg_error* err) {
  uint64_t count = model->tensor_count;
  if (count == 0) return TEG_OK;
  model->by_name = make_order(&model->host, count);
  if (!model->by_name) return tegi_model_no_memory(last_path(model), err);
  qsort_r(model->by_name, count, sizeof *model->by_name, compare_names,
          model->tensors);
  for (uint64_t i = 1; i < count; ++i) {
    const tegi_model_tensor* a = &model->tensors[model->by_name[i - 1]];
    const tegi_model_tensor* b = &model->tensors[model->by_name[i]];
    if (strcmp(a->info.name, b->info.name) == 0) {
      return twice(model, a, b, err);
    }
  }
  return TEG_OK;
}

bool tegi_model_find_name(const teg_model* model, const char* name,
                          uint64_t* out_index) {
  *out_index = 0;
  uint64_t low = 0;
  uint64_t high = model->tensor_count;
  while (low < high) {
    uint64_t middle = low + (high - low) / 2;
    uint32_t index = model->by_name[middle];
    int order = strcmp(name, model->tensors[index].info.name);
    if (order == 0) {
      *out_index = index;
      return true;
    }
    if (order < 0) {
      high = middle;
    } else {
      low = middle + 1;
    }
  }
  return false;
}

// ---- Files ------------------------------------------------------------------

const tegi_model_file* tegi_model_file_at(const teg_model* model,
                                          uint32_t index) {
  return index < model->file_count ? &model->files[index] : NULL;
}

// Reads |file| with |read|, which must then still be what it was.
static teg_result read_opened(teg_model* model, const tegi_model_file* file,
                              int fd, tegi_model_reader read, teg_error* err) {
  tegi_model_input input;
  teg_result result =
      tegi_model_input_init(&input, &model->host, file, fd, err);
  if (result == TEG_OK) result = read(model, &input, err);
  tegi_model_input_deinit(&input);
  if (result == TEG_OK) result = tegi_model_file_check(file, fd, err);
  return result;
}

teg_result tegi_model_read_file(teg_model* model, const char* path,
                                tegi_model_reader read, teg_error* err) {
  if (model->file_count == TEGI_MODEL_MOST_FILES) {
    return tegi_error_set(err, TEG_CORRUPT,
                          "%s: the model has more than %d files", path,
                          TEGI_MODEL_MOST_FILES);
  }
  if (!tegi_host_grow_array(&model->host, &model->files, &model->file_capacity,
                            model->file_count + 1, sizeof *model->files)) {
    return tegi_model_no_memory(path, err);
  }
  int fd;
  tegi_model_file* file = &model->files[model->file_count];
  teg_result result = tegi_model_file_init(file, &model->host, path, &fd, err);
  if (result != TEG_OK) return result;
  ++model->file_count;
  result = read_opened(model, file, fd, read, err);
  close(fd);
  return result;
}

// ---- Kinds of files ---------------------------------------------------------

static bool is_json_begin(uint8_t byte) {
  return byte == '{' || byte == ' ' || byte == '\n' || byte == '\r' ||
         byte == '\t';
}

static teg_result not_a_model(const tegi_model_input* input,
                              const uint8_t* head, size_t size,
                              teg_error* err) {
  if (size == 0) {
    return tegi_model_input_fail(input, 0, TEG_TRUNCATED, err,
                                 "the file is empty; expected a model");
  }
  char shown[4 * 8 + 1] = "";
  for (size_t i = 0; i < size && i < 8; ++i) {
    bool is_plain = head[i] >= 0x20 && head[i] < 0x7f && head[i] != '\\';
    snprintf(shown + strlen(shown), sizeof shown - strlen(shown),
             is_plain ? "%c" : "\\x%02x", head[i]);
  }
  return tegi_model_input_fail(input, 0, TEG_CORRUPT, err,
                               "not a model: begins with \"%s\"; expected "
                               "\"GGUF\", or the size of a safetensors header "
                               "and its '{', or the JSON of an index",
                               shown);
}

// A safetensors file begins with the size of its header, of which the upper
// half is 0 unless it lies, and then its '{'.
static tegi_model_reader reader_of(const uint8_t* head, size_t size) {
  if (size >= 4 && memcmp(head, "GGUF", 4) == 0) return tegi_read_gguf;
  bool has_small_size = size >= 8 && memcmp(head + 4, "\0\0\0\0", 4) == 0;
  if (has_small_size || (size > 8 && head[8] == '{' && head[0] != '{')) {
    return tegi_read_safetensors;
  }
  if (size > 0 && is_json_begin(head[0])) return tegi_read_safetensors_index;
  return NULL;
}

// What the first bytes of a file make it.
static teg_result find_reader(tegi_model_input* input,
                              tegi_model_reader* out_read, teg_error* err) {
  uint8_t head[16] = {0};
  size_t size = (size_t)tegi_min_u64(sizeof head, input->file->bytes);
  teg_result result =
      tegi_model_input_read(input, head, size, "its beginning", err);
  input->offset = 0;
  if (result != TEG_OK) return result;
  *out_read = reader_of(head, size);
  return *out_read ? TEG_OK : not_a_model(input, head, size, err);
}

static teg_result read_single(teg_model* model, tegi_model_input* input,
                              teg_error* err) {
  tegi_model_reader read = NULL;
  teg_result result = find_reader(input, &read, err);
  if (result != TEG_OK) return result;
  if (read == tegi_read_safetensors_index) {
    return tegi_error_set(err, TEG_IO, "%s: changes while it is read",
                          input->file->path);
  }
  return read(model, input, err);
}

static teg_result read_if_index(teg_model* model, tegi_model_input* input,
                                teg_error* err) {
  tegi_model_reader read = NULL;
  teg_result result = find_reader(input, &read, err);
  if (result != TEG_OK || read != tegi_read_safetensors_index) return result;
  return read(model, input, err);
}

// An index is not one of the model's files: it has no tensors.
static teg_result read_first(teg_model* model, const char* path,
                             teg_error* err) {
  int fd;
  tegi_model_file file;
  teg_result result = tegi_model_file_init(&file, &model->host, path, &fd, err);
  if (result != TEG_OK) return result;
  result = read_opened(model, &file, fd, read_if_index, err);
  close(fd);
  tegi_model_file_deinit(&file, &model->host);
  if (result != TEG_OK || model->format[0]) return result;
  return tegi_model_read_file(model, path, read_single, err);
}

static teg_result add_up_bytes(teg_model* model, teg_error* err) {
  for (uint64_t i = 0; i < model->tensor_count; ++i) {
    if (!tegi_add_u64(model->tensor_bytes, model->tensors[i].info.bytes,
                      &model->tensor_bytes)) {
      return tegi_error_set(err, TEG_CORRUPT,
                            "%s: the sizes of the tensors overflow 64 bits",
                            last_path(model));
    }
  }
  return TEG_OK;
}

static teg_result read_model(teg_model* model, const char* path,
                             teg_error* err) {
  struct stat status;
  char* found = NULL;
  if (stat(path, &status) == 0 && S_ISDIR(status.st_mode)) {
    teg_result result = tegi_model_in_folder(&model->host, path, &found, err);
    if (result != TEG_OK) return result;
  }
  teg_result result = read_first(model, found ? found : path, err);
  if (found) tegi_host_free(&model->host, found, strlen(found) + 1);
  if (result == TEG_OK && !model->by_name) {
    result = tegi_model_index_names(model, err);
  }
  if (result == TEG_OK) result = add_up_bytes(model, err);
  return result;
}

teg_result teg_model_open(const char* path, const teg_allocator* allocator,
                          teg_model** out_model, teg_error* err) {
  TEG_REQUIRE(out_model, err, "teg_model_open: out_model is NULL");
  *out_model = NULL;
  TEG_REQUIRE(path, err, "teg_model_open: path is NULL");
  tegi_host host;
  teg_result result = tegi_host_init(&host, allocator, err);
  if (result != TEG_OK) return result;
  teg_model* model = tegi_host_alloc(&host, sizeof *model);
  if (!model) return tegi_model_no_memory(path, err);
  model->host.allocator = host.allocator;
  result = read_model(model, path, err);
  if (result != TEG_OK) {
    teg_model_close(model);
    return result;
  }
  teg_error_clear(err);
  *out_model = model;
  return TEG_OK;
}

void teg_model_close(teg_model* model) {
  if (!model) return;
  tegi_host* host = &model->host;
  for (uint32_t i = 0; i < model->file_count; ++i) {
    tegi_model_file_deinit(&model->files[i], host);
  }
  for (tegi_model_page* page = model->pages; page;) {
    tegi_model_page* next = page->next;
    tegi_host_free(host, page, sizeof *page + page->size);
    page = next;
  }
  tegi_host_free(host, model->files,
                 model->file_capacity * sizeof *model->files);
  tegi_host_free(host, model->tensors,
                 model->tensor_capacity * sizeof *model->tensors);
  tegi_host_free(host, model->by_name,
                 model->tensor_count * sizeof *model->by_name);
  tegi_host_free(host, model->pairs,
                 model->pair_capacity * sizeof *model->pairs);
  teg_allocator allocator = host->allocator;
  allocator.release(allocator.user, model, sizeof *model);
}

// ---- Questions --------------------------------------------------------------

const char* teg_model_format(const teg_model* model) { return model->format; }

uint32_t teg_model_file_count(const teg_model* model) {
  return model->file_count;
}

const char* teg_model_file_path(const teg_model* model, uint32_t index) {
  return index < model->file_count ? model->files[index].path : NULL;
}

uint64_t teg_model_tensor_count(const teg_model* model) {
  return model->tensor_count;
}

uint64_t teg_model_tensor_bytes(const teg_model* model) {
  return model->tensor_bytes;
}

bool teg_model_tensor(const teg_model* model, uint64_t index,
                      teg_tensor_info* out_info) {
  if (index >= model->tensor_count) {
    *out_info = (teg_tensor_info){0};
    return false;
  }
  *out_info = model->tensors[index].info;
  return true;
}

// The name nearest to |name|, or NULL. Of many tensors the first are looked at.
static const char* nearest_name(const teg_model* model, const char* name) {
  enum { MOST = 20000 };
  uint64_t count = tegi_min_u64(model->tensor_count, MOST);
  tegi_host host;
  if (tegi_host_init(&host, &model->host.allocator, NULL) != TEG_OK) {
    return NULL;
  }
  const char** names = tegi_host_calloc(&host, count + 1, sizeof *names);
  if (!names) return NULL;
  for (uint64_t i = 0; i < count; ++i) names[i] = model->tensors[i].info.name;
  const char* nearest = tegi_nearest(name, names);
  tegi_host_free(&host, names, (count + 1) * sizeof *names);
  return nearest;
}

teg_result teg_model_find(const teg_model* model, const char* name,
                          uint64_t* out_index, teg_error* err) {
  TEG_REQUIRE(out_index, err, "teg_model_find: out_index is NULL");
  *out_index = 0;
  TEG_REQUIRE(model && name, err, "teg_model_find: model or name is NULL");
  if (tegi_model_find_name(model, name, out_index)) return TEG_OK;
  const char* nearest = nearest_name(model, name);
  return tegi_error_set(err, TEG_NOT_FOUND,
                        "no tensor is called \"%.200s\"%s%s%s", name,
                        nearest ? "; the nearest is \"" : "",
                        nearest ? nearest : "", nearest ? "\"" : "");
}

bool teg_model_metadata(const teg_model* model, uint64_t index,
                        const char** out_key, const char** out_value) {
  bool is_there = index < model->pair_count;
  *out_key = is_there ? model->pairs[index].key : NULL;
  *out_value = is_there ? model->pairs[index].value : NULL;
  return is_there;
}
