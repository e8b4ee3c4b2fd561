// SPDX-License-Identifier: Apache-2.0
//
// Messages, options and numbers, for every verb.
#include "cli.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "clean.h"

int cli_fail(int code, const char* format, ...) {
  fflush(stdout);
  enum { LONGEST = 4096 };
  char message[LONGEST];
  char shown[LONGEST];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(message, sizeof message, format, arguments);
  va_end(arguments);
  fprintf(stderr, "tegula: %s\n", cli_clean(shown, sizeof shown, message));
  return code;
}

int cli_fail_file(int code, const char* path, const teg_error* err) {
  if (strncmp(err->message, path, strlen(path)) == 0) {
    return cli_fail(code, "%s", err->message);
  }
  return cli_fail(code, "%s: %s", path, err->message);
}

int cli_close_stdout(int code) {
  errno = 0;
  if (fflush(stdout) == 0 && !ferror(stdout)) return code;
  return cli_worse(code, cli_fail(CLI_OUTPUT, "standard output: %s",
                                  errno ? strerror(errno) : "write failed"));
}

int cli_worse(int a, int b) { return a > b ? a : b; }

bool cli_is_terminal(FILE* stream) {
  const char* terminal = getenv("TERM");
  return isatty(fileno(stream)) && !(terminal && strcmp(terminal, "dumb") == 0);
}

bool cli_is_coloured(FILE* stream) {
  const char* plain = getenv("NO_COLOR");
  return cli_is_terminal(stream) && !(plain && *plain);
}

// ---- Names ------------------------------------------------------------------

static size_t min_size(size_t a, size_t b) { return a < b ? a : b; }

static size_t edit_distance(const char* a, const char* b) {
  enum { LONGEST = 48 };
  size_t rows = strlen(a);
  size_t columns = strlen(b);
  if (rows > LONGEST || columns > LONGEST) return SIZE_MAX;
  size_t distances[LONGEST + 1];
  for (size_t j = 0; j <= columns; ++j) distances[j] = j;
  for (size_t i = 1; i <= rows; ++i) {
    size_t diagonal = distances[0];
    distances[0] = i;
    for (size_t j = 1; j <= columns; ++j) {
      bool is_same =
          tolower((unsigned char)a[i - 1]) == tolower((unsigned char)b[j - 1]);
      size_t change = diagonal + (is_same ? 0 : 1);
      diagonal = distances[j];
      size_t shift = min_size(distances[j], distances[j - 1]) + 1;
      distances[j] = min_size(change, shift);
    }
  }
  return distances[columns];
}

const char* cli_nearest(const char* text, const char* const* names,
                        size_t count) {
  const char* nearest = NULL;
  size_t best = strlen(text) / 2 + 2;
  for (size_t i = 0; i < count; ++i) {
    size_t distance = edit_distance(text, names[i]);
    if (distance < best) {
      best = distance;
      nearest = names[i];
    }
  }
  return nearest;
}

// ---- Options ----------------------------------------------------------------

// Names that argp adds by itself.
static const struct argp_option added_options[] = {
    {.name = "help", .key = '?'}, {.name = "usage"}, {0}};

static bool is_last_option(const struct argp_option* option) {
  return !option->name && !option->key && !option->doc;
}

// The option that |name|, of |length| characters, means: itself, or the
// beginning of it.
static const struct argp_option* find_long(const struct argp_option* options,
                                           const char* name, size_t length) {
  for (; options && !is_last_option(options); ++options) {
    if (options->name && strncmp(options->name, name, length) == 0) {
      return options;
    }
  }
  return NULL;
}

static const struct argp_option* find_short(const struct argp_option* options,
                                            int key) {
  for (; options && !is_last_option(options); ++options) {
    if (options->key == key) return options;
  }
  return NULL;
}

static _Noreturn void refuse_option(const struct argp* argp, const char* verb,
                                    const char* name, size_t length) {
  enum { MAX_OPTIONS = 40, LONGEST = 48 };
  const char* names[MAX_OPTIONS] = {"help", "usage"};
  size_t count = 2;
  const struct argp_option* option = argp->options;
  for (; option && !is_last_option(option) && count < MAX_OPTIONS; ++option) {
    if (option->name) names[count++] = option->name;
  }
  char text[LONGEST];
  snprintf(text, sizeof text, "%.*s", (int)min_size(length, LONGEST - 1), name);
  const char* nearest = cli_nearest(text, names, count);
  if (nearest) {
    cli_fail(CLI_USAGE, "no option is called --%s; the nearest is --%s", text,
             nearest);
  } else {
    cli_fail(CLI_USAGE, "no option is called --%s; see %s --help", text, verb);
  }
  exit(CLI_USAGE);
}

