# What a newcomer runs: make demo, make test. Each target installs what it needs first (bin/setup).

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup servers demo test test-rust test-elixir verify chaos fuzz sanitize bench lint docs clean

export PATH := $(PATH):$(HOME)/.cargo/bin
# Erlang takes file names for Latin-1 under the C locale and Elixir warns about it.
export LC_ALL ?= C.UTF-8
export LANG ?= C.UTF-8

# Demo, tests and benches share one build: the test environment holds the small client that they use.
MIX_TEST := MIX_ENV=test mix

help: ## this list
	@awk -F':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## install what a Debian or Ubuntu machine lacks (as root); elsewhere say what to install
	@bin/setup

servers: ## unpack other Redis and Valkey versions into .servers/ for the tests
	@bin/servers

demo: setup ## mirror a throw-away server, or yours: URL=redis://host:port
	@bin/demo

test: setup test-rust test-elixir ## everything: Rust and Elixir tests, live tests, loom, a minute each of verify, of chaos and of sanitizers, half of each fuzzer
	@$(MAKE) --no-print-directory verify SECONDS_MAX=$${VERIFY_SECONDS:-60} SEED=$${VERIFY_SEED:-1}
	@$(MAKE) --no-print-directory chaos DURATION=$${CHAOS_SECONDS:-60}
	@bin/fuzz $${FUZZ_SECONDS:-30}
	@bin/sanitize quick
	@printf '\nmake test: everything passed, on %s\n' "$$(bin/list-servers | paste -sd, | sed 's/,/, /g')"

test-rust: setup
	cargo test --workspace --locked

test-elixir: setup
	@printf 'servers under test:\n'; bin/list-servers | sed 's/^/  /'
	$(MIX_TEST) test --warnings-as-errors $(ARGS)

# SERVER is a name in .servers/, or redis-server or valkey-server for what is on PATH. WRONG=LPUSH=RPUSH plants a wrong command
# in the mirror, to see that it is found.
verify: setup ## random programs on real servers, digests compared: SEED=n OPS=n SERVER=name SECONDS_MAX=n (default 600)
	cargo run --release --quiet --locked -p vdr_verify -- --seconds $(or $(SECONDS_MAX),600) \
	  $(if $(SEED),--seed $(SEED)) $(if $(OPS),--ops $(OPS)) $(if $(SERVER),--server $(SERVER)) $(if $(WRONG),--wrong $(WRONG))

chaos: setup ## a mirror under every fault that we know: SEED=n DURATION=seconds (default 600)
	@SEED=$(SEED) DURATION=$(DURATION) $(MIX_TEST) run test/chaos/run.exs

fuzz: setup ## cargo-fuzz on what takes bytes from a network: SECONDS_MAX=n for each (default 3600), TARGET=resp, rdb, apply or script
	@bin/fuzz $(or $(SECONDS_MAX),3600) $(TARGET)

sanitize: setup ## the Rust tests under loom, and where a nightly compiler is present under AddressSanitizer, ThreadSanitizer and Miri
	@bin/sanitize

bench: setup ## the numbers, written to bench/results/: ONLY=name runs one
	@$(MIX_TEST) run bench/run.exs $(ONLY)

lint: setup ## formatting and warnings of both languages
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	mix format --check-formatted
	$(MIX_TEST) compile --force --warnings-as-errors

docs: setup ## docs/commands.md from the command table, and the Rust side's documentation into target/doc
	VDR_WRITE_DOCS=1 cargo test --quiet --locked -p vdr_replica --test commands_doc
	RUSTDOCFLAGS="-D warnings -A rustdoc::private_intra_doc_links" cargo doc --workspace --no-deps --locked --document-private-items

clean: ## everything that was built (unpacked servers stay)
	rm -rf _build priv/native target
