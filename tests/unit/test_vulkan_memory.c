// SPDX-License-Identifier: Apache-2.0
//
// What the Vulkan device makes of memory types that the machine of a test does
// not have, the flushes of memory that is not coherent, and the numbers of
// tiles. Types are made up, and what is flushed is noted instead of done.
#include <string.h>

#include "backend/vulkan/vulkan_backend.h"
#include "backend/vulkan/vulkan_register.h"
#include "support/device_fixture.h"

static const device_config plain = {"vulkan", "vulkan", 65536, false, false};

#define NEEDS_DEVICE()   \
  (void)state;           \
  uint32_t device_count; \
  if (tegi_vk_backend.probe(&device_count, NULL) != TEG_OK) skip()

static tegi_vk_device* native(device_fixture* fx) {
  return tegi_vk_device_from(fx->device);
}

// ---- Types.

#define LOCAL VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT
#define VISIBLE VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT
#define COHERENT VK_MEMORY_PROPERTY_HOST_COHERENT_BIT
#define CACHED VK_MEMORY_PROPERTY_HOST_CACHED_BIT
#define LAZY VK_MEMORY_PROPERTY_LAZILY_ALLOCATED_BIT
#define GIB (UINT64_C(1) << 30)

typedef struct made_up {
  const char* name;
  VkMemoryHeap heaps[3];
  VkMemoryType types[8];
  uint32_t type_count;
  uint32_t device_type;  // what is to be chosen
  uint32_t upload_type;
  uint32_t readback_type;
} made_up;

static const made_up machines[] = {
    {"discrete, the CPU reaches a window",
     {{8 * GIB, VK_MEMORY_HEAP_DEVICE_LOCAL_BIT},
      {16 * GIB, 0},
      {GIB / 4, VK_MEMORY_HEAP_DEVICE_LOCAL_BIT}},
     {{LOCAL, 0},
      {VISIBLE | COHERENT, 1},
      {LOCAL | VISIBLE | COHERENT, 2},
      {VISIBLE | COHERENT | CACHED, 1}},
     4,
     0,
     1,
     3},
    {"discrete, the CPU reaches all",
     {{8 * GIB, VK_MEMORY_HEAP_DEVICE_LOCAL_BIT}, {16 * GIB, 0}},
     {{LOCAL, 0},
      {VISIBLE | COHERENT, 1},
      {VISIBLE | COHERENT | CACHED, 1},
      {LOCAL | VISIBLE | COHERENT, 0}},
     4,
     3,
     1,
     2},
    {"integrated",
     {{16 * GIB, VK_MEMORY_HEAP_DEVICE_LOCAL_BIT}},
     {{LOCAL, 0},
      {LOCAL | VISIBLE | COHERENT, 0},
      {LOCAL | VISIBLE | COHERENT | CACHED, 0}},
     3,
     1,
     1,
     2},
    {"a phone: cached is not coherent",
     {{8 * GIB, VK_MEMORY_HEAP_DEVICE_LOCAL_BIT}},
     {{LOCAL | LAZY, 0},
      {LOCAL | VISIBLE | COHERENT, 0},
      {LOCAL | VISIBLE | CACHED, 0}},
     3,
     1,
     1,
     2},
    {"nothing is coherent that the device likes",
     {{4 * GIB, VK_MEMORY_HEAP_DEVICE_LOCAL_BIT}, {4 * GIB, 0}},
     {{LOCAL, 0}, {LOCAL | VISIBLE | CACHED, 0}, {VISIBLE | COHERENT, 1}},
     3,
     1,
     2,
     1},
};

static void types_are_chosen_by_use(void** state) {
  (void)state;
  for (size_t i = 0; i < sizeof machines / sizeof *machines; i++) {
    const made_up* machine = &machines[i];
    tegi_vk_facts facts = {.memory.memoryTypeCount = machine->type_count,
                           .memory.memoryHeapCount = 3};
    memcpy(facts.memory.memoryTypes, machine->types, sizeof machine->types);
    memcpy(facts.memory.memoryHeaps, machine->heaps, sizeof machine->heaps);
    const uint32_t all = (1u << machine->type_count) - 1;
    print_message("%s\n", machine->name);
    assert_int_equal(tegi_vk_facts_memory_type(&facts, all),
                     machine->device_type);
    assert_int_equal(tegi_vk_facts_staging_type(&facts, all, false),
                     machine->upload_type);
    assert_int_equal(tegi_vk_facts_staging_type(&facts, all, true),
                     machine->readback_type);
    assert_true(tegi_vk_facts_memory_type(&facts, 0) == UINT32_MAX);
    assert_true(tegi_vk_facts_staging_type(&facts, 1, false) == UINT32_MAX ||
                machine->types[0].propertyFlags & VISIBLE);
  }
}

