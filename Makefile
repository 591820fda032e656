# Each target works as the first command typed in an empty clone; only Python 3.11 or 3.12 and make must be there.
# PYTHON=/some/python3.12 names an interpreter, ARGS="..." goes to pytest, to chaos or to soak. Tests run in two
# processes, a file in one of them, each with a broker of its own; PROCESSES=0 runs all in one.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo quick test nightly check lint types documents site released bench bench-compare evaluate chaos soak topology docs lock clean

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
COMPILED := hatch_build.py $(wildcard schemas/records/*.py detectors/base/*.py detectors/features/*.py) \
	$(wildcard detectors/labels/*.py detectors/policy/*.py detectors/profiles/*.py detectors/text/*.py) schemas/released/avro_rows.py \
	detectors/learning/order.py detectors/models/adagrad.py detectors/models/naive_bayes/gaussians.py
DEMO := out/demo
PROCESSES := 2
LOGS := ../shared/datasets

help: ## say what each target does
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-14s %s\n", $$1, $$2 }' Makefile

demo: $(READY) ## simulate 200,000 events, replay them, print the strongest warnings and write a report
	@rm -rf $(DEMO)
	@mkdir -p $(DEMO)
	@$(BIN)/forewarn simulate --events 200000 --seed 7 --out $(DEMO)/log.jsonl.gz
	@$(BIN)/forewarn replay $(DEMO)/log.jsonl.gz --policy deploy/policies/example.toml --out $(DEMO)/run

quick: $(READY) ## run ruff and the quick tests in two processes: no broker, no logs, under 90 seconds
	@$(MAKE) --no-print-directory lint
	@$(BIN)/pytest --quiet --numprocesses 2 --dist loadfile --no-loadscope-reorder -m "not (kafka or datasets or slow)" $(ARGS)

test: $(READY) ## run every test (ARGS="-k name" to choose), in two processes (PROCESSES=0 for one)
	@$(BIN)/pytest --numprocesses $(PROCESSES) --dist loadfile --no-loadscope-reorder $(ARGS)

nightly: $(READY) ## run every test, and the slow ones as long as they take to be thorough
	@FOREWARN_THOROUGH=1 $(BIN)/pytest --numprocesses $(PROCESSES) --dist loadfile --no-loadscope-reorder $(ARGS)

check: lint types documents site released ## run every check that is not a test (make -k check: all, also after a failure)

lint: $(READY)
	@echo "== ruff: lint and formatting"
	@$(BIN)/ruff check --quiet
	@$(BIN)/ruff format --quiet --check

types: $(READY)
	@echo "== mypy: types"
	@$(BIN)/mypy

documents: $(READY)
	@echo "== documents"
	@$(BIN)/python -m tools.docs.check_docs
	@$(BIN)/codespell

site: $(READY) ## build the documentation as a site in out/site; warnings are errors
	@echo "== site"
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

released: $(READY)
	@echo "== released schemas"
	@$(BIN)/forewarn schemas check

bench: $(READY) ## measure a replay by stage, a live run on a broker, and what people would use instead; half an hour
	@mkdir -p out/bench
	@$(BIN)/python tests/bench/bench.py
	@$(BIN)/python -m tests.bench.growth
	@$(BIN)/python -m tests.bench.slopes
	@$(BIN)/python -m tests.bench.epochs
	@$(BIN)/python -m tests.bench.live
	@$(BIN)/python -m tests.bench.peers.run

bench-compare: $(READY) ## lay a replay by stage of BASE=revision beside that of this tree, twice by turns
	@$(BIN)/python -m tests.bench.versus $(BASE)

evaluate: $(READY) ## measure the warnings on the public logs in LOGS, beside trivial scores (LOGS=../shared/datasets)
	@$(BIN)/python -m tools.studies.evaluate_logs $(LOGS) $(ARGS)
	@$(BIN)/python -m tools.studies.compare_feedback $(LOGS)

chaos: $(READY) ## kill live runs 100 times on a real broker and count what is lost or doubled (ARGS="--kills 10")
	@$(BIN)/python -m tests.recovery.chaos $(ARGS)

soak: $(READY) ## watch the memory of two live runs for 30 minutes on a real broker (ARGS="--minutes 5")
	@$(BIN)/python -m tests.recovery.soak $(ARGS)

topology: $(READY) ## paste the dataflow as it is now into README.md
	@$(BIN)/python -m tools.docs.check_docs --write topology

docs: $(READY) ## write topology, help texts, generated tables and transcripts as they are now into README.md and docs/
	@$(BIN)/python -m tools.docs.check_docs --write topology --write help --write facts --write transcripts

# Everything an environment needs, the build backend included, because nothing unlocked may be installed.
# Pins that are there stay; ARGS="--upgrade" looks for newer ones. CPython 3.11 and 3.12 resolve to the same file.
lock: $(READY) ## bring requirements.lock in line with pyproject.toml (ARGS="--upgrade" for newer versions)
	@CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/pip-compile --quiet --generate-hashes --allow-unsafe --strip-extras \
		--all-extras --all-build-deps --no-emit-options --no-emit-index-url --no-emit-find-links \
		--no-emit-trusted-host --output-file requirements.lock $(ARGS) pyproject.toml

clean: ## remove everything that the other targets made
	rm -rf $(VENV) .cache .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist out
	find schemas detectors evaluation dataflows forewarn tools tests -name __pycache__ -prune -exec rm -rf {} +
	find . -name "*.so" -not -path "./$(VENV)/*" -delete

# What every event passes through is compiled where there is a C compiler (hatch_build.py), which takes 20 seconds.
# Only wheels: building from source would fetch build requirements that no hash vouches for.
$(READY): requirements.lock pyproject.toml tools/find-python $(COMPILED)
	@python="$$(sh tools/find-python)" || exit 1; \
	suits="$$($(BIN)/python -c 'import sys; print(sys.version_info[:2] in ((3, 11), (3, 12)))' 2>/dev/null)"; \
	if [ "$$suits" != True ]; then "$$python" -m venv --clear $(VENV) || exit 1; fi; \
	echo "Installing requirements.lock into $(VENV) ($$($(BIN)/python --version)); the first time takes a minute."
	@$(BIN)/python -m pip --disable-pip-version-check install --quiet --require-hashes --only-binary :all: -r requirements.lock
	@$(BIN)/python -m pip --disable-pip-version-check install --quiet --no-deps --no-build-isolation --editable .
	@$(BIN)/forewarn --version
	@touch $@
