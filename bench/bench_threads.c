// SPDX-License-Identifier: Apache-2.0
//
// One thread in one session against two threads in two sessions of one device:
// how much more do they get done together? Each thread has 1,000 buffers live
// and replaces random ones, as in bench_curve, with a submit and a wait for
// every 32 requests, and once more with one for every 256. Stages with one
// thread and stages with two take turns, and so do the subjects, all in one
// run; each round gives the ratio
//   rate of two (from the first start to the last end) / rate of one
// The figure is the median over the quiet rounds: those in which both threads
// had a processor of their own, as far as the kernel says: ready but not
// running for less than 2 % of the time, in all. (A thread that sleeps because
// a lock is taken is not ready: that counts against the subject.) "none" and
// "freelist" share nothing and show what the machine allows. The ratio by
// processor time, over all rounds, stands beside it.
#include <getopt.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support/measure.h"
#include "support/subject.h"
#include "tegula/buffer.h"

enum {
  SIZE_COUNT = 1 << 10,
  LIVE_COUNT = 1000,
  RUN_BLOCKS = 8,
  MOST_TRIES = 12,  // rounds for each quiet one
  THREAD_COUNT = 2
};

// One thread's session and its buffers. On cache lines of its own.
typedef struct thread_seat {
  _Alignas(64) bench_subject* subject;
  const uint64_t* sizes;
  uint32_t batch_requests;
  void** live;
  bench_random random;
  uint64_t start_ns;
  uint64_t end_ns;
  uint64_t thread_ns;
  uint64_t delayed_ns;
  bool has_failed;
} thread_seat;

typedef struct thread_contest {
  const char* name;
  uint32_t block_count;  // of a stage
  thread_seat* seats[THREAD_COUNT];
  bench_values wall;
  bench_values quiet;
  bench_values processor;
  bench_values rate_of_one;
} thread_contest;

// What a quiet round may lose to other work on the machine.
#define QUIET_SHARE 0.02

typedef struct threads_plan {
  subject_names names;
  uint32_t rounds;  // quiet ones
  uint64_t stage_ns;
  uint32_t batch_requests;
  uint64_t* sizes;
} threads_plan;

// What the two threads play next; between the two barriers it is theirs.
typedef struct thread_stage {
  pthread_barrier_t begin;
  pthread_barrier_t end;
  thread_seat* seats[THREAD_COUNT];  // NULL: that thread sits out
  uint32_t block_count;
  bool is_over;
} thread_stage;

typedef struct thread_task {
  thread_stage* stage;
  uint32_t index;
} thread_task;

static void* take(thread_seat* seat) {
  uint32_t index = bench_below(&seat->random, SIZE_COUNT);
  void* handle = seat->subject->ops->take(seat->subject, seat->sizes[index],
                                          TEG_LIFETIME_RUN);
  if (!handle) seat->has_failed = true;
  return handle;
}

static void replace(thread_seat* seat) {
  const bench_subject_ops* ops = seat->subject->ops;
  for (uint32_t i = 0; i < BENCH_BLOCK_OPERATIONS / 2; ++i) {
    uint32_t slot = bench_below(&seat->random, LIVE_COUNT);
    if (seat->live[slot]) ops->give(seat->subject, seat->live[slot]);
    seat->live[slot] = take(seat);
    if ((2 * i + 2) % seat->batch_requests == 0) ops->submit(seat->subject);
  }
}

// Nanoseconds this thread was ready to run and did not, so far.
static uint64_t delayed_ns(void) {
  uint64_t running = 0;
  uint64_t delayed = 0;
  FILE* file = fopen("/proc/thread-self/schedstat", "r");
  if (!file) return 0;
  if (fscanf(file, "%" SCNu64 " %" SCNu64, &running, &delayed) != 2) {
    delayed = 0;
  }
  fclose(file);
  return delayed;
}

static void play(thread_seat* seat, uint32_t block_count) {
  const bench_subject_ops* ops = seat->subject->ops;
  uint64_t delayed = delayed_ns();
  seat->start_ns = bench_now_ns();
  uint64_t thread_ns = bench_thread_ns();
  for (uint32_t i = 0; i < block_count; ++i) {
    if (i % RUN_BLOCKS == 0) ops->run_begin(seat->subject);
    replace(seat);
    if (i % RUN_BLOCKS == RUN_BLOCKS - 1) ops->run_end(seat->subject);
  }
  seat->thread_ns = bench_thread_ns() - thread_ns;
  seat->end_ns = bench_now_ns();
  seat->delayed_ns = delayed_ns() - delayed;
}

