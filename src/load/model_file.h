// SPDX-License-Identifier: Apache-2.0
//
// A file of a model: who it is, so that one that changed is noticed, and how
// it is read. Holds no descriptor: a model stays open for long, and may have
// hundreds of files.
#ifndef TEGULA_LOAD_MODEL_FILE_H
#define TEGULA_LOAD_MODEL_FILE_H

#include "base/memory.h"

typedef struct tegi_model_file {
  char* path;  // owned
  uint64_t bytes;
  uint64_t device, inode;
  int64_t written_s, written_ns;  // last written at
} tegi_model_file;

// Opens |path|, which must be a regular file, and notes who it is. The caller
// closes |out_fd|. Returns TEG_NOT_FOUND, TEG_IO, TEG_OUT_OF_HOST_MEMORY.
teg_result tegi_model_file_init(tegi_model_file* file, tegi_host* host,
                                const char* path, int* out_fd, teg_error* err);
void tegi_model_file_deinit(tegi_model_file* file, tegi_host* host);

// Opens it again to read, with |more_flags| (O_DIRECT) for open(). TEG_IO if
// it cannot be opened or is not what it was.
teg_result tegi_model_file_open(const tegi_model_file* file, int more_flags,
                                int* out_fd, teg_error* err);

// Is what |fd| reads still the file it was, by size, inode and time of the
// last write? TEG_IO, with what changed, if not.
teg_result tegi_model_file_check(const tegi_model_file* file, int fd,
                                 teg_error* err);

// Reads exactly |size| bytes at |offset|. TEG_IO with the place in the file,
// also when it has become too short for them.
teg_result tegi_model_file_read(const tegi_model_file* file, int fd,
                                uint64_t offset, void* to, size_t size,
                                teg_error* err);

#endif  // TEGULA_LOAD_MODEL_FILE_H
