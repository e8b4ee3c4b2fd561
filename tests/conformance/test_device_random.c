// SPDX-License-Identifier: Apache-2.0
//
// Random operations on every device against a naive model of what each byte
// of memory holds.
//
// Tiles may be 64 MiB, so the model follows only the bytes near their ends: a
// zone is the last HALF bytes of a tile and the first HALF of the next one,
// neighbours in addresses and usually not in memory. The model is changed
// when a command is submitted; there is one queue, so that is the order in
// which commands run.
#include <string.h>

#include "support/call.h"
#include "support/device_fixture.h"

#define TILES 12u  // of each heap, and of each range
#define HEAPS 2u
#define RANGES 2u
#define STREAMS 3u
#define HALF 64u
#define ZONE (2 * HALF)
#define STEPS 4000
#define MAX_RECORDED 16u

typedef struct model_slot {
  int heap;  // -1 = no tile
  uint32_t tile;
} model_slot;

typedef enum op_kind { OP_FILL, OP_COPY, OP_CALL } op_kind;

// Bytes of a zone: zone z of a range lies around the start of tile z.
typedef struct model_span {
  uint32_t range;
  uint32_t zone;
  uint32_t start;
  uint32_t size;
} model_span;

typedef struct model_op {
  op_kind kind;
  uint32_t pattern;
  model_span target;
  model_span source;
} model_op;

typedef struct random_state {
  device_fixture* fx;
  uint64_t seed;
  teg_memory* heaps[HEAPS];
  teg_memory* ranges[RANGES];
  model_slot slots[RANGES][TILES];
  bool is_used[HEAPS][TILES];
  // The first and last HALF bytes of each tile.
  uint8_t head[HEAPS][TILES][HALF];
  uint8_t tail[HEAPS][TILES][HALF];
  teg_queue_stream* streams[STREAMS];
  uint64_t submitted[STREAMS];
  model_op recorded[STREAMS][MAX_RECORDED];
  uint32_t recorded_count[STREAMS];
} random_state;

static uint32_t draw(random_state* state, uint32_t below) {
  state->seed = state->seed * UINT64_C(6364136223846793005) + 1442695040888963u;
  return (uint32_t)((state->seed >> 33) % below);
}

// The model's byte |i| of a zone.
static uint8_t* model_byte(random_state* state, const model_span* span,
                           uint32_t i) {
  bool is_tail = i < HALF;
  model_slot slot =
      state->slots[span->range][is_tail ? span->zone - 1 : span->zone];
  assert_true(slot.heap >= 0);
  return is_tail ? &state->tail[slot.heap][slot.tile][i]
                 : &state->head[slot.heap][slot.tile][i - HALF];
}

static teg_span device_span(random_state* state, const model_span* span) {
  uint64_t zone = span->zone * state->fx->caps.tile_bytes - HALF;
  return (teg_span){state->ranges[span->range], zone + span->start, span->size,
                    0};
}

// A span of |size| bytes with tiles under its zone. False if there is none.
static bool draw_span(random_state* state, uint32_t size, model_span* span) {
  for (int attempt = 0; attempt < 30; attempt++) {
    span->range = draw(state, RANGES);
    span->zone = 1 + draw(state, TILES - 1);
    const model_slot* slots = state->slots[span->range];
    if (slots[span->zone - 1].heap < 0 || slots[span->zone].heap < 0) continue;
    span->size = size;
    span->start = draw(state, ZONE - size + 1);
    return true;
  }
  return false;
}

static void model_run(random_state* state, const model_op* op) {
  uint8_t bytes[ZONE];
  for (uint32_t i = 0; i < op->target.size; i++) {
    bytes[i] = (uint8_t)(op->pattern >> (8 * (i % 4)));
    if (op->kind != OP_FILL) {
      bytes[i] = *model_byte(state, &op->source, op->source.start + i);
    }
  }
  for (uint32_t i = 0; i < op->target.size; i++) {
    uint8_t* to = model_byte(state, &op->target, op->target.start + i);
    *to = op->kind == OP_CALL ? (uint8_t)(*to ^ bytes[i]) : bytes[i];
  }
}

static teg_result xor_kernel(void* user, void* const* pointers,
                             const uint64_t* sizes, uint32_t binding_count) {
  (void)user;
  if (binding_count != 2) return TEG_INVALID;
  const uint8_t* from = pointers[0];
  uint8_t* to = pointers[1];
  for (uint64_t i = 0; i < sizes[0]; i++) to[i] ^= from[i];
  return TEG_OK;
}

static void submit(random_state* state, uint32_t stream) {
  device_fixture* fx = state->fx;
  EXPECT_OK(fx, fx->tables.queue->submit(state->streams[stream],
                                         ++state->submitted[stream], &fx->err));
  for (uint32_t i = 0; i < state->recorded_count[stream]; i++) {
    model_run(state, &state->recorded[stream][i]);
  }
  state->recorded_count[stream] = 0;
}

