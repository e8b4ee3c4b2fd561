// SPDX-License-Identifier: Apache-2.0
//
// Saving tensors as a safetensors file: 8 bytes that say how long the header
// is, the header in JSON, the tensors' bytes without gaps. Several reads are
// on their way from the device at a time; what has come goes to a file beside
// the target, which takes its name when it is complete.
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/checked.h"
#include "base/error.h"
#include "core/objects.h"
#include "load/utf8.h"
#include "tegula/load.h"

enum { MOST_READS = 3, HEADER_ALIGNMENT = 8, LENGTH_BYTES = 8 };
#define MOST_PIECE_BYTES (UINT64_C(4) << 20)
#define MOST_HEADER_BYTES (UINT64_C(100000000))  // what readers accept
#define TEMPORARY ".tegula-XXXXXX"

// One tensor in the order of the file.
typedef struct save_entry {
  const teg_save_tensor* tensor;
  uint64_t bytes;
  uint64_t begin;  // in the data
  uint32_t element_bytes;
} save_entry;

// A text that grows; |is_full| when the host had no memory for it.
typedef struct save_text {
  tegi_host* host;
  char* bytes;
  size_t size;
  size_t capacity;
  bool is_full;
} save_text;

typedef struct saving {
  tegi_host* host;
  teg_stream* stream;
  const char* path;
  char* temporary;
  size_t temporary_size;
  int file;
  save_entry* entries;
  size_t count;
  save_text header;
  char* piece;
  uint64_t piece_bytes;
  teg_read* reads[MOST_READS];  // a queue
  uint64_t read_bytes[MOST_READS];
  uint32_t first_read;
  uint32_t read_count;
  uint64_t offset;  // in the file, of the next byte
} saving;

// ---- Types and sizes -------------------------------------------------------

static uint32_t element_bytes(const char* type) {
  static const struct {
    const char* name;
    uint32_t bytes;
  } types[] = {
      {"BOOL", 1},    {"U8", 1},  {"I8", 1},  {"F8_E5M2", 1}, {"F8_E4M3", 1},
      {"F8_E8M0", 1}, {"U16", 2}, {"I16", 2}, {"F16", 2},     {"BF16", 2},
      {"U32", 4},     {"I32", 4}, {"F32", 4}, {"U64", 8},     {"I64", 8},
      {"F64", 8},     {"C64", 8},
  };
  for (size_t i = 0; i < sizeof types / sizeof *types; ++i) {
    if (strcmp(types[i].name, type) == 0) return types[i].bytes;
  }
  return 0;
}

static teg_result check_tensor(const teg_stream* stream,
                               const teg_save_tensor* tensor,
                               save_entry* out_entry, teg_error* err) {
  TEG_REQUIRE(tensor->name && tensor->type, err,
              "save: a tensor lacks its name or type");
  const char* name = tensor->name;
  TEG_REQUIRE(strcmp(name, "__metadata__") != 0, err,
              "save: no tensor can be called \"__metadata__\"");
  TEG_REQUIRE(tegi_utf8_length(name, strlen(name)) == strlen(name), err,
              "save: the name of a tensor is not UTF-8");
  uint32_t size = element_bytes(tensor->type);
  TEG_REQUIRE(size > 0, err,
              "save: tensor \"%.100s\": safetensors has no type \"%.20s\"",
              name, tensor->type);
  TEG_REQUIRE(tensor->dimension_count <= TEG_TENSOR_MOST_DIMENSIONS, err,
              "save: tensor \"%.100s\" has more than %d dimensions", name,
              TEG_TENSOR_MOST_DIMENSIONS);
  uint64_t bytes = size;
  for (uint32_t i = 0; i < tensor->dimension_count; ++i) {
    TEG_REQUIRE(tegi_mul_u64(bytes, tensor->shape[i], &bytes), err,
                "save: tensor \"%.100s\" has more than 2^64 bytes", name);
  }
  *out_entry = (save_entry){tensor, bytes, 0, size};
  if (bytes == 0) return TEG_OK;
  TEG_REQUIRE(tensor->buffer, err, "save: tensor \"%.100s\" has no buffer",
              name);
  TEG_REQUIRE(tensor->buffer->session == stream->session, err,
              "save: tensor \"%.100s\" is another session's", name);
  uint64_t held = tensor->buffer->size;
  TEG_REQUIRE(tensor->offset <= held && bytes <= held - tensor->offset, err,
              "save: tensor \"%.100s\" has %" PRIu64
              " bytes by its shape, its buffer %" PRIu64 " from offset %" PRIu64
              " on",
              name, bytes, tensor->offset < held ? held - tensor->offset : 0,
              tensor->offset);
  return TEG_OK;
}

