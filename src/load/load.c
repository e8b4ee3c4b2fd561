// SPDX-License-Identifier: Apache-2.0
//
// Loading a model. All buffers are made first. Then the calling thread cuts
// the files into jobs, which threads read: straight into the buffers where
// these have host pointers and nothing uses them, else into slots of a ring of
// staging memory, from which a copy is recorded as soon as a slot is full.
//
// A load has a stream of its own, so that a failure touches nothing of the
// session's: it is waited for and destroyed, and the buffers after it.
#include "tegula/load.h"

#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "base/checked.h"
#include "load/load_plan.h"
#include "load/load_read.h"
#include "load/model.h"

enum {
  LEAST_SLOTS = 8,
  SLOTS_PER_THREAD = 2,
  AUTO_THREADS = 4,
  LEAST_SLOT_BYTES = 4096,
  SLOT_ALIGNMENT = 16,  // of a segment in staging memory
};
#define MOST_SLOT_BYTES (UINT64_C(4) << 20)
#define WATCH_NS UINT64_C(50000000)

struct teg_weights {
  tegi_host* host;
  tegi_placement* placements;
  uint64_t placement_count;
  teg_buffer** buffers;
  uint64_t buffer_count;
  // Room in the arrays.
  size_t placement_capacity;
  size_t buffer_capacity;
  teg_load_stats stats;
};

typedef enum slot_state {
  SLOT_FREE = 0,
  SLOT_READING,
  SLOT_COPYING,  // until batch |serial| is complete
} slot_state;

// Where a segment's bytes belong.
typedef struct load_landing {
  teg_buffer* buffer;
  uint64_t offset;
  uint64_t tensor;
} load_landing;

// Several reads ahead: one slot each.
typedef struct load_slot {
  tegi_read_job job;  // first: a job that comes back is its slot
  load_landing landings[TEGI_READ_MOST_SEGMENTS];
  slot_state state;
  bool is_staged;
  uint64_t bytes;  // of all segments
  uint64_t at;     // of its staging memory in the ring
  uint64_t serial;
} load_slot;

// What remains of a run of placements, all read the same way.
typedef struct load_cursor {
  uint64_t at;  // placement
  uint64_t end;
  uint64_t done;  // bytes of it
} load_cursor;

typedef struct loading {
  teg_session* session;
  const teg_model* model;
  const teg_load_params* params;
  tegi_load_plan plan;
  teg_weights* weights;
  teg_stream* stream;
  int* files;  // descriptors, -1 = not open
  uint32_t file_count;
  bool* is_staged;  // by buffer
  // Of the tensor that is converted; NULL = none.
  teg_buffer* original;
  bool is_original_staged;

  tegi_extent* ring;  // NULL = none
  char* ring_pointer;
  tegi_readers readers;
  bool has_readers;
  load_slot* slots;
  uint32_t slot_capacity;
  uint32_t slot_count;  // in use
  uint32_t reading_count;
  uint64_t slot_bytes;

  uint64_t begin_ns;
  uint64_t done_bytes;
  uint64_t peak_before;
} loading;

static teg_device* device_of(const loading* load) {
  return load->session->device;
}

// ---- Figures ---------------------------------------------------------------

// The device's own peak counts where it has risen since the load began.
static void note_peak(loading* load) {
  const teg_device* device = device_of(load);
  uint64_t peak = tegi_load_relaxed(&device->peak_reserved_bytes);
  uint64_t now = peak > load->peak_before
                     ? peak
                     : tegi_load_relaxed(&device->reserved_bytes);
  uint64_t* noted = &load->weights->stats.peak_reserved_bytes;
  *noted = tegi_max_u64(*noted, now);
}

static teg_result tell(loading* load, teg_error* err) {
  const teg_load_params* params = load->params;
  if (!params->watch) return TEG_OK;
  const teg_load_progress progress = {
      .done_bytes = load->done_bytes,
      .total_bytes = load->plan.file_bytes,
      .elapsed_ns = tegi_now_ns() - load->begin_ns,
  };
  if (params->watch(params->watch_user, &progress)) return TEG_OK;
  return tegi_error_set(err, TEG_CANCELLED,
                        "load: cancelled at %" PRIu64 " of %" PRIu64 " bytes",
                        progress.done_bytes, progress.total_bytes);
}

// ---- Files -----------------------------------------------------------------