static void record(random_state* state) {
  device_fixture* fx = state->fx;
  const teg_queue_ops* queue = fx->tables.queue;
  uint32_t stream = draw(state, STREAMS);
  teg_queue_stream* to = state->streams[stream];
  uint32_t kinds = fixture_has_calls(fx) ? 3 : 2;
  model_op op = {.kind = (op_kind)draw(state, kinds), .pattern = 0};
  op.pattern = draw(state, UINT32_MAX);
  uint32_t size = draw(state, ZONE + 1);
  if (!draw_span(state, size, &op.target)) return;
  if (op.kind != OP_FILL) {
    if (!draw_span(state, size, &op.source)) return;
    // Sources and targets must not overlap: other tiles altogether.
    const model_slot* a = &state->slots[op.source.range][op.source.zone - 1];
    const model_slot* b = &state->slots[op.target.range][op.target.zone - 1];
    for (int i = 0; i < 2; i++) {
      for (int j = 0; j < 2; j++) {
        if (a[i].heap == b[j].heap && a[i].tile == b[j].tile) return;
      }
    }
  }
  teg_span target = device_span(state, &op.target);
  teg_span source = target;
  if (op.kind != OP_FILL) source = device_span(state, &op.source);
  teg_binding bindings[2] = {{source, true, false}, {target, true, true}};
  fixture_barrier(fx, to);
  switch (op.kind) {
    case OP_FILL:
      EXPECT_OK(fx, queue->record_fill(to, &target, op.pattern, &fx->err));
      break;
    case OP_COPY:
      EXPECT_OK(fx, queue->record_copy(to, &target, &source, &fx->err));
      break;
    case OP_CALL:
      EXPECT_OK(fx, test_record_call(fx->device, to, xor_kernel, NULL, bindings,
                                     2, &fx->err));
      break;
  }
  state->recorded[stream][state->recorded_count[stream]++] = op;
  if (state->recorded_count[stream] == MAX_RECORDED) submit(state, stream);
}

// Submits everything and waits for it.
static void finish(random_state* state) {
  device_fixture* fx = state->fx;
  for (uint32_t i = 0; i < STREAMS; i++) {
    if (state->recorded_count[i]) submit(state, i);
  }
  for (uint32_t i = 0; i < STREAMS; i++) {
    EXPECT_OK(fx, fx->tables.queue->wait(state->streams[i], state->submitted[i],
                                         &fx->err));
  }
}

// Every mapped byte the model follows, through its range.
static void compare(random_state* state) {
  device_fixture* fx = state->fx;
  const uint64_t tile_bytes = fx->caps.tile_bytes;
  for (uint32_t r = 0; r < RANGES; r++) {
    teg_span spans[2 * TILES];
    uint8_t got[2 * TILES * HALF];
    size_t count = 0;
    for (uint32_t t = 0; t < TILES; t++) {
      if (state->slots[r][t].heap < 0) continue;
      spans[count++] = (teg_span){state->ranges[r], t * tile_bytes, HALF, 0};
      spans[count++] =
          (teg_span){state->ranges[r], (t + 1) * tile_bytes - HALF, HALF, 0};
    }
    if (count == 0) continue;
    fixture_peek_many(fx, spans, count, got);
    const uint8_t* bytes = got;
    for (uint32_t t = 0; t < TILES; t++) {
      model_slot slot = state->slots[r][t];
      if (slot.heap < 0) continue;
      assert_memory_equal(bytes, state->head[slot.heap][slot.tile], HALF);
      assert_memory_equal(bytes + HALF, state->tail[slot.heap][slot.tile],
                          HALF);
      bytes += 2 * HALF;
    }
  }
}

// Some free tiles go under some free addresses, in one call.
static void map_some(random_state* state) {
  device_fixture* fx = state->fx;
  uint32_t range = draw(state, RANGES);
  teg_tile_run runs[TILES];
  size_t run_count = 0;
  for (uint32_t t = draw(state, TILES); t < TILES; t++) {
    if (state->slots[range][t].heap >= 0 || draw(state, 3) == 0) continue;
    uint32_t heap = draw(state, HEAPS), tile = draw(state, TILES);
    teg_tile_run* last = run_count ? &runs[run_count - 1] : NULL;
    if (last && draw(state, 2)) {
      // Try to go on where the run before ended.
      heap = last->heap == state->heaps[0] ? 0 : 1;
      tile = (last->heap_tile_index + last->tile_count) % TILES;
    }
    if (state->is_used[heap][tile]) continue;
    state->is_used[heap][tile] = true;
    state->slots[range][t] = (model_slot){(int)heap, tile};
    if (last && last->heap == state->heaps[heap] &&
        last->heap_tile_index + last->tile_count == tile &&
        last->range_tile_index + last->tile_count == t) {
      last->tile_count++;
    } else {
      runs[run_count++] = (teg_tile_run){state->heaps[heap], tile, t, 1};
    }
  }
  EXPECT_OK(fx, fx->tables.remap->map(fx->device, state->ranges[range], runs,
                                      run_count, &fx->err));
}

