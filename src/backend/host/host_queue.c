// SPDX-License-Identifier: Apache-2.0
//
// Streams of the host device. There is one queue: submitted batches execute
// in submit order, whichever stream they come from, one at a time. So a wait
// for another stream's submitted batch needs no command: what was submitted
// before runs before.
//
// A batch belongs to its stream's recording side until submit, then to the
// queue, and after execution to the stream's list of unused ones, which submit
// gives back to the recording side, so that a steady stream allocates nothing.
// Who executes holds is_executing: the worker thread, or a thread inside wait()
// or tegi_hostdev_queue_run().
#include <string.h>

#include "backend/common/batch_serials.h"
#include "backend/host/host_backend.h"
#include "backend/host/host_dispatch.h"
#include "backend/host/host_fill.h"
#include "base/checked.h"
#include "base/clock.h"
#include "base/error.h"

#define STREAM_MAGIC 0x7374726du

enum { TIMES_KEPT = 1024 };

typedef enum command_kind {
  COMMAND_FILL,
  COMMAND_COPY,
  COMMAND_CALL,
  COMMAND_DISPATCH,
  COMMAND_TIMESTAMP,
} command_kind;

typedef struct command {
  command_kind kind;
  uint32_t pattern;  // fill
  uint8_t* target;   // fill, copy, timestamp
  const uint8_t* source;
  uint64_t size;
  tegi_hostdev_function function;  // call
  void* user;
  tegi_hostdev_shape shape;  // dispatch
  size_t first_binding;      // call, dispatch
} command;

struct tegi_hostdev_batch {
  _Alignas(TEGI_CACHE_LINE) tegi_hostdev_batch* next;
  tegi_hostdev_stream* stream;
  uint64_t serial;
  command* commands;
  size_t command_count;
  size_t command_capacity;
  void** pointers;  // of calls, one per binding
  size_t pointer_capacity;
  uint64_t* sizes;
  size_t size_capacity;
  size_t binding_count;
};

static tegi_hostdev_stream* stream_from(teg_queue_stream* stream) {
  tegi_hostdev_stream* host_stream = (tegi_hostdev_stream*)(void*)stream;
  TEG_ASSERT(host_stream && host_stream->magic == STREAM_MAGIC);
  return host_stream;
}

static teg_result no_host_memory(teg_error* err) {
  return tegi_error_set(err, TEG_OUT_OF_HOST_MEMORY,
                        "no host memory to record a command");
}

// ---- Batches.

// What was executed becomes spare. queue_lock is held.
static void take_unused(tegi_hostdev_stream* stream) {
  if (stream->spare) return;
  stream->spare = stream->unused;
  stream->unused = NULL;
}

static tegi_hostdev_batch* batch_new(tegi_hostdev_stream* stream) {
  tegi_hostdev_batch* batch = tegi_host_alloc_aligned(
      &stream->device->host, sizeof *batch, TEGI_CACHE_LINE);
  if (batch) stream->batch_count++;
  return batch;
}

// With two batches by turns, submit finds the other one executed, and the lock
// need not be taken for it here.
enum { TURNS = 2 };

static tegi_hostdev_batch* batch_begin(tegi_hostdev_stream* stream) {
  if (stream->recording) return stream->recording;
  if (!stream->spare && stream->batch_count >= TURNS) {
    tegi_mutex_lock(&stream->device->queue_lock);
    take_unused(stream);
    tegi_mutex_unlock(&stream->device->queue_lock);
  }
  tegi_hostdev_batch* batch = stream->spare;
  if (batch) {
    stream->spare = batch->next;
  } else {
    batch = batch_new(stream);
  }
  if (!batch) return NULL;
  batch->next = NULL;
  batch->stream = stream;
  batch->command_count = 0;
  batch->binding_count = 0;
  stream->recording = batch;
  return batch;
}

