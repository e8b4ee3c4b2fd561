// SPDX-License-Identifier: Apache-2.0
//
// Opened models whatever their format: folders, sharded models, names, files
// that change, and memory that runs out.
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "load/model.h"
#include "support/model_fixture.h"
#include "support/trace_fixture.h"

#define ONE(name) \
  "{\"" name "\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}"

static char folder[64];

// Every test has an empty folder to work in.
static int enter(void** state) {
  snprintf(folder, sizeof folder, "model.XXXXXX");
  return mkdtemp(folder) && chdir(folder) == 0 ? 0 : -1;
}

static int leave(void** state) {
  char command[100];
  if (chdir("..") != 0) return -1;
  snprintf(command, sizeof command, "rm -rf %s", folder);
  return system(command);
}

static void save_text(const char* path, const char* text) {
  fixture_save(path, text, strlen(text));
}

// ---- Files and folders ------------------------------------------------------

static void what_is_no_model_is_named(void** state) {
  fixture_expect_broken("none", TEG_NOT_FOUND, -1, "No such file");
  save_text("empty", "");
  fixture_expect_broken("empty", TEG_TRUNCATED, 0, "the file is empty");
  save_text("text", "what\x01is this");
  fixture_expect_broken("text", TEG_CORRUPT, 0,
                        "not a model: begins with \"what\\x01is \"; expected");
  assert_int_equal(mkfifo("pipe", 0600), 0);
  fixture_expect_broken("pipe", TEG_IO, -1, "not a regular file");
  assert_int_equal(teg_model_open(NULL, NULL, NULL, NULL), TEG_INVALID);
  teg_model_close(NULL);
}

static void open_folder(const char* wanted) {
  teg_model* model = fixture_model(".");
  assert_string_equal(teg_model_file_path(model, 0), wanted);
  teg_model_close(model);
}

static void a_folder_stands_for_its_model(void** state) {
  fixture_expect_broken(".", TEG_NOT_FOUND, -1, "the folder has no model");
  fixture_file gguf = {0};
  fixture_put(&gguf, "GGUF\3\0\0\0", 8);
  fixture_put_zeros(&gguf, 16);
  fixture_save_file("x.gguf", &gguf);
  save_text(".hidden.gguf", "");
  open_folder("./x.gguf");
  fixture_save_safetensors("b.safetensors", ONE("a"), 1);
  open_folder("./b.safetensors");
  fixture_save_safetensors("a.safetensors", ONE("a"), 1);
  fixture_expect_broken(".", TEG_NOT_FOUND, -1,
                        "2 models, \"a.safetensors\" and \"b.safetensors\"");
  save_text("x.safetensors.index.json",
            "{\"weight_map\":{\"a\":\"a.safetensors\"}}");
  open_folder("./a.safetensors");
  fixture_save_safetensors("model.safetensors", ONE("a"), 1);
  open_folder("./model.safetensors");
  assert_int_equal(mkdir("sub", 0700), 0);
  fixture_save_safetensors("sub/one.safetensors", ONE("a"), 1);
  teg_model* model = fixture_model("sub/");
  assert_string_equal(teg_model_file_path(model, 0), "sub/one.safetensors");
  teg_model_close(model);
}

static void the_extension_does_not_matter(void** state) {
  fixture_save_safetensors("model.gguf", ONE("a"), 1);
  teg_model* model = fixture_model("model.gguf");
  assert_string_equal(teg_model_format(model), "safetensors");
  teg_model_close(model);
}

// ---- Sharded models ---------------------------------------------------------

static void save_shards(void) {
  fixture_save_safetensors("one",
                           "{\"__metadata__\":{\"format\":\"pt\"},\"b\":{"
                           "\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":"
                           "[0,8]}}",
                           8);
  fixture_save_safetensors("two",
                           "{\"__metadata__\":{\"format\":\"pt\"},\"c\":{"
                           "\"dtype\":\"U8\",\"shape\":[3],\"data_offsets\":"
                           "[4,7]},\"a\":{\"dtype\":\"F32\",\"shape\":[1],"
                           "\"data_offsets\":[0,4]}}",
                           7);
}

