# The two commands are `make book` and `make test`; the other commands are those of .venv/bin/dmft, which `make book` installs.
# Every recipe path is relative, so the folder may have spaces in its name.

PY = .venv/bin/python
READY = .venv/installed
TEST_READY = .venv/installed-test

# A misspelt or forgotten word would otherwise be ignored, and the chapter run for nothing.
WORDS = CHAPTER PARAMS PRESET PYTHON
STRAY := $(filter-out $(WORDS) PY READY TEST_READY SHELL MAKE%,$(foreach name,$(.VARIABLES),$(if $(findstring command line,$(origin $(name))),$(name))))
ifneq ($(STRAY),)
$(error "$(STRAY)" means nothing to make. The words are $(WORDS), and parameters of a chapter stand inside PARAMS="name=value name=value")
endif

# A word that the environment happens to hold is not meant for make: only those of the command line count.
$(foreach word,$(WORDS),$(if $(findstring command line,$(origin $(word))),,$(eval override $(word) :=)$(eval unexport $(word))))

# Whatever the locale, files are read and written in UTF-8.
export PYTHONUTF8 = 1

book: $(READY)  ## run the chapters that changed and build the book; print where it is
	@$(PY) -m tools book

CHECK = @$(PY) -m ruff check . && $(PY) -m ruff format --check . && $(PY) -m pytest -n 2 --dist loadfile --nbval --nbval-current-env notebooks tests

test: $(TEST_READY)  ## lint, the science, and every chapter against its stored outputs
	$(CHECK) -m "not slow"

test-all: $(TEST_READY)  ## what test does, and the long rest: the build, every page in a browser, kills, repeats at more widths
	$(CHECK)

run: $(READY)  ## one chapter with your parameters, or with a preset: make run CHAPTER=gd PARAMS="P=8" PRESET=paper
	@$(PY) -m tools run $${PRESET:+--preset "$$PRESET"} -- "$$CHAPTER" "$$PARAMS"

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

.PHONY: book test test-all run clean
