// SPDX-License-Identifier: Apache-2.0
//
// A file that results go to. Its path is tried before the work that makes
// them, so that one which cannot be written is known at once. Results are
// written to a temporary file beside it that then takes its name: what was
// there stays until they are complete, and nothing is left behind when the
// work is broken off.
#ifndef TEGULA_CLI_OUTPUT_H
#define TEGULA_CLI_OUTPUT_H

#include <stdbool.h>
#include <stdio.h>
#include <sys/stat.h>

typedef struct cli_output {
  const char* path;  // "-" = standard output; NULL = not wanted
  char* target;      // of a regular file, links followed; else NULL
  bool is_there;     // it was a regular file when opened
  struct stat found;
  FILE* stream;  // of what is not a regular file
} cli_output;

// Returns CLI_OK, or CLI_OUTPUT with a message. A |path| of NULL is fine.
int cli_output_open(cli_output* output, const char* path);

// True if both are open and would overwrite one another.
bool cli_output_is_same(const cli_output* a, const cli_output* b);
// True if writing |output| would replace the file at |path|.
bool cli_output_is_file(const cli_output* output, const char* path);

// Writes with |write| and closes. Returns as open.
int cli_output_write(cli_output* output,
                     void (*write)(FILE* stream, const void* user),
                     const void* user);

// Closes without writing.
void cli_output_close(cli_output* output);

#endif  // TEGULA_CLI_OUTPUT_H
