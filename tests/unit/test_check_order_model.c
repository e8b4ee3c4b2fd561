// SPDX-License-Identifier: Apache-2.0
//
// The checker's sense of order against a naive model: a graph of batches,
// commands, barriers and binds in which every node knows all nodes before it.
// Whatever happens, both must find as much wrong.
#include <stdlib.h>
#include <string.h>

#include "backend/check/check_hazard.h"
#include "support/device_fixture.h"

enum {
  TILE = 8,
  TILES = 4,
  BYTES = TILE * TILES,
  HEAPS = 2,
  RANGE = HEAPS,  // the third memory
  STREAMS = 3,
  BIND = STREAMS,  // the fourth stream
  MOST_NODES = 4096,
  MOST_BATCHES = 1024,
  MOST_ITEMS = 12,  // of a batch
  NO_BYTE = 255,
};

typedef struct node_set {
  uint64_t words[MOST_NODES / 64];
} node_set;

typedef struct model_span {
  bool is_written;
  uint32_t memory;
  uint32_t offset;
  uint32_t size;
  uint8_t bytes[BYTES];  // numbers over both heaps
} model_span;

// A command, or a barrier.
typedef struct model_item {
  bool is_barrier;
  uint32_t stream;
  uint32_t bind;
  uint32_t node;  // once submitted
  uint32_t batch;
  uint32_t span_count;
  model_span spans[2];
} model_item;

typedef struct model_move {
  uint32_t slot;
  uint32_t before;  // heap tile over both heaps, or NO_BYTE
  uint32_t before_bind;
  uint32_t after;
} model_move;

typedef struct model_stream {
  tegi_hazard_stream* checked;
  uint32_t submitted;
  uint32_t ends[MOST_BATCHES];  // nodes, by serial
  model_item items[MOST_ITEMS];
  uint32_t item_count;
  node_set waits;
} model_stream;

typedef struct model {
  device_allocator allocator;
  tegi_host host;
  tegi_hazard* hazard;
  tegi_hazard_memory* memories[HEAPS + 1];
  model_stream streams[STREAMS + 1];
  uint32_t slots[TILES];
  uint32_t slot_binds[TILES];
  model_move moves[64];
  uint32_t move_count;
  // Everything submitted, in order.
  node_set before[MOST_NODES];
  uint32_t node_count;
  uint32_t batch_count;
  node_set queue;         // begins, commands and barriers on the queue so far
  node_set last_barrier;  // it, and all before it
  node_set complete;
  model_item submitted[MOST_NODES];
  uint32_t submitted_count;
  uint64_t report_count;  // expected
} model;

static uint32_t draw(uint32_t below) { return (uint32_t)rand() % below; }

// ---- Sets of nodes.

static bool set_has(const node_set* set, uint32_t node) {
  return set->words[node / 64] >> (node % 64) & 1;
}

static void set_add(node_set* set, uint32_t node) {
  set->words[node / 64] |= UINT64_C(1) << (node % 64);
}

static void set_join(node_set* set, const node_set* other) {
  for (size_t i = 0; i < MOST_NODES / 64; i++) set->words[i] |= other->words[i];
}

// A node behind those of |before|; returns it.
static uint32_t node_add(model* m, const node_set* before) {
  m->before[m->node_count] = *before;
  return m->node_count++;
}

// |set| and the node with all before it.
static void set_follow(const model* m, node_set* set, uint32_t node) {
  set_join(set, &m->before[node]);
  set_add(set, node);
}

// ---- Bytes.

static uint8_t byte_of(const model* m, uint32_t memory, uint32_t offset) {
  if (memory != RANGE) return (uint8_t)(memory * BYTES + offset);
  uint32_t tile = m->slots[offset / TILE];
  return tile == NO_BYTE ? NO_BYTE : (uint8_t)(tile * TILE + offset % TILE);
}

static bool spans_meet(const model_span* a, const model_span* b) {
  if (!a->is_written && !b->is_written) return false;
  for (uint32_t i = 0; i < a->size; i++) {
    for (uint32_t j = 0; j < b->size; j++) {
      if (a->bytes[i] == b->bytes[j]) return true;
    }
  }
  return false;
}

static bool items_meet(const model_item* a, const model_item* b) {
  for (uint32_t i = 0; i < a->span_count; i++) {
    for (uint32_t j = 0; j < b->span_count; j++) {
      if (spans_meet(&a->spans[i], &b->spans[j])) return true;
    }
  }
  return false;
}

static bool item_touches(const model_item* item, uint8_t byte) {
  for (uint32_t i = 0; i < item->span_count; i++) {
    for (uint32_t j = 0; j < item->spans[i].size; j++) {
      if (item->spans[i].bytes[j] == byte) return true;
    }
  }
  return false;
}

