# SPDX-License-Identifier: Apache-2.0
#
# Sourced by the tests of tools/: an empty folder to work in, and two
# expectations. A test names each expectation after the behaviour it proves.
set -uo pipefail
source_root=${TEGULA_SOURCE:?set by ctest}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1

# expect_pass BEHAVIOUR COMMAND...
expect_pass() {
  local behaviour=$1
  shift
  if ! "$@" >out.txt 2>&1; then
    cat out.txt
    echo "FAILED: $behaviour"
    exit 1
  fi
  echo "ok: $behaviour"
}

# The command must exit non-zero and say TEXT.
#   expect_fail BEHAVIOUR TEXT COMMAND...
expect_fail() {
  local behaviour=$1 text=$2
  shift 2
  if "$@" >out.txt 2>&1; then
    cat out.txt
    echo "FAILED: $behaviour: the command succeeded"
    exit 1
  fi
  if ! grep -qF -- "$text" out.txt; then
    cat out.txt
    echo "FAILED: $behaviour: did not say: $text"
    exit 1
  fi
  echo "ok: $behaviour"
}