static teg_result open_files(loading* load, teg_error* err) {
  for (uint64_t i = 0; i < load->plan.placement_count; ++i) {
    const tegi_placement* placement = &load->plan.placements[i];
    if (placement->bytes == 0 || load->files[placement->file] >= 0) continue;
    teg_result result =
        tegi_model_file_open(tegi_model_file_at(load->model, placement->file),
                             0, &load->files[placement->file], err);
    if (result != TEG_OK) return result;
  }
  return TEG_OK;
}

// Bytes that were written while they were read may be of two states.
static teg_result check_files(const loading* load, teg_error* err) {
  for (uint32_t i = 0; i < load->file_count; ++i) {
    if (load->files[i] < 0) continue;
    teg_result result = tegi_model_file_check(
        tegi_model_file_at(load->model, i), load->files[i], err);
    if (result != TEG_OK) return result;
  }
  return TEG_OK;
}

static void close_files(loading* load) {
  for (uint32_t i = 0; load->files && i < load->file_count; ++i) {
    if (load->files[i] >= 0) close(load->files[i]);
  }
}

// ---- Buffers and the way to them -------------------------------------------

static bool is_memory(teg_result result) {
  return result == TEG_OUT_OF_MEMORY || result == TEG_OVER_BUDGET ||
         result == TEG_LIMIT;
}

static teg_result create_buffers(loading* load, teg_error* err) {
  const tegi_load_plan* plan = &load->plan;
  teg_weights* weights = load->weights;
  teg_buffer_params params = TEG_BUFFER_PARAMS_INIT;
  params.lifetime = TEG_LIFETIME_STATIC;
  params.tag = load->params->tag;
  params.stream = load->stream;
  uint64_t made_bytes = 0;
  for (uint64_t i = 0; i < plan->buffer_count; ++i) {
    params.size = plan->buffer_bytes[i];
    teg_error detail;
    teg_error_clear(&detail);
    teg_result result = teg_buffer_create(load->session, &params,
                                          &weights->buffers[i], &detail);
    if (result != TEG_OK) {
      if (err) *err = detail;
      if (!is_memory(result)) return result;
      return tegi_error_native(
          err, result, detail.backend, detail.native_code,
          "load: %" PRIu64 " of %" PRIu64 " bytes of weights are missing: %s",
          plan->device_bytes - made_bytes, plan->device_bytes, detail.message);
    }
    weights->buffer_count = i + 1;
    made_bytes += params.size;
  }
  note_peak(load);
  return TEG_OK;
}

// Whether reads into |buffer| go through the ring. Where they do not, it is
// the CPU's from here on.
static teg_result choose_way(loading* load, teg_buffer* buffer,
                             bool* out_is_staged, teg_error* err) {
  teg_load_way way = load->params->way;
  uint64_t bytes;
  bool has_pointer = tegi_buffer_pointer(buffer, 0, &bytes) != NULL;
  *out_is_staged = true;
  if (way == TEG_LOAD_STAGED) return TEG_OK;
  if (way == TEG_LOAD_MAPPED) {
    if (!has_pointer) {
      return tegi_error_set(err, TEG_UNSUPPORTED,
                            "load: the memory of this device's buffers has no "
                            "host pointers, so it cannot be read into");
    }
    teg_result result =
        tegi_buffer_wait_idle(buffer, load->stream->timeline.id, err);
    if (result != TEG_OK) return result;
  } else {
    // Memory that is the device's alone is reached over a bus, which its own
    // copies use better than stores of the CPU.
    bool is_unified = device_of(load)->caps.flags & TEG_BACKEND_UNIFIED;
    if (!has_pointer || !is_unified ||
        tegi_transfer_choose(load->stream, buffer, 0, buffer->size) !=
            TEGI_WAY_DIRECT) {
      return TEG_OK;
    }
  }
  *out_is_staged = false;
  return tegi_buffer_host_access(buffer, 0, buffer->size, true, err);
}

static teg_result choose_ways(loading* load, teg_error* err) {
  const teg_weights* weights = load->weights;
  teg_result result = TEG_OK;
  for (uint64_t i = 0; result == TEG_OK && i < weights->buffer_count; ++i) {
    result = choose_way(load, weights->buffers[i], &load->is_staged[i], err);
  }
  return result;
}

// ---- The ring --------------------------------------------------------------