static bool item_touches_tile(const model_item* item, uint32_t tile) {
  for (uint32_t i = 0; i < TILE; i++) {
    if (item_touches(item, (uint8_t)(tile * TILE + i))) return true;
  }
  return false;
}

// ---- Recording.

// False if it would touch addresses without tiles.
static bool draw_span(model* m, model_item* item, model_span* span,
                      tegi_hazard_span* out) {
  uint32_t memory = draw(2) ? RANGE : draw(HEAPS);
  uint32_t size = draw(draw(3) ? TILE / 2 : 2 * TILE);
  uint32_t offset = draw(BYTES - size + 1);
  *span = (model_span){
      .is_written = draw(2), .memory = memory, .offset = offset, .size = size};
  for (uint32_t i = 0; i < size; i++) {
    span->bytes[i] = byte_of(m, memory, offset + i);
    if (span->bytes[i] == NO_BYTE) return false;
    uint32_t bind = memory == RANGE ? m->slot_binds[(offset + i) / TILE] : 0;
    if (bind > item->bind) item->bind = bind;
  }
  *out = (tegi_hazard_span){.memory = m->memories[memory],
                            .offset = offset,
                            .size = size,
                            .is_read = !span->is_written,
                            .is_written = span->is_written};
  return true;
}

static void record(model* m, uint32_t index) {
  model_stream* stream = &m->streams[index];
  if (stream->item_count == MOST_ITEMS) return;
  model_item item = {.stream = index, .span_count = 1 + draw(2)};
  tegi_hazard_span spans[2];
  for (uint32_t i = 0; i < item.span_count; i++) {
    if (!draw_span(m, &item, &item.spans[i], &spans[i])) return;
  }
  tegi_hazard_command* command;
  assert_int_equal(tegi_hazard_record(stream->checked, "test", false, spans,
                                      item.span_count, &command, NULL),
                   TEG_OK);
  for (uint32_t i = stream->item_count; i-- > 0;) {
    if (stream->items[i].is_barrier) break;
    if (!items_meet(&stream->items[i], &item)) continue;
    m->report_count++;
    break;
  }
  if (draw(16) == 0) {
    tegi_hazard_unrecord(command);
  } else {
    stream->items[stream->item_count++] = item;
  }
}

static void barrier(model* m, uint32_t index) {
  model_stream* stream = &m->streams[index];
  if (stream->item_count == MOST_ITEMS) return;
  tegi_hazard_barrier(stream->checked);
  stream->items[stream->item_count++] = (model_item){.is_barrier = true};
}

static void wait_for(model* m, uint32_t index) {
  model_stream* stream = &m->streams[index];
  uint32_t other_index = draw(STREAMS + 1);
  const model_stream* other = &m->streams[other_index];
  if (other->submitted == 0 || other_index == index) return;
  uint32_t serial = other->submitted - draw(draw(3) ? 1 : other->submitted);
  assert_int_equal(
      tegi_hazard_reserve_wait(stream->checked, other->checked, serial, NULL),
      TEG_OK);
  tegi_hazard_wait_for(stream->checked, other->checked, serial);
  set_follow(m, &stream->waits, other->ends[serial]);
}

static void batch_restart(model_stream* stream) {
  stream->item_count = 0;
  memset(&stream->waits, 0, sizeof stream->waits);
}

static void discard(model* m, uint32_t index) {
  tegi_hazard_discard(m->streams[index].checked);
  if (index == BIND) {
    while (m->move_count > 0) {
      const model_move* move = &m->moves[--m->move_count];
      m->slots[move->slot] = move->before;
      m->slot_binds[move->slot] = move->before_bind;
    }
  }
  batch_restart(&m->streams[index]);
}

// ---- Submitting.

static bool is_behind(const model* m, const model_item* early,
                      const node_set* before) {
  return set_has(&m->complete, early->node) || set_has(before, early->node);
}

// A bind that was taken back has left other tiles, or none.
static bool is_still_there(const model* m, const model_item* item) {
  for (uint32_t s = 0; s < item->span_count; s++) {
    const model_span* span = &item->spans[s];
    for (uint32_t i = 0; i < span->size; i++) {
      if (byte_of(m, span->memory, span->offset + i) != span->bytes[i]) {
        return false;
      }
    }
  }
  return true;
}

static void submit_command(model* m, model_item* item, const node_set* begin) {
  node_set before = *begin;
  set_join(&before, &m->last_barrier);
  for (uint32_t i = 0; i < m->submitted_count; i++) {
    const model_item* early = &m->submitted[i];
    if (early->batch == item->batch || is_behind(m, early, &before) ||
        !items_meet(early, item)) {
      continue;
    }
    m->report_count++;
    break;
  }
  const model_stream* binds = &m->streams[BIND];
  if (item->bind) {
    bool is_there = item->bind <= binds->submitted &&
                    (set_has(&before, binds->ends[item->bind]) ||
                     set_has(&m->complete, binds->ends[item->bind]));
    m->report_count += !is_there;
  }
  m->report_count += !is_still_there(m, item);
  item->node = node_add(m, &before);
  m->submitted[m->submitted_count++] = *item;
}

