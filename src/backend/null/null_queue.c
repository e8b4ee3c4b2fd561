// SPDX-License-Identifier: Apache-2.0
//
// Streams of the null device. A command is a node: what to do, and the
// checker's name for it. The host executes it as a call of run_node.
#include <string.h>

#include "backend/host/host_dispatch.h"
#include "backend/host/host_fill.h"
#include "backend/null/null_backend.h"
#include "base/error.h"

#define STREAM_MAGIC 0x6e737472u

typedef enum node_kind { NODE_FILL, NODE_COPY, NODE_DISPATCH } node_kind;

struct tegi_nulldev_node {
  tegi_nulldev_node* previous;
  tegi_nulldev_node* next;
  tegi_nulldev_stream* stream;
  tegi_hazard_command* hazard;
  node_kind kind;
  uint32_t pattern;          // fill
  tegi_hostdev_shape shape;  // dispatch
  bool is_submitted;
};

static tegi_nulldev_stream* stream_from(teg_queue_stream* stream) {
  tegi_nulldev_stream* null_stream = (tegi_nulldev_stream*)(void*)stream;
  TEG_ASSERT(null_stream && null_stream->magic == STREAM_MAGIC);
  return null_stream;
}

// ---- Nodes.

static tegi_nulldev_node* node_new(tegi_nulldev_stream* stream) {
  tegi_nulldev* device = stream->device;
  tegi_mutex_lock(&device->mutex);
  tegi_nulldev_node* node = stream->unused;
  if (node) stream->unused = node->next;
  tegi_mutex_unlock(&device->mutex);
  if (!node) node = tegi_host_alloc(&device->host, sizeof *node);
  if (!node) return NULL;
  tegi_mutex_lock(&device->mutex);
  *node = (tegi_nulldev_node){.stream = stream, .next = stream->active};
  if (node->next) node->next->previous = node;
  stream->active = node;
  tegi_mutex_unlock(&device->mutex);
  return node;
}

static void node_drop(tegi_nulldev_node* node) {
  tegi_nulldev_stream* stream = node->stream;
  tegi_mutex_lock(&stream->device->mutex);
  if (node->previous) {
    node->previous->next = node->next;
  } else {
    stream->active = node->next;
  }
  if (node->next) node->next->previous = node->previous;
  node->next = stream->unused;
  stream->unused = node;
  tegi_mutex_unlock(&stream->device->mutex);
}

static void nodes_free(tegi_nulldev* device, tegi_nulldev_node* node) {
  while (node) {
    tegi_nulldev_node* next = node->next;
    tegi_host_free(&device->host, node, sizeof *node);
    node = next;
  }
}

// What every command is for the host.
static teg_result run_node(void* user, void* const* pointers,
                           const uint64_t* sizes) {
  tegi_nulldev_node* node = user;
  tegi_mutex* mutex = &node->stream->device->mutex;
  // Its neighbours in the list come and go while the stream records.
  tegi_mutex_lock(mutex);
  tegi_nulldev_node todo = *node;
  tegi_mutex_unlock(mutex);
  bool may_run;
  // Only one command executes at a time.
  todo.stream->device->poisoned_bytes = 0;
  tegi_hazard_execute(todo.hazard, &may_run);
  node_drop(node);
  // The checker makes it the batch's result.
  if (!may_run) return TEG_OK;
  teg_result result = TEG_OK;
  switch (todo.kind) {
    case NODE_FILL:
      tegi_hostdev_fill(pointers[0], sizes[0], todo.pattern);
      break;
    case NODE_COPY:
      memmove(pointers[0], pointers[1], (size_t)sizes[0]);
      break;
    case NODE_DISPATCH:
      result = tegi_hostdev_invoke(&todo.shape, pointers, sizes);
      break;
  }
  return result;
}

// ---- Recording.

void tegi_nulldev_next_command(teg_queue_stream* stream,
                               tegi_hazard_command* command) {
  stream_from(stream)->next_command = command;
}

// Bindings in the host's terms, in the scratch array. The checker has seen
// that they are inside their memories.
static teg_result translate(tegi_nulldev_stream* stream,
                            const teg_binding* bindings, uint32_t binding_count,
                            teg_error* err) {
  tegi_host* host = &stream->device->host;
  if (!tegi_host_grow_array(host, &stream->bindings, &stream->binding_capacity,
                            binding_count, sizeof *stream->bindings)) {
    return tegi_error_set(err, TEG_OUT_OF_HOST_MEMORY,
                          "null: no host memory for %u bindings",
                          binding_count);
  }
  for (uint32_t i = 0; i < binding_count; i++) {
    stream->bindings[i] = bindings[i];
    stream->bindings[i].span.memory =
        tegi_nulldev_memory_from(bindings[i].span.memory)->inner;
  }
  return TEG_OK;
}

