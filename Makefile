# Needs make and a Python >= 3.11 with venv; everything else goes into .venv, by stamp files.

PYTHON ?= $(shell for python in python3.13 python3.12 python3.11 python3; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)
PORT ?= 4000
FUZZ_MINUTES ?= 10
# SIM300 (constants on the right) is against the order of every assertion here: expected == actual.
RUFF_CHECK = --select E,F,W,I,B,UP,C4,SIM,RUF,ASYNC \
	--ignore RUF001,RUF002,RUF003,RUF012,SIM105,SIM117,SIM300
RUFF = --isolated --target-version py311 --line-length 120
SOURCES = bedrock_gateway tests examples setup.py

BIN = .venv/bin
JS = tests/e2e/js/node_modules/.stamp
INSTALL = -m pip --disable-pip-version-check --quiet install
PACKAGING = setup.cfg setup.py bedrock_gateway/_version.py
# Tests of the newest boto3 run it by this interpreter: the one in .venv has to be the one aiobotocore pins.
export BOTO3_PYTHON = $(CURDIR)/.venv-boto3/bin/python
# Every process of the tests would compile everything anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help run test style types tests coverage fuzz soak bench simulation operations clean distclean
.NOTPARALLEL:
.DELETE_ON_ERROR:

help:
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' Makefile | expand -t 12

run: .venv/.stamp-run ## start the gateway on 127.0.0.1:4000 (PORT=) with the embedded simulator; needs no AWS account
	@exec $(BIN)/python -m bedrock_gateway serve --simulate --host 127.0.0.1 --port $(PORT)

test: style types tests ## everything a change has to pass

style: .venv/.stamp-test ## ruff: rules and formatting
	@$(BIN)/ruff check $(RUFF) $(RUFF_CHECK) --quiet $(SOURCES)
	@$(BIN)/ruff format $(RUFF) --quiet --check $(SOURCES) || \
		{ echo 'Not formatted; mend it by: $(BIN)/ruff format $(RUFF) $(SOURCES)' >&2; exit 1; }

types: .venv/.stamp-test ## mypy --strict
	@$(BIN)/mypy --no-error-summary

# Two processes more than there are cores: much of a test is waiting for sockets, and for other processes.
tests: .venv/.stamp-test .venv-boto3/.stamp $(JS) ## pytest, on all cores; some of it with PYTEST='-k name'
	@$(BIN)/python -m pytest -q -m 'not soak' --numprocesses $$(($$(getconf _NPROCESSORS_ONLN) + 2)) --dist loadfile $(PYTEST)

coverage: .venv/.stamp-test .venv-boto3/.stamp $(JS) ## the tests again, with the lines and branches they miss
	@$(BIN)/python -m coverage run -m pytest -q -m 'not soak' $(PYTEST)
	@$(BIN)/python -m coverage report --show-missing --skip-covered

fuzz: .venv/.stamp-test .venv-boto3/.stamp $(JS) ## the property tests over and over with new inputs, for FUZZ_MINUTES=10
	@end=$$(($$(date +%s) + 60 * $(FUZZ_MINUTES))); while [ $$(date +%s) -lt $$end ]; do \
		env -u CI $(BIN)/python -m pytest -q -m 'hypothesis and not soak' --hypothesis-seed=random $(PYTEST) || exit 1; done

soak: .venv/.stamp-test .venv-boto3/.stamp $(JS) ## the tests that run for long
	@$(BIN)/python -m pytest -q -m soak --timeout 3600 $(PYTEST)

bench: .venv/.stamp-test ## speed and size against a bare aiohttp proxy; BENCH='--quick', '--json FILE', '--plot FILE.svg'
	@$(BIN)/python tests/benchmarks/bench.py $(BENCH)

simulation: .venv/.stamp-test ## every strategy in virtual time: writes the tables and plots of docs/balancing.md
	@$(BIN)/python tests/routing/simulated_report.py $(SIMULATION)

operations: .venv/.stamp-test .venv-boto3/.stamp $(JS) ## call every operation by boto3: writes docs/operations.md and what newer boto3s know
	@$(BIN)/python tests/upstream/newer_operations.py $(BOTO3_PYTHON)
	@$(BIN)/python tests/e2e/operations_page.py

clean: ## remove caches and what was built
	@rm -rf build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage
	@find bedrock_gateway tests examples -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean ## remove the virtual environments too
	@rm -rf .venv .venv-boto3 tests/e2e/js/node_modules

define new_environment
@[ -n '$(PYTHON)' ] || { echo 'There is no Python >= 3.11 here. Install one, or name it: make PYTHON=/path/to/python3.11' >&2; exit 1; }
@'$(PYTHON)' -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	{ echo 'PYTHON=$(PYTHON) does not run, or is older than 3.11.' >&2; exit 1; }
@'$(PYTHON)' -c 'import venv, ensurepip' 2>/dev/null || \
	{ echo '$(PYTHON) has no venv or no ensurepip. On Debian and Ubuntu: apt install python3-venv' >&2; exit 1; }
@'$(PYTHON)' -m venv $(@D)
endef

.venv/.stamp:
	$(new_environment)
	@touch $@

.venv/.stamp-run: .venv/.stamp $(PACKAGING)
	@echo 'Installing into .venv ...'
	@$(BIN)/python $(INSTALL) --use-pep517 --editable '.[speed]' boto3
	@touch $@

.venv/.stamp-test: .venv/.stamp $(PACKAGING)
	@echo 'Installing into .venv, with what tests need ...'
	@$(BIN)/python $(INSTALL) --use-pep517 --editable '.[speed,test]'
	@touch $@ .venv/.stamp-run

# The AWS SDK for JavaScript, by the Node.js that came with the tests' requirements.
tests/e2e/js/node_modules/.stamp: tests/e2e/js/package-lock.json .venv/.stamp-test
	@echo 'Installing the AWS SDK for JavaScript ...'
	@cd tests/e2e/js && PATH="$(CURDIR)/$(BIN):$$PATH" npm ci --silent
	@touch $@

.venv-boto3/.stamp:
	$(new_environment)
	@echo 'Installing the newest boto3 into .venv-boto3 ...'
	@.venv-boto3/bin/python $(INSTALL) --upgrade boto3
	@touch $@
