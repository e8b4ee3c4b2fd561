// SPDX-License-Identifier: Apache-2.0
//
// Loading a trace for replay: events become a compact array, ids become dense
// slots, and the array is cut into turns, so that the loop that is timed does
// nothing but call the library.
//
// Invariants of a loaded trace: runs do not nest; turn 0 ends with the first
// LOAD_END (and is empty without one); the last turn ends with the array.
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "tegula/buffer.h"
#include "trace/replay_ids.h"
#include "trace/replay_parts.h"

enum { EVENTS_PER_READ = 4096 };

// What is needed only while loading.
typedef struct replay_load {
  teg_replay* replay;
  tegi_replay_ids ids;
  uint64_t last_time_ns;
  bool is_in_run;
  teg_trace_event chunk[EVENTS_PER_READ];
} replay_load;

static teg_result no_memory(teg_error* err) {
  return tegi_error_set(err, TEG_OUT_OF_HOST_MEMORY,
                        "no host memory to load the trace");
}

static bool append_turn_end(teg_replay* replay, size_t end) {
  if (!tegi_host_grow_array(&replay->host, &replay->turn_ends,
                            &replay->turn_capacity, replay->turn_count + 1,
                            sizeof *replay->turn_ends)) {
    return false;
  }
  replay->turn_ends[replay->turn_count++] = end;
  return true;
}

// Where the trace says nothing about the events so far, |lifetime| it is.
static void set_unknown_lifetimes(teg_replay* replay, uint8_t lifetime) {
  for (size_t i = 0; i < replay->event_count; ++i) {
    if (replay->events[i].lifetime == TEG_LIFETIME_UNKNOWN) {
      replay->events[i].lifetime = lifetime;
    }
  }
}

static teg_result take_load_end(replay_load* load, teg_error* err) {
  teg_replay* replay = load->replay;
  if (load->is_in_run) {
    return tegi_error_set(err, TEG_CORRUPT,
                          "event %zu: load_end inside of a run",
                          replay->event_count - 1);
  }
  if (replay->has_load_end) return TEG_OK;
  replay->has_load_end = true;
  replay->load_run_count = replay->run_count;
  set_unknown_lifetimes(replay, TEG_LIFETIME_STATIC);
  // Runs before the load has ended belong to the load.
  replay->turn_ends[0] = replay->event_count;
  replay->turn_count = 1;
  return TEG_OK;
}

// Follows a mark; the event is in the array already.
static teg_result take_mark(replay_load* load, const teg_trace_event* event,
                            teg_error* err) {
  teg_replay* replay = load->replay;
  size_t index = replay->event_count - 1;
  switch (event->kind) {
    case TEG_TRACE_LOAD_END:
      return take_load_end(load, err);
    case TEG_TRACE_RUN_BEGIN:
      if (load->is_in_run) {
        return tegi_error_set(err, TEG_CORRUPT,
                              "event %zu: run_begin inside of a run", index);
      }
      load->is_in_run = true;
      return TEG_OK;
    default:
      if (!load->is_in_run) {
        return tegi_error_set(err, TEG_CORRUPT,
                              "event %zu: run_end without run_begin", index);
      }
      load->is_in_run = false;
      replay->run_count++;
      return append_turn_end(replay, replay->event_count) ? TEG_OK
                                                          : no_memory(err);
  }
}