static void a_sharded_model_is_one_list(void** state) {
  save_shards();
  save_text("index.json",
            "\n{\"weight_map\":{\"a\":\"two\",\"b\":\"one\",\"c\":\"two\"},\n"
            "\"more\":[{\"x\":null},-1.5e+3],"
            "\"metadata\":{\"total_size\":15,\"deep\":{\"a\":[1]}}}\n");
  teg_model* model = fixture_model("index.json");
  assert_string_equal(teg_model_format(model), "sharded safetensors");
  assert_int_equal(teg_model_file_count(model), 2);
  assert_string_equal(teg_model_file_path(model, 0), "one");
  assert_string_equal(teg_model_file_path(model, 1), "two");
  assert_int_equal(teg_model_tensor_bytes(model), 15);
  static const char* const names[] = {"b", "a", "c"};
  static const uint32_t files[] = {0, 1, 1};
  for (uint64_t i = 0; i < 3; ++i) {
    teg_tensor_info info;
    assert_true(teg_model_tensor(model, i, &info));
    assert_string_equal(info.name, names[i]);
    assert_int_equal(info.file_index, files[i]);
    uint64_t index;
    assert_int_equal(teg_model_find(model, names[i], &index, NULL), TEG_OK);
    assert_int_equal(index, i);
  }
  static const char* const pairs[][2] = {
      {"total_size", "15"}, {"deep", "{...}"}, {"format", "pt"}};
  const char* key;
  const char* value;
  for (uint64_t i = 0; i < 3; ++i) {
    assert_true(teg_model_metadata(model, i, &key, &value));
    assert_string_equal(key, pairs[i][0]);
    assert_string_equal(value, pairs[i][1]);
  }
  assert_false(teg_model_metadata(model, 3, &key, &value));
  teg_model_close(model);
}

// "~" is where the fault is.
static const struct {
  const char* index;
  teg_result result;
  const char* text;
} broken[] = {
    {"{}~", TEG_CORRUPT, "without a \"weight_map\""},
    {"{\"weight_map\":{}}~", TEG_CORRUPT, "without a \"weight_map\""},
    {"{\"weight_map\":~[]}", TEG_CORRUPT, "'{' of the weight_map"},
    {"{\"weight_map\":{\"a\":~1}}", TEG_CORRUPT, "the name of a file"},
    {"{\"weight_map\":{\"a\":\"two\"},~\"weight_map\":{}}", TEG_CORRUPT,
     "weight_map is there twice"},
    {"{\"metadata\":{},~\"metadata\":{}}", TEG_CORRUPT, "metadata is there"},
    {"{\"metadata\":{\"k\":1,~\"k\":2},\"weight_map\":{\"a\":\"two\"}}",
     TEG_CORRUPT, "\"k\" is there twice"},
    {"{\"weight_map\":{\"a\":~\"../two\"}}", TEG_CORRUPT, "beside the index"},
    {"{\"weight_map\":{\"a\":~\"/two\"}}", TEG_CORRUPT, "beside the index"},
    {"{\"weight_map\":{\"a\":~\"\"}}", TEG_CORRUPT, "beside the index"},
    {"{\"weight_map\":{\"a\":~\".\"}}", TEG_CORRUPT, "beside the index"},
    {"{\"weight_map\":{~\"a\":\"none\"}}", TEG_NOT_FOUND,
     "\"none\", which is to have the tensor \"a\", is not there"},
    {"{\"weight_map\":{~\"b\":\"two\",\"a\":\"two\",\"c\":\"two\"}}",
     TEG_CORRUPT, "the tensor \"b\" is not in \"two\""},
    {"{\"weight_map\":{\"b\":\"one\",\"a\":\"two\",~\"c\":\"one\"}}",
     TEG_CORRUPT, "the tensor \"c\" is not in \"one\""},
    {"{\"weight_map\":{\"a\":\"two\",\"c\":\"two\",~\"a\":\"two\"}}",
     TEG_CORRUPT, "the index has the tensor \"a\" twice"},
    {"{\"x\":[1,~]}", TEG_CORRUPT, "expected a value"},
    {"{\"x\":~nul}", TEG_CORRUPT, ""},
    {"{\"x\":-~}", TEG_CORRUPT, "expected a digit"},
    {"{\"x\":0~1}", TEG_CORRUPT, "no digit behind a 0"},
    {"{\"x\":1.~e3}", TEG_CORRUPT, "expected a digit"},
    {"{\"x\":1e~}", TEG_CORRUPT, "expected a digit"},
    {"{\"weight_map\":{\"a\":\"two\"}~", TEG_TRUNCATED, "but the file ends"},
};

static void each_rule_of_an_index_has_one_that_breaks_it(void** state) {
  save_shards();
  for (size_t i = 0; i < sizeof broken / sizeof *broken; ++i) {
    int64_t place;
    char* index = fixture_unmark(broken[i].index, &place);
    if (strcmp(broken[i].text, "") == 0) place += 3;  // behind "nul"
    save_text("index.json", index);
    fixture_expect_broken("index.json", broken[i].result, place,
                          broken[i].text);
    free(index);
  }
}

static void depth_is_bounded(void** state) {
  fixture_file index = {0};
  fixture_put(&index, "{\"x\":", 5);
  for (int i = 0; i < 100000; ++i) fixture_put(&index, "[", 1);
  fixture_save_file("index.json", &index);
  fixture_expect_broken("index.json", TEG_CORRUPT, 5 + 32,
                        "nested more than 32 deep");
}