static int compare_names(const void* a, const void* b) {
  const save_entry* one = a;
  const save_entry* other = b;
  return strcmp(one->tensor->name, other->tensor->name);
}

// Large elements first, so that all are aligned; else as they were given.
static int compare_places(const void* a, const void* b) {
  const save_entry* one = a;
  const save_entry* other = b;
  if (one->element_bytes != other->element_bytes) {
    return one->element_bytes > other->element_bytes ? -1 : 1;
  }
  return one->tensor < other->tensor ? -1 : one->tensor > other->tensor;
}

static teg_result list_entries(saving* save, const teg_save_tensor* tensors,
                               teg_error* err) {
  for (size_t i = 0; i < save->count; ++i) {
    teg_result result =
        check_tensor(save->stream, &tensors[i], &save->entries[i], err);
    if (result != TEG_OK) return result;
  }
  if (save->count == 0) return TEG_OK;
  qsort(save->entries, save->count, sizeof *save->entries, compare_names);
  for (size_t i = 1; i < save->count; ++i) {
    TEG_REQUIRE(compare_names(&save->entries[i - 1], &save->entries[i]) != 0,
                err, "save: two tensors are called \"%.100s\"",
                save->entries[i].tensor->name);
  }
  qsort(save->entries, save->count, sizeof *save->entries, compare_places);
  uint64_t at = 0;
  for (size_t i = 0; i < save->count; ++i) {
    save->entries[i].begin = at;
    TEG_REQUIRE(tegi_add_u64(at, save->entries[i].bytes, &at), err,
                "save: the tensors have more than 2^64 bytes");
  }
  return TEG_OK;
}

// ---- The header ------------------------------------------------------------

static void put(save_text* text, const char* bytes, size_t size) {
  if (text->is_full ||
      !tegi_host_grow_array(text->host, &text->bytes, &text->capacity,
                            text->size + size, 1)) {
    text->is_full = true;
    return;
  }
  memcpy(text->bytes + text->size, bytes, size);
  text->size += size;
}

static void put_text(save_text* text, const char* bytes) {
  put(text, bytes, strlen(bytes));
}

static void put_number(save_text* text, uint64_t number) {
  char digits[24];
  snprintf(digits, sizeof digits, "%" PRIu64, number);
  put_text(text, digits);
}

static void put_quoted(save_text* text, const char* bytes) {
  put_text(text, "\"");
  for (const char* at = bytes; *at; ++at) {
    unsigned char byte = (unsigned char)*at;
    char escape[8] = {*at};
    if (byte == '"' || byte == '\\') {
      snprintf(escape, sizeof escape, "\\%c", byte);
    } else if (byte < 0x20) {
      snprintf(escape, sizeof escape, "\\u%04x", byte);
    }
    put_text(text, escape);
  }
  put_text(text, "\"");
}

static void put_entry(save_text* text, const save_entry* entry) {
  const teg_save_tensor* tensor = entry->tensor;
  put_quoted(text, tensor->name);
  put_text(text, ":{\"dtype\":\"");
  put_text(text, tensor->type);
  put_text(text, "\",\"shape\":[");
  for (uint32_t i = 0; i < tensor->dimension_count; ++i) {
    if (i > 0) put_text(text, ",");
    put_number(text, tensor->shape[i]);
  }
  put_text(text, "],\"data_offsets\":[");
  put_number(text, entry->begin);
  put_text(text, ",");
  put_number(text, entry->begin + entry->bytes);
  put_text(text, "]}");
}

