// SPDX-License-Identifier: Apache-2.0
//
// UTF-8, and what of it may be shown.
#include "clean.h"

#include <stdint.h>
#include <string.h>

// Bytes of the character at |text|, 0 if it is none. Never reads past a NUL.
static size_t decode(const char* text, uint32_t* out_point) {
  static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
  const unsigned char* at = (const unsigned char*)text;
  if (at[0] < 0x80) {
    *out_point = at[0];
    return 1;
  }
  size_t size = at[0] >= 0xf0 ? 4 : at[0] >= 0xe0 ? 3 : 2;
  if (at[0] < 0xc0 || at[0] >= 0xf8) return 0;
  uint32_t point = at[0] & (0x7fu >> size);
  for (size_t i = 1; i < size; ++i) {
    if ((at[i] & 0xc0) != 0x80) return 0;
    point = point << 6 | (at[i] & 0x3f);
  }
  bool is_surrogate = point >= 0xd800 && point <= 0xdfff;
  if (point < least[size] || point > 0x10ffff || is_surrogate) return 0;
  *out_point = point;
  return size;
}

static bool may_be_shown(uint32_t point) {
  if (point < 0x20 || (point >= 0x7f && point <= 0x9f)) return false;
  if (point == 0x200e || point == 0x200f) return false;
  if (point >= 0x2028 && point <= 0x202e) return false;
  return point < 0x2066 || point > 0x2069;
}

char* cli_clean(char* out, size_t capacity, const char* text) {
  size_t length = 0;
  while (*text) {
    uint32_t point = 0;
    size_t size = decode(text, &point);
    bool is_kept = size > 0 && may_be_shown(point);
    size_t taken = is_kept ? size : 1;
    if (length + taken + 1 > capacity) break;
    if (is_kept) {
      memcpy(out + length, text, size);
    } else {
      out[length] = *text == '\n' || *text == '\t' ? ' ' : '?';
    }
    length += taken;
    text += size > 0 ? size : 1;
  }
  out[length] = '\0';
  return out;
}

bool cli_is_utf8(const char* text) {
  while (*text) {
    uint32_t point;
    size_t size = decode(text, &point);
    if (size == 0) return false;
    text += size;
  }
  return true;
}