static void a_tensor_outside_the_index_is_refused(void** state) {
  save_shards();
  save_text("index.json", "{\"weight_map\":{\"a\":\"two\"}}");
  teg_model* model;
  teg_error err;
  assert_int_equal(teg_model_open("index.json", NULL, &model, &err),
                   TEG_CORRUPT);
  assert_non_null(strstr(err.message, "two: byte "));
  assert_non_null(
      strstr(err.message, "\"c\" is not in the index of the model"));
}

static void a_tensor_in_two_shards_is_refused(void** state) {
  fixture_save_safetensors("one", ONE("a"), 1);
  fixture_save_safetensors("two", ONE("a"), 1);
  save_text("index.json", "{\"weight_map\":{\"a\":\"one\",\"b\":\"two\"}}");
  teg_model* model;
  teg_error err;
  assert_int_equal(teg_model_open("index.json", NULL, &model, &err),
                   TEG_CORRUPT);
  assert_string_equal(err.message,
                      "two: byte 9: the tensor \"a\" is there twice, also in "
                      "one");
}

static void files_are_bounded(void** state) {
  enum { TOO_MANY = 4097 };
  fixture_file index = {0};
  fixture_put(&index, "{\"weight_map\":{", 15);
  for (int i = 0; i < TOO_MANY; ++i) {
    char text[200];
    snprintf(text, sizeof text,
             "{\"t%d\":{\"dtype\":\"U8\",\"shape\":[0],"
             "\"data_offsets\":[0,0]}}",
             i);
    char name[16];
    snprintf(name, sizeof name, "%04d", i);
    fixture_save_safetensors(name, text, 0);
    int size = snprintf(text, sizeof text, "%s\"t%d\":\"%s\"", i > 0 ? "," : "",
                        i, name);
    fixture_put(&index, text, (size_t)size);
  }
  fixture_put(&index, "}}", 2);
  fixture_save_file("index.json", &index);
  teg_model* model;
  teg_error err;
  assert_int_equal(teg_model_open("index.json", NULL, &model, &err),
                   TEG_CORRUPT);
  assert_string_equal(err.message, "4096: the model has more than 4096 files");
}

static void a_broken_shard_is_named(void** state) {
  save_shards();
  assert_int_equal(truncate("two", 150), 0);
  save_text("index.json", "{\"weight_map\":{\"a\":\"two\",\"b\":\"one\"}}");
  teg_model* model;
  teg_error err;
  assert_int_equal(teg_model_open("index.json", NULL, &model, &err),
                   TEG_TRUNCATED);
  assert_memory_equal(err.message, "two: byte ", 10);
}

// ---- Names ------------------------------------------------------------------

static void an_unknown_name_gets_the_nearest(void** state) {
  save_shards();
  teg_model* model = fixture_model("two");
  uint64_t index = 7;
  teg_error err;
  assert_int_equal(teg_model_find(model, "cc", &index, &err), TEG_NOT_FOUND);
  assert_int_equal(index, 0);
  assert_string_equal(err.message,
                      "no tensor is called \"cc\"; the nearest is \"c\"");
  teg_model_close(model);
}

static void many_names_are_all_found(void** state) {
  enum { COUNT = 5000 };
  fixture_file header = {0};
  char text[120];
  for (int i = 0; i < COUNT; ++i) {
    int begin = i * 7 % COUNT;
    int size = snprintf(text, sizeof text,
                        "%c\"n%d\":{\"dtype\":\"U8\",\"shape\":[1],"
                        "\"data_offsets\":[%d,%d]}",
                        i == 0 ? '{' : ',', begin, begin, begin + 1);
    fixture_put(&header, text, (size_t)size);
  }
  fixture_put(&header, "}", 2);
  fixture_save_safetensors("many", (const char*)header.data, COUNT);
  free(header.data);
  teg_model* model = fixture_model("many");
  for (int i = 0; i < COUNT; ++i) {
    uint64_t index;
    snprintf(text, sizeof text, "n%d", i);
    assert_int_equal(teg_model_find(model, text, &index, NULL), TEG_OK);
    assert_int_equal(index, i);
  }
  teg_model_close(model);
}

// ---- Files that change ------------------------------------------------------

static void expect_changed(const teg_model* model, const char* what) {
  int fd;
  teg_error err;
  const tegi_model_file* file = tegi_model_file_at(model, 0);
  assert_int_equal(tegi_model_file_open(file, 0, &fd, &err), TEG_IO);
  assert_int_equal(fd, -1);
  if (!strstr(err.message, what)) fail_msg("%s", err.message);
}

