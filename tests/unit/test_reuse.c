// SPDX-License-Identifier: Apache-2.0
//
// The rule of reuse alone, over made-up timelines: one test for each cell of
// its table, and what the sentences around the table say about the data. What
// follows for buffers is in test_reuse_scenarios.c.
#include <stdio.h>
#include <stdlib.h>

#include "core/reuse.h"
#include "range/arena.h"
#include "support/device_fixture.h"

enum { ASKING = 1, NEIGHBOUR = 2, STRANGER = 3, GONE = 4, STREAMS = 5 };
enum { COMPLETED = 10, SUBMITTED = 20 };

// ASKING and NEIGHBOUR share a queue, STRANGER has its own, GONE is unknown.
typedef struct scene {
  tegi_timeline streams[STREAMS];
  tegi_timelines timelines;
  device_allocator allocator;
  tegi_host host;
} scene;

static const tegi_timeline* find(void* user, tegi_stream_id id) {
  const scene* s = user;
  bool is_known = id == ASKING || id == NEIGHBOUR || id == STRANGER;
  return is_known ? &s->streams[id] : NULL;
}

static void scene_init(scene* s) {
  *s = (scene){.timelines = {.find = find}};
  s->timelines.user = s;
  for (uint32_t id = ASKING; id <= STRANGER; id++) {
    tegi_timeline* stream = &s->streams[id];
    stream->id = id;
    stream->queue_id = id == STRANGER ? 2 : 1;
    tegi_store_relaxed(&stream->submitted, SUBMITTED);
    tegi_store_relaxed(&stream->completed, COMPLETED);
  }
  teg_allocator allocator = device_fixture_allocator(&s->allocator);
  assert_int_equal(tegi_host_init(&s->host, &allocator, NULL), TEG_OK);
}

static void scene_deinit(scene* s) {
  assert_int_equal(tegi_load_relaxed(&s->allocator.live_count), 0);
}

static void stamp(scene* s, tegi_use_set* set, uint32_t stream,
                  uint64_t serial) {
  assert_true(tegi_use_stamp(&s->host, set, stream, serial));
}

static tegi_verdict ask(const scene* s, const tegi_use_set* set,
                        tegi_write write) {
  return tegi_reuse_check(&s->timelines, set, write, &s->streams[ASKING],
                          false);
}

// ---- The table.

typedef struct row {
  const char* name;
  tegi_write write;
  bool is_remap_queue_ordered;
} row;

static const row rows[] = {
    {"device", TEGI_WRITE_DEVICE, false},
    {"queue", TEGI_WRITE_QUEUE, false},
    {"host", TEGI_WRITE_HOST, false},
    {"remap_at_once", TEGI_WRITE_REMAP, false},
    {"remap_in_queue_order", TEGI_WRITE_REMAP, true},
};

static const char* const phase_names[] = {"idle", "submitted", "recorded"};

typedef struct asker {
  const char* name;
  uint32_t stream;  // whose use the bytes carry; ASKING asks
} asker;

static const asker askers[] = {
    {"same_stream", ASKING},
    {"other_stream_same_queue", NEIGHBOUR},
    {"other_queue", STRANGER},
};

enum { ROWS = 5, PHASES = 3, ASKERS = 3, CELLS = ROWS * PHASES * ASKERS };

#define NOW TEGI_REUSE_NOW
#define DEVICE_WAIT TEGI_REUSE_DEVICE_WAIT
#define HOST_WAIT TEGI_REUSE_HOST_WAIT
#define SUBMIT TEGI_REUSE_SUBMIT
#define NEVER TEGI_REUSE_NEVER

// By row, phase (idle, submitted, recorded), asker.
static const tegi_verdict expected[ROWS][PHASES][ASKERS] = {
    {{NOW, NOW, NOW}, {NOW, NOW, DEVICE_WAIT}, {NOW, NEVER, NEVER}},
    {{NOW, NOW, NOW}, {NOW, NOW, HOST_WAIT}, {SUBMIT, NEVER, NEVER}},
    {{NOW, NOW, NOW},
     {HOST_WAIT, HOST_WAIT, HOST_WAIT},
     {SUBMIT, NEVER, NEVER}},
    {{NOW, NOW, NOW},
     {HOST_WAIT, HOST_WAIT, HOST_WAIT},
     {SUBMIT, NEVER, NEVER}},
    {{NOW, NOW, NOW}, {NOW, NOW, NOW}, {SUBMIT, NEVER, NEVER}},
};

// The first and the last serial of each phase.
static const uint64_t serials[PHASES][2] = {
    {1, COMPLETED},
    {COMPLETED + 1, SUBMITTED},
    {SUBMITTED + 1, UINT64_MAX},
};

