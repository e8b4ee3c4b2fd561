// SPDX-License-Identifier: Apache-2.0
//
// Where the host device's heaps and buffers come from, and that they go back.
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "backend/common/kernel_mappings.h"
#include "backend/host/host_os.h"
#include "support/device_fixture.h"
#include "tegula/host.h"

#define MIB (UINT64_C(1) << 20)

static const device_config config = {"host", "host", 2 * MIB, true, false};
static const device_config fixed = {"host-fixed", "host", 2 * MIB, true, true};

static teg_host_info info_of(device_fixture* fx) {
  teg_host_info info = TEG_HOST_INFO_INIT;
  assert_int_equal(teg_host_get_info(fx->device, &info), TEG_OK);
  return info;
}

static uint64_t file_pages_bytes(device_fixture* fx) {
  struct stat stat;
  assert_int_equal(fstat(info_of(fx).file_descriptor, &stat), 0);
  return (uint64_t)stat.st_blocks * 512;
}

static void heap_file_grows_and_shrinks(void** state) {
  (void)state;
  device_fixture fx;
  device_fixture_open(&fx, &config, NULL);
  assert_int_equal(info_of(&fx).heap_file_bytes, 0);
  teg_memory* a = fixture_heap(&fx, 4 * MIB);
  teg_memory* b = fixture_heap(&fx, 6 * MIB);
  teg_memory* c = fixture_heap(&fx, 2 * MIB);
  assert_int_equal(info_of(&fx).heap_file_bytes, 12 * MIB);
  assert_int_equal(info_of(&fx).heap_bytes, 12 * MIB);
  // Neighbours in the file are neighbours in addresses.
  assert_ptr_equal(fixture_bytes(&fx, b), fixture_bytes(&fx, a) + 4 * MIB);
  // The hole is used first, and merged with its neighbours.
  fixture_destroy(&fx, b);
  assert_int_equal(info_of(&fx).heap_file_bytes, 12 * MIB);
  teg_memory* d = fixture_heap(&fx, 2 * MIB);
  assert_ptr_equal(fixture_bytes(&fx, d), fixture_bytes(&fx, a) + 4 * MIB);
  fixture_destroy(&fx, a);
  fixture_destroy(&fx, d);
  teg_memory* e = fixture_heap(&fx, 10 * MIB);
  assert_int_equal(info_of(&fx).heap_file_bytes, 12 * MIB);
  // The end goes with the last heap that needs it.
  fixture_destroy(&fx, c);
  assert_int_equal(info_of(&fx).heap_file_bytes, 10 * MIB);
  fixture_destroy(&fx, e);
  assert_int_equal(info_of(&fx).heap_file_bytes, 0);
  assert_int_equal(info_of(&fx).heap_bytes, 0);
  device_fixture_close(&fx);
}

static void destroyed_heaps_give_their_pages_back(void** state) {
  (void)state;
  device_fixture fx;
  device_fixture_open(&fx, &config, NULL);
  teg_memory* a = fixture_heap(&fx, 8 * MIB);
  teg_memory* b = fixture_heap(&fx, 8 * MIB);
  assert_int_equal(file_pages_bytes(&fx), 0);
  memset(fixture_bytes(&fx, a), 1, 8 * MIB);
  memset(fixture_bytes(&fx, b), 2, 8 * MIB);
  assert_int_equal(file_pages_bytes(&fx), 16 * MIB);
  fixture_destroy(&fx, a);
  assert_int_equal(file_pages_bytes(&fx), 8 * MIB);
  assert_true(fixture_all_bytes(fixture_bytes(&fx, b), 8 * MIB, 2));
  teg_memory* c = fixture_heap(&fx, 8 * MIB);
  assert_true(fixture_all_bytes(fixture_bytes(&fx, c), 8 * MIB, 0));
  fixture_destroy(&fx, c);
  fixture_destroy(&fx, b);
  assert_int_equal(file_pages_bytes(&fx), 0);
  device_fixture_close(&fx);
}

static void heaps_past_a_window_get_another(void** state) {
  (void)state;
  device_fixture fx;
  device_fixture_open(&fx, &config, NULL);
  enum { COUNT = 8 };
  teg_memory* heaps[COUNT];
  for (size_t i = 0; i < COUNT; i++) {
    heaps[i] = fixture_heap(&fx, fx.caps.max_allocation_bytes);
    uint8_t* bytes = fixture_bytes(&fx, heaps[i]);
    bytes[0] = (uint8_t)(i + 1);
    bytes[fx.caps.max_allocation_bytes - 1] = (uint8_t)(i + 1);
  }
  for (size_t i = 0; i < COUNT; i++) {
    uint8_t* bytes = fixture_bytes(&fx, heaps[i]);
    assert_int_equal(bytes[0], i + 1);
    assert_int_equal(bytes[fx.caps.max_allocation_bytes - 1], i + 1);
  }
  for (size_t i = COUNT; i-- > 0;) fixture_destroy(&fx, heaps[i]);
  assert_int_equal(info_of(&fx).heap_file_bytes, 0);
  device_fixture_close(&fx);
}

