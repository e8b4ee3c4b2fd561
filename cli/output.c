// SPDX-License-Identifier: Apache-2.0
//
// Files that results go to.
#include "output.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli.h"

static int fail(const cli_output* output) {
  return cli_fail(CLI_OUTPUT, "%s: %s", output->path,
                  errno ? strerror(errno) : "write failed");
}

int cli_output_open(cli_output* output, const char* path) {
  *output = (cli_output){.path = path};
  if (!path) return CLI_OK;
  if (strcmp(path, "-") == 0) {
    output->stream = stdout;
    return CLI_OK;
  }
  int file = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
  if (file >= 0) output->stream = fdopen(file, "w");
  if (output->stream) return CLI_OK;
  int code = fail(output);
  if (file >= 0) close(file);
  return code;
}

// Empties a regular file; anything else has nothing to empty.
static int empty(FILE* stream) {
  struct stat info;
  if (fstat(fileno(stream), &info) != 0) return -1;
  return S_ISREG(info.st_mode) ? ftruncate(fileno(stream), 0) : 0;
}

int cli_output_write(cli_output* output,
                     void (*write)(FILE* stream, const void* user),
                     const void* user) {
  FILE* stream = output->stream;
  if (!stream) return CLI_OK;
  output->stream = NULL;
  errno = 0;
  if (stream == stdout) {
    write(stream, user);
    return CLI_OK;  // looked at when the program ends
  }
  bool is_ok = empty(stream) == 0;
  if (is_ok) write(stream, user);
  is_ok = is_ok && fflush(stream) == 0 && !ferror(stream);
  int code = is_ok ? CLI_OK : fail(output);
  errno = 0;
  if (fclose(stream) != 0 && is_ok) code = fail(output);
  return code;
}

void cli_output_close(cli_output* output) {
  if (output->stream && output->stream != stdout) fclose(output->stream);
  output->stream = NULL;
}
