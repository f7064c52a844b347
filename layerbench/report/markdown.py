"""``report.md``: the report in words and tables, for a pull request or a mail."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from layerbench import units
from layerbench.report import against_cells, describe, devices, layouts, overlap_cells
from layerbench.report.cells import (
    NOTHING,
    ROWS_SHOWN,
    escape,
    legend,
    marks,
    number,
    percent,
    step,
    table,
)
from layerbench.report.columns import row_tuples
from layerbench.report.tables import Tables

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Picture:
    """A figure beside the report: its file, what a reader who cannot see it is told, and what stands beneath it."""

    file: str
    alt: str
    caption: str = ""


def markdown(tables: Tables, claims: pd.DataFrame, pictures: Sequence[Picture] = ()) -> str:
    """The report.

    Parameters
    ----------
    tables
        All frames.
    claims
        See :func:`layerbench.report.claims.check`.
    pictures
        What is to be shown, the first of them at the top.
    """
    lines = [f"# {escape(title(tables))}", ""]
    lines += _runs(tables)
    first, others = list(pictures[:1]), pictures[1:]
    if tables.base_nodes is None:
        lines += ["No layer type is complete at any node count, so there is no figure of running times.", ""]
        first, others = [], pictures
    for picture in first:
        lines += _picture(picture)
    for section in (_types, _breakdown, _intensity, _roofline, _devices, _reference):
        lines += section(tables)
    lines += _overlap(tables)
    lines += _claims(claims, several=len(tables.runs) > 1)
    for of_run in tables.each():
        lines += _layers(of_run) + _layouts(of_run) + _faults(of_run)
    lines += _warnings(tables) + _environment(tables)
    if others:
        lines += ["## Figures", ""] + [line for picture in others for line in _picture(picture)]
    return "\n".join(lines)


def title(tables: Tables) -> str:
    """What the report is about: a run's heading, or how many runs of what."""
    manifests = [run.manifest for run in tables.runs.values()]
    if len(manifests) == 1:
        return describe.heading(manifests[0])
    counts = {tuple(sorted(set(manifest.options.nodes))) for manifest in manifests}
    where = f" on {describe.node_counts(counts.pop())}" if len(counts) == 1 else ""
    return f"{len(manifests)} runs of {describe.suites(manifests)}: a training step{where}"


def _picture(picture: Picture) -> list[str]:
    return [
        f"![{escape(picture.alt)}]({picture.file})",
        "",
        *([escape(picture.caption), ""] if picture.caption else []),
    ]


def _several(tables: Tables) -> bool:
    return len(tables.runs) > 1


def _runs(tables: Tables) -> list[str]:
    told = [[escape(label), escape(", ".join(describe.settings(run)))] for label, run in tables.runs.items()]
    return table(["run", "how it was run"], told) if _several(tables) else [f"{told[0][1]}.", ""]


def _table(tables: Tables, head: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int]) -> list[str]:
    """A table whose first column, the run, is left out where there is one run."""
    if _several(tables):
        return table(head, rows, right)
    return table(head[1:], [row[1:] for row in rows], [column - 1 for column in right])


def _legends(tables: Tables) -> list[str]:
    """What the signs mean, run by run."""
    lines = [
        (f"{label}: " if _several(tables) else "") + line
        for of_run in tables.each()
        for label in of_run.runs
        for line in legend(of_run)
    ]
    return [f"- {escape(line)}" for line in lines] + [""]


def _types(tables: Tables) -> list[str]:
    weak = any(run.manifest.options.scaling == "weak" for run in tables.runs.values())
    bases = tables.layer_types["base_nodes"].dropna().unique()
    over = f" over {describe.plural(int(bases[0]), 'node')}" if len(bases) == 1 else ""
    head = ["run", "type", "nodes", "placement", "step", f"{'scaled ' * weak}speed-up{over}"]
    head += ["efficiency", "communication", ""]
    rows = [
        [
            escape(row.run),
            escape(row.kind),
            f"{row.nodes:,}",
            row.placement or NOTHING,
            escape(step(row)),
            number(row.speedup),
            percent(row.efficiency),
            percent(row.communication_share, 1),
            escape(marks(row)),
        ]
        for row in row_tuples(tables.layer_types)
    ]
    lines = ["## Running time of a step", "", *_table(tables, head, rows, right=(2, 4, 5, 6, 7))]
    return [*lines, "A type's step is the sum of its layers' medians, with its 95 % interval.", "", *_legends(tables)]


