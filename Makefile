# make help      these lines
# make demo      install, convert the demo network to int8, classify a bundled picture
# make test      install what the tests need, run them
# make test-arm  the runtime on an emulated Arm processor (needs apt)
# make test-gpu  the runtime on a GPU made of software (needs apt)
# make test-device  irv2-drift and irv2-benchmark --device, against OpenSSH servers on this machine (needs apt);
#                   IRV2_ARM_IMAGES=300 asks the emulated one as many pictures as the other: half an hour
# make test-browser  the report's page and the site in Chromium (needs apt)
# make test-clients  the artifacts in MediaPipe, every LiteRT, and other programs of others (from PyPI)
# make test-origins  models made by TensorFlow 2.4 to current (needs Python 3.8 to 3.11; from PyPI);
#                    IRV2_ORIGINS_QUICK=1 for a sample
# make fuzz      thousands of hostile model and picture files, runs stopped at any moment; make test has some of each
# make bench     ours beside its peers: time and memory, into benchmarks/RESULTS.md; BENCH=--quick for a sample
# make docs      the documentation as a site in build/site, with warnings as errors
# make docs-serve  the same in a browser, at the address that it prints
# make lint      ruff, mypy, and codespell

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV := $(shell command -v uv)
INSTALL := $(if $(UV),$(UV) pip install --python $(BIN)/python,$(BIN)/python -m pip install --disable-pip-version-check --progress-bar on)
PARALLEL := --numprocesses auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder
PICTURE := calibration_data/validation/bag/test_00429.png

.PHONY: demo help test test-fast test-arm test-gpu test-device test-browser test-clients test-origins fuzz bench docs docs-serve lint clean

demo: $(VENV)/convert-cpu
	@echo "converting the bundled network and judging it on 1,000 images: a few minutes"
	$(BIN)/irv2-convert --quantize int8
	$(BIN)/irv2-predict build/irv2-demo.int8.tflite $(PICTURE)
	@echo "the commands are in $(BIN): . $(BIN)/activate makes them known to this shell"
	@echo "your own network: docs/first-conversion.md"

help:
	@sed -n 's/^# \(make\|    \)/\1/p' Makefile

test: $(VENV)/dev
	$(BIN)/python -m pytest $(PARALLEL)

test-fast: $(VENV)/dev
	$(BIN)/python -m pytest $(PARALLEL) -m "not slow and not arm and not gpu and not browser and not fuzz and not clients and not origins and not device"

test-arm test-gpu test-device: test-%: $(VENV)/dev
	$(BIN)/python -m pytest tests/devices -m $*

test-browser: $(VENV)/dev $(VENV)/docs
	$(BIN)/python -m pytest tests/browser -m browser

test-clients: $(VENV)/dev
	$(BIN)/python -m pytest tests/clients -m clients

test-origins: $(VENV)/dev
	$(BIN)/python -m pytest tests/origins -m origins

fuzz: $(VENV)/dev
	$(BIN)/python -m pytest tests/hostile tests/interrupted -m fuzz

bench: $(VENV)/dev
	$(BIN)/python benchmarks/bench.py $(BENCH)

docs: $(VENV)/docs
	$(BIN)/python scripts/build_docs.py

docs-serve: $(VENV)/docs
	$(BIN)/python scripts/build_docs.py serve

lint: $(VENV)/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/codespell

# uv where it is there, which is several times as fast; both say what they are doing. Neither compiles what is editable, as
# they do what they install, and where Python is told to write no bytecode every start would compile it again.
$(VENV)/%: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || \
		{ echo "irv2-edge needs Python 3.11 to 3.13, and $(PYTHON) is not: pass another, as in make $(or $(MAKECMDGOALS),demo) PYTHON=python3.12" >&2; exit 1; }
	@echo "installing irv2-edge[$*] into $(VENV): TensorFlow and what it needs, a few minutes the first time"
	@test -x $(BIN)/python || $(if $(UV),$(UV) venv --quiet --seed --python $(PYTHON) $(VENV),$(PYTHON) -m venv $(VENV))
	$(INSTALL) --editable '.[$*]'
	@$(BIN)/python -m compileall -q calibration_data convert edge_runtime
	@touch $@

clean:
	rm -rf $(VENV) build dist
