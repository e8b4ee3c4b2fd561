// SPDX-License-Identifier: Apache-2.0
//
// Remapping in queue order on the Vulkan device: what one batch of binds hands
// to the queue, what orders it, and what undoes it. The driver of the tests
// runs its one queue in order and so forgives a missing semaphore: what orders
// two batches is therefore also read from what was handed over.
#include <stdlib.h>
#include <string.h>

#include "backend/vulkan/vulkan_backend.h"
#include "backend/vulkan/vulkan_register.h"
#include "support/device_fixture.h"

static const device_config small_tiles = {"vulkan", "vulkan", 65536, false,
                                          false};
static const device_config told = {"vulkan", "vulkan", 65536, true, false};

static tegi_vk_device* native(device_fixture* fx) {
  return tegi_vk_device_from(fx->device);
}

static teg_queue_stream* bind_stream(device_fixture* fx) {
  return fx->tables.remap->bind_stream(fx->device);
}

static VkSemaphore semaphore_of(teg_queue_stream* stream) {
  return ((tegi_vk_stream*)(void*)stream)->timeline->semaphore;
}

// ---- What is handed over.

enum { MOST_BINDS = 4096, MOST_WAITS = 8 };

typedef struct handed_over {
  uint32_t submit_count;  // of commands
  uint32_t bind_count;    // calls of vkQueueBindSparse
  // Of the last call of either kind.
  VkSemaphore waits[MOST_WAITS];
  uint64_t values[MOST_WAITS];
  uint32_t wait_count;
  // Of the last vkQueueBindSparse.
  VkSparseMemoryBind binds[MOST_BINDS];
  VkBuffer buffers[MOST_BINDS];  // of each bind
  uint32_t count;
} handed_over;

static handed_over last;
static VkResult planted;  // of the next vkQueueBindSparse

static void note_waits(uint32_t count, const VkSemaphore* semaphores,
                       const void* next) {
  const VkTimelineSemaphoreSubmitInfo* values = next;
  assert_int_equal(values->sType,
                   VK_STRUCTURE_TYPE_TIMELINE_SEMAPHORE_SUBMIT_INFO);
  assert_int_equal(values->waitSemaphoreValueCount, count);
  assert_true(count <= MOST_WAITS);
  last.wait_count = count;
  for (uint32_t i = 0; i < count; i++) {
    last.waits[i] = semaphores[i];
    last.values[i] = values->pWaitSemaphoreValues[i];
  }
}

static PFN_vkQueueSubmit real_submit;
static VKAPI_ATTR VkResult VKAPI_CALL watched_submit(VkQueue queue,
                                                     uint32_t count,
                                                     const VkSubmitInfo* infos,
                                                     VkFence fence) {
  assert_int_equal(count, 1);
  note_waits(infos->waitSemaphoreCount, infos->pWaitSemaphores, infos->pNext);
  last.submit_count++;
  return real_submit(queue, count, infos, fence);
}

static PFN_vkQueueBindSparse real_bind;
static VKAPI_ATTR VkResult VKAPI_CALL
watched_bind(VkQueue queue, uint32_t count, const VkBindSparseInfo* infos,
             VkFence fence) {
  if (planted != VK_SUCCESS) {
    VkResult result = planted;
    planted = VK_SUCCESS;
    return result;
  }
  assert_int_equal(count, 1);
  note_waits(infos->waitSemaphoreCount, infos->pWaitSemaphores, infos->pNext);
  last.bind_count++;
  last.count = 0;
  for (uint32_t b = 0; b < infos->bufferBindCount; b++) {
    for (uint32_t i = 0; i < infos->pBufferBinds[b].bindCount; i++) {
      assert_true(last.count < MOST_BINDS);
      last.buffers[last.count] = infos->pBufferBinds[b].buffer;
      last.binds[last.count++] = infos->pBufferBinds[b].pBinds[i];
    }
  }
  return real_bind(queue, count, infos, fence);
}

