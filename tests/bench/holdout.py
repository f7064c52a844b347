"""Predictions of a run's own counts from some of the others: how far off they are, and whether intervals hold.

Each split fits on some of a run's counts and predicts the rest. A held-out count that was emulated is one of shards
that were timed alone and an exchange that was computed: so it is predicted, its passes as those of shards alone and its
exchange by the run's network model, to which nothing is fitted.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import numpy as np

from layerbench import store
from layerbench.layers import PASSES
from layerbench.predict.draws import Draws, interval
from layerbench.predict.exchanges import ExchangeTimes
from layerbench.predict.layer_times import Model, Place, passes_in_step
from layerbench.predict.prediction import model_of
from layerbench.predict.published import Estimator
from layerbench.predict.question import Question, Run, asked
from layerbench.records import Part, Placement, Record

SAME = 0.05
"""Two counts whose times differ by less are not ranked."""


class Row(NamedTuple):
    """A held-out count of a part of a layer.

    Attributes
    ----------
    fit
        The counts that were fitted.
    where
        ``inside`` the range of these counts, ``twice`` its end, or ``beyond``.
    true, predicted, low, high
        Seconds; of what was measured its median.
    """

    run: str
    fit: tuple[int, ...]
    layer: str
    part: Part
    nodes: int
    placement: Placement
    where: str
    true: float
    predicted: float
    low: float
    high: float

    @property
    def error(self) -> float:
        """|predicted / true - 1|."""
        return abs(self.predicted / self.true - 1)

    @property
    def held(self) -> bool:
        """Whether the truth lies in the interval."""
        return self.low <= self.true <= self.high


class Ranking(NamedTuple):
    """Whether a layer's counts, of which some were fitted, were predicted in the order of their measured steps."""

    run: str
    fit: tuple[int, ...]
    layer: str
    right: bool


def splits(counts: Sequence[int], least: int = 2) -> Iterator[tuple[int, ...]]:
    """Subsets of the counts with the smallest among them, and at least one left out."""
    for size in range(least, len(counts)):
        yield from (fit for fit in combinations(counts, size) if counts[0] in fit)


def holdout(
    run_folder: Path, estimator: Estimator | None = None, seed: int = 0, fits: Iterable[tuple[int, ...]] | None = None
) -> list[Row]:
    """Every held-out part of every layer, in every split of a run's counts.

    Parameters
    ----------
    run_folder
        A run of at least three counts.
    estimator
        What is said of kernels of which nothing was measured; by default, what published devices say.
    fits
        The counts to fit; by default all of :func:`splits`.
    """
    question, records = _question(run_folder, estimator, seed)
    found = []
    for fit in fits if fits is not None else splits(question.nodes):
        held_out = [count for count in question.nodes if count not in fit]
        found += [row for row in _rows(question, records, fit) if row.nodes in held_out]
    return found


def ranking(
    run_folder: Path, estimator: Estimator | None = None, seed: int = 0, fits: Iterable[tuple[int, ...]] | None = None
) -> list[Ranking]:
    """Whether counts are ranked as they were measured, of each layer and split; ones that hardly differ aside."""
    question, records = _question(run_folder, estimator, seed)
    found = []
    for fit in fits if fits is not None else splits(question.nodes):
        rows = [row for row in _rows(question, records, fit) if row.part == "step"]
        for layer in question.layers:
            own = [row for row in rows if row.layer == layer.name]
            wrong = any(
                (one.true - other.true) * (one.predicted - other.predicted) < 0
                for one, other in combinations(own, 2)
                if abs(one.true / other.true - 1) > SAME
            )
            found.append(Ranking(run_folder.name, fit, layer.name, not wrong))
    return found


def summary(rows: Sequence[Row]) -> dict[str, float]:
    """Median error, and part of the intervals that hold."""
    return {
        "rows": len(rows),
        "median_error": statistics.median(row.error for row in rows),
        "mean_error": statistics.fmean(row.error for row in rows),
        "coverage": statistics.fmean(row.held for row in rows),
    }


def _question(run_folder: Path, estimator: Estimator | None, seed: int) -> tuple[Question, list[Record]]:
    counts = sorted({record.nodes for record in store.load(run_folder).records})
    question = asked(nodes=counts, from_run=run_folder, seed=seed)
    assert question.run is not None
    return replace(question, estimator=estimator), list(question.run.records)


def _rows(question: Question, records: Sequence[Record], fit: tuple[int, ...]) -> Iterator[Row]:
    """All counts of the run, those that were fitted too."""
    assert question.run is not None
    used = [record for record in records if record.nodes in fit]
    draws = Draws(question.seed)
    asked_for = replace(question, run=replace(question.run, records=used))
    model, _ = model_of(asked_for, draws)
    unfitted = ExchangeTimes(model.communication.network, (), draws)
    alone = Model(model.passes, unfitted, question.dtype, question.scaling)
    by_key = {record.key: record for record in records if record.status == "ok"}
    for layer in question.layers:
        for count in question.nodes:
            step = by_key.get((layer.name, "step", count))
            if step is None:
                continue
            emulated = step.placement == "emulated"
            used_model = alone if emulated else model
            times = used_model.layer(
                layer, step.layout, [Place(count, question.batch)], exchanged=False if emulated else None
            )
            parts: dict[Part, np.ndarray] = {pass_: times.passes[pass_][:, 0] for pass_ in PASSES}
            parts["communication"] = (times.exchange + times.waiting)[:, 0]
            parts["step"] = (sum(times.passes[pass_] for pass_ in passes_in_step(layer)) + times.exchange)[:, 0]
            for part, values in parts.items():
                record = by_key.get((layer.name, part, count))
                true = 0.0 if record is None else _seconds(record)
                if true > 0 and record is not None and not (part == "communication" and emulated):
                    low, high = interval(values)
                    yield Row(
                        run_name(question.run),
                        fit,
                        layer.name,
                        part,
                        count,
                        record.placement,
                        _where(count, fit),
                        true,
                        float(values[0]),
                        float(low),
                        float(high),
                    )


def run_name(run: Run) -> str:
    """A run's folder."""
    return run.path.resolve().name


def _seconds(record: Record) -> float:
    return statistics.median(record.samples) if record.samples else record.modelled_seconds or 0.0


def _where(count: int, fit: Sequence[int]) -> str:
    if min(fit) <= count <= max(fit):
        return "inside"
    return "twice" if max(fit) < count <= 2 * max(fit) else "beyond"
