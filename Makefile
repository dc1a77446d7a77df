# The two commands are `make book` and `make test`; `make help` lists the rest.
# Every recipe path is relative, so the folder may have spaces in its name.

PY = .venv/bin/python
READY = .venv/installed
TEST_READY = .venv/installed-test
LOCK = _build/lock/bin/uv pip compile -q --upgrade --universal --generate-hashes --custom-compile-command "make lock"

# A misspelt or forgotten word would otherwise be ignored, and the chapter run for nothing.
WORDS = CHAPTER PARAMS PRESET HELP GRID PLOT JOBS SCHEDULER EXERCISE ANSWER PORT PYTHON
STRAY := $(filter-out $(WORDS) PY READY TEST_READY LOCK SHELL MAKE%,$(foreach name,$(.VARIABLES),$(if $(findstring command line,$(origin $(name))),$(name))))
ifneq ($(STRAY),)
$(error "$(STRAY)" means nothing to make. The words are $(WORDS), and parameters of a chapter stand inside PARAMS="name=value name=value")
endif

# A word that the environment happens to hold is not meant for make: only those of the command line count.
$(foreach word,$(WORDS),$(if $(findstring command line,$(origin $(word))),,$(eval override $(word) :=)$(eval unexport $(word))))

# Whatever the locale, files are read and written in UTF-8.
export PYTHONUTF8 = 1

help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*## /  make \1  |/p' Makefile | awk -F'|' '{printf "%-17s %s\n", $$1, $$2}'

book: $(READY)  ## run the chapters that changed and build the book; prints where it is
	@$(PY) -m tools book

pdf: $(TEST_READY)  ## the book, and all of it in one PDF that its first page links
	@$(PY) -m tools pdf

CHECK = @$(PY) -m ruff check . && $(PY) -m ruff format --check . && $(PY) -m pytest -n 2 --dist loadfile --nbval --nbval-current-env notebooks tests

test: $(TEST_READY)  ## lint, the science, and every chapter against its stored outputs
	$(CHECK) -m "not slow"

test-all: $(TEST_READY)  ## what test does, and the long rest: the build, every page in a browser, kills, repeats at more widths
	$(CHECK)

faults: $(TEST_READY)  ## seed faults into the library, one at a time, and see whether quick tests find them (tens of minutes; resumable)
	@$(PY) tests/faults.py

run: $(READY)  ## one chapter with your parameters, or with a preset: make run CHAPTER=gd PARAMS="P=8" PRESET=paper; HELP=1 lists them
	@$(PY) -m tools run $${HELP:+--explain} -- "$$CHAPTER" "$$PARAMS" "$$PRESET"

sweep: $(READY)  ## a grid of runs, its table and plot: make sweep CHAPTER=gd GRID="gamma0=0.5,1,2 seed=0:3" JOBS=2 SCHEDULER=tcp://host:8786
	@$(PY) -m tools sweep $${HELP:+--explain} -- "$$CHAPTER" "$$GRID" "$$PARAMS" "$$PRESET" "$$PLOT" "$$JOBS" "$$SCHEDULER"

check: $(READY)  ## whether an answer to an exercise without a solution is right: make check EXERCISE=entk ANSWER=0.5
	@$(PY) -m tools check -- "$$EXERCISE" "$$ANSWER"

accept: $(READY)  ## run a chapter and commit its new outputs to notebooks/: make accept CHAPTER=gd
	@$(PY) -m tools accept "$$CHAPTER"

full: $(READY)  ## measure the full result of a chapter that shows a part of it, point by point: make full CHAPTER=beyond
	@$(PY) -m tools full "$$CHAPTER"

record: $(READY)  ## run a chapter with a preset, unless that was done, and keep its record: make record CHAPTER=gd PRESET=paper
	@$(PY) -m tools record "$$CHAPTER" "$$PRESET"

bench: $(READY)  ## run every script in benchmarks/ (hours), or measure the cost of one chapter: make bench CHAPTER=gd
	@set -e; if [ "$$HELP" ]; then for script in benchmarks/*.py; do sed -n '1s/^"*/  /p' "$$script"; done; \
	elif [ "$$CHAPTER" ]; then $(PY) benchmarks/chapters.py $$CHAPTER; \
	else for script in benchmarks/*.py; do echo "$$script"; $(PY) "$$script"; done; fi

links: $(READY)  ## put the repository's address of book/settings.toml into every chapter, for Colab, or take it out
	@$(PY) -m tools links

serve: $(READY)  ## serve the built book to a browser on this machine: make serve PORT=8000
	@$(PY) -m tools serve -- "$$PORT"

# uv lives outside .venv, which holds the locked set and nothing else.
lock:  ## resolve the newest versions into requirements.lock and requirements-test.lock
	@test -x _build/lock/bin/uv || { PYTHON="$(PYTHON)" sh tools/venv.sh _build/lock && _build/lock/bin/python -m pip install -q uv; }
	@$(LOCK) pyproject.toml -o requirements.lock
	@$(LOCK) --extra test -c requirements.lock pyproject.toml -o requirements-test.lock

audit: $(READY)  ## ask whether a locked package has a known vulnerability; fails where no advisory service can be reached
	@test -x _build/audit/bin/pip-audit || { $(PY) -m venv _build/audit && _build/audit/bin/python -m pip install -q pip-audit; } || \
	{ echo "pip-audit could not be installed, so nothing was audited: try it with a network." >&2; exit 1; }
	@$(PY) -m tools audit

clean:  ## remove what the commands made, .venv and runs/ included
	rm -rf .venv _build runs

$(READY): requirements.lock pyproject.toml
	@test -x $(PY) || PYTHON="$(PYTHON)" sh tools/venv.sh .venv
	@echo "Installing the locked packages into .venv (a minute or two)"
	@$(PY) -m pip install -q --disable-pip-version-check --require-hashes -r requirements.lock
	@$(PY) -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

$(TEST_READY): $(READY) requirements-test.lock
	@echo "Installing the locked test tools into .venv"
	@$(PY) -m pip install -q --disable-pip-version-check --require-hashes -r requirements-test.lock
	@touch $@

.PHONY: help book pdf test test-all faults run sweep check accept full record bench links serve lock audit clean
