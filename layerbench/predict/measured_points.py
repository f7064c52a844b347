"""The steps that a run measured, beside which its prediction is drawn."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from layerbench.predict.prediction import ALL, Row
from layerbench.predict.question import Question
from layerbench.records import Placement


class Point(NamedTuple):
    """A layer type at a count: the median of its step and a 95 % interval, in seconds."""

    kind: str
    nodes: int
    seconds: float
    low: float
    high: float
    placement: Placement


def points(question: Question, predicted: Iterable[Row] = ()) -> list[Point]:
    """Those of a question's run; none where something else was asked for, such as another batch,
    other layers, or another machine.

    Parameters
    ----------
    predicted
        Rows of the prediction beside which they are drawn: counts at which the run had a layer in another layout are
        left out, as may be where each chose the best.
    """
    run = question.run
    if run is None or question.carried_from is not None:
        return []
    options = run.manifest.options
    alike = (options.batch, options.scaling, options.dtype, options.ranks_per_node, options.layout) == (
        question.batch,
        question.scaling,
        question.dtype,
        question.ranks_per_node,
        question.layout,
    ) and question.overlap == 0
    if not alike:
        return []
    from layerbench.report import columns
    from layerbench.report.columns import row_tuples
    from layerbench.report.layer_types import layer_types

    own = {
        kind: {layer.name for layer in question.layers if layer.kind == kind}
        for kind in {layer.kind for layer in question.layers}
    }
    whole = {
        kind for kind, names in own.items() if names == {one.name for one in run.manifest.layers if one.kind == kind}
    }
    types = layer_types(columns.of_records(run.path, run.manifest, list(run.records)))
    layouts = {(row.layer, row.nodes): row.layout for row in predicted}
    otherwise = {
        (record.kind, record.nodes)
        for record in run.records
        if record.ranks > 1 and layouts.get((record.layer, record.nodes), record.layout) != record.layout
    }
    rows = types[types["complete"] & types["kind"].isin(whole) & types["nodes"].isin(question.nodes)]
    found = [
        Point(str(row.kind), int(row.nodes), row.seconds, row.ci_low, row.ci_high, row.placement)
        for row in row_tuples(rows)
        if (row.kind, row.nodes) not in otherwise
    ]
    return [*found, *_together(found, own)] if len(own) > 1 else found


def _together(found: Sequence[Point], kinds: Iterable[str]) -> Iterator[Point]:
    """The step of all types where each has one; the ends of its interval are the sums of theirs, which is wide."""
    for nodes in sorted({point.nodes for point in found}):
        there = [point for point in found if point.nodes == nodes]
        if {point.kind for point in there} == set(kinds):
            seconds, low, high = (sum(getattr(point, name) for point in there) for name in ("seconds", "low", "high"))
            emulated = any(point.placement == "emulated" for point in there)
            yield Point(ALL, nodes, seconds, low, high, "emulated" if emulated else "measured")