static bool has_waited(teg_queue_stream* stream, uint64_t serial) {
  for (uint32_t i = 0; i < last.wait_count; i++) {
    if (last.waits[i] == semaphore_of(stream) && last.values[i] >= serial) {
      return true;
    }
  }
  return false;
}

// Binds of one call that touch the same bytes of one buffer.
static bool has_overlap(void) {
  for (uint32_t i = 0; i < last.count; i++) {
    for (uint32_t k = 0; k < i; k++) {
      const VkSparseMemoryBind *a = &last.binds[i], *b = &last.binds[k];
      if (last.buffers[i] == last.buffers[k] &&
          a->resourceOffset < b->resourceOffset + b->size &&
          b->resourceOffset < a->resourceOffset + a->size) {
        return true;
      }
    }
  }
  return false;
}

// ---- A device with a heap and two ranges.

enum { TILES = 32 };

typedef struct world {
  device_fixture fx;
  teg_memory* heap;
  teg_memory* a;
  teg_memory* b;
  uint64_t tile;
} world;

static void watch(device_fixture* fx) {
  tegi_vk_device_table* vk = &native(fx)->vk;
  real_submit = vk->QueueSubmit;
  vk->QueueSubmit = watched_submit;
  real_bind = vk->QueueBindSparse;
  vk->QueueBindSparse = watched_bind;
  last = (handed_over){0};
  planted = VK_SUCCESS;
}

// False where there is no device that can.
static bool world_open(world* w, const device_config* config,
                       uint64_t mapping_limit) {
  uint32_t count;
  if (tegi_vk_backend.probe(&count, NULL) != TEG_OK) return false;
  w->fx = (device_fixture){.config = config};
  teg_backend_open_params params = device_fixture_params(&w->fx);
  params.max_mapping_count = mapping_limit;
  device_fixture_open(&w->fx, config, &params);
  if (!w->fx.tables.remap) {
    device_fixture_close(&w->fx);
    return false;
  }
  assert_int_equal(w->fx.caps.remap, TEG_REMAP_QUEUE_ORDERED);
  w->tile = w->fx.caps.tile_bytes;
  w->heap = fixture_heap(&w->fx, TILES * w->tile);
  for (uint32_t t = 0; t < TILES; t++) {
    uint8_t bytes[16];
    memset(bytes, (int)t, sizeof bytes);
    fixture_poke(&w->fx, w->heap, t * w->tile, sizeof bytes, bytes);
  }
  watch(&w->fx);
  w->a = fixture_range(&w->fx, TILES * w->tile);
  w->b = fixture_range(&w->fx, TILES * w->tile);
  return true;
}

static void expect_tile(world* w, uint32_t tile, uint8_t value) {
  uint8_t bytes[16];
  fixture_peek(&w->fx, w->heap, tile * w->tile, sizeof bytes, bytes);
  assert_true(fixture_all_bytes(bytes, sizeof bytes, value));
}

static void world_close(world* w) {
  if (w->a) w->fx.tables.remap->range_release(w->fx.device, w->a);
  if (w->b) w->fx.tables.remap->range_release(w->fx.device, w->b);
  if (w->heap) fixture_destroy(&w->fx, w->heap);
  device_fixture_close(&w->fx);
}

#define NEEDS_WORLD(w, config, limit) \
  (void)state;                        \
  world w;                            \
  if (!world_open(&w, config, limit)) skip()

// Notes, without a submit.
static teg_result map(world* w, teg_memory* range, uint32_t slot, uint32_t tile,
                      uint32_t count) {
  const teg_tile_run run = {w->heap, tile, slot, count};
  return w->fx.tables.remap->map(w->fx.device, range, &run, 1, &w->fx.err);
}

static teg_result unmap(world* w, teg_memory* range, uint32_t slot,
                        uint32_t count) {
  const teg_tile_run run = {NULL, 0, slot, count};
  return w->fx.tables.remap->unmap(w->fx.device, range, &run, 1, &w->fx.err);
}

