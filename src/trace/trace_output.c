// SPDX-License-Identifier: Apache-2.0
//
// The byte sink of the writer. Owns the temporary file, two buffers of fixed
// size and a compressor; no locks. Invariant: until commit succeeds nothing at
// the path has changed.
#define _GNU_SOURCE  // O_CLOEXEC, realpath

#include "trace/trace_output.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "trace/trace_format.h"

enum { BUFFER_SIZE = 256 * 1024, DEFAULT_LEVEL = 6, TEMPORARY_TRIES = 100 };

static teg_result no_memory(tegi_trace_output* output, teg_error* err) {
  return tegi_error_set(err, TEG_OUT_OF_HOST_MEMORY,
                        "%s: no host memory to write it",
                        output->path ? output->path : "trace");
}

static teg_result os_error(const tegi_trace_output* output, int code,
                           const char* what, teg_error* err) {
  bool is_full = code == ENOSPC || code == EDQUOT;
  return tegi_error_native(
      err, is_full ? TEG_NO_SPACE : TEG_IO, "os", code, "%s: cannot %s: %s",
      output->path ? output->path : "trace", what, strerror(code));
}

static teg_result write_file(void* user, const void* data, size_t size,
                             teg_error* err) {
  tegi_trace_output* output = user;
  const uint8_t* from = data;
  while (size > 0) {
    ssize_t put = write(output->fd, from, size);
    if (put < 0 && errno == EINTR) continue;
    if (put <= 0) return os_error(output, put < 0 ? errno : EIO, "write", err);
    from += put;
    size -= (size_t)put;
  }
  return TEG_OK;
}

static teg_result write_sink(tegi_trace_output* output, const void* data,
                             size_t size, teg_error* err) {
  if (size == 0) return TEG_OK;
  teg_error local;
  teg_error_clear(&local);
  teg_result result = output->sink.write(output->sink.user, data, size, &local);
  if (result == TEG_OK) return TEG_OK;
  if (local.message[0] == '\0') {
    return tegi_error_set(err, result, "trace: the sink failed");
  }
  if (err) *err = local;
  return result;
}

// ---------------------------------------------------------------------------
// Compression

static teg_result drain_gzip(tegi_trace_output* output, bool is_last,
                             teg_error* err) {
  z_stream* gzip = output->gzip;
  gzip->next_in = output->plain;
  gzip->avail_in = (uInt)output->plain_size;
  do {
    gzip->next_out = output->packed;
    gzip->avail_out = BUFFER_SIZE;
    int status = deflate(gzip, is_last ? Z_FINISH : Z_NO_FLUSH);
    if (status == Z_STREAM_ERROR) {
      return tegi_error_set(err, TEG_IO, "%s: gzip failed", output->path);
    }
    teg_result result =
        write_sink(output, output->packed, BUFFER_SIZE - gzip->avail_out, err);
    if (result != TEG_OK) return result;
  } while (gzip->avail_out == 0);
  return TEG_OK;
}

static teg_result drain_zstd(tegi_trace_output* output, bool is_last,
                             teg_error* err) {
  ZSTD_inBuffer in = {output->plain, output->plain_size, 0};
  ZSTD_EndDirective directive = is_last ? ZSTD_e_end : ZSTD_e_continue;
  for (;;) {
    ZSTD_outBuffer out = {output->packed, BUFFER_SIZE, 0};
    size_t left = ZSTD_compressStream2(output->zstd, &out, &in, directive);
    if (ZSTD_isError(left)) {
      if (ZSTD_getErrorCode(left) == ZSTD_error_memory_allocation) {
        return no_memory(output, err);
      }
      return tegi_error_set(err, TEG_IO, "%s: zstd failed: %s",
                            output->path ? output->path : "trace",
                            ZSTD_getErrorName(left));
    }
    teg_result result = write_sink(output, output->packed, out.pos, err);
    if (result != TEG_OK) return result;
    if (is_last ? left == 0 : in.pos == in.size) return TEG_OK;
  }
}

