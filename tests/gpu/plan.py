"""Which steps there are, in which order, and how long each may take."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from dataclasses import dataclass

SLACK = 1.4
"""A step may take so many times its share of the time that is left: what matters most comes first."""

KEPT = 0.75
"""Of their shares, those that follow keep so much."""

LEAST_SECONDS = 5.0
"""A step that would get less is not begun."""


@dataclass(frozen=True)
class Step:
    """A step; ``module`` is of :mod:`tests.gpu`, ``weight`` its share of the time beside the others'."""

    name: str
    module: str
    weight: float
    dtype: str = ""


def steps(dtypes: Sequence[str], patterns: Sequence[str]) -> list[Step]:
    """The steps of a check, those of the first two dtypes ahead of what can be done without.

    Parameters
    ----------
    dtypes
        What matters most first.
    patterns
        Of the names of the steps that are wanted.

    Raises
    ------
    ValueError
        If a pattern fits no step.
    """
    first, *others = dtypes
    every = [
        Step("environment", "environment", 4),
        Step("tests", "marked", 6),
        *_of_dtype(first, 12, 5),
        Step("independent", "independent", 4, first),
        *(step for dtype in others[:1] for step in _of_dtype(dtype, 8, 4)),
        Step("alike", "alike", 6, first),
        Step("nodes", "nodes", 5, first),
        *(step for dtype in others[1:] for step in _of_dtype(dtype, 8, 3)),
    ]
    for pattern in patterns:
        if not any(fnmatch.fnmatchcase(step.name, pattern) for step in every):
            raise ValueError(f"{pattern!r} fits no step; there are {', '.join(step.name for step in every)}")
    return [step for step in every if any(fnmatch.fnmatchcase(step.name, pattern) for pattern in patterns)]


def _of_dtype(dtype: str, sweeps: float, peers: float) -> list[Step]:
    return [Step(f"layers-{dtype}", "sweeps", sweeps, dtype), Step(f"peers-{dtype}", "peers", peers, dtype)]


def limit(to_come: Sequence[Step], left: float) -> float:
    """Seconds that the first of the steps to come may take of those that are left; 0 where it is not to begin."""
    share = left * to_come[0].weight / sum(step.weight for step in to_come)
    seconds = min(SLACK * share, left - KEPT * (left - share))
    return seconds if seconds >= LEAST_SECONDS else 0.0
