// SPDX-License-Identifier: Apache-2.0
//
// The GGUF format, versions 2 and 3, little-endian: magic, version, counts,
// metadata, descriptions of tensors, and from the next multiple of the
// alignment on their bytes. As github.com/ggml-org/ggml, docs/gguf.md, says:
// offsets are multiples of the alignment; gaps between tensors, any order and
// bytes behind the last are allowed.
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "load/gguf_types.h"
#include "load/gguf_value.h"
#include "load/model.h"

enum {
  MOST_HEADER_BYTES = 256 << 20,
  MOST_NAME_BYTES = 1024,  // ggml builds with 64 or 128
  MOST_KEY_BYTES = 65535,  // as gguf.md says
  MOST_DIMENSIONS = 4,     // as ggml
  LEAST_PAIR_BYTES = 8 + 1 + 4 + 1,
  LEAST_TENSOR_BYTES = 8 + 4 + 4 + 8,
  DEFAULT_ALIGNMENT = 32,
};

typedef struct header {
  teg_model* model;
  tegi_model_input* input;
  tegi_gguf_text text;
  uint32_t version;
  uint64_t tensor_count;
  uint64_t pair_count;
  uint32_t alignment;
} header;

// ---- Beginning --------------------------------------------------------------

static teg_result check_version(const header* of, teg_error* err) {
  uint32_t version = of->version;
  if (version == 2 || version == 3) return TEG_OK;
  if ((version & 0xffff) == 0 && version != 0) {
    return tegi_model_input_fail(of->input, 4, TEG_UNSUPPORTED, err,
                                 "a big-endian GGUF file (version %" PRIu32
                                 "); only little-endian ones are read",
                                 __builtin_bswap32(version));
  }
  return tegi_model_input_fail(
      of->input, 4, TEG_BAD_VERSION, err,
      "GGUF version %" PRIu32 "; versions 2 and 3 are read", version);
}

// A count that the rest of the file could not even describe is a lie.
static teg_result check_count(const header* of, uint64_t place, uint64_t count,
                              uint64_t least_bytes, uint64_t most,
                              const char* what, teg_error* err) {
  uint64_t left = tegi_model_input_left(of->input);
  if (count > most) {
    return tegi_model_input_fail(of->input, place, TEG_CORRUPT, err,
                                 "the file is to have %" PRIu64
                                 " %s; at most %" PRIu64 " are allowed",
                                 count, what, most);
  }
  if (count <= left / least_bytes) return TEG_OK;
  return tegi_model_input_fail(of->input, place, TEG_TRUNCATED, err,
                               "the file is to have %" PRIu64
                               " %s, but only %" PRIu64
                               " bytes are left to describe them",
                               count, what, left);
}

static teg_result read_beginning(header* of, teg_error* err) {
  tegi_model_input* input = of->input;
  teg_result result =
      tegi_model_input_read(input, NULL, 4, "the magic \"GGUF\"", err);
  if (result == TEG_OK) {
    result = tegi_gguf_u32(input, "the version", &of->version, err);
  }
  if (result == TEG_OK) result = check_version(of, err);
  if (result == TEG_OK) {
    result =
        tegi_gguf_u64(input, "the number of tensors", &of->tensor_count, err);
  }
  if (result == TEG_OK) {
    result = tegi_gguf_u64(input, "the number of pairs of metadata",
                           &of->pair_count, err);
  }
  if (result != TEG_OK) return result;
  result = check_count(of, 8, of->tensor_count, LEAST_TENSOR_BYTES,
                       TEGI_MODEL_MOST_TENSORS, "tensors", err);
  if (result != TEG_OK) return result;
  return check_count(of, 16, of->pair_count, LEAST_PAIR_BYTES,
                     TEGI_MODEL_MOST_PAIRS, "pairs of metadata", err);
}

// ---- Metadata ---------------------------------------------------------------

static teg_result take_alignment(header* of, uint64_t place, uint32_t type,
                                 teg_error* err) {
  uint32_t alignment = 0;
  if (type == TEGI_GGUF_UINT32) {
    alignment = (uint32_t)strtoul(of->text.bytes, NULL, 10);
  }
  if (!tegi_is_power_of_two(alignment)) {
    return tegi_model_input_fail(of->input, place, TEG_CORRUPT, err,
                                 "general.alignment is %.40s; expected a power "
                                 "of two as 32-bit number",
                                 of->text.bytes);
  }
  of->alignment = alignment;
  return TEG_OK;
}

