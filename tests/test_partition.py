"""What ranks compute covers the layer once, evenly; and what they exchange is counted by hand for every kind."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from layerbench.layers import FC, LSTM, AnyLayer, Conv, SplitLSTM
from layerbench.partition import Exchange, exchanges, global_batch, narrowed, outputs, shares, split, without_work
from layerbench.records import Layout

CONV = Conv(name="conv", input=(6, 5), in_channels=6, out_channels=10, filter=(3, 2))
GROUPED = Conv(name="grouped", input=(6, 5), in_channels=6, out_channels=12, filter=(3, 2), groups=3)
DENSE = FC(name="fc", in_features=7, out_features=10)
RECURRENT = LSTM(name="lstm", input_size=3, hidden_size=10, time_steps=4)
LAYERS = (CONV, GROUPED, DENSE, RECURRENT)


@given(batch=st.integers(0, 10_000), ranks=st.integers(1, 300))
def test_shards_cover_the_batch_once_and_evenly(batch: int, ranks: int) -> None:
    shards = split(batch, ranks)
    assert [shard.rank for shard in shards] == list(range(ranks))
    assert [sample for shard in shards for sample in range(shard.start, shard.stop)] == list(range(batch))
    sizes = [shard.batch for shard in shards]
    assert max(sizes) - min(sizes) <= 1
    assert sizes == sorted(sizes, reverse=True), "the first ranks have one more"


def test_an_uneven_split_by_hand() -> None:
    assert [(shard.start, shard.stop) for shard in split(10, 4)] == [(0, 3), (3, 6), (6, 8), (8, 10)]


def test_more_ranks_than_samples_leaves_empty_shards() -> None:
    assert [shard.batch for shard in split(2, 4)] == [1, 1, 0, 0]


@given(
    layer=st.sampled_from(LAYERS),
    batch=st.integers(1, 20),
    ranks=st.integers(1, 14),
    layout=st.sampled_from(("data", "model")),
)
def test_shares_cover_samples_and_outputs_once(layer: AnyLayer, batch: int, ranks: int, layout: Layout) -> None:
    found = shares(layer, batch, ranks, layout)
    covered = [
        (sample, output)
        for share in found
        for sample in range(share.samples.start, share.samples.stop)
        for output in range(share.outputs.start, share.outputs.stop)
    ]
    assert sorted(covered) == [(sample, output) for sample in range(batch) for output in range(outputs(layer))]
    for share in found:
        nothing = not share.samples.batch or not share.outputs.batch
        assert (share.layer is None) == nothing
        assert share.batch == (0 if nothing else share.samples.batch)


@given(layer=st.sampled_from(LAYERS), batch=st.integers(1, 20), ranks=st.integers(1, 10))
def test_shares_have_all_of_the_work_and_all_weights_between_them(layer: AnyLayer, batch: int, ranks: int) -> None:
    working = [share for share in shares(layer, batch, ranks, "model") if share.layer is not None]
    assert sum(share.layer.macs(share.batch) for share in working if share.layer) == layer.macs(batch)
    assert sum(share.layer.weights for share in working if share.layer) == layer.weights
    assert {share.batch for share in working} == {batch}, "every rank has all samples"


def test_one_rank_has_the_layer_itself() -> None:
    for layer in LAYERS:
        assert [share.layer for share in shares(layer, 4, 1, "model")] == [layer]


def test_narrow_layers_by_hand() -> None:
    assert narrowed(DENSE, 4) == FC(name="fc", in_features=7, out_features=4)
    assert narrowed(CONV, 4) == Conv(name="conv", input=(6, 5), in_channels=6, out_channels=4, filter=(3, 2))
    assert narrowed(GROUPED, 2) == Conv(
        name="grouped", input=(6, 5), in_channels=4, out_channels=8, filter=(3, 2), groups=2
    )
    assert narrowed(RECURRENT, 4) == SplitLSTM(name="lstm", input_size=3, hidden_size=10, units=4, time_steps=4)


def test_a_first_layer_stays_one_when_it_is_narrowed() -> None:
    first = LSTM(name="l", input_size=3, hidden_size=4, time_steps=2, backward_data_in_step=False)
    assert not narrowed(first, 2).backward_data_in_step


@pytest.mark.parametrize(
    ("layer", "layout", "said"),
    [
        (DENSE, "data", "a batch of 3 leaves 1 of 4 ranks without a sample"),
        (RECURRENT, "model", "10 units, which the model layout splits, leave 2 of 12 ranks without one"),
        (GROUPED, "model", "3 groups, which the model layout splits, leave 1 of 4 ranks without one"),
        (CONV, "model", "10 output channels, which the model layout splits, leave 1 of 11 ranks without one"),
        (DENSE, "model", "10 output features, which the model layout splits, leave 1 of 11 ranks without one"),
    ],
)
def test_ranks_without_work_are_counted(layer: AnyLayer, layout: Layout, said: str) -> None:
    ranks = int(said.partition(" ranks")[0].rpartition(" ")[2])
    assert without_work(layer, shares(layer, 3, ranks, layout), layout) == said
    few = 3 if layout == "data" else outputs(layer)
    assert without_work(layer, shares(layer, 3, few, layout), layout) == ""


def test_the_data_layout_exchanges_the_gradient_in_float32_at_least() -> None:
    assert exchanges(DENSE, 8, 2, "data", "fp32") == [Exchange("all_reduce", "backward_weights", 4 * 70)]
    assert exchanges(DENSE, 8, 2, "data", "bf16") == [Exchange("all_reduce", "backward_weights", 4 * 70)]
    assert exchanges(DENSE, 8, 2, "data", "fp64") == [Exchange("all_reduce", "backward_weights", 8 * 70)]


def test_the_model_layout_gathers_outputs_and_reduces_input_gradients() -> None:
    assert exchanges(DENSE, 8, 2, "model", "fp32") == [
        Exchange("all_gather", "forward", 4 * 8 * 10),
        Exchange("all_reduce", "backward_data", 4 * 8 * 7),
    ]
    assert exchanges(CONV, 8, 2, "model", "bf16") == [
        Exchange("all_gather", "forward", 2 * 8 * 10 * 4 * 4),
        Exchange("all_reduce", "backward_data", 2 * 8 * 6 * 6 * 5),
    ]


def test_whole_groups_have_their_own_input_so_its_gradient_is_gathered() -> None:
    assert exchanges(GROUPED, 8, 2, "model", "fp32") == [
        Exchange("all_gather", "forward", 4 * 8 * 12 * 4 * 4),
        Exchange("all_gather", "backward_data", 4 * 8 * 6 * 6 * 5),
    ]


def test_an_lstm_exchanges_its_state_at_every_time_step() -> None:
    assert exchanges(RECURRENT, 8, 2, "model", "fp32") == [
        Exchange("all_gather", "forward", 4 * 8 * 10, 4),
        Exchange("all_reduce", "backward_data", 4 * 8 * 10, 3),
        Exchange("all_reduce", "backward_data", 4 * 4 * 8 * 3),
    ]
    once = LSTM(name="l", input_size=3, hidden_size=10, time_steps=1)
    assert [exchange.times for exchange in exchanges(once, 8, 2, "model", "fp32")] == [1, 1]


@pytest.mark.parametrize("layout", ["data", "model"])
def test_one_rank_exchanges_nothing(layout: Layout) -> None:
    for layer in LAYERS:
        assert exchanges(layer, 8, 1, layout, "fp32") == []


def test_a_pass_that_is_not_in_the_step_exchanges_nothing_in_it() -> None:
    first = FC(name="fc", in_features=7, out_features=10, backward_data_in_step=False)
    assert [exchange.pass_ for exchange in exchanges(first, 8, 2, "model", "fp32")] == ["forward"]


@pytest.mark.parametrize(("ranks", "ranks_of_a_node"), [(1, 1), (2, 1), (8, 2), (16, 4)])
def test_global_batch(ranks: int, ranks_of_a_node: int) -> None:
    assert global_batch(128, ranks, ranks_of_a_node, "strong") == 128
    assert global_batch(128, ranks, ranks_of_a_node, "weak") == 128 * (ranks // ranks_of_a_node)


@given(batch=st.integers(1, 1000), nodes=st.integers(1, 50), ranks_of_a_node=st.integers(1, 8))
def test_weak_scaling_gives_every_node_the_same_samples(batch: int, nodes: int, ranks_of_a_node: int) -> None:
    whole = global_batch(batch, nodes * ranks_of_a_node, ranks_of_a_node, "weak")
    assert whole == nodes * batch