// The slot of a request's buffer, and whether it is the free of a weight.
static teg_result find_slot(replay_load* load, const teg_trace_event* event,
                            uint32_t* out_slot, uint8_t* out_kind,
                            teg_error* err) {
  teg_replay* replay = load->replay;
  size_t index = replay->event_count;
  if (event->kind == TEG_TRACE_ALLOCATE) {
    if (load->ids.live_count >= INT_MAX) {
      return tegi_error_set(err, TEG_LIMIT,
                            "event %zu: more than 2^31 buffers at once", index);
    }
    return tegi_replay_ids_add(&load->ids, event->id, index, out_slot)
               ? TEG_OK
               : no_memory(err);
  }
  uint64_t load_end = replay->has_load_end ? replay->turn_ends[0] : 0;
  tegi_replay_id removed;
  if (!tegi_replay_ids_remove(&load->ids, event->id, load_end, &removed)) {
    return tegi_error_set(err, TEG_CORRUPT,
                          "event %zu: free of %" PRIu64 ", which is not live",
                          index, event->id);
  }
  *out_slot = removed.slot;
  // What does not outlive the load is no weight, only passing through.
  uint8_t* lifetime = &replay->events[removed.event_index].lifetime;
  if (!replay->has_load_end && *lifetime == TEG_LIFETIME_UNKNOWN) {
    *lifetime = TEG_LIFETIME_RUN;
  }
  if (removed.event_index < load_end) *out_kind = TEGI_REPLAY_FREE_WEIGHT;
  return TEG_OK;
}

static teg_result take_event(replay_load* load, const teg_trace_event* event,
                             teg_error* err) {
  teg_replay* replay = load->replay;
  bool is_request =
      event->kind == TEG_TRACE_ALLOCATE || event->kind == TEG_TRACE_FREE;
  uint32_t slot = 0;
  uint8_t kind = event->kind;
  if (is_request) {
    teg_result result = find_slot(load, event, &slot, &kind, err);
    if (result != TEG_OK) return result;
    replay->request_count++;
  }
  if (!tegi_host_grow_array(&replay->host, &replay->events,
                            &replay->event_capacity, replay->event_count + 1,
                            sizeof *replay->events)) {
    return no_memory(err);
  }
  if (event->time_ns > load->last_time_ns) load->last_time_ns = event->time_ns;
  uint16_t flags = TEG_BUFFER_FOREIGN;
  if (event->flags & TEG_TRACE_EVENT_DEDICATED) flags |= TEG_BUFFER_DEDICATED;
  replay->events[replay->event_count++] =
      (tegi_replay_event){.size = event->size,
                          .time_ns = load->last_time_ns,
                          .slot = slot,
                          .buffer_flags = flags,
                          .kind = kind,
                          .lifetime = event->lifetime};
  return is_request ? TEG_OK : take_mark(load, event, err);
}

static teg_result read_events(replay_load* load, teg_trace_reader* reader,
                              teg_error* err) {
  for (;;) {
    size_t count = 0;
    teg_result result = teg_trace_reader_next_many(reader, EVENTS_PER_READ,
                                                   load->chunk, &count, err);
    if (result == TEG_END) return TEG_OK;
    if (result != TEG_OK) return result;
    for (size_t i = 0; i < count; ++i) {
      result = take_event(load, &load->chunk[i], err);
      if (result != TEG_OK) return result;
    }
  }
}

// Slots of what lives on at the end and is no weight.
static teg_result find_leftovers(replay_load* load, teg_error* err) {
  teg_replay* replay = load->replay;
  size_t load_end = replay->turn_ends[0];
  for (size_t i = 0; i < load->ids.place_count; ++i) {
    const tegi_replay_id* place = &load->ids.places[i];
    if (place->id == 0 || place->event_index < load_end) continue;
    if (!tegi_host_grow_array(
            &replay->host, &replay->leftovers, &replay->leftover_capacity,
            replay->leftover_count + 1, sizeof *replay->leftovers)) {
      return no_memory(err);
    }
    replay->leftovers[replay->leftover_count++] = place->slot;
  }
  return TEG_OK;
}

// A trace without times is as long as it has events.
static void set_times(teg_replay* replay) {
  if (replay->event_count == 0) return;
  uint64_t start = replay->events[0].time_ns;
  bool has_times = replay->events[replay->event_count - 1].time_ns > start;
  for (size_t i = 0; i < replay->event_count; ++i) {
    uint64_t time = replay->events[i].time_ns;
    replay->events[i].time_ns = has_times ? time - start : i;
  }
}

