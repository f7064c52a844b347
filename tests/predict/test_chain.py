from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product

from hypothesis import given, settings
from hypothesis import strategies as st

from layerbench.predict.chain import Change, cheapest
from layerbench.records import Layout

LAYOUTS: tuple[Layout, ...] = ("data", "model")

times = st.floats(0.0, 100.0, allow_nan=False)


@st.composite
def chains(draw: st.DrawFn) -> tuple[list[dict[Layout, float]], Change]:
    """A network of up to 8 layers: what each takes in each layout, and what changes between them cost."""
    length = draw(st.integers(1, 8))
    own: list[dict[Layout, float]] = [
        {"data": draw(times), "model": draw(st.one_of(times, st.just(math.inf)))} for _ in range(length)
    ]
    costs = draw(st.lists(st.tuples(times, times), min_size=length, max_size=length))

    def change(place: int, before: Layout, after: Layout) -> float:
        return costs[place][before == "data"] if before != after else 0.0

    return own, change


def total_of(own: list[dict[Layout, float]], change: Change, layouts: Sequence[Layout]) -> float:
    changes = (
        change(place, *layouts[place - 1 : place + 1])
        for place in range(1, len(own))
        if layouts[place - 1] != layouts[place]
    )
    return math.fsum([*(costs[layout] for costs, layout in zip(own, layouts, strict=True)), *changes])


@given(chains())
@settings(max_examples=300, deadline=None)
def test_dynamic_programming_finds_what_exhaustive_search_finds(
    chain: tuple[list[dict[Layout, float]], Change],
) -> None:
    own, change = chain
    found = cheapest(own, change)
    best = min(total_of(own, change, layouts) for layouts in product(LAYOUTS, repeat=len(own)))
    assert math.isclose(total_of(own, change, found), best, rel_tol=1e-12, abs_tol=1e-12)


def test_a_costly_change_keeps_a_chain_in_one_layout() -> None:
    own: list[dict[Layout, float]] = [{"data": 1, "model": 5}, {"data": 3, "model": 2}, {"data": 1, "model": 5}]
    assert cheapest(own, lambda *_: 0.1) == ["data", "model", "data"]
    assert cheapest(own, lambda *_: 1.0) == ["data", "data", "data"]


def test_a_change_may_cost_something_in_one_place_only() -> None:
    own: list[dict[Layout, float]] = [{"data": 1, "model": 9}, {"data": 9, "model": 1}, {"data": 9, "model": 1}]
    assert cheapest(own, lambda place, *_: 100.0 if place == 2 else 0.0) == ["data", "model", "model"]


def test_of_equal_layouts_the_first_counts_and_no_layers_have_none() -> None:
    assert cheapest([{"data": 1.0, "model": 1.0}], lambda *_: 0.0) == ["data"]
    assert cheapest([], lambda *_: 0.0) == []
