"""cuDNN's convolutions as prepared, its front end and CuPy simulated: results, layouts, memory, streams."""

from __future__ import annotations

import math
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from layerbench import verify
from layerbench.errors import KernelError, MeasurementError
from layerbench.kernel import Choice, Job
from layerbench.layers import FC, PASSES, Conv, DType, Pass
from tests.kernels.cudnn_cases import (
    ALL_LAYOUTS,
    BATCH,
    KERNEL,
    LAYER,
    MIXED,
    PLAIN,
    QUICK,
    UNNAMED,
    Installed,
    chosen,
    installer,
    prepared,
    search,
    tensors,
)
from tests.kernels.simulated_arrays import CuPy, Stream


@pytest.fixture
def simulated(monkeypatch: pytest.MonkeyPatch) -> Installed:
    """Puts simulated libraries in place of the real ones, with these plans."""
    return installer(monkeypatch)


@pytest.mark.parametrize("dtype", ["fp64", "fp32", "tf32", "bf16", "fp16"])
@pytest.mark.parametrize("choices", ALL_LAYOUTS, ids=lambda c: " ".join(c[p].settings["layout"] for p in PASSES))
def test_every_pass_agrees_with_the_reference_in_every_layout(
    simulated: Installed, choices: dict[Pass, Choice], dtype: DType
) -> None:
    simulated(QUICK)
    for pass_, verified in verify.verify(KERNEL, Job(LAYER, BATCH, dtype), tensors(dtype), choices).items():
        assert verified.ok, pass_
        assert verified.batch == verify.FEW


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_a_wrong_plan_is_found_out(simulated: Installed, dtype: DType) -> None:
    simulated(replace(QUICK, error=0.05))
    verifications = verify.verify(KERNEL, Job(LAYER, BATCH, dtype), tensors(dtype), MIXED)
    assert not any(verified.ok for verified in verifications.values())


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_random_shapes(simulated: Installed, data: st.DataObject) -> None:
    def pair(low: int, high: int) -> tuple[int, int]:
        return data.draw(st.integers(low, high)), data.draw(st.integers(low, high))

    groups = data.draw(st.sampled_from([1, 2, 3]))
    size, filter_, padding, dilation = pair(1, 9), pair(1, 4), pair(0, 3), pair(1, 3)
    assume(all(d * (f - 1) + 1 <= n + 2 * p for n, f, p, d in zip(size, filter_, padding, dilation, strict=True)))
    layer = Conv(
        name="random",
        input=size,
        in_channels=groups * data.draw(st.integers(1, 5)),
        out_channels=groups * data.draw(st.integers(1, 5)),
        filter=filter_,
        stride=pair(1, 3),
        padding=padding,
        dilation=dilation,
        groups=groups,
    )
    simulated(QUICK)
    batch = data.draw(st.integers(1, 4))
    job = Job(layer, batch, "fp32")
    assert all(v.ok for v in verify.verify(KERNEL, job, tensors(layer=layer, batch=batch), MIXED).values())


def test_where_a_plan_refuses_few_samples_the_whole_batch_is_verified(simulated: Installed) -> None:
    simulated(replace(QUICK, least_batch=BATCH))
    for verified in verify.verify(KERNEL, Job(LAYER, BATCH, "fp32"), tensors(), search()).values():
        assert verified.ok
        assert verified.batch == BATCH


def test_a_plan_whose_knobs_have_no_names_and_that_is_gone_is_named(simulated: Installed) -> None:
    simulated(UNNAMED)
    choices = search()
    simulated(PLAIN)
    with pytest.raises(KernelError, match=r"conv forward N...: cuDNN does not offer eng2_k5=4 for a batch of 3"):
        prepared(choices)


def test_a_plan_that_is_gone_is_named(simulated: Installed) -> None:
    simulated(PLAIN)
    with pytest.raises(KernelError, match=r"conv forward NHWC.*eng2_k2=3") as caught:
        prepared(MIXED)
    assert "\n" not in str(caught.value)


def test_the_gradient_is_the_memory_that_backward_weights_writes(simulated: Installed) -> None:
    simulated(QUICK)
    for layout in ("NCHW", "NHWC"):
        ready = prepared(chosen("NCHW", "NCHW", layout))
        assert ready.gradient.memory.ndim == 1
        assert ready.gradient.size == LAYER.weights
        ready.run["backward_weights"]()
        before = ready.results("backward_weights")["diff_weights"]
        ready.gradient.memory *= 2
        np.testing.assert_array_equal(ready.results("backward_weights")["diff_weights"], 2 * before)


@pytest.mark.parametrize("dtype", ["fp32", "bf16", "fp16"])
def test_poison_reaches_every_result(simulated: Installed, dtype: DType) -> None:
    simulated(QUICK)
    ready = prepared(MIXED, dtype)
    ready.poison()
    for pass_ in PASSES:
        for array in ready.results(pass_).values():
            assert np.isnan(array).all()


