// SPDX-License-Identifier: Apache-2.0
#include "support/trace_fixture.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static teg_result append(void* user, const void* data, size_t size,
                         teg_error* err) {
  fixture_bytes* bytes = user;
  if (bytes->size + size > bytes->capacity) {
    bytes->capacity = (bytes->size + size) * 2;
    bytes->data = realloc(bytes->data, bytes->capacity);
    assert_non_null(bytes->data);
  }
  memcpy(bytes->data + bytes->size, data, size);
  bytes->size += size;
  return TEG_OK;
}

teg_trace_sink fixture_sink(fixture_bytes* bytes) {
  return (teg_trace_sink){append, bytes};
}

// Takes ownership of |reader|; |opened| is the result of opening it.
static fixture_read read_all(teg_trace_reader* reader, teg_result opened,
                             teg_error err) {
  fixture_read read = {.result = opened, .err = err};
  size_t capacity = 0;
  if (opened != TEG_OK) {
    assert_null(reader);
    return read;
  }
  for (;;) {
    if (read.count + 777 > capacity) {
      capacity = (read.count + 777) * 2;
      read.events = realloc(read.events, capacity * sizeof *read.events);
      assert_non_null(read.events);
    }
    size_t count;
    read.result = teg_trace_reader_next_many(
        reader, 777, read.events + read.count, &count, &read.err);
    read.count += count;
    if (read.result != TEG_OK) break;
    assert_true(count > 0);
  }
  teg_trace_reader_close(reader);
  return read;
}

fixture_read fixture_read_memory(const void* data, size_t size) {
  teg_error err;
  teg_trace_reader* reader;
  teg_result result =
      teg_trace_reader_open_memory(data, size, NULL, &reader, &err);
  return read_all(reader, result, err);
}

fixture_read fixture_read_path(const char* path) {
  teg_error err;
  teg_trace_reader* reader;
  teg_result result = teg_trace_reader_open(path, NULL, &reader, &err);
  return read_all(reader, result, err);
}

void fixture_read_free(fixture_read* read) {
  free(read->events);
  read->events = NULL;
}

fixture_bytes fixture_write(const teg_trace_event* events, size_t count,
                            teg_trace_format format, uint32_t block_events,
                            uint32_t tag_count) {
  fixture_bytes bytes = {0};
  teg_trace_sink sink = fixture_sink(&bytes);
  teg_trace_writer_params params = TEG_TRACE_WRITER_PARAMS_INIT;
  params.format = format;
  params.block_event_count = block_events;
  params.compression_level = 3;
  params.name = "fixture";
  params.source = "random events";
  teg_error err;
  teg_trace_writer* writer;
  assert_int_equal(teg_trace_writer_open_sink(&sink, &params, &writer, &err),
                   TEG_OK);
  for (uint32_t i = 1; i <= tag_count; ++i) {
    char text[32];
    snprintf(text, sizeof text, "tag %u", i);
    uint32_t tag;
    assert_int_equal(teg_trace_writer_add_tag(writer, text, &tag, &err),
                     TEG_OK);
    assert_int_equal(tag, i);
  }
  for (size_t i = 0; i < count; ++i) {
    teg_result result = teg_trace_writer_append(writer, &events[i], &err);
    if (result != TEG_OK) fail_msg("event %zu: %s", i, err.message);
  }
  assert_int_equal(teg_trace_writer_finish(writer, &err), TEG_OK);
  teg_trace_writer_close(writer);
  return bytes;
}

