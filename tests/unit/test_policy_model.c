// SPDX-License-Identifier: Apache-2.0
//
// Every policy against the naive model of support/policy_model.h: random
// operations on several streams and two sessions, on host and on null, which
// also follows every command by physical bytes.
#include "support/core_fixture.h"

struct model;
static void model_failed(const struct model* m, const char* condition);

#define MODEL_CHECK(m, condition)                  \
  do {                                             \
    if (!(condition)) model_failed(m, #condition); \
  } while (0)
#include "support/policy_model.h"

static const char* at_config;
static uint64_t at_seed;

static void model_failed(const struct model* m, const char* condition) {
  fail_msg("%s, seed %llu, step %llu, %s: %s (%s)", at_config,
           (unsigned long long)at_seed, (unsigned long long)m->step_count,
           m->operation, m->why, condition);
}

// What a run of the model is made on. The session options follow "policy=".
typedef struct model_config {
  const char* policy;
  const char* device_options;
  uint32_t session_count;
  bool may_fail;
} model_config;

#define TILES "tile_bytes=64KiB;heap_min=256KiB;"

static const model_config configs[] = {
    {"disabled", TILES, 2, false},
    {"lazy", TILES, 2, false},
    {"simple", TILES, 2, false},
    {"bucket", TILES, 2, false},
    {"bucket;buckets=4096:2 65536:3 1048576:1", TILES, 2, false},
    {"dynamic", TILES, 2, false},
    {"dynamic;dynamic_period=1;dynamic_classes=4", TILES, 1, false},
    {"paged;page_min=64KiB;age=2", TILES, 2, false},
    {"paged;page_min=64KiB;slack=0", TILES "remap=off", 1, false},
    {"exclusive;exclusive_age=50", TILES, 2, false},
    {"tiled;chunk=1MiB;age=2", TILES, 2, false},
    {"tiled;slack=0;chunk=1MiB", TILES, 1, false},
    {"tiled;slack=0;on_busy=grow", TILES, 2, false},
    {"tiled;slack=0", TILES "budget=6MiB", 2, true},
    {"tiled;slack=0", TILES "mapping_limit=24", 2, true},
    {"tiled;slack=0;chunk=1MiB", "tile_bytes=4KiB;heap_min=64KiB", 2, false},
    {"tiled", TILES "remap=off", 2, false},
    {"planned;chunk=1MiB", TILES, 2, false},
    {"planned;slack=0;planned_warmup=2", TILES, 1, false},
    {"planned;slack=0", TILES "budget=6MiB", 1, true},
    {"auto;policy_params=bucket;policy_static=paged", TILES, 2, false},
    {"paged;policy_params=tiled;policy_state=simple", TILES "budget=6MiB", 2,
     true},
    {"simple", TILES "budget=6MiB", 2, true},
    {"dynamic", TILES "budget=6MiB", 2, true},
};

static void run_model(const char* backend, const model_config* config,
                      uint64_t seed, uint32_t steps) {
  static model m;
  static core_fixture fx;
  char text[256];
  snprintf(text, sizeof text, "%s on %s", config->policy, backend);
  at_config = text;
  at_seed = seed;
  if (getenv("TEGULA_MODEL_TRACE"))
    print_message("%s %llu\n", text, (unsigned long long)seed);
  core_open(&fx, backend, config->device_options);
  teg_options* options = NULL;
  CORE_OK(&fx, teg_options_create(NULL, &options, &fx.err));
  char policy[256];
  // The model says itself when a batch ends, and how many run ahead.
  snprintf(policy, sizeof policy,
           "batch_dispatches=0;batch_age=0;batches_in_flight=0;policy=%s",
           config->policy);
  core_set_options(options, policy);
  model_input input = {.random = seed * UINT64_C(0x9E3779B97F4A7C15)};
  model_begin(&m, fx.device, input, config->session_count, options);
  m.may_fail = config->may_fail;
  for (uint32_t i = 0; i < steps; ++i) model_step(&m);
  assert_true(m.create_count > steps / 8);
  model_end(&m);
  teg_options_destroy(options);
  core_close(&fx);
}

static uint64_t number_from_environment(const char* name, uint64_t otherwise) {
  const char* text = getenv(name);
  return text ? strtoull(text, NULL, 10) : otherwise;
}

// TEGULA_MODEL_SEEDS, _FROM and _STEPS make it run longer by hand.
static void run_all(const char* backend) {
  uint64_t seeds = number_from_environment("TEGULA_MODEL_SEEDS", 2);
  uint64_t from = number_from_environment("TEGULA_MODEL_FROM", 1);
  uint64_t steps = number_from_environment("TEGULA_MODEL_STEPS", 250);
  for (uint64_t seed = from; seed < from + seeds; ++seed) {
    for (size_t i = 0; i < sizeof configs / sizeof configs[0]; ++i) {
      run_model(backend, &configs[i], seed, (uint32_t)steps);
    }
  }
}

static void every_policy_agrees_with_the_model_on_host(void** state) {
  run_all("host");
}

static void every_policy_agrees_with_the_model_on_null(void** state) {
  run_all("null");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_policy_agrees_with_the_model_on_host),
      cmocka_unit_test(every_policy_agrees_with_the_model_on_null),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
