// SPDX-License-Identifier: Apache-2.0
//
// The table of `tegula replay`.
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "clean.h"
#include "cli.h"
#include "results.h"
#include "table.h"

typedef enum cell_form {
  FORM_TEXT,
  FORM_MEGABYTES,
  FORM_COUNT,
  FORM_RATIO,  // four digits behind the point
  FORM_SHORT,  // two
  FORM_NS,     // one
  FORM_MS,     // nanoseconds as milliseconds
} cell_form;

// A column and where its figure is. |has_best|: the smallest stands out.
typedef struct table_figure {
  cli_column column;
  cell_form form;
  bool is_count;  // uint64_t; otherwise double
  bool has_best;
  size_t offset;
  int dropped;  // where it is in the order of what a narrow terminal loses;
                // 0 = never
} table_figure;

#define AT(field) offsetof(teg_replay_result, field)

static const table_figure figures[] = {
    {{{"", "policy"}, true}, FORM_TEXT, false, false, AT(policy), 0},
    {{{"peak live", "MB"}, false},
     FORM_MEGABYTES,
     true,
     false,
     AT(peak_live_bytes),
     5},
    {{{"reserved", "MB"}, false},
     FORM_MEGABYTES,
     true,
     true,
     AT(peak_reserved_bytes),
     0},
    {{{"", "ratio"}, false}, FORM_RATIO, false, true, AT(ratio), 0},
    {{{"run", "ratio"}, false}, FORM_RATIO, false, true, AT(run_ratio), 0},
    {{{"average", "MB"}, false},
     FORM_MEGABYTES,
     true,
     true,
     AT(average_reserved_bytes),
     1},
    {{{"driver", "calls"}, false}, FORM_COUNT, true, true, AT(driver_calls), 2},
    {{{"allocs", "/late"}, false},
     FORM_SHORT,
     false,
     true,
     AT(allocations_per_late_run),
     0},
    {{{"tiles", "moved"}, false},
     FORM_COUNT,
     true,
     true,
     AT(tiles_remapped),
     6},
    {{{"moved", "/late"}, false},
     FORM_SHORT,
     false,
     true,
     AT(tiles_remapped_per_late_run),
     0},
    {{{"", "waits"}, false}, FORM_COUNT, true, true, AT(waits), 7},
    {{{"ns/op", "median"}, false},
     FORM_NS,
     false,
     true,
     AT(ns_per_op_median),
     0},
    {{{"ns/op", "p99"}, false}, FORM_NS, false, true, AT(ns_per_op_p99), 3},
    {{{"driver", "ms"}, false}, FORM_MS, false, true, AT(driver_ns), 4},
    {{{"", "fail"}, false}, FORM_COUNT, true, false, AT(failures), 8},
};

enum {
  FIGURE_COUNT = sizeof figures / sizeof figures[0],
  INDENT = 2,  // of broken lines
};

static double value_of(const table_figure* figure,
                       const teg_replay_result* row) {
  const char* field = (const char*)row + figure->offset;
  if (!figure->is_count) return *(const double*)(const void*)field;
  return (double)*(const uint64_t*)(const void*)field;
}

static uint64_t count_of(const table_figure* figure,
                         const teg_replay_result* row) {
  const char* field = (const char*)row + figure->offset;
  return *(const uint64_t*)(const void*)field;
}

static cli_text format_figure(const table_figure* figure,
                              const teg_replay_result* row) {
  switch (figure->form) {
    case FORM_MEGABYTES:
      return cli_megabytes(count_of(figure, row));
    case FORM_COUNT:
      return cli_grouped(count_of(figure, row));
    case FORM_RATIO:
      return cli_fixed(value_of(figure, row), 4);
    case FORM_SHORT:
      return cli_fixed(value_of(figure, row), 2);
    case FORM_NS:
      return cli_fixed(value_of(figure, row), 1);
    default:
      return cli_fixed(value_of(figure, row) / 1e6, 1);
  }
}

// A policy that another one serves, as auto, says which.
static void format_policy(const teg_replay_result* row, cli_cell* cell) {
  if (strcmp(row->policy, row->policy_in_use) != 0) {
    snprintf(cell->text, sizeof cell->text, "%.20s: %.20s", row->policy,
             row->policy_in_use);
  } else {
    snprintf(cell->text, sizeof cell->text, "%.40s", row->policy);
  }
}

static void fill_cell(const table_figure* figure, const teg_replay_result* row,
                      cli_cell* cell) {
  if (figure->form == FORM_TEXT) {
    format_policy(row, cell);
    return;
  }
  // Without anything live there is no ratio.
  bool has_figure = figure->form != FORM_RATIO || value_of(figure, row) > 0;
  cli_text text = has_figure ? format_figure(figure, row) : (cli_text){"-"};
  snprintf(cell->text, sizeof cell->text, "%s", text.text);
}

static bool may_stand_out(const teg_replay_result* row) {
  return row->is_complete && row->failures == 0;
}

// The smallest figure of a column stands out, with all that show the same
// text, unless that is more than half of the rows.
static void mark_best(const cli_trace* trace, cli_cell* cells, size_t column) {
  const char* best = NULL;
  double lowest = 0;
  for (size_t r = 0; r < trace->row_count; ++r) {
    if (!may_stand_out(&trace->rows[r])) continue;
    double value = value_of(&figures[column], &trace->rows[r]);
    if (best && value >= lowest) continue;
    lowest = value;
    best = cells[r * FIGURE_COUNT + column].text;
  }
  size_t same_count = 0;
  for (size_t r = 0; best && r < trace->row_count; ++r) {
    cli_cell* cell = &cells[r * FIGURE_COUNT + column];
    cell->stands_out =
        may_stand_out(&trace->rows[r]) && strcmp(cell->text, best) == 0;
    if (cell->stands_out) ++same_count;
  }
  if (same_count * 2 <= trace->row_count) return;
  for (size_t r = 0; r < trace->row_count; ++r) {
    cells[r * FIGURE_COUNT + column].stands_out = false;
  }
}

