// SPDX-License-Identifier: Apache-2.0
#include "support/measure.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static uint64_t clock_ns(clockid_t clock) {
  struct timespec now;
  clock_gettime(clock, &now);
  return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

uint64_t bench_now_ns(void) { return clock_ns(CLOCK_MONOTONIC); }

uint64_t bench_thread_ns(void) { return clock_ns(CLOCK_THREAD_CPUTIME_ID); }

void bench_log_uniform(bench_random* random, double low, double high,
                       uint64_t* sizes, size_t count) {
  double span = log(high / low);
  for (size_t i = 0; i < count; ++i) {
    double share = (double)(bench_next(random) >> 11) / 9007199254740992.0;
    sizes[i] = (uint64_t)(low * exp(span * share));
  }
}

static int compare(const void* a, const void* b) {
  double left = *(const double*)a;
  double right = *(const double*)b;
  return (left > right) - (left < right);
}

double bench_quantile(double* values, size_t count, double share) {
  if (count == 0) return 0;
  qsort(values, count, sizeof *values, compare);
  size_t rank = (size_t)ceil(share * (double)count);
  return values[rank > 0 ? rank - 1 : 0];
}

double bench_median(double* values, size_t count) {
  return bench_quantile(values, count, 0.5);
}

void bench_values_add(bench_values* values, double value) {
  if (values->count == values->capacity) {
    size_t capacity = values->capacity ? values->capacity * 2 : 256;
    double* grown = realloc(values->at, capacity * sizeof *grown);
    if (!grown) BENCH_FAIL("no memory");
    values->at = grown;
    values->capacity = capacity;
  }
  values->at[values->count++] = value;
}

void bench_values_clear(bench_values* values) {
  free(values->at);
  *values = (bench_values){0};
}

void bench_row_header(void) { puts("bench,subject,case,figure,value,unit"); }

void bench_row(const char* bench, const char* subject, const char* place,
               const char* figure, double value, const char* unit) {
  printf("%s,%s,%s,%s,%.6g,%s\n", bench, subject, place, figure, value, unit);
  fflush(stdout);
}

void* bench_alloc(size_t count, size_t size) {
  void* memory = calloc(count ? count : 1, size);
  if (!memory) BENCH_FAIL("no memory for %zu x %zu bytes", count, size);
  return memory;
}

uint32_t bench_number(const char* option, const char* text, uint32_t min,
                      uint32_t max) {
  char* end;
  errno = 0;
  unsigned long long value = strtoull(text, &end, 10);
  if (errno || end == text || *end || text[0] == '-' || value < min ||
      value > max) {
    BENCH_FAIL("%s: \"%s\" is not a number from %u to %u", option, text, min,
               max);
  }
  return (uint32_t)value;
}
