# Everything a person types. `make` alone lists it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP_FLAGS := --quiet --disable-pip-version-check
CHECK ?=
PROFILE ?=
STEPS ?= 9000
export PROFILE

.DEFAULT_GOAL := help
.PHONY: help install install-dev demo demo-reset demo-train test soak bench screenshots lint format words clean

help: ## This list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Edgefleet needs Python 3.11 or newer; name one with PYTHON=…"; exit 1; }
	$(PYTHON) -m venv $(VENV)

# A stamp for each list: nothing is installed again until the list changes.
$(VENV)/.installed: requirements.txt | $(BIN)/python
	@echo "Installing what the server needs (about 1 GB the first time) …"
	@$(BIN)/pip install $(PIP_FLAGS) -r requirements.txt
	@touch $@

$(VENV)/.installed-dev: requirements.txt requirements-dev.txt | $(BIN)/python
	@echo "Installing what the server, the tests and the linters need (about 1 GB the first time) …"
	@$(BIN)/pip install $(PIP_FLAGS) -r requirements-dev.txt
	@touch $@ $(VENV)/.installed

install: $(VENV)/.installed ## Make .venv and install the server
install-dev: $(VENV)/.installed-dev ## The same, with the tests' and linters' tools

demo: $(VENV)/.installed ## The whole product on this machine with six simulated devices (CHECK=1: prove the loop, and end; PROFILE=services)
	@$(BIN)/python manage.py demo $(if $(CHECK),--check "$(CHECK)")

demo-reset: $(VENV)/.installed ## Clear the demo's data
	@$(BIN)/python manage.py demo --reset

demo-train: $(VENV)/.installed ## Train the demo's policy from nothing into var/training (37 minutes on two cores; STEPS=9000)
	@$(BIN)/python -m fleet.demo.train --steps $(STEPS)

test: $(VENV)/.installed-dev ## Every test; the browser journeys where Chromium is present
	@$(BIN)/python -m pytest --numprocesses auto --dist loadfile

soak: $(VENV)/.installed-dev ## The counted tests, in full: 300 power cuts, a day without a broker, a week, a thousand devices
	@SOAK_KILLS=100 $(BIN)/python -m pytest tests/agent/deployment/test_power_cuts.py -k killed_agent
	@SOAK_KILLS=200 SOAK_AWAY_HOURS=35 SOAK_HOURS=168 $(BIN)/python -m pytest -s tests/agent/test_soak.py
	@SOAK_PRIVACY_SECONDS=60 $(BIN)/python -m pytest tests/agent/test_privacy.py
	@LIGHT_DEVICES=1000 $(BIN)/python -m pytest -s tests/faults

bench: $(VENV)/.installed ## Measure what is claimed beside a baseline: NAME=agent, or without a name what there is
	@$(BIN)/python -m bench $(NAME)

screenshots: $(VENV)/.installed-dev ## Every page in both themes, at desktop and phone width, into var/screenshots
	@$(BIN)/python -m tests.screenshots var/screenshots

lint: $(VENV)/.installed-dev ## ruff, mypy, import-linter, djlint, and that no migration is missing
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/djlint --check --lint --quiet templates
	$(BIN)/python manage.py makemigrations --check --dry-run

format: $(VENV)/.installed-dev ## Let ruff and djlint put the code in order
	$(BIN)/ruff format
	$(BIN)/ruff check --fix
	$(BIN)/djlint --reformat --quiet templates

words: $(VENV)/.installed-dev ## Bring the translations' catalogues up to date with the source (wants GNU gettext)
	@$(BIN)/python manage.py words

clean: ## Remove the environment, the caches and the demo's data
	rm -rf $(VENV) var .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
