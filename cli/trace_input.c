// SPDX-License-Identifier: Apache-2.0
//
// Runs the snapshot converter behind a reader: `python3 SCRIPT PATH -` writes
// CSV into a pipe, the reader takes it from there, and when it closes the
// converter is waited for. The converter's stderr goes to a file without a
// name, so that it can become the error's message.
#define _GNU_SOURCE  // pipe2, environ

#include "trace_input.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define SCRIPT "pytorch_snapshot.py"

typedef struct converter {
  pid_t pid;       // 0 = waited for
  int from_child;  // -1 = closed
  FILE* remarks;   // the child's stderr
} converter;

static teg_result set_error(teg_error* err, teg_result result,
                            const char* format, ...)
    __attribute__((format(printf, 3, 4)));

static teg_result set_error(teg_error* err, teg_result result,
                            const char* format, ...) {
  if (!err) return result;
  teg_error_clear(err);
  err->result = result;
  va_list args;
  va_start(args, format);
  vsnprintf(err->message, sizeof err->message, format, args);
  va_end(args);
  return result;
}

// ---------------------------------------------------------------------------
// Finding the script

static bool is_script(const char* folder, const char* below,
                      char out_path[PATH_MAX]) {
  int size = snprintf(out_path, PATH_MAX, "%s/%s" SCRIPT, folder, below);
  return size > 0 && size < PATH_MAX && access(out_path, R_OK) == 0;
}

// Installed, the program is PREFIX/bin/tegula; built, SOURCE/build/X/tegula.
static bool find_script(char out_path[PATH_MAX]) {
  const char* data = getenv("TEGULA_DATA_DIR");
  if (data && *data) return is_script(data, "", out_path);
  char folder[PATH_MAX];
  ssize_t size = readlink("/proc/self/exe", folder, sizeof folder - 1);
  if (size > 0) {
    folder[size] = '\0';
    *strrchr(folder, '/') = '\0';
    if (is_script(folder, "../share/tegula/", out_path) ||
        is_script(folder, "../../tools/", out_path)) {
      return true;
    }
  }
#if defined(TEGULA_DATA_DIR)
  if (is_script(TEGULA_DATA_DIR, "", out_path)) return true;
#endif
  return false;
}

// ---------------------------------------------------------------------------
// The child

// Takes what the child said, without the last line's end; "" if nothing.
static void read_remarks(converter* child, char* out_text, size_t capacity) {
  rewind(child->remarks);
  size_t size = fread(out_text, 1, capacity - 1, child->remarks);
  while (size > 0 && out_text[size - 1] == '\n') --size;
  out_text[size] = '\0';
}

// Waits for the child, whose output has ended.
static teg_result finish_child(converter* child, teg_error* err) {
  int status = 0;
  while (waitpid(child->pid, &status, 0) < 0 && errno == EINTR) {
  }
  child->pid = 0;
  char text[800];
  read_remarks(child, text, sizeof text);
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
    if (text[0]) fprintf(stderr, "%s\n", text);
    return TEG_OK;
  }
  if (WIFEXITED(status) && WEXITSTATUS(status) == 127 && !text[0]) {
    return set_error(err, TEG_UNAVAILABLE,
                     "python3 is needed to read a PyTorch memory snapshot, "
                     "and could not be run");
  }
  const char* said = text[0] ? text : SCRIPT " failed and said nothing";
  return set_error(err, TEG_CORRUPT, "%s", said);
}

static teg_result read_child(void* user, void* buffer, size_t capacity,
                             size_t* out_size, teg_error* err) {
  converter* child = user;
  ssize_t got;
  do {
    got = read(child->from_child, buffer, capacity);
  } while (got < 0 && errno == EINTR);
  if (got < 0) {
    return set_error(err, TEG_IO, "cannot read from " SCRIPT ": %s",
                     strerror(errno));
  }
  *out_size = (size_t)got;
  return got > 0 ? TEG_OK : finish_child(child, err);
}

static void close_child(void* user) {
  converter* child = user;
  if (child->from_child >= 0) close(child->from_child);
  if (child->pid != 0) {
    // The reader had enough; the child ends when it writes next.
    while (waitpid(child->pid, NULL, 0) < 0 && errno == EINTR) {
    }
  }
  if (child->remarks) fclose(child->remarks);
  free(child);
}

static int spawn(converter* child, const char* script, const char* path,
                 int to_parent) {
  posix_spawn_file_actions_t actions;
  int code = posix_spawn_file_actions_init(&actions);
  if (code != 0) return code;
  char* arguments[] = {"python3", (char*)script, "--", (char*)path, "-", NULL};
  code = posix_spawn_file_actions_adddup2(&actions, to_parent, STDOUT_FILENO);
  if (code == 0) {
    code = posix_spawn_file_actions_adddup2(&actions, fileno(child->remarks),
                                            STDERR_FILENO);
  }
  if (code == 0) {
    code = posix_spawnp(&child->pid, "python3", &actions, NULL, arguments,
                        environ);
  }
  if (code != 0) child->pid = 0;
  posix_spawn_file_actions_destroy(&actions);
  return code;
}

static teg_result start(converter* child, const char* script, const char* path,
                        teg_error* err) {
  child->remarks = tmpfile();
  int ends[2];
  if (!child->remarks || pipe2(ends, O_CLOEXEC) != 0) {
    return set_error(err, TEG_IO, "cannot run " SCRIPT ": %s", strerror(errno));
  }
  child->from_child = ends[0];
  int code = spawn(child, script, path, ends[1]);
  close(ends[1]);
  if (code == 0) return TEG_OK;
  return set_error(err, TEG_UNAVAILABLE,
                   "%s: a PyTorch memory snapshot, which python3 is needed to "
                   "read: %s",
                   path, strerror(code));
}

static teg_result open_snapshot(const char* path, teg_trace_reader** out_reader,
                                teg_error* err) {
  char script[PATH_MAX];
  if (!find_script(script)) {
    const char* data = getenv("TEGULA_DATA_DIR");
    return set_error(err, TEG_UNAVAILABLE,
                     "%s: a PyTorch memory snapshot, but the script " SCRIPT
                     " that reads it is not in %s",
                     path,
                     data && *data ? data : "share/tegula beside the program");
  }
  converter* child = calloc(1, sizeof *child);
  if (!child) {
    return set_error(err, TEG_OUT_OF_HOST_MEMORY, "%s: no memory", path);
  }
  child->from_child = -1;
  teg_result result = start(child, script, path, err);
  if (result != TEG_OK) {
    close_child(child);
    return result;
  }
  teg_trace_source source = {
      .read = read_child, .close = close_child, .user = child};
  return teg_trace_reader_open_source(&source, path, NULL, out_reader, err);
}

// The library lists the formats that it reads itself.
static void mention_snapshots(teg_error* err) {
  if (!err || !strstr(err->message, ": not a trace: ")) return;
  size_t length = strlen(err->message);
  snprintf(err->message + length, sizeof err->message - length,
           "; or a memory snapshot of PyTorch");
}

teg_result tegula_trace_open(const char* path, teg_trace_reader** out_reader,
                             teg_error* err) {
  teg_result result = teg_trace_reader_open(path, NULL, out_reader, err);
  if (result == TEG_CORRUPT) mention_snapshots(err);
  if (result != TEG_UNSUPPORTED) return result;
  return open_snapshot(path, out_reader, err);
}