static void* thread_main(void* user) {
  thread_task* task = user;
  thread_stage* stage = task->stage;
  for (;;) {
    pthread_barrier_wait(&stage->begin);
    if (stage->is_over) return NULL;
    thread_seat* seat = stage->seats[task->index];
    if (seat) play(seat, stage->block_count);
    pthread_barrier_wait(&stage->end);
  }
}

static void run_blocks(thread_stage* stage, uint32_t block_count) {
  stage->block_count = block_count;
  pthread_barrier_wait(&stage->begin);
  pthread_barrier_wait(&stage->end);
}

// Untimed first: a session that sat out has lent its free buffers to the other
// one and takes them back; what a stage before has left is not its to pay.
static void run_stage(thread_stage* stage, uint32_t block_count) {
  run_blocks(stage, block_count);
  run_blocks(stage, block_count);
}

static thread_seat* open_seat(bench_subject* whose, const threads_plan* plan,
                              uint64_t random_state) {
  thread_seat* seat = NULL;
  if (posix_memalign((void**)&seat, 64, sizeof *seat)) BENCH_FAIL("no memory");
  memset(seat, 0, sizeof *seat);
  seat->subject = whose;
  seat->sizes = plan->sizes;
  seat->batch_requests = plan->batch_requests;
  seat->random.state = random_state;
  seat->live = bench_alloc(LIVE_COUNT + 8, sizeof *seat->live);
  return seat;
}

static void close_seat(thread_seat* seat) {
  for (uint32_t i = 0; i < LIVE_COUNT; ++i) {
    if (seat->live[i]) {
      seat->subject->ops->give(seat->subject, seat->live[i]);
    }
  }
  seat->subject->ops->submit(seat->subject);
  seat->subject->ops->close(seat->subject);
  free(seat->live);
  free(seat);
}

// One thread alone, the one or the other by turns; then both together.
static void play_round(thread_contest* contest, thread_stage* stage,
                       uint32_t round) {
  uint32_t alone = round % THREAD_COUNT;
  thread_seat* one = contest->seats[alone];
  memset(stage->seats, 0, sizeof stage->seats);
  stage->seats[alone] = one;
  run_stage(stage, contest->block_count);
  double one_wall = (double)(one->end_ns - one->start_ns);
  double one_processor = (double)one->thread_ns;
  uint64_t disturbed = one->delayed_ns;
  memcpy(stage->seats, contest->seats, sizeof stage->seats);
  run_stage(stage, contest->block_count);
  const thread_seat* a = contest->seats[0];
  const thread_seat* b = contest->seats[1];
  uint64_t start = a->start_ns < b->start_ns ? a->start_ns : b->start_ns;
  uint64_t end = a->end_ns > b->end_ns ? a->end_ns : b->end_ns;
  double both_wall = (double)(end - start);
  double both_processor = (double)(a->thread_ns + b->thread_ns) / THREAD_COUNT;
  double operations = (double)contest->block_count * BENCH_BLOCK_OPERATIONS;
  disturbed += a->delayed_ns + b->delayed_ns;
  // Neither may begin late.
  disturbed += a->start_ns + b->start_ns - 2 * start;
  double ratio = THREAD_COUNT * one_wall / both_wall;
  bench_values_add(&contest->wall, ratio);
  if ((double)disturbed < QUIET_SHARE * one_wall)
    bench_values_add(&contest->quiet, ratio);
  bench_values_add(&contest->processor,
                   THREAD_COUNT * one_processor / both_processor);
  bench_values_add(&contest->rate_of_one, operations / one_wall * 1e3);
}

static void report(thread_contest* contest, uint32_t batch_requests) {
  for (uint32_t i = 0; i < THREAD_COUNT; ++i) {
    if (contest->seats[i]->has_failed) {
      BENCH_FAIL("threads: %s has no memory", contest->name);
    }
  }
  bench_values* quiet = &contest->quiet;
  char place[32];
  snprintf(place, sizeof place, "batches of %u", batch_requests);
  bench_row("threads", contest->name, place, "rate_ratio",
            bench_median(quiet->at, quiet->count), "");
  bench_row("threads", contest->name, place, "quiet_rounds",
            (double)quiet->count, "");
  bench_row("threads", contest->name, place, "rate_ratio_all_rounds",
            bench_median(contest->wall.at, contest->wall.count), "");
  bench_row("threads", contest->name, place, "rate_ratio_processor_time",
            bench_median(contest->processor.at, contest->processor.count), "");
  bench_row("threads", contest->name, place, "rate_of_one",
            bench_median(contest->rate_of_one.at, contest->rate_of_one.count),
            "M/s");
}

