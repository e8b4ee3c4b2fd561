// SPDX-License-Identifier: Apache-2.0
//
// Streams of the Vulkan device. A batch is command buffers of a pool of its
// own, recorded as commands come and handed to the queue at submit; when the
// stream's timeline has passed its serial the batch is used again, so that a
// steady stream allocates nothing.
//
// Commands are ordered by record_barrier alone. It is a global memory barrier:
// all streams share one queue, where barriers order what was submitted before
// as well, and a buffer barrier says nothing about another buffer over the same
// tile. What the CPU wrote is seen by the submit itself; a last barrier, at the
// end of a batch, shows its results to the CPU.
//
// The bind stream is one of them, whose batches carry binds instead of command
// buffers and go to the queue that binds.
//
// Told devices hold submitted batches back until somebody waits, then hand
// over everything up to what is waited for, in submit order.
//
// A stream's lists belong to the thread that uses it, other threads read its
// atomics and timeline. queue_lock guards the queue and the held batches.
#include "backend/common/batch_serials.h"
#include "backend/vulkan/vulkan_backend.h"
#include "base/checked.h"
#include "base/error.h"

static teg_result no_host_memory(teg_error* err) {
  return tegi_error_set(err, TEG_OUT_OF_HOST_MEMORY,
                        "no host memory to record a command");
}

// ---- Timelines.

teg_result tegi_vk_timeline_create(tegi_vk_device* device,
                                   tegi_vk_timeline** out_timeline,
                                   teg_error* err) {
  *out_timeline = NULL;
  tegi_vk_timeline* timeline = tegi_host_alloc(&device->host, sizeof *timeline);
  if (!timeline) {
    return tegi_error_set(err, TEG_OUT_OF_HOST_MEMORY,
                          "no host memory for a timeline");
  }
  const VkSemaphoreTypeCreateInfo type = {
      .sType = VK_STRUCTURE_TYPE_SEMAPHORE_TYPE_CREATE_INFO,
      .semaphoreType = VK_SEMAPHORE_TYPE_TIMELINE,
  };
  const VkSemaphoreCreateInfo info = {
      .sType = VK_STRUCTURE_TYPE_SEMAPHORE_CREATE_INFO, .pNext = &type};
  VkResult native = device->vk.CreateSemaphore(device->handle, &info, NULL,
                                               &timeline->semaphore);
  if (native != VK_SUCCESS) {
    tegi_host_free(&device->host, timeline, sizeof *timeline);
    return tegi_vk_device_failed(device, native, "vkCreateSemaphore", err);
  }
  tegi_retain(&timeline->reference_count);
  *out_timeline = timeline;
  return TEG_OK;
}

void tegi_vk_timeline_release(tegi_vk_device* device,
                              tegi_vk_timeline* timeline) {
  if (!timeline || !tegi_release(&timeline->reference_count)) return;
  device->vk.DestroySemaphore(device->handle, timeline->semaphore, NULL);
  tegi_host_free(&device->host, timeline, sizeof *timeline);
}

VkResult tegi_vk_timeline_wait(const tegi_vk_device* device,
                               const tegi_vk_timeline* timeline,
                               uint64_t value) {
  const VkSemaphoreWaitInfo info = {
      .sType = VK_STRUCTURE_TYPE_SEMAPHORE_WAIT_INFO,
      .semaphoreCount = 1,
      .pSemaphores = &timeline->semaphore,
      .pValues = &value,
  };
  return device->vk.WaitSemaphores(device->handle, &info, UINT64_MAX);
}

// ---- Waits of a batch.

static void waits_clear(tegi_vk_device* device, tegi_vk_waits* waits) {
  for (size_t i = 0; i < waits->count; i++) {
    tegi_vk_timeline_release(device, waits->timelines[i]);
  }
  waits->count = 0;
}

static void waits_deinit(tegi_vk_device* device, tegi_vk_waits* waits) {
  tegi_host* host = &device->host;
  waits_clear(device, waits);
  tegi_host_free(host, (void*)waits->timelines,
                 waits->timeline_capacity * sizeof *waits->timelines);
  tegi_host_free(host, waits->semaphores,
                 waits->semaphore_capacity * sizeof *waits->semaphores);
  tegi_host_free(host, waits->values,
                 waits->value_capacity * sizeof *waits->values);
  tegi_host_free(host, waits->stages,
                 waits->stage_capacity * sizeof *waits->stages);
}