static void many_buffers_need_few_mappings(void** state) {
  (void)state;
  device_fixture fx;
  device_fixture_open(&fx, &config, NULL);
  enum { COUNT = 20000 };
  static teg_memory* buffers[COUNT];
  uint64_t before = tegi_mappings_kernel_count();
  for (size_t i = 0; i < COUNT; i++) {
    buffers[i] = fixture_buffer(&fx, 64 << 10);
    fixture_bytes(&fx, buffers[i])[i % 65536] = (uint8_t)i;
  }
  assert_int_equal(info_of(&fx).large_buffer_bytes, COUNT * 65536);
  assert_true(tegi_mappings_kernel_count() < before + 50);
  for (size_t i = 0; i < COUNT; i++) {
    assert_int_equal(fixture_bytes(&fx, buffers[i])[i % 65536], (uint8_t)i);
    fixture_destroy(&fx, buffers[i]);
  }
  assert_int_equal(info_of(&fx).large_buffer_bytes, 0);
  device_fixture_close(&fx);
}

static void without_remap_heaps_are_counted_in_pages(void** state) {
  (void)state;
  device_fixture fx;
  device_fixture_open(&fx, &fixed, NULL);
  assert_int_equal(fx.caps.tile_bytes, 2 * MIB);
  teg_memory* a = fixture_heap(&fx, 256);
  teg_memory* b = fixture_heap(&fx, 5000 * 256);
  assert_int_equal(info_of(&fx).heap_bytes,
                   info_of(&fx).page_bytes +
                       (5000 * 256 + info_of(&fx).page_bytes - 1) /
                           info_of(&fx).page_bytes * info_of(&fx).page_bytes);
  fixture_destroy(&fx, b);
  fixture_destroy(&fx, a);
  device_fixture_close(&fx);
}

// Each system call of a creation fails in turn.
static void failed_system_calls_leave_no_trace(void** state) {
  (void)state;
  for (uint64_t k = 1;; k++) {
    device_fixture fx;
    device_fixture_open(&fx, &config, NULL);
    teg_memory *heap = NULL, *buffer = NULL, *range = NULL;
    // So often that trying smaller windows does not help.
    tegi_hostdev_os_fail(k, 100);
    teg_result heap_result =
        fx.tables.device->heap_create(fx.device, 2 * MIB, &heap, &fx.err);
    teg_result buffer_result =
        fx.tables.device->buffer_create(fx.device, 2 * MIB, &buffer, &fx.err);
    teg_result range_result =
        fx.tables.remap->range_reserve(fx.device, 2 * MIB, &range, &fx.err);
    bool has_fired = tegi_hostdev_os_fail(0, 0);
    const teg_result results[3] = {heap_result, buffer_result, range_result};
    teg_memory* const memories[3] = {heap, buffer, range};
    for (int i = 0; i < 3; i++) {
      assert_true(results[i] == TEG_OK || results[i] == TEG_OUT_OF_MEMORY);
      assert_int_equal(results[i] == TEG_OK, memories[i] != NULL);
    }
    assert_int_equal(info_of(&fx).heap_bytes, heap ? 2 * MIB : 0);
    assert_int_equal(info_of(&fx).heap_file_bytes, heap ? 2 * MIB : 0);
    assert_int_equal(info_of(&fx).large_buffer_bytes, buffer ? 2 * MIB : 0);
    assert_int_equal(info_of(&fx).mapping_count, range ? 1 : 0);
    if (heap) fixture_destroy(&fx, heap);
    if (buffer) fixture_destroy(&fx, buffer);
    fx.tables.remap->range_release(fx.device, range);
    // And all of it works afterwards.
    heap = fixture_heap(&fx, 2 * MIB);
    memset(fixture_bytes(&fx, heap), 1, 2 * MIB);
    fixture_destroy(&fx, heap);
    assert_int_equal(info_of(&fx).object_count, 0);
    device_fixture_close(&fx);
    if (!has_fired) break;
  }
}

static void windows_shrink_where_addresses_are_scarce(void** state) {
  (void)state;
  device_fixture fx;
  device_fixture_open(&fx, &config, NULL);
  tegi_hostdev_os_fail(1, 3);
  teg_memory* heap = fixture_heap(&fx, 2 * MIB);
  tegi_hostdev_os_fail(1, 3);
  teg_memory* buffer = fixture_buffer(&fx, 2 * MIB);
  tegi_hostdev_os_fail(0, 0);
  fixture_destroy(&fx, buffer);
  fixture_destroy(&fx, heap);
  device_fixture_close(&fx);
}