static void batch_free(tegi_host* host, tegi_hostdev_batch* batch) {
  if (!batch) return;
  tegi_host_free(host, batch->commands,
                 batch->command_capacity * sizeof *batch->commands);
  tegi_host_free(host, batch->pointers,
                 batch->pointer_capacity * sizeof *batch->pointers);
  tegi_host_free(host, batch->sizes,
                 batch->size_capacity * sizeof *batch->sizes);
  tegi_host_free(host, batch, sizeof *batch);
}

static void batch_free_all(tegi_host* host, tegi_hostdev_batch* batch) {
  while (batch) {
    tegi_hostdev_batch* next = batch->next;
    batch_free(host, batch);
    batch = next;
  }
}

// Room for one more command in the recorded batch. NULL without memory.
static command* command_new(tegi_hostdev_stream* stream, command_kind kind) {
  tegi_hostdev_batch* batch = batch_begin(stream);
  if (!batch ||
      !tegi_host_grow_array(&stream->device->host, &batch->commands,
                            &batch->command_capacity, batch->command_count + 1,
                            sizeof *batch->commands)) {
    return NULL;
  }
  command* fresh = &batch->commands[batch->command_count++];
  *fresh = (command){.kind = kind};
  return fresh;
}

// ---- Execution.

void tegi_hostdev_fill(void* target, uint64_t size, uint32_t pattern) {
  uint8_t bytes[4] = {(uint8_t)pattern, (uint8_t)(pattern >> 8),
                      (uint8_t)(pattern >> 16), (uint8_t)(pattern >> 24)};
  uint8_t* to = target;
  if (bytes[0] == bytes[1] && bytes[1] == bytes[2] && bytes[2] == bytes[3]) {
    memset(to, bytes[0], (size_t)size);
    return;
  }
  size_t left = (size_t)size;
  size_t done = left < 4 ? left : 4;
  memcpy(to, bytes, done);
  while (done < left) {
    // What is done is a multiple of 4, so the pattern goes on. Blocks of at
    // most 64 KiB stay in the cache.
    size_t more = done < 65536 ? done : 65536;
    if (more > left - done) more = left - done;
    memcpy(to + done, to, more);
    done += more;
  }
}

static void put_time(uint8_t* target) {
  uint64_t now = tegi_now_ns();
  memcpy(target, &now, sizeof now);
}

static teg_result execute_command(const tegi_hostdev_batch* batch,
                                  const command* item) {
  // Without bindings there are no arrays.
  void* const* pointers =
      batch->pointers ? batch->pointers + item->first_binding : NULL;
  const uint64_t* sizes =
      batch->sizes ? batch->sizes + item->first_binding : NULL;
  switch (item->kind) {
    case COMMAND_FILL:
      tegi_hostdev_fill(item->target, item->size, item->pattern);
      return TEG_OK;
    case COMMAND_COPY:
      memmove(item->target, item->source, (size_t)item->size);
      return TEG_OK;
    case COMMAND_CALL:
      return item->function(item->user, pointers, sizes);
    case COMMAND_DISPATCH:
      return tegi_hostdev_invoke(&item->shape, pointers, sizes);
    case COMMAND_TIMESTAMP:
      put_time(item->target);
      return TEG_OK;
  }
  return TEG_OK;
}

// Runs all commands, also after one has failed. Returns the first failure.
static teg_result execute_batch(const tegi_hostdev_batch* batch,
                                size_t* out_index) {
  teg_result first = TEG_OK;
  for (size_t i = 0; i < batch->command_count; i++) {
    teg_result result = execute_command(batch, &batch->commands[i]);
    if (result != TEG_OK && first == TEG_OK) {
      first = result;
      *out_index = i;
    }
  }
  return first;
}

// Executes the commands of a batch without queue_lock, which is held before
// and after.
static void execute_unlocked(tegi_hostdev* device,
                             const tegi_hostdev_batch* batch) {
  tegi_hostdev_stream* stream = batch->stream;
  device->is_executing = true;
  tegi_mutex_unlock(&device->queue_lock);

  size_t index = 0;
  teg_result result = execute_batch(batch, &index);

  tegi_mutex_lock(&device->queue_lock);
  device->is_executing = false;
  if (result != TEG_OK && !tegi_load_state(&stream->has_error)) {
    tegi_error_set(
        &stream->error, result, "command %zu of batch %llu failed: %s", index,
        (unsigned long long)batch->serial, teg_result_message(result));
    (void)tegi_change_state(&stream->has_error, 0, 1);
  }
}

