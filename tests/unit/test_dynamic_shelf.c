// SPDX-License-Identifier: Apache-2.0
//
// The books of the dynamic policy: buffers by class, and what is known of each
// size. Random operations with the validity check after each step.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "policy/dynamic_shelf.h"
#include "policy/dynamic_sizes.h"

static tegi_host host;
static teg_error err;

#define EXPECT_VALID(call)                             \
  do {                                                 \
    teg_error_clear(&err);                             \
    if ((call) != TEG_OK) fail_msg("%s", err.message); \
  } while (0)

// ---- Buffers that are nowhere

typedef struct made {
  tegi_block block;
  tegi_extent extent;
} made;

static tegi_block* make(uint64_t size) {
  made* m = calloc(1, sizeof *m);
  assert_non_null(m);
  m->extent.bytes = size;
  m->block.size = size;
  m->block.extent = &m->extent;
  return &m->block;
}

// One that is free on the shelf.
static tegi_block* keep(tegi_shelf* shelf, uint64_t size) {
  tegi_block* block = make(size);
  tegi_shelf_add(shelf, block);
  tegi_shelf_put(shelf, block);
  return block;
}

static void lose(tegi_shelf* shelf, tegi_block* block) {
  tegi_shelf_remove(shelf, block);
  free(block);
}

static void empty(tegi_shelf* shelf) {
  while (shelf->all) {
    if (shelf->all->state == TEGI_BLOCK_USED) tegi_shelf_put(shelf, shelf->all);
    lose(shelf, shelf->all);
  }
  assert_true(shelf->held_bytes == 0 && shelf->used_bytes == 0);
  tegi_shelf_deinit(shelf, &host);
}

// Blocks have no uses here, so that the source is never asked.
static tegi_block* find(const tegi_shelf* shelf, uint64_t size, uint64_t most) {
  return tegi_shelf_find(shelf, tegi_shelf_ceiling(shelf, size), size, most,
                         NULL, 1);
}

// ---- The shelf

static void floor_and_ceiling_bracket_a_size(void** state) {
  tegi_shelf shelf;
  assert_true(tegi_shelf_init(&shelf, &host, 8));
  assert_int_equal(tegi_shelf_floor(&shelf, 256), 0);
  assert_int_equal(tegi_shelf_ceiling(&shelf, 256), 1);  // above every class
  const uint64_t bounds[] = {256, 1024, 4096};
  tegi_shelf_set_bounds(&shelf, bounds, 3);
  const struct {
    uint64_t size;
    uint32_t floor, ceiling;
  } rows[] = {{1, 0, 1},    {256, 1, 1},  {257, 1, 2},  {1023, 1, 2},
              {1024, 2, 2}, {4096, 3, 3}, {4097, 3, 4}, {UINT64_MAX, 3, 4}};
  for (size_t i = 0; i < sizeof rows / sizeof rows[0]; ++i) {
    assert_int_equal(tegi_shelf_floor(&shelf, rows[i].size), rows[i].floor);
    assert_int_equal(tegi_shelf_ceiling(&shelf, rows[i].size), rows[i].ceiling);
  }
  empty(&shelf);
}

static void bounds_are_added_once_and_replaced(void** state) {
  tegi_shelf shelf;
  assert_true(tegi_shelf_init(&shelf, &host, 3));
  assert_true(tegi_shelf_add_bound(&shelf, 4096, 0));
  assert_true(tegi_shelf_add_bound(&shelf, 1024, 0));
  assert_true(tegi_shelf_add_bound(&shelf, 1024, 0));
  assert_int_equal(shelf.class_count, 2);
  assert_true(tegi_shelf_add_bound(&shelf, 8192, 4096));
  uint64_t bounds[3];
  assert_int_equal(shelf.class_count, 2);
  tegi_shelf_get_bounds(&shelf, bounds);
  assert_true(bounds[0] == 1024 && bounds[1] == 8192);
  assert_true(tegi_shelf_add_bound(&shelf, 2048, 0));
  uint32_t generation = shelf.generation;
  assert_false(tegi_shelf_add_bound(&shelf, 512, 0));  // too many
  assert_int_equal(shelf.generation, generation);
  assert_true(tegi_shelf_add_bound(&shelf, 512, 8192));
  EXPECT_VALID(tegi_shelf_validate(&shelf, &err));
  empty(&shelf);
}

