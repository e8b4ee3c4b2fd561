// SPDX-License-Identifier: Apache-2.0
//
// Options: every tunable of a device or a session, by name. A set of options
// starts with the defaults, is filled with teg_options_set(), and is copied by
// whatever is created with it. The table itself (key, unit, range, default,
// meaning) is src/core/options.def and can be listed here.
#ifndef TEGULA_OPTIONS_H
#define TEGULA_OPTIONS_H

#include <stdbool.h>

#include "tegula/result.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct teg_options teg_options;

typedef enum teg_option_scope {
  TEG_OPTION_DEVICE = 0,   // read when a device is created
  TEG_OPTION_SESSION = 1,  // read when a session is created
} teg_option_scope;

typedef enum teg_option_type {
  TEG_OPTION_BYTES = 0,    // "4096", "64KiB", "2MiB", "1GiB"
  TEG_OPTION_COUNT = 1,    // a whole number
  TEG_OPTION_PERCENT = 2,  // a whole number of percent, with or without "%"
  TEG_OPTION_CHOICE = 3,   // one of the words in |choices|
  TEG_OPTION_TEXT = 4,     // as its help says
} teg_option_type;

// One row of the table. Static storage.
typedef struct teg_option_info {
  const char* key;
  teg_option_scope scope;
  teg_option_type type;
  const char* unit;           // "bytes", "runs", "percent", ""
  uint64_t min;               // numbers only
  uint64_t max;               // numbers only
  const char* default_value;  // as teg_options_set() takes it
  const char* choices;        // "a b c", or ""
  const char* since;          // version
  const char* help;           // one sentence
} teg_option_info;

// The table, index 0, 1, ... ; NULL past the end. Threads: any.
TEG_API const teg_option_info* teg_option_at(size_t index);

// A set with the defaults. |allocator| NULL = malloc.
TEG_API TEG_NODISCARD teg_result teg_options_create(
    const teg_allocator* allocator, teg_options** out_options, teg_error* err);
TEG_API void teg_options_destroy(teg_options* options);

// Sets one option. ONNX Runtime's spellings are understood as well: the keys
// storageBufferCacheMode, uniformBufferCacheMode, queryResolveBufferCacheMode
// and defaultBufferCacheMode (with or without the prefix
// "ep.webgpuexecutionprovider."), and the values lazyRelease, dynamicBucket.
// Returns TEG_NOT_FOUND for an unknown key or word (|err| names the nearest),
//         TEG_INVALID for a value out of range or not of the type.
// On failure the set is as it was.
TEG_API TEG_NODISCARD teg_result teg_options_set(teg_options* options,
                                                 const char* key,
                                                 const char* value,
                                                 teg_error* err);

// "key=value".
TEG_API TEG_NODISCARD teg_result teg_options_set_pair(teg_options* options,
                                                      const char* pair,
                                                      teg_error* err);

// Writes the value in effect to |text|, cut at |capacity|.
TEG_API TEG_NODISCARD teg_result teg_options_get(const teg_options* options,
                                                 const char* key, char* text,
                                                 size_t capacity,
                                                 teg_error* err);

// Parses "64KiB", "2M", "1.5GiB", "4096" to bytes.
// Returns TEG_INVALID with the reason.
TEG_API TEG_NODISCARD teg_result teg_parse_bytes(const char* text,
                                                 uint64_t* out_bytes,
                                                 teg_error* err);

// The policies, index 0, 1, ...; NULL past the end.
typedef struct teg_policy_info {
  const char* name;
  const char* keeps;  // what it keeps of freed memory, one line
} teg_policy_info;

TEG_API const teg_policy_info* teg_policy_at(size_t index);

#ifdef __cplusplus
}
#endif

#endif  // TEGULA_OPTIONS_H
