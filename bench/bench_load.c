// SPDX-License-Identifier: Apache-2.0
//
// How fast a model loads, beside what the machine can do with the same bytes:
//   cat       cat FILE >/dev/null, the whole process
//   memcpy    one copy of as many bytes into memory that was never touched: a
//             file in memory that is mapped, as the host device's heaps are
//   warm      the same copy into memory that is there already
//   auto, mapped, staged   teg_load into a new session, buffers included
// All take turns, round by round, so that what else goes on hits all alike.
//   bench_load FILE [--device NAME] [--rounds N] [--threads N]
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/measure.h"
#include "tegula/tegula.h"

typedef enum load_subject {
  CAT,
  MEMCPY,
  WARM,
  AUTO,
  MAPPED,
  STAGED,
  SUBJECT_COUNT,
} load_subject;

static const char* const names[SUBJECT_COUNT] = {"cat",  "memcpy", "warm",
                                                 "auto", "mapped", "staged"};

typedef struct load_bench {
  const char* path;
  const char* backend;
  uint32_t thread_count;
  teg_model* model;
  teg_device* device;
  uint64_t bytes;
  char* source;
  char* target;  // touched
  bool is_absent[SUBJECT_COUNT];
  bench_values seconds[SUBJECT_COUNT];
  bench_values without_allocation[SUBJECT_COUNT];
  bench_values over_cat_and_memcpy;
  bench_values over_cat_and_warm;
  bench_values direct_over_staged;
} load_bench;

static double seconds_since(uint64_t begin_ns) {
  return (double)(bench_now_ns() - begin_ns) / 1e9;
}

static double time_cat(const load_bench* bench) {
  uint64_t begin_ns = bench_now_ns();
  pid_t child = fork();
  if (child < 0) BENCH_FAIL("cannot fork");
  if (child == 0) {
    int null = open("/dev/null", O_WRONLY);
    if (null < 0 || dup2(null, STDOUT_FILENO) < 0) _exit(1);
    execlp("cat", "cat", bench->path, (char*)NULL);
    _exit(1);
  }
  int status;
  if (waitpid(child, &status, 0) != child || status != 0) BENCH_FAIL("no cat");
  return seconds_since(begin_ns);
}

static char* map_shared(size_t bytes) {
  int file = memfd_create("bench_load", MFD_CLOEXEC);
  if (file < 0 || ftruncate(file, (off_t)bytes) != 0) BENCH_FAIL("no memfd");
  char* at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  close(file);
  if (at == MAP_FAILED) BENCH_FAIL("no memory");
  return at;
}

static double time_memcpy(const load_bench* bench) {
  char* to = map_shared((size_t)bench->bytes);
  uint64_t begin_ns = bench_now_ns();
  memcpy(to, bench->source, (size_t)bench->bytes);
  double seconds = seconds_since(begin_ns);
  munmap(to, (size_t)bench->bytes);
  return seconds;
}

static double time_warm(const load_bench* bench) {
  uint64_t begin_ns = bench_now_ns();
  memcpy(bench->target, bench->source, (size_t)bench->bytes);
  return seconds_since(begin_ns);
}

static double time_load(load_bench* bench, load_subject subject) {
  teg_session* session = NULL;
  teg_weights* weights = NULL;
  teg_error err;
  teg_load_params params = TEG_LOAD_PARAMS_INIT;
  params.way = (teg_load_way)(subject - AUTO);
  params.thread_count = bench->thread_count;
  if (teg_session_create(bench->device, NULL, &session, &err) != TEG_OK) {
    BENCH_FAIL("%s", err.message);
  }
  uint64_t begin_ns = bench_now_ns();
  teg_result result = teg_load(session, bench->model, &params, &weights, &err);
  double seconds = seconds_since(begin_ns);
  bench->is_absent[subject] = result == TEG_UNSUPPORTED;
  if (result != TEG_OK && result != TEG_UNSUPPORTED)
    BENCH_FAIL("%s", err.message);
  if (result == TEG_OK) {
    teg_load_stats stats;
    teg_weights_get_stats(weights, &stats);
    bench_values_add(&bench->without_allocation[subject],
                     seconds - (double)stats.allocate_ns / 1e9);
  }
  teg_weights_destroy(weights);
  teg_session_destroy(session);
  return seconds;
}

static double time_subject(load_bench* bench, load_subject subject) {
  switch (subject) {
    case CAT:
      return time_cat(bench);
    case MEMCPY:
      return time_memcpy(bench);
    case WARM:
      return time_warm(bench);
    default:
      return time_load(bench, subject);
  }
}