// Plays until a stage of |stage_ns| is known to be so many blocks.
static void warm_up(thread_contest* contest, uint64_t stage_ns) {
  for (uint32_t i = 0; i < THREAD_COUNT; ++i) {
    thread_seat* seat = contest->seats[i];
    uint32_t block_count = 16 * RUN_BLOCKS;
    play(seat, block_count);
    while (seat->end_ns - seat->start_ns < stage_ns / 4) {
      block_count *= 2;
      play(seat, block_count);
    }
    double wanted = (double)stage_ns / (double)(seat->end_ns - seat->start_ns) *
                    block_count;
    contest->block_count = ((uint32_t)wanted / RUN_BLOCKS + 1) * RUN_BLOCKS;
  }
}

static void hold_contests(const threads_plan* plan, thread_stage* stage) {
  uint32_t count = plan->names.count;
  thread_contest* contests = bench_alloc(count, sizeof *contests);
  for (uint32_t s = 0; s < count; ++s) {
    thread_contest* contest = &contests[s];
    contest->name = plan->names.at[s];
    bench_subject* first = subject_open(contest->name);
    bench_subject* second = first->ops->open_beside(first);
    contest->seats[0] = open_seat(first, plan, 0x9e3779b97f4a7c15);
    contest->seats[1] = open_seat(second, plan, 0xbf58476d1ce4e5b9);
    warm_up(contest, plan->stage_ns);
  }
  bool is_over = false;
  uint32_t tries = plan->rounds * MOST_TRIES;
  for (uint32_t round = 0; !is_over && round < tries; ++round) {
    is_over = true;
    for (uint32_t s = 0; s < count; ++s) {
      if (contests[s].quiet.count >= plan->rounds) continue;
      play_round(&contests[s], stage, round);
      is_over = false;
    }
  }
  for (uint32_t s = 0; s < count; ++s) {
    thread_contest* contest = &contests[s];
    report(contest, plan->batch_requests);
    // The first one owns the device.
    close_seat(contest->seats[1]);
    close_seat(contest->seats[0]);
    bench_values_clear(&contest->wall);
    bench_values_clear(&contest->quiet);
    bench_values_clear(&contest->processor);
    bench_values_clear(&contest->rate_of_one);
  }
  free(contests);
}

// What a network submits at once, and so many that submitting is no matter.
static const uint32_t batches[] = {BENCH_BATCH_REQUESTS,
                                   BENCH_BLOCK_OPERATIONS};

int main(int argc, char** argv) {
  static const struct option options[] = {
      {"subjects", required_argument, NULL, 's'},
      {"vma", required_argument, NULL, 'v'},
      {"rounds", required_argument, NULL, 'r'},
      {"stage-ms", required_argument, NULL, 'm'},
      {NULL, 0, NULL, 0}};
  const char* subjects = NULL;
  const char* vma_module = NULL;
  threads_plan plan = {.rounds = 61, .stage_ns = 5000000};
  int option;
  while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
    if (option == 's') subjects = optarg;
    if (option == 'v') vma_module = optarg;
    if (option == 'r') {
      plan.rounds = bench_number("--rounds", optarg, 1, 10000);
    }
    if (option == 'm') {
      plan.stage_ns =
          bench_number("--stage-ms", optarg, 1, 10000) * UINT64_C(1000000);
    }
    if (option == '?') return 1;
  }
  plan.names = subject_choose(subjects, vma_module);
  plan.sizes = bench_alloc(SIZE_COUNT, sizeof *plan.sizes);
  bench_random random = {1};
  bench_log_uniform(&random, 256, 256 << 10, plan.sizes, SIZE_COUNT);
  thread_stage stage = {.is_over = false};
  pthread_barrier_init(&stage.begin, NULL, THREAD_COUNT + 1);
  pthread_barrier_init(&stage.end, NULL, THREAD_COUNT + 1);
  pthread_t threads[THREAD_COUNT];
  thread_task tasks[THREAD_COUNT];
  for (uint32_t i = 0; i < THREAD_COUNT; ++i) {
    tasks[i] = (thread_task){&stage, i};
    if (pthread_create(&threads[i], NULL, thread_main, &tasks[i])) {
      BENCH_FAIL("no thread");
    }
  }
  bench_row_header();
  for (size_t i = 0; i < sizeof batches / sizeof batches[0]; ++i) {
    plan.batch_requests = batches[i];
    hold_contests(&plan, &stage);
  }
  stage.is_over = true;
  pthread_barrier_wait(&stage.begin);
  for (uint32_t i = 0; i < THREAD_COUNT; ++i) pthread_join(threads[i], NULL);
  free(plan.sizes);
  return 0;
}
