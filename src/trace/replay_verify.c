// SPDX-License-Identifier: Apache-2.0
//
// Stamps: words that depend on the number of a buffer and on their place in
// it, written by a kernel right after the buffer is created and compared by
// another just before it is destroyed, possibly many batches later. Both ends
// of a buffer and places between are stamped, of a small one every whole word.
// A buffer larger than one binding is stamped in pieces, each as if it were a
// buffer. The checks of a stream tell what they find in its results buffer.
//
// Each kernel is here as a C function and beside it as a shader; they agree on
// every word.
#include "trace/replay_parts.h"

#include <inttypes.h>
#include <string.h>

#include "base/checked.h"
#include "base/error.h"

#ifdef TEGI_HAS_VULKAN
// glslang makes them external.
#define replay_check_spv tegi_replay_check_spv
#define replay_stamp_spv tegi_replay_stamp_spv
#include "replay_check.spv.h"
#include "replay_stamp.spv.h"
#define SPIRV_OF(words) .spirv = (words), .spirv_bytes = sizeof(words)
#else
#define SPIRV_OF(words) .spirv = NULL
#endif

enum {
  THREADS = 128,  // of the one group; each looks after one word
  PLACE_WORDS = 16,
  LAST_PLACE = THREADS / PLACE_WORDS - 1,
};

// Word indices inside of a piece fit 32 bits.
#define MOST_PIECE_BYTES (UINT64_C(1) << 32)

typedef struct stamp_parameters {
  uint32_t number[2];  // of the buffer, low word first
  uint32_t event[2];
  uint32_t piece;
  uint32_t word_count;
} stamp_parameters;

typedef struct check_results {
  uint32_t buffer_count;
  uint32_t last_number[2];  // counted already
  uint32_t first_number[2];
  uint32_t first_event[2];
  uint32_t first_piece;
  uint32_t first_word;
  uint32_t expected;
  uint32_t found;
} check_results;

// ---------------------------------------------------------------------------
// What the kernels do

static uint32_t mix_word(uint32_t value) {
  value = (value ^ (value >> 16)) * UINT32_C(0x85ebca6b);
  value = (value ^ (value >> 13)) * UINT32_C(0xc2b2ae35);
  return value ^ (value >> 16);
}

static uint32_t seed_of(const stamp_parameters* parameters) {
  return parameters->number[0] ^ mix_word(parameters->number[1]);
}

static uint32_t stamp_word(uint32_t seed, uint32_t piece, uint32_t word) {
  return mix_word(mix_word(word + piece * UINT32_C(0x9e3779b9)) ^ seed);
}

// The word that |thread| looks after; |word_count| or more: none. Places do
// not overlap: each has an eighth of the piece.
static uint32_t place_word(uint32_t seed, uint32_t word_count,
                           uint32_t thread) {
  if (word_count <= THREADS) return thread;
  uint32_t place = thread / PLACE_WORDS;
  uint32_t share = word_count / (LAST_PLACE + 1);
  uint32_t begin = place * share;
  if (place == LAST_PLACE) {
    begin = word_count - PLACE_WORDS;
  } else if (place > 0) {
    begin += mix_word(seed + place) % (share - PLACE_WORDS + 1);
  }
  return begin + thread % PLACE_WORDS;
}

static teg_result run_stamp(const teg_invocation* invocation) {
  const stamp_parameters* parameters = invocation->parameters;
  uint32_t* words = invocation->pointers[0];
  uint32_t seed = seed_of(parameters);
  for (uint32_t thread = 0; thread < THREADS; ++thread) {
    uint32_t word = place_word(seed, parameters->word_count, thread);
    if (word >= parameters->word_count) continue;
    words[word] = stamp_word(seed, parameters->piece, word);
  }
  return TEG_OK;
}

