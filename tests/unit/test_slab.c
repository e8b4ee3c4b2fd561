// SPDX-License-Identifier: Apache-2.0
//
// Slabs: records do not overlap, keep what is written to them, and are given
// out again.
#include <stdlib.h>
#include <string.h>

#include "base/slab.h"
#include "support/device_fixture.h"

enum { MOST = 3000, STEPS = 60000 };

typedef struct scene {
  device_allocator allocator;
  tegi_host host;
  tegi_slab slab;
  size_t size;
  unsigned char* records[MOST];
  unsigned char marks[MOST];
  uint32_t count;
} scene;

static uint32_t draw(uint32_t below) { return (uint32_t)rand() % below; }

static void scene_init(scene* s, size_t size) {
  memset(s, 0, sizeof *s);
  teg_allocator allocator = device_fixture_allocator(&s->allocator);
  assert_int_equal(tegi_host_init(&s->host, &allocator, NULL), TEG_OK);
  s->size = size;
  tegi_slab_init(&s->slab, &s->host, size);
}

static void scene_deinit(scene* s) {
  tegi_slab_destroy(&s->slab);
  assert_int_equal(tegi_load_relaxed(&s->allocator.live_count), 0);
  assert_int_equal(s->host.live_bytes, 0);
}

static void check_marks(const scene* s, uint32_t i) {
  for (size_t at = 0; at < s->size; at++) {
    assert_int_equal(s->records[i][at], s->marks[i]);
  }
}

static bool step_take(scene* s) {
  unsigned char* record = tegi_slab_take(&s->slab);
  if (!record) return false;
  assert_int_equal((uintptr_t)record % 64, 0);
  s->records[s->count] = record;
  s->marks[s->count] = (unsigned char)draw(256);
  memset(record, s->marks[s->count], s->size);
  s->count++;
  return true;
}

static void step_give(scene* s) {
  uint32_t i = draw(s->count);
  check_marks(s, i);
  tegi_slab_give(&s->slab, s->records[i]);
  s->count--;
  s->records[i] = s->records[s->count];
  s->marks[i] = s->marks[s->count];
}

static void play(size_t size, bool is_failing) {
  static scene s;
  scene_init(&s, size);
  srand((unsigned)size);
  uint32_t target = MOST / 2;
  for (int i = 0; i < STEPS; i++) {
    if (i % 2000 == 0) target = draw(MOST);
    if (is_failing) tegi_store_relaxed(&s.allocator.fail_at, draw(2));
    if (s.count < target || s.count == 0) {
      bool had_one = s.slab.free_list != NULL;
      bool is_taken = step_take(&s);
      assert_true(is_taken || (is_failing && !had_one));
    } else {
      step_give(&s);
    }
    tegi_store_relaxed(&s.allocator.fail_at, 0);
    assert_int_equal(s.slab.used_count, s.count);
  }
  for (uint32_t i = 0; i < s.count; i++) check_marks(&s, i);
  while (s.count) step_give(&s);
  scene_deinit(&s);
}

static void records_do_not_overlap(void** state) {
  play(8, false);
  play(64, false);
  play(200, false);
}

static void records_stay_whole_without_host_memory(void** state) {
  play(96, true);
}

static void records_are_rounded_to_cache_lines(void** state) {
  tegi_host host;
  assert_int_equal(tegi_host_init(&host, NULL, NULL), TEG_OK);
  const size_t sizes[][2] = {{1, 64}, {64, 64}, {65, 128}, {200, 256}};
  for (size_t i = 0; i < 4; i++) {
    tegi_slab slab;
    tegi_slab_init(&slab, &host, sizes[i][0]);
    assert_int_equal(slab.record_size, sizes[i][1]);
    tegi_slab_destroy(&slab);
  }
}

// A slab that nobody takes from costs nothing, and one that is used a little
// costs little.
static void pages_grow_with_use(void** state) {
  static scene s;
  scene_init(&s, 64);
  assert_int_equal(s.host.live_bytes, 0);
  assert_true(step_take(&s));
  assert_true(s.host.live_bytes <= 40 * 64);
  for (int i = 1; i < MOST; i++) assert_true(step_take(&s));
  uint64_t bytes = s.host.live_bytes;
  assert_true(bytes <= (MOST + 1024 + 64) * 64);
  // Given back and taken again it needs no more.
  while (s.count) step_give(&s);
  for (int i = 0; i < MOST; i++) assert_true(step_take(&s));
  assert_int_equal(s.host.live_bytes, bytes);
  scene_deinit(&s);
}

static void reserved_records_need_no_host_memory(void** state) {
  static scene s;
  for (size_t count = 0; count < 500; count++) {
    scene_init(&s, 48);
    if (count % 2) assert_true(step_take(&s));
    assert_true(tegi_slab_reserve(&s.slab, count));
    tegi_store_relaxed(&s.allocator.fail_at, 1);
    for (size_t i = 0; i < count; i++) assert_true(step_take(&s));
    assert_true(tegi_slab_reserve(&s.slab, 0));
    assert_int_equal(tegi_load_relaxed(&s.allocator.fail_at), 1);
    tegi_store_relaxed(&s.allocator.fail_at, 0);
    scene_deinit(&s);
  }
}

static void reserve_fails_at_every_allocation(void** state) {
  static scene s;
  scene_init(&s, 64);
  for (uint64_t k = 1; k <= 4; k++) {
    tegi_store_relaxed(&s.allocator.fail_at, k);
    assert_false(tegi_slab_reserve(&s.slab, 20000));
    assert_int_equal(s.slab.used_count, 0);
  }
  assert_true(tegi_slab_reserve(&s.slab, 20000));
  for (int i = 0; i < MOST; i++) assert_true(step_take(&s));
  scene_deinit(&s);
}

typedef struct visits {
  scene* s;
  uint32_t used;
  uint32_t all;
} visits;

static void visit(void* user, void* record) {
  visits* v = user;
  v->all++;
  for (uint32_t i = 0; i < v->s->count; i++) {
    v->used += v->s->records[i] == record;
  }
}

static void each_visits_every_record_once(void** state) {
  static scene s;
  scene_init(&s, 64);
  for (int i = 0; i < 100; i++) assert_true(step_take(&s));
  for (int i = 0; i < 30; i++) step_give(&s);
  visits v = {.s = &s};
  tegi_slab_each(&s.slab, visit, &v);
  assert_int_equal(v.used, 70);
  assert_int_equal(v.all, 32 + 64 + 128);
  scene_deinit(&s);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(records_do_not_overlap),
      cmocka_unit_test(records_stay_whole_without_host_memory),
      cmocka_unit_test(records_are_rounded_to_cache_lines),
      cmocka_unit_test(pages_grow_with_use),
      cmocka_unit_test(reserved_records_need_no_host_memory),
      cmocka_unit_test(reserve_fails_at_every_allocation),
      cmocka_unit_test(each_visits_every_record_once),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