static void submit_moves(model* m, const node_set* before) {
  for (uint32_t i = 0; i < m->move_count; i++) {
    const model_move* move = &m->moves[i];
    uint32_t tile = move->after == NO_BYTE ? move->before : move->after;
    for (uint32_t c = 0; c < m->submitted_count; c++) {
      if (is_behind(m, &m->submitted[c], before) ||
          !item_touches_tile(&m->submitted[c], tile)) {
        continue;
      }
      m->report_count++;
      break;
    }
  }
  m->move_count = 0;
}

static void submit(model* m, uint32_t index) {
  model_stream* stream = &m->streams[index];
  if (m->node_count + 2 * MOST_ITEMS > MOST_NODES ||
      stream->submitted + 1 == MOST_BATCHES) {
    return;
  }
  assert_int_equal(tegi_hazard_submit_begin(stream->checked, NULL), TEG_OK);
  if (draw(10) == 0) {
    tegi_hazard_submit_end(stream->checked, false);
    return;
  }
  tegi_hazard_submit_end(stream->checked, true);
  uint32_t batch = ++m->batch_count;
  node_set begin_set = stream->waits, end = {{0}};
  if (index == BIND && stream->submitted) {
    set_follow(m, &begin_set, stream->ends[stream->submitted]);
  }
  uint32_t begin = node_add(m, &begin_set);
  set_add(&begin_set, begin);
  if (index == BIND) {
    submit_moves(m, &begin_set);
  } else {
    set_join(&m->queue, &begin_set);
  }
  for (uint32_t i = 0; i < stream->item_count; i++) {
    model_item* item = &stream->items[i];
    item->batch = batch;
    if (item->is_barrier) {
      set_add(&m->queue, node_add(m, &m->queue));
      m->last_barrier = m->queue;
      continue;
    }
    submit_command(m, item, &begin_set);
    set_add(&end, item->node);
    set_add(&m->queue, item->node);
  }
  set_join(&end, &begin_set);
  if (index != BIND) set_join(&end, &m->last_barrier);
  if (stream->submitted) set_follow(m, &end, stream->ends[stream->submitted]);
  stream->ends[++stream->submitted] = node_add(m, &end);
  batch_restart(stream);
}

static void observe(model* m) {
  const model_stream* stream = &m->streams[draw(STREAMS + 1)];
  if (stream->submitted == 0) return;
  uint32_t serial = stream->submitted - draw(stream->submitted);
  tegi_hazard_observe(stream->checked, serial);
  set_follow(m, &m->complete, stream->ends[serial]);
}

// ---- Tiles and the CPU.

static bool is_recorded_on(const model* m, uint32_t tile) {
  for (uint32_t s = 0; s < STREAMS; s++) {
    const model_stream* stream = &m->streams[s];
    for (uint32_t i = 0; i < stream->item_count; i++) {
      if (item_touches_tile(&stream->items[i], tile)) return true;
    }
  }
  return false;
}

static void note_move(model* m, uint32_t slot, uint32_t after) {
  m->moves[m->move_count++] =
      (model_move){slot, m->slots[slot], m->slot_binds[slot], after};
  m->slots[slot] = after;
  m->slot_binds[slot] = after == NO_BYTE ? 0 : m->streams[BIND].submitted + 1;
}

static void unmap(model* m, uint32_t slot) {
  tegi_hazard_run run = {NULL, 0, slot, 1};
  bool is_bad = is_recorded_on(m, m->slots[slot]);
  assert_int_equal(
      tegi_hazard_check_unmap(m->hazard, m->memories[RANGE], &run, 1, NULL),
      is_bad ? TEG_HAZARD : TEG_OK);
  m->report_count += is_bad;
  if (is_bad) return;
  tegi_hazard_unmap_done(m->hazard, m->memories[RANGE], &run, 1);
  note_move(m, slot, NO_BYTE);
}

static void map(model* m, uint32_t slot) {
  uint32_t tile = draw(HEAPS * TILES);
  for (uint32_t i = 0; i < TILES; i++) {
    if (m->slots[i] == tile) return;
  }
  tegi_hazard_run run = {m->memories[tile / TILES], tile % TILES, slot, 1};
  bool is_bad = is_recorded_on(m, tile);
  assert_int_equal(
      tegi_hazard_check_map(m->hazard, m->memories[RANGE], &run, 1, NULL),
      is_bad ? TEG_HAZARD : TEG_OK);
  m->report_count += is_bad;
  if (is_bad) return;
  tegi_hazard_map_done(m->hazard, m->memories[RANGE], &run, 1);
  note_move(m, slot, tile);
}