static teg_result read_pair(header* of, teg_error* err) {
  tegi_model_input* input = of->input;
  uint64_t place = input->offset;
  teg_result result = tegi_gguf_name(input, &of->text, MOST_KEY_BYTES,
                                     "a key of metadata", err);
  if (result != TEG_OK) return result;
  if (of->text.length == 0) {
    return tegi_model_input_fail(input, place, TEG_CORRUPT, err,
                                 "a key of metadata is empty");
  }
  const char* key = tegi_model_text(of->model, of->text.bytes, of->text.length);
  if (!key) return tegi_model_no_memory(input->file->path, err);
  uint64_t value_place = input->offset;
  uint32_t type;
  result = tegi_gguf_u32(input, "the type of a value", &type, err);
  if (result == TEG_OK) {
    result = tegi_gguf_value(input, &of->text, type, value_place, err);
  }
  if (result != TEG_OK) return result;
  if (strcmp(key, "general.alignment") == 0) {
    result = take_alignment(of, value_place, type, err);
    if (result != TEG_OK) return result;
  }
  return tegi_model_add_pair(of->model, key, of->text.bytes, place, err);
}

// ---- Tensors ----------------------------------------------------------------

static teg_result read_shape(header* of, teg_tensor_info* info,
                             teg_error* err) {
  tegi_model_input* input = of->input;
  uint64_t place = input->offset;
  uint32_t count;
  teg_result result =
      tegi_gguf_u32(input, "the number of dimensions", &count, err);
  if (result != TEG_OK) return result;
  if (count > MOST_DIMENSIONS) {
    return tegi_model_input_fail(input, place, TEG_CORRUPT, err,
                                 "the tensor \"%.200s\" has %" PRIu32
                                 " dimensions; at most %d are allowed",
                                 info->name, count, MOST_DIMENSIONS);
  }
  info->dimension_count = count;
  for (uint32_t i = count; i-- > 0;) {  // innermost first in the file
    result = tegi_gguf_u64(input, "a dimension", &info->shape[i], err);
    if (result != TEG_OK) return result;
  }
  return TEG_OK;
}

static teg_result find_type(const header* of, uint64_t place, uint32_t number,
                            const char* name, const tegi_gguf_type** out_type,
                            teg_error* err) {
  *out_type = tegi_gguf_type_of(number);
  if (!*out_type) {
    return tegi_model_input_fail(of->input, place, TEG_UNSUPPORTED, err,
                                 "the tensor \"%.200s\" has the type %" PRIu32
                                 ", which is not known",
                                 name, number);
  }
  if ((*out_type)->block_elements == 0) {
    return tegi_model_input_fail(of->input, place, TEG_UNSUPPORTED, err,
                                 "the tensor \"%.200s\" has the type %s, which "
                                 "was taken out of ggml",
                                 name, (*out_type)->name);
  }
  return TEG_OK;
}

// Rows are whole blocks.
static teg_result find_bytes(const header* of, uint64_t place,
                             const tegi_gguf_type* type, teg_tensor_info* info,
                             teg_error* err) {
  uint32_t last = info->dimension_count;
  uint64_t row = last > 0 ? info->shape[last - 1] : 1;
  if (row % type->block_elements != 0) {
    return tegi_model_input_fail(
        of->input, place, TEG_CORRUPT, err,
        "the tensor \"%.200s\" has %" PRIu64
        " elements in a row, no multiple of %" PRIu32 ", a block of %s",
        info->name, row, type->block_elements, type->name);
  }
  uint64_t elements;
  if (!tegi_model_count_elements(info, &elements) ||
      !tegi_mul_u64(elements / type->block_elements, type->block_bytes,
                    &info->bytes)) {
    return tegi_model_input_fail(of->input, place, TEG_CORRUPT, err,
                                 "the shape of the tensor \"%.200s\" overflows "
                                 "64 bits",
                                 info->name);
  }
  return TEG_OK;
}

