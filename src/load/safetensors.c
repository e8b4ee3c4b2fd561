// SPDX-License-Identifier: Apache-2.0
//
// The safetensors format: 8 bytes with the size of the header, the header in
// JSON, the bytes of the tensors without a gap up to the end of the file. What
// is allowed is what version 0.8 of the reference implementation allows
// (github.com/huggingface/safetensors), less keys that it passes over.
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/checked.h"
#include "load/json_reader.h"
#include "load/model.h"

// As the reference implementation.
enum { MOST_HEADER_BYTES = 100 * 1000 * 1000, SIZE_BYTES = 8 };

// Bits of an element, from the reference implementation's Dtype.
static const struct {
  const char* name;
  uint8_t bits;
} types[] = {
    {"BOOL", 8},    {"F4", 4},   {"F6_E2M3", 6},     {"F6_E3M2", 6},
    {"U8", 8},      {"I8", 8},   {"F8_E5M2", 8},     {"F8_E4M3", 8},
    {"F8_E8M0", 8}, {"U16", 16}, {"F8_E4M3FNUZ", 8}, {"F8_E5M2FNUZ", 8},
    {"I16", 16},    {"F16", 16}, {"BF16", 16},       {"I32", 32},
    {"U32", 32},    {"F32", 32}, {"C64", 64},        {"F64", 64},
    {"I64", 64},    {"U64", 64},
};

enum { TYPE_COUNT = sizeof types / sizeof *types };

// A tensor as its header describes it.
typedef struct entry {
  teg_tensor_info info;
  uint64_t name_place;
  uint64_t type_place, shape_place, range_place;  // 0 = not there
  uint32_t type_bits;
  uint64_t begin, end;  // in the bytes of the tensors
} entry;

static teg_result read_type(tegi_json* json, entry* of, teg_error* err) {
  teg_result result = tegi_json_string(json, "the name of a type", err);
  if (result != TEG_OK) return result;
  of->type_place = json->place;
  for (size_t i = 0; i < TYPE_COUNT; ++i) {
    if (strcmp(types[i].name, json->text) != 0) continue;
    of->info.type = types[i].name;
    of->type_bits = types[i].bits;
    return TEG_OK;
  }
  return tegi_model_input_fail(
      json->input, json->place, TEG_UNSUPPORTED, err,
      "the tensor \"%.200s\" has the type \"%.40s\", which is not known; "
      "expected BOOL, U8, F16, BF16, F32 ...",
      of->info.name, json->text);
}

static teg_result read_shape(tegi_json* json, entry* of, teg_error* err) {
  teg_result result = tegi_json_open(json, '[', "'[' of a shape", err);
  if (result != TEG_OK) return result;
  of->shape_place = json->place;
  for (uint32_t i = 0;; ++i) {
    bool has;
    result = tegi_json_next_element(json, i, &has, err);
    if (result != TEG_OK || !has) return result;
    if (i == TEG_TENSOR_MOST_DIMENSIONS) {
      return tegi_model_input_fail(
          json->input, of->shape_place, TEG_UNSUPPORTED, err,
          "the tensor \"%.200s\" has more than %d dimensions", of->info.name,
          TEG_TENSOR_MOST_DIMENSIONS);
    }
    result = tegi_json_count(json, "a dimension of a shape", &of->info.shape[i],
                             err);
    if (result != TEG_OK) return result;
    of->info.dimension_count = i + 1;
  }
}

static teg_result read_range(tegi_json* json, entry* of, teg_error* err) {
  static const char what[] = "two offsets, [BEGIN, END]";
  teg_result result = tegi_json_open(json, '[', what, err);
  if (result != TEG_OK) return result;
  of->range_place = json->place;
  uint64_t* offsets[] = {&of->begin, &of->end};
  for (uint64_t i = 0;; ++i) {
    bool has;
    result = tegi_json_next_element(json, i, &has, err);
    if (result != TEG_OK) return result;
    if (has != (i < 2)) {
      return tegi_model_input_fail(json->input, of->range_place, TEG_CORRUPT,
                                   err, "expected %s, of the tensor \"%.200s\"",
                                   what, of->info.name);
    }
    if (!has) return TEG_OK;
    result = tegi_json_count(json, "an offset", offsets[i], err);
    if (result != TEG_OK) return result;
  }
}

