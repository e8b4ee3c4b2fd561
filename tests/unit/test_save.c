// SPDX-License-Identifier: Apache-2.0
//
// Saving buffers as safetensors: what is loaded again is what was saved, and
// a file is there whole or not at all.
#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "support/load_fixture.h"

static core_fixture fx;

#define SAVED "saved.safetensors"
#define SMALL_RING "ring_min=64KiB;ring_max=64KiB"

static teg_buffer* make_bytes(teg_session* session, uint64_t tensor,
                              uint64_t size) {
  teg_buffer* buffer = core_buffer(&fx, session, size);
  uint8_t* bytes = malloc((size_t)size);
  assert_non_null(bytes);
  for (uint64_t i = 0; i < size; ++i) bytes[i] = load_fixture_byte(tensor, i);
  CORE_OK(&fx, teg_stream_write(teg_session_stream(session), buffer, 0, bytes,
                                size, &fx.err));
  free(bytes);
  return buffer;
}

static teg_save_tensor tensor_of(const char* name, const char* type,
                                 uint64_t elements, teg_buffer* buffer,
                                 uint64_t offset) {
  return (teg_save_tensor){.name = name,
                           .type = type,
                           .dimension_count = 1,
                           .shape = {elements},
                           .buffer = buffer,
                           .offset = offset};
}

static teg_result try_save(teg_session* session, const char* path,
                           const teg_save_tensor* tensors, uint64_t count) {
  teg_error_clear(&fx.err);
  return teg_save(teg_session_stream(session), path, tensors, count, &fx.err);
}

// Files in the folder whose names begin with that of the saved one.
static int count_files(void) {
  DIR* folder = opendir(".");
  assert_non_null(folder);
  int count = 0;
  for (const struct dirent* entry; (entry = readdir(folder));) {
    if (strncmp(entry->d_name, SAVED, strlen(SAVED)) == 0) count++;
  }
  closedir(folder);
  return count;
}

static void expect_byte_after(const char* bytes, uint64_t size, uint64_t skip,
                              uint64_t tensor) {
  for (uint64_t i = 0; i < size; ++i) {
    assert_int_equal((uint8_t)bytes[i], load_fixture_byte(tensor, i + skip));
  }
}

static char* read_range(uint64_t offset, uint64_t size) {
  char* bytes = malloc((size_t)size + 1);
  FILE* file = fopen(SAVED, "rb");
  assert_true(bytes && file);
  assert_int_equal(fseeko(file, (off_t)offset, SEEK_SET), 0);
  assert_int_equal(fread(bytes, 1, (size_t)size, file), size);
  bytes[size] = '\0';
  fclose(file);
  return bytes;
}

static void save_on(const char* backend, const char* options) {
  if (core_try_open(&fx, backend, options) != TEG_OK) {
    assert_string_equal(backend, "vulkan");
    return;
  }
  teg_session* session = core_session(&fx, "save", SMALL_RING);
  teg_buffer* small = make_bytes(session, 1, 30);
  teg_buffer* large = make_bytes(session, 2, 500001);
  teg_save_tensor tensors[] = {
      tensor_of("bytes", "U8", 27, small, 3),
      tensor_of("none", "F32", 0, NULL, 0),
      {"a \"name\"\n", "BF16", 2, {500, 500}, large, 1},
      {"one", "F64", 0, {0}, small, 8},
  };
  CORE_OK(&fx, try_save(session, SAVED, tensors, 4));
  assert_int_equal(count_files(), 1);
  // The largest elements come first.
  const char* header =
      "{\"one\":{\"dtype\":\"F64\",\"shape\":[],\"data_offsets\":[0,8]},"
      "\"none\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[8,8]},"
      "\"a \\\"name\\\"\\u000a\":{\"dtype\":\"BF16\",\"shape\":[500,500],"
      "\"data_offsets\":[8,500008]},"
      "\"bytes\":{\"dtype\":\"U8\",\"shape\":[27],\"data_offsets\":"
      "[500008,500035]}}";
  char* length = read_range(0, 8);
  uint64_t size;
  memcpy(&size, length, sizeof size);
  free(length);
  assert_int_equal(size % 8, 0);
  char* got = read_range(8, size);
  assert_int_equal(strncmp(got, header, strlen(header)), 0);
  assert_int_equal(strspn(got + strlen(header), " "), size - strlen(header));
  free(got);
  got = read_range(8 + size, 500035);
  expect_byte_after(got, 8, 8, 1);
  expect_byte_after(got + 8, 500000, 1, 2);
  expect_byte_after(got + 500008, 27, 3, 1);
  free(got);
  core_validate(&fx, session);
  core_close(&fx);
}

static void a_file_has_the_tensors_of_any_device(void** state) {
  (void)state;
  save_on("host", "");
  save_on("host", "remap=off;completion=worker");
  save_on("null", "");
  save_on("vulkan", "");
}

static void what_is_saved_loads_again(void** state) {
  (void)state;
  core_open(&fx, "host", "");
  teg_session* session = core_session(&fx, "save", SMALL_RING);
  const uint64_t sizes[] = {70000, 1, 200000};
  enum { COUNT = 3 };
  const char* names[COUNT] = {"t0", "t1", "t2"};
  teg_save_tensor tensors[COUNT];
  for (uint64_t i = 0; i < COUNT; ++i) {
    tensors[i] = tensor_of(names[i], "U8", sizes[i],
                           make_bytes(session, i, sizes[i]), 0);
  }
  CORE_OK(&fx, try_save(session, SAVED, tensors, COUNT));
  teg_model* model = load_fixture_open(SAVED);
  assert_int_equal(teg_model_tensor_count(model), COUNT);
  teg_weights* weights = NULL;
  CORE_OK(&fx, teg_load(session, model, NULL, &weights, &fx.err));
  for (uint64_t i = 0; i < COUNT; ++i) {
    teg_tensor_info info;
    assert_true(teg_model_tensor(model, i, &info));
    assert_string_equal(info.name, names[i]);
    assert_string_equal(info.type, "U8");
    load_fixture_expect(&fx, teg_session_stream(session), weights, i, sizes[i]);
  }
  teg_weights_destroy(weights);
  teg_model_close(model);
  core_close(&fx);
}

