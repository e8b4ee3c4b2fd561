// SPDX-License-Identifier: Apache-2.0
//
// tegula replay: traces under policies. One trace is in memory at a time; its
// replays follow one another, and their results are kept for the outputs.
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "clean.h"
#include "cli.h"
#include "output.h"
#include "progress.h"
#include "results.h"
#include "tegula/device.h"
#include "tegula/session.h"
#include "trace_input.h"

enum {
  KEY_TILE = 1,
  KEY_SLACK,
  KEY_BUDGET,
  KEY_SESSIONS,
  KEY_REPEAT,
  KEY_BATCH,
  KEY_LATENCY,
  KEY_SCALE,
  KEY_VERIFY,
  KEY_JSON,
  KEY_REPORT,
  MAX_POLICIES = 64,
};

// "key=value", from --set or from an option that stands for one.
typedef struct option_setting {
  const char* option;  // what the user typed, for messages
  const char* key;     // NULL: |value| is a pair
  const char* value;
} option_setting;

typedef struct replay_request {
  char** paths;
  size_t path_count;
  char* policy_list;  // as given, cut up
  const char* policies[MAX_POLICIES];
  size_t policy_count;
  option_setting* settings;
  size_t setting_count;
  char* backend;
  teg_replay_params params;
  const char* json_path;
  const char* report_path;
  bool is_quiet;
} replay_request;

static const struct argp_option replay_options[] = {
    {NULL, 0, NULL, 0, "What is compared:", 1},
    {"policy", 'p', "A,B,...", 0,
     "Policies, or \"all\" (the default): every one but auto", 1},
    {"device", 'd', "NAME[:N]", 0, "Device to replay on (host)", 1},
    {"tile", KEY_TILE, "SIZE", 0, "Tile size, such as 64KiB or 2MiB", 1},
    {"slack", KEY_SLACK, "PERCENT", 0,
     "What a policy may hold above the live peak", 1},
    {"budget", KEY_BUDGET, "SIZE", 0, "Most bytes taken from the device", 1},
    {"set", 's', "KEY=VALUE", 0, "Any option; see `tegula options`", 1},
    {NULL, 0, NULL, 0, "How it is played:", 2},
    {"sessions", KEY_SESSIONS, "N", 0,
     "N copies of the trace take turns run by run on one device (1)", 2},
    {"repeat", KEY_REPEAT, "N", 0, "Play what follows the load N times (1)", 2},
    {"batch", KEY_BATCH, "N", 0, "Requests in a batch (32)", 2},
    {"latency", KEY_LATENCY, "L", 0,
     "Batch k is complete when batch k+L is submitted (0)", 2},
    {"scale", KEY_SCALE, "F", 0,
     "Multiply sizes by F, such as 0.01 or 1%, so that a trace fits a small "
     "device (1)",
     2},
    {"verify", KEY_VERIFY, NULL, 0,
     "Stamp every buffer's memory by a kernel, and check the stamps by another "
     "when it is freed",
     2},
    {NULL, 0, NULL, 0, "What comes out:", 3},
    {"json", KEY_JSON, "FILE", 0,
     "Write a JSON array; - writes it in place of the table", 3},
    {"report", KEY_REPORT, "FILE.html", 0,
     "Write a page with the table and timelines", 3},
    {"quiet", 'q', NULL, 0, "Print no table and no progress", 3},
    {0}};

static const char about[] =
    "Plays each TRACE again under each policy, and shows what memory it would "
    "have taken and what it would have cost."
    "\vThe bytes are the same every time: batches complete when --latency "
    "says, not when a thread gets round to it. Figures and keys are explained "
    "in docs/replay.md.";

// ---- The command line -------------------------------------------------------

static void add_setting(replay_request* request, const char* option,
                        const char* key, const char* value) {
  size_t size = (request->setting_count + 1) * sizeof *request->settings;
  option_setting* grown = realloc(request->settings, size);
  if (!grown) exit(cli_fail(CLI_FAILED, "no memory"));
  grown[request->setting_count++] = (option_setting){option, key, value};
  request->settings = grown;
}

