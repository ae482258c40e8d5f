# `make demo` and `make test` are all a new user needs; both make their own environment.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
OPTIONAL ?= .venv-optional
OUT ?= demo-output
# Processes of one thread each: BLAS threads inside them would fight over the cores.
export OMP_NUM_THREADS ?= 1

.PHONY: demo models pictures test slow cluster-test optional-test lint docs wheels lock clean

demo: $(VENV)/.ready
	$(BIN)/tnt-coffea demo --out $(OUT)

# The packaged taggers are the demo's; the same machine gives the same bytes.
models: demo
	rm -rf models/rnd-3500
	mkdir -p models/rnd-3500
	cp -r $(OUT)/train/autoencoder $(OUT)/train/tnt models/rnd-3500/

# The demo's plots that the documentation shows.
pictures: demo
	$(BIN)/python docs/pictures.py $(OUT)

test: $(VENV)/.ready lint
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

slow: $(VENV)/.ready
	$(BIN)/python -m pytest -m slow

# A whole search, and the faults of a batch system, on a Slurm of one node on loopback (20 min).
cluster-test: $(VENV)/.ready
	command -v slurmctld >/dev/null || { \
	  test "$$(id -u)" = 0 && command -v apt-get >/dev/null \
	    || { echo "Slurm is missing; on Debian: apt-get install slurm-wlm munge (as root)" >&2; exit 1; }; \
	  apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y slurm-wlm munge; }
	command -v condor_submit >/dev/null \
	  || { test "$$(id -u)" = 0 && DEBIAN_FRONTEND=noninteractive apt-get install -y htcondor; } \
	  || echo "HTCondor is not here and has no package to install: nothing of it is run" >&2
	$(BIN)/python -m pytest -m cluster --numprocesses 0 tests/clusters

# What optional packages are for, in an environment of its own; uv resolves it, pip took half an hour. A test that is
# skipped there fails; without real data PocketCoffea's is left out, without a server xrootd's.
OPTIONAL_TESTS := parsl or pocketcoffea or server or hs3_has or preprocessed or (scripts_run and frameworks)

optional-test:
	$(MAKE) VENV=$(OPTIONAL) $(OPTIONAL)/.ready
	$(OPTIONAL)/bin/python -m pip install --quiet --disable-pip-version-check uv
	$(OPTIONAL)/bin/uv pip install --quiet --python $(OPTIONAL) \
	  --editable '.[dask,parsl,remote,hs3]' dask-awkward 'law>=0.1.21' luigi omegaconf 'moto[server,s3]'
	$(OPTIONAL)/bin/uv pip install --quiet --python $(OPTIONAL) --no-deps pocket-coffea
	command -v xrootd >/dev/null || test "$$(id -u)" != 0 || ! command -v apt-get >/dev/null || { \
	  apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y xrootd-server; }
	chosen="$(OPTIONAL_TESTS)"; \
	command -v xrootd >/dev/null || chosen="($$chosen) and not xrootd"; \
	test -n "$$TNT_COFFEA_TEST_DATA" || chosen="($$chosen) and not pocketcoffea"; \
	TNT_COFFEA_NO_SKIPS=1 $(OPTIONAL)/bin/python -m pytest -m "slow or not slow" -k "$$chosen" tests/test_frameworks.py \
	  tests/test_docs.py tests/events/test_remote_servers.py tests/stats/test_systematics.py tests/processors/test_roads.py

lint: $(VENV)/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(VENV)/.ready
	$(BIN)/python -m sphinx -W --keep-going -b html docs docs/_build/html

# Whether every locked dependency has a wheel for the Pythons that are not run here.
wheels: $(VENV)/.ready
	for version in 3.11 3.12 3.13; do \
	  $(BIN)/python -m pip install --quiet --dry-run --no-deps --target $(VENV)/none \
	    --only-binary :all: --python-version $$version --requirement requirements.lock \
	    && echo "Python $$version: a wheel for every locked dependency" || exit 1; \
	done

# One lock with one version of each package for Python 3.11 to 3.13; uv resolves it.
lock: $(VENV)/.ready
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --fork-strategy fewest \
	  --no-header --no-annotate --quiet --output-file requirements.lock

$(VENV)/.ready: requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed: make PYTHON=python3.11")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	touch $@

clean:
	rm -rf $(VENV) $(OPTIONAL) $(OUT) build dist *.egg-info
