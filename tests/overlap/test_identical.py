"""The comparison of both modes, on steps that go wrong."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from layerbench.collectives import OneRank
from layerbench.errors import VerificationError
from layerbench.overlap.identical import STEPS, Compared, compare
from layerbench.overlap.loops import Seconds
from layerbench.overlap.measure import _see_that_they_agree
from layerbench.overlap_records import Mode


class TwoRanks(OneRank):
    """A rank that is told that there is another one like it."""

    size = 2


class Wrong:
    """A loop whose gradients, or activations, are multiplied in one of its explicit steps."""

    def __init__(self, mode: Mode, state: Any, what: str, at: int, factor: float) -> None:
        self._mode, self._state, self._what, self._at, self._factor = mode, state, what, at, factor
        self._number = -1

    def step(self) -> Seconds:
        self._number += 1
        wrong = self._mode == "explicit" and self._number == self._at
        for what in ("activations", "gradients"):
            array = np.arange(1, 9, dtype=np.float32) + self._number
            setattr(self._state, what, array * np.float32(self._factor) if wrong and what == self._what else array)
        return Seconds(1.0, 0.0, 0.0)

    def close(self) -> None:
        pass


def compared(what: str, at: int, factor: float, ranks: Any = None) -> tuple[Compared, list[str]]:
    state = SimpleNamespace(activations=None, gradients=None)
    told: list[str] = []

    class Step:
        activations = staticmethod(lambda: {"fc": state.activations})

        @property
        def gradients(self) -> list[np.ndarray]:
            return [state.gradients]

    found = compare(
        lambda mode: Wrong(mode, state, what, at, factor),
        Step(),  # type: ignore[arg-type]
        ranks or OneRank(),
        told.append,
    )
    return found, told


def test_equal_steps_are_identical_and_each_is_told_of() -> None:
    found, told = compared("gradients", STEPS, 2.0)
    assert found == Compared(identical=True)
    assert len(told) == 2 * STEPS


@pytest.mark.parametrize("factor", [0.5, 2.0, 0.0, math.nan, math.inf])
@pytest.mark.parametrize("at", range(STEPS))
@pytest.mark.parametrize("what", ["activations", "gradients"])
def test_a_wrong_step_is_refused_whichever_it_is(what: str, at: int, factor: float) -> None:
    found, _ = compared(what, at, factor, TwoRanks())
    assert not found.identical
    assert found.difference >= 0.5
    with pytest.raises(VerificationError, match=what):
        _see_that_they_agree(found)


@pytest.mark.parametrize(
    ("what", "ranks", "reason"),
    [
        ("gradients", TwoRanks(), "the MPI library adds up in another order"),
        ("gradients", OneRank(), "no exchange is the reason"),
        ("activations", TwoRanks(), "no exchange is the reason"),
    ],
)
def test_rounding_is_told_with_no_reason_that_cannot_be(what: str, ranks: Any, reason: str) -> None:
    found, _ = compared(what, STEPS - 1, 1 + 2**-22, ranks)
    _see_that_they_agree(found)
    assert not found.identical
    assert reason in found.told
