// SPDX-License-Identifier: Apache-2.0
// Every group adds the first word of the argument to word |index| of sums.
#version 450
layout(local_size_x = 1) in;
layout(set = 0, binding = 0) buffer Sums { uint sums[]; };
layout(set = 0, binding = 1) readonly buffer Argument { uint argument[]; };
layout(set = 0, binding = 2) uniform Parameters { uint index; };

void main() { atomicAdd(sums[index], argument[0]); }