// getopt knows no nearest names: look at the long options before it does.
static void check_long_options(const struct argp* argp, int argc, char** argv) {
  for (int i = 1; i < argc; ++i) {
    const char* argument = argv[i];
    if (argument[0] != '-' || argument[1] == '\0') continue;
    const struct argp_option* option;
    bool has_value;
    if (argument[1] == '-') {
      if (argument[2] == '\0') return;
      const char* name = argument + 2;
      size_t length = strcspn(name, "=");
      has_value = name[length] == '=';
      option = find_long(argp->options, name, length);
      if (!option && find_long(added_options, name, length)) continue;
      if (!option) refuse_option(argp, argv[0], name, length);
    } else {
      option = find_short(argp->options, argument[1]);
      has_value = argument[2] != '\0';
    }
    if (option && option->arg && !has_value) ++i;
  }
}

void cli_parse(const struct argp* argp, int argc, char** argv, void* input) {
  check_long_options(argp, argc, argv);
  error_t error = argp_parse(argp, argc, argv, 0, NULL, input);
  if (error) exit(cli_fail(CLI_USAGE, "%s", strerror(error)));
}

uint64_t cli_number(const char* option, const char* text, uint64_t min,
                    uint64_t max) {
  char* end = NULL;
  errno = 0;
  unsigned long long value = strtoull(text, &end, 10);
  bool is_number = isdigit((unsigned char)text[0]) && *end == '\0' && !errno;
  if (is_number && value >= min && value <= max) return value;
  exit(cli_fail(CLI_USAGE,
                "%s: \"%s\" is not a whole number from %" PRIu64 " to %" PRIu64,
                option, text, min, max));
}

// ---- Numbers as text --------------------------------------------------------

// |digits| with a comma before every third from the end.
static cli_text group_digits(const char* digits) {
  cli_text out;
  size_t length = strlen(digits);
  size_t at = 0;
  for (size_t i = 0; i < length && at + 2 < sizeof out.text; ++i) {
    if (i > 0 && (length - i) % 3 == 0) out.text[at++] = ',';
    out.text[at++] = digits[i];
  }
  out.text[at] = '\0';
  return out;
}

cli_text cli_grouped(uint64_t value) {
  char digits[24];
  snprintf(digits, sizeof digits, "%" PRIu64, value);
  return group_digits(digits);
}

cli_text cli_megabytes(uint64_t bytes) {
  uint64_t tenths = bytes / 100000 + (bytes % 100000 >= 50000);
  cli_text out = cli_grouped(tenths / 10);
  size_t length = strlen(out.text);
  snprintf(out.text + length, sizeof out.text - length, ".%" PRIu64,
           tenths % 10);
  return out;
}

cli_text cli_fixed(double value, int digits) {
  cli_text out;
  snprintf(out.text, sizeof out.text, "%.*f", digits, value);
  return out;
}

// |value| / |unit| with at most two digits behind the point, none of them 0 at
// the end.
static cli_text scaled(double value, double unit, const char* name) {
  char number[24];
  snprintf(number, sizeof number, "%.2f", value / unit);
  size_t length = strlen(number);
  while (number[length - 1] == '0') number[--length] = '\0';
  if (number[length - 1] == '.') number[--length] = '\0';
  cli_text out;
  snprintf(out.text, sizeof out.text, "%s %s", number, name);
  return out;
}

cli_text cli_binary(uint64_t bytes) {
  static const char* const names[] = {"bytes", "KiB", "MiB", "GiB",
                                      "TiB",   "PiB", "EiB"};
  double unit = 1;
  size_t name = 0;
  while (name + 1 < sizeof names / sizeof *names &&
         (double)bytes >= unit * 1024) {
    unit *= 1024;
    ++name;
  }
  return scaled((double)bytes, unit, names[name]);
}

cli_text cli_duration(uint64_t ns) {
  if (ns >= 1000000000) return scaled((double)ns, 1e9, "s");
  if (ns >= 1000000) return scaled((double)ns, 1e6, "ms");
  if (ns >= 1000) return scaled((double)ns, 1e3, "us");
  return scaled((double)ns, 1, "ns");
}
