# Two commands matter: `make demo` and `make test`. Both do all their own set-up.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
LABEL_STUDIO_VENV := .venv-label-studio

.PHONY: demo test check format bench screenshots clean install label-studio browser

demo: install label-studio
	$(BIN)/galaxyloop demo

test: install label-studio browser
	$(BIN)/python -m pytest

check: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: install
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: install label-studio
	sh benchmarks/run_all.sh $(BIN)/python

# Pictures of the dashboard in docs/images, from a demo that runs in the folder DEMO.
DEMO ?= galaxyloop-demo
screenshots: install browser
	$(BIN)/python tests/e2e/dashboard_pictures.py $(DEMO)

install: $(VENV)/.installed
label-studio: $(LABEL_STUDIO_VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	touch $@

# Label Studio pins other versions of what we use, so it lives apart.
$(LABEL_STUDIO_VENV)/.installed: requirements/label-studio.txt
	$(PYTHON) -m venv $(LABEL_STUDIO_VENV)
	$(LABEL_STUDIO_VENV)/bin/python -m pip install --quiet --disable-pip-version-check -r requirements/label-studio.txt
	touch $@

browser:
	@sh tests/e2e/install_browser.sh

clean:
	rm -rf $(VENV) $(LABEL_STUDIO_VENV) build dist artifacts *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	@echo "Kept: galaxyloop-demo/ and galaxyloop-data/ (people's annotations). Delete them by hand."
