// SPDX-License-Identifier: Apache-2.0
//
// Which bytes are text: UTF-8 without a NUL.
#ifndef TEGULA_LOAD_UTF8_H
#define TEGULA_LOAD_UTF8_H

#include <stddef.h>

// Bytes from the first on, of |size|, that are whole characters of UTF-8 and
// no NUL.
size_t tegi_utf8_length(const char* bytes, size_t size);

// Bytes of the character at |bytes|; 0 if it is none, or NUL, or needs more
// than |size|.
size_t tegi_utf8_character(const char* bytes, size_t size);

#endif  // TEGULA_LOAD_UTF8_H
