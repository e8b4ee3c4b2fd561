#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Installs the built tree, moves it, and uses it as other projects would.
source "$TEGULA_SOURCE/tests/tools/check.sh"
consumer=$source_root/tests/consumer
says="tegula says over-budget"

# expect_says BEHAVIOUR PROGRAM...: each program runs and says the line.
expect_says() {
  local behaviour=$1 program
  shift
  for program in "$@"; do
    expect_pass "$behaviour: $(basename "$program")" \
      bash -c '[[ $("$0") == "$1" ]]' "$program" "$says"
  done
}

# expect_example BEHAVIOUR PROGRAM...: each prints what the guide shows.
expect_example() {
  local behaviour=$1 program
  shift
  for program in "$@"; do
    expect_pass "$behaviour: $(basename "$program")" \
      bash -c 'diff <("$0" host) "$1"' "$program" "$work/guide.txt"
  done
}
sed -n '/^device: vulkan$/,/^```$/p' "$source_root/docs/guide/streams.md" |
  sed -e '$d' -e '1s/vulkan/host/' >guide.txt

expect_pass "the build installs" \
  cmake --install "$TEGULA_BUILD" --prefix "$work/first"
# Whatever still names the first place no longer works.
mv first installed
tree=$work/installed
library_dir=$(dirname "$(find "$tree" -name libtegula.a)")
names_a_place() {
  grep -rIl -e "$work/first" -e "$TEGULA_BUILD" -e "$source_root" "$tree"
}
expect_pass "no installed text names where it was built or installed" \
  eval '! names_a_place'

expect_pass "the CMake package is found" cmake -G Ninja \
  -S "$consumer/package" -B package -DCMAKE_PREFIX_PATH="$tree"
expect_pass "the CMake package builds" cmake --build package
expect_says "the CMake package runs" \
  package/c_tegula package/cxx_tegula package/c_static package/cxx_static
expect_example "the example of the guide runs" \
  package/stream_tegula package/stream_static
export PKG_CONFIG_PATH=$library_dir/pkgconfig
expect_pass "pkg-config finds it" pkg-config --exists tegula
# shellcheck disable=SC2046 # lists of flags
expect_pass "pkg-config's flags build" "${CC:-cc}" "$consumer/consumer.c" \
  -o shared $(pkg-config --cflags --libs tegula)
# shellcheck disable=SC2046
expect_pass "pkg-config's static flags build" "${CC:-cc}" \
  "$consumer/consumer.c" -o static $(pkg-config --cflags tegula) \
  "$library_dir/libtegula.a" $(pkg-config --static --libs tegula)
LD_LIBRARY_PATH=$library_dir expect_says "pkg-config's program runs" \
  ./shared ./static
expect_pass "the example's kernel compiles" glslangValidator --quiet -V \
  --target-env vulkan1.2 --vn stream_spv -o stream.spv.h \
  "$source_root/examples/stream.comp"
# shellcheck disable=SC2046
expect_pass "pkg-config's flags build the example" "${CC:-cc}" -I. \
  "$source_root/examples/stream.c" -o stream $(pkg-config --cflags --libs tegula)
LD_LIBRARY_PATH=$library_dir expect_example "pkg-config's example runs" ./stream

expect_pass "add_subdirectory configures" cmake -G Ninja \
  -S "$consumer/subdirectory" -B sub -DTEGULA_SOURCE="$source_root"
expect_pass "add_subdirectory builds" cmake --build sub
expect_says "add_subdirectory runs" \
  sub/c_tegula sub/cxx_tegula sub/c_static sub/cxx_static

if [[ -x $tree/bin/tegula ]]; then
  expect_pass "the installed program runs" "$tree/bin/tegula" --help
fi
