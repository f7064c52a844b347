"""What the PyTorch peer does for a GPU, on the processor, with PyTorch's streams and CuPy's arrays simulated."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from layerbench import verify
from layerbench.cuda import library
from layerbench.errors import KernelError, OutOfMemoryError
from layerbench.kernel import ERROR_LIMITS, FAST_ALGORITHM_LIMIT, Availability, Budget, Choice, Job
from layerbench.layers import FC, LSTM, PASSES, AnyLayer, Conv, DType
from tests.kernels.test_pytorch import LAYERS, PYTORCH, assert_close, needs_torch, reference

layers = importlib.import_module("layerbench.kernels._pytorch_layers")
place_room = importlib.import_module("layerbench.kernels._pytorch_place")
arrays = importlib.import_module("layerbench.kernels._cuda_arrays")

ON_GPU = library.availability()
GPU_DTYPES: tuple[DType, ...] = ("fp64", "fp32", "tf32", "bf16", "fp16")


class CuPyArray:
    """A CuPy array in the host's memory, as far as DLPack has to do with it."""

    def __init__(self, memory: np.ndarray) -> None:
        self.memory = memory
        self.dtype = memory.dtype
        self.shape = memory.shape

    def view(self, dtype: Any) -> CuPyArray:
        return CuPyArray(self.memory.view(dtype))

    def __dlpack__(self, stream: int | None = None) -> Any:
        assert stream == -1, "nothing is to be queued on another stream"
        if self.dtype == np.uint16:
            raise BufferError("older versions of PyTorch do not know the type")
        return self.memory.__dlpack__()


