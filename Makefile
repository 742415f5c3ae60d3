# Everything a newcomer needs: `make demo`, `make test`, `make check`, `make bench`; a JMAP server: `make cyrus`.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
COMMA  := ,
# The versions to install; empty: the newest ones.
CONSTRAINTS ?= constraints.txt
# Compiled files are kept: else each process of the tests compiles all that it imports.
export PYTHONDONTWRITEBYTECODE :=
PYTEST := $(BIN)/pytest -n 2 --dist worksteal

.PHONY: docs man demo cyrus rollout test quick test-all test-lowest coverage soak check bench clean
.DELETE_ON_ERROR:

# $(call install,EXTRAS): a virtual environment with the project in it
define install
@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; say which with: make PYTHON=python3.12")'
@echo "Creating $(VENV) ..."
@$(PYTHON) -m venv $(VENV)
@echo "Installing kerio-resync[$(1)] and what it needs into $(VENV); this can take a minute ..."
@$(BIN)/pip install --quiet --disable-pip-version-check $(CONSTRAINTS:%=-c %) -e '.[$(1)]'
@touch $@
endef

$(READY): pyproject.toml $(CONSTRAINTS)
	$(call install,dev$(COMMA)bench)

$(VENV)/.demo: pyproject.toml $(CONSTRAINTS)
	$(call install,browse$(COMMA)fast$(COMMA)mock)

demo: $(if $(wildcard $(READY)),$(READY),$(VENV)/.demo)  ## a mock server, a rebuild of real mail from it, verification, and what happened
	@$(BIN)/kerio-resync demo

cyrus: $(READY)  ## a throw-away Cyrus with IMAP, JMAP and some mail, until Ctrl-C; ARGS="--mails 1000 --corpus PATH"
	@$(BIN)/python -m benchmarks.rivals.cyrus $(ARGS)

test: $(READY)  ## the suite (about eight minutes on two cores)
	$(PYTEST)

rollout: $(READY)  ## the playbook of deploy/ansible on profiles of this machine: a minute or two
	$(PYTEST) -m ansible tests/deploy

# The core without the tests that try very many cases.
QUICK := tests/test_language.py tests/simulation tests/client/cache tests/client/sync tests/client/test_errors.py
LONG  := test_damage test_legacy test_store test_twin test_schema_guard

quick: $(READY)  ## the part of the suite that takes less than a minute
	$(PYTEST) $(QUICK) $(LONG:%=--ignore=tests/client/cache/%.py)

test-all:  ## the suite on every CPython from 3.11 on that this machine has, each in a virtual environment of its own
	$(PYTHON) tools/pythons.py $(MAKE) --no-print-directory test

.venv-lowest/.ready: pyproject.toml
	python="$$($(PYTHON) tools/pythons.py --oldest)" && "$$python" -m venv .venv-lowest
	.venv-lowest/bin/pip install --quiet --disable-pip-version-check uv
	.venv-lowest/bin/uv pip install --quiet --python .venv-lowest --resolution lowest-direct -e '.[dev,bench]'
	touch $@

test-lowest: .venv-lowest/.ready  ## the suite with the lowest versions that pyproject.toml declares, on the oldest CPython
	.venv-lowest/bin/pytest -n 2 --dist worksteal

# Of the whole programs' tests, those that run the client in this process.
IN_PROCESS := changing_mailbox damage faults foreign_replies header_flips hostile jmap_outbox jmap_sources jmap_world \
	left_out outbox outbox_servers rebuild repairs
USERS := client/browse client/diagnose client/export client/upgrade client/test_identity.py
COVERED := client/cache client/sync client/server $(USERS) $(IN_PROCESS:%=whole/test_%.py)

# CPython 3.11 does not report the lines that a coroutine runs after it awaited one that caught an exception.
.venv-coverage/.ready: pyproject.toml $(CONSTRAINTS)
	python="$$($(PYTHON) tools/pythons.py --newest)" && "$$python" -m venv .venv-coverage
	.venv-coverage/bin/pip install --quiet --disable-pip-version-check $(CONSTRAINTS:%=-c %) -e '.[dev,bench]'
	touch $@

coverage: .venv-coverage/.ready  ## every branch of the cache, of the rebuild and of the talk with the server is run by a test; on CPython 3.12 or newer
	.venv-coverage/bin/coverage erase
	.venv-coverage/bin/pytest -n 2 --dist worksteal --cov --cov-report= $(COVERED:%=tests/%)
	.venv-coverage/bin/coverage report --fail-under=100

# Every proof prints how many there were and in what time. The numbers may be given: make soak CRASHES=50 JOBS=8
# First what is marked `soak`: the cases that are left out by default. Then the proofs that take a number, with large
# ones, and the properties that Hypothesis checks, with many examples.
SIMULATIONS ?= 20000
CRASHES     ?= 500
REPAIRS     ?= 1000
DAMAGES     ?= 1000
FULL_DISKS  ?= 50
FUZZ        ?= 100000
EXAMPLES    ?= 1000
HOSTILE     ?= 20
JOBS        ?= 2
MANY := changing_mailbox jmap_world outbox fuzz header_flips hostile_crowd crash repairs damage disk_full two_accounts

soak: export TMPDIR ?= /tmp
soak: $(READY)  ## the same proofs with large numbers, on the disk: hours
	$(BIN)/pytest -n $(JOBS) --dist worksteal -rP -m soak
	KERIO_SIMULATIONS=$(SIMULATIONS) KERIO_FUZZ=$(FUZZ) KERIO_HOSTILE=$(HOSTILE) KERIO_CRASHES=$(CRASHES) \
	KERIO_REPAIRS=$(REPAIRS) KERIO_DAMAGES=$(DAMAGES) KERIO_FULL_DISKS=$(FULL_DISKS) \
	KERIO_FLIPS=all $(BIN)/pytest -n $(JOBS) --dist worksteal -rP $(MANY:%=tests/whole/test_%.py)
	KERIO_EXAMPLES=$(EXAMPLES) $(BIN)/pytest -n $(JOBS) --dist worksteal --timeout 7200 -m "hypothesis and not soak"
	@echo "$(SIMULATIONS) simulated runs of a changing mailbox (in the time above); differences: 0"

check: $(READY)  ## style, types, layers, spelling, phrases
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell
	$(BIN)/python tools/check_prose.py

$(VENV)/.docs: $(READY)
	$(BIN)/pip install --quiet --disable-pip-version-check $(CONSTRAINTS:%=-c %) -e '.[docs]'
	touch $@

docs: $(VENV)/.docs  ## the pages of docs/ as HTML, in docs/_build/html
	$(BIN)/sphinx-build -q -W --keep-going -b html docs docs/_build/html
	@echo "docs/_build/html/index.html"

man: $(READY)  ## the manual page, from the command line's own descriptions
	$(BIN)/python tools/man_page.py > docs/kerio-resync.1

bench: $(READY)  ## the measurements, into benchmarks/results
	$(BIN)/python -m benchmarks

clean:
	rm -rf $(VENV) .venv-* .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