// |info|'s offset is still relative to the bytes of the tensors.
static teg_result read_tensor(header* of, teg_error* err) {
  tegi_model_input* input = of->input;
  uint64_t place = input->offset;
  teg_result result = tegi_gguf_name(input, &of->text, MOST_NAME_BYTES,
                                     "the name of a tensor", err);
  if (result != TEG_OK) return result;
  teg_tensor_info info = {
      .name = tegi_model_text(of->model, of->text.bytes, of->text.length)};
  if (!info.name) return tegi_model_no_memory(input->file->path, err);
  uint64_t shape_place = input->offset;
  result = read_shape(of, &info, err);
  if (result != TEG_OK) return result;
  uint64_t type_place = input->offset;
  uint32_t number;
  result = tegi_gguf_u32(input, "the type of a tensor", &number, err);
  const tegi_gguf_type* type = NULL;
  if (result == TEG_OK) {
    result = find_type(of, type_place, number, info.name, &type, err);
  }
  if (result != TEG_OK) return result;
  info.type = type->name;
  result = find_bytes(of, shape_place, type, &info, err);
  if (result != TEG_OK) return result;
  uint64_t offset_place = input->offset;
  result =
      tegi_gguf_u64(input, "the offset of a tensor", &info.file_offset, err);
  if (result != TEG_OK) return result;
  if (info.file_offset % of->alignment != 0) {
    return tegi_model_input_fail(input, offset_place, TEG_CORRUPT, err,
                                 "the tensor \"%.200s\" has the offset %" PRIu64
                                 ", no multiple of the alignment %" PRIu32,
                                 info.name, info.file_offset, of->alignment);
  }
  return tegi_model_add_tensor(of->model, &info, place, err);
}

// Makes the offset one in the file, and sees that all is inside.
static teg_result place_in_file(const header* of, tegi_model_tensor* tensor,
                                uint64_t data_begin, teg_error* err) {
  teg_tensor_info* info = &tensor->info;
  uint64_t begin;
  uint64_t end;
  if (!tegi_add_u64(data_begin, info->file_offset, &begin) ||
      !tegi_add_u64(begin, info->bytes, &end)) {
    return tegi_model_input_fail(of->input, tensor->place, TEG_CORRUPT, err,
                                 "the offset %" PRIu64
                                 " of the tensor \"%.200s\" overflows 64 bits",
                                 info->file_offset, info->name);
  }
  if (end > of->input->file->bytes) {
    return tegi_model_input_fail(
        of->input, tensor->place, TEG_TRUNCATED, err,
        "the tensor \"%.200s\" is at bytes %" PRIu64 " to %" PRIu64
        ", but the file ends at byte %" PRIu64,
        info->name, begin, end, of->input->file->bytes);
  }
  info->file_offset = begin;
  return TEG_OK;
}

static teg_result place_tensors(header* of, uint64_t first, teg_error* err) {
  teg_model* model = of->model;
  uint64_t data_begin = tegi_align_up(of->input->offset, of->alignment);
  for (uint64_t i = first; i < model->tensor_count; ++i) {
    teg_result result = place_in_file(of, &model->tensors[i], data_begin, err);
    if (result != TEG_OK) return result;
  }
  return tegi_model_sort_tensors(model, first, of->input, err);
}

static teg_result read_all(header* of, teg_error* err) {
  teg_result result = read_beginning(of, err);
  for (uint64_t i = 0; i < of->pair_count && result == TEG_OK; ++i) {
    result = read_pair(of, err);
  }
  if (result == TEG_OK) {
    result = tegi_model_check_keys(of->model, 0, of->input, err);
  }
  uint64_t first = of->model->tensor_count;
  for (uint64_t i = 0; i < of->tensor_count && result == TEG_OK; ++i) {
    result = read_tensor(of, err);
  }
  if (result != TEG_OK) return result;
  snprintf(of->model->format, sizeof of->model->format, "gguf v%" PRIu32,
           of->version);
  return place_tensors(of, first, err);
}

teg_result tegi_read_gguf(teg_model* model, tegi_model_input* input,
                          teg_error* err) {
  header of = {.model = model, .input = input, .alignment = DEFAULT_ALIGNMENT};
  if (input->file->bytes > MOST_HEADER_BYTES) {
    tegi_model_input_limit(input, MOST_HEADER_BYTES,
                           "the largest header that is allowed ends");
  }
  teg_result result = tegi_gguf_text_init(&of.text, &model->host, input, err);
  if (result == TEG_OK) result = read_all(&of, err);
  tegi_gguf_text_deinit(&of.text, &model->host);
  return result;
}
