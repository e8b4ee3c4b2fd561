// SPDX-License-Identifier: Apache-2.0
//
// What is measured: a policy of tegula, or an anchor beside it, behind one set
// of functions, so that all of them are called in the same way by the same
// loop.
//
//   disabled ... planned   tegula on the host device, batches complete when
//                          they are waited for, as in `tegula replay`
//   malloc   glibc's malloc and free of as many bytes, kept from the kernel
//            (no mmap, no trim) so that only its bookkeeping is timed
//   vma      the virtual block of AMD's Vulkan Memory Allocator
//   freelist a list of free records of 192 bytes under a lock: the least that
//            an allocator of any number of threads touches when it is given
//            nothing but the buffer
//   none     nothing at all: what the loop itself costs
#ifndef TEGULA_BENCH_SUBJECT_H
#define TEGULA_BENCH_SUBJECT_H

#include <stdbool.h>
#include <stdint.h>

typedef struct bench_subject bench_subject;

typedef struct bench_subject_ops {
  // A second session on the device of |first|; for the others a new one.
  bench_subject* (*open_beside)(bench_subject* first);
  void (*close)(bench_subject* self);
  // NULL when there is no memory. |lifetime| is a teg_lifetime.
  void* (*take)(bench_subject* self, uint64_t size, int lifetime);
  void (*give)(bench_subject* self, void* handle);
  // Submits a batch and waits for it.
  void (*submit)(bench_subject* self);
  void (*run_begin)(bench_subject* self);
  void (*run_end)(bench_subject* self);
  // Gives back what is free: loading is over.
  void (*trim)(bench_subject* self);
  // Time in the driver and in waits so far, which is not the subject's own.
  uint64_t (*outside_ns)(bench_subject* self);
  // Most bytes it held at once; 0 = cannot tell.
  uint64_t (*peak_bytes)(bench_subject* self);
} bench_subject_ops;

struct bench_subject {
  const bench_subject_ops* ops;
  const char* name;
};

// Names for the whole of a program: policies and anchors. |list| is "a,b,c",
// or NULL for all there are. Names live as long as the program.
//   vma_module  path of the module with the virtual block; NULL = "vma" is
//               left out of NULL, and refused by name
typedef struct subject_names {
  const char* at[32];
  uint32_t count;
} subject_names;

subject_names subject_choose(const char* list, const char* vma_module);

// Ends the program if it cannot be opened.
bench_subject* subject_open(const char* name);
bool subject_is_policy(const char* name);

#endif  // TEGULA_BENCH_SUBJECT_H
