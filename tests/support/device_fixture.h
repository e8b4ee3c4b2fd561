// SPDX-License-Identifier: Apache-2.0
//
// What the tests of backend devices share: the devices and configurations
// there are, an open device with its tables at hand, an allocator that fails
// on demand and knows what is alive, and a runner of one suite over all
// devices.
#ifndef TEGULA_TESTS_DEVICE_FIXTURE_H
#define TEGULA_TESTS_DEVICE_FIXTURE_H

// cmocka.h wants these first.
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/atomic.h"
#include "tegula/backend.h"

// One way to open a device. One whose name ends with "-checked" is opened under
// the hazard checker, as null always is.
typedef struct device_config {
  const char* name;
  const char* backend;
  uint64_t tile_bytes;
  bool is_told;
  bool is_remap_disabled;
} device_config;

extern const device_config device_configs[];
extern const size_t device_config_count;

// Host memory that is counted; allocation number |fail_at| (1 = the next)
// returns NULL, once. Any thread.
typedef struct device_allocator {
  tegi_atomic_u64 live_count;
  tegi_atomic_u64 fail_at;  // 0 = never
} device_allocator;

enum { FIXTURE_MOST_STREAMS = 16 };

typedef struct device_fixture {
  const device_config* config;
  device_allocator allocator;
  teg_backend_device* device;
  teg_backend_tables tables;
  teg_backend_caps caps;
  teg_error err;
  // For bytes without a pointer; made when first needed.
  teg_queue_stream* copy_stream;
  teg_memory* copy_buffer;
  uint64_t copy_serial;
  // Of fixture_stream; they wait for what fixture_map and the like bind.
  teg_queue_stream* streams[FIXTURE_MOST_STREAMS];
  uint32_t stream_count;
  uint64_t bind_serial;  // where remapping is queue-ordered
  // Warnings and errors that the device has logged.
  uint32_t complaint_count;
  char complaint[512];  // the first
} device_fixture;

// The allocator as the library takes it.
teg_allocator device_fixture_allocator(device_allocator* allocator);
// Parameters of a configuration, with the fixture's allocator.
teg_backend_open_params device_fixture_params(device_fixture* fx);
// Opens with |params|, or those of |config| if NULL. Asserts success.
void device_fixture_open(device_fixture* fx, const device_config* config,
                         const teg_backend_open_params* params);
// Closes and asserts that no host memory is left, and no warning was logged.
void device_fixture_close(device_fixture* fx);
// Runs only the tests that match the environment's TEGULA_TEST_FILTER: for
// drivers that bear only so many devices a process.
void device_fixture_filter(void);
// The backend by name. Asserts that it is there.
const teg_backend_ops* device_fixture_backend(const char* name);

// True if commands can be C functions.
static inline bool fixture_has_calls(const device_fixture* fx) {
  return fx->tables.kernel && strcmp(fx->config->backend, "vulkan") != 0;
}

// Shorthands that assert success.
teg_memory* fixture_buffer(device_fixture* fx, uint64_t size);
teg_memory* fixture_heap(device_fixture* fx, uint64_t size);
teg_memory* fixture_range(device_fixture* fx, uint64_t size);
teg_queue_stream* fixture_stream(device_fixture* fx);
void fixture_stream_destroy(device_fixture* fx, teg_queue_stream* stream);
void fixture_destroy(device_fixture* fx, teg_memory* memory);
void fixture_map(device_fixture* fx, teg_memory* range, uint32_t range_tile,
                 teg_memory* heap, uint32_t heap_tile, uint32_t count);
void fixture_unmap(device_fixture* fx, teg_memory* range, uint32_t range_tile,
                   uint32_t count);
// Orders what is recorded next behind all before.
void fixture_barrier(device_fixture* fx, teg_queue_stream* stream);
// As the remap table's, save that they do not assert success. Where remapping
// is queue-ordered the binds are submitted, and the next batch of every stream
// of fixture_stream waits for them; if the submit fails they are discarded.
teg_result fixture_map_runs(device_fixture* fx, teg_memory* range,
                            const teg_tile_run* runs, size_t run_count);
teg_result fixture_unmap_runs(device_fixture* fx, teg_memory* range,
                              const teg_tile_run* runs, size_t run_count);
// The pointer to |memory|; asserts that it has one.
uint8_t* fixture_bytes(device_fixture* fx, teg_memory* memory);
// Bytes of any memory, by its pointer or else by copies through a buffer. Waits
// for the copies. |size| is at most FIXTURE_COPY_BYTES.
#define FIXTURE_COPY_BYTES 65536u
void fixture_peek(device_fixture* fx, teg_memory* memory, uint64_t offset,
                  uint64_t size, void* out_bytes);
// Many pieces of one memory, one behind the other in |out_bytes|.
void fixture_peek_many(device_fixture* fx, const teg_span* spans, size_t count,
                       void* out_bytes);
void fixture_poke(device_fixture* fx, teg_memory* memory, uint64_t offset,
                  uint64_t size, const void* bytes);
// True if all bytes are |value|.
bool fixture_all_bytes(const uint8_t* bytes, uint64_t size, uint8_t value);

// Asserts that |call| gives |result|; prints the error if it does not.
#define EXPECT_RESULT(fx, expected, call)                                  \
  do {                                                                     \
    teg_result got_ = (call);                                              \
    if (got_ != (expected)) print_error("%s\n", (fx)->err.message);        \
    assert_string_equal(teg_result_name(got_), teg_result_name(expected)); \
  } while (0)
#define EXPECT_OK(fx, call) EXPECT_RESULT(fx, TEG_OK, call)

// ---- The runner.

typedef enum device_outcome {
  DEVICE_PASSED,
  DEVICE_CANNOT,  // the device refused, cleanly, what the test is about
} device_outcome;

// A test over an open device; cmocka asserts inside.
typedef struct device_test {
  const char* name;
  device_outcome (*run)(device_fixture* fx);
} device_test;

#define DEVICE_TEST(function) \
  { #function, function }

// What a configuration never supports, and why. Such a test must come out as
// DEVICE_CANNOT, all others as DEVICE_PASSED.
typedef struct device_never {
  const char* config;  // shell patterns: * stands for any text
  const char* test;
  const char* reason;
} device_never;

// Runs every test on every configuration. Those of a backend that this build or
// machine does not have, or cannot open as wanted, are skipped with the reason.
// Returns the number of failures.
int device_run_suite(const char* name, const device_test* tests,
                     size_t test_count, const device_never* nevers,
                     size_t never_count);

#endif  // TEGULA_TESTS_DEVICE_FIXTURE_H