// Takes the next batch and executes it. queue_lock is held, and may be let go
// in between; is_executing is false and there is a batch.
static void run_one(tegi_hostdev* device) {
  tegi_hostdev_batch* batch = device->first_batch;
  tegi_hostdev_stream* stream = batch->stream;
  device->first_batch = batch->next;
  if (!device->first_batch) device->last_batch = NULL;
  if (batch->command_count > 0) execute_unlocked(device, batch);
  batch->next = stream->unused;
  stream->unused = batch;
  tegi_store_release(&stream->completed, batch->serial);
  if (device->waiter_count) tegi_cond_broadcast(&device->work_finished);
}

static void* worker_main(void* user) {
  tegi_hostdev* device = user;
  tegi_mutex_lock(&device->queue_lock);
  for (;;) {
    while (device->first_batch) run_one(device);
    if (device->is_stopping) break;
    device->is_worker_idle = true;
    tegi_cond_wait(&device->work_arrived, &device->queue_lock);
    device->is_worker_idle = false;
  }
  tegi_mutex_unlock(&device->queue_lock);
  return NULL;
}

static void wait_for_change(tegi_hostdev* device) {
  device->waiter_count++;
  tegi_cond_wait(&device->work_finished, &device->queue_lock);
  device->waiter_count--;
}

// Until batch |serial|, which is submitted, is complete. queue_lock is held.
static void wait_locked(tegi_hostdev_stream* stream, uint64_t serial) {
  tegi_hostdev* device = stream->device;
  while (tegi_load_acquire(&stream->completed) < serial) {
    if (device->is_told && !device->is_executing) {
      run_one(device);
    } else {
      wait_for_change(device);
    }
  }
}

uint64_t tegi_hostdev_queue_run(tegi_hostdev* device, uint64_t max_count) {
  uint64_t count = 0;
  tegi_mutex_lock(&device->queue_lock);
  while (count < max_count) {
    if (device->is_executing) {
      wait_for_change(device);
    } else if (device->first_batch) {
      run_one(device);
      count++;
    } else {
      break;
    }
  }
  tegi_mutex_unlock(&device->queue_lock);
  return count;
}

// ---- The device's side.

teg_result tegi_hostdev_queue_init(tegi_hostdev* device) {
  teg_result result = tegi_mutex_init(&device->queue_lock);
  if (result != TEG_OK) return result;
  result = tegi_cond_init(&device->work_arrived);
  if (result == TEG_OK) {
    result = tegi_cond_init(&device->work_finished);
    if (result == TEG_OK) return TEG_OK;
    tegi_cond_destroy(&device->work_arrived);
  }
  tegi_mutex_destroy(&device->queue_lock);
  return result;
}

void tegi_hostdev_queue_deinit(tegi_hostdev* device) {
  if (device->has_worker) {
    tegi_mutex_lock(&device->queue_lock);
    device->is_stopping = true;
    tegi_cond_signal(&device->work_arrived);
    tegi_mutex_unlock(&device->queue_lock);
    tegi_thread_join(&device->worker);
  }
  tegi_cond_destroy(&device->work_finished);
  tegi_cond_destroy(&device->work_arrived);
  tegi_mutex_destroy(&device->queue_lock);
}

// The worker starts with the first stream: a device that is only looked at
// has none.
static teg_result start_worker(tegi_hostdev* device, teg_error* err) {
  teg_result result = TEG_OK;
  tegi_mutex_lock(&device->queue_lock);
  if (!device->is_told && !device->has_worker) {
    result = tegi_thread_create(&device->worker, worker_main, device);
    device->has_worker = result == TEG_OK;
  }
  tegi_mutex_unlock(&device->queue_lock);
  if (result == TEG_OK) return TEG_OK;
  return tegi_error_set(err, result, "cannot start the worker thread");
}

