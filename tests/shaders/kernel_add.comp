// SPDX-License-Identifier: Apache-2.0
// sum[i] = a[i] + scale * b[i] + shift, for all of sum.
#version 450
layout(local_size_x = 64) in;
layout(set = 0, binding = 0) readonly buffer A { uint a[]; };
layout(set = 0, binding = 1) readonly buffer B { uint b[]; };
layout(set = 0, binding = 2) writeonly buffer Sum { uint sum[]; };
layout(set = 0, binding = 3) uniform Parameters {
  uint scale;
  uint shift;
};

void main() {
  uint i = gl_GlobalInvocationID.x;
  if (i < sum.length()) sum[i] = a[i] + scale * b[i] + shift;
}
