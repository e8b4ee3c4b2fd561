// SPDX-License-Identifier: Apache-2.0
//
// JSON values from what the library gives.
#ifndef TEGULA_CLI_JSON_H
#define TEGULA_CLI_JSON_H

#include <jansson.h>
#include <stdint.h>

#include "tegula/replay.h"

// A string; bytes that are not UTF-8 become question marks.
json_t* cli_json_text(const char* text);
// A whole number; what JSON readers cannot hold becomes 2^63 - 1.
json_t* cli_json_count(uint64_t value);
// A number rounded to |digits| behind the point.
json_t* cli_json_number(double value, int digits);

// Every figure of one result, as `tegula replay --json` writes it.
json_t* cli_row_to_json(const teg_replay_result* row);

#endif  // TEGULA_CLI_JSON_H
