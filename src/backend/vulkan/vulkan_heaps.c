// SPDX-License-Identifier: Apache-2.0
//
// Numbers for the tiles of heaps, and the way back from a number to its heap.
// A number between two heaps stays free: their tiles are no neighbours.
// Numbers go up, so that one that was given back is not soon another tile's,
// and begin anew when they are used up.
//
// heaps.lock guards all of it.
#include <string.h>

#include "backend/vulkan/vulkan_backend.h"
#include "base/error.h"

#define FIRST_SLOT UINT64_C(1)
#define SLOTS_END (UINT64_C(1) << 32)

teg_result tegi_vk_heaps_init(tegi_vk_device* device, teg_error* err) {
  if (tegi_mutex_init(&device->heaps.lock) != TEG_OK) {
    return tegi_error_set(err, TEG_OUT_OF_HOST_MEMORY,
                          "vulkan: cannot make a lock");
  }
  device->heaps.next_slot = FIRST_SLOT;
  return TEG_OK;
}

void tegi_vk_heaps_deinit(tegi_vk_device* device) {
  tegi_vk_heaps* heaps = &device->heaps;
  if (!heaps->next_slot) return;
  tegi_mutex_destroy(&heaps->lock);
  tegi_host_free(&device->host, (void*)heaps->list,
                 heaps->capacity * sizeof *heaps->list);
  *heaps = (tegi_vk_heaps){.next_slot = 0};
}

// Behind the free number that ends a heap.
static uint64_t end_of(const tegi_vk_memory* heap) {
  return (uint64_t)heap->first_slot + heap->tile_count + 1;
}

// How many heaps begin at |slot| or below.
static size_t count_up_to(const tegi_vk_heaps* heaps, uint64_t slot) {
  size_t low = 0;
  size_t high = heaps->count;
  while (low < high) {
    size_t middle = low + (high - low) / 2;
    if (heaps->list[middle]->first_slot <= slot) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

// The first |count| free numbers in a row from |start| on, and the place of
// their heap in the list. False if there are none.
static bool find_free(const tegi_vk_heaps* heaps, uint64_t start,
                      uint64_t count, uint64_t* out_slot, size_t* out_index) {
  size_t i = count_up_to(heaps, start);
  if (i > 0 && end_of(heaps->list[i - 1]) > start) {
    start = end_of(heaps->list[i - 1]);
  }
  while (i < heaps->count && heaps->list[i]->first_slot < start + count) {
    start = end_of(heaps->list[i++]);
  }
  *out_slot = start;
  *out_index = i;
  return start + count <= SLOTS_END;
}

teg_result tegi_vk_heaps_add(tegi_vk_device* device, tegi_vk_memory* heap,
                             teg_error* err) {
  tegi_vk_heaps* heaps = &device->heaps;
  const uint64_t count = (uint64_t)heap->tile_count + 1;
  teg_result result = TEG_OK;
  tegi_mutex_lock(&heaps->lock);
  uint64_t slot;
  size_t index;
  if (!tegi_host_grow_array(&device->host, (void*)&heaps->list,
                            &heaps->capacity, heaps->count + 1,
                            sizeof *heaps->list)) {
    result = tegi_error_set(err, TEG_OUT_OF_HOST_MEMORY,
                            "no host memory for a list of %zu heaps",
                            heaps->count + 1);
  } else if (!find_free(heaps, heaps->next_slot, count, &slot, &index) &&
             !find_free(heaps, FIRST_SLOT, count, &slot, &index)) {
    result = tegi_error_set(err, TEG_LIMIT,
                            "a heap of %u tiles is more than 2^32 numbers for "
                            "tiles have room for",
                            heap->tile_count);
  } else {
    memmove((void*)&heaps->list[index + 1], (void*)&heaps->list[index],
            (heaps->count - index) * sizeof *heaps->list);
    heaps->list[index] = heap;
    heaps->count++;
    heap->first_slot = (uint32_t)slot;
    heaps->next_slot = slot + count;
  }
  tegi_mutex_unlock(&heaps->lock);
  return result;
}

void tegi_vk_heaps_remove(tegi_vk_device* device, const tegi_vk_memory* heap) {
  tegi_vk_heaps* heaps = &device->heaps;
  tegi_mutex_lock(&heaps->lock);
  size_t index = count_up_to(heaps, heap->first_slot) - 1;
  TEG_ASSERT(heaps->list[index] == heap);
  heaps->count--;
  memmove((void*)&heaps->list[index], (void*)&heaps->list[index + 1],
          (heaps->count - index) * sizeof *heaps->list);
  tegi_mutex_unlock(&heaps->lock);
}

tegi_vk_memory* tegi_vk_heaps_find(tegi_vk_device* device, uint32_t slot) {
  tegi_vk_heaps* heaps = &device->heaps;
  tegi_mutex_lock(&heaps->lock);
  size_t index = count_up_to(heaps, slot);
  tegi_vk_memory* heap = index ? heaps->list[index - 1] : NULL;
  if (heap && slot - heap->first_slot >= heap->tile_count) heap = NULL;
  tegi_mutex_unlock(&heaps->lock);
  return heap;
}