// ---- teg_queue_ops.

static teg_result stream_create(teg_backend_device* base,
                                teg_queue_stream** out_stream, teg_error* err) {
  *out_stream = NULL;
  tegi_hostdev* device = tegi_hostdev_from(base);
  tegi_hostdev_stream* stream =
      tegi_host_alloc_aligned(&device->host, sizeof *stream, TEGI_CACHE_LINE);
  if (!stream) {
    return tegi_error_set(err, TEG_OUT_OF_HOST_MEMORY,
                          "no host memory for a stream");
  }
  teg_result result = start_worker(device, err);
  if (result != TEG_OK) {
    tegi_host_free(&device->host, stream, sizeof *stream);
    return result;
  }
  stream->magic = STREAM_MAGIC;
  stream->device = device;
  tegi_fetch_add_relaxed(&device->object_count, 1);
  *out_stream = (teg_queue_stream*)(void*)stream;
  return TEG_OK;
}

static void stream_destroy(teg_backend_device* base,
                           teg_queue_stream* queue_stream) {
  if (!queue_stream) return;
  tegi_hostdev* device = tegi_hostdev_from(base);
  tegi_hostdev_stream* stream = stream_from(queue_stream);
  tegi_mutex_lock(&device->queue_lock);
  wait_locked(stream, tegi_load_relaxed(&stream->submitted));
  tegi_mutex_unlock(&device->queue_lock);
  batch_free(&device->host, stream->recording);
  batch_free_all(&device->host, stream->spare);
  batch_free_all(&device->host, stream->unused);
  tegi_host_free(&device->host, stream->times,
                 TIMES_KEPT * sizeof *stream->times);
  stream->magic = 0;
  tegi_host_free(&device->host, stream, sizeof *stream);
  tegi_fetch_add_relaxed(&device->object_count, (uint64_t)-1);
}

// The pointer to the bytes of |span|; NULL, and an error, if they are not all
// in its memory.
static uint8_t* span_pointer(const teg_span* span, const char* what,
                             teg_error* err) {
  tegi_hostdev_memory* memory = tegi_hostdev_memory_from(span->memory);
  if (span->size > memory->size || span->offset > memory->size - span->size) {
    tegi_error_set(
        err, TEG_INVALID, "%s: %llu bytes at %llu are not in a memory of %llu",
        what, (unsigned long long)span->size, (unsigned long long)span->offset,
        (unsigned long long)memory->size);
    return NULL;
  }
  return memory->pointer + span->offset;
}

static teg_result record_fill(teg_queue_stream* queue_stream,
                              const teg_span* target, uint32_t pattern,
                              teg_error* err) {
  tegi_hostdev_stream* stream = stream_from(queue_stream);
  uint8_t* pointer = span_pointer(target, "fill", err);
  if (!pointer) return TEG_INVALID;
  command* fill = command_new(stream, COMMAND_FILL);
  if (!fill) return no_host_memory(err);
  fill->target = pointer;
  fill->size = target->size;
  fill->pattern = pattern;
  return TEG_OK;
}

static teg_result record_copy(teg_queue_stream* queue_stream,
                              const teg_span* target, const teg_span* source,
                              teg_error* err) {
  tegi_hostdev_stream* stream = stream_from(queue_stream);
  if (target->size != source->size) {
    return tegi_error_set(
        err, TEG_INVALID, "copy: %llu bytes into a target of %llu",
        (unsigned long long)source->size, (unsigned long long)target->size);
  }
  uint8_t* target_pointer = span_pointer(target, "copy target", err);
  if (!target_pointer) return TEG_INVALID;
  uint8_t* source_pointer = span_pointer(source, "copy source", err);
  if (!source_pointer) return TEG_INVALID;
  command* copy = command_new(stream, COMMAND_COPY);
  if (!copy) return no_host_memory(err);
  copy->target = target_pointer;
  copy->source = source_pointer;
  copy->size = target->size;
  return TEG_OK;
}

