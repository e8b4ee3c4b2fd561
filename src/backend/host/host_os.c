// SPDX-License-Identifier: Apache-2.0
//
// Thin wrappers over Linux. The only state is the test switch.
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "backend/host/host_os.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include "base/atomic.h"

// Counts down to the call that fails; 0 = off. Then |fail_count| calls fail.
static tegi_atomic_u64 fail_countdown;
static tegi_atomic_u64 fail_count;

int tegi_hostdev_os_fail(uint64_t k, uint64_t count) {
  int has_fired = tegi_load_relaxed(&fail_countdown) == 0;
  tegi_store_relaxed(&fail_count, k ? count : 0);
  tegi_store_relaxed(&fail_countdown, k);
  return has_fired;
}

static bool must_fail(void) {
  if (__builtin_expect(tegi_load_relaxed(&fail_count) == 0, 1)) return false;
  uint64_t left = tegi_load_relaxed(&fail_countdown);
  if (left > 1) {
    tegi_store_relaxed(&fail_countdown, left - 1);
    return false;
  }
  tegi_store_relaxed(&fail_countdown, 0);
  tegi_counter_sub(&fail_count, 1);
  return true;
}

int tegi_hostdev_os_file_create(int* out_file) {
  *out_file = -1;
  if (must_fail()) return EMFILE;
  int file = memfd_create("tegula-host", MFD_CLOEXEC);
  if (file < 0) return errno;
  *out_file = file;
  return 0;
}

int tegi_hostdev_os_file_resize(int file, uint64_t size) {
  if (must_fail()) return ENOMEM;
  return ftruncate(file, (off_t)size) == 0 ? 0 : errno;
}

uint64_t tegi_hostdev_os_file_size_limit(void) {
  struct rlimit limit;
  if (getrlimit(RLIMIT_FSIZE, &limit) != 0) return UINT64_MAX;
  return limit.rlim_cur == RLIM_INFINITY ? UINT64_MAX : limit.rlim_cur;
}

int tegi_hostdev_os_file_punch(int file, uint64_t offset, uint64_t size) {
  return fallocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                   (off_t)offset, (off_t)size) == 0
             ? 0
             : errno;
}

static int map(void* address, uint64_t size, int protection, int flags,
               int file, uint64_t offset, void** out_pointer) {
  *out_pointer = NULL;
  if (must_fail()) return ENOMEM;
  void* pointer =
      mmap(address, (size_t)size, protection, flags, file, (off_t)offset);
  if (pointer == MAP_FAILED) return errno;
  *out_pointer = pointer;
  return 0;
}

int tegi_hostdev_os_map_window(int file, uint64_t offset, uint64_t size,
                               void** out_pointer) {
  return map(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE,
             file, offset, out_pointer);
}

int tegi_hostdev_os_map_anonymous(uint64_t size, void** out_pointer) {
  return map(NULL, size, PROT_READ | PROT_WRITE,
             MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0, out_pointer);
}

int tegi_hostdev_os_drop_pages(void* pointer, uint64_t size) {
  return madvise(pointer, (size_t)size, MADV_DONTNEED) == 0 ? 0 : errno;
}

int tegi_hostdev_os_reserve(uint64_t size, void** out_pointer) {
  return map(NULL, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
             -1, 0, out_pointer);
}

int tegi_hostdev_os_map_tiles(void* pointer, int file, uint64_t offset,
                              uint64_t size) {
  void* same;
  return map(pointer, size, PROT_READ | PROT_WRITE,
             MAP_SHARED | MAP_FIXED | MAP_NORESERVE, file, offset, &same);
}

int tegi_hostdev_os_unmap_tiles(void* pointer, uint64_t size) {
  void* same;
  return map(pointer, size, PROT_NONE,
             MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0,
             &same);
}

void tegi_hostdev_os_release(void* pointer, uint64_t size) {
  munmap(pointer, (size_t)size);
}

uint64_t tegi_hostdev_os_page_bytes(void) {
  return (uint64_t)sysconf(_SC_PAGESIZE);
}

uint64_t tegi_hostdev_os_total_bytes(void) {
  return (uint64_t)sysconf(_SC_PHYS_PAGES) * tegi_hostdev_os_page_bytes();
}

uint64_t tegi_hostdev_os_available_bytes(void) {
  char line[128];
  unsigned long long kib = 0;
  FILE* file = fopen("/proc/meminfo", "re");
  while (file && fgets(line, sizeof line, file)) {
    if (sscanf(line, "MemAvailable: %llu kB", &kib) == 1) break;
  }
  if (file) fclose(file);
  if (kib) return (uint64_t)kib << 10;
  struct sysinfo info;
  if (sysinfo(&info) != 0) return UINT64_MAX;
  return (uint64_t)info.freeram * info.mem_unit;
}
