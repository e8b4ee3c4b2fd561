// SPDX-License-Identifier: Apache-2.0
//
// The index of a sharded model, as Hugging Face's programs write it: which file
// has which tensor, and metadata. The files lie beside it; each must have the
// tensors that the index says, and no others.
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "load/json_reader.h"
#include "load/model.h"

enum { MOST_INDEX_BYTES = 100 * 1000 * 1000 };

typedef struct assignment {
  const char* tensor;
  const char* file;
  uint64_t place;
} assignment;

typedef struct shard_index {
  tegi_model_input* input;
  assignment* entries;
  size_t entry_count, entry_capacity;
} shard_index;

// The name of a file beside the index: nothing that leads elsewhere.
static bool is_plain_name(const char* name) {
  return name[0] != '\0' && name[0] != '.' && !strchr(name, '/');
}

static teg_result add_entry(teg_model* model, shard_index* of,
                            const char* tensor, const tegi_json* json,
                            uint64_t place, teg_error* err) {
  if (of->entry_count == TEGI_MODEL_MOST_TENSORS) {
    return tegi_model_input_fail(of->input, place, TEG_CORRUPT, err,
                                 "the index has more than %d tensors",
                                 TEGI_MODEL_MOST_TENSORS);
  }
  if (!is_plain_name(json->text) || json->text_length > 255) {
    return tegi_model_input_fail(
        of->input, json->place, TEG_CORRUPT, err,
        "expected the name of a file beside the index, but there is "
        "\"%.200s\"",
        json->text);
  }
  // Neighbours share a file as a rule, and then its name.
  assignment* last =
      of->entry_count > 0 ? &of->entries[of->entry_count - 1] : NULL;
  const char* file =
      last && strcmp(last->file, json->text) == 0
          ? last->file
          : tegi_model_text(model, json->text, json->text_length);
  if (!file ||
      !tegi_host_grow_array(&model->host, &of->entries, &of->entry_capacity,
                            of->entry_count + 1, sizeof *of->entries)) {
    return tegi_model_no_memory(of->input->file->path, err);
  }
  of->entries[of->entry_count++] = (assignment){tensor, file, place};
  return TEG_OK;
}

static teg_result read_map(teg_model* model, tegi_json* json, shard_index* of,
                           teg_error* err) {
  teg_result result = tegi_json_open(json, '{', "'{' of the weight_map", err);
  for (uint64_t i = 0; result == TEG_OK; ++i) {
    bool has;
    result = tegi_json_next_key(json, i, &has, err);
    if (result != TEG_OK || !has) break;
    uint64_t place = json->place;
    const char* tensor = tegi_model_text(model, json->text, json->text_length);
    if (!tensor) return tegi_model_no_memory(of->input->file->path, err);
    result = tegi_json_string(json, "the name of a file", err);
    if (result == TEG_OK) {
      result = add_entry(model, of, tensor, json, place, err);
    }
  }
  return result;
}

static teg_result read_metadata(teg_model* model, tegi_json* json,
                                teg_error* err) {
  teg_result result = tegi_json_open(json, '{', "'{' of the metadata", err);
  for (uint64_t i = 0; result == TEG_OK; ++i) {
    bool has;
    result = tegi_json_next_key(json, i, &has, err);
    if (result != TEG_OK || !has) break;
    uint64_t place = json->place;
    const char* key = tegi_model_text(model, json->text, json->text_length);
    if (!key) return tegi_model_no_memory(json->input->file->path, err);
    result = tegi_json_any(json, err);
    if (result == TEG_OK) {
      result = tegi_model_add_pair(model, key, json->text, place, err);
    }
  }
  return result == TEG_OK ? tegi_model_check_keys(model, 0, json->input, err)
                          : result;
}

static teg_result read_member(teg_model* model, tegi_json* json,
                              shard_index* of, bool* has_map,
                              bool* has_metadata, teg_error* err) {
  bool is_map = strcmp(json->text, "weight_map") == 0;
  bool is_metadata = strcmp(json->text, "metadata") == 0;
  if ((is_map && *has_map) || (is_metadata && *has_metadata)) {
    return tegi_model_input_fail(of->input, json->place, TEG_CORRUPT, err,
                                 "%s is there twice", json->text);
  }
  *has_map = *has_map || is_map;
  *has_metadata = *has_metadata || is_metadata;
  if (is_map) return read_map(model, json, of, err);
  if (is_metadata) return read_metadata(model, json, err);
  return tegi_json_any(json, err);
}

static teg_result read_index(teg_model* model, tegi_json* json, shard_index* of,
                             teg_error* err) {
  bool has_map = false;
  bool has_metadata = false;
  teg_result result = tegi_json_open(json, '{', "'{' of an index", err);
  for (uint64_t i = 0; result == TEG_OK; ++i) {
    bool has;
    result = tegi_json_next_key(json, i, &has, err);
    if (result != TEG_OK || !has) break;
    result = read_member(model, json, of, &has_map, &has_metadata, err);
  }
  if (result == TEG_OK) result = tegi_json_end(json, err);
  if (result != TEG_OK) return result;
  if (!has_map || of->entry_count == 0) {
    return tegi_model_input_fail(of->input, of->input->end, TEG_CORRUPT, err,
                                 "the index ends here without a \"weight_map\" "
                                 "that names a tensor");
  }
  return TEG_OK;
}

