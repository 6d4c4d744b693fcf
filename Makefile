# make models: set up and run the main job.  make test: set up and run the tests.  make help: all of them.
VENV ?= .venv
DBT ?= .venv-dbt
BIN := $(VENV)/bin
UV := $(shell command -v uv 2>/dev/null)
PYTHON ?= python3

# Hundreds of tests start kpi: Python shall keep what it compiled of modules, whatever the environment says.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help models refresh demo test test-long office lint lines faults faults-cluster dbt dbt-spark parity-dbt spark parity parity-cluster bench peers golden docs pictures clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

models: $(VENV)/kpi ## Set up, write synthetic deliveries when warehouse/raw is empty, refresh, print the indicators
	@$(BIN)/kpi demo --if-empty
	@$(BIN)/kpi refresh
	@$(BIN)/kpi show

refresh: $(VENV)/kpi ## The nightly job: load, build, check and publish what changed
	@$(BIN)/kpi refresh

demo: $(VENV)/kpi ## Write synthetic deliveries into warehouse/raw, which must be empty
	@$(BIN)/kpi demo

test: $(VENV)/dev ## Set up with what development needs and run the tests of every change: units, features, documents
	$(BIN)/python -m pytest --numprocesses auto --dist loadgroup -m "not long" tests/unit tests/functional tests/docs

test-long: $(VENV)/dev ## The long tests: against oracles, against dbt itself (make dbt), and against kills, attackers and full disks
	$(BIN)/python -m pytest --numprocesses auto --dist loadgroup --durations 15 -m long

office: $(VENV)/dev ## LibreOffice (libreoffice-calc-nogui of Debian) opens the workbook of kpi export: compared with the marts
	$(BIN)/python -m pytest -n 0 tests/office/libreoffice.py

lint: $(VENV)/dev ## Formatting, style and types, of Python and SQL
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	@# sqlfluff only warns of a file it cannot read: whatever it says but that it is finished is a failure.
	! $(BIN)/sqlfluff lint --processes 0 --disable-progress-bar models tests/sql | grep -v -e '^All Finished' -e '^ *$$'

lines: ## Lines and modules of src/kpi by package
	@git ls-files 'src/kpi/*.py' | xargs wc -l | awk '$$2 ~ /^src/ {parts = split($$2, part, "/"); \
	name = parts > 3 ? part[3] : "kpi"; lines[name] += $$1; modules[name] += $$2 !~ /__/} \
	END {for (name in lines) printf "%-12s %6d lines %4d modules\n", name, lines[name], modules[name]}' | sort

faults: $(VENV)/dev ## Kill, starve and mislead a refresh some hundred times while readers read; prints the table of docs/reference/faults.md
	PYTHONPATH=tests:tests/support $(BIN)/python -m faults

faults-cluster: $(VENV)/dev .venv-spark/ready ## Fill disks of a Spark cluster of this machine, starve its executors, kill its workers and its driver; takes minutes
	PYTHONPATH=.:tests:tests/support $(BIN)/python -m faults.cluster

dbt: $(DBT)/ready ## Set up dbt itself in .venv-dbt; the tests compare kpi with it. See docs/reference/dbt.md

dbt-spark: $(DBT)-spark/ready ## Set up dbt with dbt-spark in .venv-dbt-spark, which needs Java 17

parity-dbt: $(VENV)/dev $(DBT)-spark/ready ## dbt itself builds the project on Spark, over the lake; every table is compared with kpi's on DuckDB
	PYTHONPATH=.:tests:tests/support $(BIN)/python -m parity_dbt

spark: .venv-spark/ready .venv-sail/ready ## Set up Spark in .venv-spark (Java 17) and Spark Connect with Sail in .venv-sail, for models computed by Spark

parity: $(VENV)/dev spark ## Every model, data test and unit test on Spark and on Sail, compared with DuckDB's rows; some minutes
	PYTHONPATH=tests:tests/support:. $(BIN)/python -m spark sail 'local[2]'

parity-cluster: $(VENV)/dev spark ## The same on a standalone cluster of Spark on loopback: a master and two workers
	PYTHONPATH=tests:tests/support:. $(BIN)/python -m spark cluster

bench: $(VENV)/dev ## CPU and wall time against bare DuckDB in the same run, and against the peers that are installed
	$(BIN)/python -m benchmarks.bench --write docs/reference
	$(BIN)/python -m benchmarks.compiling
	$(BIN)/python -m benchmarks.peers

