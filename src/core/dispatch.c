// SPDX-License-Identifier: Apache-2.0
//
// Dispatches: what a kernel declares against what it is given, then the slot
// of its parameters, the stamps, the barrier, and the command.
#include <inttypes.h>
#include <string.h>

#include "base/error.h"
#include "core/objects.h"

// One dispatch on its way into the batch.
typedef struct dispatching {
  teg_stream* stream;
  teg_kernel* kernel;
  const teg_argument* arguments;
  const void* parameters;
  teg_buffer* counts;  // indirect; NULL = none
  uint64_t counts_offset;
  // Bindings, the counts.
  teg_binding bindings[TEG_MOST_BINDINGS + 1];
  teg_buffer* buffers[TEG_MOST_BINDINGS + 1];  // of the bindings
  uint32_t binding_count;
} dispatching;

enum { COUNTS_BYTES = 3 * sizeof(uint32_t) };

// The bindings are left as they are: bind_all writes those there are.
static void begin(dispatching* d, teg_stream* stream, teg_kernel* kernel,
                  const teg_argument* arguments, const void* parameters) {
  d->stream = stream;
  d->kernel = kernel;
  d->arguments = arguments;
  d->parameters = parameters;
  d->counts = NULL;
  d->counts_offset = 0;
  d->binding_count = 0;
}

// ---- Checks ----------------------------------------------------------------

static teg_result check_call(const teg_stream* stream, const teg_kernel* kernel,
                             const teg_argument* arguments,
                             uint32_t argument_count, const void* parameters,
                             teg_error* err) {
  TEG_REQUIRE(stream, err, "dispatch: stream is NULL");
  TEG_REQUIRE(kernel, err, "dispatch: kernel is NULL");
  TEG_REQUIRE(kernel->device == stream->session->device, err,
              "dispatch: kernel \"%.60s\" was made for another device",
              kernel->name);
  TEG_REQUIRE(argument_count == kernel->binding_count, err,
              "dispatch: kernel \"%.60s\" has %" PRIu32
              " bindings and is given %" PRIu32,
              kernel->name, kernel->binding_count, argument_count);
  TEG_REQUIRE(argument_count == 0 || arguments, err,
              "dispatch: kernel \"%.60s\": arguments is NULL", kernel->name);
  TEG_REQUIRE(kernel->parameter_bytes == 0 || parameters, err,
              "dispatch: kernel \"%.60s\": parameters is NULL", kernel->name);
  return TEG_OK;
}

static teg_result check_groups(const teg_stream* stream,
                               const teg_kernel* kernel,
                               const uint32_t group_count[3], teg_error* err) {
  TEG_REQUIRE(group_count, err, "dispatch: kernel \"%.60s\": no group count",
              kernel->name);
  const uint32_t* most = stream->session->device->caps.max_group_count;
  if (group_count[0] <= most[0] && group_count[1] <= most[1] &&
      group_count[2] <= most[2]) {
    return TEG_OK;
  }
  for (int i = 0; i < 3; ++i) {
    TEG_REQUIRE(group_count[i] <= most[i], err,
                "dispatch: kernel \"%.60s\": %" PRIu32
                " groups in dimension %d, at most %" PRIu32,
                kernel->name, group_count[i], i, most[i]);
  }
  return TEG_OK;
}

static teg_result bind(dispatching* d, uint32_t i, teg_error* err) {
  const teg_argument* argument = &d->arguments[i];
  const teg_backend_caps* caps = &d->stream->session->device->caps;
  teg_result result = tegi_buffer_check_range(
      argument->buffer, "dispatch", argument->offset, argument->size, err);
  if (result != TEG_OK) return result;
  uint64_t size = argument->size;
  if (size == 0) size = argument->buffer->size - argument->offset;
  TEG_REQUIRE(size > 0, err,
              "dispatch: binding %" PRIu32 " of kernel \"%.60s\" is empty", i,
              d->kernel->name);
  teg_span span = tegi_buffer_span(argument->buffer, argument->offset, size);
  TEG_REQUIRE(tegi_is_aligned(span.offset, caps->binding_alignment), err,
              "dispatch: binding %" PRIu32
              " of kernel \"%.60s\": offset %" PRIu64
              " is not a multiple of the device's %" PRIu64,
              i, d->kernel->name, argument->offset, caps->binding_alignment);
  TEG_REQUIRE(size <= caps->max_binding_bytes, err,
              "dispatch: binding %" PRIu32 " of kernel \"%.60s\": %" PRIu64
              " bytes, the device binds at most %" PRIu64,
              i, d->kernel->name, size, caps->max_binding_bytes);
  teg_access access = d->kernel->bindings[i];
  d->bindings[i] = (teg_binding){span, (access & TEG_ACCESS_READ) != 0,
                                 (access & TEG_ACCESS_WRITE) != 0};
  d->buffers[i] = argument->buffer;
  return TEG_OK;
}