static void tell_change(const stamp_parameters* parameters, uint32_t word,
                        uint32_t found, check_results* results) {
  size_t number_bytes = sizeof results->last_number;
  if (!memcmp(results->last_number, parameters->number, number_bytes)) return;
  memcpy(results->last_number, parameters->number, number_bytes);
  if (results->buffer_count++ > 0) return;
  memcpy(results->first_number, parameters->number, number_bytes);
  memcpy(results->first_event, parameters->event, sizeof parameters->event);
  results->first_piece = parameters->piece;
  results->first_word = word;
  results->expected = stamp_word(seed_of(parameters), parameters->piece, word);
  results->found = found;
}

static teg_result run_check(const teg_invocation* invocation) {
  const stamp_parameters* parameters = invocation->parameters;
  const uint32_t* words = invocation->pointers[0];
  uint32_t seed = seed_of(parameters);
  // Places are in order, so the first changed word is the lowest.
  for (uint32_t thread = 0; thread < THREADS; ++thread) {
    uint32_t word = place_word(seed, parameters->word_count, thread);
    if (word >= parameters->word_count) break;
    if (words[word] == stamp_word(seed, parameters->piece, word)) continue;
    tell_change(parameters, word, words[word], invocation->pointers[1]);
    break;
  }
  return TEG_OK;
}

// ---------------------------------------------------------------------------
// Recording them

static const teg_access stamp_bindings[] = {TEG_ACCESS_WRITE};
static const teg_access check_bindings[] = {TEG_ACCESS_READ,
                                            TEG_ACCESS_READ_WRITE};

teg_result tegi_replay_verify_open(tegi_replay_verify* verify,
                                   teg_device* device, teg_error* err) {
  *verify = (tegi_replay_verify){0};
  teg_kernel_params params = TEG_KERNEL_PARAMS_INIT;
  params = (teg_kernel_params){.struct_size = params.struct_size,
                               .name = "replay stamp",
                               SPIRV_OF(replay_stamp_spv),
                               .function = run_stamp,
                               .bindings = stamp_bindings,
                               .binding_count = 1,
                               .parameter_bytes = sizeof(stamp_parameters)};
  teg_result result = teg_kernel_create(device, &params, &verify->stamp, err);
  if (result != TEG_OK) return result;
  params = (teg_kernel_params){.struct_size = params.struct_size,
                               .name = "replay check",
                               SPIRV_OF(replay_check_spv),
                               .function = run_check,
                               .bindings = check_bindings,
                               .binding_count = 2,
                               .parameter_bytes = sizeof(stamp_parameters)};
  result = teg_kernel_create(device, &params, &verify->check, err);
  if (result != TEG_OK) tegi_replay_verify_close(verify);
  teg_backend_caps caps = {.struct_size = sizeof caps};
  teg_device_get_caps(device, &caps);
  verify->piece_bytes =
      tegi_align_down(tegi_min_u64(caps.max_binding_bytes, MOST_PIECE_BYTES),
                      tegi_max_u64(caps.binding_alignment, 4));
  return result;
}

void tegi_replay_verify_close(tegi_replay_verify* verify) {
  teg_kernel_destroy(verify->stamp);
  teg_kernel_destroy(verify->check);
  *verify = (tegi_replay_verify){0};
}

teg_result tegi_replay_verify_begin(teg_session* session, teg_stream* stream,
                                    teg_buffer** out_results, teg_error* err) {
  teg_buffer_params params = TEG_BUFFER_PARAMS_INIT;
  params.lifetime = TEG_LIFETIME_READBACK;
  params.flags = TEG_BUFFER_DEDICATED;
  params.size = sizeof(check_results);
  params.stream = stream;
  teg_result result = teg_buffer_create(session, &params, out_results, err);
  if (result != TEG_OK) return result;
  result = teg_stream_fill(stream, *out_results, 0, params.size, 0, err);
  if (result == TEG_OK) return TEG_OK;
  teg_buffer_destroy(*out_results);
  *out_results = NULL;
  return result;
}

