// SPDX-License-Identifier: Apache-2.0
//
// Free intervals of a 64-bit space, first fit, neighbours merged: which bytes
// of the heap file, or which addresses of the buffer windows, are free.
//
// A treap by start, each node with the largest size below it, so that taking
// and giving are logarithmic. Not locked: the owner's lock guards it.
//
// Giving back never allocates: there is at most one free interval more than
// intervals taken and added, and take() and add() make room for it.
#ifndef TEGULA_BACKEND_HOST_SPACE_H
#define TEGULA_BACKEND_HOST_SPACE_H

#include <stdbool.h>

#include "base/memory.h"

typedef struct tegi_hostdev_space_node {
  uint64_t start;
  uint64_t size;
  uint64_t max_size;  // of the subtree
  uint32_t left;      // node numbers; 0 = none
  uint32_t right;
  uint32_t priority;  // heap order: a parent's is not below its child's
} tegi_hostdev_space_node;

typedef struct tegi_hostdev_space {
  tegi_host* host;
  tegi_hostdev_space_node* nodes;  // number 0 is not used
  size_t capacity;
  size_t piece_count;   // intervals taken and added: bounds the free ones
  uint32_t used_count;  // node numbers ever used
  uint32_t root;
  uint32_t free_node;  // list of unused nodes through |left|
  uint32_t random;
} tegi_hostdev_space;

// All-zero plus |host| is an empty space.
void tegi_hostdev_space_init(tegi_hostdev_space* space, tegi_host* host);
void tegi_hostdev_space_deinit(tegi_hostdev_space* space);

// Adds a free interval that no other one overlaps. False without memory.
bool tegi_hostdev_space_add(tegi_hostdev_space* space, uint64_t start,
                            uint64_t size);

typedef enum tegi_hostdev_take {
  TEGI_HOSTDEV_TAKEN,
  TEGI_HOSTDEV_NO_ROOM,    // no free interval is large enough
  TEGI_HOSTDEV_NO_MEMORY,  // no host memory for the records
} tegi_hostdev_take;

// Takes |size| > 0 from the lowest free interval that is large enough.
tegi_hostdev_take tegi_hostdev_space_take(tegi_hostdev_space* space,
                                          uint64_t size, uint64_t* out_start);

// Gives back what take() gave. Never fails.
void tegi_hostdev_space_give(tegi_hostdev_space* space, uint64_t start,
                             uint64_t size);

// Where the free interval that ends exactly at |end| starts; |end| if the
// byte before it is taken.
uint64_t tegi_hostdev_space_free_before(const tegi_hostdev_space* space,
                                        uint64_t end);

// Sum of all free intervals equals |free_bytes|, order, maxima and heap order
// hold. For tests.
bool tegi_hostdev_space_validate(const tegi_hostdev_space* space,
                                 uint64_t free_bytes);

#endif  // TEGULA_BACKEND_HOST_SPACE_H
