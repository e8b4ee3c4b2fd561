// SPDX-License-Identifier: Apache-2.0
//
// A file that results go to. It is opened before the work that makes them, so
// that a path which cannot be written is known at once; what it held stays
// until the results are there.
#ifndef TEGULA_CLI_OUTPUT_H
#define TEGULA_CLI_OUTPUT_H

#include <stdio.h>

typedef struct cli_output {
  const char* path;  // "-" = standard output; NULL = not wanted
  FILE* stream;
} cli_output;

// Returns CLI_OK, or CLI_OUTPUT with a message. A |path| of NULL is fine.
int cli_output_open(cli_output* output, const char* path);

// Writes with |write| and closes. Returns as open.
int cli_output_write(cli_output* output,
                     void (*write)(FILE* stream, const void* user),
                     const void* user);

// Closes without writing.
void cli_output_close(cli_output* output);

#endif  // TEGULA_CLI_OUTPUT_H