// |timeline| is the semaphore's, NULL for one of the program. False without
// host memory.
static bool waits_add(tegi_vk_device* device, tegi_vk_waits* waits,
                      tegi_vk_timeline* timeline, VkSemaphore semaphore,
                      uint64_t value) {
  for (size_t i = 0; i < waits->count; i++) {
    if (waits->semaphores[i] != semaphore) continue;
    waits->values[i] = tegi_max_u64(waits->values[i], value);
    return true;
  }
  tegi_host* host = &device->host;
  size_t count = waits->count + 1;
  bool has_room =
      tegi_host_grow_array(host, (void*)&waits->timelines,
                           &waits->timeline_capacity, count,
                           sizeof *waits->timelines) &&
      tegi_host_grow_array(host, (void*)&waits->semaphores,
                           &waits->semaphore_capacity, count,
                           sizeof *waits->semaphores) &&
      tegi_host_grow_array(host, &waits->values, &waits->value_capacity, count,
                           sizeof *waits->values) &&
      tegi_host_grow_array(host, &waits->stages, &waits->stage_capacity, count,
                           sizeof *waits->stages);
  if (!has_room) return false;
  if (timeline) tegi_retain(&timeline->reference_count);
  waits->timelines[waits->count] = timeline;
  waits->semaphores[waits->count] = semaphore;
  waits->values[waits->count] = value;
  waits->stages[waits->count] = VK_PIPELINE_STAGE_ALL_COMMANDS_BIT;
  waits->count = count;
  return true;
}

// ---- Batches.

static teg_result make_pool(tegi_vk_device* device, tegi_vk_batch* batch,
                            teg_error* err) {
  const VkCommandPoolCreateInfo info = {
      .sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO,
      .flags = VK_COMMAND_POOL_CREATE_TRANSIENT_BIT,
      .queueFamilyIndex = device->facts.queue_family,
  };
  VkResult native =
      device->vk.CreateCommandPool(device->handle, &info, NULL, &batch->pool);
  if (native == VK_SUCCESS) return TEG_OK;
  batch->pool = VK_NULL_HANDLE;
  return tegi_vk_device_failed(device, native, "vkCreateCommandPool", err);
}

// Drops what is recorded. The batch is not on the queue.
static void batch_reset(tegi_vk_device* device, tegi_vk_batch* batch) {
  // A reset that fails leaves buffers that begin() resets one by one or
  // refuses.
  if (batch->used_count) {
    (void)device->vk.ResetCommandPool(device->handle, batch->pool, 0);
  }
  batch->used_count = 0;
  batch->open = VK_NULL_HANDLE;
  batch->is_behind_barrier = false;
  waits_clear(device, &batch->waits);
  tegi_vk_dispatches_reset(device, &batch->dispatches);
}

static void batch_free(tegi_vk_device* device, tegi_vk_batch* batch) {
  if (!batch) return;
  device->vk.DestroyCommandPool(device->handle, batch->pool, NULL);
  waits_deinit(device, &batch->waits);
  tegi_vk_dispatches_deinit(device, &batch->dispatches);
  tegi_vk_binds_deinit(device, &batch->binds);
  tegi_host_free(&device->host, (void*)batch->buffers,
                 batch->capacity * sizeof *batch->buffers);
  tegi_host_free(&device->host, batch, sizeof *batch);
}

static uint64_t completed_serial(tegi_vk_stream* stream);

// The oldest submitted batch, if it is complete. NULL otherwise.
static tegi_vk_batch* take_completed(tegi_vk_stream* stream) {
  tegi_vk_batch* batch = stream->first_batch;
  if (!batch || batch->serial > completed_serial(stream)) return NULL;
  stream->first_batch = batch->next;
  if (!stream->first_batch) stream->last_batch = NULL;
  batch_reset(stream->device, batch);
  return batch;
}

// Sets stream->recording.
static teg_result batch_begin(tegi_vk_stream* stream, teg_error* err) {
  tegi_vk_device* device = stream->device;
  teg_result result = tegi_vk_check_alive(device, err);
  if (result != TEG_OK || stream->recording) return result;
  tegi_vk_batch* batch = stream->unused;
  if (batch) {
    stream->unused = batch->next;
  } else {
    batch = take_completed(stream);
  }
  if (!batch) {
    batch = tegi_host_alloc(&device->host, sizeof *batch);
    if (!batch) return no_host_memory(err);
    result = stream->is_bind ? TEG_OK : make_pool(device, batch, err);
    if (result != TEG_OK) {
      tegi_host_free(&device->host, batch, sizeof *batch);
      return result;
    }
    batch->stream = stream;
    tegi_vk_dispatches_begin(device, &batch->dispatches);
  }
  batch->next = NULL;
  batch->next_held = NULL;
  stream->recording = batch;
  return TEG_OK;
}

