// SPDX-License-Identifier: Apache-2.0
//
// The device's bytes over the time of the trace. The engine looks at the
// device now and then and starts its peaks anew each time, so that a peak
// between two looks is known exactly, though not its moment: it is put in the
// middle.
#include <string.h>

#include "base/checked.h"
#include "trace/replay_parts.h"

// Each stretch of time keeps the lowest and highest of each kind of bytes.
enum { KINDS = 3, KEPT_PER_STRETCH = 2 * KINDS };

// Most stretches of a trace may be empty: it works in bursts.
enum { STRETCHES_PER_SAMPLE = 64 };

void tegi_replay_timeline_init(tegi_replay_timeline* timeline,
                               tegi_host* host) {
  *timeline = (tegi_replay_timeline){.host = host};
}

void tegi_replay_timeline_deinit(tegi_replay_timeline* timeline) {
  tegi_host_free(timeline->host, timeline->samples,
                 timeline->sample_capacity * sizeof *timeline->samples);
  *timeline = (tegi_replay_timeline){0};
}

static void append(tegi_replay_timeline* timeline, teg_replay_sample sample) {
  if (timeline->sample_count > 0) {
    const teg_replay_sample* last =
        &timeline->samples[timeline->sample_count - 1];
    double duration = (double)(sample.time_ns - last->time_ns);
    timeline->reserved_area +=
        duration * 0.5 *
        ((double)last->reserved_bytes + (double)sample.reserved_bytes);
  }
  timeline->samples[timeline->sample_count++] = sample;
}

// The peaks since |last|, if they are above both |last| and |next|. There is no
// peak of what was mapped: it was as much as is known, and as was live.
static bool find_peak_between(const teg_replay_sample* last,
                              const teg_replay_sample* next,
                              const teg_stats* stats,
                              teg_replay_sample* out_peak) {
  uint64_t live = tegi_max_u64(last->live_bytes, next->live_bytes);
  uint64_t reserved = tegi_max_u64(last->reserved_bytes, next->reserved_bytes);
  if (stats->peak_live_bytes <= live &&
      stats->peak_reserved_bytes <= reserved) {
    return false;
  }
  *out_peak = (teg_replay_sample){
      .time_ns = last->time_ns + (next->time_ns - last->time_ns) / 2,
      .live_bytes = tegi_max_u64(live, stats->peak_live_bytes),
      .reserved_bytes = tegi_max_u64(reserved, stats->peak_reserved_bytes)};
  uint64_t mapped = tegi_max_u64(last->mapped_bytes, next->mapped_bytes);
  out_peak->mapped_bytes = tegi_min_u64(
      tegi_max_u64(mapped, out_peak->live_bytes), out_peak->reserved_bytes);
  return true;
}

bool tegi_replay_timeline_add(tegi_replay_timeline* timeline, uint64_t time_ns,
                              const teg_stats* stats) {
  if (!tegi_host_grow_array(
          timeline->host, &timeline->samples, &timeline->sample_capacity,
          timeline->sample_count + 2, sizeof *timeline->samples)) {
    return false;
  }
  teg_replay_sample next = {.time_ns = time_ns,
                            .live_bytes = stats->live_bytes,
                            .mapped_bytes = stats->mapped_bytes,
                            .reserved_bytes = stats->reserved_bytes};
  teg_replay_sample peak;
  if (timeline->sample_count > 0 &&
      find_peak_between(&timeline->samples[timeline->sample_count - 1], &next,
                        stats, &peak)) {
    append(timeline, peak);
  }
  append(timeline, next);
  timeline->peak_live_bytes =
      tegi_max_u64(timeline->peak_live_bytes, stats->peak_live_bytes);
  timeline->peak_reserved_bytes =
      tegi_max_u64(timeline->peak_reserved_bytes, stats->peak_reserved_bytes);
  timeline->peak_record_bytes =
      tegi_max_u64(timeline->peak_record_bytes, stats->record_bytes);
  return true;
}

