// SPDX-License-Identifier: Apache-2.0
//
// A model as text and as JSON: totals, types, every tensor.
#include "model_info.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "clean.h"
#include "cli.h"
#include "json.h"
#include "table.h"
#include "tegula/load.h"

// ---- Is it one? -------------------------------------------------------------

static bool ends_with(const char* text, const char* ending) {
  size_t length = strlen(text);
  size_t size = strlen(ending);
  return length >= size && strcmp(text + length - size, ending) == 0;
}

// Traces are CSV, begin with a magic number of their own, or are compressed.
static bool begins_like_model(const char* path) {
  char head[9] = "";
  FILE* file = fopen(path, "rb");
  if (!file) return false;
  size_t size = fread(head, 1, sizeof head, file);
  fclose(file);
  if (size >= 4 && memcmp(head, "GGUF", 4) == 0) return true;
  bool is_safetensors = size == sizeof head &&
                        memcmp(head + 4, "\0\0\0\0", 4) == 0 && head[8] == '{';
  return is_safetensors || (size > 0 && head[0] == '{');
}

bool cli_is_model(const char* path) {
  struct stat status;
  if (stat(path, &status) != 0) return false;
  if (S_ISDIR(status.st_mode)) return true;
  if (!S_ISREG(status.st_mode)) return false;
  return ends_with(path, ".gguf") || ends_with(path, ".safetensors") ||
         ends_with(path, ".safetensors.index.json") || begins_like_model(path);
}

// ---- Types ------------------------------------------------------------------

typedef struct type_total {
  const char* type;
  uint64_t tensor_count;
  uint64_t bytes;
} type_total;

enum { MOST_TYPES = 64 };

// The type with most bytes first.
static int compare_totals(const void* a, const void* b) {
  const type_total* ta = a;
  const type_total* tb = b;
  if (ta->bytes != tb->bytes) return ta->bytes < tb->bytes ? 1 : -1;
  return strcmp(ta->type, tb->type);
}

static size_t add_up(const teg_model* model, type_total totals[MOST_TYPES]) {
  size_t count = 0;
  teg_tensor_info info;
  for (uint64_t i = 0; teg_model_tensor(model, i, &info); ++i) {
    size_t at = 0;
    while (at < count && strcmp(totals[at].type, info.type) != 0) ++at;
    if (at == MOST_TYPES) continue;
    if (at == count) totals[count++] = (type_total){.type = info.type};
    ++totals[at].tensor_count;
    totals[at].bytes += info.bytes;
  }
  qsort(totals, count, sizeof *totals, compare_totals);
  return count;
}

// ---- Text -------------------------------------------------------------------

static void print_totals(const teg_model* model) {
  static const cli_column columns[] = {
      {{"", "type"}, true}, {{"", "tensors"}, false}, {{"", "bytes"}, false}};
  type_total totals[MOST_TYPES];
  size_t count = add_up(model, totals);
  cli_cell cells[MOST_TYPES * 3] = {0};
  for (size_t i = 0; i < count; ++i) {
    cli_cell* row = cells + i * 3;
    snprintf(row[0].text, CLI_MAX_CELL, "%s", totals[i].type);
    snprintf(row[1].text, CLI_MAX_CELL, "%s",
             cli_grouped(totals[i].tensor_count).text);
    snprintf(row[2].text, CLI_MAX_CELL, "%s",
             cli_grouped(totals[i].bytes).text);
  }
  printf("\n");
  cli_print_table(stdout, columns, 3, cells, count, cli_is_coloured(stdout));
}

typedef struct shape_text {
  char text[TEG_TENSOR_MOST_DIMENSIONS * 23 + 1];
} shape_text;

// "49152 x 576", outermost first.
static shape_text format_shape(const teg_tensor_info* info) {
  shape_text out;
  size_t length = 0;
  for (uint32_t i = 0; i < info->dimension_count; ++i) {
    length +=
        (size_t)snprintf(out.text + length, sizeof out.text - length,
                         "%s%" PRIu64, i > 0 ? " x " : "", info->shape[i]);
  }
  if (length == 0) snprintf(out.text, sizeof out.text, "scalar");
  return out;
}

static int wider(int width, const char* text) {
  int length = (int)strlen(text);
  return length > width ? length : width;
}

// The name is last: it may have any length.
static void print_tensors(const teg_model* model) {
  int type_width = 4;
  int shape_width = 5;
  int bytes_width = 5;
  teg_tensor_info info;
  for (uint64_t i = 0; teg_model_tensor(model, i, &info); ++i) {
    type_width = wider(type_width, info.type);
    shape_width = wider(shape_width, format_shape(&info).text);
    bytes_width = wider(bytes_width, cli_grouped(info.bytes).text);
  }
  printf("\n%-*s  %*s  %*s  name\n", type_width, "type", shape_width, "shape",
         bytes_width, "bytes");
  for (uint64_t i = 0; teg_model_tensor(model, i, &info); ++i) {
    char shown[1024];
    printf("%-*s  %*s  %*s  %s\n", type_width, info.type, shape_width,
           format_shape(&info).text, bytes_width, cli_grouped(info.bytes).text,
           cli_clean(shown, sizeof shown, info.name));
  }
}

