// SPDX-License-Identifier: Apache-2.0
//
// Host pointers of the Vulkan device. A range has none of its own: the bytes of
// a tile are reached through the heap it is of. What is said of a range, a
// flush too, is therefore said of pieces of heaps.
#include "backend/vulkan/vulkan_backend.h"
#include "base/checked.h"
#include "base/error.h"

// Tiles that one piece has at most, so that a small piece of a large run is
// found in short time.
#define PIECE_TILES 256u

static void* host_pointer(teg_backend_device* device, teg_memory* memory) {
  (void)device;
  return tegi_vk_memory_from(memory)->pointer;
}

// The heap under byte |offset| of |range|, where in it, and how many bytes are
// neighbours there from then on. NULL where there is no tile.
static const tegi_vk_memory* piece_at(tegi_vk_device* device,
                                      const tegi_vk_memory* range,
                                      uint64_t offset, uint64_t* out_offset,
                                      uint64_t* out_bytes) {
  const uint64_t tile_bytes = device->tile_bytes;
  const tegi_slots* slots = &range->slots;
  const uint64_t first = offset / tile_bytes;
  if (first >= slots->count || slots->values[first] == 0) return NULL;
  const uint32_t slot = slots->values[first];
  const tegi_vk_memory* heap = tegi_vk_heaps_find(device, slot);
  if (!heap) return NULL;
  // The number behind a heap's last is no tile's.
  const uint64_t most = tegi_min_u64(slots->count - first, PIECE_TILES);
  uint64_t count = 1;
  while (count < most && slots->values[first + count] == slot + count) count++;
  const uint64_t inside = offset % tile_bytes;
  *out_offset = (slot - heap->first_slot) * tile_bytes + inside;
  *out_bytes = count * tile_bytes - inside;
  return heap;
}

static void* tile_pointer(teg_backend_device* base, teg_memory* memory,
                          uint64_t offset, uint64_t* out_bytes) {
  *out_bytes = 0;
  const tegi_vk_memory* range = tegi_vk_memory_from(memory);
  uint64_t heap_offset, bytes;
  const tegi_vk_memory* heap =
      piece_at(tegi_vk_device_from(base), range, offset, &heap_offset, &bytes);
  if (!heap || !heap->pointer) return NULL;
  *out_bytes = bytes;
  return (uint8_t*)heap->pointer + heap_offset;
}

static uint32_t type_of(const tegi_vk_device* device,
                        const tegi_vk_memory* memory) {
  return memory->kind == TEGI_VK_RANGE ? device->heap_type : memory->type;
}

static bool is_cached(teg_backend_device* base, teg_memory* memory) {
  const tegi_vk_device* device = tegi_vk_device_from(base);
  return tegi_vk_facts_is_cached(&device->facts,
                                 type_of(device, tegi_vk_memory_from(memory)));
}

// ---- Memory that is not coherent.

// Whole atoms, or to the end of the memory, which need not be one.
static VkMappedMemoryRange atoms_of(const tegi_vk_device* device,
                                    const tegi_vk_memory* memory,
                                    uint64_t offset, uint64_t size) {
  const uint64_t atom = device->facts.atom_bytes;
  const uint64_t start = tegi_align_down(offset, atom);
  const uint64_t end = tegi_align_up(offset + size, atom);
  return (VkMappedMemoryRange){
      .sType = VK_STRUCTURE_TYPE_MAPPED_MEMORY_RANGE,
      .memory = memory->memory,
      .offset = start,
      .size = end < memory->size ? end - start : VK_WHOLE_SIZE,
  };
}

static teg_result sync_memory(tegi_vk_device* device,
                              const tegi_vk_memory* memory, uint64_t offset,
                              uint64_t size, bool is_flush, teg_error* err) {
  if (tegi_vk_facts_is_coherent(&device->facts, memory->type)) return TEG_OK;
  if (!memory->pointer) {
    return tegi_error_set(err, TEG_INVALID,
                          "the CPU does not reach this memory of %llu bytes",
                          (unsigned long long)memory->size);
  }
  const VkMappedMemoryRange range = atoms_of(device, memory, offset, size);
  VkResult native =
      is_flush
          ? device->vk.FlushMappedMemoryRanges(device->handle, 1, &range)
          : device->vk.InvalidateMappedMemoryRanges(device->handle, 1, &range);
  if (native == VK_SUCCESS) return TEG_OK;
  return tegi_vk_device_failed(
      device, native,
      is_flush ? "vkFlushMappedMemoryRanges" : "vkInvalidateMappedMemoryRanges",
      err);
}

static teg_result sync_range(tegi_vk_device* device,
                             const tegi_vk_memory* range, uint64_t offset,
                             uint64_t size, bool is_flush, teg_error* err) {
  while (size) {
    uint64_t heap_offset, bytes;
    const tegi_vk_memory* heap =
        piece_at(device, range, offset, &heap_offset, &bytes);
    if (!heap) {
      return tegi_error_set(err, TEG_INVALID,
                            "byte %llu of the range has no memory",
                            (unsigned long long)offset);
    }
    bytes = tegi_min_u64(bytes, size);
    teg_result result =
        sync_memory(device, heap, heap_offset, bytes, is_flush, err);
    if (result != TEG_OK) return result;
    offset += bytes;
    size -= bytes;
  }
  return TEG_OK;
}

static teg_result sync_bytes(teg_backend_device* base, teg_memory* memory,
                             uint64_t offset, uint64_t size, bool is_flush,
                             teg_error* err) {
  tegi_vk_device* device = tegi_vk_device_from(base);
  const teg_span span = {memory, offset, size, 0};
  const tegi_vk_memory* vk_memory =
      tegi_vk_span_memory(&span, is_flush ? "flush" : "invalidate", err);
  if (!vk_memory) return TEG_INVALID;
  if (size == 0) return TEG_OK;
  return vk_memory->kind == TEGI_VK_RANGE
             ? sync_range(device, vk_memory, offset, size, is_flush, err)
             : sync_memory(device, vk_memory, offset, size, is_flush, err);
}

static teg_result flush(teg_backend_device* base, teg_memory* memory,
                        uint64_t offset, uint64_t size, teg_error* err) {
  return sync_bytes(base, memory, offset, size, true, err);
}

static teg_result invalidate(teg_backend_device* base, teg_memory* memory,
                             uint64_t offset, uint64_t size, teg_error* err) {
  return sync_bytes(base, memory, offset, size, false, err);
}

bool tegi_vk_all_types(const tegi_vk_device* device,
                       bool (*has)(const tegi_vk_facts* facts, uint32_t type)) {
  const tegi_vk_facts* facts = &device->facts;
  const uint32_t types[] = {device->buffer_type, device->heap_type,
                            device->upload_type, device->readback_type};
  for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
    if (tegi_vk_facts_is_mappable(facts, types[i]) && !has(facts, types[i])) {
      return false;
    }
  }
  return true;
}

const teg_map_ops tegi_vk_map_ops = {
    .abi_version = TEG_BACKEND_ABI_VERSION,
    .struct_size = sizeof(teg_map_ops),
    .host_pointer = host_pointer,
    .tile_pointer = tile_pointer,
    .is_cached = is_cached,
    .flush = flush,
    .invalidate = invalidate,
};