// "host" or "host:1".
static void set_device(replay_request* request, const char* text) {
  free(request->backend);
  request->backend = strdup(text);
  if (!request->backend) exit(cli_fail(CLI_FAILED, "no memory"));
  char* colon = strchr(request->backend, ':');
  request->params.backend = request->backend;
  request->params.device_index = 0;
  if (!colon) return;
  *colon = '\0';
  request->params.device_index =
      (uint32_t)cli_number("--device", colon + 1, 0, 1023);
}

// "0.01" or "1%".
static double parse_scale(const char* text) {
  char* end = NULL;
  double scale = strtod(text, &end);
  bool is_number = end != text;
  if (is_number && *end == '%') {
    scale /= 100;
    ++end;
  }
  // Not a number is not in between.
  if (is_number && *end == '\0' && scale >= 1e-6 && scale <= 1) return scale;
  exit(cli_fail(CLI_USAGE,
                "--scale: \"%s\" is not a number from 0.000001 to 1, nor as "
                "much in percent",
                text));
}

static error_t parse_number(int key, const char* text,
                            teg_replay_params* params) {
  switch (key) {
    case KEY_SESSIONS:
      params->session_count = (uint32_t)cli_number("--sessions", text, 1, 1024);
      return 0;
    case KEY_REPEAT:
      params->repeat_count = (uint32_t)cli_number("--repeat", text, 1, 1 << 20);
      return 0;
    case KEY_BATCH:
      params->batch_requests =
          (uint32_t)cli_number("--batch", text, 1, 1 << 20);
      return 0;
    case KEY_LATENCY:
      params->latency_batches =
          (uint32_t)cli_number("--latency", text, 0, 4096);
      return 0;
    case KEY_SCALE:
      params->scale = parse_scale(text);
      return 0;
    default:
      return ARGP_ERR_UNKNOWN;
  }
}

static error_t parse_setting(int key, const char* text,
                             replay_request* request) {
  switch (key) {
    case KEY_TILE:
      add_setting(request, "--tile", "tile_bytes", text);
      return 0;
    case KEY_SLACK:
      add_setting(request, "--slack", "slack", text);
      return 0;
    case KEY_BUDGET:
      add_setting(request, "--budget", "budget", text);
      return 0;
    case 's':
      add_setting(request, "--set", NULL, text);
      return 0;
    default:
      return parse_number(key, text, &request->params);
  }
}

static const char* file_name(const char* option, const char* text) {
  if (*text) return text;
  exit(cli_fail(CLI_USAGE, "%s: the name of the file is empty", option));
}

static error_t parse(int key, char* argument, struct argp_state* state) {
  replay_request* request = state->input;
  switch (key) {
    case 'p':
      request->policy_list = argument;
      return 0;
    case 'd':
      set_device(request, argument);
      return 0;
    case KEY_VERIFY:
      request->params.flags |= TEG_REPLAY_VERIFY;
      return 0;
    case KEY_JSON:
      request->json_path = file_name("--json", argument);
      return 0;
    case KEY_REPORT:
      request->report_path = file_name("--report", argument);
      return 0;
    case 'q':
      request->is_quiet = true;
      return 0;
    case ARGP_KEY_ARGS:
      request->paths = state->argv + state->next;
      request->path_count = (size_t)(state->argc - state->next);
      return 0;
    case ARGP_KEY_NO_ARGS:
      argp_error(state, "a TRACE is needed");
      return EINVAL;
    default:
      return parse_setting(key, argument, request);
  }
}

// ---- Policies and options ---------------------------------------------------

static void add_policy(replay_request* request, const char* name) {
  for (size_t i = 0; i < request->policy_count; ++i) {
    if (strcmp(request->policies[i], name) == 0) return;
  }
  if (request->policy_count == MAX_POLICIES) return;
  request->policies[request->policy_count++] = name;
}

static void add_all_policies(replay_request* request) {
  const teg_policy_info* info;
  for (size_t i = 0; (info = teg_policy_at(i)); ++i) {
    if (strcmp(info->name, "auto") != 0) add_policy(request, info->name);
  }
}