static teg_result read_field(tegi_json* json, entry* of, teg_error* err) {
  uint64_t place = json->place;
  bool is_type = strcmp(json->text, "dtype") == 0;
  bool is_shape = strcmp(json->text, "shape") == 0;
  bool is_range = strcmp(json->text, "data_offsets") == 0;
  if (!is_type && !is_shape && !is_range) {
    return tegi_model_input_fail(
        json->input, place, TEG_CORRUPT, err,
        "the tensor \"%.200s\" has \"%.40s\"; expected dtype, shape and "
        "data_offsets",
        of->info.name, json->text);
  }
  if ((is_type && of->type_place) || (is_shape && of->shape_place) ||
      (is_range && of->range_place)) {
    return tegi_model_input_fail(json->input, place, TEG_CORRUPT, err,
                                 "the tensor \"%.200s\" has %s twice",
                                 of->info.name, json->text);
  }
  if (is_type) return read_type(json, of, err);
  return is_shape ? read_shape(json, of, err) : read_range(json, of, err);
}

static teg_result check_size(const tegi_json* json, const entry* of,
                             teg_error* err) {
  uint64_t elements;
  uint64_t bits;
  if (!tegi_model_count_elements(&of->info, &elements) ||
      !tegi_mul_u64(elements, of->type_bits, &bits)) {
    return tegi_model_input_fail(
        json->input, of->shape_place, TEG_CORRUPT, err,
        "the shape of the tensor \"%.200s\" overflows 64 bits", of->info.name);
  }
  if (bits % 8 != 0) {
    return tegi_model_input_fail(
        json->input, of->shape_place, TEG_CORRUPT, err,
        "the tensor \"%.200s\" of type %s does not end with a whole byte",
        of->info.name, of->info.type);
  }
  if (of->end < of->begin || of->end - of->begin != bits / 8) {
    return tegi_model_input_fail(
        json->input, of->range_place, TEG_CORRUPT, err,
        "the tensor \"%.200s\" has the offsets %" PRIu64 " to %" PRIu64
        ", but type and shape make %" PRIu64 " bytes",
        of->info.name, of->begin, of->end, bits / 8);
  }
  return TEG_OK;
}

// |data_begin| is where the bytes of the tensors begin in the file.
static teg_result place_in_file(const tegi_json* json, entry* of,
                                uint64_t data_begin, teg_error* err) {
  uint64_t data_bytes = json->input->file->bytes - data_begin;
  if (of->end > data_bytes) {
    return tegi_model_input_fail(
        json->input, of->range_place, TEG_TRUNCATED, err,
        "the tensor \"%.200s\" ends at byte %" PRIu64
        " behind the header, but the file has %" PRIu64 " bytes there",
        of->info.name, of->end, data_bytes);
  }
  of->info.file_offset = data_begin + of->begin;
  of->info.bytes = of->end - of->begin;
  return TEG_OK;
}

// The tensor whose name is the text.
static teg_result read_tensor(teg_model* model, tegi_json* json,
                              uint64_t data_begin, teg_error* err) {
  entry of = {.name_place = json->place};
  of.info.name = tegi_model_text(model, json->text, json->text_length);
  if (!of.info.name) return tegi_model_no_memory(json->input->file->path, err);
  teg_result result =
      tegi_json_open(json, '{', "'{' of the description of a tensor", err);
  for (uint64_t i = 0; result == TEG_OK; ++i) {
    bool has;
    result = tegi_json_next_key(json, i, &has, err);
    if (result != TEG_OK || !has) break;
    result = read_field(json, &of, err);
  }
  if (result != TEG_OK) return result;
  if (!of.type_place || !of.shape_place || !of.range_place) {
    return tegi_model_input_fail(json->input, of.name_place, TEG_CORRUPT, err,
                                 "the tensor \"%.200s\" has no %s",
                                 of.info.name,
                                 !of.type_place    ? "dtype"
                                 : !of.shape_place ? "shape"
                                                   : "data_offsets");
  }
  result = check_size(json, &of, err);
  if (result == TEG_OK) result = place_in_file(json, &of, data_begin, err);
  if (result != TEG_OK) return result;
  return tegi_model_add_tensor(model, &of.info, of.name_place, err);
}

static teg_result add_metadata(teg_model* model, tegi_json* json,
                               const char* key, teg_error* err) {
  teg_result result = tegi_json_string(json, "a text, as all metadata is", err);
  if (result != TEG_OK) return result;
  return tegi_model_add_pair(model, key, json->text, json->place, err);
}