static void submit(world* w) {
  const teg_queue_ops* queue = w->fx.tables.queue;
  EXPECT_OK(&w->fx, queue->submit(bind_stream(&w->fx), ++w->fx.bind_serial,
                                  &w->fx.err));
  for (uint32_t i = 0; i < w->fx.stream_count; i++) {
    EXPECT_OK(&w->fx, queue->record_wait(w->fx.streams[i], bind_stream(&w->fx),
                                         w->fx.bind_serial, &w->fx.err));
  }
}

static uint8_t byte_at(world* w, teg_memory* range, uint32_t slot) {
  uint8_t byte;
  fixture_peek(&w->fx, range, slot * w->tile + 3, 1, &byte);
  return byte;
}

static uint64_t mapping_count(world* w) {
  return tegi_load_relaxed(&native(&w->fx)->range_mappings.count);
}

// ---- One batch.

static void neighbours_become_one_bind(void** state) {
  NEEDS_WORLD(w, &small_tiles, 0);
  // Neighbours in any order of the calls, and a piece that is none.
  EXPECT_OK(&w.fx, map(&w, w.a, 4, 14, 2));
  EXPECT_OK(&w.fx, map(&w, w.a, 2, 12, 2));
  EXPECT_OK(&w.fx, map(&w, w.b, 0, 0, 1));
  EXPECT_OK(&w.fx, map(&w, w.a, 6, 16, 1));
  EXPECT_OK(&w.fx, map(&w, w.a, 7, 18, 1));
  assert_int_equal(last.bind_count, 0);
  submit(&w);
  assert_int_equal(last.bind_count, 1);
  assert_int_equal(last.count, 3);
  for (uint32_t i = 0; i < 3; i++) {
    if (last.binds[i].resourceOffset == 2 * w.tile) {
      assert_int_equal(last.binds[i].size, 5 * w.tile);
      assert_int_equal(last.binds[i].memoryOffset, 12 * w.tile);
    }
  }
  for (uint32_t t = 2; t < 7; t++) {
    assert_int_equal(byte_at(&w, w.a, t), t + 10);
  }
  assert_int_equal(byte_at(&w, w.a, 7), 18);
  assert_int_equal(byte_at(&w, w.b, 0), 0);
  EXPECT_OK(&w.fx, unmap(&w, w.a, 2, 6));
  EXPECT_OK(&w.fx, unmap(&w, w.b, 0, 1));
  submit(&w);
  assert_int_equal(last.count, 2);
  world_close(&w);
}

static void rebinding_slots_needs_only_the_new_binds(void** state) {
  NEEDS_WORLD(w, &small_tiles, 0);
  EXPECT_OK(&w.fx, map(&w, w.a, 0, 0, 8));
  submit(&w);
  EXPECT_OK(&w.fx, unmap(&w, w.a, 2, 3));
  EXPECT_OK(&w.fx, map(&w, w.a, 2, 20, 3));
  submit(&w);
  assert_int_equal(last.count, 1);
  assert_int_equal(last.binds[0].memoryOffset, 20 * w.tile);
  assert_int_equal(last.binds[0].size, 3 * w.tile);
  const uint8_t want[8] = {0, 1, 20, 21, 22, 5, 6, 7};
  for (uint32_t t = 0; t < 8; t++) {
    assert_int_equal(byte_at(&w, w.a, t), want[t]);
  }
  // Parts of it once more, and back, several times over.
  EXPECT_OK(&w.fx, unmap(&w, w.a, 0, 8));
  EXPECT_OK(&w.fx, map(&w, w.a, 1, 30, 2));
  EXPECT_OK(&w.fx, unmap(&w, w.a, 2, 1));
  EXPECT_OK(&w.fx, map(&w, w.a, 2, 9, 6));
  EXPECT_OK(&w.fx, unmap(&w, w.a, 4, 1));
  submit(&w);
  assert_false(has_overlap());
  const uint8_t then[8] = {0xff, 30, 9, 10, 0xff, 12, 13, 14};
  for (uint32_t t = 0; t < 8; t++) {
    if (then[t] != 0xff) assert_int_equal(byte_at(&w, w.a, t), then[t]);
  }
  EXPECT_OK(&w.fx, unmap(&w, w.a, 1, 3));
  EXPECT_OK(&w.fx, unmap(&w, w.a, 5, 3));
  submit(&w);
  world_close(&w);
}

