// SPDX-License-Identifier: Apache-2.0
//
// The results of `tegula replay` as a JSON array, one object a trace and
// policy. Keys: docs/replay.md.
#include "json.h"
#include "results.h"

static json_t* number_of(const char* unit, double value) {
  return cli_json_number(value, unit[0] == 'n' ? 1 : 6);
}

static json_t* text_or_null(const teg_error* error) {
  return error->result == TEG_OK ? json_null() : cli_json_text(error->message);
}

#define JSON_TEXT(value, unit) cli_json_text(value)
#define JSON_COUNT(value, unit) cli_json_count(value)
#define JSON_NUMBER(value, unit) number_of(unit, value)

json_t* cli_row_to_json(const teg_replay_result* row) {
  json_t* object = json_object();
#define SET_FIELD(kind, field, unit, help) \
  json_object_set_new(object, #field, JSON_##kind(row->field, unit));
  TEG_REPLAY_FIELDS(SET_FIELD)
#undef SET_FIELD
  // No runs, nothing live: there is no ratio.
  if (row->peak_live_bytes == 0) {
    json_object_set_new(object, "ratio", json_null());
  }
  if (row->run_peak_live_bytes == 0) {
    json_object_set_new(object, "run_ratio", json_null());
  }
  json_object_set_new(object, "complete", json_boolean(row->is_complete));
  json_object_set_new(object, "failure", text_or_null(&row->failure));
  json_object_set_new(object, "mismatch", text_or_null(&row->mismatch));
  return object;
}

void cli_write_json(FILE* stream, const void* user) {
  const cli_results* results = user;
  json_t* array = json_array();
  for (size_t t = 0; t < results->trace_count; ++t) {
    const cli_trace* trace = &results->traces[t];
    for (size_t r = 0; r < trace->row_count; ++r) {
      json_array_append_new(array, cli_row_to_json(&trace->rows[r]));
    }
  }
  json_dumpf(array, stream, JSON_INDENT(2) | JSON_REAL_PRECISION(15));
  json_decref(array);
  fputc('\n', stream);
}