tegi_vk_binds* tegi_vk_stream_noted(tegi_vk_stream* stream) {
  TEG_ASSERT(stream->recording);
  return &stream->recording->binds;
}

teg_result tegi_vk_stream_binds(tegi_vk_stream* stream,
                                tegi_vk_binds** out_binds, teg_error* err) {
  teg_result result = batch_begin(stream, err);
  if (result == TEG_OK) *out_binds = &stream->recording->binds;
  return result;
}

// One more command buffer, among |batch->buffers|.
static teg_result make_buffer(tegi_vk_device* device, tegi_vk_batch* batch,
                              teg_error* err) {
  if (!tegi_host_grow_array(&device->host, (void*)&batch->buffers,
                            &batch->capacity, batch->made_count + 1u,
                            sizeof *batch->buffers)) {
    return no_host_memory(err);
  }
  const VkCommandBufferAllocateInfo info = {
      .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO,
      .commandPool = batch->pool,
      .level = VK_COMMAND_BUFFER_LEVEL_PRIMARY,
      .commandBufferCount = 1,
  };
  VkResult native = device->vk.AllocateCommandBuffers(
      device->handle, &info, &batch->buffers[batch->made_count]);
  if (native != VK_SUCCESS) {
    return tegi_vk_device_failed(device, native, "vkAllocateCommandBuffers",
                                 err);
  }
  batch->made_count++;
  return TEG_OK;
}

teg_result tegi_vk_buffer_open(tegi_vk_stream* stream, teg_error* err) {
  tegi_vk_device* device = stream->device;
  TEG_REQUIRE(!stream->is_bind, err,
              "the stream of remapping takes no commands");
  teg_result result = batch_begin(stream, err);
  if (result != TEG_OK) return result;
  tegi_vk_batch* batch = stream->recording;
  if (batch->used_count == batch->made_count) {
    result = make_buffer(device, batch, err);
    if (result != TEG_OK) return result;
  }
  const VkCommandBufferBeginInfo info = {
      .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO,
      .flags = VK_COMMAND_BUFFER_USAGE_ONE_TIME_SUBMIT_BIT,
  };
  VkCommandBuffer buffer = batch->buffers[batch->used_count];
  VkResult native = device->vk.BeginCommandBuffer(buffer, &info);
  if (native != VK_SUCCESS) {
    return tegi_vk_device_failed(device, native, "vkBeginCommandBuffer", err);
  }
  batch->used_count++;
  batch->open = buffer;
  tegi_vk_dispatches_unbind(&batch->dispatches);
  return TEG_OK;
}

// ---- Recording.

static teg_result record_barrier(teg_queue_stream* queue_stream,
                                 teg_error* err) {
  tegi_vk_stream* stream = tegi_vk_stream_from(queue_stream);
  VkCommandBuffer buffer;
  teg_result result = tegi_vk_buffer_begin(stream, &buffer, err);
  if (result != TEG_OK || stream->recording->is_behind_barrier) return result;
  tegi_vk_barrier_to_commands(stream->device, buffer);
  stream->recording->is_behind_barrier = true;
  return TEG_OK;
}

static teg_result check_submitted(tegi_vk_stream* stream, uint64_t serial,
                                  teg_error* err) {
  return tegi_serial_check_submitted(tegi_load_acquire(&stream->submitted),
                                     serial, err);
}

static teg_result record_wait(teg_queue_stream* queue_stream,
                              teg_queue_stream* other_queue_stream,
                              uint64_t serial, teg_error* err) {
  tegi_vk_stream* stream = tegi_vk_stream_from(queue_stream);
  tegi_vk_stream* other = tegi_vk_stream_from(other_queue_stream);
  teg_result result = check_submitted(other, serial, err);
  if (result == TEG_OK) result = tegi_vk_check_alive(stream->device, err);
  if (result != TEG_OK || completed_serial(other) >= serial) return result;
  result = batch_begin(stream, err);
  if (result != TEG_OK) return result;
  if (waits_add(stream->device, &stream->recording->waits, other->timeline,
                other->timeline->semaphore, serial)) {
    return TEG_OK;
  }
  return no_host_memory(err);
}

