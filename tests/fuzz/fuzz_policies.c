// SPDX-License-Identifier: Apache-2.0
//
// Any bytes as a policy, its options, and operations on a device: the model of
// tests/support/policy_model.h with its choices taken from the input. On host
// and on null, told; null also follows every command by physical bytes. The
// second half of the first bytes' alphabet says options as text, so that the
// parser is reached as well.
#include <stdio.h>
#include <stdlib.h>

struct model;
static void model_failed(const struct model* m, const char* condition);

#define MODEL_CHECK(m, condition)                  \
  do {                                             \
    if (!(condition)) model_failed(m, #condition); \
  } while (0)
#include "support/policy_model.h"

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

enum { HEADER_BYTES = 6, MAX_STEPS = 2000 };

#define CHECK(condition)                                      \
  do {                                                        \
    if (!(condition)) {                                       \
      fprintf(stderr, "line %d: %s\n", __LINE__, #condition); \
      abort();                                                \
    }                                                         \
  } while (0)

static void model_failed(const struct model* m, const char* condition) {
  fprintf(stderr, "step %llu, %s: %s (%s)\n", (unsigned long long)m->step_count,
          m->operation, m->why, condition);
  abort();
}

static const char* pick(const char* const* words, size_t count, uint8_t byte) {
  return words[byte % count];
}
#define PICK(words, byte) pick(words, sizeof words / sizeof words[0], byte)

// Must be taken.
static void set(teg_options* options, const char* key, const char* value) {
  teg_error err;
  if (teg_options_set(options, key, value, &err) != TEG_OK) {
    fprintf(stderr, "%s\n", err.message);
    abort();
  }
}

static void set_device_options(teg_options* options, const uint8_t* header) {
  static const char* const tiles[] = {"4KiB", "16KiB", "64KiB", "256KiB"};
  static const char* const heaps[] = {"64KiB", "256KiB", "2MiB"};
  static const char* const limits[] = {"0", "0", "0", "16", "40"};
  static const char* const budgets[] = {"0", "0", "0", "1MiB", "6MiB"};
  set(options, "completion", "told");
  set(options, "tile_bytes", PICK(tiles, header[1]));
  set(options, "heap_min", PICK(heaps, (uint8_t)(header[1] >> 2)));
  set(options, "remap", header[1] >= 240 ? "off" : "on");
  set(options, "mapping_limit", PICK(limits, header[2]));
  set(options, "budget", PICK(budgets, (uint8_t)(header[2] / 5)));
}

static void set_session_options(teg_options* options, const uint8_t* header) {
  static const char* const slacks[] = {"0", "10", "100"};
  static const char* const ages[] = {"1", "3", "16"};
  static const char* const chunks[] = {"1MiB", "16MiB"};
  static const char* const pages[] = {"64KiB", "1MiB"};
  static const char* const buckets[] = {"", "4096:2 65536:3 1048576:1"};
  const char* policy = teg_policy_at(header[0] % 10)->name;
  set(options, "policy", policy);
  if (header[5] & 1) {
    set(options, "policy_state", teg_policy_at(header[0] / 10 % 10)->name);
  }
  if (header[5] & 2) {
    set(options, "policy_static", teg_policy_at(header[0] / 7 % 10)->name);
  }
  set(options, "slack", PICK(slacks, header[3]));
  set(options, "on_busy", header[3] >= 200 ? "grow" : "wait");
  set(options, "age", PICK(ages, (uint8_t)(header[3] / 3)));
  set(options, "chunk", PICK(chunks, header[4]));
  set(options, "page_min", PICK(pages, (uint8_t)(header[4] / 2)));
  set(options, "buckets", PICK(buckets, (uint8_t)(header[4] / 4)));
  set(options, "exclusive_age", header[4] >= 128 ? "30" : "5000");
  set(options, "planned_warmup", header[4] >= 64 ? "2" : "3");
  // The model says itself when a batch ends, and how many run ahead.
  set(options, "batch_dispatches", "0");
  set(options, "batch_age", "0");
  set(options, "batches_in_flight", "0");
  set(options, "dynamic_period", header[5] & 4 ? "1" : "2");
}

// Text of "key=value" lines: taken or refused with a reason. What is taken can
// be read back and, on a device, makes a session or is refused with a reason.
static void try_options(const uint8_t* data, size_t size) {
  teg_options* options = NULL;
  teg_error err;
  CHECK(teg_options_create(NULL, &options, &err) == TEG_OK);
  set(options, "completion", "told");
  while (size > 0) {
    char pair[1200];
    size_t length = 0;
    while (length < size && data[length] != '\n') length++;
    size_t kept = length < sizeof pair ? length : sizeof pair - 1;
    memcpy(pair, data, kept);
    pair[kept] = '\0';
    teg_result result = teg_options_set_pair(options, pair, &err);
    CHECK(result == TEG_OK || (err.result == result && err.message[0]));
    CHECK(result == TEG_OK || result == TEG_INVALID || result == TEG_NOT_FOUND);
    data += length + (length < size);
    size -= length + (length < size);
  }
  char text[1100];
  const teg_option_info* info;
  for (size_t i = 0; (info = teg_option_at(i)); ++i) {
    CHECK(teg_options_get(options, info->key, text, sizeof text, &err) ==
          TEG_OK);
  }
  teg_device_params params = TEG_DEVICE_PARAMS_INIT;
  params.options = options;
  teg_device* device = NULL;
  teg_result result = teg_device_create(&params, &device, &err);
  CHECK(result == TEG_OK || (!device && err.message[0]));
  if (device) {
    teg_session_params session_params = TEG_SESSION_PARAMS_INIT;
    session_params.options = options;
    teg_session* session = NULL;
    result = teg_session_create(device, &session_params, &session, &err);
    CHECK(result == TEG_OK || (!session && err.message[0]));
    teg_buffer_params buffer_params = TEG_BUFFER_PARAMS_INIT;
    buffer_params.size = 1000;
    teg_buffer* buffer = NULL;
    if (session) {
      result = teg_buffer_create(session, &buffer_params, &buffer, &err);
      CHECK(result == TEG_OK || (!buffer && err.message[0]));
    }
  }
  teg_device_destroy(device);
  teg_options_destroy(options);
}

static void try_operations(const uint8_t* data, size_t size) {
  static model m;
  teg_options* options = NULL;
  teg_error err;
  CHECK(teg_options_create(NULL, &options, &err) == TEG_OK);
  set_device_options(options, data);
  set_session_options(options, data);
  teg_device_params params = TEG_DEVICE_PARAMS_INIT;
  params.backend = data[5] & 8 ? "host" : "null";
  params.options = options;
  teg_device* device = NULL;
  CHECK(teg_device_create(&params, &device, &err) == TEG_OK);
  model_input input = {
      .random = 1, .data = data + HEADER_BYTES, .size = size - HEADER_BYTES};
  model_begin(&m, device, input, 1 + data[5] / 16 % 2, options);
  m.may_fail = true;
  for (int i = 0; i < MAX_STEPS && m.input.size > 0; ++i) model_step(&m);
  model_end(&m);
  teg_device_destroy(device);
  teg_options_destroy(options);
}

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size > 0 && data[0] == 'O') {
    try_options(data + 1, size - 1);
  } else if (size > HEADER_BYTES) {
    try_operations(data, size);
  }
  return 0;
}