static int choose_policies(replay_request* request) {
  if (!request->policy_list) {
    add_all_policies(request);
    return CLI_OK;
  }
  char* rest = request->policy_list;
  char* name;
  while ((name = strsep(&rest, ","))) {
    if (strcmp(name, "all") == 0) {
      add_all_policies(request);
    } else if (*name) {
      add_policy(request, name);
    }
  }
  if (request->policy_count > 0) return CLI_OK;
  return cli_fail(CLI_USAGE, "--policy: no policy is named");
}

// The policy is chosen by --policy alone, which heads the rows.
static int check_setting(const option_setting* setting) {
  if (setting->key || strncmp(setting->value, "policy=", 7) != 0) {
    return CLI_OK;
  }
  return cli_fail(CLI_USAGE, "%s: a policy is chosen with --policy",
                  setting->option);
}

static teg_result set_one(teg_options* options, const option_setting* setting,
                          teg_error* err) {
  if (!setting->key) return teg_options_set_pair(options, setting->value, err);
  return teg_options_set(options, setting->key, setting->value, err);
}

// The options of one policy. Returns CLI_OK, or CLI_USAGE with a message.
static int make_options(const replay_request* request, const char* policy,
                        teg_options** out_options) {
  teg_error err;
  if (teg_options_create(NULL, out_options, &err) != TEG_OK) {
    return cli_fail(CLI_FAILED, "%s", err.message);
  }
  const char* option = "--policy";
  teg_result result = teg_options_set(*out_options, "policy", policy, &err);
  for (size_t i = 0; result == TEG_OK && i < request->setting_count; ++i) {
    option = request->settings[i].option;
    result = set_one(*out_options, &request->settings[i], &err);
  }
  if (result == TEG_OK) return CLI_OK;
  teg_options_destroy(*out_options);
  *out_options = NULL;
  return cli_fail(CLI_USAGE, "%s: %s", option, err.message);
}

// Finds wrong names and values before anything is replayed.
static int check_options(const replay_request* request) {
  for (size_t i = 0; i < request->setting_count; ++i) {
    int code = check_setting(&request->settings[i]);
    if (code != CLI_OK) return code;
  }
  for (size_t i = 0; i < request->policy_count; ++i) {
    teg_options* options = NULL;
    int code = make_options(request, request->policies[i], &options);
    teg_options_destroy(options);
    if (code != CLI_OK) return code;
  }
  return CLI_OK;
}

static bool is_usage(teg_result result) {
  return result == TEG_NOT_FOUND || result == TEG_INVALID;
}

// Opens a session of |policy|, for values that only it finds wrong. What else
// fails is told when it is replayed.
static int check_session(const replay_request* request, teg_device* device,
                         const char* policy) {
  teg_options* options = NULL;
  int code = make_options(request, policy, &options);
  if (code != CLI_OK) return code;
  teg_session_params params = TEG_SESSION_PARAMS_INIT;
  params.options = options;
  teg_session* session = NULL;
  teg_error err;
  teg_result result = teg_session_create(device, &params, &session, &err);
  if (result == TEG_OK) teg_session_destroy(session);
  teg_options_destroy(options);
  return is_usage(result) ? cli_fail(CLI_USAGE, "%s", err.message) : CLI_OK;
}

// The backend's own message may be of one that it is made of.
static int check_device_index(const teg_replay_params* params) {
  const char* name = params->backend ? params->backend : "";
  teg_backend_info info = {.struct_size = sizeof info};
  for (size_t i = 0; teg_backend_get_info(i, &info) == TEG_OK; ++i) {
    if (strcmp(info.name, name) != 0 || info.device_count == 0) continue;
    if (params->device_index < info.device_count) return CLI_OK;
    return cli_fail(CLI_USAGE,
                    "--device: %s has no device %" PRIu32
                    "; they are numbered 0 to %" PRIu32,
                    name, params->device_index, info.device_count - 1);
  }
  return CLI_OK;
}