typedef struct cell {
  uint32_t row;
  uint32_t phase;
  uint32_t asker;
  char name[80];
} cell;

static void run_cell(void** state) {
  const cell* c = *state;
  const row* r = &rows[c->row];
  tegi_verdict want = expected[c->row][c->phase][c->asker];
  scene s;
  scene_init(&s);
  for (int end = 0; end < 2; end++) {
    tegi_use_set set = {0};
    stamp(&s, &set, askers[c->asker].stream, serials[c->phase][end]);
    tegi_verdict got =
        tegi_reuse_check(&s.timelines, &set, r->write, &s.streams[ASKING],
                         r->is_remap_queue_ordered);
    assert_int_equal(got, want);
    assert_int_equal(tegi_set_phase(&s.timelines, &set), c->phase);
    // With the rule off the cell says something else, or never mattered.
    s.timelines.is_rule_off = true;
    got = tegi_reuse_check(&s.timelines, &set, r->write, &s.streams[ASKING],
                           r->is_remap_queue_ordered);
    assert_int_equal(got, NOW);
    s.timelines.is_rule_off = false;
    // A host hold on top forbids everything.
    set.host_holds = 1;
    got = tegi_reuse_check(&s.timelines, &set, r->write, &s.streams[ASKING],
                           r->is_remap_queue_ordered);
    assert_int_equal(got, NEVER);
  }
  scene_deinit(&s);
}

static int run_table(void) {
  static cell cells[CELLS];
  static struct CMUnitTest list[CELLS];
  for (uint32_t i = 0; i < CELLS; i++) {
    cell* c = &cells[i];
    c->row = i / (PHASES * ASKERS);
    c->phase = i / ASKERS % PHASES;
    c->asker = i % ASKERS;
    snprintf(c->name, sizeof c->name, "%s_over_%s_by_%s", rows[c->row].name,
             phase_names[c->phase], askers[c->asker].name);
    list[i] = (struct CMUnitTest){
        .name = c->name, .test_func = run_cell, .initial_state = c};
  }
  return _cmocka_run_group_tests("the table", list, CELLS, NULL, NULL);
}

// ---- What the table is read with.

static void an_empty_set_allows_every_write(void** state) {
  scene s;
  scene_init(&s);
  tegi_use_set set = {0};
  for (uint32_t r = 0; r < ROWS; r++) {
    assert_int_equal(ask(&s, &set, rows[r].write), NOW);
  }
  assert_true(tegi_set_is_idle(&s.timelines, &set));
  scene_deinit(&s);
}

static void a_host_hold_alone_forbids_every_write(void** state) {
  scene s;
  scene_init(&s);
  tegi_use_set set = {.host_holds = 1};
  for (uint32_t r = 0; r < ROWS; r++) {
    assert_int_equal(ask(&s, &set, rows[r].write), NEVER);
  }
  assert_int_equal(tegi_set_phase(&s.timelines, &set), TEGI_PHASE_IDLE);
  assert_false(tegi_set_is_idle(&s.timelines, &set));
  assert_false(tegi_use_is_empty(&set));
  s.timelines.is_rule_off = true;
  assert_true(tegi_set_is_idle(&s.timelines, &set));
  scene_deinit(&s);
}

static void the_worst_entry_gives_the_phase(void** state) {
  scene s;
  scene_init(&s);
  tegi_use_set set = {0};
  stamp(&s, &set, NEIGHBOUR, COMPLETED);
  assert_int_equal(tegi_set_phase(&s.timelines, &set), TEGI_PHASE_IDLE);
  stamp(&s, &set, STRANGER, SUBMITTED);
  assert_int_equal(tegi_set_phase(&s.timelines, &set), TEGI_PHASE_SUBMITTED);
  assert_int_equal(ask(&s, &set, TEGI_WRITE_DEVICE), DEVICE_WAIT);
  stamp(&s, &set, ASKING, SUBMITTED + 1);
  assert_int_equal(tegi_set_phase(&s.timelines, &set), TEGI_PHASE_RECORDED);
  assert_int_equal(ask(&s, &set, TEGI_WRITE_DEVICE), DEVICE_WAIT);
  assert_int_equal(ask(&s, &set, TEGI_WRITE_HOST), SUBMIT);
  stamp(&s, &set, NEIGHBOUR, SUBMITTED + 1);
  assert_int_equal(ask(&s, &set, TEGI_WRITE_DEVICE), NEVER);
  assert_int_equal(ask(&s, &set, TEGI_WRITE_HOST), NEVER);
  tegi_use_clear(&s.host, &set);
  scene_deinit(&s);
}