static teg_result build_header(saving* save, teg_error* err) {
  save_text* text = &save->header;
  text->host = save->host;
  char length[LENGTH_BYTES] = {0};
  put(text, length, sizeof length);
  put_text(text, "{");
  for (size_t i = 0; i < save->count; ++i) {
    if (i > 0) put_text(text, ",");
    put_entry(text, &save->entries[i]);
  }
  put_text(text, "}");
  while (!text->is_full && text->size % HEADER_ALIGNMENT) put_text(text, " ");
  if (text->is_full) {
    return tegi_error_set(err, TEG_OUT_OF_HOST_MEMORY,
                          "%s: no host memory for the header", save->path);
  }
  uint64_t size = text->size - LENGTH_BYTES;
  TEG_REQUIRE(size <= MOST_HEADER_BYTES, err,
              "%s: the header would have %" PRIu64
              " bytes, more than the %" PRIu64 " that readers accept",
              save->path, size, MOST_HEADER_BYTES);
  for (size_t i = 0; i < LENGTH_BYTES; ++i) {
    text->bytes[i] = (char)(size >> (8 * i));
  }
  return TEG_OK;
}

// ---- The file --------------------------------------------------------------

static teg_result fail_file(const saving* save, const char* what,
                            teg_error* err) {
  int native = errno;
  teg_result result = native == ENOSPC || native == EDQUOT || native == EFBIG
                          ? TEG_NO_SPACE
                          : TEG_IO;
  return tegi_error_native(err, result, "os", native, "%s: cannot %s: %s",
                           save->path, what, strerror(native));
}

static teg_result open_file(saving* save, teg_error* err) {
  size_t length = strlen(save->path);
  save->temporary_size = length + sizeof TEMPORARY;
  save->temporary = tegi_host_alloc(save->host, save->temporary_size);
  if (!save->temporary) {
    return tegi_error_set(err, TEG_OUT_OF_HOST_MEMORY, "%s: no host memory",
                          save->path);
  }
  memcpy(save->temporary, save->path, length);
  memcpy(save->temporary + length, TEMPORARY, sizeof TEMPORARY);
  save->file = mkostemp(save->temporary, O_CLOEXEC);
  if (save->file >= 0) return TEG_OK;
  teg_result result = fail_file(save, "make a file beside it", err);
  tegi_host_free(save->host, save->temporary, save->temporary_size);
  save->temporary = NULL;
  return result;
}

static teg_result write_bytes(saving* save, const char* bytes, uint64_t size,
                              teg_error* err) {
  while (size > 0) {
    ssize_t put_count =
        pwrite(save->file, bytes, (size_t)size, (off_t)save->offset);
    if (put_count < 0 && errno == EINTR) continue;
    if (put_count < 0) return fail_file(save, "write", err);
    bytes += put_count;
    size -= (uint64_t)put_count;
    save->offset += (uint64_t)put_count;
  }
  return TEG_OK;
}

// The rights that a new file gets, or those of the one that is replaced.
static mode_t mode_for(const char* path) {
  struct stat status;
  if (stat(path, &status) == 0) return status.st_mode & 0777;
  mode_t mask = umask(0);
  umask(mask);
  return 0666 & ~mask;
}

static teg_result finish_file(saving* save, teg_error* err) {
  if (fchmod(save->file, mode_for(save->path)) != 0) {
    return fail_file(save, "set its rights", err);
  }
  int file = save->file;
  save->file = -1;
  if (close(file) != 0) return fail_file(save, "write", err);
  if (rename(save->temporary, save->path) != 0) {
    return fail_file(save, "take its name", err);
  }
  tegi_host_free(save->host, save->temporary, save->temporary_size);
  save->temporary = NULL;
  return TEG_OK;
}

// ---- The bytes -------------------------------------------------------------

// The oldest read goes to the file.
static teg_result write_oldest(saving* save, teg_error* err) {
  uint32_t at = save->first_read;
  save->first_read = (at + 1) % MOST_READS;
  save->read_count--;
  teg_result result = teg_read_finish(save->reads[at], save->piece, err);
  if (result != TEG_OK) return result;
  return write_bytes(save, save->piece, save->read_bytes[at], err);
}

static teg_result begin_read(saving* save, teg_buffer* buffer, uint64_t offset,
                             uint64_t bytes, teg_error* err) {
  uint32_t at = (save->first_read + save->read_count) % MOST_READS;
  teg_result result = teg_stream_read_begin(save->stream, buffer, offset, bytes,
                                            &save->reads[at], err);
  if (result != TEG_OK) return result;
  save->read_bytes[at] = bytes;
  save->read_count++;
  return TEG_OK;
}

