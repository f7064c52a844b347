"""A prediction on the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from layerbench import units
from layerbench.console import plain_table, print_table, say
from layerbench.layers import PASSES
from layerbench.predict.answers import Answers, Threshold
from layerbench.predict.notes import notes
from layerbench.predict.prediction import Prediction, Row, TypeRow
from layerbench.report.cells import flat, percent
from layerbench.report.describe import node_counts, plural

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

EXTRAPOLATED = "*"

MOST_COUNTS = 8
"""Node counts that a title names one by one."""

_LETTERS = {"data": "D", "model": "M"}


def title(found: Prediction) -> str:
    """``alexnet on blue-waters-xk7: a training step on 1, 2 and 4 nodes``; many counts are ``1 to 4,096 nodes``."""
    question = found.question
    counts = question.nodes
    told = node_counts(counts) if len(counts) <= MOST_COUNTS else f"{counts[0]:,} to {counts[-1]:,} nodes"
    return flat(f"{question.suite} on {question.machine.name}: a training step on {told}")


def settings(found: Prediction) -> list[str]:
    """How it is meant, most important first: scaling and batch, dtype, ranks, layout, overlap."""
    question = found.question
    batch = f"batch {question.batch:,} " + ("over all nodes" if question.scaling == "strong" else "on each node")
    told = [f"{question.scaling} scaling, {batch}", question.dtype, f"{question.layout} layout"]
    if max(question.ranks_per_node, question.machine.ranks_per_node) > 1:
        told.append(f"{plural(question.ranks_per_node, 'rank')} per node")
    if question.overlap > 0:
        told.append(f"overlap {question.overlap:g}")
    return told


def print_prediction(found: Prediction, console: Console, *, layers: bool = False) -> None:
    """Print a prediction by layer type, what it says, and what is to be known of it.

    Parameters
    ----------
    layers
        Whether to print each layer too.
    """
    say(console, title(found), "bold")
    say(console, " · ".join(settings(found)))
    say(console, "")
    print_table(console, _types(found))
    if layers:
        say(console, "")
        say(console, "Each layer", "bold")
        print_table(console, _layers(found))
    say(console, "")
    say(console, "What it says", "bold")
    print_table(console, _answered(found.of_layers if layers else found.of_types, "layer" if layers else "type"))
    if any(answers.thresholds for answers in found.of_types):
        say(console, "")
        split = f", layers split as at batch {found.question.batch:,}" if found.question.layout == "best" else ""
        say(console, f"Batches at which communication takes over half of the step{split}", "bold")
        print_table(console, _thresholds(found.of_layers if layers else found.of_types))
    if found.question.layout == "best":
        say(console, "")
        say(console, "Layouts: D by data (batch split), M by model (outputs split)", "bold")
        print_table(console, _layouts(found))
    say(console, "")
    for note in notes(found):
        say(console, note)


def seconds(row: Row | TypeRow) -> tuple[str, str]:
    """A time, and the ends of its interval."""
    return units.seconds(row.seconds), f"{units.seconds(row.low)} to {units.seconds(row.high)}"


def _types(found: Prediction) -> Table:
    head = ("type", "nodes", "step", "90 % interval", "communication", "efficiency", "")
    rows = [
        (
            flat(row.kind),
            f"{row.nodes:,}",
            *seconds(row),
            percent(row.share),
            percent(row.efficiency),
            _marks(row),
        )
        for row in found.types
    ]
    return _plain(_once(rows), head, {0, 6})


def _layers(found: Prediction) -> Table:
    head = ("layer", "nodes", "layout", *PASSES, "communication", "step", "90 % interval", "")
    of_place: dict[tuple[str, int], dict[str, Row]] = {}
    for row in found.rows:
        of_place.setdefault((row.layer, row.nodes), {})[row.part] = row
    rows = []
    for (layer, nodes), parts in of_place.items():
        step = parts["step"]
        each = [units.seconds(row.seconds) for part, row in parts.items() if part != "step"]
        rows.append((flat(layer), f"{nodes:,}", step.layout, *each, *seconds(step), _marks(step)))
    return _plain(_once(rows), head, {0, 2, 9})


def _marks(row: Row | TypeRow) -> str:
    idle = f"{row.idle_ranks:,} idle" if row.idle_ranks else ""
    return " ".join(filter(None, (EXTRAPOLATED if row.extrapolated else "", idle)))


def _answered(answers: Sequence[Answers], what: str) -> Table:
    head = (what, "least time, of these", "knee: efficiency ≥ 50 % up to", "≥ 80 % up to", "communication bound from")
    rows = [
        (
            flat(one.name),
            f"{plural(one.best, 'node')} ({percent(one.best_share)} sure)",
            plural(one.knee, "node"),
            plural(one.higher_knee, "node"),
            takeover(one),
        )
        for one in answers
    ]
    return _plain(rows, head, {0})


def takeover(answers: Answers) -> str:
    """Where communication takes half of a step, in words."""
    found = answers.takeover
    if found.nodes is None:
        return "no count"
    if not found.between:
        return plural(round(found.nodes), "node")
    return f"{found.nodes:.3g} nodes (interpolated)"


def _thresholds(answers: Sequence[Answers]) -> Table:
    counts = [one.nodes for one in answers[0].thresholds]
    rows = [(flat(one.name), *map(threshold, one.thresholds)) for one in answers]
    return _plain(rows, ("nodes", *(f"{count:,}" for count in counts)), {0})


def threshold(found: Threshold) -> str:
    """The batches, in words: ``none``, ``all``, ``< 89``, ``≥ 2.1 k``."""
    if found.always:
        return "all"
    return ", ".join(_span(found.least, *span) for span in found.spans) or "none"


def _span(least: int, first: int, beyond: int | None) -> str:
    if beyond is None:
        return f"≥ {units.count(first)}"
    return f"< {units.count(beyond)}" if first == least else f"{units.count(first)} to {units.count(beyond - 1)}"


def _layouts(found: Prediction) -> Table:
    counts = found.question.nodes
    of_layer: dict[str, list[str]] = {}
    for row in found.steps():
        of_layer.setdefault(row.layer, []).append(_LETTERS[row.layout])
    rows: list[tuple[str, ...]] = [(flat(name), *letters) for name, letters in of_layer.items()]
    for layout in dict.fromkeys(total.layout for total in found.totals):
        of_layout = [total for total in found.totals if total.layout == layout]
        rows.append((f"all layers, {layout}", *(units.seconds(total.seconds) for total in of_layout)))
    return _plain(rows, ("nodes", *(f"{count:,}" for count in counts)), {0})


def _plain(rows: Iterable[Sequence[str]], head: Sequence[str], words: set[int]) -> Table:
    return plain_table(head, rows, left=words, wrapped=words)


def _once(rows: Iterable[Sequence[str]]) -> Iterator[Sequence[str]]:
    """Rows without the first cell where the one above has the same."""
    previous = None
    for first, *rest in rows:
        yield ("" if first == previous else first, *rest)
        previous = first
