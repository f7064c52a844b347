"""Nodes in use over time, by group of job types."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from layerbench.schedule.looks import Group, group_of
from layerbench.schedule.plan import Placement

if TYPE_CHECKING:
    import numpy as np

MOST_STEPS = 1_000
"""More than that no drawing can show."""


@dataclass(frozen=True)
class Busy:
    """Steps of use.

    Attributes
    ----------
    times
        Where steps begin, in seconds, ascending; the last is the makespan.
    nodes
        Of shape (groups, times): nodes in use from each time on until the next; 0 at the last.
    averaged
        Whether steps are means over equal parts of the makespan, since the plan has more than can be drawn.
    """

    times: np.ndarray
    nodes: np.ndarray
    averaged: bool


def busy(placements: Sequence[Placement], groups: Sequence[Group], most: int = MOST_STEPS) -> Busy:
    """Add up the nodes of each group over time; exact for up to ``most`` steps, and means of ``most`` parts beyond."""
    import numpy as np

    place = group_of(groups)
    starts = np.array([one.start for one in placements])
    ends = np.array([one.end for one in placements])
    counts = np.array([one.nodes for one in placements], dtype=float)
    of = np.array([place[one.job.type] for one in placements])
    times, at = np.unique(np.concatenate([[0.0], starts, ends]), return_inverse=True)
    change = np.zeros((len(groups), len(times)))
    np.add.at(change, (of, at[1 : 1 + len(of)]), counts)
    np.add.at(change, (of, at[1 + len(of) :]), -counts)
    nodes = np.cumsum(change, axis=1)
    if len(times) <= most + 1:
        return Busy(times, nodes, averaged=False)
    edges = np.linspace(0.0, times[-1], most + 1)
    area = np.concatenate([np.zeros((len(groups), 1)), np.cumsum(nodes[:, :-1] * np.diff(times), axis=1)], axis=1)
    means = np.array([np.diff(np.interp(edges, times, row)) for row in area]) / (edges[1] - edges[0])
    return Busy(edges, np.concatenate([means, np.zeros((len(groups), 1))], axis=1), averaged=True)