static bool is_memory(teg_result result) {
  return result == TEG_OUT_OF_MEMORY || result == TEG_OVER_BUDGET ||
         result == TEG_LIMIT;
}

// Begins a read as soon as there is readback memory for it.
static teg_result read_piece(saving* save, teg_buffer* buffer, uint64_t offset,
                             uint64_t* in_out_bytes, teg_error* err) {
  teg_result result = TEG_OK;
  if (save->read_count == MOST_READS) result = write_oldest(save, err);
  while (result == TEG_OK) {
    result = begin_read(save, buffer, offset, *in_out_bytes, err);
    if (!is_memory(result)) return result;
    if (save->read_count > 0) {
      result = write_oldest(save, err);
    } else if (*in_out_bytes > 4096) {
      *in_out_bytes /= 2;
      result = TEG_OK;
    }
  }
  return result;
}

static teg_result write_entry(saving* save, const save_entry* entry,
                              teg_error* err) {
  const teg_save_tensor* tensor = entry->tensor;
  for (uint64_t done = 0; done < entry->bytes;) {
    uint64_t bytes = tegi_min_u64(entry->bytes - done, save->piece_bytes);
    teg_result result =
        read_piece(save, tensor->buffer, tensor->offset + done, &bytes, err);
    if (result != TEG_OK) return result;
    done += bytes;
  }
  return TEG_OK;
}

static teg_result write_all(saving* save, teg_error* err) {
  teg_result result =
      write_bytes(save, save->header.bytes, save->header.size, err);
  for (size_t i = 0; result == TEG_OK && i < save->count; ++i) {
    result = write_entry(save, &save->entries[i], err);
  }
  while (result == TEG_OK && save->read_count > 0) {
    result = write_oldest(save, err);
  }
  return result;
}

static teg_result save_all(saving* save, const teg_save_tensor* tensors,
                           teg_error* err) {
  uint64_t ring = save->stream->session->options.ring_max;
  save->piece_bytes = tegi_min_u64(ring / (MOST_READS + 1), MOST_PIECE_BYTES);
  save->entries =
      tegi_host_calloc(save->host, save->count, sizeof *save->entries);
  save->piece = tegi_host_alloc(save->host, (size_t)save->piece_bytes);
  if (!save->piece || (!save->entries && save->count > 0)) {
    return tegi_error_set(err, TEG_OUT_OF_HOST_MEMORY, "%s: no host memory",
                          save->path);
  }
  teg_result result = list_entries(save, tensors, err);
  if (result == TEG_OK) result = build_header(save, err);
  if (result == TEG_OK) result = open_file(save, err);
  if (result == TEG_OK) result = write_all(save, err);
  if (result == TEG_OK) result = finish_file(save, err);
  return result;
}

static void end_saving(saving* save) {
  for (; save->read_count > 0; save->read_count--) {
    teg_read_cancel(save->reads[save->first_read]);
    save->first_read = (save->first_read + 1) % MOST_READS;
  }
  if (save->file >= 0) close(save->file);
  if (save->temporary) unlink(save->temporary);
  tegi_host* host = save->host;
  tegi_host_free(host, save->temporary, save->temporary_size);
  tegi_host_free(host, save->header.bytes, save->header.capacity);
  tegi_host_free(host, save->entries, save->count * sizeof *save->entries);
  tegi_host_free(host, save->piece, (size_t)save->piece_bytes);
}

teg_result teg_save(teg_stream* stream, const char* path,
                    const teg_save_tensor* tensors, uint64_t tensor_count,
                    teg_error* err) {
  TEG_REQUIRE(stream && path, err, "save: an argument is NULL");
  TEG_REQUIRE(tensors || tensor_count == 0, err,
              "save: tensors is NULL and tensor_count %" PRIu64, tensor_count);
  saving save = {
      .host = &stream->session->device->host,
      .stream = stream,
      .path = path,
      .file = -1,
      .count = (size_t)tensor_count,
  };
  teg_result result = save_all(&save, tensors, err);
  end_saving(&save);
  return result;
}
