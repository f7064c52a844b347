"""Jobs and curves of a run folder: what a training step of each layer type takes on each node count."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from layerbench.errors import UsageError
from layerbench.records import Manifest, Placement
from layerbench.schedule.jobs import Job

if TYPE_CHECKING:
    from layerbench.report.columns import RunColumns

WHOLE_SUITE = "whole suite"
"""What the curve of all layer types together is called."""


@dataclass(frozen=True)
class Curve:
    """What a training step takes on each node count.

    Attributes
    ----------
    nodes, seconds
        The counts, ascending, and the time on each. There is at least one.
    placement
        Of each count: ``measured``, or ``emulated`` if the step of any of the layers is.
    """

    nodes: tuple[int, ...]
    seconds: tuple[float, ...]
    placement: tuple[Placement, ...]

    @property
    def emulated(self) -> tuple[int, ...]:
        """The counts that were not measured, but computed from shards and a network model."""
        return tuple(
            count for count, placement in zip(self.nodes, self.placement, strict=True) if placement == "emulated"
        )


@dataclass(frozen=True)
class RunCurves:
    """The curves of a run.

    Attributes
    ----------
    curves
        By layer type, as a report orders them; then, if there is a count at which every type is complete, that of
        :data:`WHOLE_SUITE`.
    notes
        What is to be known of them, a sentence each.
    """

    curves: dict[str, Curve]
    notes: tuple[str, ...]


def curves(run_folder: Path) -> dict[str, Curve]:
    """The curve of each layer type, and of all of them together, as :class:`RunCurves` has them.

    A type has a time at the counts at which it is complete (see :mod:`layerbench.report.tables`): the sum of its
    layers' steps. The whole suite has one where every type is complete: the sum of theirs. All times are of the same
    work, the batch that was asked for: in weak scaling, where n nodes do n times the work, a step's time is divided
    by n.

    Raises
    ------
    StoreError
        If there is no run, or it cannot be read.
    UsageError
        If no layer type is complete at any count.
    """
    return read(run_folder).curves


def read(run_folder: Path) -> RunCurves:
    """The curves of a run, and what is to be known of them; see :func:`curves`."""
    from layerbench.report import columns

    run = columns.load(run_folder)
    found = _curves(run)
    if not found:
        raise UsageError(
            f"{run_folder} has no layer type that is complete at any node count: complete it with layerbench run, its "
            f"own options, --output {run_folder} and --resume"
        )
    return RunCurves(found, (*run.warnings, *_notes(run.manifest, found)))


def jobs(of: RunCurves) -> list[Job]:
    """A job for each layer type: one training step of it."""
    return [job_of_steps(kind, kind, curve, 1) for kind, curve in of.curves.items() if kind != WHOLE_SUITE]


def job_of_steps(name: str, type_: str, curve: Curve, steps: float) -> Job:
    """A job of so many training steps, all on one node count.

    Raises
    ------
    UsageError
        If the number of steps is not positive and finite, or so large that a time is not finite.
    """
    if not 0 < steps < math.inf:
        raise UsageError(f"the steps of a job must be a positive, finite number, not {steps}")
    return Job(name, type_, curve.nodes, tuple(seconds * steps for seconds in curve.seconds))


def _curves(run: RunColumns) -> dict[str, Curve]:
    from layerbench.report.columns import row_tuples
    from layerbench.report.layer_types import layer_types

    types = layer_types(run)
    types = types[types["layers"] > 0]
    complete = types[types["complete"]]
    everywhere = types.groupby("nodes")["complete"].all()
    whole = complete[complete["nodes"].isin(everywhere.index[everywhere])]
    batch = run.manifest.options.batch
    found = {str(kind): _curve(row_tuples(rows), batch) for kind, rows in complete.groupby("kind", sort=False)}
    if len(whole):
        found[WHOLE_SUITE] = _curve(row_tuples(whole), batch)
    return found


def _curve(rows: Iterable[Any], batch: int) -> Curve:
    """The curve of the steps in these rows of ``layer_types``, for ``batch`` samples; those on one count add up."""
    seconds: dict[int, list[float]] = {}
    emulated = set()
    for row in rows:
        seconds.setdefault(int(row.nodes), []).append(row.seconds * batch / row.batch)
        if row.placement == "emulated":
            emulated.add(int(row.nodes))
    counts = tuple(sorted(seconds))
    return Curve(
        counts,
        tuple(math.fsum(seconds[count]) for count in counts),
        tuple("emulated" if count in emulated else "measured" for count in counts),
    )


def _notes(manifest: Manifest, found: dict[str, Curve]) -> list[str]:
    from layerbench.report import describe

    told = []
    alike: dict[tuple[int, ...], list[str]] = {}
    for kind, curve in found.items():
        if kind != WHOLE_SUITE and curve.emulated:
            alike.setdefault(curve.emulated, []).append(kind)
    for counts, kinds in alike.items():
        told.append(f"Times of {describe.listed(kinds)} on {describe.node_counts(counts)} are emulated, not measured.")
    if manifest.options.scaling == "weak":
        told.append("The run scales weakly: its times on n nodes are divided by n, so that all are of the same work.")
    return told
