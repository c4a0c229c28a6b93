# Every target does all of its own set-up; the only things needed beforehand are Python 3.11 or later and, for the
# broker, either Maven (it fetches Kafka once, 43 MB) or a Docker daemon. `make help` lists the targets.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
  $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
VENV := .venv
BIN := $(VENV)/bin
PYTEST := $(BIN)/python -m pytest
SEED ?= $(shell date +%s)
FUZZ_S ?= 60
SECURE := $(addprefix tests/integration/,test_kafka_security.py test_pins.py test_outages.py test_outages_postgres.py)
RECORDS ?= 100000
# As BENCH="--records 1000000 --only 'C|leased'": what `make bench` is given.
BENCH ?=
# As AGAINST="../before": work trees of other versions, for `make bench-read`.
AGAINST ?=
JOBS ?= 4
# The extension module is built where cargo is; a second build takes seconds, from native/target.
NATIVE := $(wildcard native/Cargo.* native/src/*.rs native/src/*/*.rs)
CARGO := $(shell command -v cargo 2>/dev/null)

.PHONY: help docs newcomer demo test test-twin test-all lint style clippy types pytest fetch bench bench-keys bench-sdk bench-scale bench-stages bench-latency bench-start bench-memory bench-authority bench-erasure bench-loop bench-rekey bench-read sizing backpressure rekey recovery soak \
  secure alone delivery registry interop attack erasure api-fuzz fuzz properties native \
  dashboards pictures operations chart image wheel sbom clean

help: ## Say what each target does
	@echo "make TARGET [PYTHON=python3.12] [SEED=1] [FUZZ_S=60] [RECORDS=100000]"
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  \1\t\2/' | expand -t 20

demo: $(BIN)/.dev fetch ## Two regions, 20,000 customers each: encrypted, read back, refused (about two minutes)
	$(BIN)/worker demo

# What needs no test runs beside the build of the extension; tests wait for nothing but it, and share the cores with nobody.
test: | $(BIN)/python ## Lint, types, import rules, and every test but the heavy ones, on real Kafka and PostgreSQL
	+$(MAKE) --no-print-directory --jobs 2 --output-sync lint types fetch
	+$(MAKE) --no-print-directory pytest

test-all: test test-twin alone properties registry secure interop attack erasure api-fuzz fuzz newcomer backpressure rekey delivery soak operations chart image ## `test`, then every heavy suite

test-twin: $(BIN)/.dev fetch ## Unit, contract, property and delivery tests without the extension module: its twins alone
	WORKER_NATIVE=0 $(PYTEST) -m "not heavy" -n $(JOBS) --dist loadfile --no-loadscope-reorder tests/unit tests/contract tests/properties tests/integration

lint: style clippy ## ruff and the import rules, and clippy where cargo is

style: $(BIN)/.needs
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache

clippy: $(BIN)/.dev
	$(if $(CARGO),cd native && cargo clippy --release --locked --quiet --all-targets -- -D warnings,@echo "clippy: no cargo here")

types: $(BIN)/.needs ## mypy --strict over worker/ and tests/
	$(BIN)/mypy

pytest: $(BIN)/.dev fetch
	$(PYTEST) -m "not heavy" -n $(JOBS) --dist loadfile --no-loadscope-reorder

docs: $(BIN)/.dev ## Write the generated parts of the docs anew
	$(BIN)/python -m tests.reference

fetch: $(BIN)/.dev ## Fetch Kafka's jars once and check their digests
	$(BIN)/python -m worker.local

bench: $(BIN)/.dev fetch ## The worker against a loop by hand in C, in Python, CSFLE and a copy loop, interleaved, with every record compared
	$(BIN)/python -m tests.bench.hot $(BENCH)

bench-keys: $(BIN)/.dev ## Keys and values a second through the key cache, against naive loops
	$(BIN)/python -m tests.bench.keys

bench-sdk: $(BIN)/.dev ## The SDK beside the published client, single calls of threads and tasks, a table of a million rows
	$(BIN)/python -m tests.bench.sdk

bench-stages: $(BIN)/.dev ## The native stages beside what their primitives alone cost, nanoseconds a value (needs cargo)
	$(BIN)/python -m tests.bench.stages

bench-scale: $(BIN)/.dev ## Many tenants: rates beside one tenant's, requests and wasted keys as the authority counts them
	$(BIN)/python -m tests.bench.scale

bench-latency: $(BIN)/.dev fetch ## How long a record is under way at a steady rate, beside a bare transactional cycle (three minutes)
	$(BIN)/python -m tests.bench.latency