static uint32_t thread_count(const loading* load) {
  if (load->params->thread_count) return load->params->thread_count;
  long cores = sysconf(_SC_NPROCESSORS_ONLN);
  return (uint32_t)tegi_min_u64(cores > 0 ? (uint64_t)cores : 1, AUTO_THREADS);
}

static uint32_t most_slots(const loading* load) {
  return (uint32_t)tegi_max_u64((uint64_t)SLOTS_PER_THREAD * thread_count(load),
                                LEAST_SLOTS);
}

static void choose_slots(loading* load) {
  const teg_options* options = &load->session->options;
  uint64_t bytes = tegi_align_down(options->ring_max / load->slot_capacity,
                                   LEAST_SLOT_BYTES);
  bytes = tegi_min_u64(bytes, MOST_SLOT_BYTES);
  // A small model does not need all of it.
  uint64_t most = tegi_align_up(load->plan.file_bytes, LEAST_SLOT_BYTES);
  bytes = tegi_max_u64(tegi_min_u64(bytes, most), LEAST_SLOT_BYTES);
  load->slot_bytes = bytes;
  uint64_t count = tegi_div_up(tegi_max_u64(most, 1), bytes);
  count = tegi_min_u64(count, options->ring_max / bytes);
  load->slot_count = (uint32_t)tegi_min_u64(count, load->slot_capacity);
}

// The staging memory of all slots; smaller slots where memory is short.
static teg_result make_ring(loading* load, teg_error* err) {
  if (load->ring) return TEG_OK;
  if (!device_of(load)->tables.map) {
    return tegi_error_set(err, TEG_UNSUPPORTED,
                          "load: this device has no memory with host pointers");
  }
  for (;;) {
    uint64_t bytes = load->slot_bytes * load->slot_count;
    teg_result result = tegi_staging_create(
        load->session, bytes, false, &load->ring, &load->ring_pointer, err);
    if (result == TEG_OK) break;
    load->ring = NULL;
    if (!is_memory(result)) return result;
    if (load->slot_bytes > LEAST_SLOT_BYTES) {
      load->slot_bytes = tegi_align_up(load->slot_bytes / 2, LEAST_SLOT_BYTES);
    } else if (load->slot_count > 1) {
      load->slot_count /= 2;
    } else {
      return result;
    }
  }
  for (uint32_t i = 0; i < load->slot_count; ++i) {
    load->slots[i].at = i * load->slot_bytes;
  }
  load->weights->stats.ring_bytes = load->ring->bytes;
  note_peak(load);
  return TEG_OK;
}

// ---- Slots -----------------------------------------------------------------

static teg_buffer* target_of(const loading* load,
                             const tegi_placement* placement,
                             uint64_t* out_offset, bool* out_is_staged) {
  if (placement->is_converted) {
    *out_offset = 0;
    *out_is_staged = load->is_original_staged;
    return load->original;
  }
  *out_offset = placement->offset;
  *out_is_staged = load->is_staged[placement->buffer];
  return load->weights->buffers[placement->buffer];
}

// Adds the next bytes of the cursor to the slot. False if they do not go
// there.
static bool add_segment(loading* load, load_slot* slot, load_cursor* cursor,
                        uint64_t* in_out_used) {
  const tegi_placement* placement = &load->plan.placements[cursor->at];
  uint64_t offset;
  bool is_staged;
  teg_buffer* buffer = target_of(load, placement, &offset, &is_staged);
  tegi_read_job* job = &slot->job;
  uint64_t used = tegi_align_up(*in_out_used, SLOT_ALIGNMENT);
  if (job->segment_count == TEGI_READ_MOST_SEGMENTS) return false;
  if (job->segment_count > 0 && is_staged != slot->is_staged) return false;
  if (used >= load->slot_bytes) return false;
  offset += cursor->done;
  uint64_t bytes = tegi_min_u64(placement->file_bytes - cursor->done,
                                load->slot_bytes - used);
  char* pointer;
  if (is_staged) {
    pointer = load->ring_pointer + slot->at + used;
  } else {
    uint64_t run;
    pointer = tegi_buffer_pointer(buffer, offset, &run);
    bytes = tegi_min_u64(bytes, run);
  }
  TEG_ASSERT(pointer && bytes > 0);
  slot->is_staged = is_staged;
  slot->landings[job->segment_count] =
      (load_landing){buffer, offset, placement->tensor};
  job->segments[job->segment_count++] = (tegi_read_segment){
      load->files[placement->file], placement->file_offset + cursor->done,
      bytes, pointer};
  slot->bytes += bytes;
  *in_out_used = used + bytes;
  cursor->done += bytes;
  return true;
}

