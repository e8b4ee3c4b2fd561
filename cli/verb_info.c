// SPDX-License-Identifier: Apache-2.0
//
// tegula info: what is in a trace or a model.
#include <inttypes.h>

#include "clean.h"
#include "cli.h"
#include "json.h"
#include "model_info.h"
#include "tegula/trace.h"
#include "trace_input.h"

enum { KEY_JSON = 1, KEY_METADATA };

typedef struct info_request {
  char** paths;
  size_t path_count;
  bool is_json;
  bool has_metadata;
  json_t* array;  // of what is known of each file
} info_request;

static const struct argp_option info_options[] = {
    {"json", KEY_JSON, NULL, 0, "Print a JSON array, one object a file", 0},
    {"metadata", KEY_METADATA, NULL, 0, "Print the metadata of models, too", 0},
    {0}};

static const char about[] =
    "Says what is in each FILE. A trace is read to its end and checked. Of a "
    "model (safetensors, its index if it is sharded, GGUF, or a folder with "
    "one "
    "of them) the head is read and checked, and its tensors are listed.";

// NOLINTNEXTLINE(readability-non-const-parameter): argp's signature
static error_t parse(int key, char* argument, struct argp_state* state) {
  (void)argument;
  info_request* request = state->input;
  switch (key) {
    case KEY_JSON:
      request->is_json = true;
      return 0;
    case KEY_METADATA:
      request->has_metadata = true;
      return 0;
    case ARGP_KEY_ARGS:
      request->paths = state->argv + state->next;
      request->path_count = (size_t)(state->argc - state->next);
      return 0;
    case ARGP_KEY_NO_ARGS:
      argp_error(state, "a FILE is needed, a trace or a model");
      return EINVAL;
    default:
      return ARGP_ERR_UNKNOWN;
  }
}

// Every figure of a summary, with what it is called for people.
#define SUMMARY_FIELDS(X)                           \
  X(COUNT, event_count, "events")                   \
  X(COUNT, allocate_count, "allocations")           \
  X(COUNT, free_count, "frees")                     \
  X(COUNT, run_count, "runs")                       \
  X(COUNT, load_end_count, "ends of loading")       \
  X(COUNT, distinct_size_count, "distinct sizes")   \
  X(BYTES, largest_size, "largest request")         \
  X(BYTES, allocated_bytes, "allocated in all")     \
  X(COUNT, weight_count, "weights")                 \
  X(BYTES, weight_bytes, "bytes of weights")        \
  X(BYTES, peak_live_bytes, "peak live")            \
  X(COUNT, peak_live_count, "most buffers at once") \
  X(COUNT, peak_event_index, "event of the peak")   \
  X(TIME, peak_time_ns, "time of the peak")         \
  X(COUNT, end_live_count, "buffers never freed")   \
  X(BYTES, end_live_bytes, "bytes never freed")     \
  X(TIME, duration_ns, "duration")                  \
  X(COUNT, stream_count, "streams")                 \
  X(COUNT, thread_count, "threads")

#define FORMAT_COUNT(value) cli_grouped(value).text
#define FORMAT_BYTES(value) cli_megabytes(value).text
#define FORMAT_TIME(value) cli_duration(value).text
#define UNIT_COUNT ""
#define UNIT_BYTES " MB"
#define UNIT_TIME ""

static void print_text(const char* path, const teg_trace_reader_info* info,
                       const teg_trace_summary* summary) {
  char shown[4096];
  printf("%s: ", cli_clean(shown, sizeof shown, path));
  printf("%s\n", cli_clean(shown, sizeof shown, info->name));
  printf("  %-20s %s", "format", teg_trace_format_name(info->format));
  if (info->version) printf(", version %" PRIu32, info->version);
  printf("\n");
  if (info->source[0]) {
    printf("  %-20s %s\n", "source",
           cli_clean(shown, sizeof shown, info->source));
  }
  printf("  %-20s %s bytes\n", "file", cli_grouped(info->byte_count).text);
  if (info->skipped_count) {
    printf("  %-20s %s\n", "lines passed over",
           cli_grouped(info->skipped_count).text);
  }
#define PRINT_FIELD(kind, field, label) \
  printf("  %-20s %s" UNIT_##kind "\n", label, FORMAT_##kind(summary->field));
  SUMMARY_FIELDS(PRINT_FIELD)
#undef PRINT_FIELD
}

static void add_json(json_t* array, const char* path,
                     const teg_trace_reader_info* info,
                     const teg_trace_summary* summary) {
  json_t* row = json_object();
  json_object_set_new(row, "path", cli_json_text(path));
  json_object_set_new(row, "name", cli_json_text(info->name));
  json_object_set_new(row, "format",
                      cli_json_text(teg_trace_format_name(info->format)));
  json_object_set_new(row, "version", json_integer(info->version));
  json_object_set_new(row, "source", cli_json_text(info->source));
  json_object_set_new(row, "file_bytes", cli_json_count(info->byte_count));
  json_object_set_new(row, "skipped_count",
                      cli_json_count(info->skipped_count));
#define SET_FIELD(kind, field, label) \
  json_object_set_new(row, #field, cli_json_count(summary->field));
  SUMMARY_FIELDS(SET_FIELD)
#undef SET_FIELD
  json_array_append_new(array, row);
}

static int show(const char* path, info_request* request) {
  if (cli_is_model(path)) {
    return cli_show_model(path, request->has_metadata,
                          request->is_json ? request->array : NULL);
  }
  teg_error err;
  teg_trace_reader* reader = NULL;
  teg_trace_summary summary;
  teg_result result = tegula_trace_open(path, &reader, &err);
  if (result == TEG_OK) result = teg_trace_summarize(reader, &summary, &err);
  if (result == TEG_OK) {
    teg_trace_reader_info info;
    teg_trace_reader_info_get(reader, &info);
    if (request->is_json) {
      add_json(request->array, path, &info, &summary);
    } else {
      print_text(path, &info, &summary);
    }
  }
  teg_trace_reader_close(reader);
  if (result == TEG_OK) return CLI_OK;
  return cli_fail_file(CLI_INPUT, path, &err);
}

int cli_info(int argc, char** argv) {
  const struct argp argp = {.options = info_options,
                            .parser = parse,
                            .args_doc = "FILE...",
                            .doc = about};
  info_request request = {0};
  cli_parse(&argp, argc, argv, &request);
  request.array = json_array();
  int code = CLI_OK;
  for (size_t i = 0; i < request.path_count; ++i) {
    code = cli_worse(code, show(request.paths[i], &request));
  }
  if (request.is_json) {
    json_dumpf(request.array, stdout, JSON_INDENT(2));
    putchar('\n');
  }
  json_decref(request.array);
  return code;
}
