// SPDX-License-Identifier: Apache-2.0
//
// Results, errors, and the two values every object is given at creation: a
// host allocator and a log. A result is a negative number or TEG_OK; the
// detail of a failure goes into an optional, caller-owned teg_error that is
// always the last argument. Nothing here allocates, prints, exits or aborts.
#ifndef TEGULA_RESULT_H
#define TEGULA_RESULT_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(_WIN32)
#define TEG_API __declspec(dllexport)
#elif defined(__GNUC__)
#define TEG_API __attribute__((visibility("default")))
#else
#define TEG_API
#endif

#if defined(__GNUC__)
#define TEG_NODISCARD __attribute__((warn_unused_result))
#else
#define TEG_NODISCARD
#endif

// TEG_RESULTS(X): X(code, number, name, message).
// Numbers are pinned, come in groups with gaps, and are never reused.
//   0        success
//   -1..-9   the call: an argument or the state it was made in
//   -10..-19 memory: expected outcomes of an allocator, never logged
//   -20..-29 the device
//   -30..-39 files and formats
#define TEG_RESULTS(X)                                                        \
  X(TEG_OK, 0, "ok", "success")                                               \
  X(TEG_INVALID, -1, "invalid", "an argument is not valid")                   \
  X(TEG_NOT_FOUND, -2, "not-found", "no such name, key or object")            \
  X(TEG_UNSUPPORTED, -3, "unsupported", "this device or build cannot do it")  \
  X(TEG_BAD_STATE, -4, "bad-state", "not allowed in the object's state")      \
  X(TEG_OUT_OF_HOST_MEMORY, -10, "out-of-host-memory",                        \
    "the host allocator returned no memory")                                  \
  X(TEG_OUT_OF_MEMORY, -11, "out-of-memory", "the device has no memory left") \
  X(TEG_OVER_BUDGET, -12, "over-budget", "a budget would be exceeded")        \
  X(TEG_EXHAUSTED, -13, "exhausted", "nothing left without growing")          \
  X(TEG_LIMIT, -14, "limit", "a limit of the device or process is reached")   \
  X(TEG_UNAVAILABLE, -20, "unavailable", "driver or device is not there")     \
  X(TEG_DEVICE_LOST, -21, "device-lost", "the device was lost")               \
  X(TEG_DEVICE_ERROR, -22, "device-error", "the driver reported an error")    \
  X(TEG_HAZARD, -23, "hazard", "a command broke the rule of reuse")           \
  X(TEG_WOULD_BLOCK, -24, "would-block", "the work is not complete yet")      \
  X(TEG_IO, -30, "io", "reading or writing a file failed")                    \
  X(TEG_NO_SPACE, -31, "no-space", "no space left for the output")            \
  X(TEG_CORRUPT, -32, "corrupt", "the file's content is not valid")           \
  X(TEG_TRUNCATED, -33, "truncated", "the file ends too early")               \
  X(TEG_BAD_VERSION, -34, "bad-version", "a newer or unknown format version") \
  X(TEG_END, -35, "end", "there is nothing more to read")                     \
  X(TEG_CANCELLED, -36, "cancelled", "the program asked to stop")

typedef enum teg_result {
#define TEG_RESULT_ENUM(code, number, name, message) code = (number),
  TEG_RESULTS(TEG_RESULT_ENUM)
#undef TEG_RESULT_ENUM
} teg_result;

// The short name ("over-budget") and the sentence of a result.
// Unknown numbers give "unknown". Never NULL; static storage. Threads: any.
TEG_API const char* teg_result_name(teg_result result);
TEG_API const char* teg_result_message(teg_result result);

// What went wrong, filled in by the call that failed when it is given one.
// Caller-owned, fixed size, no pointers inside; NULL may be passed anywhere.
typedef struct teg_error {
  teg_result result;
  int64_t native_code;  // errno, VkResult, CUresult ... ; 0 = none
  char backend[16];     // who reported native_code; "" = tegula itself
  char message[1000];   // names the thing and the place; ends with NUL
} teg_error;

// Clears |err| to TEG_OK. NULL is fine.
TEG_API void teg_error_clear(teg_error* err);

// The host memory an object may use. Passed by value at creation; the library
// has no global allocator. All-zero means malloc and free.
//   allocate  |alignment| is a power of two; returns NULL on failure
//   release   |size| is what was asked for; |ptr| may be NULL
// Both are called from any thread the object is used on, never under a lock
// that |user| could need.
typedef struct teg_allocator {
  void* (*allocate)(void* user, size_t size, size_t alignment);
  void (*release)(void* user, void* ptr, size_t size);
  void* user;
} teg_allocator;

typedef enum teg_log_level {
  TEG_LOG_ERROR = 0,
  TEG_LOG_WARNING = 1,
  TEG_LOG_INFO = 2,
  TEG_LOG_DEBUG = 3,
} teg_log_level;

// Where one-line messages go. All-zero means nowhere.
typedef struct teg_log {
  void (*write)(void* user, teg_log_level level, const char* line);
  void* user;
  teg_log_level level;  // messages above it are not formatted
} teg_log;

#ifdef __cplusplus
}
#endif

#endif  // TEGULA_RESULT_H