static void skip_ended(const loading* load, load_cursor* cursor) {
  while (cursor->at < cursor->end) {
    const tegi_placement* placement = &load->plan.placements[cursor->at];
    if (placement->bytes > 0 && cursor->done < placement->file_bytes) return;
    cursor->at++;
    cursor->done = 0;
  }
}

static void read_slot(loading* load, load_slot* slot, load_cursor* cursor) {
  slot->job.segment_count = 0;
  slot->bytes = 0;
  uint64_t used = 0;
  while (cursor->at < cursor->end && add_segment(load, slot, cursor, &used)) {
    skip_ended(load, cursor);
  }
  slot->state = SLOT_READING;
  load->reading_count++;
  tegi_readers_submit(&load->readers, &slot->job);
}

static load_slot* find_free(loading* load) {
  uint64_t completed = teg_stream_completed(load->stream);
  for (uint32_t i = 0; i < load->slot_count; ++i) {
    load_slot* slot = &load->slots[i];
    if (slot->state == SLOT_COPYING && slot->serial <= completed) {
      slot->state = SLOT_FREE;
    }
    if (slot->state == SLOT_FREE) return slot;
  }
  return NULL;
}

// All slots are copied from: waits for the first.
static teg_result wait_copy(loading* load, teg_error* err) {
  uint64_t oldest = UINT64_MAX;
  for (uint32_t i = 0; i < load->slot_count; ++i) {
    const load_slot* slot = &load->slots[i];
    if (slot->state == SLOT_COPYING) {
      oldest = tegi_min_u64(oldest, slot->serial);
    }
  }
  TEG_ASSERT(oldest != UINT64_MAX);
  return teg_stream_wait(load->stream, oldest, err);
}

// ---- What has been read ----------------------------------------------------

static teg_result explain(const loading* load, const load_slot* slot,
                          teg_error* err) {
  const tegi_read_job* job = &slot->job;
  teg_tensor_info info;
  (void)teg_model_tensor(load->model, slot->landings[job->segment].tensor,
                         &info);
  const char* path = teg_model_file_path(load->model, info.file_index);
  if (job->is_at_end) {
    return tegi_error_set(err, TEG_IO,
                          "%s: has changed since the model was opened: it ends "
                          "at or before byte %" PRIu64
                          ", inside tensor \"%.100s\"",
                          path, job->file_offset, info.name);
  }
  return tegi_error_native(
      err, TEG_IO, "os", job->native,
      "%s: byte %" PRIu64 ", inside tensor \"%.100s\": cannot read: %s", path,
      job->file_offset, info.name, strerror(job->native));
}

static teg_result flush_segments(loading* load, const load_slot* slot,
                                 teg_error* err) {
  teg_result result = TEG_OK;
  for (uint32_t i = 0; result == TEG_OK && i < slot->job.segment_count; ++i) {
    const load_landing* landing = &slot->landings[i];
    const tegi_block* block = &landing->buffer->block;
    result = tegi_device_flush(device_of(load), block->extent->memory,
                               block->offset + landing->offset,
                               slot->job.segments[i].bytes, err);
  }
  return result;
}

static teg_result copy_segments(loading* load, load_slot* slot,
                                teg_error* err) {
  teg_stream* stream = load->stream;
  teg_memory* ring = load->ring->memory;
  teg_result result =
      tegi_device_flush(device_of(load), ring, slot->at, load->slot_bytes, err);
  for (uint32_t i = 0; result == TEG_OK && i < slot->job.segment_count; ++i) {
    const tegi_read_segment* segment = &slot->job.segments[i];
    const load_landing* landing = &slot->landings[i];
    result = tegi_stream_begin_use(stream, landing->buffer, err);
    if (result != TEG_OK) return result;
    teg_span to =
        tegi_buffer_span(landing->buffer, landing->offset, segment->bytes);
    teg_span from = {ring, (uint64_t)(segment->pointer - load->ring_pointer),
                     segment->bytes, 0};
    result = tegi_stream_record_copy(stream, &to, &from, err);
  }
  if (result != TEG_OK) return result;
  slot->state = SLOT_COPYING;
  return teg_stream_submit(stream, &slot->serial, err);
}