static int compare_files(const void* a, const void* b) {
  const assignment* ea = a;
  const assignment* eb = b;
  int order = strcmp(ea->file, eb->file);
  return order != 0 ? order : (ea->place > eb->place) - (ea->place < eb->place);
}

// The path of the file |name| beside the index; NULL if there is no memory.
static char* path_beside(const shard_index* of, const char* name) {
  const char* path = of->input->file->path;
  const char* slash = strrchr(path, '/');
  size_t folder = slash ? (size_t)(slash - path) + 1 : 0;
  size_t size = folder + strlen(name) + 1;
  char* beside = tegi_host_alloc(of->input->host, size);
  if (beside) snprintf(beside, size, "%.*s%s", (int)folder, path, name);
  return beside;
}

static teg_result read_shard(teg_model* model, const shard_index* of,
                             const assignment* entry, teg_error* err) {
  char* path = path_beside(of, entry->file);
  if (!path) return tegi_model_no_memory(of->input->file->path, err);
  teg_result result =
      tegi_model_read_file(model, path, tegi_read_safetensors, err);
  tegi_host_free(of->input->host, path, strlen(path) + 1);
  if (result == TEG_NOT_FOUND) {
    return tegi_model_input_fail(of->input, entry->place, result, err,
                                 "the file \"%.200s\", which is to have the "
                                 "tensor \"%.200s\", is not there",
                                 entry->file, entry->tensor);
  }
  return result;
}

// Sorts the entries by file, and reads each file once.
static teg_result read_shards(teg_model* model, shard_index* of,
                              teg_error* err) {
  qsort(of->entries, of->entry_count, sizeof *of->entries, compare_files);
  for (size_t i = 0; i < of->entry_count; ++i) {
    const assignment* entry = &of->entries[i];
    if (i > 0 && strcmp(entry->file, entry[-1].file) == 0) continue;
    teg_result result = read_shard(model, of, entry, err);
    if (result != TEG_OK) return result;
  }
  return TEG_OK;
}

// |shard| counts files as read_shards did. Notes in |is_named| what it finds.
static teg_result check_entry(const teg_model* model, const shard_index* of,
                              const assignment* entry, uint32_t shard,
                              bool* is_named, teg_error* err) {
  uint64_t at;
  if (!tegi_model_find_name(model, entry->tensor, &at) ||
      model->tensors[at].info.file_index != shard) {
    return tegi_model_input_fail(of->input, entry->place, TEG_CORRUPT, err,
                                 "the tensor \"%.200s\" is not in \"%.200s\"",
                                 entry->tensor, entry->file);
  }
  if (is_named[at]) {
    return tegi_model_input_fail(of->input, entry->place, TEG_CORRUPT, err,
                                 "the index has the tensor \"%.200s\" twice",
                                 entry->tensor);
  }
  is_named[at] = true;
  return TEG_OK;
}

static teg_result check_each(const teg_model* model, const shard_index* of,
                             bool* is_named, teg_error* err) {
  uint32_t shard = 0;
  for (size_t i = 0; i < of->entry_count; ++i) {
    const assignment* entry = &of->entries[i];
    if (i > 0 && strcmp(entry->file, entry[-1].file) != 0) ++shard;
    teg_result result = check_entry(model, of, entry, shard, is_named, err);
    if (result != TEG_OK) return result;
  }
  for (uint64_t i = 0; i < model->tensor_count; ++i) {
    if (is_named[i]) continue;
    const tegi_model_tensor* tensor = &model->tensors[i];
    return tegi_error_set(
        err, TEG_CORRUPT,
        "%s: byte %" PRIu64
        ": the tensor \"%.200s\" is not in the index of the model",
        model->files[tensor->info.file_index].path, tensor->place,
        tensor->info.name);
  }
  return TEG_OK;
}

// Index and files say the same.
static teg_result check_shards(const teg_model* model, const shard_index* of,
                               teg_error* err) {
  bool* is_named =
      tegi_host_calloc(of->input->host, model->tensor_count + 1, sizeof(bool));
  if (!is_named) return tegi_model_no_memory(of->input->file->path, err);
  teg_result result = check_each(model, of, is_named, err);
  tegi_host_free(of->input->host, is_named,
                 (model->tensor_count + 1) * sizeof(bool));
  return result;
}

teg_result tegi_read_safetensors_index(teg_model* model,
                                       tegi_model_input* input,
                                       teg_error* err) {
  if (input->file->bytes > MOST_INDEX_BYTES) {
    return tegi_model_input_fail(input, 0, TEG_CORRUPT, err,
                                 "the index has %" PRIu64
                                 " bytes; at most %d are allowed",
                                 input->file->bytes, MOST_INDEX_BYTES);
  }
  snprintf(model->format, sizeof model->format, "sharded safetensors");
  shard_index of = {.input = input};
  tegi_json json;
  tegi_json_init(&json, input);
  teg_result result = read_index(model, &json, &of, err);
  tegi_json_deinit(&json);
  if (result == TEG_OK) result = read_shards(model, &of, err);
  if (result == TEG_OK) result = tegi_model_index_names(model, err);
  if (result == TEG_OK) result = check_shards(model, &of, err);
  tegi_host_free(&model->host, of.entries,
                 of.entry_capacity * sizeof *of.entries);
  return result;
}
