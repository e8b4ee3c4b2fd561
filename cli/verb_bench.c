// SPDX-License-Identifier: Apache-2.0
//
// tegula bench: what the library costs on a device, in parts.
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bench.h"
#include "json.h"
#include "output.h"

typedef struct bench_part {
  const char* name;
  teg_result (*run)(cli_bench* bench);
} bench_part;

static const bench_part parts[] = {
    {"bind", cli_bench_bind},
    {"transfer", cli_bench_transfer},
    {"dispatch", cli_bench_dispatch},
};

enum {
  PART_COUNT = sizeof parts / sizeof *parts,
  KEY_JSON = 1,
  KEY_ONLY,
  KEY_QUICK,
};

typedef struct bench_request {
  cli_bench bench;
  char* backend;
  const char* json_path;
  bool is_wanted[PART_COUNT];
} bench_request;

static const struct argp_option bench_options[] = {
    {"device", 'd', "NAME[:N]", 0, "Device to measure (host)", 1},
    {"only", KEY_ONLY, "A,B,...", 0,
     "Some parts: bind, transfer, dispatch (all)", 1},
    {"quick", KEY_QUICK, NULL, 0, "Fewer sizes and rounds: a second or two", 1},
    {"json", KEY_JSON, "FILE", 0,
     "Write a JSON object; - writes it in place of the tables", 1},
    {0}};

static const char about[] =
    "Measures what the library costs on a device: moving tiles under other "
    "addresses, moving bytes to the device and back, and recording dispatches."
    "\vFigures are medians. Next to them are those of a plain memcpy and, on a "
    "Vulkan device, of Vulkan called by hand, measured in the same run. "
    "docs/bench.md explains them and the keys of the JSON.";

// ---- Shared with the parts --------------------------------------------------

uint64_t cli_bench_now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

uint64_t cli_bench_thread_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

teg_result cli_bench_fail(cli_bench* bench, teg_result result,
                          const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(bench->err.message, sizeof bench->err.message, format, arguments);
  va_end(arguments);
  bench->err.result = result;
  return result;
}

teg_result cli_bench_open(cli_bench* bench, const char* const* settings,
                          teg_options** out_options, teg_device** out_device) {
  teg_error* err = &bench->err;
  *out_device = NULL;
  teg_result result = teg_options_create(NULL, out_options, err);
  if (result != TEG_OK) return result;
  for (; result == TEG_OK && *settings; ++settings) {
    result = teg_options_set_pair(*out_options, *settings, err);
  }
  teg_device_params params = TEG_DEVICE_PARAMS_INIT;
  params.backend = bench->backend;
  params.device_index = bench->device_index;
  params.options = *out_options;
  if (result == TEG_OK) result = teg_device_create(&params, out_device, err);
  if (result == TEG_OK) return TEG_OK;
  teg_options_destroy(*out_options);
  *out_options = NULL;
  return result;
}

teg_result cli_bench_session(cli_bench* bench, teg_device* device,
                             const teg_options* options,
                             teg_session** out_session) {
  teg_session_params params = TEG_SESSION_PARAMS_INIT;
  params.name = "bench";
  params.options = options;
  return teg_session_create(device, &params, out_session, &bench->err);
}

void cli_bench_add(cli_bench_values* values, double value) {
  if (values->count < CLI_BENCH_MOST_ROUNDS)
    values->at[values->count++] = value;
}

static int compare(const void* a, const void* b) {
  double left = *(const double*)a;
  double right = *(const double*)b;
  return (left > right) - (left < right);
}

double cli_bench_median(cli_bench_values* values) {
  if (values->count == 0) return 0;
  qsort(values->at, values->count, sizeof *values->at, compare);
  return values->at[values->count / 2];
}

cli_text cli_bench_number(double value) {
  if (!(value > 0)) return (cli_text){"-"};
  if (value >= 999.5) return cli_grouped((uint64_t)(value + 0.5));
  return cli_fixed(value, value < 9.995 ? 2 : value < 99.95 ? 1 : 0);
}

void cli_bench_cell(cli_cell* cell, cli_text text) {
  snprintf(cell->text, sizeof cell->text, "%s", text.text);
}

json_t* cli_bench_json(double value) {
  return value > 0 ? cli_json_number(value, 4) : json_null();
}

// ---- The command line -------------------------------------------------------

// "host" or "host:1".
static void set_device(bench_request* request, const char* text) {
  free(request->backend);
  request->backend = strdup(text);
  if (!request->backend) exit(cli_fail(CLI_FAILED, "no memory"));
  char* colon = strchr(request->backend, ':');
  request->bench.backend = request->backend;
  request->bench.device_index = 0;
  if (!colon) return;
  *colon = '\0';
  request->bench.device_index =
      (uint32_t)cli_number("--device", colon + 1, 0, 1023);
}

static void want_part(bench_request* request, const char* name) {
  const char* names[PART_COUNT];
  for (size_t i = 0; i < PART_COUNT; ++i) {
    names[i] = parts[i].name;
    if (strcmp(name, parts[i].name) != 0) continue;
    request->is_wanted[i] = true;
    return;
  }
  const char* nearest = cli_nearest(name, names, PART_COUNT);
  exit(cli_fail(CLI_USAGE, "--only: no part is called \"%s\"; %s%s%s", name,
                nearest ? "the nearest is \"" : "they are bind, transfer, ",
                nearest ? nearest : "dispatch", nearest ? "\"" : ""));
}

