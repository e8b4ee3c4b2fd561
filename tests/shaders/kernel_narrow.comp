// SPDX-License-Identifier: Apache-2.0
// Arithmetic in types that a device need not have:
// sum[i] = half[i] * 2 as a whole number, times 2^32, plus byte[i] (not -128).
#version 450
#extension GL_EXT_shader_16bit_storage : require
#extension GL_EXT_shader_8bit_storage : require
#extension GL_EXT_shader_explicit_arithmetic_types : require
layout(local_size_x = 64) in;
layout(set = 0, binding = 0) readonly buffer Halves { float16_t halves[]; };
layout(set = 0, binding = 1) readonly buffer Bytes { int8_t bytes[]; };
layout(set = 0, binding = 2) writeonly buffer Sums { int64_t sums[]; };

void main() {
  uint i = gl_GlobalInvocationID.x;
  if (i >= sums.length()) return;
  float16_t doubled = halves[i] * 2.0hf;
  int8_t negated = -bytes[i];
  sums[i] = (int64_t(int16_t(doubled)) << 32) - int64_t(negated);
}