static void a_file_that_changed_is_noticed(void** state) {
  fixture_save_safetensors("m", ONE("a"), 1);
  teg_model* model = fixture_model("m");
  const tegi_model_file* file = tegi_model_file_at(model, 0);
  assert_null(tegi_model_file_at(model, 1));
  int fd;
  uint8_t byte;
  assert_int_equal(tegi_model_file_open(file, 0, &fd, NULL), TEG_OK);
  assert_int_equal(tegi_model_file_read(file, fd, 8, &byte, 1, NULL), TEG_OK);
  assert_int_equal(byte, '{');
  assert_int_equal(tegi_model_file_check(file, fd, NULL), TEG_OK);

  uint64_t bytes = file->bytes;
  assert_int_equal(truncate("m", (off_t)bytes - 1), 0);
  expect_changed(model, "bytes then");
  teg_error err;
  assert_int_equal(tegi_model_file_check(file, fd, &err), TEG_IO);
  assert_int_equal(tegi_model_file_read(file, fd, bytes - 1, &byte, 1, &err),
                   TEG_IO);
  assert_non_null(strstr(err.message, "the file ends here, it had"));
  close(fd);

  fixture_save_safetensors("m", ONE("a"), 1);
  const struct timespec times[2] = {{1, 0}, {1, 0}};
  assert_int_equal(utimensat(AT_FDCWD, "m", times, 0), 0);
  expect_changed(model, "has been written to");
  fixture_save_safetensors("n", ONE("a"), 1);
  assert_int_equal(rename("n", "m"), 0);
  expect_changed(model, "another file has taken its place");
  assert_int_equal(unlink("m"), 0);
  expect_changed(model, "No such file");
  teg_model_close(model);
}

// ---- Memory -----------------------------------------------------------------

static void failing_memory_is_told_and_nothing_leaks(void** state) {
  save_shards();
  save_text("m.safetensors.index.json",
            "{\"metadata\":{\"k\":\"v\"},\"weight_map\":{\"a\":\"two\","
            "\"b\":\"one\",\"c\":\"two\"}}");
  fixture_file gguf = {0};
  fixture_put(&gguf, "GGUF\3\0\0\0", 8);
  fixture_put_u64(&gguf, 0);
  fixture_put_u64(&gguf, 1);
  fixture_put_string(&gguf, "k");
  fixture_put_u32(&gguf, 8);
  fixture_put_string(&gguf, "v");
  fixture_save_file("g", &gguf);
  static const char* const paths[] = {".", "g"};
  for (int i = 0; i < 2; ++i) {
    fixture_heap heap = {0};
    for (uint64_t k = 1;; ++k) {
      heap = (fixture_heap){.fail_at = k};
      teg_allocator allocator = fixture_allocator(&heap);
      teg_model* model;
      teg_error err;
      teg_result result = teg_model_open(paths[i], &allocator, &model, &err);
      if (result == TEG_OK) {
        assert_true(k > 4);
        teg_model_close(model);
        assert_int_equal(heap.live_count, 0);
        break;
      }
      assert_null(model);
      assert_int_equal(result, TEG_OUT_OF_HOST_MEMORY);
      assert_int_equal(heap.live_count, 0);
      assert_int_equal(heap.live_bytes, 0);
    }
  }
}

// A header that claims everything costs the window, and little more.
static void lies_cost_no_memory(void** state) {
  fixture_file header = {0};
  fixture_put(&header, "{\"a\":", 5);
  for (int i = 0; i < 4000000; ++i) fixture_put(&header, "[", 1);
  fixture_put(&header, "", 1);
  fixture_save_safetensors("m", (const char*)header.data, 0);
  free(header.data);
  fixture_heap heap = {0};
  teg_allocator allocator = fixture_allocator(&heap);
  teg_model* model;
  assert_int_equal(teg_model_open("m", &allocator, &model, NULL), TEG_CORRUPT);
  assert_true(heap.peak_bytes < 256 * 1024);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, enter, leave)

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(what_is_no_model_is_named),
      TEST(a_folder_stands_for_its_model),
      TEST(the_extension_does_not_matter),
      TEST(a_sharded_model_is_one_list),
      TEST(each_rule_of_an_index_has_one_that_breaks_it),
      TEST(depth_is_bounded),
      TEST(a_tensor_outside_the_index_is_refused),
      TEST(a_tensor_in_two_shards_is_refused),
      TEST(files_are_bounded),
      TEST(a_broken_shard_is_named),
      TEST(an_unknown_name_gets_the_nearest),
      TEST(many_names_are_all_found),
      TEST(a_file_that_changed_is_noticed),
      TEST(failing_memory_is_told_and_nothing_leaks),
      TEST(lies_cost_no_memory),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
