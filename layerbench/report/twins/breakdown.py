"""What a step is made of: a bar for each type, node count and run, whose parts are shares of the step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from layerbench import units
from layerbench.report import cells, describe
from layerbench.report.columns import row_tuples
from layerbench.report.marks import INK, VERMILION, look
from layerbench.report.tables import Tables
from layerbench.report.twins import captions, keys, rows
from layerbench.report.twins.column import SMALL, column, settle
from layerbench.report.twins.rows import Row
from layerbench.report.twins.twin import Twin

if TYPE_CHECKING:
    import pandas as pd

_MOST_ROWS = 60
"""A page holds no more; node counts are left out of every type then."""


class _Fill(NamedTuple):
    label: str
    colour: str
    hatch: str


_FILLS = {
    "forward": _Fill("forward", "#dcebf5", ""),
    "backward_data": _Fill("backward_data", "#b5d3e8", "\\\\\\\\"),
    "backward_weights": _Fill("backward_weights", "#94c0dd", "////"),
    "communication": _Fill("communication", VERMILION, ""),
}
"""Pale blues for what computes, so that what does not stands out, in colour as in grey."""


def breakdown(tables: Tables) -> Twin | None:
    """Shares of forward, backward_data, backward_weights and exposed communication; None where nothing is complete."""
    if tables.breakdown.empty:
        return None
    types = tables.layer_types
    counts = sorted(int(n) for n in types["nodes"].unique())
    most = max(2, _MOST_ROWS // (len(tables.runs) * types["kind"].nunique()))
    kept = [counts[index] for index in rows.chosen(len(counts), most)]
    drawn = types[types["nodes"].isin(kept)].sort_values(["nodes", "run"], kind="stable")
    numbers = tables.breakdown[tables.breakdown["nodes"].isin(kept)].reset_index(drop=True)
    marked = drawn[["run", "kind", "nodes", "noisy", "throttled"]]
    numbers = numbers.merge(marked.astype({"run": numbers["run"].dtype}), how="left", on=["run", "kind", "nodes"])
    return Twin(
        name="breakdown",
        title=f"Parts of a training step of {captions.subject(tables)} as shares of its time, by layer type",
        caption=captions.joined(
            captions.how(tables),
            "At the right the time of the step; all communication is exposed. "
            "Parts are medians by themselves and need not add up to 100 %.",
            captions.marks(tables, drawn, "Hollow, with a dashed outline"),
            captions.incomplete(drawn),
            f"{len(kept)} of {len(counts)} node counts are drawn." if len(kept) < len(counts) else "",
        ),
        alt=_alt(tables, numbers),
        figure=_draw(tables, drawn, numbers),
        numbers=numbers,
    )


def _alt(tables: Tables, numbers: pd.DataFrame) -> str:
    """A sentence on the share of communication at the most nodes."""
    shares = numbers[numbers["part"] == "communication"]
    called = captions.letters(tables)
    told = []
    for last in row_tuples(shares.sort_values("nodes", kind="stable").drop_duplicates(["run", "kind"], keep="last")):
        letter = called[str(last.run)]
        where = f"{last.kind} of run {letter}" if letter else last.kind
        told.append(f"{where} {cells.percent(last.share)} on {describe.plural(last.nodes, 'node')}")
    return f"Share of communication in a step: {'; '.join(told)}."


def _draw(tables: Tables, drawn: pd.DataFrame, numbers: pd.DataFrame) -> Any:
    kinds = keys.kinds_of(tables)
    of_kinds = {kind: rows_of for kind in kinds if len(rows_of := drawn[drawn["kind"] == kind])}
    whole = numbers.groupby(["run", "kind", "nodes"], observed=True)["share"].sum()
    picture = column([rows.height(len(of_kind)) for of_kind in of_kinds.values()])
    shares = {(str(row.run), row.kind, row.nodes, row.part): row.share for row in row_tuples(numbers)}
    for panel, (kind, of_kind) in zip(picture.panels, of_kinds.items(), strict=True):
        panel.set_xlim(0, 101 * max(1.0, whole.max()))
        rows.lay_out(panel, _rows(tables, of_kind, kind, kinds))
        for y, row in enumerate(row_tuples(of_kind)):
            _bar(panel, y, row, shares, captions.letters(tables)[str(row.run)])
        panel.set_title(keys.type_label(tables, kind))
        panel.set_ylabel("nodes" if len(tables.runs) == 1 else "nodes, run")
    picture.panels[-1].set_xlabel("share of the step (%)")
    return settle(picture, _entries(drawn))


def _rows(tables: Tables, of_kind: pd.DataFrame, kind: str, kinds: list[str]) -> list[Row]:
    called = captions.letters(tables)
    made: list[Row] = []
    last = None
    for row in row_tuples(of_kind):
        letter = called[str(row.run)]
        label = f"{row.nodes:,}" if row.nodes != last else ""
        made.append(
            Row(
                f"{label} {letter}".strip(),
                look(kind, kinds),
                row.placement if row.complete else "",
                bool(row.noisy),
                bool(row.throttled),
                _gid(letter, kind, row.nodes),
            )
        )
        last = row.nodes
    return made


def _gid(letter: str, kind: str, nodes: int) -> str:
    return ":".join(filter(None, ["breakdown", letter, kind, str(nodes)]))


def _bar(panel: Any, y: int, row: Any, shares: dict[Any, float], letter: str) -> None:
    beyond = panel.get_yaxis_transform()
    if not row.complete:
        panel.text(0.01, y, "incomplete", transform=beyond, va="center_baseline", size=SMALL, color=INK)
        return
    left = 0.0
    for part, fill in _FILLS.items():
        share = 100 * shares[str(row.run), row.kind, row.nodes, part]
        if not share > 0:
            continue
        (bar,) = panel.barh(
            y, share, 0.76, left=left, facecolor=fill.colour, hatch=fill.hatch, edgecolor=INK, linewidth=0.3
        )
        bar.set_gid(f"{_gid(letter, row.kind, row.nodes)}:{part}")
        if part == "communication" and share >= 12:
            middle = left + share / 2
            panel.text(
                middle, y, f"{share:.0f}", ha="center", va="center_baseline", size=6.5, color="white", weight="bold"
            )
        left += share
    if row.placement == "emulated":
        (outline,) = panel.barh(y, left, 0.76, fill=False, edgecolor=INK, linewidth=0.9, linestyle=(0, (3, 1.6)))
        outline.set_gid(f"{_gid(letter, row.kind, row.nodes)}:outline")
    panel.text(1.02, y, units.seconds(row.seconds), transform=beyond, va="center_baseline", size=SMALL, clip_on=False)


def _entries(drawn: pd.DataFrame) -> list[Any]:
    from matplotlib.patches import Patch

    entries: list[Any] = [
        (Patch(facecolor=fill.colour, hatch=fill.hatch, edgecolor=INK, linewidth=0.3), fill.label)
        for fill in _FILLS.values()
    ]
    entries += [*keys.placements(drawn, lines=False), *keys.rings(drawn)]
    if not drawn["complete"].all():
        entries.append(keys.cross_entry())
    return entries
