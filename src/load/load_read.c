// SPDX-License-Identifier: Apache-2.0
//
// Reading by threads. One mutex guards both queues; jobs are large, so it is
// taken rarely.
#include "load/load_read.h"

#include <errno.h>
#include <unistd.h>

#include "base/error.h"

// A thread that is told to stop does so within so many bytes.
#define PIECE_BYTES (UINT64_C(1) << 20)

// ---- Queues. The mutex is held ----------------------------------------------

static void queue_init(tegi_read_queue* queue) {
  *queue = (tegi_read_queue){NULL, &queue->first};
}

static void queue_put(tegi_read_queue* queue, tegi_read_job* job) {
  job->next = NULL;
  *queue->last = job;
  queue->last = &job->next;
}

static tegi_read_job* queue_take(tegi_read_queue* queue) {
  tegi_read_job* job = queue->first;
  if (!job) return NULL;
  queue->first = job->next;
  if (!queue->first) queue->last = &queue->first;
  return job;
}

// ---- One job ---------------------------------------------------------------

static bool read_segment(tegi_readers* readers, tegi_read_job* job,
                         const tegi_read_segment* segment) {
  uint64_t done = 0;
  while (done < segment->bytes) {
    job->file_offset = segment->file_offset + done;
    if (tegi_load_relaxed(&readers->is_cancelled)) return false;
    uint64_t piece = segment->bytes - done;
    if (piece > PIECE_BYTES) piece = PIECE_BYTES;
    ssize_t got = pread(segment->file, segment->pointer + done, (size_t)piece,
                        (off_t)job->file_offset);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) job->native = errno;
    if (got == 0) job->is_at_end = true;
    if (got <= 0) return false;
    done += (uint64_t)got;
  }
  return true;
}

static void read_job(tegi_readers* readers, tegi_read_job* job) {
  job->is_read = job->is_at_end = false;
  job->native = 0;
  for (job->segment = 0; job->segment < job->segment_count; ++job->segment) {
    if (!read_segment(readers, job, &job->segments[job->segment])) return;
  }
  job->is_read = true;
}

static void* run_reader(void* user) {
  tegi_readers* readers = user;
  tegi_mutex_lock(&readers->mutex);
  while (!readers->is_stopping) {
    tegi_read_job* job = queue_take(&readers->work);
    if (!job) {
      tegi_cond_wait(&readers->has_work, &readers->mutex);
      continue;
    }
    tegi_mutex_unlock(&readers->mutex);
    read_job(readers, job);
    tegi_mutex_lock(&readers->mutex);
    queue_put(&readers->done, job);
    tegi_cond_signal(&readers->has_done);
  }
  tegi_mutex_unlock(&readers->mutex);
  return NULL;
}

// ---- Start and stop --------------------------------------------------------

static teg_result init_locks(tegi_readers* readers, teg_error* err) {
  if (tegi_mutex_init(&readers->mutex) == TEG_OK) {
    if (tegi_cond_init(&readers->has_work) == TEG_OK) {
      if (tegi_cond_init(&readers->has_done) == TEG_OK) return TEG_OK;
      tegi_cond_destroy(&readers->has_work);
    }
    tegi_mutex_destroy(&readers->mutex);
  }
  return tegi_error_set(err, TEG_OUT_OF_HOST_MEMORY,
                        "load: no host memory for the locks of the readers");
}

teg_result tegi_readers_start(tegi_readers* readers, uint32_t thread_count,
                              teg_error* err) {
  *readers = (tegi_readers){0};
  queue_init(&readers->work);
  queue_init(&readers->done);
  teg_result result = init_locks(readers, err);
  if (result != TEG_OK) return result;
  while (readers->thread_count < thread_count &&
         tegi_thread_create(&readers->threads[readers->thread_count],
                            run_reader, readers) == TEG_OK) {
    readers->thread_count++;
  }
  if (readers->thread_count > 0) return TEG_OK;
  tegi_readers_stop(readers);
  return tegi_error_set(err, TEG_LIMIT,
                        "load: the system has no room for a thread that reads");
}

void tegi_readers_stop(tegi_readers* readers) {
  tegi_store_relaxed(&readers->is_cancelled, 1);
  tegi_mutex_lock(&readers->mutex);
  readers->is_stopping = true;
  tegi_cond_broadcast(&readers->has_work);
  tegi_mutex_unlock(&readers->mutex);
  for (uint32_t i = 0; i < readers->thread_count; ++i) {
    tegi_thread_join(&readers->threads[i]);
  }
  readers->thread_count = 0;
  tegi_cond_destroy(&readers->has_done);
  tegi_cond_destroy(&readers->has_work);
  tegi_mutex_destroy(&readers->mutex);
}

// ---- Jobs ------------------------------------------------------------------

void tegi_readers_submit(tegi_readers* readers, tegi_read_job* job) {
  tegi_mutex_lock(&readers->mutex);
  queue_put(&readers->work, job);
  tegi_cond_signal(&readers->has_work);
  tegi_mutex_unlock(&readers->mutex);
}

tegi_read_job* tegi_readers_next(tegi_readers* readers, uint64_t timeout_ns) {
  tegi_mutex_lock(&readers->mutex);
  tegi_read_job* job = queue_take(&readers->done);
  bool is_in_time = true;
  while (!job && is_in_time) {
    is_in_time =
        tegi_cond_wait_for(&readers->has_done, &readers->mutex, timeout_ns);
    job = queue_take(&readers->done);
  }
  tegi_mutex_unlock(&readers->mutex);
  return job;
}