static void buffers_are_filed_anew_by_age_when_classes_change(void** state) {
  tegi_shelf shelf;
  assert_true(tegi_shelf_init(&shelf, &host, 16));
  uint64_t bounds[] = {256, 512, 768, 1024, 2048};
  tegi_shelf_set_bounds(&shelf, bounds, 5);
  tegi_block* blocks[40];
  for (uint32_t i = 0; i < 40; ++i) {
    blocks[i] = keep(&shelf, 256 * (1 + (i * 7) % 12));
  }
  EXPECT_VALID(tegi_shelf_validate(&shelf, &err));
  uint64_t one = 256;
  tegi_shelf_set_bounds(&shelf, &one, 1);
  EXPECT_VALID(tegi_shelf_validate(&shelf, &err));
  const tegi_block* at = shelf.items[1].free.newest;
  for (uint32_t i = 40; i-- > 0; at = at->bin_next) {
    assert_ptr_equal(at, blocks[i]);
  }
  assert_null(at);
  tegi_shelf_set_bounds(&shelf, NULL, 0);
  EXPECT_VALID(tegi_shelf_validate(&shelf, &err));
  assert_int_equal(shelf.items[0].free.count, 40);
  empty(&shelf);
}

static void tightest_fit_is_found_within_the_limit(void** state) {
  tegi_shelf shelf;
  assert_true(tegi_shelf_init(&shelf, &host, 16));
  const uint64_t bounds[] = {1024, 4096, 16384};
  tegi_shelf_set_bounds(&shelf, bounds, 3);
  tegi_block* small = keep(&shelf, 1536);
  tegi_block* middle = keep(&shelf, 3072);
  tegi_block* large = keep(&shelf, 5120);
  assert_ptr_equal(find(&shelf, 1280, 8192), small);
  assert_ptr_equal(find(&shelf, 1537, 8192), middle);
  assert_ptr_equal(find(&shelf, 3072, 3072), middle);
  assert_ptr_equal(find(&shelf, 3073, 8192), large);
  assert_null(find(&shelf, 3073, 5119));
  assert_null(find(&shelf, 5121, UINT64_MAX));
  tegi_shelf_take(&shelf, small);
  assert_ptr_equal(find(&shelf, 1280, 8192), middle);
  empty(&shelf);
}

static void classes_keep_what_was_used_at_once_in_two_windows(void** state) {
  tegi_shelf shelf;
  assert_true(tegi_shelf_init(&shelf, &host, 4));
  tegi_shelf_add_bound(&shelf, 1024, 0);
  tegi_block* blocks[4];
  for (int i = 0; i < 4; ++i) tegi_shelf_add(&shelf, blocks[i] = make(1024));
  for (int i = 0; i < 4; ++i) tegi_shelf_put(&shelf, blocks[i]);
  // From here on one is used at a time; windows have two epochs.
  uint32_t epochs_kept = 0;
  for (uint32_t epoch = 1; epoch <= 12; ++epoch) {
    tegi_shelf_take(&shelf, blocks[0]);
    tegi_shelf_put(&shelf, blocks[0]);
    tegi_shelf_end_epoch(&shelf, epoch % 2 == 0);
    if (tegi_shelf_surplus(&shelf, 1) == 0) epochs_kept = epoch;
  }
  assert_int_equal(epochs_kept, 3);
  assert_int_equal(tegi_shelf_surplus(&shelf, 1), 3);
  tegi_shelf_take(&shelf, blocks[1]);
  assert_int_equal(tegi_shelf_surplus(&shelf, 1), 3);
  tegi_shelf_take(&shelf, blocks[0]);
  tegi_shelf_take(&shelf, blocks[2]);
  assert_int_equal(tegi_shelf_surplus(&shelf, 1), 1);  // what is used stays
  empty(&shelf);
}

