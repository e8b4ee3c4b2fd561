#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
source "$(dirname "$0")/check.sh"

# A target that dies on inputs that begin with "!", and says their sizes.
cat >target.c <<'C'
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  printf("size %zu\n", size);
  if (size && data[0] == '!') abort();
  return 0;
}
C
"$CC" -D_GNU_SOURCE= target.c "$source_root/tests/fuzz/regression_driver.c" \
  -o driver || exit 1
mkdir corpus
expect_fail "an empty corpus is not a pass" "no input was run" ./driver corpus
expect_fail "a missing corpus is not a pass" "absent" ./driver absent
printf abc >corpus/three
: >corpus/empty
expect_pass "every file of a folder is run" ./driver corpus
./driver corpus >told.txt
expect_pass "an empty file is an input" grep -qx 'size 0' told.txt
expect_pass "the number of inputs is told" grep -qx '2 inputs' told.txt
printf '!' >corpus/crash
expect_fail "a crash is told with its input" corpus/crash ./driver corpus
