// SPDX-License-Identifier: Apache-2.0
// Counts the groups that were dispatched, and notes how many each dimension
// has.
#version 450
layout(local_size_x = 1) in;
layout(set = 0, binding = 0) buffer Seen {
  uint count;
  uint size[3];
};

void main() {
  atomicAdd(count, 1);
  if (gl_WorkGroupID == uvec3(0)) {
    size[0] = gl_NumWorkGroups.x;
    size[1] = gl_NumWorkGroups.y;
    size[2] = gl_NumWorkGroups.z;
  }
}
