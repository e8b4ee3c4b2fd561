// SPDX-License-Identifier: Apache-2.0
//
// Bins of free blocks against a plain array of keys.
#include <stdlib.h>
#include <string.h>

#include "range/bins.h"
#include "support/device_fixture.h"

enum { BLOCKS = 300, STEPS = 30000, BINS = TEGI_BIN_LEVELS * TEGI_BIN_STEPS };

// A block with a second link, as holes over tiles have.
typedef struct item {
  tegi_block block;
  tegi_bin_link other_link;
  uint64_t key;  // 0 = in no bin
} item;

typedef struct scene {
  tegi_bins bins;
  item items[BLOCKS];
} scene;

static uint32_t draw(uint32_t below) { return (uint32_t)rand() % below; }

// Sizes of every magnitude, many of them close together.
static uint64_t draw_key(void) {
  uint64_t key = UINT64_C(1) << draw(draw(4) ? 26 : 62);
  if (draw(2)) key += key / 32 * draw(40);
  return key + draw(20);
}

static tegi_bin_link* link_of(scene* s, item* it) {
  return s->bins.link_offset ? &it->other_link : &it->block.link;
}

// Every list is whole, in the right bin, and known to the bitmaps.
static void check(scene* s) {
  uint64_t count = 0;
  for (uint32_t bin = 0; bin < BINS; bin++) {
    const tegi_block* before = NULL;
    for (tegi_block* block = s->bins.heads[bin]; block;) {
      item* it = (item*)(void*)block;
      tegi_bin_link* link = link_of(s, it);
      assert_true(it->key != 0);
      assert_int_equal(link->key, it->key);
      assert_int_equal(tegi_bin_of(it->key), bin);
      assert_ptr_equal(link->prev, before);
      before = block;
      block = link->next;
      count++;
    }
    uint32_t level = bin / TEGI_BIN_STEPS;
    bool is_marked = s->bins.step_bits[level] >> (bin % TEGI_BIN_STEPS) & 1u;
    assert_int_equal(is_marked, s->bins.heads[bin] != NULL);
    if (bin % TEGI_BIN_STEPS == 0) {
      assert_int_equal(s->bins.level_bits >> level & 1u,
                       s->bins.step_bits[level] != 0);
    }
  }
  uint64_t expected = 0;
  for (uint32_t i = 0; i < BLOCKS; i++) expected += s->items[i].key != 0;
  assert_int_equal(count, expected);
  assert_int_equal(s->bins.count, expected);
}

static uint32_t naive_next(const scene* s, uint32_t from) {
  for (uint32_t bin = from; bin < BINS; bin++) {
    if (s->bins.heads[bin]) return bin;
  }
  return UINT32_MAX;
}

static uint32_t naive_before(const scene* s, uint32_t from) {
  for (uint32_t bin = from + 1; bin-- > 0;) {
    if (s->bins.heads[bin]) return bin;
  }
  return UINT32_MAX;
}

static bool is_even(void* user, const tegi_block* block) {
  return (block->offset & 1) == 0;
}

// What a find gives fits, and is from the lowest bin in which any can be. Only
// in the bin of the key itself may a block that fits go unseen, when others
// stand before it.
static void check_find(scene* s, uint64_t key, bool is_filtered) {
  tegi_block* found =
      tegi_bins_find(&s->bins, key, is_filtered ? is_even : NULL, NULL);
  uint32_t own = tegi_bin_of(key);
  uint32_t first = UINT32_MAX;  // lowest bin above the key's with a block
  uint32_t own_count = 0;
  uint32_t most_in_a_bin = 0;
  static uint32_t counts[BINS];
  memset(counts, 0, sizeof counts);
  for (uint32_t i = 0; i < BLOCKS; i++) {
    const item* it = &s->items[i];
    if (!it->key) continue;
    uint32_t bin = tegi_bin_of(it->key);
    if (++counts[bin] > most_in_a_bin) most_in_a_bin = counts[bin];
    own_count += bin == own;
    bool fits = it->key >= key && (!is_filtered || is_even(NULL, &it->block));
    if (fits && bin > own && bin < first) first = bin;
  }
  if (!found) {
    assert_true(own == BINS - 1 || first == UINT32_MAX || most_in_a_bin > 16);
    if (own_count <= 4 && most_in_a_bin <= 16) {
      assert_true(first == UINT32_MAX);
    }
    return;
  }
  const item* it = (const item*)(const void*)found;
  assert_true(it->key >= key);
  if (is_filtered) assert_true(is_even(NULL, found));
  uint32_t bin = tegi_bin_of(it->key);
  assert_true(bin == own || most_in_a_bin > 16 || bin == first);
  // All of a small bin is looked at: the tightest of it is taken.
  if (counts[bin] > 4) return;
  for (uint32_t i = 0; i < BLOCKS; i++) {
    const item* other = &s->items[i];
    bool fits = other->key >= key && tegi_bin_of(other->key) == bin &&
                (!is_filtered || is_even(NULL, &other->block));
    if (fits) assert_true(other->key >= it->key);
  }
}

typedef struct bounded {
  uint32_t last_bin;
  uint64_t most;
} bounded;