static teg_result drain(tegi_trace_output* output, bool is_last,
                        teg_error* err) {
  teg_result result = TEG_OK;
  switch (output->packing) {
    case TEGI_TRACE_PLAIN:
      result = write_sink(output, output->plain, output->plain_size, err);
      break;
    case TEGI_TRACE_GZIP:
      result = drain_gzip(output, is_last, err);
      break;
    case TEGI_TRACE_ZSTD:
      result = drain_zstd(output, is_last, err);
      break;
  }
  output->plain_size = 0;
  return result;
}

teg_result tegi_trace_output_write(tegi_trace_output* output, const void* data,
                                   size_t size, teg_error* err) {
  const uint8_t* from = data;
  output->offset += size;
  while (size > 0) {
    size_t room = BUFFER_SIZE - output->plain_size;
    size_t step = size < room ? size : room;
    memcpy(output->plain + output->plain_size, from, step);
    output->plain_size += step;
    from += step;
    size -= step;
    if (output->plain_size < BUFFER_SIZE) break;
    teg_result result = drain(output, false, err);
    if (result != TEG_OK) return result;
  }
  return TEG_OK;
}

static teg_result init_gzip(tegi_trace_output* output, int level,
                            teg_error* err) {
  output->gzip = tegi_host_alloc(output->host, sizeof *output->gzip);
  if (!output->gzip) return no_memory(output, err);
  tegi_trace_zlib_memory(output->gzip, output->host);
  if (level == 0) level = DEFAULT_LEVEL;
  if (level > 9) level = 9;
  if (deflateInit2(output->gzip, level, Z_DEFLATED, 15 + 16, 8,
                   Z_DEFAULT_STRATEGY) != Z_OK) {
    tegi_host_free(output->host, output->gzip, sizeof *output->gzip);
    output->gzip = NULL;
    return no_memory(output, err);
  }
  return TEG_OK;
}

static teg_result init_zstd(tegi_trace_output* output, int level,
                            teg_error* err) {
  output->zstd = ZSTD_createCCtx_advanced(tegi_trace_zstd_memory(output->host));
  if (!output->zstd) return no_memory(output, err);
  ZSTD_CCtx_setParameter(output->zstd, ZSTD_c_compressionLevel,
                         level ? level : DEFAULT_LEVEL);
  ZSTD_CCtx_setParameter(output->zstd, ZSTD_c_checksumFlag, 1);
  return TEG_OK;
}

// ---------------------------------------------------------------------------
// Files

// Opens "PATH.tmp-PID-N" beside |output|->path, N being free.
static teg_result open_temporary(tegi_trace_output* output, teg_error* err) {
  size_t size = strlen(output->path) + 48;
  char* name = tegi_host_alloc(output->host, size);
  if (!name) return no_memory(output, err);
  int code = EEXIST;
  for (int i = 0; i < TEMPORARY_TRIES && code == EEXIST; ++i) {
    snprintf(name, size, "%s.tmp-%ld-%d", output->path, (long)getpid(), i);
    output->fd = open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    code = output->fd < 0 ? errno : 0;
  }
  teg_result result = TEG_OK;
  if (code == 0) {
    output->temporary = tegi_host_strdup(output->host, name);
    if (!output->temporary) {
      unlink(name);
      result = no_memory(output, err);
    }
  } else {
    result = os_error(output, code, "create a file beside it", err);
  }
  tegi_host_free(output->host, name, size);
  return result;
}

// A link is followed, so that the file it names is replaced and not the link.
static teg_result take_path(tegi_trace_output* output, const char* path,
                            teg_error* err) {
  char* real = realpath(path, NULL);
  output->path = tegi_host_strdup(output->host, real ? real : path);
  free(real);
  return output->path ? TEG_OK : no_memory(output, err);
}

static teg_result open_path(tegi_trace_output* output, const char* path,
                            teg_error* err) {
  output->sink = (teg_trace_sink){write_file, output};
  struct stat status;
  bool is_there = stat(path, &status) == 0;
  if (is_there && !S_ISREG(status.st_mode)) {
    output->path = tegi_host_strdup(output->host, path);
    if (!output->path) return no_memory(output, err);
    output->fd = open(path, O_WRONLY | O_CLOEXEC);
    return output->fd < 0 ? os_error(output, errno, "open", err) : TEG_OK;
  }
  teg_result result = take_path(output, path, err);
  return result == TEG_OK ? open_temporary(output, err) : result;
}

