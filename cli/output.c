// SPDX-License-Identifier: Apache-2.0
//
// Files that results go to.
#define _GNU_SOURCE  // mkostemp

#include "output.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"

#define TEMPORARY ".tegula-XXXXXX"

static int fail(const cli_output* output) {
  return cli_fail(CLI_OUTPUT, "%s: %s", output->path,
                  errno ? strerror(errno) : "write failed");
}

// "FOLDER/NAME" without links in FOLDER; NULL if there is no such folder.
static char* resolve_new(const char* path) {
  const char* slash = strrchr(path, '/');
  const char* name = slash ? slash + 1 : path;
  if (*name == '\0') {
    errno = EISDIR;
    return NULL;
  }
  char* folder = slash ? strndup(path, (size_t)(name - path)) : strdup(".");
  char* real = folder ? realpath(folder, NULL) : NULL;
  char* target = NULL;
  if (real) {
    size_t size = strlen(real) + strlen(name) + 2;
    target = malloc(size);
    if (target) snprintf(target, size, "%s/%s", real, name);
  }
  free(real);
  free(folder);
  return target;
}

// Creates a file beside |target|. Returns its descriptor and name, or -1.
static int open_temporary(const char* target, char** out_name) {
  size_t folder = (size_t)(strrchr(target, '/') - target) + 1;
  char* name = malloc(folder + sizeof TEMPORARY);
  *out_name = name;
  if (!name) return -1;
  memcpy(name, target, folder);
  memcpy(name + folder, TEMPORARY, sizeof TEMPORARY);
  int file = mkostemp(name, O_CLOEXEC);
  if (file >= 0) return file;
  free(name);
  *out_name = NULL;
  return -1;
}

static bool try_target(const cli_output* output) {
  if (!output->target) return false;
  if (output->is_there && access(output->target, W_OK) != 0) return false;
  char* name;
  int file = open_temporary(output->target, &name);
  if (file < 0) return false;
  close(file);
  unlink(name);
  free(name);
  return true;
}

int cli_output_open(cli_output* output, const char* path) {
  *output = (cli_output){.path = path};
  if (!path) return CLI_OK;
  if (strcmp(path, "-") == 0) {
    output->stream = stdout;
    return CLI_OK;
  }
  bool is_any = stat(path, &output->found) == 0;
  output->is_there = is_any && S_ISREG(output->found.st_mode);
  if (!is_any || output->is_there) {
    output->target = is_any ? realpath(path, NULL) : resolve_new(path);
    return try_target(output) ? CLI_OK : fail(output);
  }
  int file = open(path, O_WRONLY | O_CLOEXEC);
  if (file >= 0) output->stream = fdopen(file, "w");
  if (output->stream) return CLI_OK;
  int code = fail(output);
  if (file >= 0) close(file);
  return code;
}

static bool is_same_file(const struct stat* a, const struct stat* b) {
  return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

bool cli_output_is_same(const cli_output* a, const cli_output* b) {
  if (a->stream && b->stream) return a->stream == b->stream;
  if (!a->target || !b->target) return false;
  if (a->is_there && b->is_there) return is_same_file(&a->found, &b->found);
  return strcmp(a->target, b->target) == 0;
}

bool cli_output_is_file(const cli_output* output, const char* path) {
  struct stat info;
  return output->is_there && stat(path, &info) == 0 &&
         is_same_file(&output->found, &info);
}

// Writes and closes; |errno| says what failed.
static bool write_stream(FILE* stream,
                         void (*write)(FILE* stream, const void* user),
                         const void* user) {
  errno = 0;
  write(stream, user);
  bool is_ok = fflush(stream) == 0 && !ferror(stream);
  int code = errno;
  bool is_closed = fclose(stream) == 0;
  if (!is_ok) errno = code;
  return is_ok && is_closed;
}

static mode_t mode_of(const cli_output* output) {
  if (output->is_there) return output->found.st_mode & 0777;
  mode_t mask = umask(0);
  umask(mask);
  return 0666 & ~mask;
}

static bool write_target(const cli_output* output,
                         void (*write)(FILE* stream, const void* user),
                         const void* user) {
  char* name;
  int file = open_temporary(output->target, &name);
  if (file < 0) return false;
  FILE* stream = fdopen(file, "w");
  if (!stream) close(file);
  bool is_ok = stream && fchmod(file, mode_of(output)) == 0;
  if (stream && !is_ok) fclose(stream);
  is_ok = is_ok && write_stream(stream, write, user) &&
          rename(name, output->target) == 0;
  if (!is_ok) {
    int code = errno;
    unlink(name);
    errno = code;
  }
  free(name);
  return is_ok;
}

int cli_output_write(cli_output* output,
                     void (*write)(FILE* stream, const void* user),
                     const void* user) {
  FILE* stream = output->stream;
  output->stream = NULL;
  if (stream == stdout) {
    write(stream, user);
    return CLI_OK;  // looked at when the program ends
  }
  bool is_ok = true;
  if (stream) is_ok = write_stream(stream, write, user);
  if (output->target) is_ok = write_target(output, write, user);
  int code = is_ok ? CLI_OK : fail(output);
  cli_output_close(output);
  return code;
}

void cli_output_close(cli_output* output) {
  if (output->stream && output->stream != stdout) fclose(output->stream);
  free(output->target);
  output->stream = NULL;
  output->target = NULL;
}