// Dispatches |kernel| over each piece of |buffer|, the first argument.
static teg_result dispatch_pieces(const tegi_replay_verify* verify,
                                  const tegi_replay_stamp* stamp,
                                  teg_kernel* kernel, teg_stream* stream,
                                  teg_argument* arguments,
                                  uint32_t argument_count, teg_error* err) {
  static const uint32_t one_group[3] = {1, 1, 1};
  stamp_parameters parameters = {
      .number = {(uint32_t)stamp->number, (uint32_t)(stamp->number >> 32)},
      .event = {(uint32_t)stamp->event_index,
                (uint32_t)(stamp->event_index >> 32)}};
  uint64_t word_bytes = tegi_align_down(stamp->size, 4);
  teg_result result = TEG_OK;
  for (uint64_t at = 0; result == TEG_OK && at < word_bytes;) {
    uint64_t size = tegi_min_u64(word_bytes - at, verify->piece_bytes);
    arguments[0].offset = at;
    arguments[0].size = size;
    parameters.word_count = (uint32_t)(size / 4);
    result = teg_stream_dispatch(stream, kernel, arguments, argument_count,
                                 &parameters, one_group, err);
    parameters.piece++;
    at += size;
  }
  return result;
}

teg_result tegi_replay_verify_stamp(const tegi_replay_verify* verify,
                                    teg_stream* stream, teg_buffer* buffer,
                                    uint64_t event_index,
                                    tegi_replay_stamp* out_stamp,
                                    teg_error* err) {
  *out_stamp = (tegi_replay_stamp){0};
  teg_buffer_info info = {.struct_size = sizeof info};
  teg_buffer_get_info(buffer, &info);
  tegi_replay_stamp stamp = {info.number, info.size, event_index};
  teg_argument argument = {.buffer = buffer};
  teg_result result =
      dispatch_pieces(verify, &stamp, verify->stamp, stream, &argument, 1, err);
  if (result == TEG_OK) *out_stamp = stamp;
  return result;
}

teg_result tegi_replay_verify_check(const tegi_replay_verify* verify,
                                    const tegi_replay_stamp* stamp,
                                    teg_stream* stream, teg_buffer* buffer,
                                    teg_buffer* results, teg_error* err) {
  teg_argument arguments[] = {{.buffer = buffer}, {.buffer = results}};
  return dispatch_pieces(verify, stamp, verify->check, stream, arguments, 2,
                         err);
}

// ---------------------------------------------------------------------------
// What they have found

static uint64_t join_words(const uint32_t* words) {
  return words[0] | (uint64_t)words[1] << 32;
}

teg_result tegi_replay_verify_read(const tegi_replay_verify* verify,
                                   teg_stream* stream, teg_buffer* results,
                                   tegi_replay_changes* out_changes,
                                   teg_error* err) {
  *out_changes = (tegi_replay_changes){0};
  check_results found;
  teg_result result =
      teg_stream_read(stream, results, 0, &found, sizeof found, err);
  if (result != TEG_OK) return result;
  *out_changes =
      (tegi_replay_changes){.buffer_count = found.buffer_count,
                            .buffer_number = join_words(found.first_number),
                            .event_index = join_words(found.first_event),
                            .offset = found.first_piece * verify->piece_bytes +
                                      UINT64_C(4) * found.first_word,
                            .expected = found.expected,
                            .found = found.found};
  return TEG_OK;
}

void tegi_replay_changes_describe(const tegi_replay_changes* changes,
                                  uint64_t size, teg_error* out_mismatch) {
  tegi_error_set(out_mismatch, TEG_HAZARD,
                 "buffer %" PRIu64 " of %" PRIu64 " bytes, from event %" PRIu64
                 ", was written by another: the word at byte %" PRIu64
                 " is 0x%08" PRIx32 " and was 0x%08" PRIx32,
                 changes->buffer_number, size, changes->event_index,
                 changes->offset, changes->found, changes->expected);
}
