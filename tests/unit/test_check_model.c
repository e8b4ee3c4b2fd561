// SPDX-License-Identifier: Apache-2.0
//
// The hazard checker alone, told things that a device would refuse, against a
// naive model that knows the owner of every byte. Every command is a batch
// behind a barrier: order is the matter of test_check_order_model.c.
#include <stdlib.h>
#include <string.h>

#include "backend/check/check_hazard.h"
#include "support/device_fixture.h"

#define TILE 16u
#define TILES 8u
#define BYTES (TILE * TILES)
#define HEAPS 2u
#define MEMORIES (HEAPS + 1)  // the last one is the range
#define NO_BYTE UINT32_MAX
#define NOBODY UINT64_MAX
#define MAX_PENDING 12u
#define MAX_SPANS 3u

typedef struct model_span {
  uint32_t memory;
  tegi_hazard_span span;
  uint32_t bytes[BYTES];  // numbers of the physical bytes, or NO_BYTE
} model_span;

typedef struct model_command {
  tegi_hazard_command* command;
  uint64_t serial;
  uint32_t span_count;
  model_span spans[MAX_SPANS];
  bool is_hazard;
} model_command;

typedef struct model {
  device_allocator allocator;
  tegi_host host;
  tegi_hazard* hazard;
  tegi_hazard_memory* memories[MEMORIES];
  tegi_hazard_stream* stream;
  uint64_t owners[HEAPS * BYTES];
  uint32_t slots[TILES];  // heap tile numbers over both heaps, or NO_BYTE
  model_command pending[MAX_PENDING];
  uint32_t pending_count;
  uint64_t submitted;
  uint64_t kept;  // batch whose error the next wait gets; 0 = none
} model;

static uint32_t draw(uint32_t below) { return (uint32_t)rand() % below; }

// The physical byte under byte |offset| of a memory, now.
static uint32_t byte_of(const model* m, uint32_t memory, uint32_t offset) {
  if (memory < HEAPS) return memory * BYTES + offset;
  uint32_t tile = m->slots[offset / TILE];
  return tile == NO_BYTE ? NO_BYTE : tile * TILE + offset % TILE;
}

static model_span draw_span(model* m) {
  model_span drawn = {.memory = draw(4) ? HEAPS : draw(HEAPS)};
  uint32_t size = draw(draw(4) ? TILE : 3 * TILE);
  uint32_t offset = draw(BYTES - size + 1);
  drawn.span = (tegi_hazard_span){
      m->memories[drawn.memory], offset, size, draw(3), draw(2), draw(2)};
  for (uint32_t i = 0; i < size; i++) {
    drawn.bytes[i] = byte_of(m, drawn.memory, offset + i);
  }
  return drawn;
}

static bool is_foreign(const model* m, const model_span* span, uint32_t i) {
  uint64_t owner = m->owners[span->bytes[i]];
  return span->span.owner != 0 && owner != 0 && owner != span->span.owner;
}

// Whether a pending command touches, or writes, physical byte |byte|.
static bool is_pending(const model* m, uint32_t byte, bool only_written) {
  for (uint32_t c = 0; c < m->pending_count; c++) {
    for (uint32_t s = 0; s < m->pending[c].span_count; s++) {
      const model_span* span = &m->pending[c].spans[s];
      if (only_written && !span->span.is_written) continue;
      for (uint32_t i = 0; i < span->span.size; i++) {
        if (span->bytes[i] == byte) return true;
      }
    }
  }
  return false;
}

static void keep(model* m, uint64_t serial) {
  if (m->kept == 0 || serial < m->kept) m->kept = serial;
}

static void record(model* m) {
  if (m->pending_count == MAX_PENDING) return;
  model_command* command = &m->pending[m->pending_count];
  *command = (model_command){.span_count = draw(MAX_SPANS + 1)};
  tegi_hazard_span spans[MAX_SPANS];
  for (uint32_t s = 0; s < command->span_count; s++) {
    command->spans[s] = draw_span(m);
    spans[s] = command->spans[s].span;
    for (uint32_t i = 0; i < spans[s].size; i++) {
      command->is_hazard =
          command->is_hazard || command->spans[s].bytes[i] == NO_BYTE;
    }
  }
  tegi_hazard_barrier(m->stream);
  assert_int_equal(
      tegi_hazard_record(m->stream, "test", draw(2), spans, command->span_count,
                         &command->command, NULL),
      TEG_OK);
  if (draw(8) == 0) {
    tegi_hazard_discard(m->stream);
    return;
  }
  assert_int_equal(tegi_hazard_submit_begin(m->stream, NULL), TEG_OK);
  tegi_hazard_submit_end(m->stream, true);
  command->serial = ++m->submitted;
  if (command->is_hazard) keep(m, command->serial);
  m->pending_count++;
}

