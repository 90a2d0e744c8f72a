# SPDX-License-Identifier: MIT
# One command a verb. Each sets up what it needs by itself; a second run installs nothing.

SHELL := /bin/bash
PARTS := protocol agent executor audit
DEV := .venv/dev/bin
INTERACTIVE ?=
BENCH ?=
DEBIAN ?= 13

.DEFAULT_GOAL := help

.PHONY: help
help: ## list the verbs
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

.PHONY: setup
setup: ## make the environments under .venv
	@for part in dev $(PARTS); do scripts/setup $$part || exit; done
	@scripts/setup-node

.PHONY: demo
demo: ## the whole system on this machine (INTERACTIVE=1 to type commands)
	@for part in dev agent executor audit; do scripts/setup $$part || exit; done
	@$(DEV)/python -m tests.harness.demo .demo $(if $(INTERACTIVE),--interactive)

.PHONY: test
test: setup lint isolated integration ## everything that has to pass

.PHONY: lint
lint: setup ## style, types, import contracts
	$(DEV)/ruff check
	$(DEV)/ruff format --check
	$(DEV)/mypy
	$(DEV)/basedpyright
	$(DEV)/lint-imports

.PHONY: isolated
isolated: setup ## each distribution's tests, in an environment that holds nothing else
	scripts/isolated

.PHONY: integration
integration: setup ## all together: real homeserver, journal, uids, sockets, terminals
	scripts/integration

.PHONY: system
system: ## install and try everything on a booted Debian 13, or DEBIAN=12 (root; some minutes)
	scripts/system --debian=$(DEBIAN)

.PHONY: system-vm
system-vm: ## show the kernel's limits on the units in QEMU; writes docs/system-vm.md (root)
	scripts/system-vm

.PHONY: deb
deb: ## build the Debian package into dist/
	scripts/deb

.PHONY: bench
bench: setup ## measure, beside ssh and tibet-nc 0.1.2; writes bench.json
	$(DEV)/python -m tests.bench --output bench.json $(BENCH)

.PHONY: vectors
vectors: ## write the test vectors anew; git diff must be empty
	@scripts/setup dev
	$(DEV)/python -m tests.vectors.generate

.PHONY: fuzz
fuzz: ## mutate the vectors against every decoder for a minute
	@scripts/setup dev
	$(DEV)/python -m tests.fuzz.run --seconds 60

.PHONY: lock
lock: ## write the hash-pinned lock files anew
	@scripts/setup dev
	scripts/lock

.PHONY: clean
clean: ## remove environments and what the demo left
	rm -rf .venv tests/{element,player}/node_modules .demo .cache dist .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
