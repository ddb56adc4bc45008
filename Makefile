# Targets that run commands of `python -m stack` and `python -m sample`. `make help` lists them.

# Variables. Set them with `make TARGET NAME=value`, or in the environment.
PYTHON ?= python3
# Data of the sample shop
OLIST ?=
ORDERS ?= 50000
ANOMALIES ?=
MANIFEST ?=
REPLACE ?=
DELETES ?=
SHOP ?=
# Runs
FROM ?=
TO ?=
HOURLY ?=
LAYER ?= silver
ALLOW_DELETES ?=
ALLOW_REJECTED ?=
# Publications
BATCH ?=
TABLE ?=
# Tables of the source
SCHEMA ?=
KEY ?=
CURSOR ?=
FORCE ?=
# A new project
DIR ?=
# Services, for logs
SERVICE ?=
# The tests
PROCESSES ?= 3
# Benchmarks
NAME ?=
# The chaos test
FIRST ?=
RUNS ?=

export STACK_SHOP ?= $(SHOP)
STACK_HOME ?= .stack
bin := $(STACK_HOME)/venv/bin
# -E: ignore the caller's PYTHON… variables, such as PYTHONSAFEPATH and PYTHONWARNINGS.
stack := $(bin)/python -E -m stack
# Run a command with the environment of the stack, for example with SOURCE_URL, which the shop's commands need.
in_stack := $(stack) exec --
window = $(if $(FROM),--from '$(FROM)') $(if $(TO),--to '$(TO)')
rejected = $(if $(ALLOW_REJECTED),--allow-rejected)
# $(call require,NAME,example): stop unless the variable NAME is set.
require = $(if $($(1)),,$(error $(1) is not set: $(2)))

.DEFAULT_GOAL := help
.PHONY: help venv

help: ## List the targets
	@awk -F ':.*## ' '/^##@ /{printf "\n%s\n", substr($$0, 5)} /^[a-z-]+:.*## /{printf "  %-13s %s\n", $$1, $$2}' \
	    $(firstword $(MAKEFILE_LIST))

venv:
	@$(PYTHON) -E -m stack.bootstrap

##@ Start

.PHONY: run build up down status logs env
run: venv ## Set up, start, fill the shop, run, show results (OLIST=DIR, ORDERS=N, SHOP=off)
	@$(stack) run $(if $(OLIST),--olist '$(OLIST)') --orders $(ORDERS)

build: venv ## Set up only: packages, engines, manifests
	@$(stack) build

up: venv ## Start the engines and Airflow, wait until they are healthy
	@$(stack) up

down: ## Stop everything
	@[ ! -x $(bin)/python ] || $(stack) down

status: venv ## Show each service: state, process, port, uptime, memory
	@$(stack) status

logs: venv ## Follow the logs (SERVICE=name: only that one)
	@$(stack) logs $(SERVICE)

env: venv ## Print URLs and logins for a shell:  eval "$(make -s env)"
	@$(stack) env

##@ Fill the sample shop

.PHONY: sample load live
sample: venv ## Generate ORDERS=N orders (ANOMALIES=all|kind,… MANIFEST=FILE REPLACE=1)
	@$(in_stack) python -m sample generate --orders $(ORDERS) \
	    $(if $(ANOMALIES),--anomalies '$(ANOMALIES)') $(if $(MANIFEST),--manifest '$(MANIFEST)') $(if $(REPLACE),--replace)

load: venv ## Load the nine real CSV files: OLIST=DIR (REPLACE=1: empty it first)
	@$(call require,OLIST,make load OLIST=DIR)$(in_stack) python -m sample load '$(OLIST)' $(if $(REPLACE),--replace)

live: venv ## Write a burst of inserts and updates (DELETES=1: deletes, too)
	@$(in_stack) python -m sample live $(if $(DELETES),--deletes)

##@ Your own tables

.PHONY: table tables new
table: venv ## Write a source table's models: TABLE=schema.name [KEY=a,b CURSOR=column FORCE=1]
	@$(call require,TABLE,make table TABLE=schema.name)$(stack) table '$(TABLE)' $(if $(KEY),--key '$(KEY)') \
	    $(if $(CURSOR),--cursor '$(CURSOR)') $(if $(FORCE),--force)

tables: venv ## Write the models of all tables of a schema: SCHEMA=name [FORCE=1]
	@$(call require,SCHEMA,make tables SCHEMA=name)$(stack) tables '$(SCHEMA)' $(if $(FORCE),--force)

new: venv ## Create a project without the shop: DIR=../my-etl [SCHEMA=name: with its tables]
	@$(call require,DIR,make new DIR=../my-etl)$(stack) new '$(DIR)' $(if $(SCHEMA),--schema '$(SCHEMA)')

##@ Operate

