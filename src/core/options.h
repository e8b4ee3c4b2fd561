// SPDX-License-Identifier: Apache-2.0
//
// The values of a set of options, one member a row of options.def.
#ifndef TEGULA_CORE_OPTIONS_H
#define TEGULA_CORE_OPTIONS_H

#include "base/memory.h"
#include "tegula/options.h"

#define TEGI_OPTION_TEXT_BYTES 1024

typedef struct tegi_option_text {
  char text[TEGI_OPTION_TEXT_BYTES];
} tegi_option_text;

// Numbers and choices (by index) are uint64_t, texts are in place.
#define TEGI_OPTION_CTYPE_BYTES uint64_t
#define TEGI_OPTION_CTYPE_COUNT uint64_t
#define TEGI_OPTION_CTYPE_PERCENT uint64_t
#define TEGI_OPTION_CTYPE_CHOICE uint64_t
#define TEGI_OPTION_CTYPE_TEXT tegi_option_text

struct teg_options {
  tegi_host host;
#define X(scope, key, type, unit, min, max, value, choices, since, help) \
  TEGI_OPTION_CTYPE_##type key;
#include "core/options.def"
#undef X
};

// Choices by their index.
enum { TEGI_REMAP_ON = 0, TEGI_REMAP_OFF = 1 };
enum { TEGI_COMPLETION_WORKER = 0, TEGI_COMPLETION_TOLD = 1 };
enum { TEGI_CHECK_OFF = 0, TEGI_CHECK_ON = 1 };
enum { TEGI_ON_BUSY_WAIT = 0, TEGI_ON_BUSY_GROW = 1 };

// Copies the values, not the host.
void tegi_options_copy(teg_options* into, const teg_options* from);

// Fills with the defaults. |host| must be initialised in it already.
void tegi_options_default(teg_options* options);

// The policy of that name, in tegula's or ONNX Runtime's spelling: index into
// tegi_policies, -1 for "auto", -2 for an unknown name (|err| names the
// nearest).
int tegi_policy_find(const char* name, teg_error* err);

// The entry of |names| (NULL-terminated) nearest to |text|; NULL if none is
// near.
const char* tegi_nearest(const char* text, const char* const* names);

#endif  // TEGULA_CORE_OPTIONS_H
