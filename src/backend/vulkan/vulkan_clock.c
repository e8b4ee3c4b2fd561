// SPDX-License-Identifier: Apache-2.0
//
// Timestamps of a stream: a ring of queries, each reset on the device right
// before it is written. A number that is recorded and then dropped is given
// again, so that every number up to submitted_count was handed to the queue.
//
// Ticks of fewer than 64 bits begin anew every so often. They are told as what
// is nearest to the last that was read, which is right as long as timestamps
// are read twice in that time.
#include "backend/vulkan/vulkan_backend.h"
#include "base/error.h"

// As backend.h says.
#define KEPT 1024u
// Nanoseconds of a tick are multiplied as whole numbers of this part.
#define FRACTION_BITS 24

static teg_result make_pool(tegi_vk_stream* stream, teg_error* err) {
  tegi_vk_device* device = stream->device;
  const VkQueryPoolCreateInfo info = {
      .sType = VK_STRUCTURE_TYPE_QUERY_POOL_CREATE_INFO,
      .queryType = VK_QUERY_TYPE_TIMESTAMP,
      .queryCount = KEPT,
  };
  VkResult native = device->vk.CreateQueryPool(device->handle, &info, NULL,
                                               &stream->clock.pool);
  if (native == VK_SUCCESS) return TEG_OK;
  stream->clock.pool = VK_NULL_HANDLE;
  return tegi_vk_device_failed(device, native, "vkCreateQueryPool", err);
}

void tegi_vk_clock_deinit(tegi_vk_stream* stream) {
  tegi_vk_device* device = stream->device;
  device->vk.DestroyQueryPool(device->handle, stream->clock.pool, NULL);
  stream->clock.pool = VK_NULL_HANDLE;
}

teg_result tegi_vk_record_timestamp(teg_queue_stream* queue_stream,
                                    uint64_t* out_number, teg_error* err) {
  *out_number = 0;
  tegi_vk_stream* stream = tegi_vk_stream_from(queue_stream);
  tegi_vk_device* device = stream->device;
  tegi_vk_clock* clock = &stream->clock;
  teg_result result = clock->pool ? TEG_OK : make_pool(stream, err);
  VkCommandBuffer buffer;
  if (result == TEG_OK) result = tegi_vk_buffer_begin(stream, &buffer, err);
  if (result != TEG_OK) return result;
  const uint32_t query = (uint32_t)(clock->recorded_count % KEPT);
  device->vk.CmdResetQueryPool(buffer, clock->pool, query, 1);
  device->vk.CmdWriteTimestamp(buffer, VK_PIPELINE_STAGE_BOTTOM_OF_PIPE_BIT,
                               clock->pool, query);
  *out_number = ++clock->recorded_count;
  return TEG_OK;
}

// ---- Ticks.

// |ticks| with bits beyond those that the device counts.
static uint64_t extend(tegi_vk_device* device, uint64_t ticks) {
  const uint32_t bits = device->timestamp_bits;
  if (bits >= 64) return ticks;
  const uint64_t mask = (UINT64_C(1) << bits) - 1;
  const uint64_t last = tegi_load_relaxed(&device->last_tick);
  ticks &= mask;
  if (last == 0) {
    // One round up, so that a timestamp from before the first is positive.
    ticks += mask + 1;
  } else {
    const uint64_t ahead = (ticks - last) & mask;
    ticks = ahead <= mask / 2 ? last + ahead : last - (mask + 1 - ahead);
  }
  tegi_store_relaxed(&device->last_tick, ticks);
  return ticks;
}

uint64_t tegi_vk_ticks_to_ns(tegi_vk_device* device, uint64_t ticks) {
  const uint64_t unit = UINT64_C(1) << FRACTION_BITS;
  const uint64_t ns_parts =
      (uint64_t)((double)device->facts.timestamp_ns * (double)unit + 0.5);
  ticks = extend(device, ticks);
  // In two halves, so that nothing overflows before the sum does.
  const uint64_t high = (ticks >> 32) * ns_parts;
  const uint64_t low = (ticks & UINT32_MAX) * ns_parts;
  return (high << (32 - FRACTION_BITS)) + (low >> FRACTION_BITS);
}

teg_result tegi_vk_timestamp(teg_queue_stream* queue_stream, uint64_t number,
                             uint64_t* out_ns, teg_error* err) {
  *out_ns = 0;
  tegi_vk_stream* stream = tegi_vk_stream_from(queue_stream);
  tegi_vk_device* device = stream->device;
  const tegi_vk_clock* clock = &stream->clock;
  teg_result result = tegi_vk_check_alive(device, err);
  if (result != TEG_OK) return result;
  if (number == 0 || number > clock->submitted_count) {
    return tegi_error_set(
        err, TEG_BAD_STATE, "timestamp %llu is not submitted, %llu are",
        (unsigned long long)number, (unsigned long long)clock->submitted_count);
  }
  if (clock->recorded_count - number >= KEPT) {
    return tegi_error_set(err, TEG_NOT_FOUND,
                          "timestamp %llu is not among the last %u of %llu",
                          (unsigned long long)number, KEPT,
                          (unsigned long long)clock->recorded_count);
  }
  uint64_t ticks;
  VkResult native = device->vk.GetQueryPoolResults(
      device->handle, clock->pool, (uint32_t)((number - 1) % KEPT), 1,
      sizeof ticks, &ticks, sizeof ticks, VK_QUERY_RESULT_64_BIT);
  if (native == VK_NOT_READY) {
    return tegi_error_set(err, TEG_BAD_STATE,
                          "timestamp %llu is of a batch that is not complete",
                          (unsigned long long)number);
  }
  if (native != VK_SUCCESS) {
    return tegi_vk_device_failed(device, native, "vkGetQueryPoolResults", err);
  }
  *out_ns = tegi_vk_ticks_to_ns(device, ticks);
  return TEG_OK;
}
