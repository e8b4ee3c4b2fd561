// SPDX-License-Identifier: Apache-2.0
//
// A stream: an ordered list of commands on one device queue. Commands are
// recorded into a batch; a batch is submitted as a whole and later completes.
// Batches are numbered 1, 2, 3 ... by their serial. A stream belongs to its
// session, touches buffers of that session only, and is used by one thread at
// a time.
//
//   write, fill, copy, dispatch  go into the batch being recorded
//   submit                       hands it to the queue; returns at once
//   read, wait                   block until a submitted batch is complete
//
// A batch stays open until one of these, or until a dispatch comes when it has
// batch_dispatches of them or is batch_age old, or a write or dispatch when it
// has staged batch_bytes: then it is submitted first. A stream that has
// batches_in_flight batches on their way waits for the oldest before it submits
// another. (Session's options.)
//
// Commands of a stream run in order: each sees what those before it have
// written, whatever they are and whichever buffer names the bytes.
#ifndef TEGULA_STREAM_H
#define TEGULA_STREAM_H

#include "tegula/backend.h"
#include "tegula/buffer.h"
#include "tegula/kernel.h"

#ifdef __cplusplus
extern "C" {
#endif

TEG_API TEG_NODISCARD teg_result teg_stream_create(teg_session* session,
                                                   teg_stream** out_stream,
                                                   teg_error* err);
// Waits for submitted work; recorded commands are dropped. Buffers that are at
// home on it move to the session's first stream. NULL is fine. The first
// stream itself is not destroyed this way.
TEG_API void teg_stream_destroy(teg_stream* stream);

// Serials: of the batch being recorded, of the last one submitted and of the
// last one known to be complete. Threads: any.
TEG_API uint64_t teg_stream_recording(const teg_stream* stream);
TEG_API uint64_t teg_stream_submitted(const teg_stream* stream);
TEG_API uint64_t teg_stream_completed(teg_stream* stream);

// Fills |size| bytes at |offset| with a repeated 32-bit pattern.
// Returns TEG_INVALID for bytes outside of the buffer.
TEG_API TEG_NODISCARD teg_result teg_stream_fill(teg_stream* stream,
                                                 teg_buffer* target,
                                                 uint64_t offset, uint64_t size,
                                                 uint32_t pattern,
                                                 teg_error* err);

// Copies bytes between buffers; ranges of one buffer must not overlap.
TEG_API TEG_NODISCARD teg_result teg_stream_copy(
    teg_stream* stream, teg_buffer* target, uint64_t target_offset,
    teg_buffer* source, uint64_t source_offset, uint64_t size, teg_error* err);

// Writes |size| bytes of the program's memory to the buffer, in their place in
// the stream: commands recorded before see the old bytes, commands recorded
// after the new ones. |data| is the program's again when this returns.
// Where nothing can touch the bytes any more, and they have a host pointer,
// they are stored directly; else they are copied by a command from a staging
// ring of at most ring_max bytes, which is waited for when it is full.
// Returns TEG_INVALID for bytes outside of the buffer, TEG_UNSUPPORTED where
// the device has no host pointers at all, or as a wait does.
// May block: when the ring is full. May submit the stream: then as well.
TEG_API TEG_NODISCARD teg_result
teg_stream_write(teg_stream* stream, teg_buffer* target, uint64_t offset,
                 const void* data, uint64_t size, teg_error* err);

// Reads |size| bytes of the buffer, as they are after everything recorded on
// the stream so far: submits, waits, copies. If one of those batches failed, or
// one of another stream of the session that has used the bytes, its error is
// returned, unless it was reported already, and |data| is not touched.
TEG_API TEG_NODISCARD teg_result teg_stream_read(teg_stream* stream,
                                                 teg_buffer* source,
                                                 uint64_t offset, void* data,
                                                 uint64_t size, teg_error* err);

// A read that goes on while the program does something else.
typedef struct teg_read teg_read;

// Records a read of |size| bytes of the buffer as they are at this place of
// the stream, and submits the batch. The ticket is ended by teg_read_finish
// or teg_read_cancel, before its stream. Tickets hold readback memory: when it
// has grown to ring_max and they hold all of it, or for more bytes at once than
// that, TEG_LIMIT.
TEG_API TEG_NODISCARD teg_result
teg_stream_read_begin(teg_stream* stream, teg_buffer* source, uint64_t offset,
                      uint64_t size, teg_read** out_read, teg_error* err);
// Whether teg_read_finish would not block.
TEG_API bool teg_read_is_ready(teg_read* read);
// Waits, copies the bytes to |data| and ends the ticket. If an error of the
// stream is kept, or was reported since the ticket began, it is returned,
// |data| is not touched and the ticket has ended all the same.
TEG_API TEG_NODISCARD teg_result teg_read_finish(teg_read* read, void* data,
                                                 teg_error* err);
// Ends the ticket without the bytes. NULL is fine.
TEG_API void teg_read_cancel(teg_read* read);

typedef struct teg_argument {
  teg_buffer* buffer;
  uint64_t offset;  // a multiple of the device's binding_alignment
  uint64_t size;    // 0 = to the end of the buffer
} teg_argument;

// Runs |kernel| |group_count| times, in a grid. |parameters| are copied; they
// are as many bytes as the kernel was made with.
// Returns TEG_INVALID for arguments that are not as many as the kernel's
// bindings, that are misaligned or outside of their buffers, or where bytes
// that the kernel writes are also bound elsewhere (naming both).
TEG_API TEG_NODISCARD teg_result teg_stream_dispatch(
    teg_stream* stream, teg_kernel* kernel, const teg_argument* arguments,
    uint32_t argument_count, const void* parameters,
    const uint32_t group_count[3], teg_error* err);

// The same with counts that are read from memory when the dispatch runs: three
// 32-bit words at |offset|, a multiple of 4. Counts above the device's
// max_group_count are the program's fault.
TEG_API TEG_NODISCARD teg_result teg_stream_dispatch_indirect(
    teg_stream* stream, teg_kernel* kernel, const teg_argument* arguments,
    uint32_t argument_count, const void* parameters, teg_buffer* counts,
    uint64_t offset, teg_error* err);

// A point in a stream whose time can be asked for once its batch is complete.
typedef struct teg_timestamp {
  uint64_t serial;
  uint64_t number;
} teg_timestamp;

// The time when all commands recorded so far are done.
// TEG_UNSUPPORTED where the device has no clock.
TEG_API TEG_NODISCARD teg_result teg_stream_timestamp(
    teg_stream* stream, teg_timestamp* out_timestamp, teg_error* err);
// Nanoseconds from any beginning, of the same device. TEG_BAD_STATE before the
// batch is complete, TEG_NOT_FOUND when 1024 younger ones were taken.
TEG_API TEG_NODISCARD teg_result
teg_stream_timestamp_ns(teg_stream* stream, const teg_timestamp* timestamp,
                        uint64_t* out_ns, teg_error* err);

// Submits the batch. An empty batch is submitted too: its serial counts.
//   out_serial  may be NULL
TEG_API TEG_NODISCARD teg_result teg_stream_submit(teg_stream* stream,
                                                   uint64_t* out_serial,
                                                   teg_error* err);

// Drops what is recorded and not submitted; what it would have used is given
// back. Its serial is that of an empty batch, which is submitted.
TEG_API TEG_NODISCARD teg_result teg_stream_discard(teg_stream* stream,
                                                    teg_error* err);

// Blocks until batch |serial| is complete; reports the first error a batch
// has kept, once. Waiting for a batch that is not submitted is TEG_BAD_STATE.
TEG_API TEG_NODISCARD teg_result teg_stream_wait(teg_stream* stream,
                                                 uint64_t serial,
                                                 teg_error* err);

// What is recorded on |stream| from here on runs after batch |serial| of
// |other|, which must be submitted (TEG_BAD_STATE otherwise).
TEG_API TEG_NODISCARD teg_result teg_stream_wait_for(teg_stream* stream,
                                                     teg_stream* other,
                                                     uint64_t serial,
                                                     teg_error* err);

#ifdef __cplusplus
}
#endif

#endif  // TEGULA_STREAM_H