// Many entries, many times: the worst of what each alone would say.
static void a_set_says_what_its_worst_entry_says(void** state) {
  scene s;
  scene_init(&s);
  srand(11);
  for (int round = 0; round < 5000; round++) {
    tegi_use_set set = {0};
    tegi_verdict worst[ROWS] = {NOW, NOW, NOW, NOW, NOW};
    uint64_t latest[STREAMS][2] = {{0}};
    for (int i = rand() % 9; i > 0; i--) {
      uint32_t id = 1 + (uint32_t)rand() % (STREAMS - 1);
      uint32_t is_queue = (uint32_t)rand() % 2;
      uint64_t serial = 1 + (uint64_t)rand() % 25;
      stamp(&s, &set, is_queue ? id | TEGI_USE_QUEUE : id, serial);
      if (serial > latest[id][is_queue]) latest[id][is_queue] = serial;
    }
    for (uint32_t id = ASKING; id <= STRANGER; id++) {
      for (uint32_t q = 0; q < 2; q++) {
        uint32_t phase = (uint32_t)((latest[id][q] > COMPLETED) +
                                    (latest[id][q] > SUBMITTED));
        for (uint32_t r = 0; r < ROWS && latest[id][q]; r++) {
          tegi_verdict one = expected[r][phase][id - 1];
          if (one > worst[r]) worst[r] = one;
        }
      }
    }
    for (uint32_t r = 0; r < ROWS; r++) {
      tegi_verdict got =
          tegi_reuse_check(&s.timelines, &set, rows[r].write,
                           &s.streams[ASKING], rows[r].is_remap_queue_ordered);
      assert_int_equal(got, worst[r]);
    }
    tegi_use_clear(&s.host, &set);
  }
  scene_deinit(&s);
}

static void an_unknown_stream_is_idle(void** state) {
  scene s;
  scene_init(&s);
  tegi_use_set set = {0};
  stamp(&s, &set, GONE, UINT64_MAX);
  stamp(&s, &set, GONE | TEGI_USE_QUEUE, UINT64_MAX);
  assert_true(tegi_set_is_idle(&s.timelines, &set));
  for (uint32_t r = 0; r < ROWS; r++) {
    assert_int_equal(ask(&s, &set, rows[r].write), NOW);
  }
  tegi_use_clear(&s.host, &set);
  scene_deinit(&s);
}

// Nobody's own stream: everything is another stream's, on another queue.
static void without_an_asking_stream_nothing_is_its_own(void** state) {
  scene s;
  scene_init(&s);
  for (uint32_t r = 0; r < ROWS; r++) {
    for (uint32_t p = 0; p < PHASES; p++) {
      tegi_use_set set = {0};
      stamp(&s, &set, ASKING, serials[p][0]);
      assert_int_equal(tegi_reuse_check(&s.timelines, &set, rows[r].write, NULL,
                                        rows[r].is_remap_queue_ordered),
                       expected[r][p][2]);
    }
  }
  scene_deinit(&s);
}

// ---- Queue writes: an entry of their own, under the recording serial.

static void a_queue_write_is_an_entry_beside_the_bindings(void** state) {
  scene s;
  scene_init(&s);
  tegi_use_set set = {0};
  stamp(&s, &set, ASKING, SUBMITTED);
  stamp(&s, &set, ASKING | TEGI_USE_QUEUE, SUBMITTED + 1);
  tegi_use use;
  assert_true(tegi_use_at(&set, 1, &use));
  assert_false(tegi_use_at(&set, 2, &use));
  // A command recorded later runs after it.
  assert_int_equal(ask(&s, &set, TEGI_WRITE_DEVICE), NOW);
  assert_int_equal(ask(&s, &set, TEGI_WRITE_QUEUE), SUBMIT);
  assert_int_equal(ask(&s, &set, TEGI_WRITE_HOST), SUBMIT);
  // It lands at the next submit, even of an empty batch.
  tegi_store_relaxed(&s.streams[ASKING].submitted, SUBMITTED + 1);
  assert_int_equal(ask(&s, &set, TEGI_WRITE_QUEUE), NOW);
  assert_int_equal(ask(&s, &set, TEGI_WRITE_HOST), HOST_WAIT);
  tegi_store_relaxed(&s.streams[ASKING].completed, SUBMITTED + 1);
  assert_true(tegi_set_is_idle(&s.timelines, &set));
  tegi_use_clear(&s.host, &set);
  scene_deinit(&s);
}

// ---- Sets through time.

