// SPDX-License-Identifier: Apache-2.0
//
// What the checker knows of tiles: which are under which addresses, and, where
// the queue orders binds, the moves that are recorded and not submitted. They
// count as done, and can be taken back.
#include "backend/check/check_parts.h"

static bool is_ordered(const tegi_hazard* hazard) {
  return hazard->params.remap == TEG_REMAP_QUEUE_ORDERED;
}

// The bind batch recorded now; 0 where binds act at once.
static uint64_t recorded_bind(const tegi_hazard* hazard) {
  return hazard->bind_stream ? hazard->bind_stream->submitted + 1 : 0;
}

static uint64_t tile_offset(const tegi_hazard* hazard, uint64_t tile_index) {
  return tile_index * hazard->params.tile_bytes;
}

static uint64_t count_tiles(const tegi_hazard_run* runs, size_t run_count) {
  uint64_t count = 0;
  for (size_t i = 0; i < run_count; i++) count += runs[i].tile_count;
  return count;
}

// ---- Before a call.

static teg_result reserve_moves(tegi_hazard* hazard, uint64_t count,
                                teg_error* err) {
  if (!is_ordered(hazard) ||
      tegi_host_grow_array(
          hazard->params.host, &hazard->moves, &hazard->move_capacity,
          hazard->move_count + (size_t)count, sizeof *hazard->moves)) {
    return TEG_OK;
  }
  return tegi_error_set(err, TEG_OUT_OF_HOST_MEMORY,
                        "no host memory to note %llu moved tiles",
                        (unsigned long long)count);
}

static teg_result check_idle(tegi_hazard* hazard, const tegi_piece* tiles,
                             const char* what, teg_error* err) {
  // A queue that orders binds runs what is submitted first, if it is told to:
  // see tegi_hazard_moves_submit().
  const tegi_hazard_command* command =
      tegi_hazard_pending_on(hazard, tiles, false, is_ordered(hazard));
  if (!command) return TEG_OK;
  return tegi_hazard_report(
      hazard, NULL, 0, err,
      "tile %llu of memory %llu is %s before %s, which touches it, is %s",
      (unsigned long long)(tiles->offset / hazard->params.tile_bytes),
      (unsigned long long)tiles->memory->id, what,
      tegi_hazard_command_name(command).text,
      is_ordered(hazard) ? "submitted" : "complete");
}

static teg_result check_unmapped(tegi_hazard* hazard,
                                 const tegi_hazard_run* run, teg_error* err) {
  for (uint32_t t = 0; t < run->tile_count; t++) {
    uint32_t tile = run->heap_tile_index + t;
    if (run->heap->tile_maps[tile] == 0) continue;
    return tegi_hazard_report(hazard, NULL, 0, err,
                              "tile %u of memory %llu is mapped elsewhere "
                              "already",
                              tile, (unsigned long long)run->heap->id);
  }
  return TEG_OK;
}

teg_result tegi_hazard_check_map(tegi_hazard* hazard, tegi_hazard_memory* range,
                                 const tegi_hazard_run* runs, size_t run_count,
                                 teg_error* err) {
  (void)range;
  tegi_mutex_lock(&hazard->mutex);
  teg_result result = reserve_moves(hazard, count_tiles(runs, run_count), err);
  for (size_t i = 0; i < run_count && result == TEG_OK; i++) {
    const tegi_hazard_run* run = &runs[i];
    tegi_piece tiles = {run->heap, tile_offset(hazard, run->heap_tile_index),
                        tile_offset(hazard, run->tile_count)};
    result = check_idle(hazard, &tiles, "mapped", err);
    if (result == TEG_OK) result = check_unmapped(hazard, run, err);
  }
  tegi_mutex_unlock(&hazard->mutex);
  return result;
}

teg_result tegi_hazard_check_unmap(tegi_hazard* hazard,
                                   tegi_hazard_memory* range,
                                   const tegi_hazard_run* runs,
                                   size_t run_count, teg_error* err) {
  uint64_t tile_bytes = hazard->params.tile_bytes;
  tegi_mutex_lock(&hazard->mutex);
  teg_result result = reserve_moves(hazard, count_tiles(runs, run_count), err);
  for (size_t i = 0; i < run_count && result == TEG_OK; i++) {
    for (uint32_t t = 0; t < runs[i].tile_count && result == TEG_OK; t++) {
      uint64_t at = tile_offset(hazard, (uint64_t)runs[i].range_tile_index + t);
      tegi_piece tile = tegi_bytes_resolve(hazard, range, at, tile_bytes, NULL);
      if (tile.memory) result = check_idle(hazard, &tile, "unmapped", err);
    }
  }
  tegi_mutex_unlock(&hazard->mutex);
  return result;
}

