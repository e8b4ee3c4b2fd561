// SPDX-License-Identifier: Apache-2.0
//
// The threads that read files, by themselves and several loads at once.
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "load/load_read.h"
#include "support/load_fixture.h"

static core_fixture fx;

#define MODEL "model.safetensors"

static const uint64_t sizes[] = {300000, 5, 70000, 2, 900000, 128, 44444};
enum { COUNT = sizeof sizes / sizeof sizes[0] };

// ---- The readers alone -----------------------------------------------------

static int make_file(size_t size) {
  int file = open("bytes", O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  assert_true(file >= 0);
  for (size_t i = 0; i < size; ++i) {
    uint8_t byte = load_fixture_byte(0, i);
    assert_int_equal(pwrite(file, &byte, 1, (off_t)i), 1);
  }
  return file;
}

static tegi_read_job* wait_for_job(tegi_readers* readers) {
  tegi_read_job* job = NULL;
  while (!job) job = tegi_readers_next(readers, 1000000);
  return job;
}

static void jobs_come_back_read(void** state) {
  (void)state;
  enum { JOBS = 50, BYTES = 100 };
  int file = make_file((size_t)JOBS * BYTES);
  uint8_t bytes[JOBS * BYTES];
  memset(bytes, 0, sizeof bytes);
  tegi_read_job* jobs = calloc(JOBS, sizeof *jobs);
  assert_non_null(jobs);
  tegi_readers readers;
  CORE_OK(&fx, tegi_readers_start(&readers, 4, &fx.err));
  assert_int_equal(readers.thread_count, 4);
  assert_null(tegi_readers_next(&readers, 1000));
  for (uint64_t i = 0; i < JOBS; ++i) {
    // In two segments, the last bytes first.
    char* to = (char*)bytes + i * BYTES;
    jobs[i].segments[0] =
        (tegi_read_segment){file, i * BYTES + 60, BYTES - 60, to + 60};
    jobs[i].segments[1] = (tegi_read_segment){file, i * BYTES, 60, to};
    jobs[i].segment_count = 2;
    tegi_readers_submit(&readers, &jobs[i]);
  }
  for (int i = 0; i < JOBS; ++i) {
    assert_true(wait_for_job(&readers)->is_read);
  }
  tegi_readers_stop(&readers);
  for (size_t i = 0; i < sizeof bytes; ++i) {
    assert_int_equal(bytes[i], load_fixture_byte(0, i));
  }
  free(jobs);
  close(file);
}

// Nothing is mapped at the address, so the kernel answers EIO.
static void a_read_error_says_where(void** state) {
  (void)state;
  int file = open("/proc/self/mem", O_RDONLY | O_CLOEXEC);
  assert_true(file >= 0);
  char bytes[64];
  tegi_read_job job = {.segment_count = 2};
  job.segments[0] =
      (tegi_read_segment){file, (uint64_t)(uintptr_t)sizes, 8, bytes};
  job.segments[1] = (tegi_read_segment){file, 4096, 8, bytes};
  tegi_readers readers;
  CORE_OK(&fx, tegi_readers_start(&readers, 1, &fx.err));
  tegi_readers_submit(&readers, &job);
  assert_ptr_equal(wait_for_job(&readers), &job);
  assert_false(job.is_read);
  assert_false(job.is_at_end);
  assert_int_equal(job.native, EIO);
  assert_int_equal(job.segment, 1);
  assert_int_equal(job.file_offset, 4096);
  tegi_readers_stop(&readers);
  close(file);
}

static void the_end_of_a_file_is_told_apart(void** state) {
  (void)state;
  int file = make_file(1000);
  char bytes[64];
  tegi_read_job job = {.segment_count = 1};
  job.segments[0] = (tegi_read_segment){file, 990, 64, bytes};
  tegi_readers readers;
  CORE_OK(&fx, tegi_readers_start(&readers, 1, &fx.err));
  tegi_readers_submit(&readers, &job);
  assert_ptr_equal(wait_for_job(&readers), &job);
  assert_false(job.is_read);
  assert_true(job.is_at_end);
  assert_int_equal(job.file_offset, 1000);
  tegi_readers_stop(&readers);
  close(file);
}

static void readers_stop_in_the_middle_of_work(void** state) {
  (void)state;
  enum { JOBS = 20 };
  int file = open("/dev/zero", O_RDONLY | O_CLOEXEC);
  assert_true(file >= 0);
  const uint64_t size = 16 * MIB;
  char* bytes = malloc((size_t)size * JOBS);
  tegi_read_job* jobs = calloc(JOBS, sizeof *jobs);
  assert_true(bytes && jobs);
  for (int round = 0; round < 4; ++round) {
    tegi_readers readers;
    CORE_OK(&fx, tegi_readers_start(&readers, 3, &fx.err));
    for (uint64_t i = 0; i < JOBS; ++i) {
      jobs[i].segment_count = 1;
      jobs[i].segments[0] =
          (tegi_read_segment){file, 0, size, bytes + i * size};
      tegi_readers_submit(&readers, &jobs[i]);
    }
    if (round % 2) assert_true(wait_for_job(&readers)->is_read);
    tegi_readers_stop(&readers);
  }
  free(jobs);
  free(bytes);
  close(file);
}

// ---- Loads at once ---------------------------------------------------------

typedef struct loader {
  tegi_thread thread;
  teg_session* session;
  const teg_model* model;
  teg_load_way way;
} loader;

static bool cancel_late(void* user, const teg_load_progress* progress) {
  (void)user;
  return progress->done_bytes < progress->total_bytes / 2;
}

static void* load_again_and_again(void* user) {
  const loader* self = user;
  for (int round = 0; round < 6; ++round) {
    teg_load_params params = TEG_LOAD_PARAMS_INIT;
    params.way = self->way;
    params.thread_count = 2;
    params.is_packed = round % 2;
    bool is_cancelled = round % 3 == 2;
    if (is_cancelled) params.watch = cancel_late;
    teg_weights* weights = NULL;
    teg_error err;
    teg_result result =
        teg_load(self->session, self->model, &params, &weights, &err);
    assert_int_equal(result, is_cancelled ? TEG_CANCELLED : TEG_OK);
    if (result != TEG_OK) continue;
    core_fixture own = {0};
    for (uint64_t i = 0; i < COUNT; ++i) {
      load_fixture_expect(&own, teg_session_stream(self->session), weights, i,
                          sizes[i]);
    }
    teg_weights_destroy(weights);
  }
  return NULL;
}

static void sessions_load_one_model_at_once(void** state) {
  (void)state;
  load_fixture_write(MODEL, sizes, COUNT);
  core_open(&fx, "host", "completion=worker");
  teg_model* model = load_fixture_open(MODEL);
  loader loaders[3];
  for (int i = 0; i < 3; ++i) {
    loaders[i].session =
        core_session(&fx, "load", "ring_min=64KiB;ring_max=128KiB");
    loaders[i].model = model;
    loaders[i].way = (teg_load_way)i;
  }
  for (int i = 0; i < 3; ++i) {
    assert_int_equal(tegi_thread_create(&loaders[i].thread,
                                        load_again_and_again, &loaders[i]),
                     TEG_OK);
  }
  for (int i = 0; i < 3; ++i) tegi_thread_join(&loaders[i].thread);
  for (int i = 0; i < 3; ++i) core_validate(&fx, loaders[i].session);
  teg_model_close(model);
  core_close(&fx);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(jobs_come_back_read),
      cmocka_unit_test(a_read_error_says_where),
      cmocka_unit_test(the_end_of_a_file_is_told_apart),
      cmocka_unit_test(readers_stop_in_the_middle_of_work),
      cmocka_unit_test(sessions_load_one_model_at_once),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