void tegi_replay_timeline_reset_peaks(tegi_replay_timeline* timeline) {
  timeline->peak_live_bytes = 0;
  timeline->peak_reserved_bytes = 0;
}

uint64_t tegi_replay_timeline_average(const tegi_replay_timeline* timeline) {
  if (timeline->sample_count == 0) return 0;
  const teg_replay_sample* first = &timeline->samples[0];
  const teg_replay_sample* last =
      &timeline->samples[timeline->sample_count - 1];
  if (last->time_ns == first->time_ns) return last->reserved_bytes;
  return (uint64_t)(timeline->reserved_area /
                    (double)(last->time_ns - first->time_ns));
}

static uint64_t bytes_of(const teg_replay_sample* sample, int kind) {
  switch (kind) {
    case 0:
      return sample->live_bytes;
    case 1:
      return sample->mapped_bytes;
    default:
      return sample->reserved_bytes;
  }
}

// Indices of the lowest and highest of each kind in [begin, end), in order and
// each once. Returns how many.
static size_t find_extremes(const teg_replay_sample* samples, size_t begin,
                            size_t end, size_t out_indices[KEPT_PER_STRETCH]) {
  size_t count = 0;
  for (int kind = 0; kind < KINDS; ++kind) {
    size_t low = begin;
    size_t high = begin;
    for (size_t i = begin; i < end; ++i) {
      if (bytes_of(&samples[i], kind) < bytes_of(&samples[low], kind)) low = i;
      if (bytes_of(&samples[i], kind) > bytes_of(&samples[high], kind)) {
        high = i;
      }
    }
    size_t found[2] = {low, high};
    for (int f = 0; f < 2; ++f) {
      size_t at = 0;
      while (at < count && out_indices[at] < found[f]) ++at;
      if (at < count && out_indices[at] == found[f]) continue;
      memmove(&out_indices[at + 1], &out_indices[at],
              (count - at) * sizeof *out_indices);
      out_indices[at] = found[f];
      ++count;
    }
  }
  return count;
}

// Thins out to |stretch_count| stretches of time. Returns how many samples
// there are then; they are written while they fit.
static size_t thin_out_to(const teg_replay_sample* samples, size_t count,
                          size_t stretch_count, size_t capacity,
                          teg_replay_sample* out_samples) {
  uint64_t start = samples[0].time_ns;
  double duration = (double)(samples[count - 1].time_ns - start);
  size_t written = 0;
  size_t begin = 0;
  for (size_t i = 0; i < stretch_count && begin < count; ++i) {
    size_t end = begin;
    double limit = duration * (double)(i + 1) / (double)stretch_count;
    bool is_last = i + 1 == stretch_count;
    while (end < count &&
           (is_last || (double)(samples[end].time_ns - start) < limit)) {
      ++end;
    }
    if (end == begin) continue;
    size_t kept[KEPT_PER_STRETCH];
    size_t kept_count = find_extremes(samples, begin, end, kept);
    for (size_t k = 0; k < kept_count; ++k, ++written) {
      if (written < capacity) out_samples[written] = samples[kept[k]];
    }
    begin = end;
  }
  return written;
}

size_t tegi_replay_thin_out(const teg_replay_sample* samples, size_t count,
                            size_t capacity, teg_replay_sample* out_samples) {
  if (count <= capacity) {
    if (count) memcpy(out_samples, samples, count * sizeof *samples);
    return count;
  }
  // As many stretches as fit, the ends of the timeline apart.
  size_t room = capacity - 2;
  out_samples[0] = samples[0];
  size_t low = room / KEPT_PER_STRETCH;
  size_t high = room * STRETCHES_PER_SAMPLE;
  while (low < high) {
    size_t middle = low + (high - low + 1) / 2;
    size_t needed = thin_out_to(samples + 1, count - 2, middle, 0, NULL);
    if (needed <= room) {
      low = middle;
    } else {
      high = middle - 1;
    }
  }
  size_t written =
      1 + thin_out_to(samples + 1, count - 2, low, room, out_samples + 1);
  out_samples[written++] = samples[count - 1];
  return written;
}
