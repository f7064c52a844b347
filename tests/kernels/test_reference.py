"""The float64 reference against independent formulas and finite differences; the NumPy kernel against the reference."""

from __future__ import annotations

import importlib
import itertools
import math
import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest
import threadpoolctl
from hypothesis import given, settings
from hypothesis import strategies as st

from layerbench import verify
from layerbench.errors import KernelError
from layerbench.kernel import Budget, Choice, Job
from layerbench.layers import FC, LSTM, PASSES, AnyLayer, Conv, DType, Pass

MODULE = importlib.import_module("layerbench.kernels.reference")
reference = MODULE.reference
NUMPY = MODULE.KERNEL

TINY = [
    Conv(name="plain", input=(4, 5), in_channels=2, out_channels=3, filter=(3, 2)),
    Conv(
        name="everything",
        input=(7, 6),
        in_channels=4,
        out_channels=2,
        filter=(2, 3),
        stride=(2, 1),
        padding=(1, 2),
        dilation=(3, 2),
        groups=2,
    ),
    Conv(name="stride skips", input=(6, 7), in_channels=1, out_channels=2, filter=(1, 2), stride=(4, 3)),
    FC(name="fc", in_features=5, out_features=3),
    LSTM(name="lstm", input_size=3, hidden_size=2, time_steps=4),
    LSTM(name="one step", input_size=2, hidden_size=3, time_steps=1),
]


@st.composite
def conv_layers(draw: st.DrawFn) -> Conv:
    groups = draw(st.integers(1, 3))
    pair = st.tuples(st.integers(1, 3), st.integers(1, 3))
    filter_, dilation, extra = draw(pair), draw(pair), draw(st.tuples(st.integers(0, 6), st.integers(0, 6)))
    padding = draw(st.tuples(st.integers(0, 3), st.integers(0, 3)))
    reach = [d * (f - 1) + 1 for f, d in zip(filter_, dilation, strict=True)]
    size = [max(1, r - 2 * p) + e for r, p, e in zip(reach, padding, extra, strict=True)]
    return Conv(
        name="conv",
        input=(size[0], size[1]),
        in_channels=groups * draw(st.integers(1, 3)),
        out_channels=groups * draw(st.integers(1, 3)),
        filter=filter_,
        stride=draw(pair),
        padding=padding,
        dilation=dilation,
        groups=groups,
    )


def layers() -> st.SearchStrategy[AnyLayer]:
    size = st.integers(1, 9)
    return st.one_of(
        conv_layers(),
        st.builds(FC, name=st.just("fc"), in_features=size, out_features=size),
        st.builds(LSTM, name=st.just("lstm"), input_size=size, hidden_size=size, time_steps=st.integers(1, 6)),
    )


def operands(layer: AnyLayer, batch: int, dtype: DType = "fp64") -> dict[str, np.ndarray]:
    return verify.tensors(layer, dtype, 7, 0, batch)


def convolution_by_definition(layer: Conv, src: np.ndarray, weights: np.ndarray) -> np.ndarray:
    dst = np.zeros(layer.output_shape(len(src)))
    per_group = layer.in_channels // layer.groups
    for n, k, p, q in np.ndindex(*dst.shape):
        group = k // (layer.out_channels // layer.groups)
        for c, r, s in itertools.product(range(per_group), range(layer.filter[0]), range(layer.filter[1])):
            h = p * layer.stride[0] + r * layer.dilation[0] - layer.padding[0]
            w = q * layer.stride[1] + s * layer.dilation[1] - layer.padding[1]
            if 0 <= h < layer.input[0] and 0 <= w < layer.input[1]:
                dst[n, k, p, q] += weights[k, c, r, s] * src[n, group * per_group + c, h, w]
    return dst


def lstm_by_definition(layer: LSTM, src: np.ndarray, wx: np.ndarray, wh: np.ndarray) -> np.ndarray:
    size = layer.hidden_size
    dst = np.zeros(layer.output_shape(src.shape[1]))
    for n in range(src.shape[1]):
        h, c = [0.0] * size, [0.0] * size
        for t in range(layer.time_steps):
            z = [
                math.fsum(wx[row, j] * src[t, n, j] for j in range(layer.input_size))
                + math.fsum(wh[row, j] * h[j] for j in range(size))
                for row in range(4 * size)
            ]
            for unit in range(size):
                i, f, o = (1 / (1 + math.exp(-z[gate * size + unit])) for gate in (0, 1, 3))
                c[unit] = f * c[unit] + i * math.tanh(z[2 * size + unit])
                dst[t, n, unit] = h[unit] = o * math.tanh(c[unit])
    return dst