// ---- After it.

// References go with the slot's heap.
static void set_slot(tegi_hazard* hazard, tegi_hazard_memory* range,
                     uint32_t slot_index, tegi_slot_state state) {
  tegi_slot_state* slot = &range->slots[slot_index];
  tegi_bytes_retain(state.heap);
  if (state.heap) state.heap->tile_maps[state.tile_index]++;
  if (slot->heap) slot->heap->tile_maps[slot->tile_index]--;
  tegi_bytes_release(hazard, slot->heap);
  *slot = state;
}

// A slot changes; where the queue orders it, that can be taken back.
static void move_slot(tegi_hazard* hazard, tegi_hazard_memory* range,
                      uint32_t slot_index, tegi_slot_state state) {
  tegi_slot_state before = range->slots[slot_index];
  if (is_ordered(hazard) && (state.heap || before.heap)) {
    TEG_ASSERT(hazard->move_count < hazard->move_capacity);
    hazard->moves[hazard->move_count++] =
        (tegi_bind_move){range, slot_index, before, state};
    tegi_bytes_retain(range);
    tegi_bytes_retain(before.heap);
    tegi_bytes_retain(state.heap);
  }
  set_slot(hazard, range, slot_index, state);
}

void tegi_hazard_map_done(tegi_hazard* hazard, tegi_hazard_memory* range,
                          const tegi_hazard_run* runs, size_t run_count) {
  tegi_mutex_lock(&hazard->mutex);
  for (size_t i = 0; i < run_count; i++) {
    for (uint32_t t = 0; t < runs[i].tile_count; t++) {
      tegi_slot_state state = {runs[i].heap, runs[i].heap_tile_index + t,
                               recorded_bind(hazard)};
      move_slot(hazard, range, runs[i].range_tile_index + t, state);
    }
  }
  tegi_mutex_unlock(&hazard->mutex);
}

void tegi_hazard_unmap_done(tegi_hazard* hazard, tegi_hazard_memory* range,
                            const tegi_hazard_run* runs, size_t run_count) {
  tegi_mutex_lock(&hazard->mutex);
  for (size_t i = 0; i < run_count; i++) {
    for (uint32_t t = 0; t < runs[i].tile_count; t++) {
      move_slot(hazard, range, runs[i].range_tile_index + t,
                (tegi_slot_state){NULL, 0, 0});
    }
  }
  tegi_mutex_unlock(&hazard->mutex);
}

// ---- Moves that are recorded.

static void forget_move(tegi_hazard* hazard, const tegi_bind_move* move) {
  tegi_bytes_release(hazard, move->before.heap);
  tegi_bytes_release(hazard, move->after.heap);
  tegi_bytes_release(hazard, move->range);
}

void tegi_hazard_moves_discard(tegi_hazard* hazard) {
  while (hazard->move_count > 0) {
    const tegi_bind_move* move = &hazard->moves[--hazard->move_count];
    set_slot(hazard, move->range, move->slot_index, move->before);
    forget_move(hazard, move);
  }
}

static bool follows(const tegi_clock* clock,
                    const tegi_hazard_command* command) {
  return command->epoch < clock->epoch ||
         tegi_clock_has(clock, command->stream->id, command->serial);
}

// The first submitted command on |tile| that the batch does not follow.
static const tegi_hazard_command* overtaken(const tegi_hazard* hazard,
                                            const tegi_piece* tile,
                                            const tegi_clock* clock) {
  for (const tegi_hazard_command* command = hazard->first_pending; command;
       command = command->next) {
    if (command->is_submitted && !follows(clock, command) &&
        tegi_hazard_span_on(command, tile, false)) {
      return command;
    }
  }
  return NULL;
}