static bool is_at_most(void* user, const tegi_block* block) {
  const bounded* wanted = user;
  uint64_t key = ((const item*)(const void*)block)->key;
  assert_true(tegi_bin_of(key) <= wanted->last_bin);
  return key <= wanted->most;
}

static bool is_small_enough(void* user, const tegi_block* block) {
  return ((const item*)(const void*)block)->key <= *(uint64_t*)user;
}

// A bound leaves out bins in which the filter would say no to everything, and
// changes nothing else.
static void check_find_within(scene* s, uint64_t key, uint64_t most) {
  bounded wanted = {tegi_bin_of(most), most};
  assert_ptr_equal(
      tegi_bins_find_within(&s->bins, key, most, is_at_most, &wanted),
      tegi_bins_find(&s->bins, key, is_small_enough, &most));
}

static void play(uint32_t link_offset, unsigned seed) {
  scene* s = calloc(1, sizeof *s);
  assert_non_null(s);
  s->bins.link_offset = link_offset;
  srand(seed);
  for (uint32_t i = 0; i < BLOCKS; i++) s->items[i].block.offset = i;
  for (int step = 0; step < STEPS; step++) {
    item* it = &s->items[draw(BLOCKS)];
    if (it->key) {
      tegi_bins_remove(&s->bins, &it->block);
      it->key = 0;
    } else {
      it->key = draw_key();
      tegi_bins_insert(&s->bins, &it->block, it->key);
    }
    if (step % 16 == 0) check(s);
    uint32_t bin = draw(BINS);
    assert_int_equal(tegi_bins_next(&s->bins, bin), naive_next(s, bin));
    assert_int_equal(tegi_bins_before(&s->bins, bin), naive_before(s, bin));
    uint64_t key = draw_key();
    if (step % 8 == 0) check_find(s, key, step % 16 == 0);
    if (step % 8 == 4) check_find_within(s, key, key + draw_key());
  }
  check(s);
  for (uint32_t i = 0; i < BLOCKS; i++) {
    if (s->items[i].key) tegi_bins_remove(&s->bins, &s->items[i].block);
    s->items[i].key = 0;
  }
  check(s);
  assert_int_equal(s->bins.level_bits, 0);
  free(s);
}

static void bins_match_a_plain_array(void** state) { play(0, 1); }

static void a_block_has_a_place_in_a_second_table(void** state) {
  play(offsetof(item, other_link), 2);
}

// ---- The bin of a size.

static void bins_are_monotone_and_narrow(void** state) {
  uint32_t last = 0;
  for (uint64_t size = 0; size < UINT64_C(1) << 17; size++) {
    uint32_t bin = tegi_bin_of(size);
    assert_true(bin == last || bin == last + 1);
    last = bin;
  }
  // At every power of two, and a step of its 32 away.
  for (uint32_t bit = 10; bit < 48; bit++) {
    uint64_t size = UINT64_C(1) << bit;
    assert_true(tegi_bin_of(size) > tegi_bin_of(size - 1));
    assert_int_equal(tegi_bin_of(size), tegi_bin_of(size + size / 32 - 1));
    assert_int_equal(tegi_bin_of(size + size / 32), tegi_bin_of(size) + 1);
  }
  assert_int_equal(tegi_bin_of(UINT64_MAX), BINS - 1);
  assert_int_equal(tegi_bin_of(UINT64_C(1) << 62), BINS - 1);
}

// The last bin holds sizes that have nothing in common.
static void the_last_bin_is_searched_by_key(void** state) {
  static tegi_bins bins;
  static tegi_block blocks[3];
  memset(&bins, 0, sizeof bins);
  uint64_t keys[] = {UINT64_C(1) << 60, UINT64_C(1) << 62, UINT64_C(1) << 61};
  for (int i = 0; i < 3; i++) tegi_bins_insert(&bins, &blocks[i], keys[i]);
  assert_ptr_equal(tegi_bins_find(&bins, keys[0], NULL, NULL), &blocks[0]);
  assert_ptr_equal(tegi_bins_find(&bins, keys[0] + 1, NULL, NULL), &blocks[2]);
  assert_ptr_equal(tegi_bins_find(&bins, keys[1], NULL, NULL), &blocks[1]);
  assert_null(tegi_bins_find(&bins, keys[1] + 1, NULL, NULL));
  assert_ptr_equal(tegi_bins_find(&bins, 1, NULL, NULL), &blocks[0]);
}

static void an_empty_table_finds_nothing(void** state) {
  static tegi_bins bins;
  assert_null(tegi_bins_find(&bins, 0, NULL, NULL));
  assert_null(tegi_bins_find(&bins, UINT64_MAX, NULL, NULL));
  assert_int_equal(tegi_bins_next(&bins, 0), UINT32_MAX);
  assert_int_equal(tegi_bins_next(&bins, BINS), UINT32_MAX);
  assert_int_equal(tegi_bins_before(&bins, BINS - 1), UINT32_MAX);
  assert_int_equal(tegi_bins_before(&bins, 0), UINT32_MAX);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(bins_match_a_plain_array),
      cmocka_unit_test(a_block_has_a_place_in_a_second_table),
      cmocka_unit_test(bins_are_monotone_and_narrow),
      cmocka_unit_test(the_last_bin_is_searched_by_key),
      cmocka_unit_test(an_empty_table_finds_nothing),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
