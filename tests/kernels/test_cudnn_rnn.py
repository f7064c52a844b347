"""The kernel of cuDNN's recurrent layers, on a simulated cuDNN, and what it says of itself."""

from __future__ import annotations

import gc
import importlib
import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from layerbench import verify
from layerbench.errors import KernelError, MeasurementError
from layerbench.kernel import Budget, Choice, Job
from layerbench.layers import FC, LSTM, PASSES, DType, Pass, SplitLSTM
from tests.kernels.simulated_cudnn_rnn import Cuda, Cudnn

descriptors = importlib.import_module("layerbench.kernels._cudnn_rnn_descriptors")
library = importlib.import_module("layerbench.kernels._cudnn_library")
plans = importlib.import_module("layerbench.kernels._cudnn_rnn_plan")
runs = importlib.import_module("layerbench.kernels._cudnn_rnn_run")
cudnn_rnn = importlib.import_module("layerbench.kernels.cudnn_rnn")
KERNEL: Any = cudnn_rnn.KERNEL

LAYER = LSTM(name="lstm", input_size=5, hidden_size=4, time_steps=6)
BATCH = 3
STANDARD = plans.Plan("standard", "packed", "fma")


def operands(layer: LSTM = LAYER, dtype: DType = "fp32", batch: int = BATCH, seed: int = 1) -> dict[str, np.ndarray]:
    """Operands that have only the weights in common with those of another seed."""
    tensors = verify.tensors(layer, dtype, 1, 0, batch)
    others = verify.tensors(layer, dtype, seed, 0, batch)
    return tensors | {name: others[name] for name in ("src", "diff_dst")}


