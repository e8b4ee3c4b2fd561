// SPDX-License-Identifier: Apache-2.0
//
// Whole traces through the public reader and writer: copying, summing up.
#include <string.h>

#include "trace/trace_reader.h"

enum { BATCH = 1024 };

// Adds the tags of |reader| that |writer| has not been given: |*done| of them
// are there, reader tag t being writer tag t + |shift|.
static teg_result copy_tags(teg_trace_reader* reader, teg_trace_writer* writer,
                            uint32_t* done, uint32_t* shift, teg_error* err) {
  for (; *done < reader->tag_count; ++*done) {
    uint32_t tag;
    teg_result result =
        teg_trace_writer_add_tag(writer, reader->tags[*done], &tag, err);
    if (result != TEG_OK) return result;
    *shift = tag - (*done + 1);
  }
  return TEG_OK;
}

teg_result teg_trace_copy(teg_trace_reader* reader, teg_trace_writer* writer,
                          teg_error* err) {
  teg_error_clear(err);
  TEG_REQUIRE(reader && writer, err, "reader or writer is NULL");
  teg_trace_event events[BATCH];
  uint32_t tags_done = 0, shift = 0;
  for (;;) {
    size_t count;
    teg_result result =
        teg_trace_reader_next_many(reader, BATCH, events, &count, err);
    if (result == TEG_END) {
      teg_error_clear(err);
      return TEG_OK;
    }
    if (result != TEG_OK) return result;
    result = copy_tags(reader, writer, &tags_done, &shift, err);
    for (size_t i = 0; i < count && result == TEG_OK; ++i) {
      if (events[i].tag) events[i].tag += shift;
      result = teg_trace_writer_append(writer, &events[i], err);
    }
    if (result != TEG_OK) return result;
  }
}

typedef struct tally {
  teg_trace_summary sum;
  uint64_t live_count, live_bytes;
  uint64_t last_time_ns;
  tegi_trace_map sizes, streams, threads;
} tally;

// Notes |value| as seen; false when there is no memory.
static bool note(tegi_trace_map* seen, uint64_t value) {
  return tegi_trace_map_find(seen, value) || tegi_trace_map_add(seen, value);
}

static bool tally_allocation(tally* t, const teg_trace_event* event) {
  teg_trace_summary* sum = &t->sum;
  ++sum->allocate_count;
  if (!tegi_add_u64(sum->allocated_bytes, event->size, &sum->allocated_bytes)) {
    sum->allocated_bytes = UINT64_MAX;
  }
  sum->largest_size = tegi_max_u64(sum->largest_size, event->size);
  t->live_bytes += event->size;
  ++t->live_count;
  sum->peak_live_count = tegi_max_u64(sum->peak_live_count, t->live_count);
  if (t->live_bytes > sum->peak_live_bytes) {
    sum->peak_live_bytes = t->live_bytes;
    sum->peak_event_index = sum->event_count;
    sum->peak_time_ns = event->time_ns;
  }
  return note(&t->sizes, event->size);
}

static bool tally_event(tally* t, const teg_trace_event* event) {
  teg_trace_summary* sum = &t->sum;
  if (sum->event_count == 0) {
    sum->first_time_ns = event->time_ns;
    t->last_time_ns = event->time_ns;
  }
  sum->first_time_ns = tegi_min_u64(sum->first_time_ns, event->time_ns);
  t->last_time_ns = tegi_max_u64(t->last_time_ns, event->time_ns);
  bool has_memory = true;
  switch (event->kind) {
    case TEG_TRACE_ALLOCATE:
      has_memory = tally_allocation(t, event);
      break;
    case TEG_TRACE_FREE:
      ++sum->free_count;
      t->live_bytes -= event->size;
      --t->live_count;
      break;
    case TEG_TRACE_LOAD_END:
      if (sum->load_end_count++ == 0) {
        sum->weight_count = t->live_count;
        sum->weight_bytes = t->live_bytes;
      }
      break;
    case TEG_TRACE_RUN_BEGIN:
      ++sum->run_count;
      break;
    default:
      break;
  }
  ++sum->event_count;
  return has_memory && note(&t->streams, event->stream) &&
         note(&t->threads, event->thread);
}

static teg_result tally_all(teg_trace_reader* reader, tally* t,
                            teg_error* err) {
  teg_trace_event events[BATCH];
  for (;;) {
    size_t count;
    teg_result result =
        teg_trace_reader_next_many(reader, BATCH, events, &count, err);
    if (result == TEG_END) return TEG_OK;
    if (result != TEG_OK) return result;
    for (size_t i = 0; i < count; ++i) {
      if (!tally_event(t, &events[i])) {
        return tegi_trace_reader_no_memory(reader, err);
      }
    }
  }
}

teg_result teg_trace_summarize(teg_trace_reader* reader,
                               teg_trace_summary* out_summary, teg_error* err) {
  teg_error_clear(err);
  TEG_REQUIRE(out_summary, err, "out_summary is NULL");
  memset(out_summary, 0, sizeof *out_summary);
  TEG_REQUIRE(reader, err, "reader is NULL");
  tally t = {.live_count = reader->live.count,
             .live_bytes = reader->live_bytes};
  tegi_trace_map_init(&t.sizes, &reader->host);
  tegi_trace_map_init(&t.streams, &reader->host);
  tegi_trace_map_init(&t.threads, &reader->host);
  teg_result result = tally_all(reader, &t, err);
  if (result == TEG_OK) {
    t.sum.distinct_size_count = t.sizes.count;
    t.sum.stream_count = (uint32_t)t.streams.count;
    t.sum.thread_count = (uint32_t)t.threads.count;
    t.sum.end_live_count = t.live_count;
    t.sum.end_live_bytes = t.live_bytes;
    t.sum.duration_ns = t.last_time_ns - t.sum.first_time_ns;
    *out_summary = t.sum;
    teg_error_clear(err);
  }
  tegi_trace_map_deinit(&t.sizes);
  tegi_trace_map_deinit(&t.streams);
  tegi_trace_map_deinit(&t.threads);
  return result;
}