static void execute(model* m) {
  if (m->pending_count == 0) return;
  model_command command = m->pending[0];
  memmove(&m->pending[0], &m->pending[1],
          --m->pending_count * sizeof m->pending[0]);
  bool can_run = true;
  for (uint32_t s = 0; s < command.span_count; s++) {
    const model_span* span = &command.spans[s];
    for (uint32_t i = 0; i < span->span.size; i++) {
      uint32_t now = byte_of(m, span->memory, (uint32_t)span->span.offset + i);
      if (now == NO_BYTE || now != span->bytes[i]) can_run = false;
    }
  }
  bool is_hazard = !command.is_hazard && !can_run;
  for (uint32_t s = 0; s < command.span_count && can_run; s++) {
    const model_span* span = &command.spans[s];
    for (uint32_t i = 0; i < span->span.size && span->span.is_read; i++) {
      is_hazard = is_hazard || is_foreign(m, span, i);
    }
  }
  for (uint32_t s = 0; s < command.span_count && can_run; s++) {
    const model_span* span = &command.spans[s];
    for (uint32_t i = 0; i < span->span.size && span->span.is_written; i++) {
      m->owners[span->bytes[i]] = span->span.owner;
    }
  }
  bool may_run;
  tegi_hazard_execute(command.command, &may_run);
  tegi_hazard_observe(m->stream, command.serial);
  assert_int_equal(may_run, can_run);
  if (is_hazard) keep(m, command.serial);
  bool is_kept = m->kept && m->kept <= command.serial;
  assert_int_equal(tegi_hazard_take_error(m->stream, command.serial, NULL),
                   is_kept ? TEG_HAZARD : TEG_OK);
  if (is_kept) m->kept = 0;
}

// A tile comes, goes, or its range tile gets another one.
static void remap(model* m) {
  uint32_t at = draw(TILES);
  tegi_hazard_run run = {NULL, 0, at, 1};
  if (m->slots[at] != NO_BYTE) {
    bool is_busy = false;
    for (uint32_t i = 0; i < TILE; i++) {
      is_busy = is_busy || is_pending(m, m->slots[at] * TILE + i, false);
    }
    assert_int_equal(
        tegi_hazard_check_unmap(m->hazard, m->memories[HEAPS], &run, 1, NULL),
        is_busy ? TEG_HAZARD : TEG_OK);
    tegi_hazard_unmap_done(m->hazard, m->memories[HEAPS], &run, 1);
    m->slots[at] = NO_BYTE;
    if (draw(2)) return;
  }
  uint32_t tile = draw(HEAPS * TILES);
  bool is_busy = false;
  for (uint32_t i = 0; i < TILES; i++) is_busy |= m->slots[i] == tile;
  for (uint32_t i = 0; i < TILE; i++) {
    is_busy = is_busy || is_pending(m, tile * TILE + i, false);
  }
  run.heap = m->memories[tile / TILES];
  run.heap_tile_index = tile % TILES;
  assert_int_equal(
      tegi_hazard_check_map(m->hazard, m->memories[HEAPS], &run, 1, NULL),
      is_busy ? TEG_HAZARD : TEG_OK);
  tegi_hazard_map_done(m->hazard, m->memories[HEAPS], &run, 1);
  m->slots[at] = tile;
}

static void touch(model* m) {
  model_span span = draw_span(m);
  bool is_hazard = false;
  for (uint32_t i = 0; i < span.span.size; i++) {
    uint32_t byte = span.bytes[i];
    if (byte == NO_BYTE) {
      is_hazard = true;
      continue;
    }
    bool is_busy = is_pending(m, byte, !span.span.is_written);
    bool is_bad_read = span.span.is_read && is_foreign(m, &span, i);
    is_hazard = is_hazard || is_busy || is_bad_read;
  }
  for (uint32_t i = 0; i < span.span.size && span.span.is_written; i++) {
    if (span.bytes[i] != NO_BYTE) m->owners[span.bytes[i]] = span.span.owner;
  }
  assert_int_equal(tegi_hazard_host_access(m->hazard, &span.span, NULL),
                   is_hazard ? TEG_HAZARD : TEG_OK);
}

static void begin(model* m) {
  *m = (model){.pending_count = 0};
  teg_allocator allocator = device_fixture_allocator(&m->allocator);
  assert_int_equal(tegi_host_init(&m->host, &allocator, NULL), TEG_OK);
  tegi_hazard_params params = {.host = &m->host,
                               .tile_bytes = TILE,
                               .remap = TEG_REMAP_AT_ONCE,
                               .is_asked = true};
  assert_int_equal(tegi_hazard_create(&params, &m->hazard, NULL), TEG_OK);
  for (uint32_t i = 0; i < MEMORIES; i++) {
    assert_int_equal(tegi_hazard_memory_add(m->hazard, i == HEAPS, BYTES, NULL,
                                            &m->memories[i], NULL),
                     TEG_OK);
  }
  assert_int_equal(tegi_hazard_stream_add(m->hazard, false, &m->stream, NULL),
                   TEG_OK);
  for (uint32_t i = 0; i < TILES; i++) m->slots[i] = NO_BYTE;
  for (uint32_t i = 0; i < HEAPS * BYTES; i++) m->owners[i] = NOBODY;
}

static void end(model* m) {
  // In any order, with commands and tiles left.
  for (uint32_t i = 0; i < MEMORIES; i++) {
    tegi_hazard_memory_remove(m->hazard, m->memories[(i + 1) % MEMORIES]);
  }
  while (m->pending_count > MAX_PENDING / 2) {
    bool may_run;
    tegi_hazard_execute(m->pending[--m->pending_count].command, &may_run);
  }
  tegi_hazard_stream_remove(m->hazard, m->stream);
  tegi_hazard_destroy(m->hazard);
  assert_int_equal(tegi_load_relaxed(&m->allocator.live_count), 0);
}

static void checker_agrees_with_a_model_by_bytes(void** state) {
  (void)state;
  static model m;
  for (unsigned seed = 1; seed <= 20; seed++) {
    srand(seed);
    begin(&m);
    for (int step = 0; step < 3000; step++) {
      uint32_t what = draw(100);
      if (what < 40) record(&m);
      if (what >= 40 && what < 85) execute(&m);
      if (what >= 85 && what < 93) remap(&m);
      if (what >= 93) touch(&m);
    }
    end(&m);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(checker_agrees_with_a_model_by_bytes),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