static void check_move(tegi_hazard* hazard, const tegi_bind_move* move,
                       uint64_t serial, const tegi_clock* clock) {
  bool is_map = move->after.heap != NULL;
  const tegi_slot_state* state = is_map ? &move->after : &move->before;
  tegi_piece tile = {state->heap, tile_offset(hazard, state->tile_index),
                     hazard->params.tile_bytes};
  const tegi_hazard_command* command = overtaken(hazard, &tile, clock);
  if (!command) return;
  tegi_hazard_report(hazard, hazard->bind_stream, serial, NULL,
                     "bind batch %llu %s tile %u of memory %llu and does not "
                     "wait for %s, which touches it",
                     (unsigned long long)serial, is_map ? "maps" : "unmaps",
                     state->tile_index, (unsigned long long)tile.memory->id,
                     tegi_hazard_command_name(command).text);
}

void tegi_hazard_moves_submit(tegi_hazard* hazard, uint64_t serial,
                              const tegi_clock* clock) {
  for (size_t i = 0; i < hazard->move_count; i++) {
    check_move(hazard, &hazard->moves[i], serial, clock);
    forget_move(hazard, &hazard->moves[i]);
  }
  hazard->move_count = 0;
}

// ---- Memory goes.

// By address: a span of this range, whatever is under it.
static const tegi_hazard_command* pending_in_range(
    const tegi_hazard* hazard, const tegi_hazard_memory* range) {
  for (const tegi_hazard_command* command = hazard->first_pending; command;
       command = command->next) {
    for (uint32_t i = 0; i < command->span_count; i++) {
      if (command->spans[i].span.memory == range) return command;
    }
  }
  return NULL;
}

static void report_mapped(tegi_hazard* hazard,
                          const tegi_hazard_memory* memory) {
  uint64_t mapped_count = 0;
  for (uint64_t i = 0; i < memory->tile_count; i++) {
    mapped_count += memory->tile_maps[i] != 0;
  }
  if (mapped_count == 0) return;
  tegi_hazard_report(hazard, NULL, 0, NULL,
                     "memory %llu is destroyed with %llu of its tiles mapped",
                     (unsigned long long)memory->id,
                     (unsigned long long)mapped_count);
}

// The device waits for binds that are submitted.
static void report_recorded_bind(tegi_hazard* hazard,
                                 const tegi_hazard_memory* heap) {
  for (size_t i = 0; i < hazard->move_count; i++) {
    const tegi_bind_move* move = &hazard->moves[i];
    if (move->before.heap != heap && move->after.heap != heap) continue;
    tegi_hazard_report(hazard, NULL, 0, NULL,
                       "memory %llu is destroyed before bind batch %llu, which "
                       "moves tiles of it, is submitted",
                       (unsigned long long)heap->id,
                       (unsigned long long)recorded_bind(hazard));
    return;
  }
}

// A range takes along what is recorded of it.
static void forget_moves_of(tegi_hazard* hazard,
                            const tegi_hazard_memory* range) {
  size_t kept_count = 0;
  for (size_t i = 0; i < hazard->move_count; i++) {
    if (hazard->moves[i].range == range) {
      forget_move(hazard, &hazard->moves[i]);
    } else {
      hazard->moves[kept_count++] = hazard->moves[i];
    }
  }
  hazard->move_count = kept_count;
}

void tegi_hazard_memory_remove(tegi_hazard* hazard,
                               tegi_hazard_memory* memory) {
  if (!memory) return;
  tegi_mutex_lock(&hazard->mutex);
  const tegi_hazard_command* command;
  if (memory->is_range) {
    command = pending_in_range(hazard, memory);
    forget_moves_of(hazard, memory);
    for (uint32_t i = 0; i < memory->slot_count; i++) {
      set_slot(hazard, memory, i, (tegi_slot_state){NULL, 0, 0});
    }
  } else {
    tegi_piece all = {memory, 0, memory->size};
    command = tegi_hazard_pending_on(hazard, &all, false, false);
    report_mapped(hazard, memory);
    report_recorded_bind(hazard, memory);
  }
  if (command) {
    tegi_hazard_report(
        hazard, NULL, 0, NULL,
        "memory %llu is destroyed before %s, which touches it, is complete",
        (unsigned long long)memory->id, tegi_hazard_command_name(command).text);
  }
  memory->is_removed = true;
  tegi_bytes_release(hazard, memory);
  tegi_mutex_unlock(&hazard->mutex);
}
