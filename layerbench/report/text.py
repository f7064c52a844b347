"""A run in words: a Markdown report, and a short table for the terminal."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from layerbench import units
from layerbench.report import describe
from layerbench.report.tables import Run, Tables, compute, row_tuples

if TYPE_CHECKING:
    from rich.console import Console

EMULATED = "○"
NOISY = "~"
RANGE = "†"

ROWS_SHOWN = 100
"""Rows of a table in the report; the CSV files have all."""

NOTHING = "–"


def escape(text: object) -> str:
    """Text as Markdown shows it, on one line: nothing in it is taken for markup."""
    flat = " ".join(str(text).split())
    return re.sub(r"([\\`*_{}\[\]<>#|~$&!])", r"\\\1", flat)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], right: Iterable[int] = ()) -> list[str]:
    numbers = set(right)
    rule = ["---:" if column in numbers else ":---" for column in range(len(head))]
    return ["| " + " | ".join(cells) + " |" for cells in (head, rule, *rows)] + [""]


def _number(value: float) -> str:
    return NOTHING if math.isnan(value) else f"{value:.3g}"


def _percent(value: float, digits: int = 0) -> str:
    return NOTHING if math.isnan(value) else f"{100 * value:.{digits}f} %"


def _plus_minus(median: float, low: float, high: float) -> str:
    """Half the interval in per cent; its ends where that would reach below nothing."""
    if math.isnan(high - low) or not median:
        return ""
    if high - low > median:
        return f"({units.seconds(low)} to {units.seconds(high)})"
    return f"± {50 * (high - low) / median:.2g} %"


def _step(row: Any) -> str:
    """A type's running time with its interval and the marks of what it is."""
    if not row.complete:
        return f"incomplete: no {describe.listed(row.missing.split(), shown=3)}"
    return f"{units.seconds(row.seconds)} {_plus_minus(row.seconds, row.ci_low, row.ci_high)}"


def _marks(row: Any) -> str:
    marks = [
        (row.placement == "emulated", EMULATED),
        (row.noisy, NOISY),
        (row.ci_method == "range", RANGE),
    ]
    return "".join(mark for applies, mark in marks if applies)


def _legend(tables: Tables) -> list[str]:
    """What each mark in the tables means, of those that are there."""
    said = []
    if told := describe.waiting(tables):
        said.append(told)
    if told := describe.emulation(tables):
        said.append(f"{EMULATED} {told}")
    if told := describe.oversubscription(tables):
        said.append(told)
    if told := describe.noisy(tables):
        said.append(f"{NOISY} {told}")
    if (tables.layer_types["ci_method"] == "range").any():
        said.append(f"{RANGE} the range: there were too few samples for a 95 % interval")
    return said


def markdown(tables: Tables, figure: str | None = None, warnings: Sequence[str] = ()) -> str:
    """The report of a run.

    Parameters
    ----------
    tables
        The run's.
    figure
        File name of the figure beside the report; None where none could be drawn.
    warnings
        What was wrong with the run folder.
    """
    lines = [
        f"# {escape(describe.heading(tables.manifest))}",
        "",
        f"{escape(', '.join(describe.settings(tables)))}.",
        "",
    ]
    if figure is not None:
        lines += [f"![Running time, speed-up, communication and arithmetic intensity]({figure})", ""]
    else:
        lines += ["No layer type is complete at any node count, so there is no figure.", ""]
    for section in (_types, _intensity, _layers, _faults):
        lines += section(tables)
    if warnings:
        lines += ["## Run folder", "", *(f"- {escape(warning)}" for warning in warnings), ""]
    lines += _environment(tables)
    return "\n".join(lines)


def _types(tables: Tables) -> list[str]:
    types = tables.layer_types
    weak = tables.manifest.options.scaling == "weak"
    over = f" over {describe.plural(tables.base_nodes, 'node')}" if tables.base_nodes is not None else ""
    head = [
        "type",
        "nodes",
        "placement",
        "step",
        f"{'scaled ' * weak}speed-up{over}",
        "efficiency",
        "communication",
        "",
    ]
    rows = [
        [
            escape(row.kind),
            f"{row.nodes:,}",
            row.placement or NOTHING,
            escape(_step(row)),
            _number(row.speedup),
            _percent(row.efficiency),
            _percent(row.communication_share, 1),
            escape(_marks(row)),
        ]
        for row in row_tuples(types)
    ]
    lines = ["## Running time of a step", "", *_table(head, rows, right=(1, 3, 4, 5, 6))]
    lines += ["A type's step is the sum of its layers' medians, with its 95 % interval.", ""]
    return lines + [f"- {escape(line)}" for line in _legend(tables)] + [""]


def _intensity(tables: Tables) -> list[str]:
    frame = tables.intensity
    rows = [
        [
            escape(row.layer),
            escape(row.kind),
            units.count(row.macs),
            units.size(row.bytes),
            f"{row.macs_per_byte:.3g}",
            _number(row.macs_per_byte_weights_reread),
        ]
        for row in row_tuples(frame.head(ROWS_SHOWN))
    ]
    head = ["layer", "type", "MACs", "bytes", "MACs per byte", "with weights re-read each step"]
    batch = int(frame["batch"].iloc[0])
    lines = ["## MACs per byte", "", f"Any one pass over batch {batch:,}, each operand moved once.", ""]
    return [*lines, *_table(head, rows, right=(2, 3, 4, 5)), *_rest(len(frame), "intensity.csv")]


