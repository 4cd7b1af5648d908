# Everything runs in the environments that actors/environments.py builds at the first need.
PYTHON ?= python3
ENVIRONMENTS = $(PYTHON) actors/environments.py
DRIVER = "$$($(ENVIRONMENTS) path driver)"
DEVELOP = "$$($(ENVIRONMENTS) path develop)"

.PHONY: help demo test lint environments

help:  ## this list
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' Makefile

demo: environments  ## environments and the whole flow on the embedded model, on a CPU
	$(DRIVER) -m flows run configs/experiments/smollm2-cpu.yaml

test:  ## environments and every test that needs no GPU
	@$(ENVIRONMENTS) build develop quantize inference
	@$(MAKE) --no-print-directory lint
	$(DEVELOP) -m pytest -rs --durations=25

lint:  ## style and types
	@$(ENVIRONMENTS) build develop
	$(DEVELOP) -m ruff check .
	$(DEVELOP) -m ruff format --check .
	$(DEVELOP) -m mypy configs actors flows

environments:  ## what an experiment needs, and how long it took to make
	@$(ENVIRONMENTS) build