teg_result tegi_trace_output_init(tegi_trace_output* output, tegi_host* host,
                                  const char* path, const teg_trace_sink* sink,
                                  tegi_trace_packing packing, int level,
                                  teg_error* err) {
  *output = (tegi_trace_output){.host = host, .fd = -1, .packing = packing};
  teg_result result = TEG_OK;
  if (path) {
    result = open_path(output, path, err);
  } else {
    output->sink = *sink;
  }
  if (result == TEG_OK) {
    output->plain = tegi_host_alloc(host, BUFFER_SIZE);
    if (!output->plain) result = no_memory(output, err);
  }
  if (result == TEG_OK && packing != TEGI_TRACE_PLAIN) {
    output->packed = tegi_host_alloc(host, BUFFER_SIZE);
    if (!output->packed) {
      result = no_memory(output, err);
    } else {
      result = packing == TEGI_TRACE_GZIP ? init_gzip(output, level, err)
                                          : init_zstd(output, level, err);
    }
  }
  if (result != TEG_OK) tegi_trace_output_deinit(output);
  return result;
}

teg_result tegi_trace_output_commit(tegi_trace_output* output, teg_error* err) {
  teg_result result = drain(output, true, err);
  if (result != TEG_OK || output->fd < 0) return result;
  // Some file systems report a full disk only here or when closing.
  if (fsync(output->fd) != 0 && errno != EINVAL && errno != EROFS &&
      errno != ENOTSUP) {
    return os_error(output, errno, "write", err);
  }
  int code = close(output->fd) == 0 ? 0 : errno;
  output->fd = -1;
  if (code != 0) return os_error(output, code, "write", err);
  if (!output->temporary) return TEG_OK;
  if (rename(output->temporary, output->path) != 0) {
    return os_error(output, errno, "move the finished file there", err);
  }
  tegi_host_free(output->host, output->temporary,
                 strlen(output->temporary) + 1);
  output->temporary = NULL;
  return TEG_OK;
}

void tegi_trace_output_deinit(tegi_trace_output* output) {
  if (!output->host) return;
  if (output->fd >= 0) close(output->fd);
  if (output->temporary) {
    unlink(output->temporary);
    tegi_host_free(output->host, output->temporary,
                   strlen(output->temporary) + 1);
  }
  if (output->path) {
    tegi_host_free(output->host, output->path, strlen(output->path) + 1);
  }
  if (output->gzip) deflateEnd(output->gzip);
  tegi_host_free(output->host, output->gzip, sizeof *output->gzip);
  ZSTD_freeCCtx(output->zstd);
  tegi_host_free(output->host, output->plain, BUFFER_SIZE);
  tegi_host_free(output->host, output->packed, BUFFER_SIZE);
  *output = (tegi_trace_output){0};
}

// ---------------------------------------------------------------------------
// Bytes

static bool reserve(tegi_trace_bytes* bytes, tegi_host* host, size_t size) {
  size_t needed;
  return !__builtin_add_overflow(bytes->size, size, &needed) &&
         tegi_host_grow_array(host, &bytes->data, &bytes->capacity, needed, 1);
}

bool tegi_trace_bytes_add(tegi_trace_bytes* bytes, tegi_host* host,
                          const void* data, size_t size) {
  if (size == 0) return true;
  if (!reserve(bytes, host, size)) return false;
  memcpy(bytes->data + bytes->size, data, size);
  bytes->size += size;
  return true;
}

bool tegi_trace_bytes_add_varint(tegi_trace_bytes* bytes, tegi_host* host,
                                 uint64_t value) {
  if (!reserve(bytes, host, TEGI_TGT_MAX_VARINT_SIZE)) return false;
  bytes->size += tegi_varint_store(bytes->data + bytes->size, value);
  return true;
}

void tegi_trace_bytes_deinit(tegi_trace_bytes* bytes, tegi_host* host) {
  tegi_host_free(host, bytes->data, bytes->capacity);
  *bytes = (tegi_trace_bytes){0};
}
