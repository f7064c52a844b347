"""Units of an LSTM on several ranks, here in one process: together they are the LSTM, and apart they are not."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from layerbench import verify
from layerbench.kernel import Budget, Choices, Gather, Job, Kernel, Reduce
from layerbench.layers import LSTM, PASSES, Pass
from layerbench.partition import exchanges, shares
from layerbench.registry import named
from layerbench.slices import of_share, whole
from layerbench.split import Rank, search_split
from layerbench.step import exchange_among

ONCE = Budget(runs=1)
FEW = settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
LAYER = LSTM(name="lstm", input_size=5, hidden_size=7, time_steps=4)


@pytest.fixture(params=["numpy", "onednn"])
def kernel(request: pytest.FixtureRequest) -> Kernel:
    found = named(request.param)
    if not found.availability().ok:
        pytest.skip(f"{found.name}: {found.availability().reason}")
    return found


def prepared(kernel: Kernel, layer: LSTM, batch: int, ranks: int, tensors: dict[str, np.ndarray]) -> list[Any]:
    every = [
        Rank(Job(share.layer, batch, "fp32", first_unit=share.outputs.start), share)
        for share in shares(layer, batch, ranks, "model")
        if share.layer is not None
    ]
    own = of_share(layer, every[0].share, tensors)
    choices = search_split(
        kernel, layer, every, own, lambda samples: verify.tensors(layer, "fp32", 0, 0, samples), ONCE
    )
    return [kernel.prepare(rank.job, of_share(layer, rank.share, tensors), choices[rank.size]) for rank in every]


def run(ranks: list[Any], pass_: Pass) -> None:
    for segments in zip(*(each.segments[pass_] for each in ranks), strict=True):
        for segment in segments:
            segment.run()
        exchange_among([segment.exchange for segment in segments])


def alone(kernel: Kernel, layer: LSTM, batch: int, tensors: dict[str, np.ndarray]) -> dict[Pass, dict[str, np.ndarray]]:
    """The results of the whole layer on one rank."""
    job = Job(layer, batch, "fp32")
    choices: Choices = kernel.search(job, tensors, ONCE)
    one = kernel.prepare(job, tensors, choices)
    for pass_ in PASSES:
        one.run[pass_]()
    return {pass_: one.results(pass_) for pass_ in PASSES}


def error(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> float:
    assert {name: array.shape for name, array in found.items()} == {n: a.shape for n, a in expected.items()}
    return max(
        float(np.linalg.norm(found[name] - expected[name]) / (np.linalg.norm(expected[name]) or 1)) for name in expected
    )


@pytest.mark.parametrize("name", ["numpy", "onednn"])
@FEW
@given(
    inputs=st.integers(1, 20),
    units=st.integers(2, 40),
    steps=st.integers(1, 6),
    batch=st.integers(1, 9),
    ranks=st.integers(2, 5),
)
def test_all_ranks_together_compute_what_one_does(
    name: str, inputs: int, units: int, steps: int, batch: int, ranks: int
) -> None:
    kernel = named(name)
    if not kernel.availability().ok:
        pytest.skip(f"{name}: {kernel.availability().reason}")
    layer = LSTM(name="lstm", input_size=inputs, hidden_size=units, time_steps=steps)
    tensors = verify.tensors(layer, "fp32", 0, 0, batch)
    every = prepared(kernel, layer, batch, min(ranks, units), tensors)
    for each in every:
        each.poison()
    expected = alone(kernel, layer, batch, tensors)
    for pass_ in PASSES:
        run(every, pass_)
        assert error(whole(layer, pass_, [each.results(pass_) for each in every]), expected[pass_]) < 1e-5, pass_


def test_without_the_exchanges_it_is_another_result(kernel: Kernel) -> None:
    tensors = verify.tensors(LAYER, "fp32", 0, 0, 3)
    every = prepared(kernel, LAYER, 3, 2, tensors)
    expected = alone(kernel, LAYER, 3, tensors)
    for pass_ in PASSES:
        for each in every:
            each.run[pass_]()
        assert error(whole(LAYER, pass_, [each.results(pass_) for each in every]), expected[pass_]) > 1e-2, pass_


def test_what_was_poisoned_is_no_result(kernel: Kernel) -> None:
    tensors = verify.tensors(LAYER, "fp32", 0, 0, 3)
    for each in prepared(kernel, LAYER, 3, 2, tensors):
        each.poison()
        for pass_ in PASSES:
            assert all(np.isnan(array).all() for array in each.results(pass_).values())


def test_passes_repeat_exactly_and_their_pieces_allocate_nothing(kernel: Kernel) -> None:
    layer = LSTM(name="lstm", input_size=48, hidden_size=128, time_steps=6)
    every = prepared(kernel, layer, 32, 2, verify.tensors(layer, "fp32", 0, 0, 32))
    # NumPy's loops may buffer some thousand values; gates, their gradients and the copies of states are larger.
    limit = 2**17 if kernel.name == "numpy" else 2048
    for pass_ in PASSES:
        run(every, pass_)
        run(every, pass_)
        first = every[0].results(pass_)
        for segment in every[0].segments[pass_]:
            tracemalloc.start()
            start, _ = tracemalloc.get_traced_memory()
            tracemalloc.reset_peak()
            segment.run()
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            assert peak - start < limit, pass_
        if pass_ != "backward_weights":
            run(every, pass_)
        for name, array in every[0].results(pass_).items():
            np.testing.assert_array_equal(array, first[name])


def test_pieces_exchange_what_the_partition_says(kernel: Kernel) -> None:
    batch, ranks = 3, 2
    every = prepared(kernel, LAYER, batch, ranks, verify.tensors(LAYER, "fp32", 0, 0, batch))
    found = []
    for pass_ in PASSES:
        for segments in zip(*(each.segments[pass_] for each in every), strict=True):
            first, *others = [segment.exchange for segment in segments]
            assert all(type(other) is type(first) for other in others)
            if isinstance(first, Gather):
                whole_bytes = sum(segment.exchange.mine.nbytes for segment in segments)
                assert first.everyone.nbytes == whole_bytes
                found.append(("all_gather", pass_, whole_bytes))
            elif isinstance(first, Reduce):
                assert {segment.exchange.buffer.nbytes for segment in segments} == {first.buffer.nbytes}
                found.append(("all_reduce", pass_, first.buffer.nbytes))
    told = exchanges(LAYER, batch, ranks, "model", "fp32")
    assert found == [(each.operation, each.pass_, each.size) for each in told for _ in range(each.times)]


def test_the_search_times_the_products_of_the_units_at_hand() -> None:
    kernel = named("onednn")
    if not kernel.availability().ok:
        pytest.skip(f"onednn: {kernel.availability().reason}")
    layer = shares(LAYER, 3, 2, "model")[0].layer
    assert layer is not None
    choices = kernel.search(Job(layer, 3, "fp32"), {}, ONCE)
    assert [part.split(" by ")[0] for part in choices["forward"].algorithm.split("; ")] == [
        "projection",
        "logistic",
        "tanh",
    ]
    assert all(choice.tried >= 2 for choice in choices.values())
    assert choices["forward"].workspace_bytes > 0
