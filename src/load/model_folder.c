// SPDX-License-Identifier: Apache-2.0
//
// The model in a folder. Kinds are looked for in this order, and the first of
// which there is any counts: model.safetensors, an index, a safetensors file, a
// GGUF file.
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "load/model.h"

static const char* const endings[] = {
    "model.safetensors", ".safetensors.index.json", ".safetensors", ".gguf"};

enum { KIND_COUNT = sizeof endings / sizeof *endings };

typedef struct found {
  char* names[2];  // of the first two
  size_t count;
} found;

static bool is_kind(const char* name, size_t kind) {
  if (kind == 0) return strcmp(name, endings[0]) == 0;
  size_t length = strlen(name);
  size_t ending = strlen(endings[kind]);
  return length > ending && name[0] != '.' &&
         strcmp(name + length - ending, endings[kind]) == 0;
}

static bool note(tegi_host* host, const char* name, found* kinds) {
  for (size_t kind = 0; kind < KIND_COUNT; ++kind) {
    if (!is_kind(name, kind)) continue;
    size_t count = kinds[kind].count++;
    if (count >= 2) continue;
    kinds[kind].names[count] = tegi_host_strdup(host, name);
    if (!kinds[kind].names[count]) return false;
  }
  return true;
}

static teg_result join(tegi_host* host, const char* folder, const char* name,
                       char** out_path, teg_error* err) {
  bool has_slash = folder[0] && folder[strlen(folder) - 1] == '/';
  size_t size = strlen(folder) + !has_slash + strlen(name) + 1;
  *out_path = tegi_host_alloc(host, size);
  if (!*out_path) return tegi_model_no_memory(folder, err);
  snprintf(*out_path, size, "%s%s%s", folder, has_slash ? "" : "/", name);
  return TEG_OK;
}

static teg_result choose(tegi_host* host, const char* folder,
                         const found* kinds, char** out_path, teg_error* err) {
  for (size_t kind = 0; kind < KIND_COUNT; ++kind) {
    const found* of = &kinds[kind];
    if (of->count == 1) return join(host, folder, of->names[0], out_path, err);
    if (of->count == 0) continue;
    bool is_first = strcmp(of->names[0], of->names[1]) < 0;
    return tegi_error_set(
        err, TEG_NOT_FOUND,
        "%s: the folder has %zu models, \"%.100s\" and \"%.100s\" among them; "
        "name the one that is meant",
        folder, of->count, of->names[is_first ? 0 : 1],
        of->names[is_first ? 1 : 0]);
  }
  return tegi_error_set(err, TEG_NOT_FOUND,
                        "%s: the folder has no model: no *.safetensors, no "
                        "*.safetensors.index.json, no *.gguf",
                        folder);
}

teg_result tegi_model_in_folder(tegi_host* host, const char* path,
                                char** out_path, teg_error* err) {
  *out_path = NULL;
  DIR* folder = opendir(path);
  if (!folder) {
    return tegi_error_native(err, TEG_IO, "os", errno,
                             "%s: cannot list the folder: %s", path,
                             strerror(errno));
  }
  found kinds[KIND_COUNT] = {0};
  bool has_memory = true;
  struct dirent* entry;
  // NOLINTNEXTLINE(concurrency-mt-unsafe): the stream is ours alone
  while (has_memory && (entry = readdir(folder))) {
    has_memory = note(host, entry->d_name, kinds);
  }
  closedir(folder);
  teg_result result = has_memory ? choose(host, path, kinds, out_path, err)
                                 : tegi_model_no_memory(path, err);
  for (size_t kind = 0; kind < KIND_COUNT; ++kind) {
    for (size_t i = 0; i < 2; ++i) {
      char* name = kinds[kind].names[i];
      if (name) tegi_host_free(host, name, strlen(name) + 1);
    }
  }
  return result;
}
