"""cuDNN's convolutions on a GPU: right in every plan's layout, the same when searched again, fit for a CUDA graph."""

from __future__ import annotations

import importlib
import math
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from layerbench import verify
from layerbench.cuda import library
from layerbench.errors import KernelError
from layerbench.kernel import Budget, Choice, Job
from layerbench.layers import PASSES, Conv, DType, Pass

KERNEL = importlib.import_module("layerbench.kernels.cudnn").KERNEL
graphs = importlib.import_module("layerbench.kernels._cudnn_graph")
arrays = importlib.import_module("layerbench.kernels._cuda_arrays")
loading = importlib.import_module("layerbench.kernels._cudnn_load")

pytestmark = pytest.mark.gpu

DTYPES: tuple[DType, ...] = ("fp64", "fp32", "tf32", "bf16", "fp16")

LAYERS = [
    Conv(name="plain", input=(13, 13), in_channels=32, out_channels=64, filter=(3, 3), padding=(1, 1)),
    Conv(name="first", input=(64, 64), in_channels=3, out_channels=32, filter=(11, 11), stride=(4, 4), padding=(2, 2)),
    Conv(
        name="odd",
        input=(19, 17),
        in_channels=16,
        out_channels=24,
        filter=(3, 2),
        stride=(2, 1),
        padding=(1, 2),
        dilation=(2, 1),
        groups=2,
    ),
]


@pytest.fixture(scope="module", autouse=True)
def _available() -> None:
    if not (found := KERNEL.availability()).ok:
        pytest.skip(f"cuDNN: {found.reason}")


def search(layer: Conv, batch: int, dtype: DType) -> dict[Pass, Choice]:
    if (reason := KERNEL.supports(layer, dtype)) is not None:
        pytest.skip(reason)
    found = KERNEL.search(Job(layer, batch, dtype), verify.tensors(layer, dtype, 1, 0, batch), Budget(runs=1))
    return msgspec.json.decode(msgspec.json.encode(found), type=dict[Pass, Choice])


def assert_right(layer: Conv, batch: int, dtype: DType, choices: dict[Pass, Choice]) -> None:
    job = Job(layer, batch, dtype)
    operands = verify.tensors(layer, dtype, 1, 0, batch)
    for pass_, verified in verify.verify(KERNEL, job, operands, choices).items():
        assert verified.ok, (layer.name, dtype, pass_, choices[pass_].algorithm, verified.relative_error)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.name)
def test_what_is_chosen_is_right(layer: Conv, dtype: DType) -> None:
    choices = search(layer, 8, dtype)
    assert all(choice.tried > 1 for choice in choices.values())
    assert_right(layer, 8, dtype, choices)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", graphs.LAYOUTS)
@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.name)
def test_plans_that_were_not_chosen_are_right_too(layer: Conv, layout: str, dtype: DType) -> None:
    if (reason := KERNEL.supports(layer, dtype)) is not None:
        pytest.skip(reason)
    place = {"handle": loading.handle().raw}
    plans: dict[Pass, list[Any]] = {}
    for pass_ in PASSES:
        problem = graphs.Problem(layer, 4, dtype, pass_, layout)
        plans[pass_] = [(plan, graphs.notes_of(problem, place, plan)) for plan, _, _ in graphs.offered(problem, place)][
            :6
        ]
    ran = 0
    for index in range(max(map(len, plans.values()))):
        choices = {}
        for pass_, of_pass in plans.items():
            plan, notes = of_pass[min(index, len(of_pass) - 1)]
            choices[pass_] = Choice(plan.algorithm, {**plan.settings, "notes": notes})
        try:
            assert_right(layer, 4, dtype, choices)
        except KernelError:
            continue  # one that cannot be run, as the search would have found
        ran += 1
    assert ran