def _breakdown(tables: Tables) -> list[str]:
    frame = tables.breakdown
    if frame.empty:
        return []
    by_step: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in row_tuples(frame):
        by_step.setdefault((row.run, row.kind, row.nodes, row.placement), {})[row.part] = row
    parts = [str(part) for part in frame["part"].unique()]
    rows = [
        [
            escape(run),
            escape(kind),
            f"{nodes:,}",
            placement,
            *(f"{units.seconds(by_part[part].seconds)} ({percent(by_part[part].share)})" for part in parts),
        ]
        for (run, kind, nodes, placement), by_part in by_step.items()
    ]
    head = ["run", "type", "nodes", "placement", *(part.replace("_", " ") for part in parts)]
    lines = ["## Parts of a step", "", "Medians summed over layers, and their part of the step; all communication is "]
    lines[-1] += f"exposed. {describe.PARTS_AND_STEP}"
    return [*lines, "", *_table(tables, head, rows, right=range(4, len(head)))]


def _intensity(tables: Tables) -> list[str]:
    frame = tables.layers
    if frame.empty:
        return []
    rows = [
        [
            escape(row.run),
            escape(row.layer),
            escape(row.kind),
            f"{row.local_batch:,}",
            units.count(row.macs),
            units.size(row.bytes),
            f"{row.macs_per_byte:.3g}",
            number(row.macs_per_byte_weights_reread),
        ]
        for row in row_tuples(frame.head(ROWS_SHOWN))
    ]
    head = ["run", "layer", "type", "batch of a rank", "MACs", "bytes"]
    head += ["MACs per byte", "with weights re-read each step"]
    lines = ["## MACs per byte", "", "Any one pass over all ranks, each operand moved once; other batches are in "]
    lines[-1] += "intensity.csv."
    return [*lines, "", *_table(tables, head, rows, right=(3, 4, 5, 6, 7)), *_rest(len(frame), "intensity.csv")]


def _roofline(tables: Tables) -> list[str]:
    lines = ["## Roofline", ""]
    for label, run in tables.runs.items():
        where = f"{escape(label)}: " if _several(tables) else ""
        lines.append(f"{where}{escape(describe.roofline(run))}")
        lines.append("")
    placed = tables.records[tables.records["fraction_of_roofline"].notna()]
    if placed.empty:
        return lines
    rows = [
        [
            escape(row.run),
            escape(row.layer),
            row.part.replace("_", " "),
            f"{row.nodes:,}",
            f"{row.macs_per_byte:.3g}",
            units.rate(row.flops_per_rank, "FLOP/s"),
            percent(row.fraction_of_roofline),
            row.bound,
        ]
        for row in row_tuples(placed[placed["nodes"] == placed["nodes"].min()].head(ROWS_SHOWN))
    ]
    head = ["run", "layer", "pass", "nodes", "MACs per byte", "rate of a rank", "of the roofline", "bound by"]
    lines += [*_table(tables, head, rows, right=(3, 4, 5, 6)), "Other counts are in records.csv.", ""]
    return lines


def _devices(tables: Tables) -> list[str]:
    found = devices.rows(tables, ROWS_SHOWN)
    if not found:
        return []
    shown = [[escape(cell) for cell in row] for row in found]
    lines = [
        f"## {devices.TITLE}",
        "",
        devices.EXPLAINED,
        "",
        *_table(tables, devices.HEAD, shown, right=devices.RIGHT),
    ]
    return [*lines, *_rest(len(devices.told(tables)), "records.csv")]


def _reference(tables: Tables) -> list[str]:
    frame = tables.reference
    if tables.against is not None:
        return against_cells.markdown(tables, [] if frame.empty else _published(tables, frame))
    if frame.empty:
        return []
    lines = ["## Published times of the same shapes", "", "By DeepBench, on one device, same dtype and pass.", ""]
    return [*lines, *_published(tables, frame)]


def _published(tables: Tables, frame: pd.DataFrame) -> list[str]:
    rows = [
        [
            escape(row.run),
            escape(row.layer),
            row.part.replace("_", " "),
            units.seconds(row.median),
            escape(row.device),
            units.seconds(row.published_seconds),
            number(row.ratio),
        ]
        for row in row_tuples(frame.head(ROWS_SHOWN))
    ]
    head = ["run", "layer", "pass", "here", "device", "published", "published / here"]
    return [*_table(tables, head, rows, right=(3, 5, 6)), *_rest(len(frame), "reference.csv")]


