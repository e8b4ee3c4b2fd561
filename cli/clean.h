// SPDX-License-Identifier: Apache-2.0
//
// Texts from outside, as names of traces are, made fit to be shown.
#ifndef TEGULA_CLI_CLEAN_H
#define TEGULA_CLI_CLEAN_H

#include <stdbool.h>
#include <stddef.h>

// Copies |text| to |out|, which has |capacity| > 0 bytes, and cuts it between
// characters if there is no room. The ends of lines become spaces; other
// control characters, marks that turn the direction of writing, and bytes that
// are not UTF-8 become `?`. Returns |out|.
char* cli_clean(char* out, size_t capacity, const char* text);

bool cli_is_utf8(const char* text);

#endif  // TEGULA_CLI_CLEAN_H
