// SPDX-License-Identifier: Apache-2.0
//
// Threads, each with streams, memory and ranges of its own, on one device:
// the worker executes while they record, map, create and destroy. And data
// that is handed from stream to stream. Meant for ThreadSanitizer.
#include <string.h>

#include "base/thread.h"
#include "support/call.h"
#include "support/device_fixture.h"
#include "tegula/host.h"

#define THREADS 4
#define ROUNDS 150u
#define TILE UINT64_C(65536)

static device_config worker = {"host", "host", TILE, false, false};
static device_config told = {"host-told", "host", TILE, true, false};
static device_config modelled = {"host-checked", "host", TILE, false, false};
static device_config checked = {"null", "null", TILE, true, false};

typedef struct job {
  device_fixture* fx;
  uint32_t number;
  uint32_t bad_count;
  // Of the relay: this thread's stream, and how far each thread is.
  teg_queue_stream* stream;
  struct relay* relay;
} job;

// asserts of cmocka belong to the main thread.
#define MUST(job, condition) ((job)->bad_count += !(condition))

static teg_result add_one(void* user, void* const* pointers,
                          const uint64_t* sizes, uint32_t binding_count) {
  (void)user;
  (void)binding_count;
  uint8_t* bytes = pointers[0];
  for (uint64_t i = 0; i < sizes[0]; i++) bytes[i]++;
  return TEG_OK;
}

static void* work_alone(void* user) {
  job* self = user;
  teg_backend_device* device = self->fx->device;
  const teg_backend_tables* tables = &device->tables;
  uint64_t owner = self->number + 1;
  teg_queue_stream* stream;
  teg_memory* range;
  MUST(self, !tables->queue->stream_create(device, &stream, NULL));
  MUST(self, !tables->remap->range_reserve(device, 8 * TILE, &range, NULL));
  for (uint32_t round = 1; round <= ROUNDS && !self->bad_count; round++) {
    teg_memory *heap, *buffer;
    MUST(self, !tables->device->heap_create(device, 4 * TILE, &heap, NULL));
    MUST(self, !tables->device->buffer_create(device, TILE, &buffer, NULL));
    if (self->bad_count) break;
    teg_tile_run runs[2] = {{heap, 2, 1, 2}, {heap, 0, 5, 2}};
    MUST(self, !tables->remap->map(device, range, runs, 2, NULL));
    teg_span low = {range, 3 * TILE - 512, 512, owner};
    teg_span high = {range, 5 * TILE, 512, owner};
    teg_span out = {buffer, 0, 512, owner};
    teg_binding binding = {high, true, true};
    MUST(self, !tables->queue->record_fill(stream, &low,
                                           round % 250 * 0x01010101u, NULL));
    MUST(self, !tables->queue->record_barrier(stream, NULL));
    MUST(self, !tables->queue->record_copy(stream, &high, &low, NULL));
    MUST(self, !tables->queue->submit(stream, 2 * round - 1, NULL));
    MUST(self, !tables->queue->record_barrier(stream, NULL));
    MUST(self,
         !test_record_call(device, stream, add_one, NULL, &binding, 1, NULL));
    MUST(self, !tables->queue->record_barrier(stream, NULL));
    MUST(self, !tables->queue->record_copy(stream, &out, &high, NULL));
    MUST(self, !tables->queue->submit(stream, 2 * round, NULL));
    MUST(self, tables->queue->completed(stream) <= 2 * round);
    MUST(self, !tables->queue->wait(stream, 2 * round, NULL));
    MUST(self, fixture_all_bytes(tables->map->host_pointer(device, buffer), 512,
                                 (uint8_t)(round % 250 + 1)));
    MUST(self, !tables->remap->unmap(device, range, runs, 2, NULL));
    tables->device->memory_destroy(device, buffer);
    tables->device->memory_destroy(device, heap);
  }
  tables->queue->stream_destroy(device, stream);
  tables->remap->range_release(device, range);
  return NULL;
}

static void run_threads(job* jobs, tegi_thread_entry entry) {
  tegi_thread threads[THREADS];
  for (int i = 0; i < THREADS; i++) {
    assert_int_equal(tegi_thread_create(&threads[i], entry, &jobs[i]), TEG_OK);
  }
  for (int i = 0; i < THREADS; i++) tegi_thread_join(&threads[i]);
  for (int i = 0; i < THREADS; i++) assert_int_equal(jobs[i].bad_count, 0);
}

static void threads_work_side_by_side(void** state) {
  device_fixture fx;
  device_fixture_open(&fx, *state, NULL);
  job jobs[THREADS];
  for (uint32_t i = 0; i < THREADS; i++) {
    jobs[i] = (job){.fx = &fx, .number = i};
  }
  run_threads(jobs, work_alone);
  device_fixture_close(&fx);
}

// A buffer goes round: each thread adds one to it, on its own stream, behind
// the batch of the thread before, without waiting on the host.
typedef struct relay {
  tegi_mutex mutex;
  tegi_cond cond;
  uint32_t turn;  // guarded by mutex, as all that follows
  teg_queue_stream* last_stream;
  uint64_t last_serial;
  teg_span span;
} relay;