static void run_round(load_bench* bench, bool is_counted) {
  double seconds[SUBJECT_COUNT] = {0};
  for (int i = 0; i < SUBJECT_COUNT; ++i) {
    if (bench->is_absent[i]) continue;
    seconds[i] = time_subject(bench, (load_subject)i);
    if (bench->is_absent[i] || !is_counted) continue;
    bench_values_add(&bench->seconds[i], seconds[i]);
  }
  if (!is_counted) return;
  bench_values_add(&bench->over_cat_and_memcpy,
                   (seconds[CAT] + seconds[MEMCPY]) / seconds[AUTO]);
  bench_values_add(&bench->over_cat_and_warm,
                   (seconds[CAT] + seconds[WARM]) / seconds[AUTO]);
  if (bench->is_absent[MAPPED]) return;
  bench_values_add(&bench->direct_over_staged,
                   seconds[STAGED] / seconds[MAPPED]);
}

static void print_ratio(const load_bench* bench, const char* figure,
                        bench_values* values) {
  if (values->count == 0) return;
  bench_row("load", "tegula", bench->backend, figure,
            bench_median(values->at, values->count), "ratio");
}

static void print_all(load_bench* bench) {
  bench_row_header();
  for (int i = 0; i < SUBJECT_COUNT; ++i) {
    bench_values* seconds = &bench->seconds[i];
    if (seconds->count == 0) continue;
    double median = bench_median(seconds->at, seconds->count);
    bench_row("load", names[i], bench->backend, "rate",
              (double)bench->bytes / median / 1e9, "GB/s");
    bench_values* rest = &bench->without_allocation[i];
    if (rest->count == 0) continue;
    median = bench_median(rest->at, rest->count);
    printf("load,%s,%s,rate_without_allocation,%.3f,GB/s\n", names[i],
           bench->backend, (double)bench->bytes / median / 1e9);
  }
  print_ratio(bench, "of_cat_and_memcpy", &bench->over_cat_and_memcpy);
  print_ratio(bench, "of_cat_and_warm_memcpy", &bench->over_cat_and_warm);
  print_ratio(bench, "mapped_over_staged", &bench->direct_over_staged);
}

static void open_all(load_bench* bench) {
  teg_error err;
  if (teg_model_open(bench->path, NULL, &bench->model, &err) != TEG_OK) {
    BENCH_FAIL("%s", err.message);
  }
  teg_device_params params = TEG_DEVICE_PARAMS_INIT;
  params.backend = bench->backend;
  if (teg_device_create(&params, &bench->device, &err) != TEG_OK) {
    BENCH_FAIL("%s", err.message);
  }
  bench->bytes = teg_model_tensor_bytes(bench->model);
  bench->source = map_shared((size_t)bench->bytes);
  bench->target = map_shared((size_t)bench->bytes);
  memset(bench->source, 1, (size_t)bench->bytes);
  memset(bench->target, 1, (size_t)bench->bytes);
}

int main(int argc, char** argv) {
  static const struct option options[] = {
      {"device", required_argument, NULL, 'd'},
      {"rounds", required_argument, NULL, 'r'},
      {"threads", required_argument, NULL, 't'},
      {0}};
  load_bench bench = {.backend = "host"};
  uint32_t rounds = 5;
  for (int key; (key = getopt_long(argc, argv, "", options, NULL)) >= 0;) {
    if (key == 'd') bench.backend = optarg;
    if (key == 'r') rounds = bench_number("--rounds", optarg, 1, 1000);
    if (key == 't') {
      bench.thread_count = bench_number("--threads", optarg, 1, 64);
    }
    if (key == '?') return 1;
  }
  if (optind + 1 != argc) {
    BENCH_FAIL("FILE [--device NAME] [--rounds N] [--threads N]");
  }
  bench.path = argv[optind];
  open_all(&bench);
  run_round(&bench, false);
  for (uint32_t i = 0; i < rounds; ++i) run_round(&bench, true);
  print_all(&bench);
  for (int i = 0; i < SUBJECT_COUNT; ++i) {
    bench_values_clear(&bench.seconds[i]);
    bench_values_clear(&bench.without_allocation[i]);
  }
  bench_values_clear(&bench.over_cat_and_memcpy);
  bench_values_clear(&bench.over_cat_and_warm);
  bench_values_clear(&bench.direct_over_staged);
  munmap(bench.source, (size_t)bench.bytes);
  munmap(bench.target, (size_t)bench.bytes);
  teg_device_destroy(bench.device);
  teg_model_close(bench.model);
  return 0;
}