class Simulated:
    """Names of CuPy's and cuDNN's that the kernel asks for, simulated."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.cuda = Cuda()
        self.cudnn = Cudnn(self.cuda)
        cuda_library = importlib.import_module("layerbench.cuda.library")
        monkeypatch.setattr(cuda_library, "load", lambda: self.cuda.cupy)
        for module in (library, descriptors, runs):
            monkeypatch.setattr(module, "load", lambda: self.cudnn)
        monkeypatch.setattr(KERNEL, "device", Host, raising=False)


class Host:
    """A device on which what is queued is done."""

    def time_parts(self, parts: list[Any], repetitions: int, before_each: Any = None) -> list[float]:
        for part in parts:
            part()
        return [1.0] * len(parts)

    def synchronize(self) -> None:
        pass


@pytest.fixture
def simulated(monkeypatch: pytest.MonkeyPatch) -> Iterator[Simulated]:
    descriptors.handle.cache_clear()
    runs._STREAMS.clear()
    yield Simulated(monkeypatch)
    descriptors.handle.cache_clear()
    runs._STREAMS.clear()


def prepared(plan: Any = STANDARD, tensors: dict[str, np.ndarray] | None = None, dtype: DType = "fp32") -> Any:
    choices = dict.fromkeys(PASSES, Choice(plan.name, plan.settings))
    return KERNEL.prepare(Job(LAYER, BATCH, dtype), tensors or operands(dtype=dtype), choices)


def assert_right(found: dict[str, np.ndarray], tensors: dict[str, np.ndarray], limit: float = 1e-5) -> None:
    reference = importlib.import_module("layerbench.kernels.reference").reference
    for pass_ in PASSES:
        for name, expected in reference(LAYER, pass_, tensors).items():
            if name in found:
                assert np.linalg.norm(found[name] - expected) <= limit * np.linalg.norm(expected), name


@pytest.mark.parametrize("dtype", ["fp32", "fp64", "fp16"])
def test_every_pass_is_right_after_poison_in_the_order_of_verification(simulated: Simulated, dtype: DType) -> None:
    tensors = operands(dtype=dtype)
    layer = prepared(tensors=tensors, dtype=dtype)
    for pass_ in PASSES:
        layer.poison()
        layer.run["forward"]()
        if pass_ != "forward":
            layer.run[pass_]()
        found = layer.results(pass_)
        assert (
            set(found)
            == {
                "forward": {"dst"},
                "backward_data": {"diff_src"},
                "backward_weights": {"diff_weights_input", "diff_weights_hidden"},
            }[pass_]
        )
        assert_right(found, tensors, verify_limit(dtype))


def verify_limit(dtype: DType) -> float:
    return float(KERNEL.error_limit(dtype, Choice("")))


@given(order=st.lists(st.sampled_from(PASSES), min_size=1, max_size=8))
@settings(max_examples=25, deadline=None)
def test_passes_are_right_in_any_order(order: list[Pass]) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        descriptors.handle.cache_clear()
        runs._STREAMS.clear()
        Simulated(monkeypatch)
        tensors = operands()
        layer = prepared(tensors=tensors)
        for pass_ in order:
            layer.run[pass_]()
            assert_right(layer.results(pass_), tensors)
    descriptors.handle.cache_clear()


def test_graphs_are_right_on_their_own_stream_and_after_others(simulated: Simulated) -> None:
    tensors = operands()
    layer = prepared(tensors=tensors)
    graphs = {}
    for pass_ in PASSES:
        with simulated.cuda.capture() as graph:
            layer.run[pass_]()
        graphs[pass_] = graph
        for work in graph:
            work()
    layer.run["forward"]()
    for pass_ in ("backward_data", "backward_data", "backward_weights", "forward", "backward_weights"):
        for work in graphs[pass_]:
            work()
        assert_right(layer.results(pass_), tensors)


def test_a_timed_call_allocates_nothing(simulated: Simulated) -> None:
    layer = prepared()
    before = simulated.cuda.allocated
    for pass_ in PASSES * 2:
        layer.run[pass_]()
    assert simulated.cuda.allocated == before


def test_the_gradient_is_the_memory_of_the_results_without_what_lies_around_it(simulated: Simulated) -> None:
    layer = prepared()
    layer.run["backward_weights"]()
    assert layer.gradient.shape == (LAYER.weights + 7 * simulated.cudnn.gap,)
    layer.gradient.fill(0.5)
    assert all((found == 0.5).all() for found in layer.results("backward_weights").values())


def test_what_is_put_is_computed_on_and_may_be_spoilt_afterwards(simulated: Simulated) -> None:
    layer, others = prepared(), operands(seed=7)
    layer.run["forward"]()
    for name in ("src", "diff_dst"):
        array = simulated.cuda.empty(others[name].shape, np.float32)
        array.set(others[name])
        layer.put(name, array)
        array.fill(np.nan)
        if name == "src":
            layer.run["forward"]()
    for pass_ in PASSES[1:]:
        layer.run[pass_]()
    for pass_, result in zip(PASSES, ("dst", "diff_src"), strict=False):
        out = simulated.cuda.empty(layer.results(pass_)[result].shape, np.float32)
        layer.take(result, out)
        assert_right({result: out.get()}, others)
    assert_right(layer.results("backward_weights"), others)


def test_what_is_put_is_computed_on_even_where_forward_does_not_come_first(simulated: Simulated) -> None:
    layer, others = prepared(), operands(seed=7)
    for pass_ in PASSES:
        layer.run[pass_]()
    for name in ("src", "diff_dst"):
        array = simulated.cuda.empty(others[name].shape, np.float32)
        array.set(others[name])
        layer.put(name, array)
    layer.run["backward_weights"]()
    assert_right(layer.results("backward_weights"), others)


def test_an_array_that_would_be_misread_is_refused(simulated: Simulated) -> None:
    layer = prepared()
    with pytest.raises(KernelError, match="src is a contiguous float32 array of 90 elements, not float64"):
        layer.put("src", simulated.cuda.empty(layer.results("backward_data")["diff_src"].shape, np.float64))
    with pytest.raises(KernelError, match="dst is a contiguous float32 array of 72 elements"):
        layer.take("dst", simulated.cuda.empty((5,), np.float32))


def test_what_is_dropped_is_free_at_once_and_what_can_be_called_is_not(simulated: Simulated) -> None:
    gc.disable()
    try:
        layer = prepared()
        memory, run = weakref.ref(layer._kept), layer.run["backward_data"]
        del layer
        assert memory() is not None
        run()
        before = simulated.cudnn.destroyed
        del run
        assert memory() is None
        assert simulated.cudnn.destroyed >= before + 6
    finally:
        gc.enable()


def test_the_search_leaves_out_what_is_not_supported(simulated: Simulated) -> None:
    cudnn = simulated.cudnn
    cudnn.unsupported = {
        "cudnnSetRNNDescriptor_v8": (1,),
        "cudnnBuildRNNDynamic": (2,),
        "cudnnRNNForward": (3,),
    }
    job, tensors = Job(LAYER, BATCH, "fp32"), operands()
    choices = KERNEL.search(job, tensors, Budget(runs=1))
    assert {choice.tried for choice in choices.values()} == {2}
    assert choices["forward"].algorithm.startswith("standard")
    assert choices["forward"].workspace_bytes == cudnn.workspace + 8
    KERNEL.prepare(job, tensors, choices)
    cudnn.unsupported["cudnnSetRNNDescriptor_v8"] = (0, 1)
    with pytest.raises(
        KernelError, match=r"lstm: no algorithm can do it: cuDNN: cudnnSetRNNDescriptor_v8: STATUS_3000"
    ):
        KERNEL.search(job, tensors, Budget(runs=1))


def test_passes_of_different_algorithms_are_refused(simulated: Simulated) -> None:
    choices = dict.fromkeys(PASSES, Choice(STANDARD.name, STANDARD.settings))
    other = plans.Plan("persist_static", "packed", "fma")
    choices |= {"forward": Choice(other.name, other.settings)}
    with pytest.raises(KernelError, match="need one algorithm"):
        KERNEL.prepare(Job(LAYER, BATCH, "fp32"), operands(), choices)


def test_it_does_recurrent_layers_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NVIDIA_TF32_OVERRIDE", raising=False)
    assert KERNEL.supports(LAYER, "fp32") is None
    assert KERNEL.supports(FC(name="fc", in_features=2, out_features=2), "fp32") == "does recurrent layers, not fc"
    split = SplitLSTM(name="some", input_size=2, hidden_size=4, units=2, time_steps=2)
    assert "not some of their units" in KERNEL.supports(split, "fp32")
    assert "int8" in KERNEL.supports(LAYER, "int8")


@pytest.mark.parametrize(("value", "refused", "left"), [("0", "tf32", "fp32"), ("1", "fp32", "fp64")])
def test_an_override_of_tf32_that_contradicts_the_dtype_is_told(
    monkeypatch: pytest.MonkeyPatch, value: str, refused: DType, left: DType
) -> None:
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", value)
    assert "unset it" in KERNEL.supports(LAYER, refused)
    assert KERNEL.supports(LAYER, left) is None


def test_what_fails_only_while_it_runs_is_told_by_prepare(
    simulated: Simulated, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(_: Host) -> None:
        raise MeasurementError("waiting for the GPU: it was lost")

    monkeypatch.setattr(Host, "synchronize", lost)
    with pytest.raises(MeasurementError, match="it was lost"):
        prepared()