static teg_result record_bound(tegi_hostdev_stream* stream, command_kind kind,
                               const teg_binding* bindings,
                               uint32_t binding_count, command** out_command,
                               teg_error* err) {
  for (uint32_t i = 0; i < binding_count; i++) {
    if (!span_pointer(&bindings[i].span, "binding", err)) return TEG_INVALID;
  }
  tegi_host* host = &stream->device->host;
  tegi_hostdev_batch* batch = batch_begin(stream);
  if (!batch) return no_host_memory(err);
  size_t first = batch->binding_count;
  if (!tegi_host_grow_array(host, &batch->pointers, &batch->pointer_capacity,
                            first + binding_count, sizeof *batch->pointers) ||
      !tegi_host_grow_array(host, &batch->sizes, &batch->size_capacity,
                            first + binding_count, sizeof *batch->sizes)) {
    return no_host_memory(err);
  }
  command* fresh = command_new(stream, kind);
  if (!fresh) return no_host_memory(err);
  fresh->first_binding = first;
  for (uint32_t i = 0; i < binding_count; i++) {
    batch->pointers[first + i] = span_pointer(&bindings[i].span, "", NULL);
    batch->sizes[first + i] = bindings[i].span.size;
  }
  batch->binding_count = first + binding_count;
  *out_command = fresh;
  return TEG_OK;
}

teg_result tegi_hostdev_record_call(teg_queue_stream* queue_stream,
                                    tegi_hostdev_function function, void* user,
                                    const teg_binding* bindings,
                                    uint32_t binding_count, teg_error* err) {
  command* call;
  teg_result result = record_bound(stream_from(queue_stream), COMMAND_CALL,
                                   bindings, binding_count, &call, err);
  if (result != TEG_OK) return result;
  call->function = function;
  call->user = user;
  return TEG_OK;
}

static teg_result record_dispatch(teg_queue_stream* queue_stream,
                                  const teg_dispatch* dispatch,
                                  teg_error* err) {
  tegi_hostdev_shape shape;
  teg_binding flat[TEGI_HOSTDEV_MOST_FLAT];
  uint32_t count = tegi_hostdev_flatten(dispatch, &shape, flat);
  command* fresh;
  teg_result result = record_bound(stream_from(queue_stream), COMMAND_DISPATCH,
                                   flat, count, &fresh, err);
  if (result == TEG_OK) fresh->shape = shape;
  return result;
}

static teg_result kernel_create(teg_backend_device* base,
                                const teg_kernel_params* params,
                                teg_backend_kernel** out_kernel,
                                teg_error* err) {
  tegi_host* host = &tegi_hostdev_from(base)->host;
  return tegi_hostdev_kernel_make(host, params, out_kernel, err);
}

static void kernel_destroy(teg_backend_device* base,
                           teg_backend_kernel* kernel) {
  tegi_hostdev_kernel_free(&tegi_hostdev_from(base)->host, kernel);
}

// Commands are executed one after the other, by one thread at a time: there is
// nothing to wait for.
static teg_result record_barrier(teg_queue_stream* queue_stream,
                                 teg_error* err) {
  (void)stream_from(queue_stream);
  (void)err;
  return TEG_OK;
}

static teg_result record_timestamp(teg_queue_stream* queue_stream,
                                   uint64_t* out_number, teg_error* err) {
  *out_number = 0;
  tegi_hostdev_stream* stream = stream_from(queue_stream);
  if (!stream->times) {
    stream->times = tegi_host_calloc(&stream->device->host, TIMES_KEPT,
                                     sizeof *stream->times);
  }
  command* fresh =
      stream->times ? command_new(stream, COMMAND_TIMESTAMP) : NULL;
  if (!fresh) return no_host_memory(err);
  *out_number = ++stream->time_count;
  fresh->target = (uint8_t*)&stream->times[*out_number % TIMES_KEPT];
  return TEG_OK;
}

