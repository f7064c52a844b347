"""A run against published devices in words and cells, which Markdown, terminal and page share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from layerbench import reference
from layerbench.layers import PASSES
from layerbench.report import describe
from layerbench.report.against import EVERY_PASS, Against, coverage
from layerbench.report.cells import NOTHING, escape, number, table
from layerbench.report.columns import row_tuples

if TYPE_CHECKING:
    import pandas as pd

    from layerbench.report.tables import Tables

TITLE = "Against DeepBench's published times"

EXPLAINED = (
    "Ratios are published / here, of exactly the same shape, precision and pass, on one device: above 1, here is "
    "faster. Of several kernels they are the geometric mean, with the smallest and the largest; published times are "
    "single means without a spread."
)

MEANS_HEAD = ("device", "operation", "pass", "kernels", "published / here", "smallest to largest")
MEANS_RIGHT = (3, 4, 5)


def sentences(against: Against) -> list[str]:
    """What of one run has a time of each device, and what has none and why."""
    return [coverage(against, device) for device in against.devices]


def means(against: Against) -> list[list[str]]:
    """The cells of each mean, beneath :data:`MEANS_HEAD`."""
    staged = _both_stages(against.means)
    return [
        [
            _device(row, staged),
            operation(row),
            "all passes" if row.part == EVERY_PASS else row.part.replace("_", " "),
            f"{row.kernels:,}",
            number(row.ratio),
            f"{number(row.least)} to {number(row.greatest)}" if row.kernels > 1 else NOTHING,
        ]
        for row in row_tuples(against.means)
    ]


def operation(row: Any) -> str:
    """A layer type with DeepBench's word for it where that is another: ``fc (gemm)``."""
    return row.kind if row.kind == row.op else f"{row.kind} ({row.op})"


def by_layer(against: Against, matched: pd.DataFrame) -> tuple[list[str], list[list[str]]]:
    """Head and cells of one run's ratios: a row for each device and layer, a column for each pass.

    A pass that was published twice has both ratios.
    """
    timed = matched[matched["ratio"].notna()]
    staged = _both_stages(timed)
    found: dict[tuple[str, ...], dict[str, list[str]]] = {}
    for device in against.devices:
        for row in row_tuples(timed[timed["device"] == device]):
            key = (_device(row, staged), str(row.layer), f"{row.local_batch:,}")
            found.setdefault(key, {}).setdefault(str(row.part), []).append(number(row.ratio))
    head = ["device", "layer", "batch", *(part.replace("_", " ") for part in PASSES)]
    return head, [[*key, *(", ".join(ratios.get(part, [NOTHING])) for part in PASSES)] for key, ratios in found.items()]


def specs(against: Against) -> list[tuple[str, dict[str, str]]]:
    """What is known of each device of which anything matched, by its name and DeepBench's list."""
    there = against.means[["device", "stage"]].drop_duplicates()
    return [(f"{row.device}, {row.stage}", reference.specs(row.device, row.stage)) for row in row_tuples(there)]


def in_short(against: Against) -> Iterator[str]:
    """Each operation's mean in a few words: ``V100: conv 0.012 (0.008 to 0.02, 15 kernels)``."""
    every = against.means[against.means["part"] == EVERY_PASS]
    staged = _both_stages(every)
    told: dict[str, list[str]] = {}
    for row in row_tuples(every):
        spread = f"{number(row.least)} to {number(row.greatest)}, " if row.kernels > 1 else ""
        mean = f"{operation(row)} {number(row.ratio)} ({spread}{describe.plural(row.kernels, 'kernel')})"
        told.setdefault(_device(row, staged), []).append(mean)
    return (f"{device}: {', '.join(of_device)}" for device, of_device in told.items())


def markdown(tables: Tables, kernels: list[str]) -> list[str]:
    """The report's section; ``kernels`` is the table of times, empty where there are none."""
    lines = [f"## {TITLE}", "", *([EXPLAINED, ""] if kernels else [])]
    shown: dict[str, dict[str, str]] = {}
    for of_run in tables.each():
        (label,) = of_run.runs
        assert of_run.against is not None
        lines += [f"**{escape(label)}**", ""] if len(tables.runs) > 1 else []
        lines += [line for sentence in sentences(of_run.against) for line in (escape(sentence), "")]
        if rows := means(of_run.against):
            lines += table(MEANS_HEAD, [[escape(cell) for cell in row] for row in rows], MEANS_RIGHT)
        shown |= specs(of_run.against)
    return [*lines, *kernels, *_specs(shown)]


def _specs(shown: dict[str, dict[str, str]]) -> list[str]:
    names = list(dict.fromkeys(name for of_device in shown.values() for name in of_device))
    if not names:
        return []
    rows = [[escape(name), *(escape(of.get(name, NOTHING)) for of in shown.values())] for name in names]
    return ["As DeepBench describes these devices:", "", *table(["", *map(escape, shown)], rows)]


def _both_stages(frame: pd.DataFrame) -> bool:
    return bool(frame["stage"].nunique() > 1)


def _device(row: Any, staged: bool) -> str:
    """A device's name, and which of DeepBench's two lists it is of where both are shown."""
    return f"{row.device}, {row.stage}" if staged else str(row.device)