// Opens the device once, and a session of each policy, for wrong names and
// values that only they know.
static int check_device(const replay_request* request) {
  int code = check_device_index(&request->params);
  if (code != CLI_OK) return code;
  teg_options* options = NULL;
  code = make_options(request, request->policies[0], &options);
  if (code != CLI_OK) return code;
  teg_device_params params = TEG_DEVICE_PARAMS_INIT;
  params.backend = request->params.backend;
  params.device_index = request->params.device_index;
  params.options = options;
  teg_device* device = NULL;
  teg_error err;
  teg_result result = teg_device_create(&params, &device, &err);
  teg_options_destroy(options);
  if (result != TEG_OK) {
    return cli_fail(is_usage(result) ? CLI_USAGE : CLI_FAILED, "%s",
                    err.message);
  }
  for (size_t i = 0; code == CLI_OK && i < request->policy_count; ++i) {
    code = check_session(request, device, request->policies[i]);
  }
  teg_device_destroy(device);
  return code;
}

// ---- Replaying --------------------------------------------------------------

static int load_trace(const char* path, cli_trace* trace,
                      teg_replay** out_replay) {
  teg_error err;
  teg_trace_reader* reader = NULL;
  teg_result result = tegula_trace_open(path, &reader, &err);
  if (result == TEG_OK) {
    result = teg_replay_load(reader, NULL, NULL, out_replay, &err);
  }
  if (result == TEG_OK) {
    teg_trace_reader_info reader_info;
    teg_trace_reader_info_get(reader, &reader_info);
    teg_replay_info info = {.struct_size = sizeof info};
    teg_replay_get_info(*out_replay, &info);
    trace->path = path;
    trace->format = reader_info.format;
    trace->event_count = info.event_count;
    trace->run_count = info.run_count;
    cli_clean(trace->name, sizeof trace->name, info.name);
  }
  teg_trace_reader_close(reader);
  if (result == TEG_OK) return CLI_OK;
  return cli_fail_file(CLI_INPUT, path, &err);
}

static int code_of(const teg_replay_result* row) {
  int code = CLI_OK;
  if (row->failures) code = CLI_FAILED;
  if (row->verify_mismatches) code = CLI_MISMATCH;
  return code;
}

static int replay_policy(const replay_request* request,
                         const teg_replay* replay, const char* policy,
                         cli_trace* trace, cli_progress* progress) {
  teg_options* options = NULL;
  int code = make_options(request, policy, &options);
  if (code != CLI_OK) return code;
  teg_replay_params params = request->params;
  params.options = options;
  params.progress = cli_progress_tell;
  params.progress_user = progress;
  teg_replay_result* row = &trace->rows[trace->row_count];
  row->struct_size = sizeof *row;
  teg_error err;
  if (teg_replay_run(replay, &params, row, &err) == TEG_OK) {
    trace->row_count++;
    code = code_of(row);
  } else {
    cli_progress_wipe(progress);
    code = cli_fail(CLI_FAILED, "%s, %s: %s", trace->name, policy, err.message);
  }
  teg_options_destroy(options);
  return code;
}

static void tell_troubles(const cli_trace* trace) {
  for (size_t r = 0; r < trace->row_count; ++r) {
    const teg_replay_result* row = &trace->rows[r];
    if (row->failures) {
      cli_fail(CLI_FAILED, "%s, %s: %s", trace->name, row->policy,
               row->failure.message);
    }
    if (row->verify_mismatches) {
      cli_fail(CLI_MISMATCH, "%s, %s: %s buffers did not keep their bytes; %s",
               trace->name, row->policy,
               cli_grouped(row->verify_mismatches).text, row->mismatch.message);
    }
  }
}

static bool has_table(const replay_request* request) {
  if (request->is_quiet) return false;
  return !request->json_path || strcmp(request->json_path, "-") != 0;
}

static int replay_trace(const replay_request* request, const char* path,
                        cli_results* results, cli_progress* progress) {
  cli_trace* trace = &results->traces[results->trace_count];
  teg_replay* replay = NULL;
  cli_progress_step(progress, path, "loading");
  int code = load_trace(path, trace, &replay);
  trace->rows = calloc(request->policy_count, sizeof *trace->rows);
  if (code == CLI_OK && !trace->rows) code = cli_fail(CLI_FAILED, "no memory");
  for (size_t i = 0; i < request->policy_count; ++i) {
    if (replay && trace->rows) {
      cli_progress_step(progress, trace->name, request->policies[i]);
      code =
          cli_worse(code, replay_policy(request, replay, request->policies[i],
                                        trace, progress));
    }
    cli_progress_end_step(progress);
  }
  teg_replay_destroy(replay);
  if (!replay) {
    free(trace->rows);
    *trace = (cli_trace){0};
    return code;
  }
  results->trace_count++;
  cli_progress_wipe(progress);
  if (has_table(request)) {
    cli_print_results(stdout, trace);
    fflush(stdout);
  }
  tell_troubles(trace);
  return code;
}

