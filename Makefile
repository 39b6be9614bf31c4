# A newcomer runs make demo and make test. Each target first installs its prerequisites (bin/setup).

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup servers matrix demo test test-rust test-elixir verify chaos fuzz sanitize bench lint docs clean

export PATH := $(PATH):$(HOME)/.cargo/bin
# Under the C locale Erlang reads file names as Latin-1, and Elixir warns about it.
export LC_ALL ?= C.UTF-8
export LANG ?= C.UTF-8

# Demo, tests and benches share one build: the test environment has the small client that they use.
MIX_TEST := MIX_ENV=test mix

help: ## print this list
	@awk -F':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## install missing prerequisites on Debian or Ubuntu (as root); elsewhere print them
	@bin/setup

servers: ## unpack more Redis and Valkey versions into .servers/ for the tests
	@bin/servers

matrix: setup ## format, warnings and the tests in test/vdr on Debian's Elixirs, in bare roots: SUITE=sid
	@bin/matrix $(SUITE)

demo: setup ## mirror a throw-away server, or your own: URL=redis://host:port
	@bin/demo

test: setup test-rust test-elixir ## all tests, loom, one minute each of verify, chaos and sanitizers, and a short fuzz
	@$(MAKE) --no-print-directory verify SECONDS_MAX=$${VERIFY_SECONDS:-60} SEED=$${VERIFY_SEED:-1}
	@if ls .servers/*/benchmark >/dev/null 2>&1; then \
	  $(MAKE) --no-print-directory verify FUZZER=1 COMMANDS=$${FUZZER_COMMANDS:-50000} ROUNDS=1; \
	else echo "make test: the servers' own fuzzer is not at hand: run make servers"; fi
	@$(MAKE) --no-print-directory chaos DURATION=$${CHAOS_SECONDS:-60}
	@bin/fuzz $${FUZZ_SECONDS:-30}
	@bin/sanitize quick
	@printf '\nmake test: everything passed, on %s\n' "$$(bin/list-servers | paste -sd, | sed 's/,/, /g')"

test-rust: setup
	cargo test --workspace --locked

test-elixir: setup
	@printf 'servers under test:\n'; bin/list-servers | sed 's/^/  /'
	$(MIX_TEST) test --warnings-as-errors $(ARGS)

# SERVER is a name in .servers/, or redis-server or valkey-server for the one on PATH.
# WRONG=LPUSH=RPUSH plants a wrong command in the mirror, to show that verify finds it.
# FUZZER=1 runs the servers' own fuzzer instead: COMMANDS=n (default 100000) in each of ROUNDS=n
# (default 3).
verify: setup ## compare digests after random programs: SEED=n OPS=n SERVER=name SECONDS_MAX=n (default 600), or FUZZER=1
	cargo run --release --quiet --locked -p vdr_verify -- $(if $(SERVER),--server $(SERVER)) \
	  $(if $(FUZZER),--fuzzer $(or $(COMMANDS),100000) --rounds $(or $(ROUNDS),3),--seconds $(or $(SECONDS_MAX),600) \
	  $(if $(SEED),--seed $(SEED)) $(if $(OPS),--ops $(OPS)) $(if $(WRONG),--wrong $(WRONG)))

chaos: setup ## run a mirror under every known fault: SEED=n DURATION=seconds (default 600)
	@SEED=$(SEED) DURATION=$(DURATION) $(MIX_TEST) run test/chaos/run.exs

fuzz: setup ## fuzz the decoders: SECONDS_MAX=n for each (default 3600), TARGET=resp, reply, rdb, apply or script
	@bin/fuzz $(or $(SECONDS_MAX),3600) $(TARGET)

sanitize: setup ## run the Rust tests under loom; with a nightly compiler, under sanitizers and Miri, too
	@bin/sanitize

bench: setup ## measure, and write the figures to bench/results/: ONLY=name runs one bench
	@$(MIX_TEST) run bench/run.exs $(ONLY)

lint: setup ## check formatting, warnings, types, circles of imports, the length of files, the width of prose, licences
	bin/check-prose-width
	bin/check-licences
	cargo run --quiet --locked -p vdr_lint -- native
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	cargo clippy --package vdr_nif --no-default-features --locked -- -D warnings
	mix format --check-formatted
	$(MIX_TEST) compile --force --warnings-as-errors
	bin/dialyzer

docs: setup ## write docs/commands.md, the table of tuples and the cheat sheet from their tables, and the Rust documentation into target/doc
	VDR_WRITE_DOCS=1 cargo test --quiet --locked -p vdr_commands --test commands_doc --test tuples_doc
	VDR_WRITE_DOCS=1 $(MIX_TEST) test test/vdr/cheat_sheet_test.exs
	RUSTDOCFLAGS="-D warnings -A rustdoc::private_intra_doc_links" cargo doc --workspace --no-deps --locked --document-private-items

clean: ## remove everything that was built (unpacked servers stay)
	rm -rf _build target
