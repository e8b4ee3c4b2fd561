// SPDX-License-Identifier: Apache-2.0
//
// Stamps: bytes that depend on the number of a buffer and on their place in
// it, written by a command right after the buffer is created and compared by
// another just before it is destroyed. The kernels run on the device's thread,
// possibly many batches after they were recorded, when the buffer is long
// gone; a stamp record lives until the batch of its check is complete.
#include <inttypes.h>
#include <string.h>

#include "base/error.h"
#include "trace/replay_parts.h"

enum { STAMP_BYTES = 64, INSIDE_COUNT = 6, STAMPS_PER_CHUNK = 1024 };

struct tegi_replay_stamp {
  tegi_replay_verify* verify;
  tegi_replay_stamp* next;
  uint64_t number;
  uint64_t size;
  uint64_t event_index;
  uint64_t serial;  // of the batch with the check
};

static uint64_t mix(uint64_t value) {
  value += UINT64_C(0x9e3779b97f4a7c15);
  value = (value ^ (value >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
  value = (value ^ (value >> 27)) * UINT64_C(0x94d049bb133111eb);
  return value ^ (value >> 31);
}

// The byte at |offset|: places that overlap agree on it.
static uint8_t stamp_byte(uint64_t number, uint64_t offset) {
  uint64_t word = mix(number ^ mix(offset / 8));
  return (uint8_t)(word >> (8 * (offset % 8)));
}

// Where place |index| begins: the start, the end, then places inside.
static uint64_t place_offset(uint64_t number, uint64_t size, uint32_t index) {
  if (size <= STAMP_BYTES || index == 0) return 0;
  uint64_t last = size - STAMP_BYTES;
  if (index == 1) return last;
  return mix(number * 31 + index) % (last + 1);
}

static uint32_t place_count(uint64_t size) {
  if (size <= STAMP_BYTES) return 1;
  return size <= UINT64_C(2) * STAMP_BYTES ? 2 : 2 + INSIDE_COUNT;
}

void tegi_replay_stamp_write(void* bytes, uint64_t size, uint64_t number) {
  uint8_t* target = bytes;
  uint64_t length = size < STAMP_BYTES ? size : STAMP_BYTES;
  for (uint32_t place = 0; place < place_count(size); ++place) {
    uint64_t begin = place_offset(number, size, place);
    for (uint64_t at = begin; at < begin + length; ++at) {
      target[at] = stamp_byte(number, at);
    }
  }
}

uint64_t tegi_replay_stamp_find_change(const void* bytes, uint64_t size,
                                       uint64_t number) {
  const uint8_t* source = bytes;
  uint64_t length = size < STAMP_BYTES ? size : STAMP_BYTES;
  for (uint32_t place = 0; place < place_count(size); ++place) {
    uint64_t begin = place_offset(number, size, place);
    for (uint64_t at = begin; at < begin + length; ++at) {
      if (source[at] != stamp_byte(number, at)) return at;
    }
  }
  return size;
}

// The parameters of both kernels: the address of the stamp.
static const tegi_replay_stamp* stamp_of(const teg_invocation* invocation) {
  const tegi_replay_stamp* stamp;
  memcpy((void*)&stamp, invocation->parameters, sizeof stamp);
  return stamp;
}

static teg_result run_stamp(const teg_invocation* invocation) {
  const tegi_replay_stamp* stamp = stamp_of(invocation);
  tegi_replay_stamp_write(invocation->pointers[0], stamp->size, stamp->number);
  return TEG_OK;
}

static teg_result run_check(const teg_invocation* invocation) {
  const tegi_replay_stamp* stamp = stamp_of(invocation);
  const uint8_t* bytes = invocation->pointers[0];
  uint64_t at =
      tegi_replay_stamp_find_change(bytes, stamp->size, stamp->number);
  if (at == stamp->size) return TEG_OK;
  tegi_replay_verify* verify = stamp->verify;
  if (tegi_fetch_add_relaxed(&verify->mismatch_count, 1) == 0) {
    tegi_error_set(&verify->mismatch, TEG_HAZARD,
                   "the buffer of %" PRIu64 " bytes from event %" PRIu64
                   " was written by another: its byte %" PRIu64
                   " is 0x%02x and was 0x%02x",
                   stamp->size, stamp->event_index, at, (unsigned)bytes[at],
                   (unsigned)stamp_byte(stamp->number, at));
  }
  return TEG_OK;
}

void tegi_replay_verify_init(tegi_replay_verify* verify, tegi_host* host) {
  memset(verify, 0, sizeof *verify);
  verify->host = host;
  verify->next_number = 1;
}

static teg_result make_kernel(teg_device* device, const char* name,
                              teg_host_kernel function, teg_access access,
                              teg_kernel** out_kernel, teg_error* err) {
  teg_kernel_params params = TEG_KERNEL_PARAMS_INIT;
  params.name = name;
  params.function = function;
  params.bindings = &access;
  params.binding_count = 1;
  params.parameter_bytes = sizeof(tegi_replay_stamp*);
  return teg_kernel_create(device, &params, out_kernel, err);
}

teg_result tegi_replay_verify_open(tegi_replay_verify* verify,
                                   teg_device* device, teg_error* err) {
  teg_result result = make_kernel(device, "stamp", run_stamp, TEG_ACCESS_WRITE,
                                  &verify->stamp, err);
  if (result != TEG_OK) return result;
  return make_kernel(device, "check", run_check, TEG_ACCESS_READ,
                     &verify->check, err);
}

void tegi_replay_verify_close(tegi_replay_verify* verify) {
  teg_kernel_destroy(verify->stamp);
  teg_kernel_destroy(verify->check);
  verify->stamp = NULL;
  verify->check = NULL;
}

void tegi_replay_verify_deinit(tegi_replay_verify* verify) {
  for (size_t i = 0; i < verify->chunk_count; ++i) {
    tegi_host_free(verify->host, verify->chunks[i],
                   STAMPS_PER_CHUNK * sizeof **verify->chunks);
  }
  tegi_host_free(verify->host, verify->chunks,
                 verify->chunk_capacity * sizeof *verify->chunks);
  verify->chunks = NULL;
  verify->chunk_count = 0;
  verify->chunk_capacity = 0;
  verify->free_list = NULL;
}

static bool add_chunk(tegi_replay_verify* verify) {
  if (!tegi_host_grow_array(verify->host, &verify->chunks,
                            &verify->chunk_capacity, verify->chunk_count + 1,
                            sizeof *verify->chunks)) {
    return false;
  }
  tegi_replay_stamp* chunk =
      tegi_host_calloc(verify->host, STAMPS_PER_CHUNK, sizeof *chunk);
  if (!chunk) return false;
  verify->chunks[verify->chunk_count++] = chunk;
  for (size_t i = 0; i < STAMPS_PER_CHUNK; ++i) {
    chunk[i].verify = verify;
    chunk[i].next = verify->free_list;
    verify->free_list = &chunk[i];
  }
  return true;
}

static teg_result dispatch(teg_kernel* kernel, teg_stream* stream,
                           teg_buffer* buffer, const tegi_replay_stamp* stamp,
                           teg_error* err) {
  static const uint32_t once[3] = {1, 1, 1};
  teg_argument argument = {.buffer = buffer};
  return teg_stream_dispatch(stream, kernel, &argument, 1, (const void*)&stamp,
                             once, err);
}

teg_result tegi_replay_verify_stamp(tegi_replay_verify* verify,
                                    teg_stream* stream, teg_buffer* buffer,
                                    uint64_t size, uint64_t event_index,
                                    tegi_replay_stamp** out_stamp,
                                    teg_error* err) {
  *out_stamp = NULL;
  if (!verify->free_list && !add_chunk(verify)) {
    return tegi_error_set(err, TEG_OUT_OF_HOST_MEMORY,
                          "no host memory for the stamps of --verify");
  }
  tegi_replay_stamp* stamp = verify->free_list;
  stamp->number = verify->next_number;
  stamp->size = size;
  stamp->event_index = event_index;
  teg_result result = dispatch(verify->stamp, stream, buffer, stamp, err);
  if (result != TEG_OK) return result;
  verify->free_list = stamp->next;
  verify->next_number++;
  stamp->next = NULL;
  *out_stamp = stamp;
  return TEG_OK;
}

teg_result tegi_replay_verify_check(tegi_replay_stamp* stamp,
                                    tegi_replay_stamp_queue* queue,
                                    teg_stream* stream, teg_buffer* buffer,
                                    teg_error* err) {
  teg_result result =
      dispatch(stamp->verify->check, stream, buffer, stamp, err);
  // Also after a failure: the command that stamps may be on its way still.
  stamp->serial = teg_stream_recording(stream);
  stamp->next = NULL;
  if (queue->last) {
    queue->last->next = stamp;
  } else {
    queue->first = stamp;
  }
  queue->last = stamp;
  return result;
}

void tegi_replay_verify_collect(tegi_replay_verify* verify,
                                tegi_replay_stamp_queue* queue,
                                uint64_t completed) {
  while (queue->first && queue->first->serial <= completed) {
    tegi_replay_stamp* stamp = queue->first;
    queue->first = stamp->next;
    if (!queue->first) queue->last = NULL;
    stamp->next = verify->free_list;
    verify->free_list = stamp;
  }
}
