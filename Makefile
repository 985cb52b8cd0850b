# `make help` lists the targets. Nothing has to be set up first: each makes what it needs.
#
#   make test PYTHON=python3.13 VENV=.venv-3.13     another interpreter
#   make test T="-k descriptors -x"                 options for pytest
#   make degrade ROW=proc                           one row of what may be missing
#   make programs PROGRAM="pip meson"           some of the programs
#   make conformance P=3.13 K=timeout               one interpreter; tests with this in their names
#   make bench B="--quick --rows static"            options for the benchmark
#   make fuzz FUZZ_SECONDS=60                       for how long
#   make soak N=1000000                             how many spawns

PYTHON ?= python3
VENV ?= .venv
CROSS ?= aarch64-linux-gnu-
T ?=
B ?=
F ?=
FUZZ_SECONDS ?= 600
N ?= 100000
S ?=
P ?=
K ?=
C ?=
ROW ?=
PROGRAM ?=

FAULTS = build/faults/lib
PY = $(VENV)/bin/python
PIP = $(PY) -m pip --quiet --disable-pip-version-check --no-input

C_FILES = $(wildcard csrc/*.c bench/floor/*.c tests/children/*.c tests/fuzz/*.c \
	tests/soak/*.c)
C_HEADERS = $(wildcard csrc/*.h bench/floor/*.h)
# Wrong on purpose: only its layout is checked.
C_PLANTED = tests/sanitize/planted.c
PACKAGE = $(wildcard src/spawnkit/*.py* src/spawnkit/*/*.py src/spawnkit/*/*/*.py)
NATIVE = $(wildcard csrc/*.[ch]) csrc/build.py setup.py pyproject.toml
STRICT = -std=gnu11 -O2 -fPIC -fvisibility=hidden \
	-Wall -Wextra -Wshadow -Wmissing-prototypes -Werror

.DELETE_ON_ERROR:
.PHONY: all help build demo test test-all faults faults-loop faults-poor faults-strace \
	faults-memory coverage fuzz sanitize degrade conformance programs soak zoo many comparator bench \
	latency bench-suite adapters adapters-bench check \
	check-python check-c check-child check-aarch64 format wheel clean strace

all: build help

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

# ---- building -----------------------------------------------------------------------------------
# A stamp per step. The compiled module lies in src/spawnkit: Python files need no new build, and a
# changed C file gets one.

build: $(VENV)/.built ## the virtual environment, and the package in it (editable)

$(VENV)/.made:
	@.ci/needs $(PYTHON) $(CC)
	@echo "making $(VENV)"
	@$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.built: $(VENV)/.made $(NATIVE)
	@echo "building spawnkit"
	@$(PIP) install --editable .
	@touch $@

# What an extra of pyproject.toml names. The package itself is there already.
$(VENV)/.with-%: $(VENV)/.built
	@echo "installing what '$*' needs"
	@$(PIP) install 'spawnkit[$*]'
	@touch $@

# ---- running ------------------------------------------------------------------------------------

demo: $(VENV)/.built ## real commands over real input, through subprocess and through spawnkit
	@$(PY) -m bench.demo

test: $(VENV)/.with-test $(FAULTS)/.built strace ## the tests
	@$(PY) -m pytest $(T)

test-all: $(VENV)/.with-release strace ## the tests under every Python from 3.10 on that is found
	@.ci/test-all $(PY) $(T)

# Without it the tests that count system calls are skipped, and say so.
strace:
	@command -v strace >/dev/null || .ci/fetch strace

# The package once more, with faults in its C core (csrc/fault.h). What is installed has none.
$(FAULTS)/.built: $(VENV)/.with-test $(NATIVE) $(PACKAGE)
	@echo "building spawnkit with faults in it"
	@mkdir -p build
	@SPAWNKIT_FAULTS=1 $(PY) setup.py -q build --build-base build/faults --build-lib $(FAULTS) \
		>build/faults.log 2>&1 || { cat build/faults.log; false; }
	@touch $@

# Lines and branches of csrc/ that tests and faults reach, those of error handling included. Many
# processes count; the files beside the objects add it up. Left out are tests that start other
# builds or count memory.
COUNTED = build/coverage/lib
COUNTED_TESTS = $(filter-out $(patsubst %,tests/test_%.py,fuzz sanitize comparator degrade_rows \
	faults faults_outside soak no_memory),$(wildcard tests/test_*.py))

coverage: $(VENV)/.with-test $(VENV)/.with-coverage strace ## how much of the C core is reached (15 min)
	@rm -rf build/coverage
	@SPAWNKIT_FAULTS=1 LDFLAGS=--coverage SPAWNKIT_CFLAGS="--coverage -fprofile-update=atomic -Og \
		-DSK_UNCOUNTED=noinline -DSPAWNKIT_COVERAGE" $(PY) setup.py -q build --build-base \
		build/coverage --build-lib $(COUNTED) >build/coverage.log 2>&1 || \
		{ cat build/coverage.log; false; }
	-@PYTHONPATH=tests/coverage:$(COUNTED) $(PY) -m pytest -q $(or $(T),$(COUNTED_TESTS))
	-@PYTHONPATH=tests/coverage:$(COUNTED):tests $(PY) -m faults.loop $(F)
	-@PYTHONPATH=tests/coverage:$(COUNTED):tests $(PY) -m faults.poor
	@$(PY) -m gcovr --root . --filter csrc/ --exclude csrc/fault --exclude csrc/coverage --exclude-throw-branches \
		--txt-metric branch --txt - --txt-summary build/coverage

faults: faults-loop faults-poor faults-strace faults-memory ## every call fails once: the next four

faults-loop: $(FAULTS)/.built ## system calls, by the core itself, in every use; F="--help" for more
	@PYTHONPATH=$(FAULTS):tests $(PY) -m faults.loop $(F)

faults-poor: $(FAULTS)/.built ## the same where something else is missing already
	@PYTHONPATH=$(FAULTS):tests $(PY) -m faults.poor

faults-strace: $(VENV)/.with-test strace ## system calls, under strace, of the package as installed
	@PYTHONPATH=tests $(PY) -m faults.strace $(F)

faults-memory: $(VENV)/.with-test ## allocations, Python's and C's
	@PYTHONPATH=tests $(PY) -m faults.memory $(F)

# Without clang the same targets run without coverage to guide them, and the run says so.
adapters: $(VENV)/.with-adapters ## SCons, waf and invoke themselves, with the adapters and without
	@$(PY) -m pytest tests/adapters $(T)

fuzz: $(VENV)/.with-test ## input by chance against models; FUZZ_SECONDS=600, F="--help" for more
	@command -v clang >/dev/null || command -v clang-16 >/dev/null || .ci/fetch clang-16
	@PYTHONPATH=tests $(PY) -m fuzz.campaign --seconds $(FUZZ_SECONDS) $(F)

soak: $(VENV)/.built ## N spawns in a storm of signals, reused pids, and more; S="--help"
	@PYTHONPATH=tests $(PY) -m soak --spawns $(N) $(S)

zoo: $(VENV)/.with-test ## programs that do not want to end: how long each call took, who is left
	@PYTHONPATH=tests $(PY) tests/test_zoo.py

many: $(VENV)/.built ## a thousand children with captured output at once: what each costs
	@$(PY) -m bench.many

# Builds of its own, below build/sanitize. S="thread -- tests/test_waiting.py" is one tool, one file.
sanitize: $(VENV)/.with-check $(VENV)/.with-test ## the tests under ASan+UBSan+LSan, TSan, valgrind
	@command -v valgrind >/dev/null || .ci/fetch valgrind
	@PYTHONPATH=tests $(PY) -m sanitize $(S)

degrade: $(FAULTS)/.built strace ## the tests where something is refused; ROW=name for one row
	@command -v valgrind >/dev/null || .ci/fetch valgrind
	@PYTHONPATH=tests $(PY) -m degrade $(ROW)

conformance: $(VENV)/.with-release ## CPython's own tests through spawnkit; P=3.13, K=part of a name, C="--help"
	@PYTHONPATH=tests $(PY) -m conformance $(P:%=-p %) $(K:%=-k %) $(C)

# The programs have an environment of their own. Each Python that they start, in whatever environment,
# finds spawnkit in one directory, and pip finds what it may install in another.
PROGRAMS = build/programs

programs: $(PROGRAMS)/.made strace ## pip, pytest-xdist, IPython, meson, … with spawnkit and without
	@PYTHONPATH=tests $(PY) -m programs --python $(PROGRAMS)/venv/bin/python \
		--path $(PROGRAMS)/ours --wheels $(PROGRAMS)/wheels $(PROGRAM)

$(PROGRAMS)/.made: $(VENV)/.built $(PACKAGE)
	@echo "installing the programs into $(PROGRAMS)/venv"
	@rm -rf $(PROGRAMS)
	@$(PIP) wheel --wheel-dir $(PROGRAMS)/wheels . 'setuptools>=77.0.3'
	@$(PIP) install --target $(PROGRAMS)/ours --find-links $(PROGRAMS)/wheels spawnkit
	@$(PY) -m venv $(PROGRAMS)/venv
	@$(PROGRAMS)/venv/bin/$(PIP:$(VENV)/bin/%=%) install --find-links $(PROGRAMS)/wheels \
		'spawnkit[programs]'
	@$(PROGRAMS)/venv/bin/$(PIP:$(VENV)/bin/%=%) uninstall --yes spawnkit
	@touch $@

bench: $(VENV)/.with-bench ## ratios to plain C, all rows (several minutes); JSON in build/bench/
	@$(PY) -m bench --json build/bench/result.json $(B)

latency: $(VENV)/.with-bench ## how late Ctrl-C arrives, how long other threads stall
	@$(PY) -m bench.latency

comparator: $(VENV)/.built strace ## what process libraries get wrong: subprocess and spawnkit
	@$(PY) -m bench.comparator

bench-suite: $(VENV)/.with-bench ## the same rows under pytest-benchmark, to save and compare runs
	@$(PY) -m pytest bench/test_spawn.py $(T)

adapters-bench: $(VENV)/.with-adapters ## builds of SCons with the adapter and without; B="--help"
	@$(PY) -m bench.adapters $(B)

# ---- checking -----------------------------------------------------------------------------------

check: check-python check-c check-child check-aarch64 ## formatters, linters, types, warnings of C
	@echo "check: all good"

check-python: $(VENV)/.with-check $(VENV)/.with-bench
	$(PY) -m ruff format --check .
	$(PY) -m ruff check .
	$(PY) -m mypy
	$(PY) .ci/stub_names.py

# All C by itself, then the module as cffi completes and setup.py builds it.
check-c: $(VENV)/.with-check $(C_FILES:%.c=build/check/%.o)
	@echo "clang-format"
	@$(VENV)/bin/clang-format --dry-run -Werror $(C_FILES) $(C_HEADERS) $(C_PLANTED)
	@echo "spawnkit._native with SPAWNKIT_CFLAGS=-Werror"
	@SPAWNKIT_CFLAGS=-Werror $(PY) setup.py build --build-base build/check/module \
		>build/check/module.log 2>&1 || { cat build/check/module.log; false; }
	@.ci/no-faults build/check/module

build/check/%.o: %.c $(C_HEADERS)
	@mkdir -p $(@D)
	@echo "$(CC) $<"
	@$(CC) $(STRICT) -Icsrc -c $< -o $@

check-child: ## the rules of csrc/child.c that a compiler can show
	@.ci/child-path $(CC)

# Left out, with the reason, where the cross compiler is not installed.
check-aarch64:
	@if command -v $(CROSS)gcc >/dev/null; then \
		$(MAKE) --no-print-directory $(C_FILES:%.c=build/check-aarch64/%.o) && \
		.ci/child-path $(CROSS)gcc; \
	else \
		echo "check-aarch64: left out: there is no $(CROSS)gcc"; \
	fi

build/check-aarch64/%.o: %.c $(C_HEADERS)
	@mkdir -p $(@D)
	@echo "$(CROSS)gcc $<"
	@$(CROSS)gcc $(STRICT) -Icsrc -c $< -o $@

format: $(VENV)/.with-check ## lets the formatters write
	$(PY) -m ruff format .
	$(PY) -m ruff check --fix .
	$(VENV)/bin/clang-format -i $(C_FILES) $(C_HEADERS) $(C_PLANTED)

# ---- releasing ----------------------------------------------------------------------------------

wheel: $(VENV)/.with-release ## the source archive and, from it, the wheel; both looked into
	@rm -rf dist && mkdir -p build
	@$(PY) -m build --outdir dist . >build/wheel.log 2>&1 || { cat build/wheel.log; false; }
	@.ci/look-into-wheel $(PY) dist

clean: ## removes everything that was made
	rm -rf build dist .venv* .pytest_cache .mypy_cache .ruff_cache .benchmarks .hypothesis
	rm -rf src/*.egg-info src/spawnkit/_native.*.so
	find src bench tests csrc -name __pycache__ -prune -exec rm -rf {} +
