// SPDX-License-Identifier: Apache-2.0
//
// What the tests of core and the policies share: a device with its log and
// its host allocator under watch, sessions and options in one line, buffers
// and commands that must succeed, and a look at every structure of a device.
#ifndef TEGULA_TESTS_CORE_FIXTURE_H
#define TEGULA_TESTS_CORE_FIXTURE_H

// cmocka.h wants these first.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/objects.h"
#include "tegula/null.h"
#include "tegula/tegula.h"

#define KIB UINT64_C(1024)
#define MIB (UINT64_C(1024) * KIB)
#define GIB (UINT64_C(1024) * MIB)

enum { CORE_LOG_BYTES = 1 << 14 };

typedef struct core_fixture {
  // Host allocations alive; number |fail_from| (1 = the next) returns NULL,
  // and with it those after it until |fail_count| have. Any thread.
  tegi_atomic_u64 live_count;
  tegi_atomic_u64 call_count;  // since core_fail_host()
  tegi_atomic_u64 fail_from;   // 0 = never
  tegi_atomic_u64 fail_count;
  teg_device* device;
  teg_backend_device* backend;
  uint64_t tile;  // bytes; 0 = none
  teg_error err;
  size_t log_length;
  char log[CORE_LOG_BYTES];  // every line so far
} core_fixture;

// Opens |backend| with |options|, "key=value" separated by ';' (NULL = none).
// Batches complete when told unless the options say otherwise.
void core_open(core_fixture* fx, const char* backend, const char* options);
teg_result core_try_open(core_fixture* fx, const char* backend,
                         const char* options);
// Destroys the device and asserts that no host memory is left.
void core_close(core_fixture* fx);

// From now on allocations are counted, and number |from| fails with the
// |count| - 1 after it. 0 = none fails. Outlives core_open().
void core_fail_host(core_fixture* fx, uint64_t from, uint64_t count);

// Sets the pairs of |text| in |options|. Asserts success.
void core_set_options(teg_options* options, const char* text);

teg_session* core_session(core_fixture* fx, const char* name,
                          const char* options);
teg_result core_try_session(core_fixture* fx, const char* name,
                            const char* options, teg_session** out_session);

// RUN buffers on the session's first stream unless said otherwise.
teg_buffer* core_buffer(core_fixture* fx, teg_session* session, uint64_t size);
teg_buffer* core_buffer_of(core_fixture* fx, teg_session* session,
                           uint64_t size, teg_lifetime lifetime);
teg_buffer* core_buffer_on(core_fixture* fx, teg_session* session,
                           uint64_t size, teg_stream* stream);
teg_result core_try_buffer(core_fixture* fx, teg_session* session,
                           uint64_t size, teg_lifetime lifetime,
                           teg_buffer** out_buffer);

teg_buffer_info core_info(const teg_buffer* buffer);
// The buffer's bytes without a map: for tests that know that they are idle.
uint8_t* core_pointer(core_fixture* fx, const teg_buffer* buffer);
// The same where the buffer may lie in tiles that have pointers of their own:
// to byte |offset|, for |*out_bytes| bytes.
uint8_t* core_pointer_at(core_fixture* fx, const teg_buffer* buffer,
                         uint64_t offset, uint64_t* out_bytes);

// Commands that must be accepted.
void core_fill(core_fixture* fx, teg_stream* stream, teg_buffer* buffer,
               uint32_t pattern);
void core_submit(core_fixture* fx, teg_stream* stream);
// Submits what is recorded and waits for everything.
void core_finish(core_fixture* fx, teg_stream* stream);
// Submits, waits, and asserts that the buffer holds |pattern| at both ends and
// in the middle.
void core_expect_pattern(core_fixture* fx, teg_stream* stream,
                         teg_buffer* buffer, uint32_t pattern);

teg_stats core_device_stats(const core_fixture* fx);
teg_stats core_session_stats(const teg_session* session);
uint64_t core_reserved(const core_fixture* fx);

// Asserts that teg_session_validate() finds nothing, and that the device's
// free tiles, its heaps, and the tiles under every address of the sessions
// agree: no tile is in two places or lost.
void core_validate(core_fixture* fx, teg_session* session);
// As above with the reason instead of an assertion.
bool core_is_valid(core_fixture* fx, teg_session* session, const char** why);

// Asserts that |text| holds |part|.
void core_expect_text(const char* text, const char* part);

// The policies, NULL-terminated.
extern const char* const core_policies[];

// Asserts that |call| gives |result|; prints the error if it does not.
#define CORE_EXPECT(fx, expected, call)                                    \
  do {                                                                     \
    teg_result got_ = (call);                                              \
    if (got_ != (expected)) print_error("%s\n", (fx)->err.message);        \
    assert_string_equal(teg_result_name(got_), teg_result_name(expected)); \
  } while (0)
#define CORE_OK(fx, call) CORE_EXPECT(fx, TEG_OK, call)

#endif  // TEGULA_TESTS_CORE_FIXTURE_H
