#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
source "$(dirname "$0")/check.sh"
check=("$source_root/tools/check_layers" "$work/tree")

mkdir -p tree/include/tegula tree/cli \
  tree/src/{base,range,policy,core,trace,load,backend/{host,null,vulkan}}
cd tree || exit 1
echo '#include <stdint.h>' >include/tegula/result.h
echo '#include "tegula/result.h"' >include/tegula/backend.h
echo '#include "tegula/result.h"' >src/base/error.h
echo '#include "base/error.h"' >src/range/tlsf.h
echo '#include "range/tlsf.h"' >src/policy/policy.h
echo '#include "policy/policy.h"' >src/core/device.h
echo '#include "tegula/backend.h"' >src/core/registry.h
echo '#include "core/device.h"' >src/trace/replay.c
echo '#include "core/device.h"' >src/load/gguf.c
echo '#include "tegula/backend.h"' >src/backend/host/host_device.h
echo '#include "backend/host/host_device.h"' >src/backend/null/null_device.c
echo '#include <vulkan/vulkan.h>' >src/backend/vulkan/vulkan_device.c
printf '%s\n' '#include "core/registry.h"' \
  '#include "backend/host/host_device.h"' >src/backend/registry.c
echo '#include <tegula/result.h>' >cli/main.c
echo '#include <vulkan/vulkan_core.h>' >cli/bench_vulkan.c
touch src/trace/stamp.comp
echo '#include "stamp.spv.h"' >src/trace/verify.c
cd ..
expect_pass "arrows that point the right way pass" "${check[@]}"

# plant FILE LINE: the line is refused there, by name; then taken away again.
plant() {
  local file=$1 line=$2 what=$3
  mkdir -p "$(dirname "tree/$file")"
  [[ -f tree/$file ]] && cp "tree/$file" saved.txt
  echo "$line" >>"tree/$file"
  expect_fail "$file refuses $line" "$what" "${check[@]}"
  if [[ -f saved.txt ]]; then mv saved.txt "tree/$file"; else rm "tree/$file"; fi
}
plant src/base/error.h '#include "range/tlsf.h"' 'src/base/error.h:2'
plant src/base/error.h '#include "tegula/backend.h"' 'include/tegula/backend.h'
plant src/range/tlsf.h '#include "policy/policy.h"' 'src/policy/policy.h'
plant src/range/tlsf.h '#include "tegula/backend.h"' 'include/tegula/backend.h'
plant src/policy/policy.h '#include "core/device.h"' 'src/core/device.h'
plant src/policy/policy.h '#include "../core/device.h"' 'src/core/device.h'
plant src/core/device.h '#include "backend/host/host_device.h"' 'host_device.h'
plant src/core/device.h '#include <vulkan/vulkan.h>' 'driver header'
plant src/core/device.h '#  include <cuda.h>' 'driver header'
plant src/core/device.c '#include "trace/replay.c"' 'src/trace/replay.c'
plant src/backend/host/host_device.h '#include "core/device.h"' 'core/device.h'
plant src/backend/host/host_device.h '#include "core/registry.h"' 'registry.h'
plant src/backend/vulkan/x.c '#include "backend/host/host_device.h"' 'host_dev'
plant src/trace/replay.c '#include "load/gguf.c"' 'src/load/gguf.c'
plant src/trace/replay.c '#include "backend/host/host_device.h"' 'host_device.h'
plant cli/main.c '#include "core/device.h"' 'src/core/device.h'
plant cli/main.c '#include "base/error.h"' 'src/base/error.h'
plant cli/main.c '#include <vulkan/vulkan_core.h>' 'driver header'
plant include/tegula/result.h '#include "base/error.h"' 'src/base/error.h'
plant include/tegula/result.h '#include <unistd.h>' 'a public header'
plant src/core/device.h '#include "core/absent.h"' 'is not in this tree'
plant src/trace/verify.c '#include "check.spv.h"' 'is not in this tree'
plant src/other/other.c '#include <stdio.h>' 'not in the table'

expect_pass "the tree passes again with the violations gone" "${check[@]}"
rm -r tree/*
expect_fail "an empty tree is not a pass" "no sources" "${check[@]}"