static void empty_batch_of_binds_completes(void** state) {
  NEEDS_WORLD(w, &small_tiles, 0);
  submit(&w);
  assert_int_equal(last.bind_count, 1);
  assert_int_equal(last.count, 0);
  EXPECT_OK(&w.fx, w.fx.tables.queue->wait(bind_stream(&w.fx), 1, &w.fx.err));
  assert_int_equal(w.fx.tables.queue->completed(bind_stream(&w.fx)), 1);
  world_close(&w);
}

static void bind_stream_takes_no_commands(void** state) {
  NEEDS_WORLD(w, &small_tiles, 0);
  const teg_span span = {w.heap, 0, 16, 1};
  EXPECT_RESULT(
      &w.fx, TEG_INVALID,
      w.fx.tables.queue->record_fill(bind_stream(&w.fx), &span, 1, &w.fx.err));
  assert_non_null(strstr(w.fx.err.message, "remapping"));
  world_close(&w);
}

// ---- Taking back.

static void discard_takes_back_what_was_noted(void** state) {
  NEEDS_WORLD(w, &small_tiles, 0);
  EXPECT_OK(&w.fx, map(&w, w.a, 0, 0, 4));
  EXPECT_OK(&w.fx, map(&w, w.a, 4, 9, 2));
  submit(&w);
  const uint64_t mappings = mapping_count(&w);
  EXPECT_OK(&w.fx, unmap(&w, w.a, 1, 4));
  EXPECT_OK(&w.fx, map(&w, w.a, 3, 20, 1));
  EXPECT_OK(&w.fx, map(&w, w.b, 7, 21, 1));
  EXPECT_OK(&w.fx, unmap(&w, w.a, 0, 1));
  // The checks go by what is noted.
  EXPECT_RESULT(&w.fx, TEG_INVALID, unmap(&w, w.a, 1, 1));
  EXPECT_RESULT(&w.fx, TEG_INVALID, map(&w, w.b, 7, 3, 1));
  w.fx.tables.queue->discard(bind_stream(&w.fx));
  assert_int_equal(mapping_count(&w), mappings);
  EXPECT_RESULT(&w.fx, TEG_INVALID, unmap(&w, w.b, 7, 1));
  EXPECT_RESULT(&w.fx, TEG_INVALID, map(&w, w.a, 1, 3, 1));
  submit(&w);
  assert_int_equal(last.count, 0);
  const uint8_t want[6] = {0, 1, 2, 3, 9, 10};
  for (uint32_t t = 0; t < 6; t++) {
    assert_int_equal(byte_at(&w, w.a, t), want[t]);
  }
  EXPECT_OK(&w.fx, unmap(&w, w.a, 0, 6));
  submit(&w);
  world_close(&w);
}

static void failed_submit_of_binds_stays_recorded(void** state) {
  NEEDS_WORLD(w, &small_tiles, 0);
  teg_queue_stream* binds = bind_stream(&w.fx);
  EXPECT_OK(&w.fx, map(&w, w.a, 0, 3, 2));
  const uint64_t mappings = mapping_count(&w);
  planted = VK_ERROR_OUT_OF_DEVICE_MEMORY;
  EXPECT_RESULT(&w.fx, TEG_OUT_OF_MEMORY,
                w.fx.tables.queue->submit(binds, 1, &w.fx.err));
  assert_int_equal(w.fx.tables.queue->completed(binds), 0);
  assert_int_equal(mapping_count(&w), mappings);
  EXPECT_OK(&w.fx, map(&w, w.a, 2, 5, 1));
  submit(&w);
  assert_int_equal(last.count, 1);
  assert_int_equal(byte_at(&w, w.a, 2), 5);
  EXPECT_OK(&w.fx, unmap(&w, w.a, 0, 3));
  submit(&w);
  world_close(&w);
}