static uint64_t count_metadata(const teg_model* model) {
  const char* key;
  const char* value;
  uint64_t count = 0;
  while (teg_model_metadata(model, count, &key, &value)) ++count;
  return count;
}

static void print_metadata(const teg_model* model) {
  enum { LONGEST = 200 };
  const char* key;
  const char* value;
  if (count_metadata(model) > 0) printf("\n");
  for (uint64_t i = 0; teg_model_metadata(model, i, &key, &value); ++i) {
    char shown_key[256];
    char shown[LONGEST];
    cli_clean(shown, sizeof shown, value);
    printf("%s = %s%s\n", cli_clean(shown_key, sizeof shown_key, key), shown,
           strlen(value) >= LONGEST ? " ..." : "");
  }
}

static void print_text(const char* path, const teg_model* model,
                       bool has_metadata) {
  char shown[4096];
  uint64_t metadata_count = count_metadata(model);
  printf("%s: %s\n", cli_clean(shown, sizeof shown, path),
         teg_model_format(model));
  uint32_t file_count = teg_model_file_count(model);
  if (file_count > 1) {
    printf("  %-20s %" PRIu32 "\n", "files", file_count);
  } else if (file_count == 1 &&
             strcmp(path, teg_model_file_path(model, 0)) != 0) {
    printf("  %-20s %s\n", "file",
           cli_clean(shown, sizeof shown, teg_model_file_path(model, 0)));
  }
  printf("  %-20s %s\n", "tensors",
         cli_grouped(teg_model_tensor_count(model)).text);
  printf("  %-20s %s bytes\n", "weights",
         cli_grouped(teg_model_tensor_bytes(model)).text);
  printf("  %-20s %s%s\n", "metadata", cli_grouped(metadata_count).text,
         has_metadata || metadata_count == 0 ? "" : " (--metadata shows it)");
  if (has_metadata) print_metadata(model);
  if (teg_model_tensor_count(model) == 0) return;
  print_totals(model);
  print_tensors(model);
}

// ---- JSON -------------------------------------------------------------------

static json_t* types_to_json(const teg_model* model) {
  type_total totals[MOST_TYPES];
  size_t count = add_up(model, totals);
  json_t* array = json_array();
  for (size_t i = 0; i < count; ++i) {
    json_t* row = json_object();
    json_object_set_new(row, "type", cli_json_text(totals[i].type));
    json_object_set_new(row, "tensor_count",
                        cli_json_count(totals[i].tensor_count));
    json_object_set_new(row, "bytes", cli_json_count(totals[i].bytes));
    json_array_append_new(array, row);
  }
  return array;
}

static json_t* tensor_to_json(const teg_tensor_info* info) {
  json_t* row = json_object();
  json_object_set_new(row, "name", cli_json_text(info->name));
  json_object_set_new(row, "type", cli_json_text(info->type));
  json_t* shape = json_array();
  for (uint32_t i = 0; i < info->dimension_count; ++i) {
    json_array_append_new(shape, cli_json_count(info->shape[i]));
  }
  json_object_set_new(row, "shape", shape);
  json_object_set_new(row, "file_index", cli_json_count(info->file_index));
  json_object_set_new(row, "file_offset", cli_json_count(info->file_offset));
  json_object_set_new(row, "bytes", cli_json_count(info->bytes));
  return row;
}

// Pairs, because a sharded model may have a key in several files.
static json_t* metadata_to_json(const teg_model* model) {
  json_t* array = json_array();
  const char* key;
  const char* value;
  for (uint64_t i = 0; teg_model_metadata(model, i, &key, &value); ++i) {
    json_t* pair = json_array();
    json_array_append_new(pair, cli_json_text(key));
    json_array_append_new(pair, cli_json_text(value));
    json_array_append_new(array, pair);
  }
  return array;
}

static void add_json(json_t* array, const char* path, const teg_model* model) {
  json_t* row = json_object();
  json_object_set_new(row, "path", cli_json_text(path));
  json_object_set_new(row, "format", cli_json_text(teg_model_format(model)));
  json_object_set_new(row, "tensor_count",
                      cli_json_count(teg_model_tensor_count(model)));
  json_object_set_new(row, "tensor_bytes",
                      cli_json_count(teg_model_tensor_bytes(model)));
  json_t* files = json_array();
  for (uint32_t i = 0; i < teg_model_file_count(model); ++i) {
    json_array_append_new(files, cli_json_text(teg_model_file_path(model, i)));
  }
  json_object_set_new(row, "files", files);
  json_object_set_new(row, "types", types_to_json(model));
  json_t* tensors = json_array();
  teg_tensor_info info;
  for (uint64_t i = 0; teg_model_tensor(model, i, &info); ++i) {
    json_array_append_new(tensors, tensor_to_json(&info));
  }
  json_object_set_new(row, "tensors", tensors);
  json_object_set_new(row, "metadata", metadata_to_json(model));
  json_array_append_new(array, row);
}

int cli_show_model(const char* path, bool has_metadata, json_t* array) {
  teg_error err;
  teg_model* model = NULL;
  if (teg_model_open(path, NULL, &model, &err) != TEG_OK) {
    return cli_fail_file(CLI_INPUT, path, &err);
  }
  if (array) {
    add_json(array, path, model);
  } else {
    print_text(path, model, has_metadata);
  }
  teg_model_close(model);
  return CLI_OK;
}
