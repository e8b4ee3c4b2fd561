// SPDX-License-Identifier: Apache-2.0
// As many bindings as a kernel may have, and parameters: the last is the sum of
// all the others, each times its weight.
#version 450
layout(local_size_x = 64) in;
#define SOURCE(n) \
  layout(set = 0, binding = n) readonly buffer Source##n { uint data[]; } s##n;
SOURCE(0)
SOURCE(1)
SOURCE(2)
SOURCE(3)
SOURCE(4)
SOURCE(5)
SOURCE(6)
SOURCE(7)
SOURCE(8)
SOURCE(9)
SOURCE(10)
SOURCE(11)
SOURCE(12)
SOURCE(13)
SOURCE(14)
SOURCE(15)
SOURCE(16)
SOURCE(17)
SOURCE(18)
SOURCE(19)
SOURCE(20)
SOURCE(21)
SOURCE(22)
SOURCE(23)
SOURCE(24)
SOURCE(25)
SOURCE(26)
SOURCE(27)
SOURCE(28)
SOURCE(29)
SOURCE(30)
layout(set = 0, binding = 31) writeonly buffer Sum { uint sum[]; };
layout(set = 0, binding = 32) uniform Parameters { uvec4 weights[8]; };

uint weigh(uint n, uint value) { return weights[n / 4][n % 4] * value; }

void main() {
  uint i = gl_GlobalInvocationID.x;
  if (i >= sum.length()) return;
  uint total = 0;
#define ADD(n) total += weigh(n, s##n.data[i]);
  ADD(0)
  ADD(1)
  ADD(2)
  ADD(3)
  ADD(4)
  ADD(5)
  ADD(6)
  ADD(7)
  ADD(8)
  ADD(9)
  ADD(10)
  ADD(11)
  ADD(12)
  ADD(13)
  ADD(14)
  ADD(15)
  ADD(16)
  ADD(17)
  ADD(18)
  ADD(19)
  ADD(20)
  ADD(21)
  ADD(22)
  ADD(23)
  ADD(24)
  ADD(25)
  ADD(26)
  ADD(27)
  ADD(28)
  ADD(29)
  ADD(30)
  sum[i] = total;
}
