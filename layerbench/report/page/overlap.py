"""What overlap gained: a training step without and with it, its timeline, and the gain by ratio."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from layerbench import units
from layerbench.overlap_records import MODES, Row
from layerbench.report import cells, describe, overlap_cells
from layerbench.report.overlap_rows import Measured
from layerbench.report.page import overlap_gain, overlap_timeline, palette, words
from layerbench.report.page.overlap_lines import numbers, one_mode_numbers, told
from layerbench.report.page.section import Chart, Choice, Key, Section, Trace, axis, layout, meta
from layerbench.report.tables import Tables
from layerbench.report.twins.overlap_step import COMPUTATION, FILLS, Bar, bars, gained

SHOW = Choice("show", "Show", {"share": "share of the implicit step", "time": "time"})

_PITCH = 3.5
"""Bars from one pair to the next: its heading, two bars, and a gap."""

_BAR = 24
"""Pixels of a bar and the gap beside it."""

_MOST = 60
"""Pairs of bars; the CSV file has all."""

_COLOURS = {part: fill.colour for part, fill in FILLS.items()} | {"step": palette.FAINT}
_PATTERNS = {COMPUTATION: "", "transfer": "/", "communication": "x", "step": ""}


def sections(tables: Tables) -> list[Section]:
    """Sections on the training step, its timeline, and the sweep of ratios, where runs have them."""
    measured = tables.measured_overlap(words.letters(tables))
    made = (_step(measured), overlap_timeline.section(measured), overlap_gain.section(measured))
    return [section for section in made if section is not None]


def _step(measured: Sequence[Measured]) -> Section | None:
    pairs = sorted(((one, row) for one in measured for row in one.steps), key=lambda pair: pair[1].nodes)
    one_mode = [other for one in measured for other in one.overlap.one_mode]
    if not pairs and not one_mode:
        return None
    left_out = f"{len(pairs) - _MOST:,} more node counts are in overlap.csv." if len(pairs) > _MOST else ""
    return Section(
        "overlap",
        overlap_cells.TITLE,
        overlap_cells.MEANING,
        [_chart(pairs[:_MOST])] if pairs else [],
        _keys([row for _, row in pairs]),
        [SHOW] if pairs else [],
        [*told(measured, "training step"), *filter(None, [left_out])],
        numbers(measured, "training step") if pairs else one_mode_numbers(measured),
        [] if pairs else ["One mode only was asked for, so there is no gain to tell."],
    )


def _keys(rows: Sequence[Row]) -> list[Key]:
    if not rows:
        return []
    there = {part for row in rows for bar in bars(row) for part, seconds in bar.parts.items() if seconds > 0}
    keys = [Key(_sign(part), fill.label, _COLOURS[part]) for part, fill in FILLS.items() if part in there]
    return keys + ([Key("hollow", "emulated: hollow")] if any(row.placement == "emulated" for row in rows) else [])


def _sign(part: str) -> str:
    return {"transfer": "part backward_weights", "communication": "part communication"}.get(part, "swatch")


def _chart(pairs: Sequence[tuple[Measured, Row]]) -> Chart:
    longest = max(row.implicit_seconds for _, row in pairs)
    unit = words.unit(longest)
    scale = words.UNITS[unit]
    traces = [
        trace
        for show in SHOW.options
        for run in dict.fromkeys(one.run for one, _ in pairs)
        for trace in _traces(pairs, run, show, scale)
    ]
    count = len(pairs)
    ticks: list[tuple[float, str]] = []
    for index, (one, row) in enumerate(pairs):
        hollow = " ○" if row.placement == "emulated" else ""
        heading = f"{describe.plural(row.nodes, 'node')}{words.of_run(one.letter)}{hollow}"
        ticks += [(_PITCH * index + place, text) for place, text in enumerate((heading, *MODES))]
    best = max((row for _, row in pairs), key=lambda row: row.speedup)
    return Chart(
        "overlap-step",
        "A training step without and with overlap",
        f"A training step without and with overlap by node count: at best {overlap_cells.times(best.speedup)} times as "
        f"fast, on {describe.plural(best.nodes, 'node')}.",
        traces,
        layout(
            round(70 + _BAR * _PITCH * count),
            axis("share of the implicit step", rangemode="tozero", tickformat=".0%", side="bottom"),
            axis(
                "",
                tickvals=[at for at, _ in ticks],
                ticktext=[text for _, text in ticks],
                range=[_PITCH * count - 0.8, -0.7],
                showgrid=False,
            ),
            right=72,
            xaxis2=axis(unit, rangemode="tozero", overlaying="x", side="bottom", showgrid=False),
            barmode="stack",
        ),
    )


def _traces(pairs: Sequence[tuple[Measured, Row]], run: int, show: str, scale: float) -> Iterator[Trace]:
    """The parts of one run's steps, behind each bar its time, and above each pair what was gained."""
    ends: list[tuple[float, float, str]] = []
    for placement in ("measured", "emulated"):
        for part in FILLS:
            x: list[float] = []
            y: list[float] = []
            texts: list[str] = []
            for index, (one, row) in enumerate(pairs):
                if one.run != run or row.placement != placement:
                    continue
                for place, bar in enumerate(bars(row), 1):
                    if (seconds := bar.parts.get(part, 0.0)) > 0:
                        x.append(seconds / (row.implicit_seconds if show == "share" else scale))
                        y.append(_PITCH * index + place)
                        texts.append(_under_pointer(one, row, bar, part, seconds))
            if x:
                yield _bars(part, placement, x, y, texts) | _on(show, run)
    for index, (one, row) in enumerate(pairs):
        if one.run != run:
            continue
        ends.append((0.0, _PITCH * index, gained(row)))
        for place, bar in enumerate(bars(row), 1):
            whole = sum(bar.parts.values()) / (row.implicit_seconds if show == "share" else scale)
            ends.append((whole, _PITCH * index + place, f" {units.seconds(bar.seconds)}"))
    yield {
        "type": "scatter",
        "mode": "text",
        "name": "gained",
        "x": [x for x, _, _ in ends],
        "y": [y for _, y, _ in ends],
        "text": [text for _, _, text in ends],
        "textposition": "middle right",
        "textfont": {"size": 12, "color": palette.INK},
        "hoverinfo": "skip",
        "cliponaxis": False,
    } | _on(show, run)