// The object behind "__metadata__". Of a sharded model that of the first file
// stands for all.
static teg_result read_metadata(teg_model* model, tegi_json* json,
                                teg_error* err) {
  bool is_kept = model->file_count == 1;
  uint64_t first = model->pair_count;
  teg_result result = tegi_json_open(json, '{', "'{' of the metadata", err);
  for (uint64_t i = 0; result == TEG_OK; ++i) {
    bool has;
    result = tegi_json_next_key(json, i, &has, err);
    if (result != TEG_OK || !has) break;
    const char* key = tegi_model_text(model, json->text, json->text_length);
    if (!key) return tegi_model_no_memory(json->input->file->path, err);
    result = add_metadata(model, json, key, err);
  }
  if (result != TEG_OK) return result;
  result = tegi_model_check_keys(model, first, json->input, err);
  if (!is_kept) model->pair_count = first;
  return result;
}

static teg_result read_header(teg_model* model, tegi_json* json,
                              uint64_t data_begin, teg_error* err) {
  bool has_metadata = false;
  teg_result result = tegi_json_open(json, '{', "'{' of the header", err);
  for (uint64_t i = 0; result == TEG_OK; ++i) {
    bool has;
    result = tegi_json_next_key(json, i, &has, err);
    if (result != TEG_OK || !has) break;
    if (strcmp(json->text, "__metadata__") != 0) {
      result = read_tensor(model, json, data_begin, err);
      continue;
    }
    if (has_metadata) {
      return tegi_model_input_fail(json->input, json->place, TEG_CORRUPT, err,
                                   "__metadata__ is there twice");
    }
    has_metadata = true;
    result = read_metadata(model, json, err);
  }
  return result == TEG_OK ? tegi_json_end(json, err) : result;
}

// The tensors fill the file, from |data_begin| to its end.
static teg_result check_cover(const teg_model* model, uint64_t first,
                              uint64_t data_begin,
                              const tegi_model_input* input, teg_error* err) {
  uint64_t covered = data_begin;
  for (uint64_t i = first; i < model->tensor_count; ++i) {
    const teg_tensor_info* info = &model->tensors[i].info;
    if (info->file_offset != covered) {
      return tegi_model_input_fail(
          input, model->tensors[i].place, TEG_CORRUPT, err,
          "the tensor \"%.200s\" begins at byte %" PRIu64
          ", but expected %" PRIu64 ": a gap is not allowed",
          info->name, info->file_offset, covered);
    }
    covered += info->bytes;
  }
  if (covered == input->file->bytes) return TEG_OK;
  return tegi_model_input_fail(input, covered, TEG_CORRUPT, err,
                               "the tensors end here, but the file has "
                               "%" PRIu64 " bytes more",
                               input->file->bytes - covered);
}

static teg_result read_header_size(tegi_model_input* input,
                                   uint64_t* out_data_begin, teg_error* err) {
  uint8_t bytes[SIZE_BYTES];
  teg_result result = tegi_model_input_read(input, bytes, sizeof bytes,
                                            "the size of the header", err);
  if (result != TEG_OK) return result;
  uint64_t size = 0;
  for (int i = SIZE_BYTES; i-- > 0;) size = size << 8 | bytes[i];
  if (size > MOST_HEADER_BYTES) {
    return tegi_model_input_fail(input, 0, TEG_CORRUPT, err,
                                 "the header is to have %" PRIu64
                                 " bytes; at most %d are allowed",
                                 size, MOST_HEADER_BYTES);
  }
  if (size > tegi_model_input_left(input)) {
    return tegi_model_input_fail(input, 0, TEG_TRUNCATED, err,
                                 "the header is to have %" PRIu64
                                 " bytes, but the file ends after %" PRIu64,
                                 size, tegi_model_input_left(input));
  }
  *out_data_begin = SIZE_BYTES + size;
  return TEG_OK;
}

teg_result tegi_read_safetensors(teg_model* model, tegi_model_input* input,
                                 teg_error* err) {
  uint64_t first = model->tensor_count;
  uint64_t data_begin = 0;
  teg_result result = read_header_size(input, &data_begin, err);
  if (result != TEG_OK) return result;
  tegi_model_input_limit(input, data_begin, "the header ends");
  tegi_json json;
  tegi_json_init(&json, input);
  result = read_header(model, &json, data_begin, err);
  tegi_json_deinit(&json);
  if (result != TEG_OK) return result;
  if (!model->format[0]) {
    snprintf(model->format, sizeof model->format, "safetensors");
  }
  result = tegi_model_sort_tensors(model, first, input, err);
  if (result != TEG_OK) return result;
  return check_cover(model, first, data_begin, input, err);
}