static teg_result finish_slot(loading* load, load_slot* slot, teg_error* err) {
  slot->state = SLOT_FREE;
  load->reading_count--;
  if (!slot->job.is_read) return explain(load, slot, err);
  teg_result result = slot->is_staged ? copy_segments(load, slot, err)
                                      : flush_segments(load, slot, err);
  if (result != TEG_OK) return result;
  teg_load_stats* stats = &load->weights->stats;
  stats->bytes += slot->bytes;
  *(slot->is_staged ? &stats->staged_bytes : &stats->mapped_bytes) +=
      slot->bytes;
  load->done_bytes += slot->bytes;
  return tell(load, err);
}

// Reads placements |at| to |end|. All of it is read when this returns; copies
// of the last may be on their way.
static teg_result read_placements(loading* load, uint64_t at, uint64_t end,
                                  teg_error* err) {
  load_cursor cursor = {at, end, 0};
  skip_ended(load, &cursor);
  for (;;) {
    load_slot* slot;
    while (cursor.at < cursor.end && (slot = find_free(load))) {
      read_slot(load, slot, &cursor);
    }
    teg_result result = TEG_OK;
    if (load->reading_count == 0) {
      if (cursor.at == cursor.end) return TEG_OK;
      result = wait_copy(load, err);
    } else {
      tegi_read_job* job = tegi_readers_next(&load->readers, WATCH_NS);
      result = job ? finish_slot(load, (void*)job, err) : tell(load, err);
    }
    if (result != TEG_OK) return result;
  }
}

// ---- Conversion ------------------------------------------------------------

static teg_result wait_stream(loading* load, teg_error* err) {
  uint64_t serial;
  teg_result result = teg_stream_submit(load->stream, &serial, err);
  return result == TEG_OK ? teg_stream_wait(load->stream, serial, err) : result;
}

// The original is in |load->original|, room for the result in the weights.
static teg_result call_hook(loading* load, const tegi_placement* placement,
                            teg_error* err) {
  const teg_load_hook* hook = load->params->hook;
  teg_tensor_info info;
  (void)teg_model_tensor(load->model, placement->tensor, &info);
  teg_error detail;
  teg_error_clear(&detail);
  teg_result result = hook->convert(
      hook->user, &info, load->stream, load->original,
      load->weights->buffers[placement->buffer], placement->offset, &detail);
  // Waited for, so that its memory is free for the next one.
  if (result == TEG_OK) result = wait_stream(load, &detail);
  note_peak(load);
  if (result == TEG_OK) return TEG_OK;
  return tegi_error_native(
      err, result, detail.backend, detail.native_code,
      "load: tensor \"%.100s\" is not converted: %s", info.name,
      detail.message[0] ? detail.message : teg_result_message(result));
}

static teg_result convert(loading* load, uint64_t index, teg_error* err) {
  const tegi_placement* placement = &load->plan.placements[index];
  teg_buffer_params params = TEG_BUFFER_PARAMS_INIT;
  params.size = placement->file_bytes;
  params.tag = load->params->tag;
  params.stream = load->stream;
  uint64_t begin_ns = tegi_now_ns();
  teg_result result =
      teg_buffer_create(load->session, &params, &load->original, err);
  load->weights->stats.allocate_ns += tegi_now_ns() - begin_ns;
  if (result != TEG_OK) return result;
  note_peak(load);
  result = choose_way(load, load->original, &load->is_original_staged, err);
  if (result == TEG_OK && load->is_original_staged) {
    result = make_ring(load, err);
  }
  if (result == TEG_OK) result = read_placements(load, index, index + 1, err);
  if (result == TEG_OK) result = call_hook(load, placement, err);
  if (result != TEG_OK) return result;
  teg_buffer_destroy(load->original);
  load->original = NULL;
  return TEG_OK;
}

// ---- From begin to end -----------------------------------------------------

static teg_result read_all(loading* load, teg_error* err) {
  const tegi_load_plan* plan = &load->plan;
  teg_result result = tell(load, err);
  uint64_t at = 0;
  while (result == TEG_OK && at < plan->placement_count) {
    uint64_t end = at;
    while (end < plan->placement_count &&
           !(plan->placements[end].bytes > 0 &&
             plan->placements[end].is_converted)) {
      end++;
    }
    result = read_placements(load, at, end, err);
    if (result == TEG_OK && end < plan->placement_count) {
      result = convert(load, end++, err);
    }
    at = end;
  }
  if (result == TEG_OK) result = wait_stream(load, err);
  return result == TEG_OK ? check_files(load, err) : result;
}

