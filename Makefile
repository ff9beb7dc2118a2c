# One-word chores. `make demo` and `make test` work on a fresh machine with Python 3.11 and make.

PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
WITNESS := .venv-witness
STAMP := $(VENV)/.installed

.PHONY: setup demo test test-gpu test-pacs test-witness fuzz check format bench soak docs clean

setup: $(STAMP)

$(STAMP): setup.cfg pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25" -c constraints.txt
	$(BIN)/python -m pip install --quiet torch -c constraints.txt
	$(BIN)/python -m pip install --quiet -e ".[dev]" -c constraints.txt
	touch $(STAMP)

demo: setup
	$(BIN)/medssl run quick -o demo --resume

test: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2

test-gpu: setup
	MEDSSL_TEST_GPU=1 $(BIN)/python -m pytest tests/training/test_gpu.py

# Installs Orthanc and DCMTK from Debian's packages (as root, or with sudo) where they are missing; the tests start
# them on ports of this machine alone and stop them again. A policy keeps the packages from starting services.
test-pacs: setup
	tests/data/pacs/install_peers.sh
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m pacs tests/data/pacs/test_peers.py --timeout 300

# Installs dcm2niix and DCMTK from Debian's packages (as root, or with sudo) where they are missing, and other readers in
# an environment of their own. Real images are looked at where MEDSSL_REAL_DATA names their folder.
test-witness: setup
	tests/witness/install_witnesses.sh
	test -x $(WITNESS)/bin/python || $(PYTHON) -m venv $(WITNESS)
	$(WITNESS)/bin/python -m pip install --quiet -r tests/witness/requirements.txt -c constraints.txt
	MEDSSL_WITNESS=$(CURDIR)/$(WITNESS)/bin/python OMP_NUM_THREADS=1 \
	  $(BIN)/python -m pytest -m witness -s tests/witness --timeout 0

check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: setup
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

fuzz: setup
	MEDSSL_FUZZ=20000 $(BIN)/python -m pytest tests/data/readers/test_fuzz.py --timeout 0

bench: setup
	$(BIN)/python -m pytest -m bench --timeout 0

soak: setup
	$(BIN)/python -m pytest -m soak --timeout 0

clean:
	rm -rf $(VENV) $(WITNESS) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