// A range that goes takes along what is noted of it, and nothing else.
static void released_range_is_forgotten_by_the_batch(void** state) {
  NEEDS_WORLD(w, &small_tiles, 0);
  const uint64_t mappings = mapping_count(&w);
  EXPECT_OK(&w.fx, map(&w, w.a, 0, 0, 1));
  EXPECT_OK(&w.fx, map(&w, w.a, 2, 2, 1));
  EXPECT_OK(&w.fx, map(&w, w.a, 9, 7, 1));
  submit(&w);
  // Its mappings serve the other range, then it is gone.
  EXPECT_OK(&w.fx, unmap(&w, w.a, 0, 1));
  EXPECT_OK(&w.fx, unmap(&w, w.a, 2, 1));
  EXPECT_OK(&w.fx, unmap(&w, w.a, 9, 1));
  EXPECT_OK(&w.fx, map(&w, w.b, 5, 2, 1));
  EXPECT_OK(&w.fx, map(&w, w.b, 11, 7, 1));
  w.fx.tables.remap->range_release(w.fx.device, w.a);
  w.a = NULL;
  submit(&w);
  assert_int_equal(last.count, 2);
  assert_int_equal(byte_at(&w, w.b, 5), 2);
  EXPECT_OK(&w.fx, unmap(&w, w.b, 5, 1));
  EXPECT_OK(&w.fx, unmap(&w, w.b, 11, 1));
  submit(&w);
  // One range less.
  if (native(&w.fx)->has_mapping_limit) {
    assert_int_equal(mapping_count(&w), mappings - 1);
  }
  world_close(&w);
}

// ---- The limit of mappings.

// What a batch sets free serves its own calls, and nobody else's until then.
static void freed_mappings_serve_the_same_batch(void** state) {
  NEEDS_WORLD(w, &small_tiles, 12);
  uint32_t count = 0;
  while (map(&w, w.a, 2 * count, 2 * count, 1) == TEG_OK) count++;
  assert_true(count >= 3);
  submit(&w);
  EXPECT_RESULT(&w.fx, TEG_LIMIT, map(&w, w.b, 10, 31, 1));
  assert_true(mapping_count(&w) <= 12);
  for (int i = 0; i < 20; i++) {
    EXPECT_OK(&w.fx, unmap(&w, w.a, 0, 1));
    EXPECT_OK(&w.fx, unmap(&w, w.a, 2, 1));
    EXPECT_OK(&w.fx, map(&w, w.b, 10, 31, 1));
    if (i % 3 == 0) submit(&w);
    EXPECT_OK(&w.fx, unmap(&w, w.b, 10, 1));
    EXPECT_OK(&w.fx, map(&w, w.a, 0, 0, 1));
    EXPECT_OK(&w.fx, map(&w, w.a, 2, 2, 1));
    if (i % 2 == 0) submit(&w);
    if (i % 5 == 1 && i % 3 && i % 2)
      w.fx.tables.queue->discard(bind_stream(&w.fx));
    assert_true(mapping_count(&w) <= 12);
  }
  submit(&w);
  EXPECT_RESULT(&w.fx, TEG_LIMIT, map(&w, w.b, 10, 31, 1));
  for (uint32_t i = 0; i < count; i++) {
    assert_int_equal(byte_at(&w, w.a, 2 * i), 2 * i);
  }
  for (uint32_t i = 0; i < count; i++) {
    EXPECT_OK(&w.fx, unmap(&w, w.a, 2 * i, 1));
  }
  submit(&w);
  assert_int_equal(mapping_count(&w), 2);
  world_close(&w);
}

// ---- Order.