// ---- Flushes.

static struct {
  uint32_t flush_count;
  uint32_t invalidate_count;
  VkMappedMemoryRange last;
} noted;

static VKAPI_ATTR VkResult VKAPI_CALL
note_flush(VkDevice device, uint32_t count, const VkMappedMemoryRange* ranges) {
  (void)device;
  assert_int_equal(count, 1);
  noted.flush_count++;
  noted.last = *ranges;
  return VK_SUCCESS;
}

static VKAPI_ATTR VkResult VKAPI_CALL note_invalidate(
    VkDevice device, uint32_t count, const VkMappedMemoryRange* ranges) {
  (void)device;
  assert_int_equal(count, 1);
  noted.invalidate_count++;
  noted.last = *ranges;
  return noted.invalidate_count == 3 ? VK_ERROR_OUT_OF_HOST_MEMORY : VK_SUCCESS;
}

// A device whose memory is said to be neither coherent nor cached.
static void open_incoherent(device_fixture* fx) {
  device_fixture_open(fx, &plain, NULL);
  tegi_vk_device* device = native(fx);
  for (uint32_t i = 0; i < device->facts.memory.memoryTypeCount; i++) {
    device->facts.memory.memoryTypes[i].propertyFlags &=
        ~(VkMemoryPropertyFlags)(COHERENT | CACHED);
  }
  device->facts.atom_bytes = 64;
  device->vk.FlushMappedMemoryRanges = note_flush;
  device->vk.InvalidateMappedMemoryRanges = note_invalidate;
  memset(&noted, 0, sizeof noted);
}

static void expect_noted(teg_memory* memory, uint64_t offset, uint64_t size) {
  assert_ptr_equal(noted.last.memory, tegi_vk_memory_from(memory)->memory);
  assert_int_equal(noted.last.offset, offset);
  assert_true(noted.last.size == size);
}

static void whole_atoms_are_flushed(void** state) {
  NEEDS_DEVICE();
  const teg_map_ops* map = &tegi_vk_map_ops;
  device_fixture fx;
  open_incoherent(&fx);
  teg_memory* buffer = fixture_buffer(&fx, 4096);
  assert_false(map->is_cached(fx.device, buffer));
  EXPECT_OK(&fx, map->flush(fx.device, buffer, 0, 0, &fx.err));
  assert_int_equal(noted.flush_count, 0);
  EXPECT_OK(&fx, map->flush(fx.device, buffer, 70, 1, &fx.err));
  expect_noted(buffer, 64, 64);
  EXPECT_OK(&fx, map->flush(fx.device, buffer, 63, 66, &fx.err));
  expect_noted(buffer, 0, 192);
  EXPECT_OK(&fx, map->flush(fx.device, buffer, 128, 64, &fx.err));
  expect_noted(buffer, 128, 64);
  EXPECT_OK(&fx, map->flush(fx.device, buffer, 4000, 96, &fx.err));
  expect_noted(buffer, 3968, VK_WHOLE_SIZE);
  assert_int_equal(noted.flush_count, 4);
  EXPECT_OK(&fx, map->invalidate(fx.device, buffer, 200, 100, &fx.err));
  expect_noted(buffer, 192, 128);
  assert_int_equal(noted.invalidate_count, 1);
  EXPECT_RESULT(&fx, TEG_INVALID,
                map->flush(fx.device, buffer, 4000, 97, &fx.err));
  EXPECT_RESULT(&fx, TEG_INVALID,
                map->invalidate(fx.device, buffer, UINT64_MAX, 2, &fx.err));
  fixture_destroy(&fx, buffer);
  device_fixture_close(&fx);
}