uint64_t fixture_random(uint64_t* seed) {
  uint64_t value = *seed += UINT64_C(0x9e3779b97f4a7c15);
  value = (value ^ (value >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
  value = (value ^ (value >> 27)) * UINT64_C(0x94d049bb133111eb);
  return value ^ (value >> 31);
}

// A size or step of any magnitude up to |bits| bits.
static uint64_t spread(uint64_t* seed, uint32_t bits) {
  return fixture_random(seed) >> (64 - 1 - fixture_random(seed) % bits);
}

typedef struct generator {
  uint64_t seed;
  teg_trace_event live[64];
  size_t live_count;
  uint64_t last_id;
  uint64_t time_ns;
  int is_plain;
} generator;

static teg_trace_event make_allocation(generator* from, teg_trace_event event) {
  uint64_t* seed = &from->seed;
  event.kind = TEG_TRACE_ALLOCATE;
  event.size = spread(seed, 54) + 1;
  event.id = from->last_id + 1;
  if (!from->is_plain) {
    if (fixture_random(seed) % 8 == 0) event.id += spread(seed, 40);
    event.tag = (uint32_t)(fixture_random(seed) % 4);
    event.flags = (uint16_t)(fixture_random(seed) % 2);
    event.lifetime = (uint8_t)fixture_random(seed);
  }
  from->last_id = event.id;
  from->live[from->live_count++] = event;
  return event;
}

static teg_trace_event make_free(generator* from, teg_trace_event event) {
  size_t index = fixture_random(&from->seed) % from->live_count;
  teg_trace_event freed = from->live[index];
  from->live[index] = from->live[--from->live_count];
  event.kind = TEG_TRACE_FREE;
  event.id = freed.id;
  event.size = freed.size;
  event.tag = freed.tag;
  event.lifetime = freed.lifetime;
  return event;
}

teg_trace_event* fixture_events(uint64_t seed, size_t count, int is_plain) {
  teg_trace_event* events = calloc(count + 1, sizeof *events);
  assert_non_null(events);
  generator from = {.seed = seed, .is_plain = is_plain};
  uint64_t unit = fixture_random(&from.seed) % 2 ? 1000 : 1;
  for (size_t i = 0; i < count; ++i) {
    uint64_t dice = fixture_random(&from.seed) % 100;
    teg_trace_event event = {0};
    from.time_ns += spread(&from.seed, 20) * unit;
    if (dice == 99 && from.time_ns > 9 * unit) from.time_ns -= 9 * unit;
    event.time_ns = from.time_ns;
    if (dice % 7 == 0) {
      event.thread = (uint32_t)fixture_random(&from.seed) & 0x7fffffff;
      event.stream = (uint32_t)fixture_random(&from.seed) & 0x7fffffff;
      if (!is_plain) event.stream |= UINT32_C(1) << 31;
    }
    if (dice < 4) {
      event.kind = (uint8_t)(TEG_TRACE_LOAD_END + dice % 3);
    } else if (from.live_count == 0 || (dice < 54 && from.live_count < 64)) {
      event = make_allocation(&from, event);
    } else {
      event = make_free(&from, event);
    }
    events[i] = event;
  }
  return events;
}

int fixture_same(const teg_trace_event* a, size_t a_count,
                 const teg_trace_event* b, size_t b_count) {
  if (a_count != b_count) {
    print_error("%zu events and %zu events\n", a_count, b_count);
    return 0;
  }
  for (size_t i = 0; i < a_count; ++i) {
    if (memcmp(&a[i], &b[i], sizeof *a) == 0) continue;
    const teg_trace_event* both[] = {&a[i], &b[i]};
    for (int j = 0; j < 2; ++j) {
      const teg_trace_event* e = both[j];
      print_error("event %zu: kind %u time %" PRIu64 " id %" PRIu64
                  " size %" PRIu64
                  " stream %u thread %u tag %u flags %u lifetime %u\n",
                  i, e->kind, e->time_ns, e->id, e->size, e->stream, e->thread,
                  e->tag, e->flags, e->lifetime);
    }
    return 0;
  }
  return 1;
}

static void* heap_allocate(void* user, size_t size, size_t alignment) {
  fixture_heap* heap = user;
  ++heap->calls;
  if (heap->fail_at != 0 && heap->calls >= heap->fail_at) return NULL;
  void* ptr =
      aligned_alloc(alignment, (size + alignment - 1) & ~(alignment - 1));
  assert_non_null(ptr);
  ++heap->live_count;
  heap->live_bytes += size;
  if (heap->live_bytes > heap->peak_bytes) heap->peak_bytes = heap->live_bytes;
  return ptr;
}

static void heap_release(void* user, void* ptr, size_t size) {
  fixture_heap* heap = user;
  if (!ptr) return;
  --heap->live_count;
  heap->live_bytes -= size;
  free(ptr);
}

teg_allocator fixture_allocator(fixture_heap* heap) {
  return (teg_allocator){heap_allocate, heap_release, heap};
}