teg_result tegi_vk_stream_wait_semaphore(tegi_vk_stream* stream,
                                         VkSemaphore semaphore, uint64_t value,
                                         teg_error* err) {
  teg_result result = batch_begin(stream, err);
  if (result != TEG_OK) return result;
  if (waits_add(stream->device, &stream->recording->waits, NULL, semaphore,
                value)) {
    return TEG_OK;
  }
  return no_host_memory(err);
}

static void discard(teg_queue_stream* queue_stream) {
  tegi_vk_stream* stream = tegi_vk_stream_from(queue_stream);
  tegi_vk_batch* batch = stream->recording;
  if (!batch) return;
  if (stream->is_bind) tegi_vk_binds_undo(stream->device, &batch->binds);
  batch_reset(stream->device, batch);
  stream->clock.recorded_count = stream->clock.submitted_count;
}

// ---- Submit.

// Ends the open command buffer. One that cannot be ended is lost: the batch is
// then empty.
static teg_result batch_end(tegi_vk_device* device, tegi_vk_batch* batch,
                            teg_error* err) {
  VkCommandBuffer buffer = batch->open;
  if (!buffer) return TEG_OK;
  tegi_vk_barrier_to_host(device, buffer);
  VkResult native = device->vk.EndCommandBuffer(buffer);
  batch->open = VK_NULL_HANDLE;
  if (native == VK_SUCCESS) return TEG_OK;
  batch_reset(device, batch);
  batch->stream->clock.recorded_count = batch->stream->clock.submitted_count;
  return tegi_vk_device_failed(
      device, native, "vkEndCommandBuffer, which drops the batch,", err);
}

// Makes a batch ready for the queue.
static teg_result batch_close(tegi_vk_stream* stream, uint64_t serial,
                              teg_error* err) {
  tegi_vk_device* device = stream->device;
  tegi_vk_batch* batch = stream->recording;
  batch->serial = serial;
  if (!stream->is_bind) return batch_end(device, batch, err);
  // Nothing but this wait orders two batches of binds.
  if (serial > 1 && !waits_add(device, &batch->waits, stream->timeline,
                               stream->timeline->semaphore, serial - 1)) {
    return no_host_memory(err);
  }
  return tegi_vk_binds_resolve(device, &batch->binds, err);
}

static VkResult hand_over_commands(tegi_vk_device* device,
                                   const tegi_vk_batch* batch,
                                   const void* values) {
  const tegi_vk_waits* waits = &batch->waits;
  const VkSubmitInfo info = {
      .sType = VK_STRUCTURE_TYPE_SUBMIT_INFO,
      .pNext = values,
      .waitSemaphoreCount = (uint32_t)waits->count,
      .pWaitSemaphores = waits->semaphores,
      .pWaitDstStageMask = waits->stages,
      .commandBufferCount = batch->used_count,
      .pCommandBuffers = batch->buffers,
      .signalSemaphoreCount = 1,
      .pSignalSemaphores = &batch->stream->timeline->semaphore,
  };
  return device->vk.QueueSubmit(device->queue, 1, &info, VK_NULL_HANDLE);
}

static VkResult hand_over_binds(tegi_vk_device* device,
                                const tegi_vk_batch* batch,
                                const void* values) {
  const VkBindSparseInfo info = {
      .sType = VK_STRUCTURE_TYPE_BIND_SPARSE_INFO,
      .pNext = values,
      .waitSemaphoreCount = (uint32_t)batch->waits.count,
      .pWaitSemaphores = batch->waits.semaphores,
      .bufferBindCount = batch->binds.buffer_count,
      .pBufferBinds = batch->binds.buffers,
      .signalSemaphoreCount = 1,
      .pSignalSemaphores = &batch->stream->timeline->semaphore,
  };
  return device->vk.QueueBindSparse(device->bind_queue, 1, &info,
                                    VK_NULL_HANDLE);
}

// Hands a batch to the queue. queue_lock is held.
static teg_result hand_over(tegi_vk_device* device, const tegi_vk_batch* batch,
                            teg_error* err) {
  const VkTimelineSemaphoreSubmitInfo values = {
      .sType = VK_STRUCTURE_TYPE_TIMELINE_SEMAPHORE_SUBMIT_INFO,
      .waitSemaphoreValueCount = (uint32_t)batch->waits.count,
      .pWaitSemaphoreValues = batch->waits.values,
      .signalSemaphoreValueCount = 1,
      .pSignalSemaphoreValues = &batch->serial,
  };
  bool is_bind = batch->stream->is_bind;
  tegi_vk_queues_lock(device);
  VkResult native = is_bind ? hand_over_binds(device, batch, &values)
                            : hand_over_commands(device, batch, &values);
  tegi_vk_queues_unlock(device);
  if (native == VK_SUCCESS) return TEG_OK;
  return tegi_vk_device_failed(
      device, native, is_bind ? "vkQueueBindSparse" : "vkQueueSubmit", err);
}

