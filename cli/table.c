// SPDX-License-Identifier: Apache-2.0
//
// Tables and wrapped text for the terminal.
#include "table.h"

#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

static const char bold[] = "\033[1;32m";
static const char dim[] = "\033[2m";
static const char plain[] = "\033[0m";

static int max_int(int a, int b) { return a > b ? a : b; }

static void measure(const cli_column* columns, size_t column_count,
                    const cli_cell* cells, size_t row_count, int* out_widths) {
  for (size_t c = 0; c < column_count; ++c) {
    int width = max_int((int)strlen(columns[c].head[0]),
                        (int)strlen(columns[c].head[1]));
    for (size_t r = 0; r < row_count; ++r) {
      width = max_int(width, (int)strlen(cells[r * column_count + c].text));
    }
    out_widths[c] = width;
  }
}

// One text in its column and the gap behind it, which a mark fits in.
static void print_text(FILE* stream, const cli_column* column, int width,
                       bool is_last, const char* text, char mark) {
  if (!column->is_left) {
    fprintf(stream, "%*s", width, text);
  } else if (is_last) {
    fputs(text, stream);
  } else {
    fprintf(stream, "%-*s", width, text);
  }
  if (!is_last) {
    fprintf(stream, "%c ", mark);
  } else if (mark != ' ') {
    fputc(mark, stream);
  }
}

static bool has_head(const cli_column* columns, size_t column_count,
                     size_t line) {
  for (size_t c = 0; c < column_count; ++c) {
    if (columns[c].head[line][0] != '\0') return true;
  }
  return false;
}

static void print_heads(FILE* stream, const cli_column* columns,
                        size_t column_count, const int* widths,
                        bool is_coloured) {
  for (size_t line = 0; line < 2; ++line) {
    if (!has_head(columns, column_count, line)) continue;
    if (is_coloured) fputs(dim, stream);
    for (size_t c = 0; c < column_count; ++c) {
      print_text(stream, &columns[c], widths[c], c + 1 == column_count,
                 columns[c].head[line], ' ');
    }
    if (is_coloured) fputs(plain, stream);
    fputc('\n', stream);
  }
}

static void print_cell(FILE* stream, const cli_column* column, int width,
                       bool is_last, const cli_cell* cell, bool is_coloured) {
  bool is_bold = cell->stands_out && is_coloured;
  bool is_marked = cell->stands_out && !is_coloured;
  if (is_bold) fputs(bold, stream);
  print_text(stream, column, width, is_last, cell->text, is_marked ? '*' : ' ');
  if (is_bold) fputs(plain, stream);
}

size_t cli_table_width(const cli_column* columns, size_t column_count,
                       const cli_cell* cells, size_t row_count) {
  int widths[CLI_MAX_COLUMNS];
  measure(columns, column_count, cells, row_count, widths);
  size_t width = 1;  // the mark behind the last
  for (size_t c = 0; c < column_count; ++c) width += (size_t)widths[c];
  return width + 2 * (column_count - 1);
}

void cli_print_table(FILE* stream, const cli_column* columns,
                     size_t column_count, const cli_cell* cells,
                     size_t row_count, bool is_coloured) {
  int widths[CLI_MAX_COLUMNS];
  measure(columns, column_count, cells, row_count, widths);
  print_heads(stream, columns, column_count, widths, is_coloured);
  for (size_t r = 0; r < row_count; ++r) {
    for (size_t c = 0; c < column_count; ++c) {
      print_cell(stream, &columns[c], widths[c], c + 1 == column_count,
                 &cells[r * column_count + c], is_coloured);
    }
    fputc('\n', stream);
  }
}

void cli_print_wrapped(FILE* stream, const char* text, size_t width,
                       size_t indent) {
  size_t used = 0;
  while (*text) {
    size_t length = strcspn(text, " ");
    if (used > 0 && used + 1 + length > width) {
      fprintf(stream, "\n%*s", (int)indent, "");
      used = 0;
    } else if (used > 0) {
      fputc(' ', stream);
      ++used;
    }
    fwrite(text, 1, length, stream);
    used += length;
    text += length;
    while (*text == ' ') ++text;
  }
  fputc('\n', stream);
}

size_t cli_width(FILE* stream, size_t otherwise) {
  struct winsize size;
  if (!isatty(fileno(stream)) ||
      ioctl(fileno(stream), TIOCGWINSZ, &size) != 0 || size.ws_col == 0) {
    return otherwise;
  }
  return size.ws_col;
}
