// SPDX-License-Identifier: Apache-2.0
//
// The results of `tegula replay` as one HTML page without outside references:
// a template with style, script and data put in. The page is made by its
// script from the data, which sets names as text, never as markup; here the
// data only has to stay inside its element.
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli.h"
#include "json.h"
#include "report/assets.h"
#include "results.h"

// ---- Data -------------------------------------------------------------------

// Differences of one kind of numbers, in units, so that they are short. The
// units are rounded before the differences are taken: errors do not add up.
static json_t* differences(const teg_replay_result* row, size_t offset,
                           uint64_t unit) {
  json_t* list = json_array();
  int64_t last = 0;
  for (size_t i = 0; i < row->sample_count; ++i) {
    const char* sample = (const char*)&row->samples[i];
    uint64_t value = *(const uint64_t*)(const void*)(sample + offset);
    int64_t units = (int64_t)(value / unit + (value % unit * 2 >= unit));
    json_array_append_new(list, json_integer(units - last));
    last = units;
  }
  return list;
}

static json_t* samples_of(const teg_replay_result* row) {
  json_t* samples = json_object();
#define SET_SAMPLES(name, field, unit) \
  json_object_set_new(                 \
      samples, name,                   \
      differences(row, offsetof(teg_replay_sample, field), unit))
  SET_SAMPLES("t", time_ns, 1000);
  SET_SAMPLES("live", live_bytes, 1024);
  SET_SAMPLES("mapped", mapped_bytes, 1024);
  SET_SAMPLES("reserved", reserved_bytes, 1024);
#undef SET_SAMPLES
  return samples;
}

static json_t* trace_to_json(const cli_trace* trace) {
  json_t* rows = json_array();
  for (size_t r = 0; r < trace->row_count; ++r) {
    json_t* row = cli_row_to_json(&trace->rows[r]);
    json_object_set_new(row, "samples", samples_of(&trace->rows[r]));
    json_array_append_new(rows, row);
  }
  json_t* object = json_object();
  json_object_set_new(object, "name", cli_json_text(trace->name));
  json_object_set_new(object, "path", cli_json_text(trace->path));
  json_object_set_new(object, "events", cli_json_count(trace->event_count));
  json_object_set_new(object, "runs", cli_json_count(trace->run_count));
  json_object_set_new(object, "rows", rows);
  return object;
}

static json_t* results_to_json(const cli_results* results) {
  char made[32];
  time_t now = time(NULL);
  struct tm parts;
  gmtime_r(&now, &parts);
  strftime(made, sizeof made, "%Y-%m-%d %H:%M UTC", &parts);
  json_t* traces = json_array();
  for (size_t t = 0; t < results->trace_count; ++t) {
    json_array_append_new(traces, trace_to_json(&results->traces[t]));
  }
  json_t* object = json_object();
  json_object_set_new(object, "command", cli_json_text(results->command));
  json_object_set_new(object, "version", json_string(CLI_VERSION));
  json_object_set_new(object, "made", json_string(made));
  json_object_set_new(object, "traces", traces);
  return object;
}

// ---- Page -------------------------------------------------------------------

// JSON for the inside of a <script>: no `<` can end or open anything there.
static void write_data(FILE* stream, const cli_results* results) {
  json_t* object = results_to_json(results);
  char* text = json_dumps(object, JSON_COMPACT | JSON_REAL_PRECISION(15));
  json_decref(object);
  for (const char* at = text; at && *at; ++at) {
    if (*at == '<' || *at == '>' || *at == '&') {
      fprintf(stream, "\\u%04x", (unsigned)*at);
    } else {
      fputc(*at, stream);
    }
  }
  free(text);
}

// Writes |text| up to |mark| and returns what follows the mark.
static const char* write_up_to(FILE* stream, const char* text,
                               const char* mark) {
  const char* found = strstr(text, mark);
  if (!found) return text;
  fwrite(text, 1, (size_t)(found - text), stream);
  return found + strlen(mark);
}

void cli_write_report(FILE* stream, const void* user) {
  const char* rest = write_up_to(stream, cli_report_html, "@STYLE@");
  fputs(cli_report_css, stream);
  rest = write_up_to(stream, rest, "@DATA@");
  write_data(stream, user);
  rest = write_up_to(stream, rest, "@SCRIPT@");
  fputs(cli_report_js, stream);
  fputs(rest, stream);
}
