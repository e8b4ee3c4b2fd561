// SPDX-License-Identifier: Apache-2.0
//
// What tegula bench dispatches: as little as a kernel can do.
#version 450
layout(local_size_x = 64) in;
layout(std430, set = 0, binding = 0) buffer Words { uint words[]; };
layout(std140, set = 0, binding = 1) uniform Parameters { uint factor, term; };

void main() {
  uint i = gl_GlobalInvocationID.x;
  if (i < words.length()) words[i] = words[i] * factor + term;
}
