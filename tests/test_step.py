"""A step's calls in order: whose part each is, what is exchanged, and what an exchange among unlike ranks is told."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from layerbench import step, verify
from layerbench.errors import KernelError
from layerbench.kernel import Budget, Gather, Job, Prepared, Reduce, Segment
from layerbench.layers import FC, LSTM, PASSES, AnyLayer, Conv
from layerbench.network import all_gather_seconds, all_reduce_seconds
from layerbench.partition import exchanges, shares
from layerbench.records import Layout, Network
from layerbench.registry import named
from layerbench.slices import of_share
from layerbench.step import Call, Exchanged, Segments
from tests.ranks import ThreadRank, together

NUMPY = named("numpy")
BATCH = 4
DENSE = FC(name="fc", in_features=3, out_features=5)
GROUPED = Conv(name="conv", input=(4, 4), in_channels=4, out_channels=6, filter=(2, 2), groups=2)
RECURRENT = LSTM(name="lstm", input_size=3, hidden_size=5, time_steps=3)
NETWORK = Network(name="some", alpha=1e-5, beta=1e-9)


def prepared(layer: AnyLayer, layout: Layout, ranks: int, rank: int) -> tuple[Any, Prepared]:
    share = shares(layer, BATCH, ranks, layout)[rank]
    assert share.layer is not None
    operands = verify.tensors(layer, "fp32", 0, share.samples.start, share.samples.stop)
    job = Job(share.layer, share.batch, "fp32", first_unit=share.outputs.start)
    cut = of_share(layer, share, operands)
    return share, NUMPY.prepare(job, cut, NUMPY.search(job, cut, Budget(runs=1)))


def segments(layer: AnyLayer, layout: Layout, ranks: int = 2, rank: int = 0) -> Segments:
    share, each = prepared(layer, layout, ranks, rank)
    return step.segments(layer, share, layout, ranks, each)


def planned(layer: AnyLayer, layout: Layout, ranks: int = 2) -> tuple[list[Call], list[Exchanged]]:
    """The calls of rank 0, in a world that exchanges nothing."""
    every = [segments(layer, layout, ranks, rank) for rank in range(ranks)]
    counts = [step.elements(each) for each in every]
    found = together(ranks, lambda rank: step.calls(layer, every[rank.rank], PASSES, counts, rank))
    assert not isinstance(found[0], BaseException), found[0]
    return found[0]


def parts(calls: Sequence[Call]) -> list[str | None]:
    return [call.part for call in calls]


def test_the_data_layout_reduces_the_gradient_at_the_end() -> None:
    calls, exchanged = planned(DENSE, "data")
    assert parts(calls) == [*PASSES, "communication"]
    assert [(each.operation, each.bytes) for each in exchanged] == [("all_reduce", 4 * DENSE.weights)]


def test_the_model_layout_exchanges_after_two_passes() -> None:
    calls, exchanged = planned(DENSE, "model")
    assert parts(calls) == ["forward", "communication", "backward_data", "communication", "backward_weights"]
    told = exchanges(DENSE, BATCH, 2, "model", "fp32")
    assert [(each.operation, each.bytes) for each in exchanged] == [(each.operation, each.size) for each in told]


def test_a_grouped_convolution_gathers_both() -> None:
    _, exchanged = planned(GROUPED, "model")
    assert [each.operation for each in exchanged] == ["all_gather", "all_gather"]


def test_an_lstm_exchanges_after_every_time_step() -> None:
    calls, exchanged = planned(RECURRENT, "model")
    each = ["forward", "communication"] * 3 + ["backward_data", "communication"] * 3 + ["backward_weights"]
    assert parts(calls) == each
    told = exchanges(RECURRENT, BATCH, 2, "model", "fp32")
    assert [(each.operation, each.bytes) for each in exchanged] == [
        (each.operation, each.size) for each in told for _ in range(each.times)
    ]


@pytest.mark.parametrize("layout", ["data", "model"])
def test_one_rank_exchanges_nothing(layout: Layout) -> None:
    for layer in (DENSE, GROUPED, RECURRENT):
        calls, exchanged = planned(layer, layout, ranks=1)
        assert parts(calls) == list(PASSES)
        assert exchanged == []


def test_what_would_follow_a_pass_outside_the_step_is_left_out() -> None:
    first = FC(name="fc", in_features=3, out_features=5, backward_data_in_step=False)
    calls, exchanged = planned(first, "model")
    assert parts(calls) == ["forward", "communication", "backward_data", "backward_weights"]
    assert len(exchanged) == 1


def test_what_goes_on_within_a_pass_outside_the_step_counts_for_no_part() -> None:
    first = LSTM(name="l", input_size=3, hidden_size=5, time_steps=3, backward_data_in_step=False)
    calls, exchanged = planned(first, "model")
    backward = parts(calls)[6:]
    assert backward == ["backward_data", None, "backward_data", None, "backward_data", "backward_weights"]
    assert [each.operation for each in exchanged] == ["all_gather"] * 3


def test_caches_are_flushed_before_passes_and_exchanges_but_not_within_a_pass() -> None:
    calls, _ = planned(DENSE, "model")
    assert all(call.flushed for call in calls)
    calls, _ = planned(RECURRENT, "model")
    assert [call.flushed for call in calls] == [True, *[False] * 5, True, *[False] * 5, True]


def test_only_passes_that_are_timed_are_run_and_exchange() -> None:
    every = [segments(DENSE, "model", 2, rank) for rank in range(2)]
    counts = [step.elements(each) for each in every]
    calls, exchanged = step.calls(DENSE, every[0], ["backward_data", "backward_weights"], counts, None)
    assert parts(calls) == ["backward_data", "backward_weights"]
    assert [each.operation for each in exchanged] == ["all_reduce"]


def test_calls_of_two_ranks_gather_and_add_up() -> None:
    tensors = verify.tensors(DENSE, "fp32", 0, 0, BATCH)
    every = [prepared(DENSE, "model", 2, rank) for rank in range(2)]
    pieces = [step.segments(DENSE, share, "model", 2, each) for share, each in every]
    counts = [step.elements(each) for each in pieces]

    def work(rank: ThreadRank) -> None:
        for call in step.calls(DENSE, pieces[rank.rank], PASSES, counts, rank)[0]:
            call.run()

    assert together(2, work) == [None, None]
    expected = tensors["diff_dst"] @ tensors["weights"]
    for _, each in every:
        np.testing.assert_allclose(each.results("backward_data")["diff_src"], expected, rtol=1e-5, atol=1e-6)


def test_results_that_are_laid_out_differently_are_not_added_up() -> None:
    pieces = segments(DENSE, "model")
    counts = [step.elements(pieces), [step.elements(pieces)[0], 99]]
    with pytest.raises(
        KernelError, match=r"fc: ranks are to add up results .* in 12 elements on one and 99 on another"
    ):
        step.calls(DENSE, pieces, PASSES, counts, None)


def test_exchanges_are_named_with_how_often() -> None:
    _, exchanged = planned(RECURRENT, "model")
    assert step.named(exchanged, modelled=False) == (
        "MPI_Allgatherv of 80 B, 3 times; MPI_Allreduce in place of 80 B, 2 times; MPI_Allreduce in place of 144 B"
    )
    assert step.named(exchanged[:3], modelled=True) == "modelled all-gather of 80 B, 3 times"
    even, _ = planned(GROUPED, "model")[1]
    assert even.name == "MPI_Allgather"
    assert step.named(planned(DENSE, "data")[1], modelled=False) == "MPI_Allreduce in place of 60 B"


def test_computed_communication_is_the_sum_of_its_exchanges() -> None:
    gather, reduction = Exchanged("all_gather", 10_000, "MPI_Allgather"), Exchanged("all_reduce", 400, "MPI_Allreduce")
    expected = 2 * all_gather_seconds(NETWORK, 4, 10_000) + all_reduce_seconds(NETWORK, 4, 400)
    assert step.modelled_seconds(NETWORK, 4, [gather, gather, reduction]) == pytest.approx(expected)
    assert step.modelled_seconds(NETWORK, 4, []) == 0


def test_a_rank_that_is_alone_has_plausible_values_where_others_gave_theirs() -> None:
    share, each = prepared(RECURRENT, "model", 2, 0)
    pieces = step.segments(RECURRENT, share, "model", 2, each)
    step.stand_in(pieces)
    for segment in pieces["forward"]:
        assert isinstance(segment.exchange, Gather)
        mine, everyone = segment.exchange.mine, segment.exchange.everyone
        np.testing.assert_array_equal(everyone[: len(mine)], mine)
        np.testing.assert_array_equal(everyone[len(mine) :], mine[: len(everyone) - len(mine)])
        assert np.abs(everyone).max() > 0


def test_ranks_in_one_process_exchange_as_real_ones_do() -> None:
    wholes = [np.zeros(3), np.zeros(3)]
    step.exchange_among([Gather(np.array([1.0, 2.0]), wholes[0]), Gather(np.array([3.0]), wholes[1])])
    assert [array.tolist() for array in wholes] == [[1, 2, 3], [1, 2, 3]]
    buffers = [np.array([1.0, 2.0]), np.array([10.0, 20.0])]
    step.exchange_among([Reduce(buffer) for buffer in buffers])
    assert [array.tolist() for array in buffers] == [[11, 22], [11, 22]]
    step.exchange_among([None, None])
    step.exchange_among([Segment(lambda: None).exchange])