static teg_result bind_counts(dispatching* d, teg_error* err) {
  if (!d->counts) return TEG_OK;
  teg_result result = tegi_buffer_check_range(
      d->counts, "dispatch counts", d->counts_offset, COUNTS_BYTES, err);
  if (result != TEG_OK) return result;
  teg_span span = tegi_buffer_span(d->counts, d->counts_offset, COUNTS_BYTES);
  TEG_REQUIRE(tegi_is_aligned(span.offset, sizeof(uint32_t)), err,
              "dispatch: the counts of kernel \"%.60s\" are at offset %" PRIu64
              ", which is not a multiple of 4",
              d->kernel->name, d->counts_offset);
  d->bindings[d->binding_count] = (teg_binding){span, true, false};
  d->buffers[d->binding_count++] = d->counts;
  return TEG_OK;
}

// Two bindings over the same bytes, one of them written.
static teg_result check_conflicts(const dispatching* d, teg_error* err) {
  for (uint32_t i = 0; i < d->binding_count; ++i) {
    for (uint32_t j = i + 1; j < d->binding_count; ++j) {
      const teg_binding* a = &d->bindings[i];
      const teg_binding* b = &d->bindings[j];
      bool is_apart = a->span.memory != b->span.memory ||
                      a->span.offset + a->span.size <= b->span.offset ||
                      b->span.offset + b->span.size <= a->span.offset;
      TEG_REQUIRE(is_apart || (!a->is_written && !b->is_written), err,
                  "dispatch: bindings %" PRIu32 " (buffer %" PRIu64
                  ") and %" PRIu32 " (buffer %" PRIu64
                  ") of kernel \"%.60s\" overlap and one of them is written",
                  i, a->span.owner, j, b->span.owner, d->kernel->name);
    }
  }
  return TEG_OK;
}

static teg_result bind_all(dispatching* d, teg_error* err) {
  teg_result result = TEG_OK;
  d->binding_count = d->kernel->binding_count;
  for (uint32_t i = 0; result == TEG_OK && i < d->kernel->binding_count; ++i) {
    result = bind(d, i, err);
  }
  if (result == TEG_OK) result = bind_counts(d, err);
  return result == TEG_OK ? check_conflicts(d, err) : result;
}

// ---- Recording -------------------------------------------------------------

static teg_result record(dispatching* d, const uint32_t* group_count,
                         teg_error* err) {
  teg_stream* stream = d->stream;
  teg_dispatch dispatch = {.kernel = d->kernel->native,
                           .bindings = d->bindings,
                           .binding_count = d->kernel->binding_count};
  if (d->counts) {
    dispatch.indirect = &d->bindings[d->binding_count - 1].span;
  } else {
    memcpy(dispatch.group_count, group_count, sizeof dispatch.group_count);
  }
  // What may submit the batch comes before what is stamped with its serial.
  teg_result result = tegi_stream_begin_command(stream, true, err);
  if (result == TEG_OK) {
    result =
        tegi_parameters_put(stream, d->parameters, d->kernel->parameter_bytes,
                            &dispatch.parameters, err);
  }
  if (result == TEG_OK) {
    result = tegi_stream_begin_uses(stream, d->buffers, d->binding_count, err);
  }
  if (result == TEG_OK) {
    result = tegi_barriers_before(stream, d->bindings, d->binding_count, err);
  }
  if (result != TEG_OK) return result;
  result = stream->session->device->tables.kernel->record_dispatch(
      stream->queue, &dispatch, err);
  if (result == TEG_OK) stream->dispatch_count++;
  return result;
}

teg_result teg_stream_dispatch(teg_stream* stream, teg_kernel* kernel,
                               const teg_argument* arguments,
                               uint32_t argument_count, const void* parameters,
                               const uint32_t group_count[3], teg_error* err) {
  teg_result result =
      check_call(stream, kernel, arguments, argument_count, parameters, err);
  if (result == TEG_OK) result = check_groups(stream, kernel, group_count, err);
  if (result != TEG_OK) return result;
  dispatching d;
  begin(&d, stream, kernel, arguments, parameters);
  result = bind_all(&d, err);
  return result == TEG_OK ? record(&d, group_count, err) : result;
}

teg_result teg_stream_dispatch_indirect(teg_stream* stream, teg_kernel* kernel,
                                        const teg_argument* arguments,
                                        uint32_t argument_count,
                                        const void* parameters,
                                        teg_buffer* counts, uint64_t offset,
                                        teg_error* err) {
  teg_result result =
      check_call(stream, kernel, arguments, argument_count, parameters, err);
  if (result != TEG_OK) return result;
  TEG_REQUIRE(counts, err, "dispatch: kernel \"%.60s\": counts is NULL",
              kernel->name);
  dispatching d;
  begin(&d, stream, kernel, arguments, parameters);
  d.counts = counts;
  d.counts_offset = offset;
  result = bind_all(&d, err);
  return result == TEG_OK ? record(&d, NULL, err) : result;
}