// One tile goes to and fro between two addresses; the CPU waits once, at the
// end.
static void thousand_rebinds_are_ordered_by_semaphores(void** state) {
  enum { ROUNDS = 1000 };  // of 8 bytes each
  NEEDS_WORLD(w, &small_tiles, 0);
  device_fixture* fx = &w.fx;
  const teg_queue_ops* queue = fx->tables.queue;
  teg_queue_stream* binds = bind_stream(fx);
  teg_queue_stream* streams[2] = {fixture_stream(fx), fixture_stream(fx)};
  teg_memory* seen = fixture_buffer(fx, 8192);
  teg_memory* ranges[2] = {w.a, w.b};
  EXPECT_OK(fx, map(&w, w.a, 1, 5, 1));
  submit(&w);
  uint64_t serials[2] = {0, 0};
  for (uint32_t i = 0; i < ROUNDS; i++) {
    uint32_t side = i % 2;
    teg_queue_stream* stream = streams[side];
    // What the other side has written, and then a word of its own.
    const teg_span tile = {ranges[side], w.tile, 4, 1};
    const teg_span before = {seen, i * 8, 4, 1};
    const teg_span after = {seen, i * 8 + 4, 4, 1};
    EXPECT_OK(fx, queue->record_barrier(stream, &fx->err));
    EXPECT_OK(fx, queue->record_copy(stream, &before, &tile, &fx->err));
    EXPECT_OK(fx, queue->record_barrier(stream, &fx->err));
    EXPECT_OK(fx, queue->record_fill(stream, &tile, 0x01000000u + i, &fx->err));
    EXPECT_OK(fx, queue->record_barrier(stream, &fx->err));
    EXPECT_OK(fx, queue->record_copy(stream, &after, &tile, &fx->err));
    EXPECT_OK(fx, queue->submit(stream, ++serials[side], &fx->err));
    assert_true(has_waited(binds, fx->bind_serial) ||
                queue->completed(binds) >= fx->bind_serial);
    EXPECT_OK(fx, queue->record_wait(binds, stream, serials[side], &fx->err));
    bool is_complete = queue->completed(stream) >= serials[side];
    EXPECT_OK(fx, unmap(&w, ranges[side], 1, 1));
    EXPECT_OK(fx, map(&w, ranges[1 - side], 1, 5, 1));
    submit(&w);
    assert_int_equal(last.count, 2);
    assert_true(is_complete || has_waited(stream, serials[side]));
    // Binds are chained as well.
    assert_true(has_waited(binds, fx->bind_serial - 1));
  }
  EXPECT_OK(fx, queue->wait(binds, fx->bind_serial, &fx->err));
  assert_int_equal(queue->completed(streams[0]), ROUNDS / 2);
  assert_int_equal(queue->completed(streams[1]), ROUNDS / 2);
  const uint32_t* words = (const uint32_t*)(void*)fixture_bytes(fx, seen);
  for (uint32_t i = 0; i < ROUNDS; i++) {
    uint32_t want = i ? 0x01000000u + i - 1 : 0x05050505u;
    assert_int_equal(words[2 * i], want);
    assert_int_equal(words[2 * i + 1], 0x01000000u + i);
  }
  EXPECT_OK(fx, unmap(&w, w.a, 1, 1));
  submit(&w);
  for (int i = 0; i < 2; i++) fixture_stream_destroy(fx, streams[i]);
  fixture_destroy(fx, seen);
  world_close(&w);
}

