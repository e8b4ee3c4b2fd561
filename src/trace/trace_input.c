// SPDX-License-Identifier: Apache-2.0
//
// The byte source of the reader. Owns the file descriptor, two buffers of
// fixed size and a decompressor; no locks. Invariants: begin <= end <= window
// size; after a failure the input is only closed.
#define _GNU_SOURCE  // O_CLOEXEC

#include "trace/trace_input.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"

enum { RAW_SIZE = 64 * 1024, MAX_WINDOW_LOG = 27 };

static teg_result no_memory(tegi_trace_input* input, teg_error* err) {
  return tegi_error_set(err, TEG_OUT_OF_HOST_MEMORY,
                        "%s: no host memory to read it", input->name);
}

static teg_result read_file(void* user, void* buffer, size_t capacity,
                            size_t* out_size, teg_error* err) {
  tegi_trace_input* input = user;
  for (;;) {
    ssize_t got = read(input->fd, buffer, capacity);
    if (got >= 0) {
      *out_size = (size_t)got;
      return TEG_OK;
    }
    if (errno == EINTR) continue;
    return tegi_error_native(err, TEG_IO, "os", errno, "%s: cannot read: %s",
                             input->name, strerror(errno));
  }
}

static teg_result read_memory(void* user, void* buffer, size_t capacity,
                              size_t* out_size, teg_error* err) {
  (void)err;
  tegi_trace_input* input = user;
  size_t size = input->memory_size < capacity ? input->memory_size : capacity;
  if (size > 0) memcpy(buffer, input->memory, size);
  input->memory += size;
  input->memory_size -= size;
  *out_size = size;
  return TEG_OK;
}

// Takes up to |capacity| raw bytes from the source.
static teg_result read_source(tegi_trace_input* input, uint8_t* buffer,
                              size_t capacity, size_t* out_size,
                              teg_error* err) {
  *out_size = 0;
  if (input->is_source_at_end) return TEG_OK;
  teg_error local;
  teg_error_clear(&local);
  teg_result result = input->source.read(input->source.user, buffer, capacity,
                                         out_size, &local);
  if (result == TEG_OK && *out_size > capacity) {
    return tegi_error_set(err, TEG_INVALID,
                          "%s: the source gave more bytes than asked for",
                          input->name);
  }
  if (result != TEG_OK) {
    *out_size = 0;
    if (local.message[0] == '\0') {
      return tegi_error_set(err, result, "%s: the source failed", input->name);
    }
    if (err) *err = local;
    return result;
  }
  if (*out_size == 0) input->is_source_at_end = true;
  input->raw_offset += *out_size;
  return TEG_OK;
}

// Has compressed bytes in |raw|, or is_source_at_end and none.
static teg_result fill_raw(tegi_trace_input* input, teg_error* err) {
  if (input->raw_begin < input->raw_end) return TEG_OK;
  size_t size;
  teg_result result = read_source(input, input->raw, RAW_SIZE, &size, err);
  input->raw_begin = 0;
  input->raw_end = size;
  return result;
}

static teg_result bad_packing(tegi_trace_input* input, const char* packing,
                              const char* why, teg_error* err) {
  return tegi_error_set(
      err, TEG_CORRUPT, "%s: the %s data before byte %llu is broken: %s",
      input->name, packing, (unsigned long long)input->raw_offset, why);
}

static teg_result early_end(tegi_trace_input* input, const char* packing,
                            teg_error* err) {
  return tegi_error_set(
      err, TEG_TRUNCATED, "%s: the %s data ends too early, after %llu bytes",
      input->name, packing, (unsigned long long)input->raw_offset);
}