static teg_result load_all(replay_load* load, teg_trace_reader* reader,
                           teg_error* err) {
  teg_replay* replay = load->replay;
  if (!append_turn_end(replay, 0)) return no_memory(err);
  teg_result result = read_events(load, reader, err);
  if (result != TEG_OK) return result;
  set_unknown_lifetimes(replay, TEG_LIFETIME_RUN);
  set_times(replay);
  if (replay->turn_ends[replay->turn_count - 1] < replay->event_count &&
      !append_turn_end(replay, replay->event_count)) {
    return no_memory(err);
  }
  replay->slot_count = load->ids.slot_count;
  return find_leftovers(load, err);
}

// Copies |text|, cut between two characters of UTF-8 if it is too long.
static void copy_cut(char* out, size_t capacity, const char* text) {
  size_t length = strlen(text);
  if (length >= capacity) {
    length = capacity - 1;
    while (length > 0 && ((unsigned char)text[length] & 0xc0) == 0x80) --length;
  }
  memcpy(out, text, length);
  out[length] = '\0';
}

static void set_name(teg_replay* replay, const char* name,
                     const teg_trace_reader* reader) {
  if (!name) {
    teg_trace_reader_info info;
    teg_trace_reader_info_get(reader, &info);
    name = info.name;
  }
  copy_cut(replay->name, sizeof replay->name, name);
}

teg_result teg_replay_load(teg_trace_reader* reader, const char* name,
                           const teg_allocator* allocator,
                           teg_replay** out_replay, teg_error* err) {
  TEG_REQUIRE(out_replay, err, "teg_replay_load: out_replay is NULL");
  *out_replay = NULL;
  TEG_REQUIRE(reader, err, "teg_replay_load: reader is NULL");
  tegi_host host;
  teg_result result = tegi_host_init(&host, allocator, err);
  if (result != TEG_OK) return result;
  teg_replay* replay = tegi_host_alloc(&host, sizeof *replay);
  replay_load* load = tegi_host_alloc(&host, sizeof *load);
  if (!replay || !load) {
    tegi_host_free(&host, replay, sizeof *replay);
    tegi_host_free(&host, load, sizeof *load);
    return no_memory(err);
  }
  tegi_host_init(&replay->host, allocator, NULL);
  load->replay = replay;
  tegi_replay_ids_init(&load->ids, &host);
  result = load_all(load, reader, err);
  tegi_replay_ids_deinit(&load->ids);
  tegi_host_free(&host, load, sizeof *load);
  if (result != TEG_OK) {
    teg_replay_destroy(replay);
    return result;
  }
  set_name(replay, name, reader);
  *out_replay = replay;
  return TEG_OK;
}

void teg_replay_destroy(teg_replay* replay) {
  if (!replay) return;
  tegi_host host;
  tegi_host_init(&host, &replay->host.allocator, NULL);
  tegi_host_free(&host, replay->events,
                 replay->event_capacity * sizeof *replay->events);
  tegi_host_free(&host, replay->turn_ends,
                 replay->turn_capacity * sizeof *replay->turn_ends);
  tegi_host_free(&host, replay->leftovers,
                 replay->leftover_capacity * sizeof *replay->leftovers);
  tegi_host_free(&host, replay, sizeof *replay);
}

void teg_replay_get_info(const teg_replay* replay, teg_replay_info* out_info) {
  uint64_t duration =
      replay->event_count ? replay->events[replay->event_count - 1].time_ns : 0;
  teg_replay_info info = {
      .name = replay->name,
      .event_count = replay->event_count,
      .request_count = replay->request_count,
      .run_count = replay->run_count,
      .load_end_index = replay->has_load_end ? replay->turn_ends[0] : 0,
      .slot_count = replay->slot_count,
      .duration_ns = duration};
  size_t size = out_info->struct_size;
  if (size > sizeof info) size = sizeof info;
  info.struct_size = (uint32_t)size;
  memcpy(out_info, &info, size);
}