// A bind that waits for a batch that is held is held as well, and so is what
// comes behind it.
static void told_binds_keep_their_place(void** state) {
  NEEDS_WORLD(w, &told, 0);
  device_fixture* fx = &w.fx;
  const teg_queue_ops* queue = fx->tables.queue;
  teg_queue_stream* binds = bind_stream(fx);
  teg_queue_stream* stream = fixture_stream(fx);
  EXPECT_OK(fx, map(&w, w.a, 0, 4, 1));
  submit(&w);
  teg_span span = {w.a, 0, 16, 1};
  EXPECT_OK(fx, queue->record_fill(stream, &span, 0x11111111, &fx->err));
  EXPECT_OK(fx, queue->submit(stream, 1, &fx->err));
  EXPECT_OK(fx, queue->record_wait(binds, stream, 1, &fx->err));
  EXPECT_OK(fx, unmap(&w, w.a, 0, 1));
  EXPECT_OK(fx, map(&w, w.a, 0, 6, 1));
  EXPECT_OK(fx, map(&w, w.b, 0, 4, 1));
  submit(&w);
  EXPECT_OK(fx, queue->record_barrier(stream, &fx->err));
  EXPECT_OK(fx, queue->record_fill(stream, &span, 0x22222222, &fx->err));
  EXPECT_OK(fx, queue->submit(stream, 2, &fx->err));
  assert_int_equal(last.bind_count + last.submit_count, 0);
  assert_int_equal(queue->completed(binds), 0);
  EXPECT_OK(fx, queue->wait(binds, 2, &fx->err));
  assert_int_equal(last.bind_count, 2);
  assert_int_equal(last.submit_count, 1);
  assert_int_equal(queue->completed(binds), 2);
  assert_int_equal(queue->completed(stream), 1);
  // Where heaps have no pointer, looking would run what is held.
  if (fx->tables.map->host_pointer(fx->device, w.heap)) {
    expect_tile(&w, 4, 0x11);
    expect_tile(&w, 6, 6);
  }
  EXPECT_OK(fx, queue->wait(stream, 2, &fx->err));
  expect_tile(&w, 4, 0x11);
  expect_tile(&w, 6, 0x22);
  // What is held is done before what it touches goes.
  EXPECT_OK(fx, unmap(&w, w.a, 0, 1));
  EXPECT_OK(fx, unmap(&w, w.b, 0, 1));
  submit(&w);
  assert_int_equal(queue->completed(binds), 2);
  fx->tables.remap->range_release(fx->device, w.a);
  w.a = NULL;
  assert_int_equal(queue->completed(binds), 3);
  fixture_stream_destroy(fx, stream);
  world_close(&w);
}

static void heap_waits_for_the_binds_of_its_tiles(void** state) {
  NEEDS_WORLD(w, &told, 0);
  const teg_queue_ops* queue = w.fx.tables.queue;
  teg_memory* plain = fixture_heap(&w.fx, w.tile);
  EXPECT_OK(&w.fx, map(&w, w.a, 0, 0, 4));
  submit(&w);
  EXPECT_OK(&w.fx, unmap(&w, w.a, 0, 4));
  submit(&w);
  fixture_destroy(&w.fx, plain);
  assert_int_equal(queue->completed(bind_stream(&w.fx)), 0);
  fixture_destroy(&w.fx, w.heap);
  w.heap = NULL;
  assert_int_equal(queue->completed(bind_stream(&w.fx)), 2);
  world_close(&w);
}

// ---- At random.

typedef struct model {
  uint8_t slots[2][TILES];  // 0xff = empty, or the tile
} model;

static void change_at_random(world* w, model* m) {
  teg_memory* ranges[2] = {w->a, w->b};
  uint32_t r = (uint32_t)rand() % 2;
  uint32_t slot = (uint32_t)rand() % TILES;
  uint32_t count = 1 + (uint32_t)rand() % 6;
  uint32_t tile = (uint32_t)rand() % TILES;
  if (slot + count > TILES) count = TILES - slot;
  if (tile + count > TILES) count = TILES - tile;
  bool is_full = true, is_empty = true;
  for (uint32_t t = slot; t < slot + count; t++) {
    if (m->slots[r][t] == 0xff) is_full = false;
    if (m->slots[r][t] != 0xff) is_empty = false;
  }
  if (is_empty) EXPECT_OK(&w->fx, map(w, ranges[r], slot, tile, count));
  if (is_full) EXPECT_OK(&w->fx, unmap(w, ranges[r], slot, count));
  if (!is_empty && !is_full) return;
  for (uint32_t t = 0; t < count; t++) {
    m->slots[r][slot + t] = is_empty ? (uint8_t)(tile + t) : 0xff;
  }
}

static void compare(world* w, const model* m) {
  teg_memory* ranges[2] = {w->a, w->b};
  for (uint32_t r = 0; r < 2; r++) {
    teg_span spans[TILES];
    uint8_t want[TILES], got[TILES];
    size_t count = 0;
    for (uint32_t t = 0; t < TILES; t++) {
      if (m->slots[r][t] == 0xff) continue;
      want[count] = m->slots[r][t];
      spans[count++] = (teg_span){ranges[r], t * w->tile + 3, 1, 0};
    }
    if (count == 0) continue;
    fixture_peek_many(&w->fx, spans, count, got);
    assert_memory_equal(got, want, count);
  }
}