peers: .venv-sqlmesh/bin/sqlmesh .venv-lea/bin/lea ## Install SQLMesh and lea, which make bench compares with

.venv-sqlmesh/bin/sqlmesh .venv-lea/bin/lea:
	$(PYTHON) -m venv .venv-$(@F)
	.venv-$(@F)/bin/python -m pip install --quiet --disable-pip-version-check --constraint benchmarks/peers.txt $(PEER_$(@F))

# SQLMesh fails on DuckDB 2 and lea asks for an older one.
PEER_sqlmesh := sqlmesh
PEER_lea := lea-cli

golden: $(VENV)/dev ## Write the golden files of the tests anew; review the diff
	$(BIN)/python -m pytest --golden tests/oracle/test_figures.py tests/functional/test_golden_errors.py tests/functional/test_why.py tests/functional/test_site.py

docs: $(VENV)/dev ## Write the reference pages of commands, exit codes, settings, feeds and figures from the program; review the diff
	$(BIN)/python -m docs.generate

pictures: $(VENV)/dev ## Take the README's pictures from the pages of the published build, in chromium; review them
	$(BIN)/python -m docs.pictures

clean: ## Remove builds, the environment and caches; never warehouse/raw
	rm -rf $(VENV) $(DBT) $(DBT)-spark .venv-spark .venv-sail target logs warehouse/builds warehouse/current .pytest_cache .mypy_cache .ruff_cache .hypothesis src/*.egg-info
	find . -name __pycache__ -type d -not -path './warehouse/*' -prune -exec rm -rf {} +

$(VENV)/bin/python $(DBT)/bin/python $(DBT)-spark/bin/python: %/bin/python:
ifdef UV
	uv venv --quiet --python $(PYTHON) $*
else
	$(PYTHON) -m venv $*
endif

# A stamp for each kind of environment: made again when the project's requirements change.
$(VENV)/kpi: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(call install,.)
	@touch $@

# constraints.txt lists all that development needs, so there is nothing to resolve, which takes a third of installing.
$(VENV)/dev: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(install_all)
	@touch $@ $(VENV)/kpi

# dbt wants other versions of some packages than kpi, so it has an environment of its own. Every package it needs is
# listed with its version: there is nothing to resolve.
$(DBT)/ready: constraints-dbt.txt | $(DBT)/bin/python
ifdef UV
	uv pip install --quiet --python $(DBT)/bin/python --no-deps --requirement constraints-dbt.txt
else
	$(DBT)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --requirement constraints-dbt.txt
endif
	@touch $@

$(DBT)-spark/ready: constraints-dbt-spark.txt | $(DBT)-spark/bin/python
ifdef UV
	uv pip install --quiet --python $(DBT)-spark/bin/python --requirement constraints-dbt-spark.txt
else
	$(DBT)-spark/bin/python -m pip install --quiet --disable-pip-version-check --requirement constraints-dbt-spark.txt
endif
	@touch $@

# Each has what the other would write over, and takes kpi and the rest from $(VENV): pip sees one package at a time, for
# all of them are listed with their versions.
SPARK_spark := py4j pyspark
SPARK_sail := googleapis-common-protos grpcio grpcio-status protobuf pysail pyspark-client zstandard

.venv-spark/ready .venv-sail/ready: .venv-%/ready: constraints-spark.txt | $(VENV)/bin/python
ifdef UV
	uv venv --quiet --python $(PYTHON) .venv-$*
	uv pip install --quiet --python .venv-$*/bin/python --no-deps --constraint constraints-spark.txt $(SPARK_$*)
else
	$(PYTHON) -m venv .venv-$*
	.venv-$*/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --constraint constraints-spark.txt $(SPARK_$*)
endif
	@$(BIN)/python -c "import sysconfig; print(sysconfig.get_path('purelib'))" > $$(.venv-$*/bin/python -c "import sysconfig; print(sysconfig.get_path('purelib'))")/kpi.pth
	@echo $(CURDIR)/src >> $$(.venv-$*/bin/python -c "import sysconfig; print(sysconfig.get_path('purelib'))")/kpi.pth
	@touch $@

ifdef UV
install = uv pip install --quiet --python $(BIN)/python --constraint constraints.txt --editable '$(1)'
install_all = uv pip install --quiet --python $(BIN)/python --no-deps --requirement constraints.txt --editable . && uv pip check --quiet --python $(BIN)/python
else
install = $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '$(1)'
install_all = $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --requirement constraints.txt --editable . && $(BIN)/python -m pip check
endif