static int replay_all(const replay_request* request, cli_results* results) {
  cli_progress progress;
  cli_progress_begin(&progress, request->path_count * request->policy_count,
                     !request->is_quiet);
  int code = CLI_OK;
  for (size_t i = 0; i < request->path_count; ++i) {
    code = cli_worse(
        code, replay_trace(request, request->paths[i], results, &progress));
  }
  cli_progress_wipe(&progress);
  bool has_rows = false;
  for (size_t t = 0; t < results->trace_count; ++t) {
    has_rows = has_rows || results->traces[t].row_count > 0;
  }
  if (has_rows && has_table(request)) cli_print_legend(stdout);
  return code;
}

// The command line as one text, for the report.
static char* join(int argc, char** argv) {
  char* text = NULL;
  size_t size = 0;
  FILE* stream = open_memstream(&text, &size);
  if (!stream) return NULL;
  for (int i = 0; i < argc; ++i) {
    fprintf(stream, "%s%s", i ? " " : "", argv[i]);
  }
  fclose(stream);
  return text;
}

static void free_results(cli_results* results) {
  for (size_t t = 0; t < results->trace_count; ++t) {
    cli_trace* trace = &results->traces[t];
    for (size_t r = 0; r < trace->row_count; ++r) {
      teg_replay_result_clear(&trace->rows[r]);
    }
    free(trace->rows);
  }
  free(results->traces);
}

static int check_input(const replay_request* request, const char* option,
                       const cli_output* output) {
  for (size_t i = 0; i < request->path_count; ++i) {
    if (!cli_output_is_file(output, request->paths[i])) continue;
    return cli_fail(CLI_USAGE, "%s: %s is a trace to replay", option,
                    output->path);
  }
  return CLI_OK;
}

// Nothing that is read or written may be overwritten.
static int check_outputs(const replay_request* request, const cli_output* json,
                         const cli_output* report) {
  if (cli_output_is_same(json, report)) {
    return cli_fail(CLI_USAGE, "--json and --report name the same file, %s",
                    report->path);
  }
  int code = check_input(request, "--json", json);
  return code != CLI_OK ? code : check_input(request, "--report", report);
}

static int run(const replay_request* request, const char* command) {
  cli_output json;
  cli_output report;
  int code = cli_worse(cli_output_open(&json, request->json_path),
                       cli_output_open(&report, request->report_path));
  if (code == CLI_OK) code = check_outputs(request, &json, &report);
  cli_results results = {
      .command = command,
      .traces = calloc(request->path_count, sizeof *results.traces)};
  if (!results.traces) {
    code = cli_worse(code, cli_fail(CLI_FAILED, "no memory"));
  } else if (code == CLI_OK) {
    code = replay_all(request, &results);
    code = cli_worse(code, cli_output_write(&json, cli_write_json, &results));
    code =
        cli_worse(code, cli_output_write(&report, cli_write_report, &results));
  }
  cli_output_close(&json);
  cli_output_close(&report);
  free_results(&results);
  return code;
}

int cli_replay(int argc, char** argv) {
  const struct argp argp = {.options = replay_options,
                            .parser = parse,
                            .args_doc = "TRACE...",
                            .doc = about};
  char* command = join(argc, argv);
  replay_request request = {.params = TEG_REPLAY_PARAMS_INIT};
  cli_parse(&argp, argc, argv, &request);
  int code = choose_policies(&request);
  if (code == CLI_OK) code = check_options(&request);
  if (code == CLI_OK) code = check_device(&request);
  if (code == CLI_OK) code = run(&request, command ? command : "");
  free(request.settings);
  free(request.backend);
  free(command);
  return code;
}