static void check_random_step(tegi_shelf* shelf, tegi_block** blocks,
                              uint32_t* in_out_count, uint32_t most) {
  uint32_t at = *in_out_count ? (uint32_t)rand() % *in_out_count : 0;
  tegi_block* block = *in_out_count ? blocks[at] : NULL;
  switch (rand() % 8) {
    case 0:
      if (*in_out_count == most) break;
      block = make(256u * (1 + (uint64_t)rand() % 64));
      tegi_shelf_add(shelf, block);
      blocks[(*in_out_count)++] = block;
      break;
    case 1: {
      uint64_t bounds[16];
      uint32_t count = 0;
      for (uint64_t bound = 256; count < 16; bound += 256) {
        if (rand() % 4 == 0) bounds[count++] = bound;
      }
      tegi_shelf_set_bounds(shelf, bounds, count);
      break;
    }
    case 2:
      tegi_shelf_end_epoch(shelf, rand() % 2);
      break;
    case 3:
      if (!block || block->state != TEGI_BLOCK_FREE) break;
      blocks[at] = blocks[--*in_out_count];
      lose(shelf, block);
      break;
    default:
      if (!block) break;
      if (block->state == TEGI_BLOCK_FREE) {
        tegi_shelf_take(shelf, block);
      } else {
        tegi_shelf_put(shelf, block);
      }
  }
}

static void shelf_is_valid_after_any_operation(void** state) {
  enum { MOST_BLOCKS = 60 };
  tegi_block* blocks[MOST_BLOCKS];
  for (unsigned seed = 0; seed < 8; ++seed) {
    srand(seed);
    tegi_shelf shelf;
    assert_true(tegi_shelf_init(&shelf, &host, 16));
    uint32_t count = 0;
    for (int step = 0; step < 4000; ++step) {
      check_random_step(&shelf, blocks, &count, MOST_BLOCKS);
      EXPECT_VALID(tegi_shelf_validate(&shelf, &err));
    }
    empty(&shelf);
  }
}

static void validity_check_finds_what_is_wrong(void** state) {
  tegi_shelf shelf;
  assert_true(tegi_shelf_init(&shelf, &host, 4));
  tegi_shelf_add_bound(&shelf, 1024, 0);
  tegi_block* block = keep(&shelf, 2048);
  tegi_block* second = keep(&shelf, 2048);
  EXPECT_VALID(tegi_shelf_validate(&shelf, &err));
#define BREAK(what)                                                     \
  do {                                                                  \
    what++;                                                             \
    assert_int_equal(tegi_shelf_validate(&shelf, &err), TEG_BAD_STATE); \
    what--;                                                             \
  } while (0)
  BREAK(shelf.held_bytes);
  BREAK(shelf.used_bytes);
  BREAK(shelf.items[1].used_count);
  BREAK(shelf.items[1].free.count);
  BREAK(block->bin);
  BREAK(block->size);
  BREAK(shelf.filled[0]);
#undef BREAK
  block->cold_since = second->cold_since;
  assert_int_equal(tegi_shelf_validate(&shelf, &err), TEG_BAD_STATE);
  block->cold_since = second->cold_since - 1;
  EXPECT_VALID(tegi_shelf_validate(&shelf, &err));
  empty(&shelf);
}

// ---- Sizes

static void a_size_is_found_again_and_counted(void** state) {
  tegi_sizes sizes;
  tegi_sizes_init(&sizes, &host);
  assert_true(tegi_sizes_find(&sizes, 4096) == TEGI_SIZE_NONE);
  uint32_t a = tegi_sizes_enter(&sizes, 4096);
  uint32_t b = tegi_sizes_enter(&sizes, 8192);
  assert_int_equal(tegi_sizes_enter(&sizes, 4096), a);
  assert_int_equal(tegi_sizes_find(&sizes, 8192), b);
  for (int i = 0; i < 3; ++i) tegi_sizes_count(&sizes, a);
  sizes.records[a].used_count = 1;
  tegi_sizes_count(&sizes, b);
  sizes.records[b].used_count = 0;
  EXPECT_VALID(tegi_sizes_validate(&sizes, &err));
  tegi_size_use uses[4];
  assert_int_equal(tegi_sizes_end_run(&sizes, uses, 4), 2);
  const tegi_size_use* of_a = uses[0].size == 4096 ? &uses[0] : &uses[1];
  assert_int_equal(of_a->request_count, 3);
  assert_int_equal(of_a->peak, 3);
  assert_true(sizes.records[a].is_held && !sizes.records[b].is_held);
  assert_int_equal(sizes.records[a].peak, 1);
  // Nothing was asked for in the run that follows.
  assert_int_equal(tegi_sizes_end_run(&sizes, uses, 4), 0);
  EXPECT_VALID(tegi_sizes_validate(&sizes, &err));
  tegi_sizes_deinit(&sizes);
}