// Both decompressors: put at least one byte into the window, or find the end.
static teg_result fill_gzip(tegi_trace_input* input, teg_error* err) {
  z_stream* gzip = input->gzip;
  size_t before = input->end;
  while (input->end == before) {
    teg_result result = fill_raw(input, err);
    if (result != TEG_OK) return result;
    if (input->raw_begin == input->raw_end) {
      if (input->is_frame_open) return early_end(input, "gzip", err);
      input->is_at_end = true;
      return TEG_OK;
    }
    if (!input->is_frame_open && inflateReset(gzip) != Z_OK) {
      return bad_packing(input, "gzip", "reset", err);
    }
    input->is_frame_open = true;
    gzip->next_in = input->raw + input->raw_begin;
    gzip->avail_in = (uInt)(input->raw_end - input->raw_begin);
    gzip->next_out = input->window + input->end;
    gzip->avail_out = (uInt)(TEGI_TRACE_WINDOW_SIZE - input->end);
    int status = inflate(gzip, Z_NO_FLUSH);
    input->raw_begin = input->raw_end - gzip->avail_in;
    input->end = TEGI_TRACE_WINDOW_SIZE - gzip->avail_out;
    if (status == Z_STREAM_END) {
      input->is_frame_open = false;
    } else if (status == Z_MEM_ERROR) {
      return no_memory(input, err);
    } else if (status != Z_OK && status != Z_BUF_ERROR) {
      return bad_packing(input, "gzip", gzip->msg ? gzip->msg : "data", err);
    }
  }
  return TEG_OK;
}

static teg_result fill_zstd(tegi_trace_input* input, teg_error* err) {
  size_t before = input->end;
  while (input->end == before) {
    teg_result result = fill_raw(input, err);
    if (result != TEG_OK) return result;
    bool is_dry = input->raw_begin == input->raw_end;
    if (is_dry && !input->is_frame_open) {
      input->is_at_end = true;
      return TEG_OK;
    }
    ZSTD_inBuffer in = {input->raw, input->raw_end, input->raw_begin};
    ZSTD_outBuffer out = {input->window, TEGI_TRACE_WINDOW_SIZE, input->end};
    size_t status = ZSTD_decompressStream(input->zstd, &out, &in);
    input->raw_begin = in.pos;
    input->end = out.pos;
    if (ZSTD_isError(status)) {
      if (ZSTD_getErrorCode(status) == ZSTD_error_memory_allocation) {
        return no_memory(input, err);
      }
      return bad_packing(input, "zstd", ZSTD_getErrorName(status), err);
    }
    input->is_frame_open = status != 0;
    if (is_dry && input->end == before) {
      return early_end(input, "zstd", err);
    }
  }
  return TEG_OK;
}

static teg_result fill_plain(tegi_trace_input* input, teg_error* err) {
  size_t size;
  teg_result result =
      read_source(input, input->window + input->end,
                  TEGI_TRACE_WINDOW_SIZE - input->end, &size, err);
  input->end += size;
  input->is_at_end = input->is_source_at_end;
  return result;
}

static teg_result fill(tegi_trace_input* input, teg_error* err) {
  if (input->begin > 0) {
    memmove(input->window, input->window + input->begin,
            input->end - input->begin);
    input->end -= input->begin;
    input->begin = 0;
  }
  switch (input->packing) {
    case TEGI_TRACE_GZIP:
      return fill_gzip(input, err);
    case TEGI_TRACE_ZSTD:
      return fill_zstd(input, err);
    case TEGI_TRACE_PLAIN:
      break;
  }
  return fill_plain(input, err);
}

teg_result tegi_trace_input_peek(tegi_trace_input* input, size_t wanted,
                                 const uint8_t** out_data, size_t* out_size,
                                 teg_error* err) {
  TEG_ASSERT(wanted <= TEGI_TRACE_WINDOW_SIZE / 2);
  while (input->end - input->begin < wanted && !input->is_at_end) {
    teg_result result = fill(input, err);
    if (result != TEG_OK) return result;
  }
  *out_data = input->window + input->begin;
  *out_size = input->end - input->begin;
  return TEG_OK;
}

void tegi_trace_input_skip(tegi_trace_input* input, size_t size) {
  TEG_ASSERT(size <= input->end - input->begin);
  input->begin += size;
  input->offset += size;
}

teg_result tegi_trace_input_read(tegi_trace_input* input, void* buffer,
                                 size_t size, size_t* out_size,
                                 teg_error* err) {
  uint8_t* to = buffer;
  *out_size = 0;
  while (size > 0) {
    const uint8_t* data;
    size_t visible;
    teg_result result = tegi_trace_input_peek(input, 1, &data, &visible, err);
    if (result != TEG_OK) return result;
    if (visible == 0) return TEG_OK;
    size_t step = visible < size ? visible : size;
    memcpy(to, data, step);
    tegi_trace_input_skip(input, step);
    to += step;
    size -= step;
    *out_size += step;
  }
  return TEG_OK;
}