static void remap(model* m) {
  uint32_t slot = draw(TILES);
  if (m->move_count == sizeof m->moves / sizeof *m->moves) return;
  if (m->slots[slot] == NO_BYTE) {
    map(m, slot);
  } else {
    unmap(m, slot);
  }
}

static void touch(model* m) {
  model_item item = {.span_count = 1};
  tegi_hazard_span span;
  if (!draw_span(m, &item, &item.spans[0], &span)) return;
  bool is_bad = false;
  for (uint32_t i = 0; i < m->submitted_count; i++) {
    const model_item* early = &m->submitted[i];
    is_bad = is_bad ||
             (!set_has(&m->complete, early->node) && items_meet(early, &item));
  }
  for (uint32_t s = 0; s < STREAMS; s++) {
    const model_stream* stream = &m->streams[s];
    for (uint32_t i = 0; i < stream->item_count; i++) {
      is_bad = is_bad || items_meet(&stream->items[i], &item);
    }
  }
  uint64_t before = tegi_hazard_get_report(m->hazard, NULL, 0);
  assert_int_equal(tegi_hazard_host_access(m->hazard, &span, NULL),
                   is_bad ? TEG_HAZARD : TEG_OK);
  // One for each run of bytes.
  m->report_count += tegi_hazard_get_report(m->hazard, NULL, 0) - before;
}

// ---- Runs.

static void begin(model* m) {
  memset(m, 0, sizeof *m);
  teg_allocator allocator = device_fixture_allocator(&m->allocator);
  assert_int_equal(tegi_host_init(&m->host, &allocator, NULL), TEG_OK);
  tegi_hazard_params params = {
      .host = &m->host, .tile_bytes = TILE, .remap = TEG_REMAP_QUEUE_ORDERED};
  assert_int_equal(tegi_hazard_create(&params, &m->hazard, NULL), TEG_OK);
  for (uint32_t i = 0; i <= HEAPS; i++) {
    assert_int_equal(tegi_hazard_memory_add(m->hazard, i == RANGE, BYTES, NULL,
                                            &m->memories[i], NULL),
                     TEG_OK);
  }
  for (uint32_t i = 0; i <= STREAMS; i++) {
    assert_int_equal(tegi_hazard_stream_add(m->hazard, i == BIND,
                                            &m->streams[i].checked, NULL),
                     TEG_OK);
  }
  for (uint32_t i = 0; i < TILES; i++) m->slots[i] = NO_BYTE;
}

// In any order, with whatever is left.
static void end(model* m) {
  for (uint32_t i = 0; i <= HEAPS; i++) {
    tegi_hazard_memory_remove(m->hazard, m->memories[i]);
  }
  uint32_t first = draw(STREAMS + 1);
  for (uint32_t i = 0; i <= STREAMS; i++) {
    uint32_t at = (first + i) % (STREAMS + 1);
    tegi_hazard_stream_remove(m->hazard, m->streams[at].checked);
  }
  tegi_hazard_destroy(m->hazard);
  assert_int_equal(tegi_load_relaxed(&m->allocator.live_count), 0);
}

static void step(model* m) {
  uint32_t what = draw(100);
  uint32_t stream = draw(STREAMS);
  uint32_t any_stream = draw(5) ? stream : BIND;
  if (what < 42) {
    record(m, stream);
  } else if (what < 57) {
    barrier(m, stream);
  } else if (what < 67) {
    wait_for(m, any_stream);
  } else if (what < 83) {
    submit(m, any_stream);
  } else if (what < 91) {
    remap(m);
  } else if (what < 95) {
    touch(m);
  } else if (what < 97) {
    discard(m, any_stream);
  } else {
    observe(m);
  }
}

static void checker_agrees_with_a_graph(void** state) {
  (void)state;
  static model m;
  uint64_t found_count = 0;
  for (unsigned seed = 1; seed <= 1000; seed++) {
    srand(seed);
    begin(&m);
    for (int i = 0; i < 700; i++) {
      step(&m);
      char text[TEGI_HAZARD_TEXT_BYTES];
      uint64_t count = tegi_hazard_get_report(m.hazard, text, sizeof text);
      if (count != m.report_count) {
        fail_msg("seed %u, step %d: %d found, %d expected; the first: %s", seed,
                 i, (int)count, (int)m.report_count, text);
      }
    }
    found_count += m.report_count;
    end(&m);
  }
  // It was about something.
  assert_true(found_count > 1000);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(checker_agrees_with_a_graph),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
