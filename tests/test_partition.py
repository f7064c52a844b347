"""Every sample of the batch is on one rank, and no rank has more than one sample over another."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from layerbench.partition import global_batch, split


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


@pytest.mark.parametrize(("ranks", "ranks_of_a_node"), [(1, 1), (2, 1), (8, 2), (16, 4)])
def test_global_batch(ranks: int, ranks_of_a_node: int) -> None:
    assert global_batch(128, ranks, ranks_of_a_node, "strong") == 128
    assert global_batch(128, ranks, ranks_of_a_node, "weak") == 128 * (ranks // ranks_of_a_node)


@given(batch=st.integers(1, 1000), nodes=st.integers(1, 50), ranks_of_a_node=st.integers(1, 8))
def test_weak_scaling_gives_every_node_the_same_samples(batch: int, nodes: int, ranks_of_a_node: int) -> None:
    whole = global_batch(batch, nodes * ranks_of_a_node, ranks_of_a_node, "weak")
    assert whole == nodes * batch