static void* pass_on(void* user) {
  job* self = user;
  relay* all = self->relay;
  const teg_queue_ops* queue = self->fx->tables.queue;
  for (uint64_t round = 1; round <= ROUNDS; round++) {
    tegi_mutex_lock(&all->mutex);
    while (all->turn % THREADS != self->number) {
      tegi_cond_wait(&all->cond, &all->mutex);
    }
    if (all->last_stream) {
      MUST(self, !queue->record_wait(self->stream, all->last_stream,
                                     all->last_serial, NULL));
    }
    teg_binding binding = {all->span, true, true};
    MUST(self, !test_record_call(self->fx->device, self->stream, add_one, NULL,
                                 &binding, 1, NULL));
    MUST(self, !queue->submit(self->stream, round, NULL));
    all->last_stream = self->stream;
    all->last_serial = round;
    all->turn++;
    tegi_cond_broadcast(&all->cond);
    tegi_mutex_unlock(&all->mutex);
    if (round % 16 == 0) {
      MUST(self, !queue->wait(self->stream, round - 8, NULL));
    }
  }
  MUST(self, !queue->wait(self->stream, ROUNDS, NULL));
  return NULL;
}

static void streams_hand_a_buffer_round(void** state) {
  device_fixture fx;
  device_fixture_open(&fx, *state, NULL);
  relay all = {.turn = 0};
  assert_int_equal(tegi_mutex_init(&all.mutex), TEG_OK);
  assert_int_equal(tegi_cond_init(&all.cond), TEG_OK);
  teg_memory* buffer = fixture_buffer(&fx, 256);
  memset(fixture_bytes(&fx, buffer), 0, 256);
  all.span = (teg_span){buffer, 3, 250, 0};
  job jobs[THREADS];
  for (uint32_t i = 0; i < THREADS; i++) {
    jobs[i] = (job){.fx = &fx, .number = i, .relay = &all};
    jobs[i].stream = fixture_stream(&fx);
  }
  run_threads(jobs, pass_on);
  assert_true(fixture_all_bytes(fixture_bytes(&fx, buffer) + 3, 250,
                                (uint8_t)(ROUNDS * THREADS)));
  for (int i = 0; i < THREADS; i++) {
    fx.tables.queue->stream_destroy(fx.device, jobs[i].stream);
  }
  fixture_destroy(&fx, buffer);
  tegi_cond_destroy(&all.cond);
  tegi_mutex_destroy(&all.mutex);
  device_fixture_close(&fx);
}

// Closing right behind the last submit.
static void devices_come_and_go(void** state) {
  for (int i = 0; i < 50; i++) {
    device_fixture fx;
    device_fixture_open(&fx, *state, NULL);
    teg_memory* buffer = fixture_buffer(&fx, 256);
    teg_queue_stream* stream = fixture_stream(&fx);
    for (uint64_t serial = 1; serial <= 5; serial++) {
      teg_span span = {buffer, 0, 256, 1};
      EXPECT_OK(&fx, fx.tables.queue->record_fill(stream, &span, 1, &fx.err));
      EXPECT_OK(&fx, fx.tables.queue->submit(stream, serial, &fx.err));
    }
    fx.tables.queue->stream_destroy(fx.device, stream);
    fixture_destroy(&fx, buffer);
    device_fixture_close(&fx);
  }
}

static void* run_batches(void* user) {
  job* self = user;
  uint64_t done = 0;
  while (done < ROUNDS) {
    done += teg_host_run_batches(self->fx->device, 3);
    tegi_thread_yield();
  }
  return NULL;
}

static void* submit_batches(void* user) {
  job* self = user;
  const teg_queue_ops* queue = self->fx->tables.queue;
  for (uint64_t serial = 1; serial <= ROUNDS; serial++) {
    MUST(self, !queue->submit(self->stream, serial, NULL));
  }
  while (queue->completed(self->stream) < ROUNDS) tegi_thread_yield();
  return NULL;
}

// One thread submits, another says when; the streams are two.
static void told_batches_run_on_any_thread(void** state) {
  (void)state;
  device_fixture fx;
  device_fixture_open(&fx, &told, NULL);
  job jobs[2] = {{.fx = &fx}, {.fx = &fx}};
  jobs[0].stream = fixture_stream(&fx);
  tegi_thread threads[2];
  assert_int_equal(tegi_thread_create(&threads[0], submit_batches, &jobs[0]),
                   TEG_OK);
  assert_int_equal(tegi_thread_create(&threads[1], run_batches, &jobs[1]),
                   TEG_OK);
  for (int i = 0; i < 2; i++) tegi_thread_join(&threads[i]);
  assert_int_equal(jobs[0].bad_count, 0);
  fx.tables.queue->stream_destroy(fx.device, jobs[0].stream);
  device_fixture_close(&fx);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_prestate(threads_work_side_by_side, &worker),
      cmocka_unit_test_prestate(threads_work_side_by_side, &told),
      cmocka_unit_test_prestate(threads_work_side_by_side, &modelled),
      cmocka_unit_test_prestate(threads_work_side_by_side, &checked),
      cmocka_unit_test_prestate(streams_hand_a_buffer_round, &worker),
      cmocka_unit_test_prestate(streams_hand_a_buffer_round, &told),
      cmocka_unit_test_prestate(streams_hand_a_buffer_round, &modelled),
      cmocka_unit_test_prestate(streams_hand_a_buffer_round, &checked),
      cmocka_unit_test_prestate(devices_come_and_go, &worker),
      cmocka_unit_test_prestate(devices_come_and_go, &checked),
      cmocka_unit_test(told_batches_run_on_any_thread),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
