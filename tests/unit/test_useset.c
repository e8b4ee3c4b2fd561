// SPDX-License-Identifier: Apache-2.0
//
// Use sets against a plain array of the latest serial per stream, with a host
// that runs out of memory at every allocation there is.
#include <stdlib.h>
#include <string.h>

#include "range/useset.h"
#include "support/device_fixture.h"

enum { STREAMS = 24, SETS = 6, STEPS = 20000 };

// What a set should say.
typedef struct model {
  uint64_t serials[STREAMS];  // by stream; 0 = none
  uint32_t host_holds;
} model;

typedef struct scene {
  device_allocator allocator;
  tegi_host host;
  tegi_use_set sets[SETS];
  model models[SETS];
} scene;

static void scene_init(scene* s) {
  memset(s, 0, sizeof *s);
  teg_allocator allocator = device_fixture_allocator(&s->allocator);
  assert_int_equal(tegi_host_init(&s->host, &allocator, NULL), TEG_OK);
}

static void scene_deinit(scene* s) {
  for (uint32_t i = 0; i < SETS; i++) tegi_use_clear(&s->host, &s->sets[i]);
  assert_int_equal(tegi_load_relaxed(&s->allocator.live_count), 0);
  assert_int_equal(s->host.live_bytes, 0);
}

static uint32_t draw(uint32_t below) { return (uint32_t)rand() % below; }

// Odd streams are the queue writes of the even ones.
static uint32_t id_of(uint32_t stream) {
  uint32_t id = 1 + stream / 2;
  return stream % 2 ? id | TEGI_USE_QUEUE : id;
}

static uint32_t stream_of(uint32_t id) {
  uint32_t stream = 2 * ((id & ~TEGI_USE_QUEUE) - 1);
  return id & TEGI_USE_QUEUE ? stream + 1 : stream;
}

// The set has exactly the entries of the model, each once.
static void check(const tegi_use_set* set, const model* m) {
  model found = {.host_holds = set->host_holds};
  tegi_use use;
  size_t count = 0;
  for (; tegi_use_at(set, count, &use); count++) {
    uint32_t stream = stream_of(use.stream);
    assert_true(use.stream != 0 && stream < STREAMS);
    assert_int_equal(found.serials[stream], 0);
    found.serials[stream] = use.serial;
  }
  assert_memory_equal(&found, m, sizeof found);
  assert_int_equal(tegi_use_is_empty(set), count == 0 && m->host_holds == 0);
  // One entry lives inline.
  if (count <= 1) assert_null(set->more);
}

static void check_all(const scene* s) {
  for (uint32_t i = 0; i < SETS; i++) check(&s->sets[i], &s->models[i]);
}

static void model_stamp(model* m, uint32_t stream, uint64_t serial) {
  if (serial > m->serials[stream]) m->serials[stream] = serial;
}

static void step_stamp(scene* s, uint32_t i) {
  uint32_t stream = draw(draw(2) ? STREAMS : 3);
  uint64_t serial = 1 + draw(50);
  bool is_done = tegi_use_stamp(&s->host, &s->sets[i], id_of(stream), serial);
  if (is_done) model_stamp(&s->models[i], stream, serial);
}

static void step_merge(scene* s, uint32_t i) {
  uint32_t j = (i + 1 + draw(SETS - 1)) % SETS;
  if (!tegi_use_merge(&s->host, &s->sets[i], &s->sets[j])) return;
  for (uint32_t stream = 0; stream < STREAMS; stream++) {
    model_stamp(&s->models[i], stream, s->models[j].serials[stream]);
  }
  s->models[i].host_holds += s->models[j].host_holds;
  s->models[j] = (model){.host_holds = 0};
}

static void step_copy(scene* s, uint32_t i) {
  uint32_t j = (i + 1 + draw(SETS - 1)) % SETS;
  tegi_use_clear(&s->host, &s->sets[j]);
  s->models[j] = (model){.host_holds = 0};
  if (tegi_use_copy(&s->host, &s->sets[j], &s->sets[i])) {
    s->models[j] = s->models[i];
  }
}

static bool is_before(void* user, tegi_use use) {
  return use.serial < *(uint64_t*)user;
}

static void step_prune(scene* s, uint32_t i) {
  uint64_t limit = draw(draw(4) ? 30 : 60);
  tegi_use_prune(&s->host, &s->sets[i], is_before, &limit);
  for (uint32_t stream = 0; stream < STREAMS; stream++) {
    uint64_t* serial = &s->models[i].serials[stream];
    if (*serial < limit) *serial = 0;
  }
}

static void step_hold(scene* s, uint32_t i) {
  uint32_t holds = draw(3);
  s->sets[i].host_holds = holds;
  s->models[i].host_holds = holds;
}

static void step(scene* s) {
  uint32_t i = draw(SETS);
  switch (draw(12)) {
    case 0:
      step_merge(s, i);
      break;
    case 1:
      step_copy(s, i);
      break;
    case 2:
      step_prune(s, i);
      break;
    case 3:
      step_hold(s, i);
      break;
    case 4:
      tegi_use_clear(&s->host, &s->sets[i]);
      s->models[i] = (model){.host_holds = 0};
      break;
    default:
      step_stamp(s, i);
  }
}

