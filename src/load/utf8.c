// SPDX-License-Identifier: Apache-2.0
//
// UTF-8 as RFC 3629 has it: shortest forms only, no surrogates.
#include "load/utf8.h"

#include <stdbool.h>
#include <stdint.h>

size_t tegi_utf8_character(const char* bytes, size_t size) {
  static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
  if (size == 0) return 0;
  uint8_t first = (uint8_t)bytes[0];
  if (first < 0x80) return first != 0;
  if (first < 0xc2 || first > 0xf4) return 0;
  size_t length = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
  if (length > size) return 0;
  uint32_t point = first & (0x7fu >> length);
  for (size_t i = 1; i < length; ++i) {
    uint8_t byte = (uint8_t)bytes[i];
    if ((byte & 0xc0) != 0x80) return 0;
    point = point << 6 | (byte & 0x3f);
  }
  bool is_surrogate = point >= 0xd800 && point <= 0xdfff;
  return point < least[length] || point > 0x10ffff || is_surrogate ? 0 : length;
}

size_t tegi_utf8_length(const char* bytes, size_t size) {
  size_t good = 0;
  while (good < size) {
    size_t length = tegi_utf8_character(bytes + good, size - good);
    if (length == 0) break;
    good += length;
  }
  return good;
}
