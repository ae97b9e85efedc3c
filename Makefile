# The whole of linfkit, one word each: `make help` lists them.

PYTHON ?= python3
PROFILE ?= quick

ifeq ($(OS),Windows_NT)
bin := .venv/Scripts
else
bin := .venv/bin
endif

# Touched when the environment is in step with the two files that describe it: with what the notebooks
# need, or with the development tools as well.
notebooks-stamp := .venv/notebooks
dev-stamp := .venv/dev

.PHONY: help setup reproduce test test-browser test-long lint lab notebooks pages docs clean
.DEFAULT_GOAL := help

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s  %s\n", $$1, $$2 }' Makefile

setup: $(dev-stamp) ## make .venv with the pinned versions, linfkit and the development tools in it

.venv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "linfkit needs Python 3.11 or newer: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 1; }
	@echo "Making .venv with the versions of requirements.lock: about two minutes, once."
	$(PYTHON) -m venv .venv

$(notebooks-stamp): pyproject.toml requirements.lock | .venv
	$(bin)/python -m pip install --quiet -c requirements.lock -e ".[notebooks,cluster]"
	@touch $@

$(dev-stamp): pyproject.toml requirements.lock | .venv
	$(bin)/python -m pip install --quiet -c requirements.lock -e ".[dev]"
	@touch $@ $(notebooks-stamp)

reproduce: $(notebooks-stamp) ## run the notebooks, check every claim (PROFILE=quick, mnist or cifar10)
	$(bin)/linfkit reproduce --profile $(PROFILE)

test: setup ## library, documentation examples and notebooks, side by side on the cores
	$(bin)/python -m pytest --nbval -n auto

test-browser: setup ## playgrounds, pages and explorers of each kind in a real browser, every slider moved
	$(bin)/python -m pytest -m "browser and not long" -n auto tests/browser

test-long: setup ## what takes too long for every day
	$(bin)/python -m pytest -m long

lint: setup ## ruff and mypy
	$(bin)/ruff check .
	$(bin)/ruff format --check .
	$(bin)/mypy

lab: $(notebooks-stamp) ## JupyterLab on the notebooks, for this machine alone
	$(bin)/jupyter lab --ip=127.0.0.1 notebooks

notebooks: $(notebooks-stamp) ## run the quick profile and keep its outputs in notebooks/ and figures/
	$(bin)/linfkit reproduce --profile quick
	$(bin)/python -m linfkit.reproduce.publish_notebooks runs/quick

pages: setup ## the notebooks as web pages that need no kernel and no network, in _site/
	$(bin)/linfkit pages

docs: setup ## guide, course and reference as web pages that need no network, in _docs/
	$(bin)/linfkit pages notebooks --readme README.md --out _docs

clean: ## remove the environment, runs and caches
	rm -rf .venv runs dist _site _docs .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find linfkit tests -name __pycache__ -type d -prune -exec rm -rf {} +
