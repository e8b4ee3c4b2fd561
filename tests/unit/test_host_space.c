// SPDX-License-Identifier: Apache-2.0
#include <stdlib.h>
#include <string.h>

#include "backend/host/host_space.h"
#include "support/device_fixture.h"

#define UNITS 400u
#define MAX_PIECES 100u
#define BASE UINT64_C(4096)

typedef struct piece {
  uint64_t start;
  uint64_t size;
} piece;

typedef struct space_state {
  device_allocator allocator;
  tegi_host host;
  tegi_hostdev_space space;
  bool is_taken[UNITS];
  piece pieces[MAX_PIECES];
  size_t piece_count;
} space_state;

static void begin(space_state* state) {
  *state = (space_state){.piece_count = 0};
  teg_allocator allocator = device_fixture_allocator(&state->allocator);
  assert_int_equal(tegi_host_init(&state->host, &allocator, NULL), TEG_OK);
  tegi_hostdev_space_init(&state->space, &state->host);
}

static void end(space_state* state) {
  tegi_hostdev_space_deinit(&state->space);
  assert_int_equal(tegi_load_relaxed(&state->allocator.live_count), 0);
}

static uint64_t free_bytes(const space_state* state) {
  uint64_t sum = 0;
  for (size_t i = 0; i < UNITS; i++) sum += !state->is_taken[i];
  return sum;
}

// The lowest run of |size| free units; UNITS if there is none.
static uint64_t first_fit(const space_state* state, uint64_t size) {
  uint64_t run = 0;
  for (uint64_t i = 0; i < UNITS; i++) {
    run = state->is_taken[i] ? 0 : run + 1;
    if (run == size) return i + 1 - size;
  }
  return UNITS;
}

static void space_is_first_fit(void** unused) {
  (void)unused;
  space_state state;
  begin(&state);
  uint64_t start;
  assert_int_equal(tegi_hostdev_space_take(&state.space, 1, &start),
                   TEGI_HOSTDEV_NO_ROOM);
  assert_true(tegi_hostdev_space_add(&state.space, BASE, UNITS));
  srand(1);
  for (int step = 0; step < 20000; step++) {
    bool is_take = rand() % 100 < 55 && state.piece_count < MAX_PIECES;
    if (is_take) {
      uint64_t size = 1 + (uint64_t)rand() % 12;
      uint64_t want = first_fit(&state, size);
      tegi_hostdev_take taken =
          tegi_hostdev_space_take(&state.space, size, &start);
      if (want == UNITS) {
        assert_int_equal(taken, TEGI_HOSTDEV_NO_ROOM);
        continue;
      }
      assert_int_equal(taken, TEGI_HOSTDEV_TAKEN);
      assert_int_equal(start, BASE + want);
      memset(state.is_taken + want, 1, size);
      state.pieces[state.piece_count++] = (piece){want, size};
    } else if (state.piece_count) {
      size_t at = (size_t)rand() % state.piece_count;
      piece gone = state.pieces[at];
      state.pieces[at] = state.pieces[--state.piece_count];
      memset(state.is_taken + gone.start, 0, gone.size);
      tegi_hostdev_space_give(&state.space, BASE + gone.start, gone.size);
    }
    uint64_t probe = (uint64_t)rand() % (UNITS + 1), free_start = probe;
    bool is_end = probe == UNITS || state.is_taken[probe];
    while (is_end && free_start && !state.is_taken[free_start - 1]) {
      free_start--;
    }
    if (is_end) {
      assert_int_equal(
          tegi_hostdev_space_free_before(&state.space, BASE + probe),
          BASE + free_start);
    }
    assert_true(tegi_hostdev_space_validate(&state.space, free_bytes(&state)));
  }
  end(&state);
}

static void space_failure_changes_nothing(void** unused) {
  (void)unused;
  space_state state;
  begin(&state);
  uint64_t start;
  tegi_store_relaxed(&state.allocator.fail_at, 1);
  assert_false(tegi_hostdev_space_add(&state.space, 0, 1000));
  assert_true(tegi_hostdev_space_validate(&state.space, 0));
  assert_true(tegi_hostdev_space_add(&state.space, 0, 1000));
  uint64_t taken = 0;
  bool has_failed = false;
  while (taken < 100) {
    tegi_store_relaxed(&state.allocator.fail_at, 1);
    tegi_hostdev_take result = tegi_hostdev_space_take(&state.space, 1, &start);
    if (result == TEGI_HOSTDEV_NO_MEMORY) {
      has_failed = true;
      result = tegi_hostdev_space_take(&state.space, 1, &start);
    }
    assert_int_equal(result, TEGI_HOSTDEV_TAKEN);
    assert_int_equal(start, taken++);
    assert_true(tegi_hostdev_space_validate(&state.space, 1000 - taken));
  }
  assert_true(has_failed);
  // Giving back needs no memory, whatever the order.
  tegi_store_relaxed(&state.allocator.fail_at, 1);
  for (uint64_t i = 0; i < 100; i += 2) {
    tegi_hostdev_space_give(&state.space, i, 1);
  }
  for (uint64_t i = 1; i < 100; i += 2) {
    tegi_hostdev_space_give(&state.space, i, 1);
  }
  assert_true(tegi_hostdev_space_validate(&state.space, 1000));
  end(&state);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(space_is_first_fit),
      cmocka_unit_test(space_failure_changes_nothing),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