// Records a command that |todo| describes.
static teg_result record(tegi_nulldev_stream* stream,
                         const tegi_nulldev_node* todo,
                         const teg_binding* bindings, uint32_t binding_count,
                         teg_error* err) {
  tegi_nulldev* device = stream->device;
  teg_result result = tegi_nulldev_count_call(device, TEG_NULL_RECORD, err);
  if (result != TEG_OK) return result;
  result = translate(stream, bindings, binding_count, err);
  if (result != TEG_OK) return result;
  tegi_nulldev_node* node = node_new(stream);
  if (!node) {
    return tegi_error_set(err, TEG_OUT_OF_HOST_MEMORY,
                          "null: no host memory to record a command");
  }
  node->hazard = stream->next_command;
  node->kind = todo->kind;
  node->pattern = todo->pattern;
  node->shape = todo->shape;
  result = tegi_hostdev_record_call(stream->inner, run_node, node,
                                    stream->bindings, binding_count, err);
  if (result != TEG_OK) node_drop(node);
  return result;
}

static teg_result record_fill(teg_queue_stream* queue_stream,
                              const teg_span* target, uint32_t pattern,
                              teg_error* err) {
  tegi_nulldev_node todo = {.kind = NODE_FILL, .pattern = pattern};
  teg_binding binding = {*target, false, true};
  return record(stream_from(queue_stream), &todo, &binding, 1, err);
}

static teg_result record_copy(teg_queue_stream* queue_stream,
                              const teg_span* target, const teg_span* source,
                              teg_error* err) {
  TEG_REQUIRE(target->size == source->size, err,
              "copy: %llu bytes into a target of %llu",
              (unsigned long long)source->size,
              (unsigned long long)target->size);
  tegi_nulldev_node todo = {.kind = NODE_COPY};
  teg_binding bindings[2] = {{*target, false, true}, {*source, true, false}};
  return record(stream_from(queue_stream), &todo, bindings, 2, err);
}

static teg_result record_dispatch(teg_queue_stream* queue_stream,
                                  const teg_dispatch* dispatch,
                                  teg_error* err) {
  tegi_nulldev_node todo = {.kind = NODE_DISPATCH};
  teg_binding flat[TEGI_HOSTDEV_MOST_FLAT];
  uint32_t count = tegi_hostdev_flatten(dispatch, &todo.shape, flat);
  return record(stream_from(queue_stream), &todo, flat, count, err);
}

static teg_result kernel_create(teg_backend_device* base,
                                const teg_kernel_params* params,
                                teg_backend_kernel** out_kernel,
                                teg_error* err) {
  tegi_host* host = &tegi_nulldev_from(base)->host;
  return tegi_hostdev_kernel_make(host, params, out_kernel, err);
}

static void kernel_destroy(teg_backend_device* base,
                           teg_backend_kernel* kernel) {
  tegi_hostdev_kernel_free(&tegi_nulldev_from(base)->host, kernel);
}

static teg_result record_barrier(teg_queue_stream* queue_stream,
                                 teg_error* err) {
  tegi_nulldev_stream* stream = stream_from(queue_stream);
  tegi_nulldev* device = stream->device;
  teg_result result = tegi_nulldev_count_call(device, TEG_NULL_RECORD, err);
  if (result != TEG_OK) return result;
  return device->tables->queue->record_barrier(stream->inner, err);
}

static teg_result record_timestamp(teg_queue_stream* queue_stream,
                                   uint64_t* out_number, teg_error* err) {
  *out_number = 0;
  tegi_nulldev_stream* stream = stream_from(queue_stream);
  tegi_nulldev* device = stream->device;
  teg_result result = tegi_nulldev_count_call(device, TEG_NULL_RECORD, err);
  if (result != TEG_OK) return result;
  return device->tables->queue->record_timestamp(stream->inner, out_number,
                                                 err);
}

static teg_result timestamp(teg_queue_stream* queue_stream, uint64_t number,
                            uint64_t* out_ns, teg_error* err) {
  const tegi_nulldev_stream* stream = stream_from(queue_stream);
  return stream->device->tables->queue->timestamp(stream->inner, number, out_ns,
                                                  err);
}

