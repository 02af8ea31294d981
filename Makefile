# Everything a newcomer needs: `make demo` and `make test` set up what they use.
# Another interpreter gets an environment of its own: `make test PYTHON=python3.13`.

PYTHON ?= python3
VENV ?= .venv$(if $(filter python3,$(PYTHON)),,-$(notdir $(PYTHON)))
BIN := $(VENV)/bin
DEMO ?= runs/demo

SOAK_MINUTES ?= 120
SOAK_CONFIG ?= configs/shapes_retinanet.py
KILL_MINUTES ?= 3
FUZZ_MINUTES ?= 60

NOTEBOOKS ?= losses frameworks train torchvision

.PHONY: help setup test test-slow test-tfds test-onnx test-litert test-browser lint peers demo \
	notebooks findings tables soak fuzz wheel docs clean

help:
	@echo "make demo   train a small RetinaNet, print its AP, draw pictures into $(DEMO)"
	@echo "make test   run the tests          (make test PYTHON=python3.13 on another Python)"
	@echo "make lint   ruff and mypy"
	@echo "make docs   the pages of docs/ and the reference, into site/"
	@echo "make notebooks  run the notebooks, each with a short schedule"
	@echo "make findings  what other libraries do unexpectedly, run anew (findings/README.md)"
	@echo "make tables  what tools write and what metric libraries say, as in docs/data.md and evaluation.md"
	@echo "make wheel  wheel and sdist in dist/, checked and tried in empty environments"
	@echo "make soak   train for SOAK_MINUTES=$(SOAK_MINUTES) with random kills, compare the bits"
	@echo "make fuzz   read broken files of every format for FUZZ_MINUTES=$(FUZZ_MINUTES)"
	@echo "make setup  create $(VENV) with everything the others need"

setup: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		--constraint constraints.txt --editable '.[dev]'
	@touch $@

# Two test processes: with eight virtual devices each, more do not help two cores.
test: setup
	$(BIN)/python -m pytest -n 2 --dist loadfile -m 'not slow and not browser'

test-slow: setup
	$(BIN)/python -m pytest -m slow

# Preparing data sets with the builders of TFDS takes TensorFlow; reading them does not.
test-tfds:
	$(MAKE) setup VENV=.venv-tfds
	.venv-tfds/bin/python -m pip install --quiet tensorflow importlib_resources
	.venv-tfds/bin/python -m pytest tests/data/sources/test_tfds.py

# The converter to ONNX is no dependency of anything else; with -rP what it prints is shown.
test-onnx:
	$(MAKE) setup VENV=.venv-onnx
	.venv-onnx/bin/python -m pip install --quiet --disable-pip-version-check \
		jax2onnx==0.17.1 onnxruntime==1.32.0 openvino==2026.4.1
	.venv-onnx/bin/python -m pytest -rP tests/export/test_onnx_program.py

# From torchvision's weights to LiteRT, in an environment of its own.
test-litert: setup
	$(PYTHON) -m venv .venv-litert
	.venv-litert/bin/python -m pip install --quiet --disable-pip-version-check \
		litert-torch==0.10.0 torch==2.14.1 torchvision==0.29.1 safetensors==0.8.0
	$(BIN)/python -m pytest -m slow tests/parity/test_litert.py -rP

# Takes Chromium and its driver on PATH: apt-get install chromium chromium-driver.
test-browser:
	$(MAKE) setup VENV=.venv-browser
	.venv-browser/bin/python -m pip install --quiet --disable-pip-version-check selenium==4.51.0
	.venv-browser/bin/python -m pytest -m browser tests/report tests/site

lint: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

# What experiments.benchmark and the slow tests compare with, in an environment of its own.
peers:
	$(PYTHON) -m venv .venv-peers
	.venv-peers/bin/python -m pip install --quiet --disable-pip-version-check \
		torch==2.14.1 torchvision==0.29.1 numpy safetensors==0.8.0

demo: setup
	$(BIN)/python -m experiments.train --config=configs/shapes_retinanet.py --workdir=$(DEMO)
	$(BIN)/python -m experiments.evaluate --workdir=$(DEMO)
	$(BIN)/python -m experiments.draw --workdir=$(DEMO)

# Executed copies, with their figures, are in runs/notebooks.
notebooks: setup
	$(BIN)/python -m notebooks.execute $(NOTEBOOKS)

# Each makes an environment of its own; a failure does not end the others.
findings:
	@failed=; for script in findings/*.sh; do \
		echo "== $$script"; "$$script" || failed="$$failed $$script"; \
	done; \
	if [ -n "$$failed" ]; then echo "Failed:$$failed"; exit 1; fi; echo "All findings hold."

# The tables of docs/data.md ("Exports of annotation tools") and docs/evaluation.md, made anew, with
# GROUND_TRUTH=truth.json and RESULTS=found.json also for real detections in COCO's formats.
tables: setup
	$(BIN)/python -m pytest -q -rP tests/data/sources/test_tool_exports.py
	$(BIN)/python -m experiments.benchmark libraries \
		$(if $(GROUND_TRUTH),--ground_truth=$(GROUND_TRUTH) --results=$(RESULTS))

# Long runs, outside the tests: docs/results/long_runs.md has what they found.
soak: setup
	$(BIN)/python -m experiments.soak --minutes=$(SOAK_MINUTES) --kill_minutes=$(KILL_MINUTES) \
		--config=$(SOAK_CONFIG) --workdir=runs/soak_$$(date +%Y%m%d_%H%M%S)

fuzz: setup
	$(BIN)/python -m experiments.fuzz --minutes=$(FUZZ_MINUTES) --corpus=runs/fuzz

# In empty environments of their own; twine says whether PyPI shows the README.
wheel: setup
	rm -rf dist
	$(BIN)/python -m experiments.release --output=dist
	$(PYTHON) -m venv .venv-wheel
	.venv-wheel/bin/python -m pip install --quiet --disable-pip-version-check \
		twine==7.0.0 'readme_renderer[md]==46.0'
	.venv-wheel/bin/python -m twine check --strict dist/*

# Stops at every warning; with --quiet it would at none. The variable keeps mkdocs-material from
# telling of its successor.
docs: setup
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

clean:
	rm -rf $(DEMO)
