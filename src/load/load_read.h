// SPDX-License-Identifier: Apache-2.0
//
// Threads that read pieces of files into memory. The thread that loads fills
// jobs, hands them over, and gets them back in the order in which they end; it
// alone touches streams and buffers.
#ifndef TEGULA_LOAD_LOAD_READ_H
#define TEGULA_LOAD_LOAD_READ_H

#include "base/atomic.h"
#include "base/thread.h"

enum { TEGI_READ_MOST_THREADS = 64, TEGI_READ_MOST_SEGMENTS = 64 };

// Neighbouring bytes of a file that land in neighbouring bytes of memory.
typedef struct tegi_read_segment {
  int file;  // descriptor
  uint64_t file_offset;
  uint64_t bytes;
  char* pointer;
} tegi_read_segment;

typedef struct tegi_read_job {
  tegi_read_segment segments[TEGI_READ_MOST_SEGMENTS];
  uint32_t segment_count;
  // Set when the job comes back.
  bool is_read;          // all of it
  bool is_at_end;        // a file ended too early
  int native;            // errno of a read that failed
  uint32_t segment;      // of the failure, and
  uint64_t file_offset;  // where in its file
  struct tegi_read_job* next;
} tegi_read_job;

typedef struct tegi_read_queue {
  tegi_read_job* first;
  tegi_read_job** last;
} tegi_read_queue;

typedef struct tegi_readers {
  tegi_mutex mutex;
  tegi_cond has_work;
  tegi_cond has_done;
  // Guarded by mutex.
  tegi_read_queue work;
  tegi_read_queue done;
  bool is_stopping;
  tegi_atomic_u64 is_cancelled;  // reads between pieces look at it
  uint32_t thread_count;
  tegi_thread threads[TEGI_READ_MOST_THREADS];
} tegi_readers;

// Starts up to |thread_count| threads; at least one, or TEG_LIMIT.
teg_result tegi_readers_start(tegi_readers* readers, uint32_t thread_count,
                              teg_error* err);
// Ends what is being read as soon as possible; jobs that are not read are
// dropped. Joins the threads.
void tegi_readers_stop(tegi_readers* readers);

// The job is the readers' until it comes back.
void tegi_readers_submit(tegi_readers* readers, tegi_read_job* job);
// A job that has ended, NULL if none has after |timeout_ns|.
tegi_read_job* tegi_readers_next(tegi_readers* readers, uint64_t timeout_ns);

#endif  // TEGULA_LOAD_LOAD_READ_H