def _overlap(tables: Tables) -> list[str]:
    """What was gained by overlap, run by run, where it was measured."""
    lines = [f"## {overlap_cells.TITLE}", ""] if tables.overlaps else []
    for label, overlap in tables.overlaps.items():
        lines += [f"**{escape(label)}**", ""] if _several(tables) else []
        lines += overlap_cells.markdown(overlap)
    return lines


def _claims(claims: pd.DataFrame, *, several: bool) -> list[str]:
    rows = [
        [escape(row.run), row.id, escape(row.claim), row.verdict, escape(row.evidence)] for row in row_tuples(claims)
    ]
    head = ["run", "", "observed on Blue Waters in 2017", "here", "evidence"]
    if not several:
        head, rows = head[1:], [row[1:] for row in rows]
    return ["## Observations", "", *table(head, rows)] if rows else []


def _layers(tables: Tables) -> list[str]:
    """The parts of each layer, node count by node count."""
    counts = sorted(int(n) for n in tables.layer_types["nodes"].unique())
    by_part: dict[tuple[str, str], dict[int, str]] = {}
    names = [layer.name for layer in tables.manifest.layers[:ROWS_SHOWN]]
    for row in row_tuples(tables.records[tables.records["layer"].isin(names)]):
        time = row.status if row.status != "ok" else units.seconds(row.median)
        signs = marks(row)
        part = row.part.replace("_", " ") + ("" if row.in_step else " (not in the step)")
        by_part.setdefault((row.layer, part), {})[row.nodes] = escape(f"{time} {signs}".strip())
    head = ["layer", "part", *(describe.plural(n, "node") for n in counts)]
    rows = [
        [escape(layer), part, *(by_count.get(n, NOTHING) for n in counts)]
        for (layer, part), by_count in by_part.items()
    ]
    lines = [_heading(tables, "Parts of each layer"), ""]
    lines += ["Medians; intervals, algorithms and errors are in records.csv.", ""]
    return [*lines, *table(head, rows, right=range(2, len(head))), *_rest(len(tables.manifest.layers), "records.csv")]


def _layouts(tables: Tables) -> list[str]:
    """How each layer was split, where the cost model chose that."""
    head, rows = layouts.table_of(tables.manifest)
    if not rows:
        return []
    shown = [[escape(cell) for cell in row] for row in rows[:ROWS_SHOWN]]
    why = [f"- {escape(line)}" for line in layouts.reasons(tables.manifest)[:ROWS_SHOWN]]
    lines = [_heading(tables, "Layouts"), "", layouts.EXPLAINED, "", *table(head, shown), *_rest(len(rows), "run.json")]
    return [*lines, *why, ""] if why else lines


def _heading(tables: Tables, words: str) -> str:
    """A heading of one run's own section; the run is named where there are several of them."""
    (label,) = tables.runs
    return f"## {words}" if tables.alone else f"## {words}: {escape(label)}"


def _faults(tables: Tables) -> list[str]:
    faults, missing = describe.faults(tables), describe.missing(tables)
    if not faults and not missing:
        return []
    rows = [
        [fault.status, escape(fault.layer), f"{fault.nodes:,}", escape(", ".join(fault.parts)), escape(fault.reason)]
        for fault in faults[:ROWS_SHOWN]
    ]
    lines = [_heading(tables, "What has no time"), ""]
    if rows:
        lines += [*table(["status", "layer", "nodes", "parts", "reason"], rows, right=(2,))]
        lines += _rest(len(faults), "records.csv")
    if missing:
        lines += [f"Not measured yet: {escape(missing)}.", ""]
    return lines


def _rest(count: int, file: str) -> list[str]:
    return [f"{count - ROWS_SHOWN:,} more are in {file}.", ""] if count > ROWS_SHOWN else []


def _warnings(tables: Tables) -> list[str]:
    warnings = [warning for run in tables.runs.values() for warning in run.warnings]
    return ["## Run folder", "", *(f"- {escape(warning)}" for warning in warnings), ""] if warnings else []


def _environment(tables: Tables) -> list[str]:
    """What is known of where each run took place, a column for each."""
    facts = {label: describe.facts(run) for label, run in tables.runs.items()}
    names = list(dict.fromkeys(name for of_run in facts.values() for name in of_run))
    rows = [[escape(name), *(escape(of_run.get(name, NOTHING)) for of_run in facts.values())] for name in names]
    return ["## Environment", "", *table(["", *(escape(label) if len(facts) > 1 else "" for label in facts)], rows)]