static void unmap_some(random_state* state) {
  device_fixture* fx = state->fx;
  uint32_t range = draw(state, RANGES);
  teg_tile_run runs[TILES];
  size_t run_count = 0;
  for (uint32_t t = draw(state, TILES); t < TILES; t++) {
    model_slot* slot = &state->slots[range][t];
    if (slot->heap < 0 || draw(state, 3) == 0) continue;
    state->is_used[slot->heap][slot->tile] = false;
    slot->heap = -1;
    runs[run_count++] = (teg_tile_run){NULL, 0, t, 1};
  }
  EXPECT_OK(fx, fx->tables.remap->unmap(fx->device, state->ranges[range], runs,
                                        run_count, &fx->err));
}

static void write_by_host(random_state* state) {
  model_span span;
  if (!draw_span(state, ZONE, &span)) return;
  teg_span bytes = device_span(state, &span);
  device_fixture* fx = state->fx;
  if (fx->tables.check) {
    EXPECT_OK(fx, fx->tables.check->host_access(fx->device, &bytes, false, true,
                                                &fx->err));
  }
  uint8_t fresh[ZONE];
  for (uint32_t i = 0; i < ZONE; i++) {
    fresh[i] = (uint8_t)draw(state, 256);
    *model_byte(state, &span, i) = fresh[i];
  }
  fixture_poke(fx, bytes.memory, bytes.offset, ZONE, fresh);
}

static void begin(random_state* state) {
  device_fixture* fx = state->fx;
  const uint64_t tile_bytes = fx->caps.tile_bytes;
  for (uint32_t h = 0; h < HEAPS; h++) {
    state->heaps[h] = fixture_heap(fx, TILES * tile_bytes);
    const uint8_t zeros[HALF] = {0};
    for (uint32_t t = 0; t < TILES; t++) {
      fixture_poke(fx, state->heaps[h], t * tile_bytes, HALF, zeros);
      fixture_poke(fx, state->heaps[h], (t + 1) * tile_bytes - HALF, HALF,
                   zeros);
    }
  }
  for (uint32_t r = 0; r < RANGES; r++) {
    state->ranges[r] = fixture_range(fx, TILES * tile_bytes);
    for (uint32_t t = 0; t < TILES; t++) state->slots[r][t].heap = -1;
  }
  for (uint32_t i = 0; i < STREAMS; i++) state->streams[i] = fixture_stream(fx);
}

static void end(random_state* state) {
  device_fixture* fx = state->fx;
  for (uint32_t i = 0; i < STREAMS; i++) {
    fx->tables.queue->stream_destroy(fx->device, state->streams[i]);
  }
  for (uint32_t r = 0; r < RANGES; r++) {
    for (uint32_t t = 0; t < TILES; t++) {
      if (state->slots[r][t].heap >= 0) {
        fixture_unmap(fx, state->ranges[r], t, 1);
      }
    }
    fx->tables.remap->range_release(fx->device, state->ranges[r]);
  }
  for (uint32_t h = 0; h < HEAPS; h++) fixture_destroy(fx, state->heaps[h]);
}

static device_outcome random_operations_match_a_model(device_fixture* fx) {
  if (!fx->tables.remap) return DEVICE_CANNOT;
  for (uint64_t seed = 1; seed <= 3; seed++) {
    random_state state = {.fx = fx, .seed = seed * 7919};
    begin(&state);
    for (int step = 0; step < STEPS; step++) {
      uint32_t what = draw(&state, 100);
      if (what < 70) {
        record(&state);
      } else if (what < 85) {
        submit(&state, draw(&state, STREAMS));
      } else {
        finish(&state);
        if (what < 90) map_some(&state);
        if (what >= 90 && what < 93) unmap_some(&state);
        if (what >= 93 && what < 96) write_by_host(&state);
        compare(&state);
      }
    }
    finish(&state);
    compare(&state);
    end(&state);
  }
  return DEVICE_PASSED;
}

static const device_never nevers[] = {
    {"*-fixed", "random_*", "opened without remap"},
};

int main(void) {
  const device_test tests[] = {DEVICE_TEST(random_operations_match_a_model)};
  return device_run_suite("device_random", tests, 1, nevers, 1);
}
