PYTHON ?= python3
BIN := .venv/bin
NODES := 1,2,4,8
BATCH := 16
# Of sampling for each layer and count, where the machine is too noisy to stop before: four minutes in all on 2 cores.
MAX_TIME := 3

# The peer that `make bench` measures against.
TORCH := 2.13.0

# The Extra-P that must read what `layerbench export` writes for it.
EXTRAP := 4.2.5

# Wheels that a GPU host without a network was brought; else .venv has to hold what a GPU needs: pip install '.[cuda13]'.
BROUGHT := $(wildcard .whl/*.whl)

# Say yes to test against NVIDIA's own libraries too, which needs no GPU and 2.3 GB: make test CUDA_LIBRARIES=yes
CUDA_LIBRARIES :=
NVIDIA := $(CURDIR)/.venv/nvidia

# Tests that time nothing, or mostly wait, run several at once; all others want the machine for themselves.
TOGETHER := $(addprefix tests/,batch compare export kernel_times machine predict report schedule) \
	$(wildcard tests/test_split*.py tests/test_store*.py tests/test_suite*.py) tests/test_wheel.py \
	$(wildcard tests/test_gpu_check*.py) \
	$(wildcard tests/test_training*.py) tests/test_connections.py tests/test_overlap_records.py \
	$(addprefix tests/test_,$(addsuffix .py,clean_clone cli faults supervise sweep_layout sweep_roofline)) \
	$(filter-out tests/datamanager/test_exchange.py,$(wildcard tests/datamanager/test_*.py)) \
	$(filter-out tests/overlap/test_commands.py,$(wildcard tests/overlap/test_*.py))

.PHONY: run test check bench gpu-check wheel clean

run: .venv/.run  ## Install into .venv, time AlexNet's layers on 1, 2, 4, 8 nodes, draw the figure
	$(BIN)/layerbench run --suite alexnet --nodes $(NODES) --batch $(BATCH) --max-time $(MAX_TIME)
	$(BIN)/layerbench report

test: check .venv/.extrap  ## Install what tests need into .venv, lint, check types and pass all tests that need no GPU
	$(BIN)/python -m pytest -n 3 --dist loadgroup $(TOGETHER)
	$(BIN)/python -m pytest $(TOGETHER:%=--ignore=%)
ifeq ($(CUDA_LIBRARIES),yes)
	$(MAKE) .venv/.nvidia
	PYTHONPATH=$(NVIDIA) LD_LIBRARY_PATH=$(NVIDIA)/nvidia/cu13/lib $(BIN)/python -m pytest -n 3 -m cuda_libraries tests/cuda tests/kernels
endif

check: .venv/.dev  ## Lint and check types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: .venv/.peer .venv/.extrap-models  ## Peers, the harness's own cost, what compare and predict find; takes more than an hour
	$(BIN)/python tests/bench

gpu-check: $(if $(BROUGHT),,.venv/.dev)  ## All that one GPU shows in nine minutes, into the new folder OUT; see tests/gpu
	$(if $(BROUGHT),$(PYTHON),$(BIN)/python) tests/gpu --out '$(OUT)' $(CHECK)

wheel: .venv/.dev
	$(BIN)/python -m build --wheel

clean:  ## Remove what make made; runs/ is kept
	rm -rf .venv build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis

.venv/bin/python:
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip

# Editable, so that a change in the checkout is what runs; the stamps say for which pyproject.toml it was installed.
.venv/.run: pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install --quiet --editable '.[local,html]'
	@touch $@

.venv/.peer: .venv/.dev
	$(BIN)/python -m pip install --quiet 'torch==$(TORCH)'
	@touch $@

# What Extra-P's readers import, and no more: the package pins an old NumPy and wants Qt, and reading needs neither.
# In a folder of its own, so that nothing but the test that reads an export back can import it.
.venv/.extrap: Makefile | .venv/.dev
	rm -rf .venv/extrap
	$(BIN)/python -m pip install --quiet --no-deps --target .venv/extrap \
		'extrap==$(EXTRAP)' 'marshmallow==3.*' 'pycubexr==2.*' 'tqdm==4.*'
	@touch $@

# In a folder of its own, so that all other tests run as where there are none of them; what plans without them is left out.
.venv/.nvidia: Makefile | .venv/.dev
	rm -rf $(NVIDIA)
	$(BIN)/python -m pip install --quiet --no-deps --target $(NVIDIA) 'cupy-cuda13x==14.*' 'nvidia-cudnn-cu13==9.*' \
		'nvidia-cudnn-frontend>=1.32' 'nvmath-python>=1' 'cuda-bindings==13.*' cuda-core cuda-pathfinder \
		'nvidia-cublas==13.*' 'nvidia-cuda-nvrtc==13.*' 'nvidia-cuda-runtime==13.*' nvidia-nccl-cu13 nvidia-ml-py
	@touch $@

# What its modeler imports besides.
.venv/.extrap-models: .venv/.extrap
	$(BIN)/python -m pip install --quiet --no-deps --target .venv/extrap 'scipy==1.*'
	@touch $@

.venv/.dev: pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install --quiet --editable '.[local,html,dev]'
	@touch $@ .venv/.run