static void wrong_arguments_are_named(void** state) {
  (void)state;
  core_open(&fx, "host", "");
  teg_session* session = core_session(&fx, "save", NULL);
  teg_session* other = core_session(&fx, "other", NULL);
  teg_buffer* buffer = core_buffer(&fx, session, 100);
  teg_buffer* foreign = core_buffer(&fx, other, 100);
  const struct {
    teg_save_tensor tensor;
    const char* text;
  } cases[] = {
      {tensor_of(NULL, "U8", 1, buffer, 0), "lacks its name"},
      {tensor_of("\xff", "U8", 1, buffer, 0), "not UTF-8"},
      {tensor_of("x", "Q4_K", 1, buffer, 0), "no type \"Q4_K\""},
      {tensor_of("__metadata__", "U8", 1, buffer, 0), "__metadata__"},
      {tensor_of("x", "U8", 1, NULL, 0), "no buffer"},
      {tensor_of("x", "U8", 1, foreign, 0), "another session's"},
      {tensor_of("x", "U8", 101, buffer, 0), "101 bytes"},
      {tensor_of("x", "F32", 25, buffer, 1), "100 bytes"},
      {tensor_of("x", "U8", 1, buffer, 200), "from offset 200"},
      {tensor_of("x", "F64", UINT64_MAX / 4, buffer, 0), "2^64"},
      {tensor_of("same", "U8", 1, buffer, 0), "two tensors are called"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; ++i) {
    const teg_save_tensor tensors[] = {tensor_of("same", "U8", 1, buffer, 0),
                                       cases[i].tensor};
    CORE_EXPECT(&fx, TEG_INVALID, try_save(session, SAVED, tensors, 2));
    core_expect_text(fx.err.message, cases[i].text);
  }
  assert_int_equal(teg_save(NULL, SAVED, NULL, 0, NULL), TEG_INVALID);
  assert_int_equal(access(SAVED, F_OK), -1);
  core_close(&fx);
}

static void a_file_that_cannot_be_written_leaves_the_old_one(void** state) {
  (void)state;
  core_open(&fx, "host", "");
  teg_session* session = core_session(&fx, "save", SMALL_RING);
  const teg_save_tensor tensor =
      tensor_of("x", "U8", 300000, make_bytes(session, 0, 300000), 0);
  CORE_EXPECT(&fx, TEG_IO, try_save(session, "no/such/folder", &tensor, 1));
  core_expect_text(fx.err.message, "no/such/folder");
  FILE* old = fopen(SAVED, "wb");
  assert_non_null(old);
  fputs("old", old);
  fclose(old);
  // Like a full disk: no file may grow beyond this.
  struct rlimit limit;
  assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
  const struct rlimit low = {100000, limit.rlim_max};
  assert_int_equal(setrlimit(RLIMIT_FSIZE, &low), 0);
  teg_result result = try_save(session, SAVED, &tensor, 1);
  assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
  CORE_EXPECT(&fx, TEG_NO_SPACE, result);
  core_expect_text(fx.err.message, SAVED);
  assert_int_equal(count_files(), 1);
  char* bytes = read_range(0, 3);
  assert_string_equal(bytes, "old");
  free(bytes);
  CORE_OK(&fx, try_save(session, SAVED, &tensor, 1));
  core_close(&fx);
}

static void calls_that_fail_leave_no_file(void** state) {
  (void)state;
  for (int is_host = 0; is_host < 2; ++is_host) {
    core_open(&fx, "null", "");
    teg_session* session = core_session(&fx, "save", SMALL_RING);
    const teg_save_tensor tensor =
        tensor_of("x", "U8", 200000, make_bytes(session, 0, 200000), 0);
    core_finish(&fx, teg_session_stream(session));
    (void)unlink(SAVED);
    teg_result result = TEG_DEVICE_ERROR;
    uint64_t failed_count = 0;
    for (uint64_t k = 1; result != TEG_OK; ++k) {
      if (is_host) {
        core_fail_host(&fx, k, 1);
      } else {
        CORE_OK(&fx, teg_null_fail(fx.backend, TEG_NULL_ALL_CALLS, k, 1,
                                   TEG_DEVICE_ERROR));
      }
      result = try_save(session, SAVED, &tensor, 1);
      core_fail_host(&fx, 0, 0);
      CORE_OK(&fx, teg_null_fail(fx.backend, 0, 0, 0, TEG_OK));
      assert_int_equal(count_files(), result == TEG_OK);
      if (result == TEG_OK) break;
      failed_count++;
      core_validate(&fx, session);
    }
    assert_true(failed_count > 2);
    core_close(&fx);
  }
}

static int remove_old(void** state) {
  (void)state;
  (void)unlink(SAVED);
  return 0;
}

int main(void) {
  // A file that may not grow is a failed write.
  (void)signal(SIGXFSZ, SIG_IGN);
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup(a_file_has_the_tensors_of_any_device, remove_old),
      cmocka_unit_test_setup(what_is_saved_loads_again, remove_old),
      cmocka_unit_test_setup(wrong_arguments_are_named, remove_old),
      cmocka_unit_test_setup(a_file_that_cannot_be_written_leaves_the_old_one,
                             remove_old),
      cmocka_unit_test_setup(calls_that_fail_leave_no_file, remove_old),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
