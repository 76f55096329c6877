# `make run`: the whole workflow on the mini benchmark.  `make test`: lint, types, import contracts, fast tests.
# Needs Python 3.11 to 3.13 with venv, git, and a package index that pip reaches; all else comes into .venv.

UV_VERSION := 0.13.8
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.made-from-lock
UV_INSTALL := $(BIN)/uv pip install $(if $(MAKE_TERMERR),,--quiet) --python $(BIN)/python
PYTEST_WORKERS ?= 2

# The first of these that is a supported Python; PYTHON=... replaces it.
PYTHON ?= $(shell for name in python3 python3.13 python3.12 python3.11; do \
	$$name -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null \
	&& { echo $$name; break; }; done)

export DVC_NO_ANALYTICS := 1
export MLFLOW_DISABLE_TELEMETRY := true
# Every step is a process of its own: without cached bytecode each would compile all it imports.
unexport PYTHONDONTWRITEBYTECODE

# The test scenes that `make shipped` puts into the package; together they show all unseen classes.
SHIPPED := cascade_core/shipped
PICTURES := 0005 0013 0027 0030 0033 0037
WORLDS := local_outputs/worlds

.PHONY: run test lint types contracts unit reliability audit slow browser docs notebook benchmark results format lock images mini-data shipped data-push generated clean help

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 14

run: $(STAMP) ## make the environment, run the workflow's changed stages, print its table
	$(BIN)/cascade-clip run

test: lint types contracts unit ## everything that must hold before a change goes in

lint: $(STAMP) ## style and formatting
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: $(STAMP) ## type check
	$(BIN)/mypy

contracts: $(STAMP) ## check which package imports which
	$(BIN)/lint-imports

unit: $(STAMP) ## fast tests, the whole workflow in small among them
	$(BIN)/pytest -n $(PYTEST_WORKERS) --dist loadscope --no-loadscope-reorder -m "not slow and not gpu and not real_data and not postgres and not swift and not reliability and not browser and not docs and not notebook"

reliability: $(STAMP) ## the figures of docs/reliability.md (hours)
	$(BIN)/pytest -m reliability --capture=no

audit: $(STAMP) ## compare the locked dependencies with published advisories (needs osv.dev)
	$(BIN)/python -m tests.reliability.audit

slow: $(STAMP) ## the tests that `make test` leaves out; they skip if a GPU, server or data are missing
	$(BIN)/pytest -m "slow or gpu or real_data or postgres or swift"

browser: $(STAMP) ## the pages in a browser; skipped without Debian's chromium (apt-get install chromium)
	$(BIN)/pytest -m browser

docs: $(STAMP) ## run every command block of README and docs that can run here (after `make run`; minutes)
	$(BIN)/pytest -m docs

notebook: $(STAMP) ## run the notebook from top to bottom (minutes)
	$(BIN)/pytest -m notebook

benchmark: $(STAMP) ## rerun every recipe over seeds and compare with the last accepted results (about an hour)
	$(BIN)/cascade-clip benchmark run

format: $(STAMP) ## fix style and formatting
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

generated: $(STAMP) ## generate dvc.yaml, Kubeflow's components and docs/commands.md from the steps and commands
	$(BIN)/python -m components.ops.write
	$(BIN)/python -m pipelines.workstation.dvc_file
	$(BIN)/python -m pipelines.cli.commands_page

lock: $(STAMP) ## resolve the dependencies anew, keeping versions that still fit
	$(BIN)/uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 \
		--no-annotate --no-header --no-emit-index-url --output-file requirements.lock

images: ## build the container images: torch, and light for steps without a model (IMAGES=light: that one alone)
	sh components/images/build.sh $(IMAGES)

results: $(STAMP) ## make the tables of docs/results anew, but those of choices.md and plus_choice.md; resumes, and prints for each how long it takes (about 9 hours on 2 cores at most)
	$(BIN)/cascade-clip run text_vectors
	$(BIN)/cascade-clip mini-results
	$(BIN)/cascade-clip ablation
	$(BIN)/cascade-clip ablation plug_in plus plus_projections --seeds 0,1,2,3,4,5,6,7,8,9
	for seed in 1 2; do \
		test -d $(WORLDS)/$$seed || $(BIN)/cascade-clip mini-data --seed $$seed --out $(WORLDS)/$$seed || exit 1; \
		test -d $(WORLDS)/$$seed/clip || $(BIN)/cascade-clip pretrain --seed $$seed --out $(WORLDS)/$$seed/clip || exit 1; \
	done
	$(BIN)/cascade-clip mini-worlds --world data/mini --world $(WORLDS)/1 --world $(WORLDS)/2
	test -d $(WORLDS)/hard || $(BIN)/cascade-clip mini-data --world hard --out $(WORLDS)/hard
	test -d $(WORLDS)/drawn || $(BIN)/cascade-clip mini-data --world hard-drawn --out $(WORLDS)/drawn
	$(BIN)/cascade-clip mini-hard-results --raw $(WORLDS)/hard --drawings $(WORLDS)/drawn --seeds 0,1,2,3,4

mini-data: $(STAMP) ## draw the mini benchmark's pictures and pretrain its CLIP from scratch (up to 40 minutes)
	rm -rf build/mini
	$(BIN)/cascade-clip mini-data --out build/mini
	$(BIN)/cascade-clip pretrain --out build/mini/clip
	mkdir -p data && rm -rf data/mini && mv build/mini data/mini
	$(MAKE) data-push

shipped: $(STAMP) ## put the model that `make run` trained, and pictures, into the package (below 3 MB)
	$(BIN)/cascade-clip export outputs/self_train/cascade_clip/final --format folder --half --out $(SHIPPED)/mini
	rm -rf $(SHIPPED)/pictures && mkdir $(SHIPPED)/pictures
	for number in $(PICTURES); do \
		cp data/mini/VOCdevkit/VOC2012/JPEGImages/test_$$number.jpg $(SHIPPED)/pictures/scene_$$number.jpg || exit 1; \
	done

data-push: $(STAMP) ## record data/ with DVC and push it to the committed store, without older versions
	$(BIN)/dvc add data
	rm -rf dvc-store
	$(BIN)/dvc push data.dvc

clean: ## remove all outputs and caches, but not the environment and the data
	rm -rf outputs reports mlruns local_outputs build dvc.lock .dvc/tmp .pytest_cache .mypy_cache .ruff_cache \
		.hypothesis .import_linter_cache
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +

$(STAMP): requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "error: no Python 3.11, 3.12 or 3.13 found; install one, or name it: make $(MAKECMDGOALS) PYTHON=/path/to/python" >&2; exit 2; }
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' \
		|| { echo "error: $(PYTHON) is not Python 3.11, 3.12 or 3.13" >&2; exit 2; }
	@echo "making the environment in $(VENV) (some minutes, about 6 GB)"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "uv==$(UV_VERSION)"
	$(UV_INSTALL) --requirement requirements.lock
	$(UV_INSTALL) --no-deps --no-build-isolation --editable .
	@touch $@
