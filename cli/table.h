// SPDX-License-Identifier: Apache-2.0
//
// A table of short texts in aligned columns, with two lines of headings.
#ifndef TEGULA_CLI_TABLE_H
#define TEGULA_CLI_TABLE_H

#include <stdbool.h>
#include <stdio.h>

enum { CLI_MAX_COLUMNS = 24, CLI_MAX_CELL = 64 };

typedef struct cli_column {
  const char* head[2];  // two lines; "" = nothing
  bool is_left;         // text is aligned left; otherwise right
} cli_column;

typedef struct cli_cell {
  char text[CLI_MAX_CELL];
  bool stands_out;
} cli_cell;

// |cells| has |row_count| rows of |column_count| (at most CLI_MAX_COLUMNS).
// A cell that stands out is bold and green with |is_coloured|, and has a `*`
// behind it without. The last column is not padded when it is aligned left.
void cli_print_table(FILE* stream, const cli_column* columns,
                     size_t column_count, const cli_cell* cells,
                     size_t row_count, bool is_coloured);

// Columns of the terminal that the table needs, with a mark at the end.
size_t cli_table_width(const cli_column* columns, size_t column_count,
                       const cli_cell* cells, size_t row_count);

// Prints |text|, broken at spaces to lines of |width| characters; lines after
// the first begin with |indent| spaces. Ends with a newline.
void cli_print_wrapped(FILE* stream, const char* text, size_t width,
                       size_t indent);

// Columns of the terminal behind |stream|; |otherwise| if it is none.
size_t cli_width(FILE* stream, size_t otherwise);

#endif  // TEGULA_CLI_TABLE_H
