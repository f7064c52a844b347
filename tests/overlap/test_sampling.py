"""Blocks of steps: which rank's seconds are kept, and that what goes on is told."""

from __future__ import annotations

from typing import Any

import pytest

from layerbench.collectives import OneRank
from layerbench.overlap import rows
from layerbench.overlap.loops import Seconds
from layerbench.overlap.sampling import collect
from layerbench.overlap.spans import recorded
from layerbench.sampling import Rule
from layerbench.timeline import Timeline

RULE = Rule(rel_error=0.01, max_time=5.0, max_samples=6)


class Constant:
    def __init__(self, seconds: Seconds) -> None:
        self.seconds = seconds
        self.steps = 0

    def step(self) -> Seconds:
        self.steps += 1
        return self.seconds

    def close(self) -> None:
        pass


class WithAnother(OneRank):
    """Rank 0 of two, of which the other always takes the same."""

    size = 2

    def __init__(self, other: Seconds) -> None:
        super().__init__()
        self._other = other

    def gather(self, value: Any) -> list[Any]:
        return [value, self._other]


@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize("noise", [-1e-6, 1e-6])
def test_waiting_for_another_rank_is_not_the_exchange(swapped: bool, noise: float) -> None:
    # One rank computes 1 s, the other 2 s; then both exchange for 0.1 s.
    quick, slow = Seconds(2.2 + noise, 0.1, 1.1, 0.09), Seconds(2.2, 0.1, 0.1, 0.08)
    mine, other = (slow, quick) if swapped else (quick, slow)
    found = collect({"implicit": Constant(mine)}, 1, RULE, WithAnother(other), lambda _: None)["implicit"]
    assert set(found.communication) == {0.1}
    assert set(found.transfer) == {0.1}
    assert set(found.busy) == {0.08}
    assert set(found.step) == {max(mine.step, other.step)}
    row = rows.both(found, found, lanes=1, rel_error=0.01, nodes=2, placement="measured")
    assert row.compute_seconds == pytest.approx(2.0, rel=1e-5)
    assert row.attainable == pytest.approx(2.2 / 2.0, rel=1e-5)


def test_every_step_before_a_block_is_told_of() -> None:
    told: list[str] = []
    loop = Constant(Seconds(100.0, 99.0, 0.0))
    collect({"implicit": loop}, 3, RULE, OneRank(), told.append)
    # A block of such long steps has one of them, and nothing is silent for two.
    assert loop.steps <= len(told)


def test_every_step_of_a_timeline_is_told_of() -> None:
    told: list[int] = []
    loop = Constant(Seconds(1.0, 0.0, 0.0))
    recorded(loop, Timeline(), 4, 3, OneRank(), lambda: told.append(loop.steps))
    assert told == list(range(7))