static bool needs_ring(const loading* load) {
  for (uint64_t i = 0; i < load->plan.placement_count; ++i) {
    const tegi_placement* placement = &load->plan.placements[i];
    if (placement->bytes > 0 && !placement->is_converted &&
        load->is_staged[placement->buffer]) {
      return true;
    }
  }
  return false;
}

static teg_result allocate_arrays(loading* load, teg_error* err) {
  tegi_host* host = &device_of(load)->host;
  const tegi_load_plan* plan = &load->plan;
  teg_weights* weights = load->weights;
  load->file_count = teg_model_file_count(load->model);
  load->files = tegi_host_calloc(host, load->file_count, sizeof *load->files);
  for (uint32_t i = 0; load->files && i < load->file_count; ++i) {
    load->files[i] = -1;
  }
  size_t count = (size_t)plan->buffer_count;
  load->is_staged = tegi_host_calloc(host, count, sizeof *load->is_staged);
  load->slot_capacity = most_slots(load);
  load->slots =
      tegi_host_calloc(host, load->slot_capacity, sizeof *load->slots);
  weights->buffers = tegi_host_calloc(host, count, sizeof *weights->buffers);
  weights->buffer_capacity = count;
  bool has_lists = count == 0 || (weights->buffers && load->is_staged);
  if (has_lists && load->slots && (load->files || load->file_count == 0)) {
    return TEG_OK;
  }
  return tegi_error_set(err, TEG_OUT_OF_HOST_MEMORY,
                        "load: no host memory for its records");
}

static teg_result make_memory(loading* load, teg_error* err) {
  uint64_t begin_ns = tegi_now_ns();
  teg_result result = create_buffers(load, err);
  if (result == TEG_OK) result = choose_ways(load, err);
  choose_slots(load);
  if (result == TEG_OK && needs_ring(load)) result = make_ring(load, err);
  load->weights->stats.allocate_ns = tegi_now_ns() - begin_ns;
  return result;
}

static uint64_t least_beside(const loading* load) {
  const teg_device* device = device_of(load);
  bool is_unified = device->caps.flags & TEG_BACKEND_UNIFIED;
  bool is_staged = load->params->way == TEG_LOAD_STAGED ||
                   (load->params->way == TEG_LOAD_AUTO && !is_unified);
  return load->plan.most_original_bytes +
         (is_staged && load->plan.file_bytes
              ? tegi_max_u64(LEAST_SLOT_BYTES, device->caps.buffer_granularity)
              : 0);
}

static teg_result load_all(loading* load, teg_error* err) {
  teg_result result = tegi_load_plan_make(load->session, load->model,
                                          load->params, &load->plan, err);
  if (result == TEG_OK) result = allocate_arrays(load, err);
  if (result == TEG_OK) {
    result = tegi_load_plan_check_room(load->session, &load->plan,
                                       least_beside(load), err);
  }
  if (result == TEG_OK) result = open_files(load, err);
  if (result == TEG_OK) {
    result = teg_stream_create(load->session, &load->stream, err);
  }
  if (result == TEG_OK) result = make_memory(load, err);
  if (result != TEG_OK) return result;
  result = tegi_readers_start(&load->readers, thread_count(load), err);
  if (result != TEG_OK) return result;
  load->has_readers = true;
  load->weights->stats.thread_count = load->readers.thread_count;
  return read_all(load, err);
}

static void destroy_buffers(teg_weights* weights) {
  for (uint64_t i = 0; i < weights->buffer_count; ++i) {
    teg_buffer_destroy(weights->buffers[i]);
  }
}

static void free_weights(teg_weights* weights) {
  tegi_host* host = weights->host;
  tegi_host_free(host, weights->placements,
                 weights->placement_capacity * sizeof *weights->placements);
  tegi_host_free(host, weights->buffers,
                 weights->buffer_capacity * sizeof *weights->buffers);
  tegi_host_free(host, weights, sizeof *weights);
}

// Memory that only the load needed goes back to the driver.
static void give_back(teg_session* session) {
  tegi_mutex_lock(&session->growth);
  (void)tegi_session_trim_policies(session, true);
  tegi_mutex_unlock(&session->growth);
  (void)tegi_device_trim_lent(session->device);
  (void)tegi_device_trim_heaps(session->device, 0);
}

