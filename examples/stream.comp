// SPDX-License-Identifier: Apache-2.0
//
// Multiplies every word of a buffer. Binding 0 is the buffer; the uniform
// buffer behind the last binding has the parameters.
#version 450
layout(local_size_x = 64) in;
layout(std430, set = 0, binding = 0) buffer Words { float words[]; };
layout(std140, set = 0, binding = 1) uniform Parameters { float factor; };

void main() {
  uint i = gl_GlobalInvocationID.x;
  if (i < words.length()) words[i] *= factor;
}
