// SPDX-License-Identifier: Apache-2.0
//
// Fills, copies and the barrier. A barrier is one of memory, not of a buffer,
// and names every stage that a command of tegula has, but no more: on a queue
// that draws as well, a barrier of all stages waits for caches that no command
// here has used.
#include "backend/vulkan/vulkan_backend.h"
#include "base/checked.h"
#include "base/error.h"

// Of the scratch buffer: a fill's pattern, twice.
#define SCRATCH_BYTES 8u

// All that a command of a batch is: dispatches, direct and not, and transfers.
#define COMMAND_STAGES                                                     \
  (VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT | VK_PIPELINE_STAGE_TRANSFER_BIT | \
   VK_PIPELINE_STAGE_DRAW_INDIRECT_BIT)
#define COMMAND_WRITES \
  (VK_ACCESS_SHADER_WRITE_BIT | VK_ACCESS_TRANSFER_WRITE_BIT)
#define COMMAND_READS                                       \
  (VK_ACCESS_SHADER_READ_BIT | VK_ACCESS_UNIFORM_READ_BIT | \
   VK_ACCESS_TRANSFER_READ_BIT | VK_ACCESS_INDIRECT_COMMAND_READ_BIT)

static void barrier(const tegi_vk_device* device, VkCommandBuffer buffer,
                    VkPipelineStageFlags next_stages, VkAccessFlags next) {
  const VkMemoryBarrier all = {
      .sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER,
      .srcAccessMask = COMMAND_WRITES,
      .dstAccessMask = next,
  };
  device->vk.CmdPipelineBarrier(buffer, COMMAND_STAGES, next_stages, 0, 1, &all,
                                0, NULL, 0, NULL);
}

void tegi_vk_barrier_to_commands(const tegi_vk_device* device,
                                 VkCommandBuffer buffer) {
  barrier(device, buffer, COMMAND_STAGES, COMMAND_READS | COMMAND_WRITES);
}

void tegi_vk_barrier_to_host(const tegi_vk_device* device,
                             VkCommandBuffer buffer) {
  barrier(device, buffer, VK_PIPELINE_STAGE_HOST_BIT,
          VK_ACCESS_HOST_READ_BIT | VK_ACCESS_HOST_WRITE_BIT);
}

// ---- Transfers.

void tegi_vk_span_outside(const teg_span* span, const char* what,
                          teg_error* err) {
  tegi_error_set(
      err, TEG_INVALID, "%s: %llu bytes at %llu are not in a memory of %llu",
      what, (unsigned long long)span->size, (unsigned long long)span->offset,
      (unsigned long long)tegi_vk_memory_from(span->memory)->size);
}

// What the pattern is when it begins |shift| bytes later.
static uint32_t rotate_pattern(uint32_t pattern, uint64_t shift) {
  uint32_t bits = (uint32_t)(shift % 4) * 8;
  return bits ? pattern >> bits | pattern << (32 - bits) : pattern;
}

// Fills the whole words of [start, end), and returns where they are.
static void fill_words(const tegi_vk_device* device, VkCommandBuffer buffer,
                       VkBuffer target, uint64_t start, uint64_t end,
                       uint32_t pattern, uint64_t* out_first,
                       uint64_t* out_last) {
  *out_first = tegi_min_u64(tegi_align_up(start, 4), end);
  *out_last = tegi_max_u64(tegi_align_down(end, 4), *out_first);
  if (*out_last > *out_first) {
    device->vk.CmdFillBuffer(buffer, target, *out_first, *out_last - *out_first,
                             rotate_pattern(pattern, *out_first - start));
  }
}

// The bytes of a fill before and after its whole words, at most three each, as
// copies from the scratch buffer. Returns how many there are.
static uint32_t edges_of(uint64_t start, uint64_t first, uint64_t last,
                         uint64_t end, VkBufferCopy edges[2]) {
  uint32_t count = 0;
  if (first > start) edges[count++] = (VkBufferCopy){0, start, first - start};
  if (end > last) {
    edges[count++] = (VkBufferCopy){(last - start) % 4, last, end - last};
  }
  return count;
}

// All streams share the scratch buffer: what stands there may still be read by
// the copies of a fill before.
static void fill_edges(tegi_vk_stream* stream, VkCommandBuffer buffer,
                       VkBuffer target, uint32_t pattern,
                       const VkBufferCopy* edges, uint32_t edge_count) {
  tegi_vk_device* device = stream->device;
  // Little-endian in memory, whatever this machine is.
  uint8_t bytes[SCRATCH_BYTES];
  for (uint32_t i = 0; i < SCRATCH_BYTES; i++) {
    bytes[i] = (uint8_t)(pattern >> (8 * (i % 4)));
  }
  tegi_vk_barrier_to_commands(device, buffer);
  device->vk.CmdUpdateBuffer(buffer, device->scratch->buffer, 0, sizeof bytes,
                             bytes);
  tegi_vk_barrier_to_commands(device, buffer);
  device->vk.CmdCopyBuffer(buffer, device->scratch->buffer, target, edge_count,
                           edges);
}

// vkCmdFillBuffer takes whole words only; the rest is copied from the scratch
// buffer: copies have no alignment.
teg_result tegi_vk_record_fill(teg_queue_stream* queue_stream,
                               const teg_span* target, uint32_t pattern,
                               teg_error* err) {
  tegi_vk_stream* stream = tegi_vk_stream_from(queue_stream);
  const tegi_vk_memory* memory = tegi_vk_span_memory(target, "fill", err);
  if (!memory) return TEG_INVALID;
  if (target->size == 0) return TEG_OK;
  VkCommandBuffer buffer;
  tegi_vk_dispatches* dispatches;
  teg_result result = tegi_vk_command_begin(stream, &buffer, &dispatches, err);
  if (result != TEG_OK) return result;
  const uint64_t start = target->offset;
  const uint64_t end = start + target->size;
  uint64_t first, last;
  fill_words(stream->device, buffer, memory->buffer, start, end, pattern,
             &first, &last);
  VkBufferCopy edges[2];
  uint32_t edge_count = edges_of(start, first, last, end, edges);
  if (edge_count) {
    fill_edges(stream, buffer, memory->buffer, pattern, edges, edge_count);
  }
  return TEG_OK;
}

teg_result tegi_vk_record_copy(teg_queue_stream* queue_stream,
                               const teg_span* target, const teg_span* source,
                               teg_error* err) {
  tegi_vk_stream* stream = tegi_vk_stream_from(queue_stream);
  if (target->size != source->size) {
    return tegi_error_set(
        err, TEG_INVALID, "copy: %llu bytes into a target of %llu",
        (unsigned long long)source->size, (unsigned long long)target->size);
  }
  const tegi_vk_memory* to = tegi_vk_span_memory(target, "copy target", err);
  if (!to) return TEG_INVALID;
  const tegi_vk_memory* from = tegi_vk_span_memory(source, "copy source", err);
  if (!from) return TEG_INVALID;
  if (target->size == 0) return TEG_OK;
  VkCommandBuffer buffer;
  tegi_vk_dispatches* dispatches;
  teg_result result = tegi_vk_command_begin(stream, &buffer, &dispatches, err);
  if (result != TEG_OK) return result;
  const VkBufferCopy region = {source->offset, target->offset, target->size};
  stream->device->vk.CmdCopyBuffer(buffer, from->buffer, to->buffer, 1,
                                   &region);
  return TEG_OK;
}
