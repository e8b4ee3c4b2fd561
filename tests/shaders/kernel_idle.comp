// SPDX-License-Identifier: Apache-2.0
// Nothing at all, on nothing.
#version 450
layout(local_size_x = 1) in;

void main() {}