static teg_result init_gzip(tegi_trace_input* input, teg_error* err) {
  input->gzip = tegi_host_alloc(input->host, sizeof *input->gzip);
  if (!input->gzip) return no_memory(input, err);
  tegi_trace_zlib_memory(input->gzip, input->host);
  if (inflateInit2(input->gzip, 15 + 16) != Z_OK) {
    tegi_host_free(input->host, input->gzip, sizeof *input->gzip);
    input->gzip = NULL;
    return no_memory(input, err);
  }
  return TEG_OK;
}

static teg_result init_zstd(tegi_trace_input* input, teg_error* err) {
  input->zstd = ZSTD_createDCtx_advanced(tegi_trace_zstd_memory(input->host));
  if (!input->zstd) return no_memory(input, err);
  (void)ZSTD_DCtx_setParameter(input->zstd, ZSTD_d_windowLogMax,
                               MAX_WINDOW_LOG);
  return TEG_OK;
}

// Reads the first bytes and, if they are those of a compressed file, moves
// them behind a decompressor.
static teg_result find_packing(tegi_trace_input* input, teg_error* err) {
  const uint8_t* data;
  size_t size;
  teg_result result = tegi_trace_input_peek(input, 4, &data, &size, err);
  if (result != TEG_OK) return result;
  if (size >= 2 && data[0] == 0x1f && data[1] == 0x8b) {
    input->packing = TEGI_TRACE_GZIP;
  } else if (size >= 4 && memcmp(data, "\x28\xb5\x2f\xfd", 4) == 0) {
    input->packing = TEGI_TRACE_ZSTD;
  } else {
    return TEG_OK;
  }
  input->raw = tegi_host_alloc(input->host, TEGI_TRACE_WINDOW_SIZE);
  if (!input->raw) return no_memory(input, err);
  memcpy(input->raw, data, size);
  input->raw_end = size;
  input->end = 0;
  input->is_at_end = false;
  return input->packing == TEGI_TRACE_GZIP ? init_gzip(input, err)
                                           : init_zstd(input, err);
}

static teg_result begin(tegi_trace_input* input, teg_error* err) {
  input->window = tegi_host_alloc(input->host, TEGI_TRACE_WINDOW_SIZE);
  teg_result result =
      input->window ? find_packing(input, err) : no_memory(input, err);
  if (result != TEG_OK) tegi_trace_input_deinit(input);
  return result;
}

teg_result tegi_trace_input_init_path(tegi_trace_input* input, tegi_host* host,
                                      const char* path, teg_error* err) {
  *input = (tegi_trace_input){.host = host, .name = path, .fd = -1};
  input->source = (teg_trace_source){read_file, NULL, input};
  input->fd = open(path, O_RDONLY | O_CLOEXEC);
  if (input->fd < 0) {
    return tegi_error_native(err, TEG_IO, "os", errno, "%s: cannot open: %s",
                             path, strerror(errno));
  }
  struct stat status;
  if (fstat(input->fd, &status) == 0 && S_ISREG(status.st_mode)) {
    input->total_bytes = (uint64_t)status.st_size;
  }
  return begin(input, err);
}

teg_result tegi_trace_input_init_memory(tegi_trace_input* input,
                                        tegi_host* host, const char* name,
                                        const void* data, size_t size,
                                        teg_error* err) {
  *input = (tegi_trace_input){.host = host, .name = name, .fd = -1};
  input->source = (teg_trace_source){read_memory, NULL, input};
  input->memory = data;
  input->memory_size = size;
  input->total_bytes = size;
  return begin(input, err);
}

teg_result tegi_trace_input_init_source(tegi_trace_input* input,
                                        tegi_host* host, const char* name,
                                        const teg_trace_source* source,
                                        teg_error* err) {
  *input = (tegi_trace_input){.host = host, .name = name, .fd = -1};
  input->source = *source;
  return begin(input, err);
}

void tegi_trace_input_deinit(tegi_trace_input* input) {
  if (!input->host) return;
  if (input->source.close) input->source.close(input->source.user);
  if (input->fd >= 0) close(input->fd);
  if (input->gzip) inflateEnd(input->gzip);
  tegi_host_free(input->host, input->gzip, sizeof *input->gzip);
  ZSTD_freeDCtx(input->zstd);
  tegi_host_free(input->host, input->raw, TEGI_TRACE_WINDOW_SIZE);
  tegi_host_free(input->host, input->window, TEGI_TRACE_WINDOW_SIZE);
  *input = (tegi_trace_input){0};
}