static void random_batches_match_a_model(void** state) {
  NEEDS_WORLD(w, &small_tiles, 0);
  srand(11);
  model m, submitted;
  memset(&m, 0xff, sizeof m);
  submitted = m;
  const uint64_t counted = mapping_count(&w);
  const uint64_t kernel = tegi_mappings_kernel_count();
  for (int step = 0; step < 400; step++) {
    for (int i = rand() % 30; i > 0; i--) change_at_random(&w, &m);
    if (rand() % 4 == 0) {
      w.fx.tables.queue->discard(bind_stream(&w.fx));
      m = submitted;
    }
    submit(&w);
    assert_false(has_overlap());
    submitted = m;
    compare(&w, &m);
    if (step % 20 || !native(&w.fx)->facts.is_cpu_driver) continue;
    uint64_t ours = mapping_count(&w) - counted;
    uint64_t kernels = tegi_mappings_kernel_count() - kernel;
    assert_true(kernels <= ours + 6 && ours <= kernels + 6);
  }
  for (uint32_t t = 0; t < TILES; t++) {
    if (m.slots[0][t] != 0xff) EXPECT_OK(&w.fx, unmap(&w, w.a, t, 1));
    if (m.slots[1][t] != 0xff) EXPECT_OK(&w.fx, unmap(&w, w.b, t, 1));
  }
  submit(&w);
  assert_int_equal(mapping_count(&w), counted);
  world_close(&w);
}

// Between two of its binds a large batch may need more mappings than before
// and after: they are there, or it is refused.
static void large_batches_take_mappings_in_advance(void** state) {
  enum { MANY = 1600 };
  NEEDS_WORLD(w, &small_tiles, 0);
  if (!native(&w.fx)->facts.is_cpu_driver) {
    world_close(&w);
    skip();
  }
  device_fixture* fx = &w.fx;
  teg_memory* heap = fixture_heap(fx, MANY * w.tile);
  teg_memory* range = fixture_range(fx, MANY * w.tile);
  const uint64_t before = mapping_count(&w);
  for (uint32_t i = 0; i < MANY; i += 2) {
    const teg_tile_run run = {heap, i, i, 1};
    EXPECT_OK(fx, fx->tables.remap->map(fx->device, range, &run, 1, &fx->err));
  }
  const uint64_t noted = mapping_count(&w);
  assert_true(noted > before + MANY);
  submit(&w);
  assert_int_equal(last.count, MANY / 2);
  assert_true(mapping_count(&w) < noted);
  for (uint32_t i = 0; i < MANY; i += 2) {
    const teg_tile_run run = {NULL, 0, i, 1};
    EXPECT_OK(fx,
              fx->tables.remap->unmap(fx->device, range, &run, 1, &fx->err));
  }
  submit(&w);
  // One hole.
  assert_int_equal(last.count, 1);
  assert_int_equal(mapping_count(&w), before);
  fx->tables.remap->range_release(fx->device, range);
  fixture_destroy(fx, heap);
  world_close(&w);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(neighbours_become_one_bind),
      cmocka_unit_test(rebinding_slots_needs_only_the_new_binds),
      cmocka_unit_test(empty_batch_of_binds_completes),
      cmocka_unit_test(bind_stream_takes_no_commands),
      cmocka_unit_test(discard_takes_back_what_was_noted),
      cmocka_unit_test(failed_submit_of_binds_stays_recorded),
      cmocka_unit_test(released_range_is_forgotten_by_the_batch),
      cmocka_unit_test(freed_mappings_serve_the_same_batch),
      cmocka_unit_test(thousand_rebinds_are_ordered_by_semaphores),
      cmocka_unit_test(told_binds_keep_their_place),
      cmocka_unit_test(heap_waits_for_the_binds_of_its_tiles),
      cmocka_unit_test(random_batches_match_a_model),
      cmocka_unit_test(large_batches_take_mappings_in_advance),
  };
  device_fixture_filter();
  return cmocka_run_group_tests_name("vulkan_remap", tests, NULL, NULL);
}
