// SPDX-License-Identifier: Apache-2.0
//
// Moving bytes between the program and buffers: which way a write takes, and
// the bounded ring of staging memory that the recorded way goes through.
//
// A stream has a ring for uploads and one for downloads. A ring starts at
// ring_min, grows fourfold when something does not fit, up to ring_max, and
// then waits for its oldest slots. A slot is a range of ring bytes and the
// serial of the batch whose copy uses it; a download's is held until the bytes
// are fetched. Slots come back in order. No lock: a stream is used by one
// thread.
#ifndef TEGULA_CORE_TRANSFER_H
#define TEGULA_CORE_TRANSFER_H

#include "policy/policy.h"
#include "tegula/stream.h"

typedef struct tegi_slot {
  uint64_t end;     // position behind the slot, counted from the ring's birth
  uint64_t serial;  // of the batch that uses it
  bool is_held;     // by a read that is not finished
} tegi_slot;

// Memory of a ring that has grown, while reads still hold bytes of it.
typedef struct tegi_ring_memory {
  struct tegi_ring_memory* next;
  tegi_extent* extent;
  uint64_t held_count;  // > 0
} tegi_ring_memory;

typedef struct tegi_ring {
  tegi_extent* extent;  // NULL = no memory yet
  char* pointer;
  uint64_t size;
  uint64_t head;     // positions, ever growing: next byte to hand out
  uint64_t tail;     // first byte that is still in use
  tegi_slot* slots;  // a queue in an array
  size_t slot_capacity;
  size_t first_slot;
  size_t slot_count;
  uint64_t dropped_count;  // slots that have come back, since the ring's birth
  tegi_ring_memory* outgrown;
} tegi_ring;

// How a write reaches its buffer.
typedef enum tegi_way {
  TEGI_WAY_DIRECT = 0,  // a store through the buffer's own mapping
  TEGI_WAY_FRESH = 1,   // the same, after the buffer got a block that is idle
  TEGI_WAY_RING = 2,    // a copy recorded from the ring
  TEGI_WAY_COUNT = 3,
} tegi_way;

// The cheapest way that the rule allows for a write of |size| bytes at
// |offset|. TEGI_WAY_FRESH: the buffer has got the idle block, for which its
// policy may have had to grow.
tegi_way tegi_transfer_choose(teg_stream* stream, teg_buffer* target,
                              uint64_t offset, uint64_t size);

// src/core/fresh.c: gives |buffer|, all of whose bytes are written next, a
// block that nothing uses, in place of one that is in use. False if there is
// none to be had.
bool tegi_fresh_block(teg_stream* stream, teg_buffer* buffer);
// Gives back what the buffer keeps for that. Session's lock held.
void tegi_fresh_release(teg_buffer* buffer);

// Gives the ring's memory back; its copies are over or dropped.
void tegi_ring_destroy(teg_stream* stream, tegi_ring* ring);

#endif  // TEGULA_CORE_TRANSFER_H
