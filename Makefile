# Thin targets over `python -m stack` and `python -m sample`; `make help` lists them.
PYTHON ?= python3
OLIST ?=
ORDERS ?= 50000
ANOMALIES ?=
MANIFEST ?=
REPLACE ?=
DELETES ?=
FROM ?=
TO ?=
HOURLY ?=
LAYER ?= silver
BATCH ?=
FIRST ?=
RUNS ?=
TABLE ?=
ALLOW_DELETES ?=
SHOP ?=

export STACK_SHOP ?= $(SHOP)
STACK_HOME ?= .stack
bin := $(STACK_HOME)/venv/bin
stack := $(bin)/python -m stack
# The shop's commands need its URL, the dbt and Airflow ones the environment of the stack.
in_stack := $(stack) exec --
window = $(if $(FROM),--from '$(FROM)') $(if $(TO),--to '$(TO)')

.DEFAULT_GOAL := help
.PHONY: help venv build up down status logs load seed sample live backfill rebuild reconcile maintain run run_bronze run_silver run_gold \
    publications as_of rollback resume chaos test-long env manifest docs dbt-test test test-dags lint lock clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z_-]+:.*## /{printf "  %-12s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

venv:
	@$(PYTHON) -m stack.bootstrap

run: venv ## Everything: set up, start, fill the shop (OLIST=DIR, or ORDERS=N generated), run, show results (SHOP=off: no trading after)
	@$(stack) run $(if $(OLIST),--olist '$(OLIST)') --orders $(ORDERS)

build: venv ## Set up only: packages, engines, manifests
	@$(stack) build

up: venv ## Start the engines and Airflow, wait until they are healthy
	@$(stack) up

down: ## Stop everything
	@[ ! -x $(bin)/python ] || $(stack) down

status: venv ## Show each service: state, process, port, uptime, memory
	@$(stack) status

logs: venv ## Follow the logs (SERVICE=name for one)
	@$(stack) logs $(SERVICE)

env: venv ## Print URLs and logins for a shell:  eval "$(make -s env)"
	@$(stack) env

load: venv ## Load the nine real CSVs into the shop: OLIST=DIR (REPLACE=1: empty it first)
	@$(if $(OLIST),,$(error Say where the CSVs are: make load OLIST=DIR))$(in_stack) python -m sample load '$(OLIST)' $(if $(REPLACE),--replace)

sample: venv ## Generate a shop: ORDERS=N [ANOMALIES=all|kind,… MANIFEST=FILE] (REPLACE=1: empty it first)
	@$(in_stack) python -m sample generate --orders $(ORDERS) \
	    $(if $(ANOMALIES),--anomalies '$(ANOMALIES)') $(if $(MANIFEST),--manifest '$(MANIFEST)') $(if $(REPLACE),--replace)

seed: sample ## The same as sample

live: venv ## A burst of inserts and updates at the shop (DELETES=1: deletes, too)
	@$(in_stack) python -m sample live $(if $(DELETES),--deletes)

backfill: venv ## Run a date range in one run: FROM=… TO=… (UTC; HOURLY=1: a run an hour)
	@$(if $(and $(FROM),$(TO)),,$(error Say the range: make backfill FROM=2018-01-01 TO=2018-02-01))$(stack) $(if $(HOURLY),backfill,trigger) $(window)

rebuild: venv ## Make the layers again from bronze: [LAYER=silver|gold]
	@$(stack) trigger --rebuild $(LAYER)

reconcile: venv ## Find what was deleted or missed at the source (ALLOW_DELETES=1: however much)
	@$(stack) reconcile $(if $(ALLOW_DELETES),--allow-deletes)

maintain: venv ## Compact the lake's tables, remove old snapshots and stray files: what is done once a day, now
	@$(stack) maintain

publications: venv ## List what was published when, by batch
	@$(stack) publications

as_of: venv ## Show a gold table as an earlier publication has it: BATCH=… TABLE=sales_by_day
	@$(if $(and $(BATCH),$(TABLE)),,$(error Say which: make as_of BATCH=12 TABLE=sales_by_day))$(stack) as-of $(BATCH) '$(TABLE)'

rollback: venv ## Make PostgreSQL's gold an earlier publication again, and hold publishing: BATCH=…
	@$(if $(BATCH),,$(error Say the batch: make rollback BATCH=12; make publications lists them))$(stack) rollback $(BATCH)

resume: venv ## Publish again after a rollback
	@$(stack) resume

run_bronze: ## A run that stops after bronze [FROM=… TO=…]
run_silver: ## A run that stops after silver [FROM=… TO=…]
run_gold: ## A run that stops after gold, unpublished [FROM=… TO=…]
run_bronze run_silver run_gold: venv
	@$(stack) trigger --layer $(@:run_%=%) $(window)

manifest: venv ## Parse the dbt project, from which Airflow draws its tasks; needs no engine
	@$(stack) manifest

docs: venv ## Build dbt's documentation with the lineage
	@$(stack) docs

dbt-test: venv ## Run every dbt test over whole tables
	@$(stack) dbt-test

test: lint manifest ## Everything: lint, then every test but the long ones (starts the engines it needs)
	@$(bin)/pytest --numprocesses 2 --dist loadfile
	@$(bin)/pytest tests/e2e

test-long: manifest ## What takes hours: 50 sequences of windows, two days of backfill each way, a rebuild, evolved tables, 500 small commits
	@$(bin)/pytest -m long tests/e2e

chaos: manifest ## Kill -9 every component in every layer of a run, on a stack of its own; prints a table (FIRST=n, RUNS=n of its eight runs)
	@PYTHONPATH=plugins:tests $(bin)/python -m tests.e2e.chaos $(if $(FIRST),--first '$(FIRST)') $(if $(RUNS),--runs '$(RUNS)')

test-dags: manifest ## The DAG tests: no engine, seconds
	@$(bin)/pytest tests/dags

lint: venv ## Ruff, sqlfluff, mypy
	@$(bin)/ruff check .
	@$(bin)/ruff format --check .
	@$(bin)/mypy
	@$(bin)/sqlfluff lint --disable-progress-bar include/dbt/macros include/dbt/models include/dbt/tests include/sql sample stack tests

lock: venv ## Resolve the packages of pyproject.toml again into requirements.txt and requirements-dev.txt
	@$(PYTHON) -m stack.bootstrap lock

# By name: STACK_HOME may be a folder with more in it.
made := airflow dbt docs log pg_service.conf postgres postgres.partial secrets.env session settings.json spark \
    supervisord.pid test trino venv warehouse

clean: down ## Remove everything made here (data included); downloads stay in the cache
	@rm -rf include/dbt/target include/dbt/logs $(made:%='$(STACK_HOME)'/%)
	@[ ! -d '$(STACK_HOME)' ] || rmdir '$(STACK_HOME)' 2>/dev/null || { echo 'Not ours, and left in $(STACK_HOME):'; ls -A '$(STACK_HOME)'; }
