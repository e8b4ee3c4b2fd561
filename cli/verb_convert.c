// SPDX-License-Identifier: Apache-2.0
//
// tegula convert: a trace in another format.
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "clean.h"
#include "cli.h"
#include "tegula/trace.h"
#include "trace_input.h"

enum { KEY_NAME = 1, KEY_SOURCE };

typedef struct convert_request {
  const char* paths[2];
  size_t path_count;
  teg_trace_writer_params params;
} convert_request;

static const struct argp_option convert_options[] = {
    {"format", 'f', "FORMAT", 0,
     "tgt, rmm-csv or chrome-json; otherwise by the name of OUT: .tgt; .csv, "
     ".csv.gz, .csv.zst; .json, .json.gz, .json.zst",
     0},
    {"level", 'l', "N", 0, "How hard to compress, 1 to 19 (gzip: 9)", 0},
    {"name", KEY_NAME, "TEXT", 0, "Name kept in a .tgt file", 0},
    {"source", KEY_SOURCE, "TEXT", 0,
     "What the trace is and where it comes from, kept in a .tgt file", 0},
    {0}};

static const char about[] =
    "Reads the trace IN, whatever its format, and writes it to OUT."
    "\vOUT may be -, standard output, when --format names the format. "
    "A Chrome/Perfetto timeline (.json) opens in ui.perfetto.dev. OUT is "
    "complete or is not there: what was at its path stays until the new file "
    "is written.";

static teg_trace_format parse_format(const char* text) {
  static const teg_trace_format formats[] = {TEG_TRACE_FORMAT_TGT,
                                             TEG_TRACE_FORMAT_RMM_CSV,
                                             TEG_TRACE_FORMAT_CHROME_JSON};
  enum { COUNT = sizeof formats / sizeof formats[0] };
  const char* names[COUNT];
  for (size_t i = 0; i < COUNT; ++i) {
    names[i] = teg_trace_format_name(formats[i]);
    if (strcmp(names[i], text) == 0) return formats[i];
  }
  const char* nearest = cli_nearest(text, names, COUNT);
  exit(cli_fail(CLI_USAGE, "no format to write is called \"%s\"%s%s", text,
                nearest ? "; the nearest is " : "", nearest ? nearest : ""));
}

static const char* utf8(const char* option, const char* text) {
  if (cli_is_utf8(text)) return text;
  exit(cli_fail(CLI_USAGE, "%s: \"%s\" is not UTF-8", option, text));
}

static error_t parse(int key, char* argument, struct argp_state* state) {
  convert_request* request = state->input;
  switch (key) {
    case 'f':
      request->params.format = parse_format(argument);
      return 0;
    case 'l':
      request->params.compression_level =
          (int32_t)cli_number("--level", argument, 1, 19);
      return 0;
    case KEY_NAME:
      request->params.name = utf8("--name", argument);
      return 0;
    case KEY_SOURCE:
      request->params.source = utf8("--source", argument);
      return 0;
    case ARGP_KEY_ARG:
      if (request->path_count == 2) argp_error(state, "too many arguments");
      request->paths[request->path_count++] = argument;
      return 0;
    case ARGP_KEY_END:
      if (request->path_count < 2) argp_error(state, "IN and OUT are needed");
      return 0;
    default:
      return ARGP_ERR_UNKNOWN;
  }
}

// Which of the two files made a copy fail: a failed reader repeats its error.
static int copy(teg_trace_reader* reader, teg_trace_writer* writer,
                const convert_request* request) {
  teg_error err;
  teg_result result = teg_trace_copy(reader, writer, &err);
  if (result == TEG_OK) {
    result = teg_trace_writer_finish(writer, &err);
    if (result == TEG_OK) return CLI_OK;
    return cli_fail_file(CLI_OUTPUT, request->paths[1], &err);
  }
  teg_trace_event event;
  if (teg_trace_reader_next(reader, &event, NULL) == result) {
    return cli_fail_file(CLI_INPUT, request->paths[0], &err);
  }
  return cli_fail_file(CLI_OUTPUT, request->paths[1], &err);
}

static bool is_stdout(const convert_request* request) {
  return strcmp(request->paths[1], "-") == 0;
}

static teg_result write_stdout(void* user, const void* data, size_t size,
                               teg_error* err) {
  (void)user;
  errno = 0;
  if (fwrite(data, 1, size, stdout) == size) return TEG_OK;
  teg_error_clear(err);
  err->result = TEG_IO;
  snprintf(err->message, sizeof err->message, "%s",
           errno ? strerror(errno) : "write failed");
  return TEG_IO;
}

static teg_result open_writer(const convert_request* request,
                              teg_trace_writer** out_writer, teg_error* err) {
  if (!is_stdout(request)) {
    return teg_trace_writer_open(request->paths[1], &request->params,
                                 out_writer, err);
  }
  teg_trace_sink sink = {.write = write_stdout};
  return teg_trace_writer_open_sink(&sink, &request->params, out_writer, err);
}

static int convert(convert_request* request) {
  teg_error err;
  if (is_stdout(request) &&
      request->params.format == TEG_TRACE_FORMAT_UNKNOWN) {
    return cli_fail(CLI_USAGE,
                    "-: standard output has no extension that names a format; "
                    "choose one with --format: tgt, rmm-csv or chrome-json");
  }
  teg_trace_reader* reader = NULL;
  if (tegula_trace_open(request->paths[0], &reader, &err) != TEG_OK) {
    return cli_fail_file(CLI_INPUT, request->paths[0], &err);
  }
  teg_trace_reader_info info;
  teg_trace_reader_info_get(reader, &info);
  if (!request->params.name) request->params.name = info.name;
  if (!request->params.source) request->params.source = info.source;
  teg_trace_writer* writer = NULL;
  teg_result result = open_writer(request, &writer, &err);
  int code;
  if (result == TEG_OK) {
    code = copy(reader, writer, request);
  } else {
    bool is_usage = result == TEG_INVALID || result == TEG_UNSUPPORTED;
    code = cli_fail_file(is_usage ? CLI_USAGE : CLI_OUTPUT, request->paths[1],
                         &err);
  }
  teg_trace_writer_close(writer);
  teg_trace_reader_close(reader);
  return code;
}

int cli_convert(int argc, char** argv) {
  const struct argp argp = {.options = convert_options,
                            .parser = parse,
                            .args_doc = "IN OUT",
                            .doc = about};
  convert_request request = {.params = TEG_TRACE_WRITER_PARAMS_INIT};
  cli_parse(&argp, argc, argv, &request);
  return convert(&request);
}
