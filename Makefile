# One virtual environment, one constraints file, the same commands for people and CI.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
export MLFLOW_DISABLE_TELEMETRY = true
export GX_ANALYTICS_ENABLED = false
export DO_NOT_TRACK = 1
export HF_HUB_DISABLE_TELEMETRY = 1

.PHONY: demo test smoke e2e check bench drill compile lint manifests lock clean

# What comes from a package index comes with the hashes of .ci/locks/. PyTorch alone has its version pinned and no hash: which of
# its builds it is, with CUDA or without, is for your pip's settings to say.
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check
LOCKED := install --require-hashes --no-deps --use-pep517 --no-build-isolation

$(BIN)/.installed: pyproject.toml constraints.txt .ci/locks/build.txt .ci/locks/serving.txt .ci/locks/trainer.txt .ci/locks/dev.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Sluice needs Python 3.11 or newer; name one with make PYTHON=python3.11")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) $(LOCKED) -r .ci/locks/build.txt
	$(PIP) $(LOCKED) -r .ci/locks/serving.txt -r .ci/locks/trainer.txt -r .ci/locks/dev.txt
	$(PIP) install --no-warn-conflicts torch -c constraints.txt
	$(PIP) install --no-deps --no-build-isolation -e .
	@touch $@

demo: $(BIN)/.installed
	$(BIN)/sluice demo

# make test COVER=1: the same while coverage looks on, half as long again; it fails under what pyproject.toml says.
test: $(BIN)/.installed
	$(BIN)/python -m pytest -q -n 2 --dist loadfile $(if $(COVER),--cov --cov-report=term)

# Of the slow tests the few that a change waits for: a small release a task, a drill a mode.
smoke: $(BIN)/.installed
	$(BIN)/python -m pytest -q -m smoke -n 2 --dist loadfile

# All of them, one after the other: nightly, and before an issue is closed.
e2e: $(BIN)/.installed
	$(BIN)/python -m pytest -q -m e2e

lint: $(BIN)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

compile: $(BIN)/.installed
	$(BIN)/sluice compile

# Nothing is applied. All overlays and combinations of components, or one overlay: make manifests OVERLAY=staging
manifests: $(BIN)/.installed
	$(BIN)/python -m manifests.check $(OVERLAY)

# What lands a change. Compiling is among the tests.
check: lint test manifests smoke

bench: $(BIN)/.installed
	$(PIP) $(LOCKED) -r .ci/locks/bench.txt
	$(BIN)/python -m load_tests.bench
	$(BIN)/python -m load_tests.bench.speech

drill: $(BIN)/.installed
	$(BIN)/python -m components.rollout.drill --system codebase

# After a change of pyproject.toml or constraints.txt: the locks again, from the package index.
lock: $(BIN)/.installed
	$(PIP) install uv -c constraints.txt
	$(BIN)/python .ci/locks/make.py

clean:
	rm -rf $(VENV) .sluice build