// What a load needed beside the weights; all of it is idle after this.
static void end_loading(loading* load, bool is_ok) {
  if (load->has_readers) tegi_readers_stop(&load->readers);
  tegi_host* host = &device_of(load)->host;
  bool is_clean = is_ok && !load->original && !load->plan.most_original_bytes;
  if (load->stream) {
    teg_buffer_destroy(load->original);
    if (load->ring) tegi_staging_retire(load->stream, load->ring);
    teg_stream_destroy(load->stream);
  }
  close_files(load);
  tegi_host_free(host, load->files, load->file_count * sizeof *load->files);
  tegi_host_free(host, load->is_staged,
                 (size_t)load->plan.buffer_count * sizeof *load->is_staged);
  tegi_host_free(host, load->slots, load->slot_capacity * sizeof *load->slots);
  if (!is_ok) destroy_buffers(load->weights);
  tegi_session_collect(load->session);
  if (!is_clean) give_back(load->session);
}

// Hands the placements over from the plan to the weights.
static void keep_placements(loading* load) {
  teg_weights* weights = load->weights;
  tegi_load_plan* plan = &load->plan;
  weights->placements = plan->placements;
  weights->placement_count = plan->placement_count;
  weights->placement_capacity = (size_t)plan->capacity;
  plan->placements = NULL;
}

static teg_load_way way_of(const teg_load_stats* stats) {
  return stats->staged_bytes > stats->mapped_bytes ? TEG_LOAD_STAGED
                                                   : TEG_LOAD_MAPPED;
}

teg_result teg_load(teg_session* session, const teg_model* model,
                    const teg_load_params* params, teg_weights** out_weights,
                    teg_error* err) {
  TEG_REQUIRE(out_weights, err, "load: out_weights is NULL");
  *out_weights = NULL;
  TEG_REQUIRE(session && model, err, "load: an argument is NULL");
  const teg_load_params defaults = TEG_LOAD_PARAMS_INIT;
  tegi_host* host = &session->device->host;
  teg_weights* weights = tegi_host_alloc(host, sizeof *weights);
  if (!weights) {
    return tegi_error_set(err, TEG_OUT_OF_HOST_MEMORY, "load: no host memory");
  }
  weights->host = host;
  weights->stats.struct_size = sizeof weights->stats;
  loading load = {
      .session = session,
      .model = model,
      .params = params ? params : &defaults,
      .weights = weights,
      .begin_ns = tegi_now_ns(),
      .peak_before = tegi_load_relaxed(&session->device->peak_reserved_bytes),
  };
  teg_result result = load_all(&load, err);
  end_loading(&load, result == TEG_OK);
  if (result == TEG_OK) {
    keep_placements(&load);
    weights->stats.way = way_of(&weights->stats);
    weights->stats.elapsed_ns = tegi_now_ns() - load.begin_ns;
    *out_weights = weights;
  } else {
    free_weights(weights);
  }
  tegi_load_plan_destroy(host, &load.plan);
  return result;
}

// ---- Weights ---------------------------------------------------------------

void teg_weights_destroy(teg_weights* weights) {
  if (!weights) return;
  destroy_buffers(weights);
  free_weights(weights);
}

teg_result teg_weights_tensor(const teg_weights* weights, uint64_t index,
                              teg_buffer** out_buffer, uint64_t* out_offset,
                              uint64_t* out_bytes, teg_error* err) {
  TEG_REQUIRE(weights && out_buffer && out_offset && out_bytes, err,
              "weights_tensor: an argument is NULL");
  *out_buffer = NULL;
  *out_offset = *out_bytes = 0;
  const tegi_placement* placement =
      tegi_placement_find(weights->placements, weights->placement_count, index);
  bool is_dropped =
      placement && placement->bytes == 0 && placement->file_bytes > 0;
  if (!placement || is_dropped) {
    return tegi_error_set(err, TEG_NOT_FOUND,
                          "weights_tensor: tensor %" PRIu64 " was not loaded",
                          index);
  }
  if (placement->buffer == TEGI_NO_BUFFER) return TEG_OK;
  *out_buffer = weights->buffers[placement->buffer];
  *out_offset = placement->offset;
  *out_bytes = placement->bytes;
  return TEG_OK;
}

void teg_weights_get_stats(const teg_weights* weights,
                           teg_load_stats* out_stats) {
  if (weights && out_stats) *out_stats = weights->stats;
}