class Simulated:
    """CuPy, and in PyTorch's place what it knows of streams: which was current when, and where memory came from."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        import torch

        self.pointer = 0
        self.capturing = False
        self.streams = [SimpleNamespace(cuda_stream=0)]
        self.entered: list[int] = []
        self.pools: list[Any] = []
        self.pooled = 0
        self.cuda = SimpleNamespace(get_current_stream=lambda: SimpleNamespace(ptr=self.pointer))
        for name, simulated in {
            "current_stream": lambda: self.streams[-1],
            "default_stream": lambda: SimpleNamespace(cuda_stream=0),
            "ExternalStream": self.external,
            "stream": self.stream,
            "is_current_stream_capturing": lambda: self.capturing,
            "MemPool": self.pool,
            "use_mem_pool": self.use_pool,
        }.items():
            monkeypatch.setattr(torch.cuda, name, simulated)
        monkeypatch.setattr(torch.backends.cudnn, "benchmark", False)

    @staticmethod
    def from_dlpack(capsule: Any) -> CuPyArray:
        import torch

        return CuPyArray(torch.from_dlpack(capsule).numpy())

    @staticmethod
    def external(pointer: int) -> Any:
        assert pointer, "PyTorch's default stream is not an external one"
        return SimpleNamespace(cuda_stream=pointer)

    @contextmanager
    def stream(self, stream: Any) -> Iterator[None]:
        self.streams.append(stream)
        self.entered.append(stream.cuda_stream)
        yield
        self.streams.pop()

    def pool(self) -> Any:
        self.pools.append(object())
        return self.pools[-1]

    @contextmanager
    def use_pool(self, pool: Any) -> Iterator[None]:
        assert pool in self.pools
        self.pooled += 1
        yield


@pytest.fixture
def simulated(monkeypatch: pytest.MonkeyPatch) -> Simulated:
    return Simulated(monkeypatch)


def on_gpu(layer: AnyLayer, dtype: DType, simulated: Simulated) -> Any:
    place = place_room.OnGPU(dtype, simulated, "cpu")
    t = verify.tensors(layer, dtype, 3, 0, 3)
    match layer:
        case Conv():
            return layers.TorchConv(layer, t, dict.fromkeys(PASSES, "channels_last"), place)
        case FC():
            return layers.TorchFC(t, place)
        case LSTM():
            return layers.TorchLSTM(layer, t, place)


@needs_torch
@pytest.mark.parametrize("dtype", GPU_DTYPES)
@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.name)
def test_a_gpu_computes_in_every_type(layer: AnyLayer, dtype: DType, simulated: Simulated) -> None:
    prepared = on_gpu(layer, dtype, simulated)
    t = verify.tensors(layer, dtype, 3, 0, 3)
    limit = {"fp16": 2e-2, "bf16": 0.1}.get(dtype, ERROR_LIMITS[dtype])
    for pass_ in PASSES:
        prepared.poison()
        prepared.run["forward"]()
        prepared.run[pass_]()
        assert_close(prepared.results(pass_), reference(layer, pass_, t), limit)
    assert prepared.gradient.dtype == arrays.storage(dtype)


@needs_torch
@pytest.mark.parametrize("dtype", GPU_DTYPES)
@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.name)
def test_on_a_gpu_the_gradient_is_the_memory_of_the_weight_gradients(
    layer: AnyLayer, dtype: DType, simulated: Simulated
) -> None:
    prepared = on_gpu(layer, dtype, simulated)
    prepared.run["backward_weights"]()
    assert prepared.gradient.shape == (layer.weights,)
    assert any(result.any() for result in prepared.results("backward_weights").values())
    prepared.gradient.memory[...] = 0
    assert not any(result.any() for result in prepared.results("backward_weights").values())


@needs_torch
@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.name)
def test_on_a_gpu_layers_are_linked_by_arrays_of_cupy(layer: AnyLayer, dtype: DType, simulated: Simulated) -> None:
    prepared = on_gpu(layer, dtype, simulated)
    other = verify.tensors(layer, dtype, 4, 0, 3)
    t = {**verify.tensors(layer, dtype, 3, 0, 3), "src": other["src"], "diff_dst": other["diff_dst"]}

    def array(values: np.ndarray) -> CuPyArray:
        return CuPyArray(arrays.bf16_bits(values) if dtype == "bf16" else values.copy())

    for name in ("src", "diff_dst"):
        prepared.put(name, array(other[name]))
    for pass_, result in (("forward", "dst"), ("backward_data", "diff_src")):
        prepared.run[pass_]()
        expected = reference(layer, pass_, t)[result]
        out = array(np.zeros(expected.shape, np.float32))
        prepared.take(result, out)
        taken = arrays.bf16_values(out.memory) if dtype == "bf16" else out.memory
        assert_close({result: taken}, {result: expected}, 0.1 if dtype == "bf16" else 1e-5)


@needs_torch
@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.name)
def test_calls_follow_the_stream_that_is_current_then(layer: AnyLayer, simulated: Simulated) -> None:
    prepared = on_gpu(layer, "fp32", simulated)
    simulated.entered.clear()
    for run in prepared.run.values():
        run()
    assert simulated.entered == []
    simulated.pointer = 4711
    for run in prepared.run.values():
        run()
    assert simulated.entered == [4711] * 3
    # PyTorch left on another stream comes back to the default one.
    simulated.streams.append(SimpleNamespace(cuda_stream=12))
    simulated.pointer = 0
    prepared.run["forward"]()
    assert simulated.entered[3:] == [0]


@needs_torch
def test_tf32_is_asked_for_or_forbidden_with_every_call(simulated: Simulated) -> None:
    import torch

    exact, rounded = (on_gpu(LAYERS[0], dtype, simulated) for dtype in ("fp32", "tf32"))

    def precisions() -> list[str]:
        backends = torch.backends
        return [each.fp32_precision for each in (backends.cuda.matmul, backends.cudnn.conv, backends.cudnn.rnn)]

    for prepared, precision in ((exact, "ieee"), (rounded, "tf32"), (exact, "ieee")):
        prepared.run["forward"]()
        assert precisions() == [precision] * 3
    rounded.take("dst", CuPyArray(np.zeros(LAYERS[0].output_shape(3), np.float32)))
    assert precisions() == ["tf32"] * 3


@needs_torch
def test_a_gpu_has_its_convolutions_searched_and_adds_up_in_fp32(simulated: Simulated) -> None:
    import torch

    on_gpu(LAYERS[0], "fp16", simulated)
    assert torch.backends.cudnn.benchmark
    assert not torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction
    assert not torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction


@needs_torch
@pytest.mark.parametrize("layer", LAYERS[:2], ids=lambda layer: layer.name)
def test_what_a_graph_captures_has_memory_of_its_own(layer: AnyLayer, simulated: Simulated) -> None:
    prepared, other = (on_gpu(layer, "fp32", simulated) for _ in range(2))
    prepared.run["forward"]()
    assert simulated.pooled == 0
    simulated.capturing = True
    for run in prepared.run.values():
        run()
    assert (simulated.pooled, len(simulated.pools)) == (3, 1)
    other.run["forward"]()
    assert len(simulated.pools) == 2


@needs_torch
def test_a_graph_needs_memory_pools(simulated: Simulated, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    prepared = on_gpu(LAYERS[1], "fp32", simulated)
    monkeypatch.delattr(torch.cuda, "MemPool")
    simulated.capturing = True
    with pytest.raises(KernelError, match=r"PyTorch has it from 2\.5 on"):
        prepared.run["forward"]()


@needs_torch
def test_an_lstm_refuses_to_be_captured(simulated: Simulated) -> None:
    prepared = on_gpu(LAYERS[2], "fp32", simulated)
    simulated.capturing = True
    for run in (*prepared.run.values(), prepared.backward_together):
        with pytest.raises(KernelError, match=r"^pytorch: autograd runs a backward pass on the stream of"):
            run()


@needs_torch
def test_on_a_gpu_a_call_that_fails_is_one_line(simulated: Simulated) -> None:
    import torch

    place = place_room.OnGPU("fp32", simulated, "cpu")

    def fails(error: Exception) -> Any:
        def run() -> None:
            raise error

        return place.queued(run)

    with pytest.raises(KernelError, match=r"^pytorch: CUDA error: misaligned$"):
        fails(RuntimeError("CUDA error: misaligned\nCompile with TORCH_USE_CUDA_DSA"))()
    with pytest.raises(OutOfMemoryError, match=r"^pytorch: CUDA out of memory"):
        fails(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 TiB"))()


@needs_torch
def test_a_fast_convolution_of_a_gpu_may_transform_its_operands(monkeypatch: pytest.MonkeyPatch) -> None:
    room = sys.modules["layerbench.kernels.pytorch"]
    conv, fc = Choice(algorithm="conv2d, channels_last"), Choice(algorithm="torch.mm")
    assert PYTORCH.error_limit("fp32", conv) == ERROR_LIMITS["fp32"]
    monkeypatch.setattr(room, "_on_gpu", lambda: True)
    assert PYTORCH.error_limit("fp32", conv) == FAST_ALGORITHM_LIMIT
    assert PYTORCH.error_limit("fp32", fc) == ERROR_LIMITS["fp32"]
    assert PYTORCH.error_limit("bf16", conv) == ERROR_LIMITS["bf16"]


@needs_torch
def test_without_a_gpu_there_are_no_devices_and_types_of_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    room = sys.modules["layerbench.kernels.pytorch"]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(library, "availability", lambda: Availability(False, reason="CuPy is not installed"))
    room._on_gpu.cache_clear()
    try:
        assert PYTORCH.devices() == []
        assert PYTORCH.device().name == "host"
        assert PYTORCH.supports(LAYERS[0], "bf16") == "does fp32 and fp64, not bf16"
        assert PYTORCH.availability().version.endswith(", CPU, since CuPy is not installed")
    finally:
        room._on_gpu.cache_clear()


@needs_torch
def test_where_both_libraries_see_a_gpu_it_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    room = sys.modules["layerbench.kernels.pytorch"]
    used: list[Any] = []
    gpu = SimpleNamespace(compute_capability="90")
    cupy = SimpleNamespace(cuda=SimpleNamespace(runtime=SimpleNamespace(getDevice=lambda: 3), Device=lambda: gpu))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "set_device", used.append)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(library, "availability", lambda: Availability(True, "CuPy 14"))
    monkeypatch.setattr(library, "visible", lambda: ["GPU-a"])
    monkeypatch.setattr(library, "use", used.append)
    monkeypatch.setattr(library, "load", lambda: cupy)
    monkeypatch.delenv("NVIDIA_TF32_OVERRIDE", raising=False)
    monkeypatch.setitem(sys.modules, "layerbench.cuda.device", SimpleNamespace(current=lambda: "the device"))
    room._on_gpu.cache_clear()
    try:
        assert PYTORCH.devices() == ["GPU-a"]
        assert PYTORCH.device() == "the device"
        PYTORCH.use("GPU-a")
        assert used == ["GPU-a", 3]
        assert PYTORCH.availability().version.endswith(", CUDA 13.0")
        assert all(PYTORCH.supports(LAYERS[0], dtype) is None for dtype in GPU_DTYPES)
        assert "int8" in PYTORCH.supports(LAYERS[0], "int8")
        gpu.compute_capability = "75"
        of_turing = {dtype: PYTORCH.supports(LAYERS[0], dtype) for dtype in GPU_DTYPES}
        assert [dtype for dtype, reason in of_turing.items() if reason] == ["tf32", "bf16"]
        assert of_turing["tf32"] == "tf32 needs a GPU of compute capability 8.0, and this one has 7.5"
        gpu.compute_capability = "90"
        monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "0")
        assert "NVIDIA_TF32_OVERRIDE=0" in PYTORCH.supports(LAYERS[0], "tf32")
    finally:
        room._on_gpu.cache_clear()


@needs_torch
@pytest.mark.gpu
@pytest.mark.skipif(not ON_GPU.ok, reason=ON_GPU.reason)
@pytest.mark.parametrize("dtype", GPU_DTYPES)
@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.name)
def test_a_real_gpu_agrees_with_the_reference(layer: AnyLayer, dtype: DType) -> None:
    if not PYTORCH.devices():
        pytest.skip(f"PyTorch uses no GPU: {PYTORCH.availability().version}")
    t = verify.tensors(layer, dtype, 3, 0, 3)
    job = Job(layer, 3, dtype)
    choices = PYTORCH.search(job, t, Budget())
    verified = verify.verify(PYTORCH, job, t, choices)
    assert all(each.ok for each in verified.values()), verified
    prepared = PYTORCH.prepare(job, t, choices)
    assert prepared.gradient.dtype == arrays.storage(dtype)
    for pass_ in PASSES:
        assert PYTORCH.device().time_parts([prepared.run[pass_]], 5)[0] > 0
    if not isinstance(layer, LSTM):
        assert PYTORCH.device().replayed().time_parts([prepared.run["forward"]], 5)[0] > 0