static void no_memfd_means_unavailable(void** state) {
  (void)state;
  device_fixture fx = {.config = &config};
  teg_backend_open_params params = device_fixture_params(&fx);
  tegi_hostdev_os_fail(1, 1);
  EXPECT_RESULT(
      &fx, TEG_UNAVAILABLE,
      device_fixture_backend("host")->open(&params, &fx.device, &fx.err));
  tegi_hostdev_os_fail(0, 0);
  assert_null(fx.device);
  assert_string_equal(fx.err.backend, "host");
  assert_int_not_equal(fx.err.native_code, 0);
  assert_int_equal(tegi_load_relaxed(&fx.allocator.live_count), 0);
}

static void limit_of_file_sizes_is_named(void** state) {
  (void)state;
  device_fixture fx;
  device_fixture_open(&fx, &config, NULL);
  teg_memory* first = fixture_heap(&fx, 4 * MIB);
  struct rlimit before;
  assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
  struct rlimit limit = before;
  limit.rlim_cur = 6 * MIB;
  assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
  // Past the limit the kernel would end the process.
  teg_memory* second = NULL;
  teg_error err;
  teg_result result =
      fx.device->tables.device->heap_create(fx.device, 4 * MIB, &second, &err);
  assert_int_equal(result, TEG_OUT_OF_MEMORY);
  assert_null(second);
  assert_non_null(strstr(err.message, "RLIMIT_FSIZE"));
  assert_non_null(strstr(err.message, "6291456"));
  assert_int_equal(info_of(&fx).heap_bytes, 4 * MIB);
  second = fixture_heap(&fx, 2 * MIB);
  assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
  fixture_destroy(&fx, second);
  fixture_destroy(&fx, first);
  device_fixture_close(&fx);
}

static void other_devices_are_refused(void** state) {
  (void)state;
  static const device_config null_config = {"null", "null", 0, true, false};
  device_fixture fx;
  device_fixture_open(&fx, &null_config, NULL);
  teg_host_info info = TEG_HOST_INFO_INIT;
  assert_int_equal(teg_host_get_info(fx.device, &info), TEG_INVALID);
  assert_int_equal(teg_host_get_info(NULL, &info), TEG_INVALID);
  assert_int_equal(teg_host_run_batches(fx.device, 1), 0);
  device_fixture_close(&fx);
  device_fixture_open(&fx, &config, NULL);
  info.struct_size = 4;
  assert_int_equal(teg_host_get_info(fx.device, &info), TEG_INVALID);
  assert_int_equal(teg_host_get_info(fx.device, NULL), TEG_INVALID);
  device_fixture_close(&fx);
}

static void told_batches_run_by_number(void** state) {
  (void)state;
  device_fixture fx;
  device_fixture_open(&fx, &config, NULL);
  teg_queue_stream* stream = fixture_stream(&fx);
  for (uint64_t serial = 1; serial <= 5; serial++) {
    EXPECT_OK(&fx, fx.tables.queue->submit(stream, serial, &fx.err));
  }
  assert_int_equal(teg_host_run_batches(fx.device, 0), 0);
  assert_int_equal(teg_host_run_batches(fx.device, 2), 2);
  assert_int_equal(fx.tables.queue->completed(stream), 2);
  assert_int_equal(teg_host_run_batches(fx.device, UINT64_MAX), 3);
  assert_int_equal(fx.tables.queue->completed(stream), 5);
  assert_int_equal(teg_host_run_batches(fx.device, 1), 0);
  fx.tables.queue->stream_destroy(fx.device, stream);
  device_fixture_close(&fx);
}

static void log_to(void* user, teg_log_level level, const char* line) {
  assert_int_equal(level, TEG_LOG_ERROR);
  assert_non_null(strstr(line, "1 memories"));
  ++*(int*)user;
}

static void close_tells_what_is_left(void** state) {
  (void)state;
  device_fixture fx = {.config = &config};
  teg_backend_open_params params = device_fixture_params(&fx);
  int line_count = 0;
  params.log = (teg_log){log_to, &line_count, TEG_LOG_ERROR};
  device_fixture_open(&fx, &config, &params);
  teg_memory* buffer = fixture_buffer(&fx, 1 * MIB);
  fx.tables.device->close(fx.device);
  assert_int_equal(line_count, 1);
  // The record is the caller's leak; free it for the sanitizer.
  params.allocator = device_fixture_allocator(&fx.allocator);
  params.allocator.release(&fx.allocator, buffer, 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(heap_file_grows_and_shrinks),
      cmocka_unit_test(destroyed_heaps_give_their_pages_back),
      cmocka_unit_test(heaps_past_a_window_get_another),
      cmocka_unit_test(many_buffers_need_few_mappings),
      cmocka_unit_test(without_remap_heaps_are_counted_in_pages),
      cmocka_unit_test(failed_system_calls_leave_no_trace),
      cmocka_unit_test(windows_shrink_where_addresses_are_scarce),
      cmocka_unit_test(no_memfd_means_unavailable),
      cmocka_unit_test(limit_of_file_sizes_is_named),
      cmocka_unit_test(other_devices_are_refused),
      cmocka_unit_test(told_batches_run_by_number),
      cmocka_unit_test(close_tells_what_is_left),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
