# make demo      install, convert the demo network to int8, classify a bundled picture
# make test      install what the tests need, run them
# make test-arm  the runtime on an emulated Arm processor (needs apt)
# make test-gpu  the runtime on a GPU made of software (needs apt)
# make test-device  irv2-drift --device against an OpenSSH server on this machine (needs apt)
# make test-browser  the report's page in Chromium (needs apt)
# make test-clients  the artifacts in MediaPipe, every LiteRT, and other programs of others (from PyPI)
# make test-origins  models made by TensorFlow 2.4 to current (needs Python 3.8 to 3.11; from PyPI);
#                    IRV2_ORIGINS_QUICK=1 for a sample
# make fuzz      thousands of hostile model and picture files, runs stopped at any moment; make test has some of each
# make bench     ours beside its peers: time and memory, into benchmarks/RESULTS.md; BENCH=--quick for a sample
# make lint      ruff and mypy

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PARALLEL := --numprocesses auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder
PICTURE := calibration_data/validation/bag/test_00429.png

.PHONY: demo test test-fast test-arm test-gpu test-device test-browser test-clients test-origins fuzz bench lint clean

demo: $(VENV)/convert
	$(BIN)/irv2-convert --quantize int8
	$(BIN)/irv2-predict build/irv2-demo.int8.tflite $(PICTURE)

test: $(VENV)/dev
	$(BIN)/python -m pytest $(PARALLEL)

test-fast: $(VENV)/dev
	$(BIN)/python -m pytest $(PARALLEL) -m "not slow and not arm and not gpu and not browser and not fuzz and not clients and not origins and not device"

test-arm test-gpu test-device: test-%: $(VENV)/dev
	$(BIN)/python -m pytest tests/devices -m $*

test-browser: $(VENV)/dev
	$(BIN)/python -m pytest tests/browser -m browser

test-clients: $(VENV)/dev
	$(BIN)/python -m pytest tests/clients -m clients

test-origins: $(VENV)/dev
	$(BIN)/python -m pytest tests/origins -m origins

fuzz: $(VENV)/dev
	$(BIN)/python -m pytest tests/hostile tests/interrupted -m fuzz

bench: $(VENV)/dev
	$(BIN)/python benchmarks/bench.py $(BENCH)

lint: $(VENV)/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

$(VENV)/%: pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[$*]'
	@touch $@

clean:
	rm -rf $(VENV) build dist