@pytest.mark.parametrize("choices", [chosen("NCHW", "NCHW", "NCHW"), MIXED, chosen("NCHW", "NHWC", "NHWC")])
def test_what_is_put_is_computed_on_and_taken_without_allocating(
    simulated: Installed, choices: dict[Pass, Choice]
) -> None:
    cupy = simulated(replace(QUICK, workspace=256))
    ready = prepared(choices)
    others = verify.tensors(LAYER, "fp32", 2, 0, BATCH)
    arrays = {name: cupy.empty(others[name].shape, np.float32) for name in ("src", "diff_dst")}
    out = {
        name: cupy.empty(others[like].shape, np.float32) for name, like in (("dst", "diff_dst"), ("diff_src", "src"))
    }
    for name, array in arrays.items():
        array.set(others[name])
    before = cupy.allocations
    for name, array in arrays.items():
        ready.put(name, array)
        array.fill(math.nan)
    for pass_ in PASSES:
        ready.run[pass_]()
    for name, array in out.items():
        ready.take(name, array)
    assert cupy.allocations == before
    mixed = {**tensors(), **{name: others[name] for name in arrays}}
    expected = KERNEL.prepare(Job(LAYER, BATCH, "fp32"), mixed, choices)
    for pass_, name in (("forward", "dst"), ("backward_data", "diff_src")):
        np.testing.assert_array_equal(out[name].get(), expected.results(pass_)[name])
    np.testing.assert_array_equal(
        ready.results("backward_weights")["diff_weights"], expected.results("backward_weights")["diff_weights"]
    )


def test_a_call_queues_on_the_stream_that_is_current_then(simulated: Installed) -> None:
    cupy = simulated(QUICK)
    ready = prepared(MIXED)
    front_end = sys.modules["cudnn"]
    for stream in (Stream(17), Stream(18), Stream(17)):
        synchronized = stream.synchronized
        with cupy.on(stream):
            told = front_end.set_streams
            for pass_ in PASSES:
                ready.run[pass_]()
            assert front_end.set_streams == told + 1, "it is asked for once, not in every call"
        assert stream.synchronized == synchronized, "a call that waits cannot be captured"
    ready.run["forward"]()


@pytest.mark.parametrize(
    ("fault", "kind", "told"),
    [
        ("run later", KernelError, "cudnn: conv forward: .*CUDNN_STATUS_EXECUTION_FAILED"),
        ("lost later", MeasurementError, "cudnn: conv forward: the GPU failed or was lost"),
    ],
)
def test_a_call_that_fails_after_it_was_prepared_is_one_line(
    simulated: Installed, fault: str, kind: type[Exception], told: str
) -> None:
    simulated(replace(QUICK, fault=fault))
    ready = prepared(MIXED)
    with pytest.raises(kind, match=f"^{told}") as raised:
        ready.run["forward"]()
    assert type(raised.value) is kind
    assert "\n" not in str(raised.value)


def test_passes_share_one_workspace_that_suits_the_greediest(simulated: Installed) -> None:
    cupy = simulated(replace(QUICK, workspace=4096), replace(PLAIN, workspace=64))
    plain = {"layout": "NCHW", "engine": 1, "knobs": {"TILE_SIZE": 7}, "plan": PLAIN.name}
    ready = prepared({**MIXED, "forward": Choice("", plain), "backward_data": Choice("", plain)})
    for pass_ in PASSES:
        ready.run[pass_]()
    assert [nbytes for nbytes in cupy.live.values() if nbytes in {64, 4096}] == [4096]


def test_a_plan_that_its_knobs_do_not_give_is_found_by_name(simulated: Installed) -> None:
    simulated(replace(QUICK, fault="replay"))
    for verified in verify.verify(KERNEL, Job(LAYER, BATCH, "fp32"), tensors(), search()).values():
        assert verified.ok


def test_what_it_supports(simulated: Installed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NVIDIA_TF32_OVERRIDE", raising=False)
    simulated(QUICK)
    for dtype in ("fp64", "fp32", "tf32", "bf16", "fp16"):
        assert KERNEL.supports(LAYER, dtype) is None
    assert KERNEL.supports(LAYER, "int8") == "does fp64, fp32, tf32, bf16, fp16, not int8"
    assert KERNEL.supports(FC(name="fc", in_features=2, out_features=2), "fp32") == "does convolutions, not fc"
    simulated(QUICK, cupy=CuPy(capability="75"))
    assert KERNEL.supports(LAYER, "fp16") is None
    assert "bf16 needs a GPU of compute capability 8.0, and this one has 7.5" in str(KERNEL.supports(LAYER, "bf16"))
    assert "tf32 needs" in str(KERNEL.supports(LAYER, "tf32"))
    for capability in ("80", "120"):
        simulated(QUICK, cupy=CuPy(capability=capability))
        assert KERNEL.supports(LAYER, "tf32") is None
    assert KERNEL.supports(LAYER, "bf16") is None


def test_an_environment_that_contradicts_the_dtype_is_refused(
    simulated: Installed, monkeypatch: pytest.MonkeyPatch
) -> None:
    simulated(QUICK)
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "0")
    assert "NVIDIA_TF32_OVERRIDE=0" in str(KERNEL.supports(LAYER, "tf32"))
    assert KERNEL.supports(LAYER, "fp32") is None
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "1")
    assert KERNEL.supports(LAYER, "tf32") is None
    assert "NVIDIA_TF32_OVERRIDE=1" in str(KERNEL.supports(LAYER, "fp32"))