static void want_parts(bench_request* request, char* list) {
  char* name;
  while ((name = strsep(&list, ","))) want_part(request, name);
}

static error_t parse(int key, char* argument, struct argp_state* state) {
  bench_request* request = state->input;
  switch (key) {
    case 'd':
      set_device(request, argument);
      return 0;
    case KEY_ONLY:
      want_parts(request, argument);
      return 0;
    case KEY_QUICK:
      request->bench.is_quick = true;
      return 0;
    case KEY_JSON:
      if (!*argument) {
        exit(cli_fail(CLI_USAGE, "--json: the name of the file is empty"));
      }
      request->json_path = argument;
      return 0;
    case ARGP_KEY_ARG:
      argp_error(state, "takes no argument: \"%s\"", argument);
      return EINVAL;
    default:
      return ARGP_ERR_UNKNOWN;
  }
}

static void want_all_if_none(bench_request* request) {
  for (size_t i = 0; i < PART_COUNT; ++i) {
    if (request->is_wanted[i]) return;
  }
  for (size_t i = 0; i < PART_COUNT; ++i) request->is_wanted[i] = true;
}

// ---- Measuring --------------------------------------------------------------

// Fills in the device's name, where it has one.
static void describe(cli_bench* bench) {
  teg_backend_info info = {.struct_size = sizeof info};
  for (size_t i = 0; teg_backend_get_info(i, &info) == TEG_OK; ++i) {
    if (strcmp(info.name, bench->backend) != 0) continue;
    bench->description.struct_size = sizeof bench->description;
    if (teg_backend_describe(i, bench->device_index, &bench->description,
                             NULL) != TEG_OK) {
      bench->description = (teg_device_description){0};
    }
  }
}

// Opens the device once, for wrong names.
static int check_device(cli_bench* bench) {
  static const char* const none[] = {NULL};
  teg_options* options = NULL;
  teg_device* device = NULL;
  teg_result result = cli_bench_open(bench, none, &options, &device);
  teg_device_destroy(device);
  teg_options_destroy(options);
  if (result == TEG_OK) return CLI_OK;
  bool is_usage = result == TEG_NOT_FOUND || result == TEG_INVALID;
  return cli_fail(is_usage ? CLI_USAGE : CLI_FAILED, "%s", bench->err.message);
}

static int run_part(cli_bench* bench, const bench_part* part) {
  teg_result result = part->run(bench);
  if (result == TEG_OK) return CLI_OK;
  json_object_set_new(bench->json, part->name, json_null());
  if (result != TEG_UNSUPPORTED) {
    return cli_fail(CLI_FAILED, "%s: %s", part->name, bench->err.message);
  }
  if (bench->has_tables) {
    char line[sizeof bench->err.message + 64];
    snprintf(line, sizeof line, "%s is left out: %s", part->name,
             bench->err.message);
    cli_print_wrapped(stdout, line, cli_width(stdout, 80) - 2, 2);
    fputc('\n', stdout);
  }
  return CLI_OK;
}

static void print_heading(const cli_bench* bench) {
  printf("%s:%" PRIu32, bench->backend, bench->device_index);
  if (bench->description.name[0]) printf(", %s", bench->description.name);
  printf("\n\n");
}

static int run_parts(bench_request* request) {
  cli_bench* bench = &request->bench;
  describe(bench);
  bench->json = json_object();
  json_object_set_new(bench->json, "device", cli_json_text(bench->backend));
  json_object_set_new(bench->json, "device_index",
                      cli_json_count(bench->device_index));
  json_object_set_new(bench->json, "name",
                      cli_json_text(bench->description.name));
  json_object_set_new(bench->json, "quick", json_boolean(bench->is_quick));
  if (bench->has_tables) print_heading(bench);
  int code = CLI_OK;
  for (size_t i = 0; i < PART_COUNT; ++i) {
    if (request->is_wanted[i])
      code = cli_worse(code, run_part(bench, &parts[i]));
    fflush(stdout);
  }
  return code;
}

static void write_json(FILE* stream, const void* user) {
  json_dumpf(user, stream, JSON_INDENT(2) | JSON_REAL_PRECISION(15));
  fputc('\n', stream);
}

int cli_measure(int argc, char** argv) {
  const struct argp argp = {
      .options = bench_options, .parser = parse, .doc = about};
  bench_request request = {.bench = {.backend = "host"}};
  cli_parse(&argp, argc, argv, &request);
  want_all_if_none(&request);
  const char* path = request.json_path;
  request.bench.has_tables = !path || strcmp(path, "-") != 0;
  cli_output json;
  int code = cli_output_open(&json, path);
  if (code == CLI_OK) code = check_device(&request.bench);
  if (code == CLI_OK) {
    code = run_parts(&request);
    code = cli_worse(code,
                     cli_output_write(&json, write_json, request.bench.json));
  }
  cli_output_close(&json);
  json_decref(request.bench.json);
  free(request.backend);
  return code;
}