static void hold(tegi_vk_device* device, tegi_vk_batch* batch) {
  if (device->last_held) {
    device->last_held->next_held = batch;
  } else {
    device->first_held = batch;
  }
  device->last_held = batch;
}

static teg_result submit(teg_queue_stream* queue_stream, uint64_t serial,
                         teg_error* err) {
  tegi_vk_stream* stream = tegi_vk_stream_from(queue_stream);
  tegi_vk_device* device = stream->device;
  teg_result result = tegi_serial_check_next(
      tegi_load_relaxed(&stream->submitted), serial, err);
  if (result == TEG_OK) result = batch_begin(stream, err);
  if (result == TEG_OK) result = batch_close(stream, serial, err);
  if (result != TEG_OK) return result;
  tegi_vk_batch* batch = stream->recording;
  tegi_mutex_lock(&device->queue_lock);
  if (device->is_told) {
    hold(device, batch);
  } else {
    result = hand_over(device, batch, err);
  }
  if (result == TEG_OK) tegi_store_release(&stream->submitted, serial);
  tegi_mutex_unlock(&device->queue_lock);
  if (result != TEG_OK) return result;
  if (stream->is_bind) tegi_vk_binds_submitted(device, &batch->binds, serial);
  stream->recording = NULL;
  stream->clock.submitted_count = stream->clock.recorded_count;
  if (stream->last_batch) {
    stream->last_batch->next = batch;
  } else {
    stream->first_batch = batch;
  }
  stream->last_batch = batch;
  return TEG_OK;
}

// ---- Completion.

static uint64_t completed_serial(tegi_vk_stream* stream) {
  tegi_vk_device* device = stream->device;
  if (tegi_vk_check_alive(device, NULL) != TEG_OK) {
    // Every serial completes, as lost.
    return tegi_load_acquire(&stream->submitted);
  }
  if (device->is_told) return tegi_load_acquire(&stream->told);
  uint64_t value = 0;
  VkResult native = device->vk.GetSemaphoreCounterValue(
      device->handle, stream->timeline->semaphore, &value);
  if (native == VK_SUCCESS) return value;
  (void)tegi_vk_device_failed(device, native, "vkGetSemaphoreCounterValue",
                              NULL);
  return 0;
}

static uint64_t completed(teg_queue_stream* queue_stream) {
  return completed_serial(tegi_vk_stream_from(queue_stream));
}

// Told: hands over and finishes held batches until |stream| has reached
// |serial|. queue_lock is held throughout: order is what told devices are for.
static teg_result run_held(tegi_vk_stream* stream, uint64_t serial,
                           teg_error* err) {
  tegi_vk_device* device = stream->device;
  teg_result result = TEG_OK;
  tegi_mutex_lock(&device->queue_lock);
  while (result == TEG_OK && device->first_held &&
         tegi_load_relaxed(&stream->told) < serial) {
    tegi_vk_batch* batch = device->first_held;
    device->first_held = batch->next_held;
    if (!device->first_held) device->last_held = NULL;
    result = hand_over(device, batch, err);
    if (result == TEG_OK) {
      VkResult native =
          tegi_vk_timeline_wait(device, batch->stream->timeline, batch->serial);
      if (native != VK_SUCCESS) {
        result = tegi_vk_device_failed(device, native, "vkWaitSemaphores", err);
      }
    }
    // The batch was promised: a queue that will not have it is lost.
    if (result != TEG_OK) atomic_store(&device->is_lost, true);
    tegi_store_release(&batch->stream->told, batch->serial);
  }
  tegi_mutex_unlock(&device->queue_lock);
  return result;
}

teg_result tegi_vk_stream_finish(tegi_vk_stream* stream, uint64_t serial,
                                 teg_error* err) {
  tegi_vk_device* device = stream->device;
  teg_result result = tegi_vk_check_alive(device, err);
  if (result != TEG_OK || serial == 0) return result;
  if (device->is_told) return run_held(stream, serial, err);
  VkResult native = tegi_vk_timeline_wait(device, stream->timeline, serial);
  if (native == VK_SUCCESS) return TEG_OK;
  return tegi_vk_device_failed(device, native, "vkWaitSemaphores", err);
}

