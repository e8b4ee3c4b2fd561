// SPDX-License-Identifier: Apache-2.0
//
// Counters of a device, a session, a lifetime or a tag. They are always on;
// each has one writer and is read without a lock, so fields of one snapshot
// may be a few operations apart from each other.
#ifndef TEGULA_STATS_H
#define TEGULA_STATS_H

#include "tegula/session.h"

#ifdef __cplusplus
extern "C" {
#endif

// X(field, help). Bytes unless the name says otherwise.
#define TEG_STATS_FIELDS(X)                                                \
  X(live_bytes, "asked for and not freed")                                 \
  X(peak_live_bytes, "most live at once")                                  \
  X(granted_bytes, "live, as the policies rounded it")                     \
  X(reserved_bytes, "taken from the driver (devices only)")                \
  X(peak_reserved_bytes, "most reserved at once (devices only)")           \
  X(mapped_bytes, "tiles that are mapped under an address (devices only)") \
  X(record_bytes, "the library's own records on the host (devices only)")  \
  X(buffer_count, "buffers alive")                                         \
  X(create_count, "buffers ever made")                                     \
  X(hit_count, "buffers made without growing")                             \
  X(driver_call_count, "calls of the driver that manage memory")           \
  X(driver_ns, "time inside those calls, nanoseconds")                     \
  X(allocation_count, "device allocations ever made")                      \
  X(tiles_mapped_count, "tiles ever mapped")                               \
  X(tiles_remapped_count, "tiles mapped anew that had been mapped before") \
  X(wait_count, "times a policy waited for the device")                    \
  X(wait_ns, "time spent in those waits, nanoseconds")                     \
  X(failure_count, "buffers that could not be made")                       \
  X(direct_write_bytes, "written through a buffer's own mapping")          \
  X(fresh_write_bytes, "the same, after a change to a block not in use")   \
  X(ring_write_bytes, "written through the staging ring")

typedef struct teg_stats {
  uint32_t struct_size;
  uint32_t version;  // 1
#define TEG_STATS_MEMBER(field, help) uint64_t field;
  TEG_STATS_FIELDS(TEG_STATS_MEMBER)
#undef TEG_STATS_MEMBER
} teg_stats;

// |out_stats->struct_size| must be set by the caller.  Threads: any.
TEG_API void teg_device_get_stats(teg_device* device, teg_stats* out_stats);
TEG_API void teg_session_get_stats(const teg_session* session,
                                   teg_stats* out_stats);
TEG_API void teg_session_get_lifetime_stats(const teg_session* session,
                                            teg_lifetime lifetime,
                                            teg_stats* out_stats);
// Unknown tags give zeros.
TEG_API void teg_session_get_tag_stats(const teg_session* session, uint32_t tag,
                                       teg_stats* out_stats);

// Starts peaks anew at the present values (device and all its sessions).
TEG_API void teg_device_reset_peaks(teg_device* device);

// Writes the fields as one JSON object to |text| (NUL-terminated, cut at
// |capacity|); returns the length it has when it is not cut.
TEG_API size_t teg_stats_to_json(const teg_stats* stats, char* text,
                                 size_t capacity);

#ifdef __cplusplus
}
#endif

#endif  // TEGULA_STATS_H
