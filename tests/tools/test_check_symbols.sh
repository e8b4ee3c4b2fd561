#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
source "$(dirname "$0")/check.sh"
check=("$source_root/tools/check_symbols" "$work/built")

# Builds a library and a program's object from the two given sources.
build() {
  rm -rf built
  mkdir -p built/CMakeFiles/tegula_program.dir/cli
  echo "$1" >lib.c
  echo "$2" >main.c
  "$CC" -fPIC -fvisibility=hidden -c lib.c -o lib.o &&
    "$CC" -shared lib.o -o built/libtegula.so &&
    ar rcs built/libtegula.a lib.o &&
    "$CC" -c main.c -o built/CMakeFiles/tegula_program.dir/cli/main.c.o ||
    exit 1
}
shown='__attribute__((visibility("default")))'
good="$shown int teg_x(void); int teg_x(void) { return 1; }
      int tegi_y(void); int tegi_y(void) { return 2; }
      static int z(void) { return 3; } int (*tegi_z)(void) = z;"
program='int teg_x(void); int main(void) { return teg_x(); }'

build "$good" "$program"
expect_pass "teg_ shown and tegi_ hidden passes" "${check[@]}"

build "$good $shown int tegi_w(void); int tegi_w(void) { return 4; }" "$program"
expect_fail "an internal name that is exported fails" "exports tegi_w" \
  "${check[@]}"

build "$good $shown int helper; int helper = 1;" "$program"
expect_fail "a foreign name that is exported fails" "exports helper" \
  "${check[@]}"

build "$good int helper(void); int helper(void) { return 4; }" "$program"
expect_fail "a hidden global without prefix fails in the archive" \
  "libtegula.a: defines helper" "${check[@]}"

build "$good" 'int tegi_y(void); int main(void) { return tegi_y(); }'
expect_fail "a program that uses an internal function fails" \
  "uses the internal tegi_y" "${check[@]}"

build 'int tegi_y(void); int tegi_y(void) { return 2; }' "$program"
expect_fail "a library that exports nothing fails" "exports nothing" \
  "${check[@]}"

rm built/libtegula.so
expect_fail "a missing library fails" "is not there" "${check[@]}"
