// SPDX-License-Identifier: Apache-2.0
//
// Compares the stamps of one piece of a buffer; one group of threads. Checks
// of one stream follow one another: they all write the results. See
// replay_verify.c.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "replay_place.glsl"

layout(local_size_x = 128) in;
layout(std430, set = 0, binding = 0) readonly buffer Piece { uint words[]; };
layout(std430, set = 0, binding = 1) buffer Results {
  uint buffer_count;
  uint last_low, last_high;
  uint first_low, first_high, first_event_low, first_event_high;
  uint first_piece, first_word, expected, found;
};
layout(std140, set = 0, binding = 2) uniform Parameters {
  uint number_low, number_high, event_low, event_high, piece, word_count;
};

const uint NONE = 0xffffffffu;
shared uint changed;

void tell(uint seed) {
  if (last_low == number_low && last_high == number_high) return;
  last_low = number_low;
  last_high = number_high;
  if (atomicAdd(buffer_count, 1u) > 0u) return;
  first_low = number_low;
  first_high = number_high;
  first_event_low = event_low;
  first_event_high = event_high;
  first_piece = piece;
  first_word = changed;
  expected = stamp_word(seed, piece, changed);
  found = words[changed];
}

void main() {
  uint seed = seed_of(number_low, number_high);
  uint word = place_word(seed, word_count, gl_LocalInvocationIndex);
  if (gl_LocalInvocationIndex == 0u) changed = NONE;
  barrier();
  if (word < word_count && words[word] != stamp_word(seed, piece, word)) {
    atomicMin(changed, word);
  }
  barrier();
  if (gl_LocalInvocationIndex == 0u && changed != NONE) tell(seed);
}