.PHONY: trigger backfill rebuild reconcile maintain publications as-of rollback resume
trigger: venv ## Run over all new changes [FROM=… TO=…: over that range, UTC] [ALLOW_REJECTED=1]
	@$(stack) trigger $(window) $(rejected)

backfill: venv ## Run a date range in one run: FROM=… TO=… (UTC; HOURLY=1: one run an hour)
	@$(call require,FROM,$(range))$(call require,TO,$(range))$(stack) $(if $(HOURLY),backfill,trigger) $(window) $(rejected)
range = make backfill FROM=2018-01-01 TO=2018-02-01

rebuild: venv ## Rebuild silver and gold from bronze (LAYER=gold: only gold)
	@$(stack) trigger --rebuild $(LAYER)

reconcile: venv ## Find rows deleted or missed at the source (ALLOW_DELETES=1: however many)
	@$(stack) reconcile $(if $(ALLOW_DELETES),--allow-deletes)

maintain: venv ## Compact the lake's tables, remove old snapshots and stray files, now
	@$(stack) maintain

publications: venv ## List the publications, by batch
	@$(stack) publications

as-of: venv ## Show a gold table as of an earlier publication: BATCH=… TABLE=name
	@$(call require,BATCH,$(earlier))$(call require,TABLE,$(earlier))$(stack) as-of $(BATCH) '$(TABLE)'
earlier = make as-of BATCH=12 TABLE=name (make publications lists the batches)

rollback: venv ## Restore an earlier publication in PostgreSQL, and stop publishing: BATCH=…
	@$(call require,BATCH,make rollback BATCH=12 (make publications lists the batches))$(stack) rollback $(BATCH)

resume: venv ## Publish again after a rollback
	@$(stack) resume

##@ Develop

.PHONY: run-bronze run-silver run-gold manifest docs lint lock clean
run-bronze: ## Run, but stop after bronze [FROM=… TO=…]
run-silver: ## Run, but stop after silver [FROM=… TO=…]
run-gold: ## Run, but stop after gold, without publishing [FROM=… TO=…]
run-bronze run-silver run-gold: venv
	@$(stack) trigger --layer $(@:run-%=%) $(window)

manifest: venv ## Parse the dbt project, from which the DAGs are built; needs no engine
	@$(stack) manifest

docs: venv ## Build dbt's documentation with the lineage
	@$(stack) docs

lint: venv ## Check with ruff, mypy and sqlfluff
	@$(bin)/ruff check .
	@$(bin)/ruff format --check .
	@$(bin)/mypy
	@$(bin)/sqlfluff lint --disable-progress-bar .

lock: venv ## Resolve the packages of pyproject.toml into the lock files
	@$(PYTHON) -E -m stack.bootstrap lock

# The files of the stack in STACK_HOME. `clean` removes them by name, because the folder may have other files in it.
made := airflow dbt docs log pg_service.conf postgres postgres.partial secrets.env session settings.json spark \
    supervisord.pid test test-engines trino venv warehouse

clean: down ## Remove everything that make created, data included; downloads stay in the cache
	@rm -rf include/dbt/target include/dbt/logs $(made:%='$(STACK_HOME)'/%)
	@[ ! -d '$(STACK_HOME)' ] || rmdir '$(STACK_HOME)' 2>/dev/null \
	    || { echo 'Other files, left in $(STACK_HOME):'; ls -A '$(STACK_HOME)'; }

##@ Test

.PHONY: test test-dags dbt-test test-long chaos bench
test: venv ## Lint, then run every test but the long ones (PROCESSES=1: in half the memory)
	@$(MAKE) --no-print-directory --jobs 2 build lint
	@$(bin)/pytest --numprocesses $(PROCESSES) --no-loadscope-reorder

test-dags: manifest ## Run the DAG tests, which take seconds and need no engine
	@$(bin)/pytest tests/dags

dbt-test: venv ## Run every dbt test over whole tables, on the running stack
	@$(stack) dbt-test

test-long: manifest ## Run the tests that take hours
	@$(bin)/pytest -m long

chaos: manifest ## Kill every component in every layer, in eight runs (FIRST=n: skip n runs, RUNS=n)
	@PYTHONPATH=plugins:tests $(bin)/python -m tests.e2e.chaos $(if $(FIRST),--first '$(FIRST)') $(if $(RUNS),--runs '$(RUNS)')

bench: venv ## Run a benchmark (NAME='hour --runs 3'); without a name, list them
	@$(in_stack) python -m bench $(or $(NAME),--help)

# Names that the targets had in earlier versions; they still work.
.PHONY: seed run_bronze run_silver run_gold as_of
seed: sample
run_bronze run_silver run_gold as_of: ; @$(MAKE) --no-print-directory $(subst _,-,$@)