// Bytes of a range are flushed in the heaps that its tiles are of.
static void ranges_are_flushed_in_their_heaps(void** state) {
  NEEDS_DEVICE();
  const teg_map_ops* map = &tegi_vk_map_ops;
  device_fixture fx;
  open_incoherent(&fx);
  if (!fx.tables.remap) {
    device_fixture_close(&fx);
    skip();
  }
  const uint64_t tile = fx.caps.tile_bytes;
  teg_memory* first = fixture_heap(&fx, 4 * tile);
  if (!fx.tables.map->host_pointer(fx.device, first)) {
    fixture_destroy(&fx, first);
    device_fixture_close(&fx);
    skip();
  }
  teg_memory* second = fixture_heap(&fx, 4 * tile);
  teg_memory* range = fixture_range(&fx, 4 * tile);
  fixture_map(&fx, range, 0, first, 2, 1);
  fixture_map(&fx, range, 1, second, 1, 2);
  assert_false(map->is_cached(fx.device, range));
  EXPECT_OK(&fx, map->flush(fx.device, range, 10, 10, &fx.err));
  expect_noted(first, 2 * tile, 64);
  EXPECT_OK(&fx, map->flush(fx.device, range, tile - 1, 2 * tile, &fx.err));
  assert_int_equal(noted.flush_count, 3);
  expect_noted(second, tile, 2 * tile);
  EXPECT_OK(&fx, map->invalidate(fx.device, range, 3 * tile - 1, 1, &fx.err));
  expect_noted(second, 3 * tile - 64, 64);
  EXPECT_RESULT(&fx, TEG_INVALID,
                map->flush(fx.device, range, 3 * tile - 1, 2, &fx.err));
  EXPECT_OK(&fx, map->invalidate(fx.device, range, 0, 1, &fx.err));
  EXPECT_RESULT(&fx, TEG_OUT_OF_HOST_MEMORY,
                map->invalidate(fx.device, range, 0, 1, &fx.err));
  fixture_unmap(&fx, range, 0, 3);
  fx.tables.remap->range_release(fx.device, range);
  fixture_destroy(&fx, second);
  fixture_destroy(&fx, first);
  device_fixture_close(&fx);
}

static void coherent_memory_is_not_flushed(void** state) {
  NEEDS_DEVICE();
  device_fixture fx;
  device_fixture_open(&fx, &plain, NULL);
  tegi_vk_device* device = native(&fx);
  device->vk.FlushMappedMemoryRanges = note_flush;
  memset(&noted, 0, sizeof noted);
  const bool is_coherent =
      tegi_vk_facts_is_coherent(&device->facts, device->buffer_type);
  teg_memory* buffer = fixture_buffer(&fx, 4096);
  EXPECT_OK(&fx, tegi_vk_map_ops.flush(fx.device, buffer, 0, 4096, &fx.err));
  assert_int_equal(noted.flush_count, is_coherent ? 0 : 1);
  if (tegi_vk_all_types(device, tegi_vk_facts_is_coherent)) {
    assert_null(fx.tables.map->flush);
    assert_null(fx.tables.map->invalidate);
  }
  fixture_destroy(&fx, buffer);
  device_fixture_close(&fx);
}

// Alignments are such that two buffers share no atom.
static void alignments_hold_whole_atoms(void** state) {
  NEEDS_DEVICE();
  device_fixture fx;
  device_fixture_open(&fx, &plain, NULL);
  const uint64_t atom = native(&fx)->facts.atom_bytes;
  assert_true(atom > 0);
  assert_int_equal(fx.caps.buffer_alignment % atom, 0);
  assert_int_equal(fx.caps.buffer_granularity % atom, 0);
  assert_int_equal(fx.caps.buffer_alignment % fx.caps.binding_alignment, 0);
  assert_true(fx.caps.parameter_alignment > 0);
  assert_true(fx.caps.max_parameter_bytes >= 16384);
  for (int i = 0; i < 3; i++) assert_true(fx.caps.max_group_count[i] >= 65535);
  device_fixture_close(&fx);
}

// ---- Staging.

