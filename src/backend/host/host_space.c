// SPDX-License-Identifier: Apache-2.0
//
// The treap behind host_space.h. Node 0 stands for "none" and has size 0, so
// that it needs no special case. Invariants: starts ascend from left to
// right, free intervals never touch, max_size is right.
#include "backend/host/host_space.h"

#include "base/checked.h"
#include "base/error.h"

void tegi_hostdev_space_init(tegi_hostdev_space* space, tegi_host* host) {
  *space = (tegi_hostdev_space){.host = host, .random = 0x9e3779b9u};
}

void tegi_hostdev_space_deinit(tegi_hostdev_space* space) {
  tegi_host_free(space->host, space->nodes,
                 space->capacity * sizeof *space->nodes);
  space->nodes = NULL;
  space->capacity = 0;
}

// Room for one free interval more per piece, and one over.
static bool make_room(tegi_hostdev_space* space, size_t piece_count) {
  return tegi_host_grow_array(space->host, &space->nodes, &space->capacity,
                              piece_count + 2, sizeof *space->nodes) != 0;
}

static uint32_t new_node(tegi_hostdev_space* space, uint64_t start,
                         uint64_t size) {
  uint32_t number = space->free_node;
  if (number) {
    space->free_node = space->nodes[number].left;
  } else {
    number = ++space->used_count;
  }
  TEG_ASSERT(number < space->capacity);
  space->random ^= space->random << 13;
  space->random ^= space->random >> 17;
  space->random ^= space->random << 5;
  space->nodes[number] = (tegi_hostdev_space_node){.start = start,
                                                   .size = size,
                                                   .max_size = size,
                                                   .priority = space->random};
  return number;
}

static void drop_node(tegi_hostdev_space* space, uint32_t number) {
  space->nodes[number] = (tegi_hostdev_space_node){.left = space->free_node};
  space->free_node = number;
}

static void update(tegi_hostdev_space* space, uint32_t number) {
  tegi_hostdev_space_node* node = &space->nodes[number];
  uint64_t below = tegi_max_u64(space->nodes[node->left].max_size,
                                space->nodes[node->right].max_size);
  node->max_size = tegi_max_u64(node->size, below);
}

static uint32_t merge(tegi_hostdev_space* space, uint32_t low, uint32_t high) {
  if (!low) return high;
  if (!high) return low;
  if (space->nodes[low].priority >= space->nodes[high].priority) {
    space->nodes[low].right = merge(space, space->nodes[low].right, high);
    update(space, low);
    return low;
  }
  space->nodes[high].left = merge(space, low, space->nodes[high].left);
  update(space, high);
  return high;
}

// Nodes that start below |start| go to |out_low|, the others to |out_high|.
static void split(tegi_hostdev_space* space, uint32_t number, uint64_t start,
                  uint32_t* out_low, uint32_t* out_high) {
  if (!number) {
    *out_low = *out_high = 0;
    return;
  }
  tegi_hostdev_space_node* node = &space->nodes[number];
  if (node->start < start) {
    split(space, node->right, start, &node->right, out_high);
    *out_low = number;
  } else {
    split(space, node->left, start, out_low, &node->left);
    *out_high = number;
  }
  update(space, number);
}

// Removes the highest node of a tree; returns the tree's new root.
static uint32_t pop_highest(tegi_hostdev_space* space, uint32_t root) {
  tegi_hostdev_space_node* node = &space->nodes[root];
  if (!node->right) {
    uint32_t rest = node->left;
    drop_node(space, root);
    return rest;
  }
  node->right = pop_highest(space, node->right);
  update(space, root);
  return root;
}

static uint32_t pop_lowest(tegi_hostdev_space* space, uint32_t root) {
  tegi_hostdev_space_node* node = &space->nodes[root];
  if (!node->left) {
    uint32_t rest = node->right;
    drop_node(space, root);
    return rest;
  }
  node->left = pop_lowest(space, node->left);
  update(space, root);
  return root;
}