static teg_result record_wait(teg_queue_stream* queue_stream,
                              teg_queue_stream* other, uint64_t serial,
                              teg_error* err) {
  tegi_nulldev_stream* stream = stream_from(queue_stream);
  tegi_nulldev* device = stream->device;
  teg_result result = tegi_nulldev_count_call(device, TEG_NULL_RECORD, err);
  if (result != TEG_OK) return result;
  return device->tables->queue->record_wait(
      stream->inner, stream_from(other)->inner, serial, err);
}

// ---- The rest of teg_queue_ops.

static teg_result stream_create(teg_backend_device* base,
                                teg_queue_stream** out_stream, teg_error* err) {
  *out_stream = NULL;
  tegi_nulldev* device = tegi_nulldev_from(base);
  teg_result result =
      tegi_nulldev_count_call(device, TEG_NULL_STREAM_CREATE, err);
  if (result != TEG_OK) return result;
  tegi_nulldev_stream* stream = tegi_host_alloc(&device->host, sizeof *stream);
  if (!stream) {
    return tegi_error_set(err, TEG_OUT_OF_HOST_MEMORY,
                          "null: no host memory for a stream");
  }
  stream->magic = STREAM_MAGIC;
  stream->device = device;
  result =
      device->tables->queue->stream_create(device->inner, &stream->inner, err);
  if (result == TEG_OK) {
    *out_stream = (teg_queue_stream*)(void*)stream;
    return TEG_OK;
  }
  tegi_host_free(&device->host, stream, sizeof *stream);
  return result;
}

static void stream_destroy(teg_backend_device* base,
                           teg_queue_stream* queue_stream) {
  if (!queue_stream) return;
  tegi_nulldev* device = tegi_nulldev_from(base);
  tegi_nulldev_stream* stream = stream_from(queue_stream);
  device->tables->queue->stream_destroy(device->inner, stream->inner);
  nodes_free(device, stream->active);
  nodes_free(device, stream->unused);
  tegi_host_free(&device->host, stream->bindings,
                 stream->binding_capacity * sizeof *stream->bindings);
  stream->magic = 0;
  tegi_host_free(&device->host, stream, sizeof *stream);
}

// The command recorded last, if it is not submitted: the newest come first.
static tegi_nulldev_node* find_recorded(tegi_nulldev_stream* stream) {
  tegi_mutex_lock(&stream->device->mutex);
  tegi_nulldev_node* node = stream->active;
  bool is_recorded = node && !node->is_submitted;
  tegi_mutex_unlock(&stream->device->mutex);
  return is_recorded ? node : NULL;
}

static void discard(teg_queue_stream* queue_stream) {
  tegi_nulldev_stream* stream = stream_from(queue_stream);
  stream->device->tables->queue->discard(stream->inner);
  tegi_nulldev_node* node;
  while ((node = find_recorded(stream)) != NULL) node_drop(node);
}

static void mark_submitted(tegi_nulldev_stream* stream) {
  tegi_mutex_lock(&stream->device->mutex);
  // The newest come first.
  for (tegi_nulldev_node* node = stream->active; node && !node->is_submitted;
       node = node->next) {
    node->is_submitted = true;
  }
  tegi_mutex_unlock(&stream->device->mutex);
}

static teg_result submit(teg_queue_stream* queue_stream, uint64_t serial,
                         teg_error* err) {
  tegi_nulldev_stream* stream = stream_from(queue_stream);
  tegi_nulldev* device = stream->device;
  teg_result result = tegi_nulldev_count_call(device, TEG_NULL_SUBMIT, err);
  if (result != TEG_OK) return result;
  result = device->tables->queue->submit(stream->inner, serial, err);
  if (result != TEG_OK) return result;
  mark_submitted(stream);
  return result;
}

static uint64_t completed(teg_queue_stream* queue_stream) {
  tegi_nulldev_stream* stream = stream_from(queue_stream);
  return stream->device->tables->queue->completed(stream->inner);
}

static teg_result wait(teg_queue_stream* queue_stream, uint64_t serial,
                       teg_error* err) {
  tegi_nulldev_stream* stream = stream_from(queue_stream);
  tegi_nulldev* device = stream->device;
  teg_result result = tegi_nulldev_count_call(device, TEG_NULL_WAIT, err);
  if (result != TEG_OK) return result;
  return device->tables->queue->wait(stream->inner, serial, err);
}

const teg_queue_ops tegi_nulldev_queue_ops = {
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

const teg_kernel_ops tegi_nulldev_kernel_ops = {
    .abi_version = TEG_BACKEND_ABI_VERSION,
    .struct_size = sizeof(teg_kernel_ops),
    .create = kernel_create,
    .destroy = kernel_destroy,
    .record_dispatch = record_dispatch,
};
