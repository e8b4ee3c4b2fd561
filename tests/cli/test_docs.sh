#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# What the docs say is what the program does: the options, and the figures of
# the README.
set -u
cd "$TEGULA_SOURCE" || exit 1

if ! "$TEGULA" options --markdown | diff -u docs/options.md -; then
  echo "docs/options.md is old: build/release/tegula options --markdown >docs/options.md"
  exit 1
fi
tools/readme_figures "$TEGULA" --check
