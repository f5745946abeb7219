# make demo · yt360 · test · ui · study · row · smoke · smoke-here · lint · bench · lock · image     (PYTHON=... names another Python 3.11)
PYTHON ?= python3.11
BIN := .venv/bin
export PATH := $(CURDIR)/.venv/bin:$(PATH)
export OMP_NUM_THREADS ?= $(shell nproc)

# DVC commits experiments; where git knows nobody, it does so under the project's name.
export GIT_AUTHOR_NAME ?= $(or $(shell git config user.name),avsa)
export GIT_AUTHOR_EMAIL ?= $(or $(shell git config user.email),avsa@localhost)
export GIT_COMMITTER_NAME ?= $(GIT_AUTHOR_NAME)
export GIT_COMMITTER_EMAIL ?= $(GIT_AUTHOR_EMAIL)

.PHONY: demo yt360 study row smoke smoke-here test lint ui bench lock image
.DEFAULT_GOAL := demo

demo: .venv/installed  ## render, ingest, pre-train, evaluate, report: all stages that are not up to date
	$(BIN)/dvc repro
	@echo "Results: reports/index.html   Figures: reports/results.json   Runs: make ui"

study: .venv/installed  ## avsa against its control of equal compute and the floor, three seeds
	$(BIN)/dvc exp run -S 'pipeline.seeds=[0,1,2]'
	@echo "Results: reports/index.html   Figures: reports/results.json   Runs: make ui"

# LIMIT=20 tries so many videos; MAPS=1 makes label maps where none were published
YT360 := --params configs/yt360.yaml
yt360: .venv/installed  ## YT-360: lists, videos (days; interrupted, it goes on), checked and versioned clips, statistics
	$(BIN)/dvc --cd data/lists pull
	$(BIN)/avsa download $(YT360) $(if $(LIMIT),--limit $(LIMIT))
	$(if $(MAPS),$(BIN)/avsa segment $(YT360))
	$(BIN)/dvc exp run -S base=configs/yt360.yaml -S dataset=yt360 stats
	$(BIN)/avsa verify data/clips/yt360
	@echo "Clips: data/clips/yt360   What was refused: data/clips/yt360/refused.jsonl   Its sheet: avsa inspect data/clips/yt360"

SCALE ?= configs/demo.yaml
row: .venv/installed $(if $(ROW),,name-a-row)  ## an ablation with a network or features of its own, beside the workspace: make row ROW=avsa-mlp
	$(BIN)/dvc exp run --temp --force --name $(ROW) -S 'base=[$(SCALE),configs/ablations/$(ROW).yaml]' \
	  -S 'pipeline.from_scratch=[avc]' -S 'pipeline.after_avc=[$(ROW)]' -S 'pipeline.checkpoints=[$(ROW)]'
	rm -rf runs/row-$(ROW)
	mkdir -p runs evaluations
	$(BIN)/dvc get --rev $(ROW) . evaluations -o runs/row-$(ROW)
	cp -r runs/row-$(ROW)/$(ROW)-* evaluations/
	@echo "Now: pipeline.also in params.yaml with $(ROW) in it, then dvc repro report"

.PHONY: name-a-row
name-a-row:
	@echo "name a row: make row ROW=avsa-mlp (configs/ablations/ has them)"; false

SMOKE := base=configs/smoke.yaml pipeline.after_avc=[avsa] pipeline.checkpoints=[avsa]
smoke: .venv/installed  ## the whole pipeline at its smallest scale, beside the workspace: it runs, its figures mean nothing
	$(BIN)/dvc exp run --temp $(SMOKE:%=-S '%')

smoke-here: .venv/installed  ## the same in a workspace that has nothing to lose, as CI's: params.yaml is changed as -S does it; sooner done
	$(BIN)/python -c "import sys; from omegaconf import OmegaConf as O; \
	  O.save(O.merge(O.load('params.yaml'), O.from_dotlist(sys.argv[1:])), 'params.yaml')" $(SMOKE:%='%')
	$(BIN)/dvc repro

test: .venv/installed  ## all tests
	OMP_NUM_THREADS=1 $(BIN)/pytest -n $(shell nproc)

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

ui: .venv/installed  ## MLflow on the recorded runs
	$(BIN)/mlflow ui --backend-store-uri sqlite:///$(CURDIR)/mlflow.db --port 5000

bench: .venv/installed
	$(BIN)/python -m benchmarks loader

.venv/installed: requirements.lock pyproject.toml
	@echo "Installing into .venv (about 5 GB, a few minutes the first time) ..."
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

docker/MLproject: MLproject docker/docker_env.yaml  ## the same entry points in a container
	cat docker/docker_env.yaml > $@
	sed '/^#/d' MLproject >> $@

image:  ## the container image avsa, of this checkout
	docker build -f docker/Dockerfile -t avsa --build-arg COMMIT=$$(git rev-parse HEAD)$$(test -z "$$(git status --porcelain)" || echo -dirty) \
	  --build-arg LOCK_MD5=$$(md5sum requirements.lock | cut -d' ' -f1) $(BUILD) .

lock:  ## renew requirements.lock from pyproject.toml
	$(BIN)/uv pip compile pyproject.toml --extra dev --generate-hashes --no-header --no-annotate -o requirements.lock
