# `make` lists the targets.  PYTHON is the interpreter that makes the virtual environment, VENV its folder.
PYTHON ?= python3
VENV ?= .venv
PY = $(VENV)/bin/python
LVCF = $(VENV)/bin/lvcf
PIP = $(PY) -m pip --disable-pip-version-check install -q -c constraints.txt
# Quoted arguments are pytest's: make test PYTEST_ARGS="-k guidance"
PYTEST_ARGS ?=
PHANTOM = $(addprefix phantom/,autoencoder target oracle denoiser denoiser_longer)
FACE_MOTION = face_motion/autoencoder face/target motion/target face_motion/denoiser face/oracle motion/oracle

.DEFAULT_GOAL := help
.NOTPARALLEL:
.DELETE_ON_ERROR:
.PHONY: help install demo test test-slow lint weights bench clean

help:  ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1 - \2/p' Makefile

install: $(VENV)/.installed  ## make the virtual environment and install lvcf in it

demo: $(VENV)/.installed  ## simulate 8 clips, make counterfactuals, measure them, write the report
	$(LVCF) simulate echo --out runs/data/echo_demo --n 8 --seed 100
	$(LVCF) predict --config phantom.yaml
	$(LVCF) evaluate runs/phantom
	$(LVCF) report runs/phantom
	@echo "report: $(CURDIR)/runs/phantom/report.html"

# Tests reach no hub and no logging service.
test test-slow: export HF_HUB_OFFLINE = 1
test test-slow: export WANDB_MODE = offline

test: $(VENV)/.installed-dev  ## run the tests, without the slow ones
	$(PY) -m pytest -m "not slow" $(PYTEST_ARGS)

test-slow: $(VENV)/.installed-dev  ## run the slow tests
	$(PY) -m pytest -m slow $(PYTEST_ARGS)

lint: $(VENV)/.installed-dev  ## check style, format and types
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy --strict lvcf

# A finished training leaves runs/weights/.DOMAIN-PART; remove it to train the part again.
weights: $(VENV)/.installed  ## train every phantom's models from nothing and pack them into lvcf/weights (hours)
	$(LVCF) simulate echo --out runs/data/echo_train --n 2000 --seed 1
	$(LVCF) simulate echo --out runs/data/echo_train_more --n 4000 --seed 11
	$(LVCF) simulate face --out runs/data/face_train --n 800 --seed 1
	$(LVCF) simulate face --out runs/data/face_random --n 200 --seed 31 --marker random
	$(LVCF) simulate motion --out runs/data/motion_train --n 2000 --seed 1
	$(LVCF) simulate motion --out runs/data/motion_random --n 400 --seed 31 --marker random
	@mkdir -p runs/weights
	@for part in $(PHANTOM) pack/phantom $(FACE_MOTION) pack/face_motion; do \
	  done=runs/weights/.$$(echo $$part | tr / -); \
	  case $$part in pack/*) ;; *) test -e $$done && continue ;; esac; \
	  case $$part in \
	    pack/*) set -- $(PY) -m lvcf.models.pack runs/weights/$${part#pack/} lvcf/weights/$${part#pack/} ;; \
	    *) set -- $(LVCF) fit --config $$part.yaml ;; \
	  esac; \
	  echo "$$@"; \
	  "$$@" && touch $$done || exit 1; \
	done

bench: $(VENV)/.installed  ## every method on every phantom's held-out clips; tables go to benchmarks/results (hours)
	$(LVCF) simulate echo --out runs/data/echo_bench --n 64 --seed 200
	$(LVCF) simulate face --out runs/data/face_bench --n 70 --seed 200
	$(LVCF) simulate motion --out runs/data/motion_bench --n 70 --seed 200
	@mkdir -p benchmarks/results
	@for domain in phantom face motion; do \
	  $(LVCF) ablate --config ablations/$$domain.yaml || exit 1; \
	  for kind in md csv; do cp runs/ablation_$$domain/table.$$kind benchmarks/results/$$domain.$$kind; done; \
	done

clean:  ## remove .venv, caches and builds; runs/ stays
	rm -rf .venv build dist .pytest_cache .ruff_cache .mypy_cache
	find lvcf tests -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "lvcf needs Python 3.11 or newer: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PY) -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv $(VENV)
	@echo "installing lvcf into $(VENV): about 2 minutes and 6 GB the first time"
	$(PIP) -e .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	@echo "installing the development tools into $(VENV)"
	$(PIP) -e '.[dev,onnx]'
	@touch $@