static teg_result timestamp(teg_queue_stream* queue_stream, uint64_t number,
                            uint64_t* out_ns, teg_error* err) {
  *out_ns = 0;
  const tegi_hostdev_stream* stream = stream_from(queue_stream);
  if (number == 0 || number > stream->time_count ||
      stream->time_count - number >= TIMES_KEPT) {
    return tegi_error_set(
        err, TEG_NOT_FOUND, "timestamp %llu of %llu is not kept",
        (unsigned long long)number, (unsigned long long)stream->time_count);
  }
  *out_ns = stream->times[number % TIMES_KEPT];
  return TEG_OK;
}

static teg_result check_submitted(const tegi_hostdev_stream* stream,
                                  uint64_t serial, teg_error* err) {
  return tegi_serial_check_submitted(tegi_load_acquire(&stream->submitted),
                                     serial, err);
}

static teg_result record_wait(teg_queue_stream* queue_stream,
                              teg_queue_stream* other, uint64_t serial,
                              teg_error* err) {
  (void)stream_from(queue_stream);
  return check_submitted(stream_from(other), serial, err);
}

static void discard(teg_queue_stream* queue_stream) {
  tegi_hostdev_batch* batch = stream_from(queue_stream)->recording;
  if (!batch) return;
  batch->command_count = 0;
  batch->binding_count = 0;
}

static teg_result submit(teg_queue_stream* queue_stream, uint64_t serial,
                         teg_error* err) {
  tegi_hostdev_stream* stream = stream_from(queue_stream);
  tegi_hostdev* device = stream->device;
  teg_result result = tegi_serial_check_next(
      tegi_load_relaxed(&stream->submitted), serial, err);
  if (result != TEG_OK) return result;
  tegi_hostdev_batch* batch = batch_begin(stream);
  if (!batch) return no_host_memory(err);
  batch->serial = serial;
  stream->recording = NULL;
  tegi_mutex_lock(&device->queue_lock);
  if (device->last_batch) {
    device->last_batch->next = batch;
  } else {
    device->first_batch = batch;
  }
  device->last_batch = batch;
  tegi_store_release(&stream->submitted, serial);
  take_unused(stream);
  if (device->is_worker_idle) tegi_cond_signal(&device->work_arrived);
  tegi_mutex_unlock(&device->queue_lock);
  return TEG_OK;
}

static uint64_t completed(teg_queue_stream* queue_stream) {
  return tegi_load_acquire(&stream_from(queue_stream)->completed);
}

static teg_result wait(teg_queue_stream* queue_stream, uint64_t serial,
                       teg_error* err) {
  tegi_hostdev_stream* stream = stream_from(queue_stream);
  tegi_hostdev* device = stream->device;
  teg_result result = check_submitted(stream, serial, err);
  if (result != TEG_OK) return result;
  if (tegi_load_acquire(&stream->completed) >= serial &&
      !tegi_load_state(&stream->has_error)) {
    return TEG_OK;
  }
  tegi_mutex_lock(&device->queue_lock);
  wait_locked(stream, serial);
  if (tegi_change_state(&stream->has_error, 1, 0)) {
    result = stream->error.result;
    if (err) *err = stream->error;
  }
  tegi_mutex_unlock(&device->queue_lock);
  return result;
}

const teg_queue_ops tegi_hostdev_queue_ops = {
    .abi_version = TEG_BACKEND_ABI_VERSION,
    .struct_size = sizeof(teg_queue_ops),
    .stream_create = stream_create,
    .stream_destroy = stream_destroy,
    .record_fill = record_fill,
    .record_copy = record_copy,
    .record_barrier = record_barrier,
    .record_timestamp = record_timestamp,
    .timestamp = timestamp,
    .record_wait = record_wait,
    .discard = discard,
    .submit = submit,
    .completed = completed,
    .wait = wait,
};

const teg_kernel_ops tegi_hostdev_kernel_ops = {
    .abi_version = TEG_BACKEND_ABI_VERSION,
    .struct_size = sizeof(teg_kernel_ops),
    .create = kernel_create,
    .destroy = kernel_destroy,
    .record_dispatch = record_dispatch,
};