bench-start: $(BIN)/.dev fetch ## How long commands and the first record take, and what idle routes cost (two minutes)
	$(BIN)/python -m tests.bench.start

bench-memory: $(BIN)/.dev fetch ## Peak memory where records of 5 kB have a thousand encrypted values each (a minute)
	$(BIN)/python -m tests.bench.many_values

bench-authority: $(BIN)/.dev ## Keys a second of the authority, by request size and connections
	$(BIN)/python -m tests.bench.authority

bench-erasure: $(BIN)/.dev ## What an erasable keyset costs the authority beside another one, and the state of 10,000 erasures
	$(BIN)/python -m tests.bench.erasure

bench-loop: $(BIN)/.dev fetch ## The worker's loop against a copy loop and a plain encryptor, in one run
	$(BIN)/python -m tests.bench.loop

bench-read: $(BIN)/.dev fetch ## `worker decrypt` of a topic with and without the extension, and beside the work trees AGAINST
	$(BIN)/python -m tests.bench.reading $(if $(AGAINST),--against $(AGAINST))

sizing: $(BIN)/.dev fetch ## Processor and memory of a record, a value and a row, for docs/operations.md (about two minutes)
	$(BIN)/python -m tests.bench.sizing

rekey: $(BIN)/.dev fetch ## A rekey of a million rows under load, killed twenty times; topics, files and exports (about six minutes)
	$(PYTEST) -m heavy -s --timeout 1800 tests/integration/test_rekey_kill.py tests/integration/test_rekey_topic.py

bench-rekey: $(BIN)/.dev fetch ## The rate of a rekey beside the worker's own into the same table and topic
	$(BIN)/python -m tests.bench.rekey

backpressure: $(BIN)/.dev fetch ## A million records behind a sink ten times slower than the source (about ten minutes)
	$(PYTEST) -m heavy -s tests/integration/test_backpressure.py

soak: $(BIN)/.dev fetch ## Five topologies under every fault, RECORDS each; SEED repeats a run, the report is in .run/soak
	$(BIN)/python -m tests.faults.soak --seed $(SEED) --records $(RECORDS)

recovery: $(BIN)/.dev fetch ## Seconds from a fault until every partition flows again, on three brokers (about ten minutes)
	$(BIN)/python -m tests.bench.recovery

secure: $(BIN)/.dev fetch ## A secured broker, every right taken away once, every pin broken, long outages
	$(PYTEST) -m heavy --timeout 600 $(SECURE)

delivery: $(BIN)/.dev fetch ## Twenty graceful stops of the real worker under load, and other slow runs on a real broker
	$(PYTEST) -m heavy --timeout 1800 tests/integration

newcomer: $(BIN)/.dev fetch ## Every command of the docs as it is written, and what check finds beside what run refuses
	$(PYTEST) -m heavy --timeout 900 tests/docs tests/mistakes

interop: $(BIN)/.dev ## The published ZeroKMS client against our authority (needs Node)
	$(PYTEST) -m heavy --timeout 600 tests/interop

attack: $(BIN)/.dev ## The authority under forged tokens, others' ids, silent and slow connections, and guessing; prints p99
	$(PYTEST) -m heavy --timeout 600 tests/attack

erasure: $(BIN)/.dev ## 100,000 subjects, a hundredth of them erased, before and after a restore, and the attack on PostgreSQL's raw files (about five minutes)
	$(PYTEST) -m heavy --timeout 1800 tests/unit/authority/erasure

api-fuzz: $(BIN)/.heavy ## API tests made from the authority's OpenAPI document
	$(PYTEST) -m heavy --timeout 1800 tests/api

fuzz: $(BIN)/.heavy ## Fuzzing of the decoders, by coverage, and of the extension's parsers, by outcome; FUZZ_S for each
	$(if $(CARGO),cd native && FUZZ_S=$(FUZZ_S) SEED=$(SEED) cargo test --release --locked --quiet --test fuzz -- --nocapture --test-threads 2,@echo "native parsers: no cargo here")
	mkdir -p .run/fuzz
	$(BIN)/python -m tests.fuzz.avro_decoder .run/fuzz tests/fuzz/avro_corpus -max_total_time=$(FUZZ_S)

registry: $(BIN)/.dev fetch ## Against a real schema registry, Apicurio (Maven fetches it once, 159 MB, by digest)
	$(PYTEST) -m heavy --timeout 600 tests/registry

alone: $(BIN)/.heavy ## Each module imports by itself, a wheel without any extra works, a user's program is checked by mypy and pyright
	$(PYTEST) -m heavy --timeout 600 tests/test_architecture.py tests/unit/sdk/test_alone.py tests/unit/sdk/test_wheel.py

