// SPDX-License-Identifier: Apache-2.0
// Every value becomes 3 times itself and 1: only as often as it is run, and in
// order, does it give the right number.
#version 450
layout(local_size_x = 64) in;
layout(set = 0, binding = 0) buffer Data { uint data[]; };

void main() {
  uint i = gl_GlobalInvocationID.x;
  if (i < data.length()) data[i] = 3 * data[i] + 1;
}