static void records_are_bounded_whatever_is_asked_for(void** state) {
  tegi_sizes sizes;
  tegi_sizes_init(&sizes, &host);
  uint64_t before = atomic_load(&host.live_bytes);
  assert_true(before == 0);
  uint32_t held = tegi_sizes_enter(&sizes, 123 * 256);
  tegi_sizes_count(&sizes, held);
  srand(1);
  static tegi_size_use uses[TEGI_SIZES_MOST];
  for (uint32_t i = 0; i < 400000; ++i) {
    uint64_t size = (256 + (uint64_t)rand() * 256) << rand() % 24;
    uint32_t number = tegi_sizes_enter(&sizes, size);
    assert_true(number != TEGI_SIZE_NONE);
    uint64_t recorded = sizes.records[number].size;
    assert_true(recorded >= size && recorded - size <= size / 32);
    assert_int_equal(tegi_sizes_find(&sizes, size), number);
    tegi_sizes_count(&sizes, number);
    sizes.records[number].used_count--;
    if (i % 5000 == 4999) {
      (void)tegi_sizes_end_run(&sizes, uses, TEGI_SIZES_MOST);
      EXPECT_VALID(tegi_sizes_validate(&sizes, &err));
    }
  }
  assert_true(sizes.count <= TEGI_SIZES_MOST);
  assert_true(sizes.end <= TEGI_SIZES_MOST);
  assert_int_equal(tegi_sizes_find(&sizes, 123 * 256), held);
  assert_int_equal(sizes.records[held].used_count, 1);
  tegi_sizes_deinit(&sizes);
}

static void sizes_that_are_not_used_any_more_are_given_up(void** state) {
  tegi_sizes sizes;
  tegi_sizes_init(&sizes, &host);
  static tegi_size_use uses[TEGI_SIZES_MOST];
  // Ten sizes a run that never come again; always exact.
  for (uint64_t i = 1; i <= 100000; ++i) {
    uint32_t number = tegi_sizes_enter(&sizes, i * 256);
    assert_true(sizes.records[number].size == i * 256);
    tegi_sizes_count(&sizes, number);
    sizes.records[number].used_count--;
    if (i % 10 == 0) {
      assert_int_equal(tegi_sizes_end_run(&sizes, uses, TEGI_SIZES_MOST), 10);
    }
  }
  assert_true(sizes.end <= TEGI_SIZES_EXACT);
  EXPECT_VALID(tegi_sizes_validate(&sizes, &err));
  tegi_sizes_deinit(&sizes);
}

static int begin(void** state) { return tegi_host_init(&host, NULL, NULL); }

static int end(void** state) {
  assert_true(atomic_load(&host.live_bytes) == 0);
  return 0;
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(floor_and_ceiling_bracket_a_size),
      cmocka_unit_test(bounds_are_added_once_and_replaced),
      cmocka_unit_test(buffers_are_filed_anew_by_age_when_classes_change),
      cmocka_unit_test(tightest_fit_is_found_within_the_limit),
      cmocka_unit_test(classes_keep_what_was_used_at_once_in_two_windows),
      cmocka_unit_test(shelf_is_valid_after_any_operation),
      cmocka_unit_test(validity_check_finds_what_is_wrong),
      cmocka_unit_test(a_size_is_found_again_and_counted),
      cmocka_unit_test(records_are_bounded_whatever_is_asked_for),
      cmocka_unit_test(sizes_that_are_not_used_any_more_are_given_up),
  };
  return cmocka_run_group_tests(tests, begin, end);
}
