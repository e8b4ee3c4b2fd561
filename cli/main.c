// SPDX-License-Identifier: Apache-2.0
//
// The program `tegula`: picks the verb.
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"

static const cli_verb verbs[] = {
    {"replay", "play traces again under one policy or many, and compare",
     cli_replay},
    {"load", "load a model's weights on a device, and say how fast", cli_load},
    {"info", "say what is in a trace or a model", cli_info},
    {"convert", "write a trace in another format", cli_convert},
    {"bench", "measure binds, transfers and dispatches on a device",
     cli_measure},
    {"devices", "list devices and what they can do", cli_devices},
    {"options", "list every option: key, range, default, meaning", cli_options},
    {"policies", "list the policies and what they keep", cli_policies},
};

enum { VERB_COUNT = sizeof verbs / sizeof verbs[0] };

static const char about[] =
    "Device memory for programs that run neural networks: replays recorded "
    "allocation traces, and shows what each policy would have reserved; loads "
    "models."
    "\v`tegula VERB --help` tells more about each verb. Wherever a trace is "
    "read, it may be tegula's own format, RMM's CSV log or interval CSV, the "
    "CSVs also compressed with gzip or zstd, or a memory snapshot of PyTorch, "
    "for which python3 is needed.\n"
    "\n"
    "Exit codes: 0 success; 1 wrong usage; 2 a trace or a model cannot be "
    "read; 3 a request failed, or a device did not open; 4 --verify found "
    "other bytes than it should; 5 an output cannot be written. The largest "
    "that applies.";

// Puts the list of verbs in front of the text after the options.
static char* list_verbs(int key, const char* text, void* input) {
  (void)input;
  if (key != ARGP_KEY_HELP_POST_DOC) return (char*)text;
  char* out = NULL;
  size_t size = 0;
  FILE* stream = open_memstream(&out, &size);
  if (!stream) return (char*)text;
  fputs("Verbs:\n", stream);
  for (size_t i = 0; i < VERB_COUNT; ++i) {
    fprintf(stream, "  %-10s %s\n", verbs[i].name, verbs[i].summary);
  }
  fprintf(stream, "\n%s", text);
  fclose(stream);
  return out;
}

static const struct argp_option main_options[] = {
    {"version", 'V', NULL, 0, "Print the version", -1}, {0}};

// NOLINTNEXTLINE(readability-non-const-parameter): argp's signature
static error_t parse_main(int key, char* argument, struct argp_state* state) {
  int* verb_index = state->input;
  switch (key) {
    case 'V':
      puts("tegula " CLI_VERSION);
      exit(cli_close_stdout(CLI_OK));
    case ARGP_KEY_ARG:
      (void)argument;
      *verb_index = state->next - 1;
      state->next = state->argc;  // the rest is the verb's
      return 0;
    case ARGP_KEY_NO_ARGS:
      argp_state_help(state, stderr,
                      ARGP_HELP_SHORT_USAGE | ARGP_HELP_LONG | ARGP_HELP_DOC);
      return 0;
    default:
      return ARGP_ERR_UNKNOWN;
  }
}

static const cli_verb* find_verb(const char* name) {
  const char* names[VERB_COUNT];
  for (size_t i = 0; i < VERB_COUNT; ++i) {
    if (strcmp(verbs[i].name, name) == 0) return &verbs[i];
    names[i] = verbs[i].name;
  }
  const char* nearest = cli_nearest(name, names, VERB_COUNT);
  if (nearest) {
    cli_fail(CLI_USAGE, "no verb is called \"%s\"; the nearest is \"%s\"", name,
             nearest);
  } else {
    cli_fail(CLI_USAGE, "no verb is called \"%s\"; see tegula --help", name);
  }
  return NULL;
}

static int run_verb(const cli_verb* verb, int argc, char** argv) {
  char name[32];
  snprintf(name, sizeof name, "tegula %s", verb->name);
  argv[0] = name;
  return cli_close_stdout(verb->run(argc, argv));
}

// How many arguments are the program's own: all before the verb.
static int count_own(int argc, char** argv) {
  int count = 1;
  while (count < argc && argv[count][0] == '-') ++count;
  return count < argc ? count + 1 : count;
}

// A file opened later must not become one of the standard streams. Reading or
// writing one that is not there fails as before.
static void fill_standard_streams(void) {
  for (int i = 0; i <= STDERR_FILENO; ++i) {
    if (fcntl(i, F_GETFD) >= 0 || errno != EBADF) continue;
    if (open("/dev/null", i == STDIN_FILENO ? O_WRONLY : O_RDONLY) != i) {
      _exit(CLI_OUTPUT);
    }
  }
}

int main(int argc, char** argv) {
  fill_standard_streams();
  signal(SIGXFSZ, SIG_IGN);  // a file that may not grow is a failed write
  argp_err_exit_status = CLI_USAGE;
  const struct argp argp = {.options = main_options,
                            .parser = parse_main,
                            .args_doc = "VERB ...",
                            .doc = about,
                            .help_filter = list_verbs};
  int verb_index = 0;
  char tegula[] = "tegula";
  if (argc > 0) argv[0] = tegula;
  cli_parse(&argp, count_own(argc, argv), argv, &verb_index);
  if (verb_index == 0) return CLI_USAGE;
  if (strcmp(argv[verb_index], "help") == 0) {
    const cli_verb* verb =
        verb_index + 1 < argc ? find_verb(argv[verb_index + 1]) : NULL;
    char help[] = "--help";
    char* arguments[] = {tegula, help, NULL};
    if (verb_index + 1 < argc && !verb) return CLI_USAGE;
    if (verb) return run_verb(verb, 2, arguments);
    cli_parse(&argp, 2, arguments, &verb_index);
  }
  const cli_verb* verb = find_verb(argv[verb_index]);
  if (!verb) return CLI_USAGE;
  return run_verb(verb, argc - verb_index, argv + verb_index);
}
