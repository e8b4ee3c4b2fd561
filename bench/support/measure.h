// SPDX-License-Identifier: Apache-2.0
//
// What the benchmarks share: clocks, random numbers, medians, and the rows
// they print. A row is one line of CSV on standard output:
//   bench,subject,case,figure,value,unit
// bench/run collects the rows and makes tables of them; everything else a
// program says goes to standard error.
#ifndef TEGULA_BENCH_MEASURE_H
#define TEGULA_BENCH_MEASURE_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

// Blocks of so many operations are timed, as `tegula replay` does.
enum { BENCH_BLOCK_OPERATIONS = 256, BENCH_BATCH_REQUESTS = 32 };

// Of the machine, and of the processor time of the calling thread alone.
uint64_t bench_now_ns(void);
uint64_t bench_thread_ns(void);

// xorshift64*: the same numbers from the same seed everywhere.
typedef struct bench_random {
  uint64_t state;  // not 0
} bench_random;

static inline uint64_t bench_next(bench_random* random) {
  uint64_t x = random->state;
  x ^= x >> 12;
  x ^= x << 25;
  x ^= x >> 27;
  random->state = x;
  return x * UINT64_C(0x2545f4914f6cdd1d);
}

// 0 .. below - 1.
static inline uint32_t bench_below(bench_random* random, uint32_t below) {
  return (uint32_t)(((bench_next(random) >> 32) * below) >> 32);
}

// Fills |sizes|: their logarithms are even between those of |low| and |high|.
void bench_log_uniform(bench_random* random, double low, double high,
                       uint64_t* sizes, size_t count);

// Sorts |values|. 0 of none.
double bench_quantile(double* values, size_t count, double share);
double bench_median(double* values, size_t count);

// A list of numbers that grows.
typedef struct bench_values {
  double* at;
  size_t count;
  size_t capacity;
} bench_values;

void bench_values_add(bench_values* values, double value);
void bench_values_clear(bench_values* values);

void bench_row_header(void);
void bench_row(const char* bench, const char* subject, const char* place,
               const char* figure, double value, const char* unit);

// Says why on standard error, as printf does, and ends the program.
#define BENCH_FAIL(...)                                    \
  (fputs("bench: ", stderr), fprintf(stderr, __VA_ARGS__), \
   fputc('\n', stderr), exit(1))
// As calloc; ends the program without memory.
void* bench_alloc(size_t count, size_t size);
// A number from the command line; ends the program for anything else.
uint32_t bench_number(const char* option, const char* text, uint32_t min,
                      uint32_t max);

#endif  // TEGULA_BENCH_MEASURE_H
