# SPDX-License-Identifier: Apache-2.0
#
# The front door: each goal first sees to the Debian packages it needs, then
# drives CMake's presets. `make help` lists the goals.
PREFIX ?= /usr/local
DESTDIR ?=
JOBS ?= $(shell nproc 2>/dev/null || echo 2)
DEMO_DIR := build/demo
PROGRAM := build/release/tegula

SETUPS := setup-build setup-test setup-check setup-fuzz

.DEFAULT_GOAL := all
# One goal at a time: each of them uses all the cores itself.
.NOTPARALLEL:
.PHONY: all help demo test bench install format check fuzz clean $(SETUPS)

all: setup-build ## build build/release/tegula, libtegula.so, libtegula.a
	@tools/build release $(JOBS)

help: ## list the goals
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' \
	  Makefile

demo: all ## replay the shipped traces under every policy, with a report
	@tools/demo $(PROGRAM) $(DEMO_DIR)

test: setup-test ## build with asserts on, and run every test
	@tools/build debug $(JOBS)
	@ctest --preset debug -j $(JOBS)

bench: all ## build and run the benchmarks
	@cmake --build --preset release -j $(JOBS) --target bench
	@if [ -x bench/run ]; then bench/run build/release; \
	else echo "bench/run is not here: nothing to run"; fi

install: all ## install under PREFIX (/usr/local), within DESTDIR
	@DESTDIR="$(DESTDIR)" cmake --install build/release --prefix "$(PREFIX)"

format: setup-check ## rewrite C files in the house format
	@tools/check_format --fix

check: setup-check ## static checks: format, layers, headers, symbols, tidy
	@tools/check_format
	@tools/check_layers
	@tools/check_headers
	@tools/build release $(JOBS)
	@tools/check_symbols build/release
	@tools/check_tidy

fuzz: setup-fuzz ## run each fuzz target for a minute
	@tools/fuzz

clean: ## remove everything that was built
	@rm -rf build

# A static pattern: make looks for no implicit rule for a phony goal.
$(SETUPS): setup-%:
	@tools/setup $*
