# make setup | test | torture | check | demo | protos. Each works alone on a fresh clone.
PYTHON ?= python3
BIN := .venv/bin
BUF := node_modules/.bin/buf
PROTOC := .venv-protos/bin/python -m grpc_tools.protoc

.DEFAULT_GOAL := help
.PHONY: help setup test test-fast check format fuzz kernel-sanitize demo protos torture bench bench-quick bench-peers clean

help: ## Show this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 17

setup: .venv/.ready .venv/.kernel ## Make .venv with the programs, the SDK and the developers' tools

.venv/.pip:
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.3'
	touch $@

# The native kernel is a distribution of its own, which fanlight[server] requires: it is
# installed first, so that nobody looks for it elsewhere, and again whenever its source changes.
KERNEL := $(wildcard $(addprefix server/kernel/,*.toml *.txt src/* fanlight_kernel/*.py*))

.venv/.kernel: $(KERNEL) requirements/constraints.txt | .venv/.pip
	$(BIN)/python -m pip install --quiet --build-constraint requirements/constraints.txt --force-reinstall --no-deps ./server/kernel
	touch $@

.venv/.ready: pyproject.toml requirements/constraints.txt | .venv/.pip .venv/.kernel
	$(BIN)/python -m pip install --quiet --constraint requirements/constraints.txt --editable '.[all]' --group dev
	touch $@

.venv-protos/.ready: requirements/protos.txt
	$(PYTHON) -m venv .venv-protos
	.venv-protos/bin/python -m pip install --quiet --requirement requirements/protos.txt
	touch $@

# GCC's runtimes, which kernel-sanitize loads: the compiler must be the one they belong to. Not
# stripped, so that reports name lines.
.venv-sanitize/.kernel: $(KERNEL) requirements/constraints.txt | .venv/.pip
	rm -rf .venv-sanitize
	CXX=g++ $(BIN)/python -m pip install --quiet --build-constraint requirements/constraints.txt --no-deps --target .venv-sanitize/kernel \
		-C cmake.define.FANLIGHT_SANITIZE=ON -C install.strip=false ./server/kernel
	touch $@

node_modules/.ready: package.json
	npm install --silent --no-audit --no-fund --no-package-lock
	touch $@

test: setup ## Run all tests
	$(BIN)/pytest

test-fast: setup ## Run the tests that take no real processes
	$(BIN)/pytest -m "not slow"

torture: setup ## Do to real clusters what must not harm them, for half an hour (ARGS: --minutes, --seed, --only)
	$(BIN)/python -m tests.faults.torture $(ARGS)

# At each level of SIMD that the machine has. Runtimes of sanitizers must be there before Python is,
# and that of C++ with them, since AddressSanitizer looks for what throws exceptions when it starts.
# CPython leaks by design, so leaks are not looked for; the oracle, hnswlib, frees with delete what
# it got from malloc, so that is not held against anybody. pytest leaves stderr and SIGSEGV to them.
kernel-sanitize: setup .venv-sanitize/.kernel ## Run the kernel's tests under AddressSanitizer and UBSan (needs g++)
	@set -e; for simd in $$($(BIN)/python -c "import fanlight_kernel; print(*fanlight_kernel.simd_levels())"); do \
		echo "FANLIGHT_KERNEL_SIMD=$$simd"; \
		LD_PRELOAD="$(foreach name,asan ubsan stdc++,$(shell g++ -print-file-name=lib$(name).so))" \
		ASAN_OPTIONS=detect_leaks=0:alloc_dealloc_mismatch=0 UBSAN_OPTIONS=print_stacktrace=1 \
		FANLIGHT_KERNEL_SIMD=$$simd PYTHONPATH="$(CURDIR)/.venv-sanitize/kernel" \
		$(BIN)/python -c "$$RUN_SANITIZED" -p no:faulthandler --capture=sys tests/kernel $(ARGS); \
	done

# Make sure first that it is the sanitized kernel which is tested.
define RUN_SANITIZED
import pathlib, sys, pytest, fanlight_kernel._native as native
file = pathlib.Path(native.__file__)
assert pathlib.Path.cwd() / ".venv-sanitize/kernel" in file.parents, f"not sanitized: {file}"
assert b"__asan_report" in file.read_bytes() and b"__ubsan_handle" in file.read_bytes(), file
sys.exit(pytest.main(sys.argv[1:]))
endef
export RUN_SANITIZED

fuzz: setup ## Feed nonsense to decoders and readers for SECONDS (300), inputs chosen by libFuzzer
	$(BIN)/python -m pip install --quiet --group fuzz
	$(BIN)/python -m tests.faults.decoders $(or $(SECONDS),300) $(or $(SEED),1)

demo: setup ## Start a local cluster, load 8,000 real embeddings, search them
	$(BIN)/fanlight demo

bench: setup ## Measure a local cluster beside hnswlib and installed peers (FANLIGHT_DATA: real vectors)
	$(BIN)/python benchmarks/bench.py $(ARGS)

bench-quick: setup ## The same, small, in less than two minutes
	$(BIN)/python benchmarks/bench.py --quick $(ARGS)

bench-peers: setup ## Install the engines that bench measures besides, and what draws its plots
	$(BIN)/python -m pip install --quiet --constraint requirements/constraints.txt --constraint requirements/bench.txt --editable '.[bench]'

check: setup .venv-protos/.ready node_modules/.ready ## Lint, format, types, import contracts, buf, generated code
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pyright
	$(BIN)/lint-imports
	$(BUF) lint
	$(BUF) breaking --against tests/golden/contract.binpb
	@PATH="$(CURDIR)/.venv-protos/bin:$$PATH" sh tests/check_generated_code.sh

format: setup ## Format and fix what can be fixed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

protos: .venv-protos/.ready ## Generate client/fanlight/v1 from protos/
	PATH="$(CURDIR)/.venv-protos/bin:$$PATH" $(PROTOC) -I protos \
		--python_out=client --grpc_python_out=client \
		--mypy_out=quiet:client --mypy_grpc_out=quiet:client protos/fanlight/v1/*.proto

clean: ## Remove what the targets above made
	rm -rf .venv .venv-protos .venv-sanitize node_modules .pytest_cache .mypy_cache .ruff_cache
