"""oneDNN's kernels against float64, their search, and what they promise the harness."""

from __future__ import annotations

import importlib
import math
import tracemalloc

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from layerbench.errors import KernelError
from layerbench.kernel import Budget, Choice, Job
from layerbench.layers import FC, LSTM, PASSES, AnyLayer, Conv, Pass

onednn = importlib.import_module("layerbench.kernels.onednn")
KERNEL = onednn.KERNEL
AVAILABLE = KERNEL.availability()

pytestmark = pytest.mark.skipif(not AVAILABLE.ok, reason=f"oneDNN: {AVAILABLE.reason}")

ONCE = Budget(runs=1)
RANDOM_SHAPES = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def operands(layer: AnyLayer, batch: int, seed: int = 0) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(seed)
    shapes = {"src": layer.input_shape(batch), "diff_dst": layer.output_shape(batch), **layer.weight_shapes}
    tensors = {name: generator.standard_normal(shape, dtype=np.float32) for name, shape in shapes.items()}
    for name in layer.weight_shapes:
        tensors[name] /= np.float32(math.sqrt(layer.fan_in))
    return tensors


def conv_reference(layer: Conv, tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Float64 convolution and its gradients, tap by tap and group by group."""
    src, weights, diff_dst = (tensors[name].astype(np.float64) for name in ("src", "weights", "diff_dst"))
    (ph, pw), (sh, sw), (dh, dw) = layer.padding, layer.stride, layer.dilation
    (height, width), (rows, columns) = layer.input, layer.output
    padded = np.pad(src, ((0, 0), (0, 0), (ph, ph), (pw, pw)))
    dst, diff_padded, diff_weights = np.zeros(diff_dst.shape), np.zeros(padded.shape), np.zeros(weights.shape)
    for group in range(layer.groups):
        of_in = layer.in_channels // layer.groups
        of_out = layer.out_channels // layer.groups
        c, k = slice(group * of_in, (group + 1) * of_in), slice(group * of_out, (group + 1) * of_out)
        for r in range(layer.filter[0]):
            for s in range(layer.filter[1]):
                y, x = slice(r * dh, r * dh + sh * rows, sh), slice(s * dw, s * dw + sw * columns, sw)
                tap = padded[:, c, y, x][:, :, :rows, :columns]
                dst[:, k] += np.einsum("ncpq,kc->nkpq", tap, weights[k, :, r, s])
                diff_padded[:, c, y, x] += np.einsum("nkpq,kc->ncpq", diff_dst[:, k], weights[k, :, r, s])
                diff_weights[k, :, r, s] = np.einsum("nkpq,ncpq->kc", diff_dst[:, k], tap)
    diff_src = diff_padded[:, :, ph : ph + height, pw : pw + width]
    return {"dst": dst, "diff_src": diff_src, "diff_weights": diff_weights}


def fc_reference(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    src, weights, diff_dst = (tensors[name].astype(np.float64) for name in ("src", "weights", "diff_dst"))
    return {"dst": src @ weights.T, "diff_src": diff_dst @ weights, "diff_weights": diff_dst.T @ src}


def lstm_step(layer: LSTM, x: np.ndarray, h: np.ndarray, c: np.ndarray, wx: np.ndarray, wh: np.ndarray):
    i, f, g, o = np.split(x @ wx.T + h @ wh.T, 4, axis=1)
    i, f, o = (1 / (1 + np.exp(-gate)) for gate in (i, f, o))
    g = np.tanh(g)
    c = f * c + i * g
    return o * np.tanh(c), c, (i, f, g, o)


def lstm_reference(layer: LSTM, tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Float64 LSTM and its gradients, one time step at a time in the canonical gate order."""
    x, wx, wh, diff_dst = (
        tensors[name].astype(np.float64) for name in ("src", "weights_input", "weights_hidden", "diff_dst")
    )
    zero = np.zeros(diff_dst.shape[1:])
    h, c, gates = [zero], [zero], []
    for t in range(layer.time_steps):
        new_h, new_c, new_gates = lstm_step(layer, x[t], h[-1], c[-1], wx, wh)
        h, c, gates = [*h, new_h], [*c, new_c], [*gates, new_gates]
    diff_src, diff_wx, diff_wh = np.zeros(x.shape), np.zeros(wx.shape), np.zeros(wh.shape)
    dh, dc = zero, zero
    for t in reversed(range(layer.time_steps)):
        i, f, g, o = gates[t]
        dh = dh + diff_dst[t]
        tanh_c = np.tanh(c[t + 1])
        dc = dc + dh * o * (1 - tanh_c**2)
        da = np.concatenate(
            [dc * g * i * (1 - i), dc * c[t] * f * (1 - f), dc * i * (1 - g**2), dh * tanh_c * o * (1 - o)], axis=1
        )
        diff_src[t] = da @ wx
        diff_wx += da.T @ x[t]
        diff_wh += da.T @ h[t]
        dh, dc = da @ wh, dc * f
    return {
        "dst": np.stack(h[1:]),
        "diff_src": diff_src,
        "diff_weights_input": diff_wx,
        "diff_weights_hidden": diff_wh,
    }


def reference(layer: AnyLayer, tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    if isinstance(layer, Conv):
        return conv_reference(layer, tensors)
    return lstm_reference(layer, tensors) if isinstance(layer, LSTM) else fc_reference(tensors)


RESULTS: dict[Pass, tuple[str, ...]] = {"forward": ("dst",), "backward_data": ("diff_src",)}


def check(layer: AnyLayer, batch: int, choices: dict[Pass, Choice], tensors: dict[str, np.ndarray]) -> None:
    """Prepare, poison, run every pass and compare it with float64."""
    prepared = KERNEL.prepare(Job(layer, batch, "fp32"), tensors, choices)
    expected = reference(layer, tensors)
    prepared.poison()
    for pass_ in PASSES:
        assert all(np.isnan(array).all() for array in prepared.results(pass_).values())
    for pass_ in PASSES:
        prepared.run[pass_]()
        results = prepared.results(pass_)
        names = RESULTS.get(pass_, tuple(f"diff_{name}" for name in layer.weight_shapes))
        assert set(results) == set(names)
        for name in names:
            assert results[name].shape == expected[name].shape
            error = np.linalg.norm(results[name] - expected[name])
            limit = KERNEL.error_limit("fp32", choices[pass_])
            assert error <= limit * np.linalg.norm(expected[name]), (choices[pass_].algorithm, name)
    assert np.isfinite(prepared.gradient).all()


@st.composite
def convolutions(draw: st.DrawFn) -> Conv:
    def pair(low: int, high: int) -> tuple[int, int]:
        return draw(st.integers(low, high)), draw(st.integers(low, high))

    groups = draw(st.sampled_from([1, 1, 2, 3]))
    size, filter_, padding, dilation = pair(1, 11), pair(1, 4), pair(0, 3), pair(1, 3)
    reach = [dilation[axis] * (filter_[axis] - 1) + 1 for axis in (0, 1)]
    assume(all(reach[axis] <= size[axis] + 2 * padding[axis] for axis in (0, 1)))
    return Conv(
        name="conv",
        input=size,
        in_channels=groups * draw(st.integers(1, 17)),
        out_channels=groups * draw(st.integers(1, 17)),
        filter=filter_,
        stride=pair(1, 3),
        padding=padding,
        dilation=dilation,
        groups=groups,
    )


LSTMS = st.builds(
    LSTM,
    name=st.just("lstm"),
    input_size=st.integers(1, 20),
    hidden_size=st.integers(1, 20),
    time_steps=st.integers(1, 6),
)
FCS = st.builds(FC, name=st.just("fc"), in_features=st.integers(1, 70), out_features=st.integers(1, 70))


@RANDOM_SHAPES
@given(layer=convolutions(), batch=st.integers(1, 4))
def test_conv_agrees_with_float64(layer: Conv, batch: int) -> None:
    tensors = operands(layer, batch)
    check(layer, batch, KERNEL.search(Job(layer, batch, "fp32"), tensors, ONCE), tensors)


@RANDOM_SHAPES
@given(layer=st.one_of(FCS, LSTMS), batch=st.integers(1, 9))
def test_fc_and_lstm_agree_with_float64(layer: FC | LSTM, batch: int) -> None:
    tensors = operands(layer, batch)
    check(layer, batch, KERNEL.search(Job(layer, batch, "fp32"), tensors, ONCE), tensors)


SHAPES = [
    Conv(name="plain", input=(9, 7), in_channels=16, out_channels=32, filter=(3, 3), padding=(1, 1)),
    Conv(name="first", input=(23, 23), in_channels=3, out_channels=20, filter=(7, 5), stride=(4, 2), padding=(2, 1)),
    Conv(name="grouped", input=(8, 8), in_channels=32, out_channels=16, filter=(3, 3), padding=(1, 1), groups=2),
    Conv(name="depthwise", input=(8, 8), in_channels=17, out_channels=17, filter=(3, 3), groups=17),
    FC(name="fc", in_features=48, out_features=33),
]


@pytest.mark.parametrize("layer", SHAPES, ids=lambda layer: layer.name)
def test_every_plan_offered_is_right_at_its_batch_and_at_another(layer: Conv | FC) -> None:
    single = importlib.import_module("layerbench.kernels._onednn_single")
    plans = importlib.import_module("layerbench.kernels._onednn_plan")
    tensors = {batch: operands(layer, batch) for batch in (3, 1)}
    offered = {
        pass_: [plan for problem in single._problems(layer, 3, pass_) for plan in plans.offered(problem)]
        for pass_ in PASSES
    }
    assert all(len({plan.implementation for plan in found}) > 1 for found in offered.values())
    for index in range(max(map(len, offered.values()))):
        choices = {
            pass_: Choice(plan.algorithm, plan.settings)
            for pass_, found in offered.items()
            for plan in [found[min(index, len(found) - 1)]]
        }
        for batch in (3, 1):
            check(layer, batch, choices, tensors[batch])


@pytest.mark.parametrize("layer", [*SHAPES, LSTM(name="lstm", input_size=5, hidden_size=7, time_steps=3)])
def test_choices_travel_as_json_and_lay_out_the_gradient_alike_at_every_batch(layer: AnyLayer) -> None:
    tensors = operands(layer, 5)
    found = KERNEL.search(Job(layer, 5, "fp32"), tensors, ONCE)
    choices = msgspec.json.decode(msgspec.json.encode(found), type=dict[Pass, Choice])
    assert choices == found
    total, whole = None, KERNEL.prepare(Job(layer, 5, "fp32"), tensors, choices)
    for part in (slice(0, 2), slice(2, 5)):
        axis = 1 if isinstance(layer, LSTM) else 0
        shard = {
            name: np.take(array, range(part.start, part.stop), axis) if name in ("src", "diff_dst") else array
            for name, array in tensors.items()
        }
        prepared = KERNEL.prepare(Job(layer, part.stop - part.start, "fp32"), shard, choices)
        prepared.run["backward_weights"]()
        total = prepared.gradient if total is None else total + prepared.gradient
    whole.run["backward_weights"]()
    np.testing.assert_allclose(total, whole.gradient, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("layer", [*SHAPES, LSTM(name="lstm", input_size=5, hidden_size=7, time_steps=3)])
def test_the_gradient_is_the_memory_that_backward_weights_writes(layer: AnyLayer) -> None:
    tensors = operands(layer, 2)
    prepared = KERNEL.prepare(Job(layer, 2, "fp32"), tensors, KERNEL.search(Job(layer, 2, "fp32"), tensors, ONCE))
    gradient = prepared.gradient
    assert gradient.dtype == np.float32
    assert gradient.ndim == 1
    assert gradient.flags.c_contiguous
    assert gradient.flags.writeable
    assert gradient.size >= layer.weights
    gradient.fill(np.nan)
    prepared.run["backward_weights"]()
    before = prepared.results("backward_weights")
    gradient *= 2
    for name, array in prepared.results("backward_weights").items():
        np.testing.assert_array_equal(array, 2 * before[name])


@pytest.mark.parametrize("layer", [*SHAPES, LSTM(name="lstm", input_size=16, hidden_size=32, time_steps=8)])
def test_timed_calls_allocate_nothing_and_repeat_exactly(layer: AnyLayer) -> None:
    tensors = operands(layer, 2)
    prepared = KERNEL.prepare(Job(layer, 2, "fp32"), tensors, KERNEL.search(Job(layer, 2, "fp32"), tensors, ONCE))
    for pass_ in PASSES:
        run = prepared.run[pass_]
        run()
        first = prepared.results(pass_)
        tracemalloc.start()
        run()
        start, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        run()
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        # A few bytes are the call's own arguments; the smallest tensor here is larger.
        assert peak - start < 1024, pass_
        for name, array in prepared.results(pass_).items():
            np.testing.assert_allclose(array, first[name], rtol=1e-5, atol=1e-6)


def test_backward_passes_may_run_in_any_order_and_number() -> None:
    layer = LSTM(name="lstm", input_size=6, hidden_size=9, time_steps=4)
    tensors = operands(layer, 3)
    prepared = KERNEL.prepare(Job(layer, 3, "fp32"), tensors, KERNEL.search(Job(layer, 3, "fp32"), tensors, ONCE))
    for pass_ in ("backward_weights", "backward_data", "backward_data", "forward", "forward", "backward_weights"):
        prepared.run[pass_]()
    expected = lstm_reference(layer, tensors)
    for pass_ in PASSES:
        for name, array in prepared.results(pass_).items():
            np.testing.assert_allclose(array, expected[name], rtol=1e-4, atol=1e-5)


def test_backward_data_reads_what_the_last_forward_left() -> None:
    layer = LSTM(name="lstm", input_size=6, hidden_size=9, time_steps=4)
    tensors = operands(layer, 3)
    prepared = KERNEL.prepare(Job(layer, 3, "fp32"), tensors, KERNEL.search(Job(layer, 3, "fp32"), tensors, ONCE))
    prepared._src *= 2
    for pass_ in PASSES:
        prepared.run[pass_]()
    expected = lstm_reference(layer, {**tensors, "src": 2 * tensors["src"]})
    for pass_ in PASSES:
        for name, array in prepared.results(pass_).items():
            np.testing.assert_allclose(array, expected[name], rtol=1e-4, atol=1e-5)


def test_the_search_tells_what_it_tries_and_how_much() -> None:
    layer = SHAPES[0]
    said: list[str] = []
    choices = KERNEL.search(Job(layer, 4, "fp32"), operands(layer, 4), Budget(runs=1, progress=said.append))
    assert len(said) >= sum(choice.tried for choice in choices.values()) > len(PASSES)
    for pass_ in PASSES:
        assert any(pass_ in text and choices[pass_].algorithm in text for text in said)


def test_a_small_workspace_is_respected_or_refused() -> None:
    layer = SHAPES[1]
    tensors = operands(layer, 2)
    free = KERNEL.search(Job(layer, 2, "fp32"), tensors, ONCE)
    tight = KERNEL.search(Job(layer, 2, "fp32"), tensors, Budget(runs=1, workspace=0))
    assert all(choice.workspace_bytes == 0 for choice in tight.values())
    assert sum(choice.tried for choice in tight.values()) < sum(choice.tried for choice in free.values())
    check(layer, 2, tight, tensors)
    lstm = LSTM(name="lstm", input_size=5, hidden_size=7, time_steps=3)
    with pytest.raises(KernelError, match=r"lstm forward: needs \d+ bytes of workspace, and 8 are allowed"):
        KERNEL.search(Job(lstm, 2, "fp32"), operands(lstm, 2), Budget(runs=1, workspace=8))


def test_a_plan_that_is_not_offered_is_named() -> None:
    layer = SHAPES[4]
    tensors = operands(layer, 2)
    choices = KERNEL.search(Job(layer, 2, "fp32"), tensors, ONCE)
    settings_ = {**choices["forward"].settings, "implementation": "gone:avx99"}
    broken = {**choices, "forward": Choice("gone", settings_)}
    with pytest.raises(KernelError, match=r"does not offer .* gone:avx99 .* src 2x48") as caught:
        KERNEL.prepare(Job(layer, 2, "fp32"), tensors, broken)
    assert "\n" not in str(caught.value)


def test_what_it_supports_and_its_limits() -> None:
    layer = SHAPES[0]
    assert KERNEL.supports(layer, "fp32") is None
    assert "fp32 only" in KERNEL.supports(layer, "bf16")
    assert KERNEL.error_limit("fp32", Choice("convolution jit:avx2 any,any->any")) == 1e-5
    assert KERNEL.error_limit("fp32", Choice("winograd convolution jit_wino:avx512_core any,any->any")) == 1e-3
    assert KERNEL.device().name == "host"