@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_random_shapes_are_right(data: st.DataObject) -> None:
    def pair(low: int, high: int) -> tuple[int, int]:
        return data.draw(st.integers(low, high)), data.draw(st.integers(low, high))

    groups = data.draw(st.sampled_from([1, 1, 2, 4]))
    size, filter_, padding, dilation = pair(1, 19), pair(1, 5), pair(0, 3), pair(1, 3)
    assume(all(d * (f - 1) + 1 <= n + 2 * p for n, f, p, d in zip(size, filter_, padding, dilation, strict=True)))
    layer = Conv(
        name="random",
        input=size,
        in_channels=groups * data.draw(st.integers(1, 24)),
        out_channels=groups * data.draw(st.integers(1, 24)),
        filter=filter_,
        stride=pair(1, 3),
        padding=padding,
        dilation=dilation,
        groups=groups,
    )
    dtype = data.draw(st.sampled_from(["fp32", "tf32", "bf16", "fp16"]))
    if KERNEL.supports(layer, dtype) is not None:
        return
    batch = data.draw(st.integers(1, 5))
    assert_right(layer, batch, dtype, search(layer, batch, dtype))


def test_searched_twice_the_choice_is_as_fast() -> None:
    layer, batch, dtype = LAYERS[0], 64, "fp32"
    job, operands = Job(layer, batch, dtype), verify.tensors(LAYERS[0], "fp32", 1, 0, 64)
    twice = [KERNEL.search(job, operands, Budget()) for _ in range(2)]
    ready = [KERNEL.prepare(job, operands, choices) for choices in twice]
    device = KERNEL.device()
    for pass_ in PASSES:
        first, second = (min(device.time_parts([each.run[pass_]], 50)[0] for _ in range(5)) for each in ready)
        assert first == pytest.approx(second, rel=0.1), [choices[pass_].algorithm for choices in twice]


def test_calls_can_be_captured_and_replayed() -> None:
    cupy = library.load()
    layer, batch = LAYERS[0], 8
    job, operands = Job(layer, batch, "fp32"), verify.tensors(layer, "fp32", 1, 0, batch)
    ready = KERNEL.prepare(job, operands, search(layer, batch, "fp32"))
    expected = {}
    for pass_ in PASSES:
        ready.run[pass_]()
        expected |= ready.results(pass_)
    stream = cupy.cuda.Stream(non_blocking=True)
    with stream:
        stream.begin_capture()
        for pass_ in PASSES:
            ready.run[pass_]()
        graph = stream.end_capture()
    cupy.cuda.get_current_stream().synchronize()
    ready.poison()
    assert all(math.isnan(array.flat[0]) for pass_ in PASSES for array in ready.results(pass_).values())
    cupy.cuda.get_current_stream().synchronize()
    with stream:
        graph.launch()
        stream.synchronize()
    for pass_ in PASSES:
        for name, array in ready.results(pass_).items():
            # All in all: where a plan adds up by atomics, an element near zero may come out quite another one.
            assert np.linalg.norm(array - expected[name]) <= 1e-5 * np.linalg.norm(expected[name])
    # The handle outlives the test, and shall not be left with the test's stream.
    ready.run["forward"]()


def test_timed_calls_allocate_nothing() -> None:
    cupy = library.load()
    layer, batch = LAYERS[0], 8
    job, operands = Job(layer, batch, "bf16"), verify.tensors(layer, "bf16", 1, 0, batch)
    ready = KERNEL.prepare(job, operands, search(layer, batch, "bf16"))
    out = cupy.empty(layer.output_shape(batch), np.uint16)
    src = cupy.zeros(layer.input_shape(batch), np.uint16)
    pool = cupy.get_default_memory_pool()
    used = pool.used_bytes()
    ready.put("src", src)
    for pass_ in PASSES:
        ready.run[pass_]()
    ready.take("dst", out)
    assert pool.used_bytes() == used
    cupy.cuda.get_current_stream().synchronize()
    assert not arrays.bf16_values(out.get()).any()  # a zero may be a negative one
