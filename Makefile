# Thin on purpose: the logic lives in `vmvc setup` and tox.ini.
PYTHON ?= python3
PROFILE ?= standard
ARGS ?=
BIN := .venv/bin

.PHONY: claims quick test lint clean

claims: .venv/stamp ## measure, judge and write the report: make claims [PROFILE=quick] [ARGS='-k boot']
	@start=$$(date +%s); $(BIN)/vmvc setup --yes && $(BIN)/pytest --vmvc --vmvc-profile=$(PROFILE) $(ARGS); \
	status=$$?; echo "make claims: $$(( $$(date +%s) - start )) s"; exit $$status

quick: ## the same with fewer samples
	@$(MAKE) claims PROFILE=quick

test: .venv/stamp ## the project's own tests, with the real backends
	@start=$$(date +%s); $(BIN)/vmvc setup --yes && $(BIN)/tox run -e py -- $(ARGS); \
	status=$$?; echo "make test: $$(( $$(date +%s) - start )) s"; exit $$status

lint: .venv/stamp ## style, types, layers
	@$(BIN)/tox run -e lint

clean: .venv/stamp ## destroy what broken-off runs have left behind
	@$(BIN)/vmvc clean

.venv/stamp: pyproject.toml .ci/venv
	@PYTHON="$(PYTHON)" .ci/venv
