// SPDX-License-Identifier: Apache-2.0
//
// Files of models, by pread. Stateless beyond the record.
#include "load/model_file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"

static teg_result cannot(const char* path, const char* what, int code,
                         teg_error* err) {
  teg_result result =
      code == ENOENT || code == ENOTDIR ? TEG_NOT_FOUND : TEG_IO;
  return tegi_error_native(err, result, "os", code, "%s: cannot %s: %s", path,
                           what, strerror(code));
}

static void note(tegi_model_file* file, const struct stat* status) {
  file->bytes = (uint64_t)status->st_size;
  file->device = (uint64_t)status->st_dev;
  file->inode = (uint64_t)status->st_ino;
  file->written_s = status->st_mtim.tv_sec;
  file->written_ns = status->st_mtim.tv_nsec;
}

teg_result tegi_model_file_init(tegi_model_file* file, tegi_host* host,
                                const char* path, int* out_fd, teg_error* err) {
  *file = (tegi_model_file){0};
  *out_fd = -1;
  // Not to wait for who writes, should it be a pipe.
  int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return cannot(path, "open", errno, err);
  struct stat status;
  teg_result result = TEG_OK;
  if (fstat(fd, &status) != 0) {
    result = cannot(path, "look at it", errno, err);
  } else if (!S_ISREG(status.st_mode)) {
    result = tegi_error_set(
        err, TEG_IO, "%s: not a regular file; a model is read by offset", path);
  } else if (!(file->path = tegi_host_strdup(host, path))) {
    result = tegi_error_set(err, TEG_OUT_OF_HOST_MEMORY,
                            "%s: no host memory to read it", path);
  }
  if (result != TEG_OK) {
    close(fd);
    return result;
  }
  note(file, &status);
  *out_fd = fd;
  return TEG_OK;
}

void tegi_model_file_deinit(tegi_model_file* file, tegi_host* host) {
  if (file->path) tegi_host_free(host, file->path, strlen(file->path) + 1);
  file->path = NULL;
}

teg_result tegi_model_file_check(const tegi_model_file* file, int fd,
                                 teg_error* err) {
  struct stat status;
  if (fstat(fd, &status) != 0) {
    return cannot(file->path, "look at it", errno, err);
  }
  tegi_model_file now = {0};
  note(&now, &status);
  if (now.device != file->device || now.inode != file->inode) {
    return tegi_error_set(err, TEG_IO,
                          "%s: another file has taken its place since the "
                          "model was opened",
                          file->path);
  }
  if (now.bytes != file->bytes) {
    return tegi_error_set(err, TEG_IO,
                          "%s: has changed since the model was opened: %" PRIu64
                          " bytes then, %" PRIu64 " now",
                          file->path, file->bytes, now.bytes);
  }
  if (now.written_s != file->written_s || now.written_ns != file->written_ns) {
    return tegi_error_set(err, TEG_IO,
                          "%s: has been written to since the model was opened",
                          file->path);
  }
  return TEG_OK;
}

teg_result tegi_model_file_open(const tegi_model_file* file, int more_flags,
                                int* out_fd, teg_error* err) {
  *out_fd = -1;
  int fd = open(file->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | more_flags);
  if (fd < 0) {
    (void)cannot(file->path, "open", errno, err);
    if (err) err->result = TEG_IO;  // it was there
    return TEG_IO;
  }
  teg_result result = tegi_model_file_check(file, fd, err);
  if (result != TEG_OK) {
    close(fd);
    return result;
  }
  *out_fd = fd;
  return TEG_OK;
}

teg_result tegi_model_file_read(const tegi_model_file* file, int fd,
                                uint64_t offset, void* to, size_t size,
                                teg_error* err) {
  uint8_t* at = to;
  while (size > 0) {
    ssize_t got = pread(fd, at, size, (off_t)offset);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) {
      return tegi_error_native(err, TEG_IO, "os", errno,
                               "%s: byte %" PRIu64 ": cannot read: %s",
                               file->path, offset, strerror(errno));
    }
    if (got == 0) {
      return tegi_error_set(err, TEG_IO,
                            "%s: byte %" PRIu64
                            ": the file ends here, it had %" PRIu64
                            " bytes when the model was opened",
                            file->path, offset, file->bytes);
    }
    at += got;
    offset += (uint64_t)got;
    size -= (size_t)got;
  }
  return TEG_OK;
}
