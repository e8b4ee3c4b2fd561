#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
source "$(dirname "$0")/check.sh"
setup="$source_root/tools/setup"

expect_fail "an unknown goal is refused with the usage" "usage: tools/setup" \
  "$setup" everything

# A machine of stand-ins: bash sees only this folder.
mkdir bin
for name in bash env dirname cat tail mktemp rm; do
  ln -s "$(command -v $name)" "bin/$name"
done
stub() {
  printf '%s\n' '#!/bin/bash' "$2" >"bin/$1"
  chmod +x "bin/$1"
}
on_machine() { PATH="$work/bin" "$setup" "$@"; }
for name in cc c++ make cmake ninja python3 glslangValidator; do stub $name 'exit 0'; done
stub pkg-config '[[ $2 != libzstd || -e installed ]]'
stub apt-get 'echo "apt-get $*" >>calls.txt
if [[ $* == *install* ]]; then : >installed; fi'

stub id 'echo 1000'
expect_fail "without root the one line to type is printed" \
  "sudo apt-get install libzstd-dev" on_machine build
expect_pass "without root nothing is installed" test ! -e calls.txt

stub id 'echo 0'
expect_pass "root has the missing package installed" on_machine build
expect_pass "only the missing package is installed" \
  grep -qx 'apt-get -q install -y --no-install-recommends libzstd-dev' calls.txt
rm calls.txt
expect_pass "where all is there it passes" on_machine build
expect_pass "where all is there apt-get is not called" test ! -e calls.txt

rm installed
stub apt-get 'echo "E: no such package" ; exit 100'
expect_fail "an install that fails says so" "could not install: libzstd-dev" \
  on_machine build
stub apt-get 'exit 0'
expect_fail "an install without effect is noticed" "still not found" \
  on_machine build
rm bin/apt-get
expect_fail "without apt-get the packages are named" "libzstd-dev" \
  on_machine build