properties: $(BIN)/.dev ## Thousands of generated schemas and records through encryption and back
	$(PYTEST) -m "heavy or not heavy" --timeout 1800 tests/properties

native: ## The extension module's own tests (needs cargo)
	cd native && cargo test --release --locked --quiet

dashboards: $(BIN)/.dev ## Write the Grafana dashboards anew from deploy/dashboards
	$(BIN)/python -m deploy.dashboards

operations: $(BIN)/.operations fetch prometheus ## Every query, rule and alert in a real Prometheus over two regions under load (about ten minutes)
	$(PYTEST) -m heavy --timeout 900 --ignore tests/operations/test_chart.py --ignore tests/operations/test_image.py tests/operations

pictures: $(BIN)/.operations fetch prometheus ## Draw each dashboard from the data of such a run into docs/images (about four minutes)
	$(BIN)/python -m tests.operations.pictures docs/images

chart: $(BIN)/.operations helm ## Lint the Helm chart and validate its output for every region
	PATH=$(CURDIR)/.run/bin:$$PATH $(PYTEST) -m heavy --timeout 300 tests/operations/test_chart.py tests/docs/test_engines.py

image: $(BIN)/.operations ## Run every step of the Dockerfile in a prefix of its own, lint it, and run what was installed (needs no engine)
	$(PYTEST) -m heavy --timeout 900 tests/operations/test_image.py

wheel: $(BIN)/.wheel ## The wheel with the native module, for Python 3.11 and later, checked, into dist/ (needs cargo)
	rm -rf .run/wheel dist && PYTHON=$(CURDIR)/$(BIN)/python deploy/image/wheel.sh .run/wheel
	$(BIN)/abi3audit --strict .run/wheel/*.whl
	PATH=$(CURDIR)/$(BIN):$$PATH auditwheel repair --wheel-dir dist .run/wheel/*.whl
	@ls dist/*.whl

sbom: $(BIN)/.operations ## The bill of materials of what the image holds, CycloneDX, into .run/sbom.json
	[ ! -e .run/image ] || chmod -R u+w .run/image
	rm -rf .run/image && mkdir -p .run/image && PYTHON=$(CURDIR)/$(BIN)/python deploy/image/wheel.sh .run/image/wheels
	deploy/image/install.sh .run/image/wheels .run/image/prefix
	$(BIN)/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible -o .run/sbom.json .run/image/prefix/bin/python

.PHONY: prometheus helm
prometheus:
	@command -v prometheus >/dev/null || apt-get install -y --no-install-recommends prometheus \
	  || { echo "install Prometheus 2.42 or later: apt-get install -y --no-install-recommends prometheus" >&2; exit 1; }

helm:
	@PATH=$(CURDIR)/.run/bin:$$PATH; command -v helm >/dev/null || GOBIN=$(CURDIR)/.run/bin go install helm.sh/helm/v3/cmd/helm@v3.22.0 \
	  || { echo "install Helm 3, or Go to have it built: go install helm.sh/helm/v3/cmd/helm@v3.22.0" >&2; exit 1; }
	@test -d .run/node/node_modules || ! command -v npm >/dev/null || npm install --silent --no-audit --no-fund --prefix .run/node \
	  @kubernetes-models/prometheus-operator@6.0.0 @kubernetes-models/keda@2.0.0

clean: ## Remove the virtual environment and everything that was generated
	[ ! -e .run/image ] || chmod -R u+w .run/image
	rm -rf $(VENV) .run build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage htmlcov

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or later is needed; none was found on PATH" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

# Two recipes, so that one core compiles the extension while the other one installs.
$(BIN)/.needs: pyproject.toml | $(BIN)/python
	$(BIN)/python .ci/needs dev | $(BIN)/python -m pip install --quiet --disable-pip-version-check -r /dev/stdin
	@touch $@

$(BIN)/.built: pyproject.toml $(NATIVE) | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	@touch $@

$(BIN)/.dev: $(BIN)/.built $(BIN)/.needs
	@touch $@

$(BIN)/.heavy: pyproject.toml $(BIN)/.dev
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[heavy]'
	@touch $@

$(BIN)/.operations: pyproject.toml $(BIN)/.dev
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[operations]'
	@touch $@

# The tools alone: whoever wants the wheel need not wait for everything that developing takes.
$(BIN)/.wheel: pyproject.toml | $(BIN)/python
	$(BIN)/python .ci/needs --alone wheel | $(BIN)/python -m pip install --quiet --disable-pip-version-check -r /dev/stdin
	@touch $@