// Puts a free interval in, merged with the neighbours it touches.
static void insert(tegi_hostdev_space* space, uint64_t start, uint64_t size) {
  uint32_t low, high;
  split(space, space->root, start, &low, &high);
  if (low) {
    uint32_t last = low;
    while (space->nodes[last].right) last = space->nodes[last].right;
    uint64_t last_start = space->nodes[last].start;
    uint64_t last_end = last_start + space->nodes[last].size;
    TEG_ASSERT(last_end <= start);
    if (last_end == start) {
      size += start - last_start;
      start = last_start;
      low = pop_highest(space, low);
    }
  }
  if (high) {
    uint32_t first = high;
    while (space->nodes[first].left) first = space->nodes[first].left;
    TEG_ASSERT(start + size <= space->nodes[first].start);
    if (start + size == space->nodes[first].start) {
      size += space->nodes[first].size;
      high = pop_lowest(space, high);
    }
  }
  uint32_t fresh = new_node(space, start, size);
  space->root = merge(space, merge(space, low, fresh), high);
}

bool tegi_hostdev_space_add(tegi_hostdev_space* space, uint64_t start,
                            uint64_t size) {
  if (!make_room(space, space->piece_count + 1)) return false;
  space->piece_count++;
  insert(space, start, size);
  return true;
}

// Takes |size| from the lowest fitting node of a tree that has one; returns
// the tree's new root.
static uint32_t take_lowest(tegi_hostdev_space* space, uint32_t root,
                            uint64_t size, uint64_t* out_start) {
  tegi_hostdev_space_node* node = &space->nodes[root];
  if (space->nodes[node->left].max_size >= size) {
    node->left = take_lowest(space, node->left, size, out_start);
  } else if (node->size >= size) {
    *out_start = node->start;
    node->start += size;
    node->size -= size;
    if (node->size == 0) {
      uint32_t rest = merge(space, node->left, node->right);
      drop_node(space, root);
      return rest;
    }
  } else {
    node->right = take_lowest(space, node->right, size, out_start);
  }
  update(space, root);
  return root;
}

tegi_hostdev_take tegi_hostdev_space_take(tegi_hostdev_space* space,
                                          uint64_t size, uint64_t* out_start) {
  *out_start = 0;
  if (!space->root || space->nodes[space->root].max_size < size) {
    return TEGI_HOSTDEV_NO_ROOM;
  }
  if (!make_room(space, space->piece_count + 1)) {
    return TEGI_HOSTDEV_NO_MEMORY;
  }
  space->piece_count++;
  space->root = take_lowest(space, space->root, size, out_start);
  return TEGI_HOSTDEV_TAKEN;
}

void tegi_hostdev_space_give(tegi_hostdev_space* space, uint64_t start,
                             uint64_t size) {
  space->piece_count--;
  insert(space, start, size);
}

uint64_t tegi_hostdev_space_free_before(const tegi_hostdev_space* space,
                                        uint64_t end) {
  uint32_t number = space->root;
  while (number) {
    const tegi_hostdev_space_node* node = &space->nodes[number];
    if (node->start >= end) {
      number = node->left;
    } else if (node->start + node->size < end) {
      number = node->right;
    } else {
      return node->start + node->size == end ? node->start : end;
    }
  }
  return end;
}

// Checks a subtree whose starts lie from |*floor| on; moves |*floor| to its
// end and adds its bytes to |*sum|.
static bool is_valid(const tegi_hostdev_space* space, uint32_t number,
                     uint64_t* floor, bool* is_first, uint64_t* sum) {
  if (!number) return true;
  const tegi_hostdev_space_node* node = &space->nodes[number];
  const tegi_hostdev_space_node* left = &space->nodes[node->left];
  const tegi_hostdev_space_node* right = &space->nodes[node->right];
  if (node->size == 0) return false;
  if ((node->left && left->priority > node->priority) ||
      (node->right && right->priority > node->priority)) {
    return false;
  }
  if (node->max_size !=
      tegi_max_u64(node->size, tegi_max_u64(left->max_size, right->max_size)))
    return false;
  if (!is_valid(space, node->left, floor, is_first, sum)) return false;
  if (!*is_first && node->start <= *floor) return false;
  *is_first = false;
  *floor = node->start + node->size;
  *sum += node->size;
  return is_valid(space, node->right, floor, is_first, sum);
}

bool tegi_hostdev_space_validate(const tegi_hostdev_space* space,
                                 uint64_t free_bytes) {
  uint64_t floor = 0, sum = 0;
  bool is_first = true;
  return is_valid(space, space->root, &floor, &is_first, &sum) &&
         sum == free_bytes;
}