static teg_result wait(teg_queue_stream* queue_stream, uint64_t serial,
                       teg_error* err) {
  tegi_vk_stream* stream = tegi_vk_stream_from(queue_stream);
  teg_result result = check_submitted(stream, serial, err);
  return result == TEG_OK ? tegi_vk_stream_finish(stream, serial, err) : result;
}

// ---- Life.

teg_result tegi_vk_stream_open(tegi_vk_device* device, bool is_bind,
                               tegi_vk_stream** out_stream, teg_error* err) {
  *out_stream = NULL;
  tegi_vk_stream* stream = tegi_host_alloc(&device->host, sizeof *stream);
  if (!stream) {
    return tegi_error_set(err, TEG_OUT_OF_HOST_MEMORY,
                          "no host memory for a stream");
  }
  teg_result result = tegi_vk_timeline_create(device, &stream->timeline, err);
  if (result != TEG_OK) {
    tegi_host_free(&device->host, stream, sizeof *stream);
    return result;
  }
  stream->magic = TEGI_VK_STREAM_MAGIC;
  stream->device = device;
  stream->is_bind = is_bind;
  *out_stream = stream;
  return TEG_OK;
}

static teg_result stream_create(teg_backend_device* base,
                                teg_queue_stream** out_stream, teg_error* err) {
  *out_stream = NULL;
  tegi_vk_device* device = tegi_vk_device_from(base);
  teg_result result = tegi_vk_check_alive(device, err);
  if (result != TEG_OK) return result;
  tegi_vk_stream* stream;
  result = tegi_vk_stream_open(device, false, &stream, err);
  if (result != TEG_OK) return result;
  tegi_fetch_add_relaxed(&device->object_count, 1);
  *out_stream = (teg_queue_stream*)(void*)stream;
  return TEG_OK;
}

static void free_list(tegi_vk_device* device, tegi_vk_batch* batch) {
  while (batch) {
    tegi_vk_batch* next = batch->next;
    batch_free(device, batch);
    batch = next;
  }
}

// A lost device hands nothing over any more: its held batches of |stream| go.
static void drop_held(tegi_vk_stream* stream) {
  tegi_vk_device* device = stream->device;
  tegi_mutex_lock(&device->queue_lock);
  tegi_vk_batch** at = &device->first_held;
  device->last_held = NULL;
  while (*at) {
    if ((*at)->stream == stream) {
      *at = (*at)->next_held;
    } else {
      device->last_held = *at;
      at = &(*at)->next_held;
    }
  }
  tegi_mutex_unlock(&device->queue_lock);
}

void tegi_vk_stream_close(tegi_vk_device* device, tegi_vk_stream* stream) {
  if (!stream) return;
  (void)tegi_vk_stream_finish(stream, tegi_load_acquire(&stream->submitted),
                              NULL);
  tegi_vk_rest_if_lost(device);
  drop_held(stream);
  discard((teg_queue_stream*)(void*)stream);
  batch_free(device, stream->recording);
  free_list(device, stream->first_batch);
  free_list(device, stream->unused);
  tegi_vk_clock_deinit(stream);
  tegi_vk_timeline_release(device, stream->timeline);
  stream->magic = 0;
  tegi_host_free(&device->host, stream, sizeof *stream);
}

static void stream_destroy(teg_backend_device* base,
                           teg_queue_stream* queue_stream) {
  if (!queue_stream) return;
  tegi_vk_device* device = tegi_vk_device_from(base);
  tegi_vk_stream* stream = tegi_vk_stream_from(queue_stream);
  TEG_ASSERT(!stream->is_bind);
  tegi_vk_stream_close(device, stream);
  tegi_fetch_add_relaxed(&device->object_count, (uint64_t)-1);
}

const teg_queue_ops tegi_vk_queue_ops = {
    .abi_version = TEG_BACKEND_ABI_VERSION,
    .struct_size = sizeof(teg_queue_ops),
    .stream_create = stream_create,
    .stream_destroy = stream_destroy,
    .record_fill = tegi_vk_record_fill,
    .record_copy = tegi_vk_record_copy,
    .record_barrier = record_barrier,
    .record_timestamp = tegi_vk_record_timestamp,
    .timestamp = tegi_vk_timestamp,
    .record_wait = record_wait,
    .discard = discard,
    .submit = submit,
    .completed = completed,
    .wait = wait,
};