static void write_headline(FILE* stream, const cli_trace* trace,
                           bool is_coloured) {
  const teg_replay_result* row = &trace->rows[0];
  char name[sizeof trace->name];
  cli_clean(name, sizeof name, trace->name);
  fprintf(stream, "%s%s%s: %s events, %s run%s", is_coloured ? "\033[1m" : "",
          name, is_coloured ? "\033[0m" : "",
          cli_grouped(trace->event_count).text,
          cli_grouped(trace->run_count).text, trace->run_count == 1 ? "" : "s");
  if (row->weights_bytes) {
    fprintf(stream, ", %s MB of weights",
            cli_megabytes(row->weights_bytes).text);
  }
  fprintf(stream, "; %s", row->device);
  if (row->tile_bytes) {
    fprintf(stream, ", tiles of %s", cli_binary(row->tile_bytes).text);
  }
  fprintf(stream, "; batches of %" PRIu64 ", latency %" PRIu64,
          row->batch_requests, row->latency_batches);
  if (row->scale < 1) fprintf(stream, "; sizes x %g", row->scale);
  if (row->session_count > 1) {
    fprintf(stream, "; %" PRIu64 " sessions", row->session_count);
  }
  if (row->repeat_count > 1) {
    fprintf(stream, "; %" PRIu64 " times", row->repeat_count);
  }
}

// Broken to lines where the terminal is narrow.
static void print_headline(FILE* stream, const cli_trace* trace,
                           bool is_coloured) {
  char* text = NULL;
  size_t size = 0;
  FILE* line = open_memstream(&text, &size);
  if (!line) return;
  write_headline(line, trace, is_coloured);
  fclose(line);
  cli_print_wrapped(stream, text, cli_width(stream, SIZE_MAX) - INDENT, INDENT);
  free(text);
}

static bool has_failures(const cli_trace* trace) {
  for (size_t r = 0; r < trace->row_count; ++r) {
    if (trace->rows[r].failures) return true;
  }
  return false;
}

static void remove_column(cli_column* columns, size_t column_count,
                          cli_cell* cells, size_t row_count, size_t column) {
  size_t kept = 0;
  for (size_t i = 0; i < row_count * column_count; ++i) {
    if (i % column_count != column) cells[kept++] = cells[i];
  }
  for (size_t c = column; c + 1 < column_count; ++c) {
    columns[c] = columns[c + 1];
  }
}

// Drops columns until the table is not wider than |width| or none may go.
// Returns how many are left.
static size_t narrow(const cli_trace* trace, cli_column* columns,
                     cli_cell* cells, size_t width) {
  int dropped[FIGURE_COUNT];
  for (size_t c = 0; c < FIGURE_COUNT; ++c) dropped[c] = figures[c].dropped;
  if (has_failures(trace)) dropped[FIGURE_COUNT - 1] = 0;
  size_t count = FIGURE_COUNT;
  while (cli_table_width(columns, count, cells, trace->row_count) > width) {
    size_t first = count;
    for (size_t c = 0; c < count; ++c) {
      if (!dropped[c]) continue;
      if (first == count || dropped[c] < dropped[first]) first = c;
    }
    if (first == count) break;
    remove_column(columns, count, cells, trace->row_count, first);
    memmove(&dropped[first], &dropped[first + 1],
            (count - first - 1) * sizeof *dropped);
    --count;
  }
  return count;
}

void cli_print_results(FILE* stream, const cli_trace* trace) {
  if (trace->row_count == 0) return;
  bool is_coloured = cli_is_coloured(stream);
  cli_cell* cells = calloc(trace->row_count * FIGURE_COUNT, sizeof *cells);
  cli_column columns[FIGURE_COUNT];
  if (!cells) return;
  for (size_t c = 0; c < FIGURE_COUNT; ++c) {
    columns[c] = figures[c].column;
    for (size_t r = 0; r < trace->row_count; ++r) {
      fill_cell(&figures[c], &trace->rows[r], &cells[r * FIGURE_COUNT + c]);
    }
    if (figures[c].has_best) mark_best(trace, cells, c);
  }
  size_t column_count =
      narrow(trace, columns, cells, cli_width(stream, SIZE_MAX));
  print_headline(stream, trace, is_coloured);
  cli_print_table(stream, columns, column_count, cells, trace->row_count,
                  is_coloured);
  free(cells);
  fputc('\n', stream);
}

void cli_print_legend(FILE* stream) {
  static const char* const lines[] = {
      "MB = 1,000,000 bytes. reserved: most taken from the device at once; "
      "ratio: that / peak live;",
      "run ratio: the same without the weights. allocs: device allocations; "
      "moved: tiles remapped;",
      "/late: a run, in the second half of the runs. ns/op: one create or "
      "destroy, without driver and waits."};
  size_t width = cli_width(stream, SIZE_MAX) - INDENT;
  cli_print_wrapped(stream, lines[0], width, INDENT);
  cli_print_wrapped(stream, lines[1], width, INDENT);
  char last[256];
  snprintf(last, sizeof last, "%s%s", lines[2],
           cli_is_coloured(stream) ? "" : " *: the best of the trace.");
  cli_print_wrapped(stream, last, width, INDENT);
}
