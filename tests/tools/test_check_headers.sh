#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
source "$(dirname "$0")/check.sh"
check=("$source_root/tools/check_headers" "$work/tree")

mkdir -p tree/include/tegula tree/src/base
write() { printf '%s\n' "#ifndef X_H" "#define X_H" "${@:2}" "#endif" >"tree/$1"; }

write include/tegula/good.h '#include <stdint.h>' \
  'typedef struct teg_x { uint64_t size; } teg_x;'
write src/base/inner.h '#include <stdbool.h>' \
  'static inline bool tegi_is_odd(int x) { return x & 1; }'
expect_pass "headers that stand alone pass" "${check[@]}"

write include/tegula/bad.h 'typedef struct teg_y { uint64_t size; } teg_y;'
expect_fail "a public header that lacks an include fails" \
  "tegula/bad.h: does not compile alone as C11" "${check[@]}"

write include/tegula/bad.h 'int teg_y(int class);'
expect_fail "a public header that is no C++ fails" \
  "tegula/bad.h: does not compile alone as C++17" "${check[@]}"
rm tree/include/tegula/bad.h

echo 'typedef struct tegi_z { int z; } tegi_z;' >tree/src/base/bad.h
expect_fail "a header without a guard fails" \
  "base/bad.h: does not compile alone as C17" "${check[@]}"

rm -r tree/*
mkdir -p tree/include
expect_fail "an empty tree is not a pass" "0 compiled" "${check[@]}"