@pytest.mark.parametrize("layer", TINY, ids=lambda layer: layer.name)
def test_reference_forward_is_the_definition(layer: AnyLayer) -> None:
    t = operands(layer, 3)
    match layer:
        case Conv():
            expected = convolution_by_definition(layer, t["src"], t["weights"])
        case FC():
            expected = np.einsum("ni,oi->no", t["src"], t["weights"])
        case LSTM():
            expected = lstm_by_definition(layer, t["src"], t["weights_input"], t["weights_hidden"])
    np.testing.assert_allclose(reference(layer, "forward", t)["dst"], expected, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("layer", TINY, ids=lambda layer: layer.name)
def test_reference_gradients_are_finite_differences(layer: AnyLayer) -> None:
    """The gradient of sum(diff_dst dst) by every operand, against central differences."""
    t = operands(layer, 2)

    def loss() -> float:
        return float(np.sum(t["diff_dst"] * reference(layer, "forward", t)["dst"]))

    gradients = reference(layer, "backward_data", t) | reference(layer, "backward_weights", t)
    assert set(gradients) == {"diff_src", *(f"diff_{name}" for name in layer.weight_shapes)}
    step = 1e-5
    for name, gradient in gradients.items():
        operand = t[name.removeprefix("diff_")]
        numeric = np.zeros_like(operand)
        for index in np.ndindex(*operand.shape):
            kept = operand[index]
            operand[index] = kept + step
            above = loss()
            operand[index] = kept - step
            numeric[index] = (above - loss()) / (2 * step)
            operand[index] = kept
        np.testing.assert_allclose(gradient, numeric, rtol=1e-6, atol=1e-8, err_msg=name)


def test_reference_takes_any_float_and_answers_in_float64() -> None:
    layer = FC(name="fc", in_features=4, out_features=3)
    t = {name: tensor.astype(np.float16) for name, tensor in operands(layer, 2).items()}
    dst = reference(layer, "forward", t)["dst"]
    assert dst.dtype == np.float64
    np.testing.assert_array_equal(dst, t["src"].astype(np.float64) @ t["weights"].astype(np.float64).T)


def assert_matches_reference(layer: AnyLayer, batch: int, dtype: DType) -> None:
    t = operands(layer, batch, dtype)
    job = Job(layer, batch, dtype)
    choices = NUMPY.search(job, t, Budget(runs=1))
    prepared = NUMPY.prepare(job, t, choices)
    prepared.poison()
    for pass_ in PASSES:
        prepared.run[pass_]()
        results, expected = prepared.results(pass_), reference(layer, pass_, t)
        assert results.keys() == expected.keys()
        limit = NUMPY.error_limit(dtype, choices[pass_])
        for name, result in results.items():
            assert result.dtype == t["src"].dtype
            assert result.shape == expected[name].shape
            assert np.linalg.norm(result - expected[name]) <= limit * np.linalg.norm(expected[name]), name


@settings(max_examples=120, deadline=None)
@given(layer=layers(), batch=st.integers(1, 4), dtype=st.sampled_from(["fp32", "fp64"]))
def test_numpy_matches_the_reference_on_any_shape(layer: AnyLayer, batch: int, dtype: DType) -> None:
    assert_matches_reference(layer, batch, dtype)


@pytest.mark.parametrize("images", [1, 2, 3, 5, 64])
def test_numpy_convolution_is_the_same_in_any_chunks(images: int) -> None:
    layer = TINY[1]
    t = operands(layer, 5)
    choice = Choice(algorithm="im2col", settings={"images": images})
    prepared = NUMPY.prepare(Job(layer, 5, "fp64"), t, dict.fromkeys(PASSES, choice))
    for pass_ in reversed(PASSES):
        prepared.run[pass_]()
        for name, expected in reference(layer, pass_, t).items():
            np.testing.assert_allclose(prepared.results(pass_)[name], expected, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("layer", TINY, ids=lambda layer: layer.name)
def test_numpy_gradient_is_the_memory_of_the_weight_gradients(layer: AnyLayer) -> None:
    t = operands(layer, 2)
    prepared = NUMPY.prepare(Job(layer, 2, "fp64"), t, NUMPY.search(Job(layer, 2, "fp64"), t, Budget(runs=1)))
    gradient = prepared.gradient
    assert gradient.shape == (layer.weights,)
    assert gradient.flags.c_contiguous
    prepared.run["backward_weights"]()
    before = prepared.results("backward_weights")
    gradient *= 2
    for name, result in prepared.results("backward_weights").items():
        np.testing.assert_array_equal(result, 2 * before[name])


@pytest.mark.parametrize("layer", TINY, ids=lambda layer: layer.name)
def test_numpy_backward_passes_need_nothing_but_prepare(layer: AnyLayer) -> None:
    t = operands(layer, 2)
    job = Job(layer, 2, "fp64")
    choices = NUMPY.search(job, t, Budget(runs=1))
    for pass_ in PASSES[1:]:
        prepared = NUMPY.prepare(job, t, choices)
        for _ in range(2):
            prepared.run[pass_]()
        for name, expected in reference(layer, pass_, t).items():
            np.testing.assert_allclose(prepared.results(pass_)[name], expected, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("layer", TINY, ids=lambda layer: layer.name)
def test_numpy_results_are_poisoned_and_copies(layer: AnyLayer) -> None:
    t = operands(layer, 2)
    job = Job(layer, 2, "fp64")
    prepared = NUMPY.prepare(job, t, NUMPY.search(job, t, Budget(runs=1)))
    prepared.poison()
    for pass_ in PASSES:
        poisoned = prepared.results(pass_)
        assert all(np.isnan(result).all() for result in poisoned.values())
        prepared.run[pass_]()
        assert all(np.isnan(result).all() for result in poisoned.values())


@pytest.mark.parametrize(
    "layer",
    [
        Conv(name="conv", input=(24, 24), in_channels=16, out_channels=16, filter=(3, 3), padding=(1, 1), groups=2),
        FC(name="fc", in_features=512, out_features=512),
        LSTM(name="lstm", input_size=128, hidden_size=128, time_steps=64),
    ],
    ids=lambda layer: layer.name,
)
@pytest.mark.parametrize("batch", [1, 8])
def test_numpy_allocates_nothing_of_size_while_it_is_timed(layer: AnyLayer, batch: int) -> None:
    t = operands(layer, batch, "fp32")
    job = Job(layer, batch, "fp32")
    prepared = NUMPY.prepare(job, t, NUMPY.search(job, t, Budget(runs=1)))
    for pass_ in PASSES:
        prepared.run[pass_]()
        tracemalloc.start()
        try:
            prepared.run[pass_]()
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        # NumPy's loops buffer 8192 values of each of three operands; the weights or the columns are larger than that.
        assert peak < 2**17, f"{pass_} allocated {peak} bytes"


def test_numpy_search_keeps_to_the_workspace() -> None:
    layer = Conv(name="conv", input=(16, 16), in_channels=8, out_channels=4, filter=(3, 3))
    one = 4 * 8 * 9 * 14 * 14
    weights = 4 * layer.weights
    t = operands(layer, 6, "fp32")
    tried: list[str] = []
    choices = NUMPY.search(Job(layer, 6, "fp32"), t, Budget(workspace=3 * one + weights, runs=1, progress=tried.append))
    assert {choice.settings["images"] for choice in choices.values()} <= {1, 3}
    assert all(choice.workspace_bytes <= 3 * one + weights for choice in choices.values())
    assert all(choice.tried == 2 for choice in choices.values())
    assert len(tried) == 2 * len(PASSES)
    with pytest.raises(KernelError, match=r"conv needs \d+ bytes of workspace .* and 1000 are allowed"):
        NUMPY.search(Job(layer, 6, "fp32"), t, Budget(workspace=1000))


class Ticking:
    """A device on which a run takes as long as the run says."""

    name = "ticking"

    def __init__(self) -> None:
        self.last = 0.0

    def time_parts(self, parts: list[Callable[[], None]], repetitions: int) -> list[float]:
        assert (len(parts), repetitions) == (1, 1)
        parts[0]()
        return [self.last]


def test_search_takes_the_least_time_and_gives_up_on_the_slow() -> None:
    fastest = importlib.import_module("layerbench.kernels._search").fastest
    device = Ticking()
    times = {"steady": [2.0, 2.0, 2.0], "late": [2.9, 2.5, 1.9], "slow": [3.0, 0.1, 0.1]}
    calls = dict.fromkeys(times, 0)

    def run(name: str) -> Callable[[], None]:
        def tick() -> None:
            device.last = times[name][calls[name]]
            calls[name] += 1

        return tick

    assert fastest({name: run(name) for name in times}, device, Budget(runs=3, patience=1.5)) == "late"
    assert calls == {"steady": 3, "late": 3, "slow": 1}


@pytest.mark.parametrize("threads", [1, 2])
def test_numpy_holds_blas_to_the_threads_of_the_job(threads: int) -> None:
    layer = FC(name="fc", in_features=4, out_features=4)
    t = operands(layer, 2)
    with threadpoolctl.threadpool_limits():
        job = Job(layer, 2, "fp64", threads)
        NUMPY.prepare(job, t, NUMPY.search(job, t, Budget()))
        blas = [pool["num_threads"] for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas"]
        assert blas
        assert set(blas) == {threads}


def test_numpy_says_what_it_cannot_do() -> None:
    layer = FC(name="fc", in_features=4, out_features=4)
    assert NUMPY.availability().ok
    assert NUMPY.availability().version == np.__version__
    assert NUMPY.supports(layer, "fp32") is None
    assert "bf16" in NUMPY.supports(layer, "bf16")


@pytest.mark.parametrize("pass_", PASSES)
def test_reference_reads_only_the_operands_of_its_pass(pass_: Pass) -> None:
    layer = FC(name="fc", in_features=4, out_features=3)
    unread = {"forward": "diff_dst", "backward_data": "src", "backward_weights": "weights"}[pass_]
    t = operands(layer, 2)
    assert np.isfinite(next(iter(reference(layer, pass_, {n: v for n, v in t.items() if n != unread}).values()))).all()