def _on(show: str, run: int) -> dict[str, Any]:
    return {"meta": meta(run, show=show), "xaxis": "x" if show == "share" else "x2"}


def _bars(part: str, placement: str, x: list[float], y: list[float], texts: list[str]) -> Trace:
    """Filled where it was measured; only outlined and hatched where it was emulated."""
    colour, hollow = _COLOURS[part], placement == "emulated"
    ground = palette.PAPER if hollow else colour
    hatch = colour if hollow else palette.PAPER if part == "communication" else palette.INK
    return {
        "type": "bar",
        "orientation": "h",
        "name": f"{part} {placement}",
        "x": x,
        "y": y,
        "width": 0.84,
        "marker": {
            "color": ground,
            "line": {"color": colour if hollow else palette.FAINT, "width": 1},
            "pattern": {
                "shape": _PATTERNS[part],
                "size": 7,
                "solidity": 0.25,
                "fgcolor": hatch,
                "bgcolor": ground,
            },
        },
        "hovertext": texts,
        "hoverinfo": "text",
        "textposition": "none",
    }


def _under_pointer(one: Measured, row: Row, bar: Bar, part: str, seconds: float) -> str:
    share, whole = cells.percent(seconds / bar.seconds), units.seconds(bar.seconds)
    exposed = "exposed " if bar.mode == "explicit" and part in ("transfer", "communication") else ""
    return words.lines(
        f"{describe.plural(row.nodes, 'node')}{words.of_run(one.letter)}, {bar.mode}",
        f"{exposed}{part} {units.seconds(seconds)}, {share} of {whole}",
        f"speed-up {gained(row)}",
        ", ".join([row.placement, *(mark for mark in ("noisy", "oversubscribed") if getattr(row, mark))]),
    )