static void sets_match_a_plain_array(void** state) {
  scene s;
  scene_init(&s);
  srand(1);
  for (int i = 0; i < STEPS; i++) {
    step(&s);
    check_all(&s);
  }
  scene_deinit(&s);
}

// The same while one allocation in a few fails: whatever fails changes nothing.
static void sets_stay_whole_without_host_memory(void** state) {
  scene s;
  scene_init(&s);
  srand(2);
  for (int i = 0; i < STEPS; i++) {
    tegi_store_relaxed(&s.allocator.fail_at, draw(3));
    step(&s);
    tegi_store_relaxed(&s.allocator.fail_at, 0);
    check_all(&s);
  }
  scene_deinit(&s);
}

static void a_lower_serial_never_replaces_a_higher_one(void** state) {
  scene s;
  scene_init(&s);
  tegi_use_set* set = &s.sets[0];
  for (uint32_t stream = 1; stream <= 9; stream++) {
    assert_true(tegi_use_stamp(&s.host, set, stream, 5));
  }
  for (uint32_t stream = 1; stream <= 9; stream++) {
    assert_true(tegi_use_stamp(&s.host, set, stream, 3));
    assert_true(tegi_use_stamp(&s.host, set, stream, 5));
  }
  tegi_use use;
  for (size_t i = 0; i < 9; i++) {
    assert_true(tegi_use_at(set, i, &use));
    assert_int_equal(use.serial, 5);
  }
  assert_false(tegi_use_at(set, 9, &use));
  scene_deinit(&s);
}

// A stream that is there already never needs memory.
static void known_streams_are_stamped_without_host_memory(void** state) {
  scene s;
  scene_init(&s);
  for (uint32_t stream = 0; stream < STREAMS; stream++) {
    assert_true(tegi_use_stamp(&s.host, &s.sets[0], id_of(stream), 1));
  }
  for (uint32_t stream = 0; stream < STREAMS; stream++) {
    tegi_store_relaxed(&s.allocator.fail_at, 1);
    assert_true(tegi_use_stamp(&s.host, &s.sets[0], id_of(stream), 2));
    assert_int_equal(tegi_load_relaxed(&s.allocator.fail_at), 1);
    s.models[0].serials[stream] = 2;
  }
  tegi_store_relaxed(&s.allocator.fail_at, 0);
  check(&s.sets[0], &s.models[0]);
  scene_deinit(&s);
}

// For every allocation of a copy of a large set and of a merge of two.
static void a_copy_fails_at_every_allocation(void** state) {
  scene s;
  scene_init(&s);
  for (uint32_t stream = 0; stream < STREAMS; stream++) {
    assert_true(tegi_use_stamp(&s.host, &s.sets[0], id_of(stream), 1));
    s.models[0].serials[stream] = 1;
  }
  s.sets[0].host_holds = s.models[0].host_holds = 3;
  uint64_t k = 1;
  for (;; k++) {
    tegi_store_relaxed(&s.allocator.fail_at, k);
    bool is_copied = tegi_use_copy(&s.host, &s.sets[1], &s.sets[0]);
    tegi_store_relaxed(&s.allocator.fail_at, 0);
    check(&s.sets[0], &s.models[0]);
    check(&s.sets[1], is_copied ? &s.models[0] : &s.models[2]);
    if (is_copied) break;
  }
  assert_true(k > 3);
  s.models[1] = s.models[0];
  scene_deinit(&s);
}

static void a_merge_fails_only_as_a_whole(void** state) {
  scene s;
  scene_init(&s);
  assert_true(tegi_use_stamp(&s.host, &s.sets[0], 1, 1));
  for (uint32_t stream = 2; stream < 12; stream++) {
    assert_true(tegi_use_stamp(&s.host, &s.sets[1], stream, stream));
    s.models[1].serials[stream_of(stream)] = stream;
  }
  s.models[0].serials[stream_of(1)] = 1;
  tegi_store_relaxed(&s.allocator.fail_at, 1);
  assert_false(tegi_use_merge(&s.host, &s.sets[0], &s.sets[1]));
  check(&s.sets[0], &s.models[0]);
  check(&s.sets[1], &s.models[1]);
  assert_true(tegi_use_merge(&s.host, &s.sets[0], &s.sets[1]));
  s.models[1].serials[stream_of(1)] = 1;
  check(&s.sets[0], &s.models[1]);
  check(&s.sets[1], &s.models[2]);
  scene_deinit(&s);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(sets_match_a_plain_array),
      cmocka_unit_test(sets_stay_whole_without_host_memory),
      cmocka_unit_test(a_lower_serial_never_replaces_a_higher_one),
      cmocka_unit_test(known_streams_are_stamped_without_host_memory),
      cmocka_unit_test(a_copy_fails_at_every_allocation),
      cmocka_unit_test(a_merge_fails_only_as_a_whole),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