static void staging_is_made_of_its_types(void** state) {
  NEEDS_DEVICE();
  device_fixture fx;
  device_fixture_open(&fx, &plain, NULL);
  tegi_vk_device* device = native(&fx);
  assert_int_equal(tegi_vk_has_staging(device),
                   fx.tables.device->staging_create != NULL);
  for (int is_readback = 0; is_readback < 2; is_readback++) {
    teg_memory* memory;
    EXPECT_OK(&fx, tegi_vk_staging_create(fx.device, 1000, is_readback, &memory,
                                          &fx.err));
    assert_int_equal(tegi_vk_memory_from(memory)->type,
                     is_readback ? device->readback_type : device->upload_type);
    memset(fixture_bytes(&fx, memory), 1, 1000);
    fixture_destroy(&fx, memory);
    memory = (teg_memory*)(void*)&fx;
    EXPECT_RESULT(
        &fx, TEG_INVALID,
        tegi_vk_staging_create(fx.device, 0, is_readback, &memory, &fx.err));
    assert_null(memory);
    EXPECT_RESULT(&fx, TEG_INVALID,
                  tegi_vk_staging_create(fx.device, UINT64_MAX, is_readback,
                                         &memory, &fx.err));
  }
  // Memory that the CPU reads slowly is not as good.
  const uint32_t type = device->buffer_type;
  device->facts.memory.memoryTypes[type].propertyFlags &=
      ~(VkMemoryPropertyFlags)CACHED;
  assert_true(tegi_vk_has_staging(device));
  device_fixture_close(&fx);
}

// ---- Numbers of tiles.

enum { MOST_HEAPS = 60 };

static void expect_found(tegi_vk_device* device, tegi_vk_memory* heap) {
  const uint32_t first = heap->first_slot;
  const uint32_t count = heap->tile_count;
  assert_true(first > 0);
  assert_ptr_equal(tegi_vk_heaps_find(device, first), heap);
  assert_ptr_equal(tegi_vk_heaps_find(device, first + count - 1), heap);
  assert_ptr_equal(tegi_vk_heaps_find(device, first + count / 2), heap);
  assert_null(tegi_vk_heaps_find(device, first + count));
}

// Heaps that are made up: only their numbers matter. They come and go while the
// numbers begin anew again and again.
static void numbers_lead_to_their_heaps(void** state) {
  NEEDS_DEVICE();
  device_fixture fx;
  device_fixture_open(&fx, &plain, NULL);
  tegi_vk_device* device = native(&fx);
  static tegi_vk_memory heaps[MOST_HEAPS];
  memset(heaps, 0, sizeof heaps);
  uint64_t seed = 5;
  uint32_t wrap_count = 0;
  uint64_t last = 0;
  for (int round = 0; round < 4000; round++) {
    seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407u;
    tegi_vk_memory* heap = &heaps[(seed >> 33) % MOST_HEAPS];
    if (heap->first_slot) {
      const uint32_t first = heap->first_slot;
      tegi_vk_heaps_remove(device, heap);
      heap->first_slot = 0;
      assert_null(tegi_vk_heaps_find(device, first));
      continue;
    }
    heap->tile_count = 1 + (uint32_t)(seed >> 20) % (1u << 25);
    EXPECT_OK(&fx, tegi_vk_heaps_add(device, heap, &fx.err));
    if (heap->first_slot < last) wrap_count++;
    last = heap->first_slot;
    for (int i = 0; i < MOST_HEAPS; i++) {
      if (heaps[i].first_slot) expect_found(device, &heaps[i]);
    }
  }
  assert_true(wrap_count > 2);
  // One that there is no room for.
  tegi_vk_memory giant = {.tile_count = UINT32_MAX};
  EXPECT_RESULT(&fx, TEG_LIMIT, tegi_vk_heaps_add(device, &giant, &fx.err));
  for (int i = 0; i < MOST_HEAPS; i++) {
    if (heaps[i].first_slot) tegi_vk_heaps_remove(device, &heaps[i]);
  }
  assert_null(tegi_vk_heaps_find(device, 1));
  device_fixture_close(&fx);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(types_are_chosen_by_use),
      cmocka_unit_test(whole_atoms_are_flushed),
      cmocka_unit_test(ranges_are_flushed_in_their_heaps),
      cmocka_unit_test(coherent_memory_is_not_flushed),
      cmocka_unit_test(alignments_hold_whole_atoms),
      cmocka_unit_test(staging_is_made_of_its_types),
      cmocka_unit_test(numbers_lead_to_their_heaps),
  };
  return cmocka_run_group_tests_name("vulkan_memory", tests, NULL, NULL);
}