def _layers(tables: Tables) -> list[str]:
    """The parts of each layer, node count by node count."""
    counts = sorted(int(n) for n in tables.layer_types["nodes"].unique())
    cells: dict[tuple[str, str], dict[int, str]] = {}
    names = [layer.name for layer in tables.manifest.layers[:ROWS_SHOWN]]
    for row in row_tuples(tables.records[tables.records["layer"].isin(names)]):
        time = row.status if row.status != "ok" else units.seconds(row.median)
        marks = (EMULATED if row.placement == "emulated" else "") + (NOISY if row.noisy else "")
        part = row.part.replace("_", " ") + ("" if row.in_step else " (not in the step)")
        cells.setdefault((row.layer, part), {})[row.nodes] = escape(f"{time} {marks}".strip())
    head = ["layer", "part", *(describe.plural(n, "node") for n in counts)]
    rows = [
        [escape(layer), part, *(by_count.get(n, NOTHING) for n in counts)] for (layer, part), by_count in cells.items()
    ]
    lines = ["## Parts of each layer", "", "Medians; intervals, algorithms and errors are in records.csv.", ""]
    return [*lines, *_table(head, rows, right=range(2, len(head))), *_rest(len(tables.manifest.layers), "records.csv")]


def _faults(tables: Tables) -> list[str]:
    faults, missing = describe.faults(tables), describe.missing(tables)
    if not faults and not missing:
        return []
    rows = [
        [fault.status, escape(fault.layer), f"{fault.nodes:,}", escape(", ".join(fault.parts)), escape(fault.reason)]
        for fault in faults[:ROWS_SHOWN]
    ]
    lines = ["## What has no time", ""]
    if rows:
        lines += [*_table(["status", "layer", "nodes", "parts", "reason"], rows, right=(2,))]
        lines += _rest(len(faults), "records.csv")
    if missing:
        lines += [f"Not measured yet: {escape(missing)}.", ""]
    return lines


def _rest(count: int, file: str) -> list[str]:
    return [f"{count - ROWS_SHOWN:,} more are in {file}.", ""] if count > ROWS_SHOWN else []


def _environment(tables: Tables) -> list[str]:
    manifest = tables.manifest
    launches = manifest.launches
    facts: dict[str, Any] = {
        "command": manifest.command,
        "suite": manifest.suite_source,
        "started": manifest.start,
        "ended": manifest.end,
        "outcome": manifest.outcome,
        "MPI": ", ".join(sorted({launch.mpi for launch in launches if launch.mpi})),
        "hosts": ", ".join(sorted({host for launch in launches for host in launch.hosts})),
        "network": _network(tables),
    }
    facts |= {name.replace("_", " "): value for name, value in manifest.environment.items()}
    rows = [
        [escape(name), escape(_fact(name, value))] for name, value in facts.items() if value not in (None, "", [], {})
    ]
    return ["## Environment", "", *_table(["", ""], rows)]


def _network(tables: Tables) -> str:
    model = tables.manifest.network
    if model is None:
        return ""
    fit = f", median residual of the fit {_percent(model.residual, 1)}" if model.residual is not None else ""
    return f"{describe.network(model)}{fit}; {model.source}"


def _fact(name: str, value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_fact(name, inner)}" for key, inner in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(str(inner) for inner in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int) and (name.startswith("memory") or name == "caches"):
        return units.size(value)
    if isinstance(value, float):
        return units.rate(value, "Hz") if name.startswith("frequency") else f"{value:.3g}"
    return str(value)


def print_summary(run: Run, console: Console) -> None:
    """Print the running time of each layer type at each node count, and what is wrong with it."""
    print_tables(compute(run), console)


def print_tables(tables: Tables, console: Console) -> None:
    """The same for a run whose tables are at hand."""
    from rich.table import Table
    from rich.text import Text

    types = tables.layer_types
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("type", "nodes", "step", "", "", "speed-up", "efficiency", "communication"):
        table.add_column(column, justify="left" if column == "type" else "right", no_wrap=True)
    last = None
    for row in row_tuples(types):
        if last not in (None, row.kind):
            table.add_row()
        cells = [
            row.kind if row.kind != last else "",
            f"{row.nodes:,}",
            units.seconds(row.seconds) if row.complete else "incomplete",
            _plus_minus(row.seconds, row.ci_low, row.ci_high),
            _marks(row),
            _number(row.speedup),
            _percent(row.efficiency),
            _percent(row.communication_share, 1),
        ]
        table.add_row(*(Text(cell, style="dim" if row.placement == "emulated" else "") for cell in cells))
        last = row.kind
    console.print(describe.heading(tables.manifest), style="bold", markup=False, highlight=False, soft_wrap=True)
    _say(console, ", ".join(describe.settings(tables)))
    console.print(table)
    for line in [*_legend(tables), *_faults_in_short(tables)]:
        _say(console, line)


def _say(console: Console, line: str) -> None:
    console.print(line, markup=False, highlight=False, soft_wrap=True)


def _faults_in_short(tables: Tables) -> list[str]:
    faults = describe.faults(tables)
    lines = []
    for status in ("failed", "skipped"):
        of_status = [fault for fault in faults if fault.status == status]
        if of_status:
            number = sum(len(fault.parts) for fault in of_status)
            lines.append(f"{status}: {number:,} of {describe.plural(len(tables.records), 'record')}")
            told = [f"  {f.layer} on {describe.plural(f.nodes, 'node')}: {f.reason}" for f in of_status]
            lines += told[: describe.NAMES_SHOWN]
            if len(told) > describe.NAMES_SHOWN:
                lines.append(f"  and {len(told) - describe.NAMES_SHOWN:,} more; all are in records.csv of the report")
    if missing := describe.missing(tables):
        lines.append(f"not measured yet: {missing}")
    return lines
