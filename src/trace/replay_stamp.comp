// SPDX-License-Identifier: Apache-2.0
//
// Stamps one piece of a buffer; one group of threads. See replay_verify.c.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "replay_place.glsl"

layout(local_size_x = 128) in;
layout(std430, set = 0, binding = 0) writeonly buffer Piece { uint words[]; };
layout(std140, set = 0, binding = 1) uniform Parameters {
  uint number_low, number_high, event_low, event_high, piece, word_count;
};

void main() {
  uint seed = seed_of(number_low, number_high);
  uint word = place_word(seed, word_count, gl_LocalInvocationIndex);
  if (word < word_count) words[word] = stamp_word(seed, piece, word);
}