static void a_set_becomes_idle_with_its_batches(void** state) {
  scene s;
  scene_init(&s);
  tegi_use_set set = {0};
  stamp(&s, &set, ASKING, SUBMITTED + 1);
  assert_int_equal(ask(&s, &set, TEGI_WRITE_REMAP), SUBMIT);
  tegi_store_release(&s.streams[ASKING].submitted, SUBMITTED + 1);
  assert_int_equal(ask(&s, &set, TEGI_WRITE_REMAP), HOST_WAIT);
  tegi_store_release(&s.streams[ASKING].completed, SUBMITTED + 1);
  assert_int_equal(ask(&s, &set, TEGI_WRITE_REMAP), NOW);
  scene_deinit(&s);
}

static void pruning_drops_what_is_idle_and_nothing_else(void** state) {
  scene s;
  scene_init(&s);
  tegi_use_set set = {.host_holds = 2};
  stamp(&s, &set, ASKING, COMPLETED);
  stamp(&s, &set, NEIGHBOUR, SUBMITTED);
  stamp(&s, &set, GONE, SUBMITTED + 1);
  stamp(&s, &set, STRANGER, SUBMITTED + 1);
  tegi_set_prune(&s.host, &s.timelines, &set);
  tegi_use use;
  size_t count = 0;
  while (tegi_use_at(&set, count, &use)) {
    assert_true(use.stream == NEIGHBOUR || use.stream == STRANGER);
    count++;
  }
  assert_int_equal(count, 2);
  assert_int_equal(set.host_holds, 2);
  tegi_use_clear(&s.host, &set);
  scene_deinit(&s);
}

// ---- Splitting copies the set, merging takes the later serial per stream.

static void no_bin(void* user, tegi_block* hole) {}

static void splitting_copies_and_merging_takes_the_later(void** state) {
  scene s;
  scene_init(&s);
  tegi_slab slab;
  tegi_slab_init(&slab, &s.host, sizeof(tegi_block));
  tegi_extent extent = {.bytes = 1000};
  tegi_chunk chunk = {.extent = &extent, .bytes = 1000};
  tegi_block* hole = tegi_arena_begin(&slab, &chunk, 0);
  assert_non_null(hole);
  stamp(&s, &hole->use, ASKING, 5);
  stamp(&s, &hole->use, STRANGER, 7);
  tegi_block* low;
  tegi_block* high;
  tegi_block* block =
      tegi_arena_cut(&s.host, &slab, hole, 300, 400, &low, &high);
  assert_non_null(block);
  tegi_block* parts[] = {low, block, high};
  for (int i = 0; i < 3; i++) {
    tegi_use one;
    tegi_use two;
    assert_true(tegi_use_at(&parts[i]->use, 0, &one));
    assert_true(tegi_use_at(&parts[i]->use, 1, &two));
    assert_int_equal(one.stream, ASKING);
    assert_int_equal(one.serial, 5);
    assert_int_equal(two.stream, STRANGER);
    assert_int_equal(two.serial, 7);
  }
  // The copies are apart.
  stamp(&s, &block->use, STRANGER, 9);
  stamp(&s, &low->use, ASKING, 8);
  stamp(&s, &high->use, NEIGHBOUR, 1);
  tegi_use use;
  assert_true(tegi_use_at(&high->use, 1, &use) && use.serial == 7);
  assert_false(tegi_use_at(&block->use, 2, &use));
  hole = tegi_arena_merge(&s.host, &slab, block, no_bin, NULL);
  assert_ptr_equal(hole, tegi_arena_whole(&chunk));
  uint64_t latest[STREAMS] = {0};
  for (size_t i = 0; tegi_use_at(&hole->use, i, &use); i++) {
    assert_int_equal(latest[use.stream], 0);
    latest[use.stream] = use.serial;
  }
  assert_int_equal(latest[ASKING], 8);
  assert_int_equal(latest[NEIGHBOUR], 1);
  assert_int_equal(latest[STRANGER], 9);
  tegi_arena_end(&s.host, &slab, &chunk);
  tegi_slab_destroy(&slab);
  scene_deinit(&s);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(an_empty_set_allows_every_write),
      cmocka_unit_test(a_host_hold_alone_forbids_every_write),
      cmocka_unit_test(the_worst_entry_gives_the_phase),
      cmocka_unit_test(a_set_says_what_its_worst_entry_says),
      cmocka_unit_test(an_unknown_stream_is_idle),
      cmocka_unit_test(without_an_asking_stream_nothing_is_its_own),
      cmocka_unit_test(a_queue_write_is_an_entry_beside_the_bindings),
      cmocka_unit_test(a_set_becomes_idle_with_its_batches),
      cmocka_unit_test(pruning_drops_what_is_idle_and_nothing_else),
      cmocka_unit_test(splitting_copies_and_merging_takes_the_later),
  };
  int failures = run_table();
  failures += cmocka_run_group_tests_name("the rule", tests, NULL, NULL);
  return failures;
}
