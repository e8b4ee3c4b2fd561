// SPDX-License-Identifier: Apache-2.0
//
// What the verbs of the program share: exit codes, messages, options, numbers
// as text. The program uses the public API of the library only.
#ifndef TEGULA_CLI_H
#define TEGULA_CLI_H

#include <argp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "tegula/tegula.h"

#define CLI_TEXT_OF(number) #number
#define CLI_VERSION_OF(major, minor, patch) \
  CLI_TEXT_OF(major) "." CLI_TEXT_OF(minor) "." CLI_TEXT_OF(patch)
#define CLI_VERSION \
  CLI_VERSION_OF(TEG_VERSION_MAJOR, TEG_VERSION_MINOR, TEG_VERSION_PATCH)

// What the program returns to the shell; the largest that applies.
enum {
  CLI_OK = 0,
  CLI_USAGE = 1,     // unknown verb, option, policy, key or value
  CLI_INPUT = 2,     // a trace or a model cannot be read
  CLI_FAILED = 3,    // a request failed, or a device did not open
  CLI_MISMATCH = 4,  // --verify found other bytes than it should
  CLI_OUTPUT = 5,    // an output cannot be written
};

typedef struct cli_verb {
  const char* name;
  const char* summary;  // one line
  // |argv[0]| is "tegula VERB".
  int (*run)(int argc, char** argv);
} cli_verb;

int cli_devices(int argc, char** argv);
int cli_options(int argc, char** argv);
int cli_policies(int argc, char** argv);
int cli_info(int argc, char** argv);
int cli_convert(int argc, char** argv);
int cli_replay(int argc, char** argv);
int cli_measure(int argc, char** argv);  // bench
int cli_load(int argc, char** argv);

// Prints "tegula: ..." and a newline to stderr. Returns |code|.
int cli_fail(int code, const char* format, ...)
    __attribute__((format(printf, 2, 3)));

// Prints the message of |err|, which is about the file at |path| and may name
// it already. Returns |code|.
int cli_fail_file(int code, const char* path, const teg_error* err);

// Flushes stdout. Returns |code|, or CLI_OUTPUT with a message when what was
// printed did not arrive.
int cli_close_stdout(int code);

// The larger of two exit codes.
int cli_worse(int a, int b);

// Parses the arguments of a verb. Unknown options end the program with
// CLI_USAGE and the nearest name; --help with CLI_OK.
void cli_parse(const struct argp* argp, int argc, char** argv, void* input);

// The nearest of |count| names, or NULL if none is near.
const char* cli_nearest(const char* text, const char* const* names,
                        size_t count);

// A whole number from |min| to |max|; otherwise ends the program with
// CLI_USAGE and a message about |option|.
uint64_t cli_number(const char* option, const char* text, uint64_t min,
                    uint64_t max);

// Short texts, NUL-terminated.
typedef struct cli_text {
  char text[40];
} cli_text;

cli_text cli_grouped(uint64_t value);    // 1,234,567
cli_text cli_megabytes(uint64_t bytes);  // 1,234.6 (millions of bytes)
cli_text cli_fixed(double value, int digits);
cli_text cli_binary(uint64_t bytes);  // 2 MiB, 1.5 GiB
cli_text cli_duration(uint64_t ns);   // 12.3 s

// True if |stream| is a terminal that can go back in a line.
bool cli_is_terminal(FILE* stream);
// True if it also wants colours.
bool cli_is_coloured(FILE* stream);

#endif  // TEGULA_CLI_H
