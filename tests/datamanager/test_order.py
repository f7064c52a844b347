"""Which samples each rank reads: its own, as many as the others, in an order that can be repeated."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from layerbench.datamanager.order import Order
from layerbench.errors import UsageError


def epoch(order: Order, number: int = 0) -> list[list[int]]:
    return [np.asarray(batch).tolist() for batch in order.epoch(number)]


@given(
    samples=st.integers(1, 200),
    batch_size=st.integers(1, 20),
    ranks=st.integers(1, 5),
    shuffle=st.none() | st.integers(0, 3),
    drop_last=st.booleans(),
)
def test_ranks_read_disjoint_samples_and_have_batches_alike(
    samples: int, batch_size: int, ranks: int, shuffle: int | None, drop_last: bool
) -> None:
    least = ranks * batch_size if drop_last else ranks
    orders = [0] * ranks
    if samples < least:
        with pytest.raises(UsageError, match="do not fill one batch"):
            Order(samples, batch_size, 0, ranks, shuffle, drop_last=drop_last)
        return
    orders = [Order(samples, batch_size, rank, ranks, shuffle, drop_last=drop_last) for rank in range(ranks)]
    read = [epoch(order) for order in orders]
    sizes = [[len(batch) for batch in batches] for batches in read]
    assert all(len(each) == orders[0].batches for each in sizes)
    # All batches are whole but, if it was asked for, the last, in which ranks differ by one sample at most.
    whole = samples // (ranks * batch_size)
    assert all(each[:whole] == [batch_size] * whole for each in sizes)
    rest = samples - whole * ranks * batch_size
    if drop_last or rest < ranks:
        assert all(len(each) == whole for each in sizes)
        rest_read = 0
    else:
        last = [each[whole] for each in sizes]
        assert min(last) >= 1
        assert max(last) - min(last) <= 1
        rest_read = sum(last)
        assert rest_read == rest
    taken = list(itertools.chain.from_iterable(itertools.chain.from_iterable(read)))
    assert len(taken) == len(set(taken)) == whole * ranks * batch_size + rest_read
    assert set(taken) <= set(range(samples))


def test_samples_in_their_own_order_are_dealt_in_rank_order() -> None:
    read = [epoch(Order(13, 2, rank, 3)) for rank in range(3)]
    assert read == [[[0, 1], [6, 7]], [[2, 3], [8, 9]], [[4, 5], [10, 11]]]


def test_samples_that_follow_each_other_are_ranges() -> None:
    assert list(Order(6, 3)) == [range(3), range(3, 6)]


def test_epochs_differ_and_a_seed_repeats_them() -> None:
    order = Order(100, 10, shuffle=7, epochs=2)
    first, again = [[batch.tolist() for batch in order] for _ in range(2)]  # type: ignore[union-attr]
    assert first == again
    assert first[:10] == epoch(order, 0) != epoch(order, 1) == first[10:]
    assert sorted(itertools.chain.from_iterable(first[10:])) == list(range(100))
    assert epoch(Order(100, 10, shuffle=8)) != first[:10]


def test_without_epochs_there_is_no_end() -> None:
    order = Order(4, 2, epochs=None)
    assert order.batches is None
    assert list(itertools.islice(order, 5)) == [range(2), range(2, 4), range(2), range(2, 4), range(2)]


@given(groups=st.lists(st.integers(0, 9), min_size=1, max_size=6), seed=st.integers(0, 9))
def test_groups_stay_together_in_a_random_order(groups: list[int], seed: int) -> None:
    samples = sum(groups)
    if not samples:
        return
    order = Order(samples, 1, shuffle=seed, groups=tuple(groups))
    read = [batch[0] for batch in epoch(order)]
    assert sorted(read) == list(range(samples))
    of_group = np.repeat(range(len(groups)), groups)[read]
    assert len(list(itertools.groupby(of_group))) == sum(length > 0 for length in groups)


def test_both_groups_and_their_samples_are_shuffled() -> None:
    orders = [epoch(Order(40, 40, shuffle=seed, groups=(20, 20)))[0] for seed in range(8)]
    assert {order[0] < 20 for order in orders} == {True, False}
    assert all(order[:20] != sorted(order[:20]) for order in orders)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"batch_size": 0}, "batch_size must be a whole number of at least 1, not 0"),
        ({"batch_size": 2.5}, "batch_size must be a whole number of at least 1, not 2.5"),
        ({"epochs": 0}, "epochs must be a whole number of at least 1, not 0"),
        ({"shuffle": -1}, "shuffle must be a whole number of at least 0, not -1"),
        ({"shuffle": True}, "shuffle must be a whole number of at least 0, not True"),
        ({"ranks": 0}, "ranks must be a whole number of at least 1, not 0"),
        ({"rank": "0"}, "rank must be a whole number of at least 0, not '0'"),
        ({"rank": 0.5, "ranks": 2}, "rank must be a whole number of at least 0, not 0.5"),
        ({"rank": 2, "ranks": 2}, "rank must be from 0 to 1 of 2 ranks, not 2"),
        ({"groups": (3, 4)}, "groups of 7 samples do not make up 10"),
        ({"batch_size": 11}, "10 samples do not fill one batch of 11: ask for a smaller batch, or keep"),
        ({"batch_size": 3, "ranks": 4}, "10 samples do not fill one batch of 3 on each of 4 ranks: ask for a smaller"),
    ],
)
def test_what_gives_no_batch_is_refused_in_one_line(wrong: dict[str, object], told: str) -> None:
    with pytest.raises(UsageError, match="^" + told.replace("(", r"\(")) as error:
        Order(**({"samples": 10, "batch_size": 2} | wrong))  # type: ignore[arg-type]
    assert "\n" not in str(error.value)
