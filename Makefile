# make demo    audit a small model on a data set that comes with scikit-learn; the report lands in runs/demo
# make test    every test, the slow ones too
# make soak    what takes longer: full counts of fuzzing, load, faults; the result lands in benchmarks/soak.json
# make lint    style, types, and which room may import which
# make docs    the pages of docs/ as a site, and the reference from the docstrings; begins at build/docs/index.html
# make bench   speed against the floor
# make clean   remove the virtual environment and all caches; runs/ stays

VENV := .venv
BIN := $(VENV)/bin
CONSTRAINTS := constraints.txt
# Most of the time of an installation is compiling, which pip does on one core, and this on all. What does not compile
# (templates, say) is left as it is, as pip leaves it.
INSTALL := $(BIN)/python -m pip install --no-compile -c $(CONSTRAINTS) -e
COMPILE := $(BIN)/python -m compileall -qq -j 0 $(VENV)/lib || true
# Processes that tests start need not compile Salus again, also where the environment says that Python keeps nothing.
export PYTHONDONTWRITEBYTECODE :=
DEMO := $(BIN)/salus audit --data breast-cancer --false-alarm-rate 0.05 --threat-model white-box \
	--threat-model transfer --threat-model oblivious --threat-model adaptive --out runs/demo

# The first Python from 3.10 up that runs and can make a virtual environment; `make PYTHON=...` chooses another.
CHECK := import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 10))
PYTHON ?= $(shell for python in python3.11 python3 python3.12 python3.13 python3.10; do \
	"$$python" -c '$(CHECK)' >/dev/null 2>&1 && { echo "$$python"; break; }; done)

.PHONY: demo test soak lint docs bench clean
.DELETE_ON_ERROR:

demo: $(VENV)/.installed
	$(DEMO)

test: $(VENV)/.installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal

soak: $(VENV)/.installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python tests/soak.py

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict
	$(BIN)/lint-imports

# Every page anew (-E -a), as pages that did not change are not warned of again; every warning an error (-W).
docs: $(VENV)/.installed-docs
	rm -rf build/docs
	$(BIN)/python -m sphinx -E -a -W --keep-going -q -d build/doctrees -c docs . build/docs

bench: $(VENV)/.installed-dev
	$(BIN)/python benchmarks/import_time.py
	$(BIN)/python benchmarks/pgd.py
	$(BIN)/python benchmarks/idefender.py

clean:
	rm -rf $(VENV) build dist src/*.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache docs/reference/salus*.md
	find src tests benchmarks docs -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.made:
	@test -n "$(PYTHON)" || { echo "Salus needs Python 3.10 or newer with venv; found none on the PATH." >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	touch $@

$(VENV)/.installed: $(VENV)/.made pyproject.toml $(CONSTRAINTS)
	$(INSTALL) '.[serve]'
	$(COMPILE)
	touch $@

$(VENV)/.installed-dev: $(VENV)/.made pyproject.toml $(CONSTRAINTS)
	$(INSTALL) '.[images,serve,ray,dev]'
	$(COMPILE)
	touch $@ $(VENV)/.installed

$(VENV)/.installed-docs: $(VENV)/.made pyproject.toml $(CONSTRAINTS)
	$(INSTALL) '.[docs]'
	$(COMPILE)
	touch $@ $(VENV)/.installed
