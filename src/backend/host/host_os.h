// SPDX-License-Identifier: Apache-2.0
//
// The system calls of the host device that can fail, and a way to make them
// fail in tests.
#ifndef TEGULA_BACKEND_HOST_OS_H
#define TEGULA_BACKEND_HOST_OS_H

#include <stdint.h>

// Each returns 0, or errno. Outputs are NULL or -1 on failure.
int tegi_hostdev_os_file_create(int* out_file);
// A size above the limit of file sizes ends the process: ask first.
int tegi_hostdev_os_file_resize(int file, uint64_t size);
// Gives pages of the file back; they read as zero after. Any file range.
int tegi_hostdev_os_file_punch(int file, uint64_t offset, uint64_t size);
// Shared read-write mapping of a file range at any address.
int tegi_hostdev_os_map_window(int file, uint64_t offset, uint64_t size,
                               void** out_pointer);
// Anonymous read-write addresses; pages come when touched.
int tegi_hostdev_os_map_anonymous(uint64_t size, void** out_pointer);
// Gives pages of anonymous addresses back; they read as zero after.
int tegi_hostdev_os_drop_pages(void* pointer, uint64_t size);
// Addresses that fault.
int tegi_hostdev_os_reserve(uint64_t size, void** out_pointer);
// Replaces part of a reservation by a file range, and back.
int tegi_hostdev_os_map_tiles(void* pointer, int file, uint64_t offset,
                              uint64_t size);
int tegi_hostdev_os_unmap_tiles(void* pointer, uint64_t size);
void tegi_hostdev_os_release(void* pointer, uint64_t size);

// Most bytes that a file of this process may have; UINT64_MAX = no limit.
uint64_t tegi_hostdev_os_file_size_limit(void);
uint64_t tegi_hostdev_os_page_bytes(void);
uint64_t tegi_hostdev_os_total_bytes(void);
// Bytes that can be touched before the machine swaps; UINT64_MAX = not known.
uint64_t tegi_hostdev_os_available_bytes(void);

// Tests: the |k|-th of the failing calls above from now on, 1 is the next
// one, fails with ENOMEM, and those after it work again, or fail as well if
// |count| > 1. 0 turns it off. Returns true if the last one armed has fired.
int tegi_hostdev_os_fail(uint64_t k, uint64_t count);

#endif  // TEGULA_BACKEND_HOST_OS_H
