// SPDX-License-Identifier: Apache-2.0
//
// What the tests of traces share: events out of bytes, bytes out of events,
// random events that keep the promises, and an allocator that fails on demand.
#ifndef TEGULA_TESTS_TRACE_FIXTURE_H
#define TEGULA_TESTS_TRACE_FIXTURE_H

#include "tegula/trace.h"

// Bytes that a sink gathered; free |data| with free().
typedef struct fixture_bytes {
  uint8_t* data;
  size_t size, capacity;
} fixture_bytes;

// A sink that appends to a fixture_bytes.
teg_trace_sink fixture_sink(fixture_bytes* bytes);

// All that a reader gave: events before the result that ended it, TEG_END if
// nothing was wrong. Free with fixture_read_free().
typedef struct fixture_read {
  teg_trace_event* events;
  size_t count;
  teg_result result;
  teg_error err;
} fixture_read;

fixture_read fixture_read_memory(const void* data, size_t size);
fixture_read fixture_read_path(const char* path);
void fixture_read_free(fixture_read* read);

// Writes |count| events as |format|; fails the test if that fails. Tags 1 to
// |tag_count| are added first, as "tag 1" and so on.
fixture_bytes fixture_write(const teg_trace_event* events, size_t count,
                            teg_trace_format format, uint32_t block_events,
                            uint32_t tag_count);

// A generator of its own, so that a seed gives the same events everywhere.
uint64_t fixture_random(uint64_t* seed);

// |count| events that a reader would give. |is_plain|: what RMM's CSV can
// hold, that is ids 1, 2, 3 ..., no tags, lifetimes and flags, small streams.
// Tags go up to 3. Free with free().
teg_trace_event* fixture_events(uint64_t seed, size_t count, int is_plain);

// Both are the same, field by field; prints the first that is not.
int fixture_same(const teg_trace_event* a, size_t a_count,
                 const teg_trace_event* b, size_t b_count);

// An allocator that fails its |fail_at|-th call (from 1; 0 = never) and all
// later ones, and counts what is not given back.
typedef struct fixture_heap {
  uint64_t calls;
  uint64_t fail_at;
  uint64_t live_count;
  uint64_t live_bytes;
  uint64_t peak_bytes;
} fixture_heap;

teg_allocator fixture_allocator(fixture_heap* heap);

#endif  // TEGULA_TESTS_TRACE_FIXTURE_H
