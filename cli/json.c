// SPDX-License-Identifier: Apache-2.0
//
// JSON values.
#include "json.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

json_t* cli_json_text(const char* text) {
  json_t* value = json_string(text);
  if (value) return value;
  char* copy = strdup(text);
  if (!copy) return NULL;
  for (char* at = copy; *at; ++at) {
    if ((unsigned char)*at >= 0x80) *at = '?';
  }
  value = json_string(copy);
  free(copy);
  return value;
}

json_t* cli_json_count(uint64_t value) {
  return json_integer(value > INT64_MAX ? INT64_MAX : (json_int_t)value);
}

json_t* cli_json_number(double value, int digits) {
  double scale = pow(10, digits);
  return json_real(round(value * scale) / scale);
}
