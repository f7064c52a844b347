"""A training step without and with overlap: for each node count two bars, and what was gained above them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from layerbench import units
from layerbench.overlap_records import MODES, Mode, Row
from layerbench.report import describe, overlap_cells
from layerbench.report.marks import FAINT, INK, ORANGE, VERMILION, Look
from layerbench.report.overlap_rows import Measured
from layerbench.report.twins import overlap_words, rows
from layerbench.report.twins.column import SMALL, column, settle
from layerbench.report.twins.twin import Twin

if TYPE_CHECKING:
    import pandas as pd

_MOST = 18
"""Pairs of bars that a page holds."""

_PITCH = 3.25
"""Rows from one pair to the next: its heading, two bars, and a gap."""


class Fill(NamedTuple):
    """How a part of a step is painted."""

    label: str
    colour: str
    hatch: str


COMPUTATION = "computation"
FILLS = {
    COMPUTATION: Fill(COMPUTATION, "#b5d3e8", ""),
    "transfer": Fill("transfer", ORANGE, "////"),
    "communication": Fill("communication", VERMILION, ""),
    "step": Fill("step, its parts not known", FAINT, ""),
}
"""Computation begins at 0 in both modes, so that what overlap hides is what stands beyond it."""


class Bar(NamedTuple):
    """A step in one mode: its parts, by name, and the time it took, in seconds."""

    mode: Mode
    parts: dict[str, float]
    seconds: float


def step(measured: Sequence[Measured]) -> Twin | None:
    """Parts of the step in both modes, as shares of the implicit one; None where no training step was timed."""
    every = [(one, row) for one in measured for row in one.steps]
    if not every:
        return None
    every.sort(key=lambda pair: pair[1].nodes)
    kept = [every[index] for index in rows.chosen(len(every), _MOST)]
    found = [row for _, row in kept]
    return Twin(
        name="overlap_step",
        title=f"A training step without and with overlap by node count{overlap_words.of(measured)}",
        caption=overlap_words.joined(
            overlap_words.how(measured),
            "Above each pair of bars: speed-up with its 95 % interval, of what is attainable, and η, the part of the "
            "time that overlap can save that it saved; at the right the time of a step. Of the explicit step, transfer "
            "and communication are what computation waits for, and computation is the rest. Parts are medians by "
            "themselves and need not add up to 100 %.",
            overlap_words.marks(found, "Hollow, with a dashed outline"),
            f"{len(kept)} of {len(every)} pairs are drawn." if len(kept) < len(every) else "",
        ),
        alt=_alt(found),
        figure=_draw(kept),
        numbers=_numbers(kept),
    )


def bars(row: Row) -> list[Bar]:
    """Both modes. The explicit step's computation is what is not exposed; a file may not tell any parts."""
    implicit = {
        COMPUTATION: row.compute_seconds,
        "transfer": row.transfer_seconds,
        "communication": row.communication_seconds,
    }
    exposed = {
        "transfer": row.exposed_transfer_seconds,
        "communication": row.exposed_communication_seconds,
    }
    explicit = {COMPUTATION: max(0.0, row.explicit_seconds - sum(exposed.values())), **exposed}
    if not any(implicit.values()):
        implicit, explicit = {"step": row.implicit_seconds}, {"step": row.explicit_seconds}
    seconds = (row.implicit_seconds, row.explicit_seconds)
    return [Bar(*told) for told in zip(MODES, (implicit, explicit), seconds, strict=True)]


def gained(row: Row) -> str:
    """What was gained, in a line: ``1.52 (1.48–1.56) of 1.90, η 0.87``."""
    told = f"{overlap_cells.speedup(row, '–')} of {overlap_cells.times(row.attainable)}"
    told += f", η {overlap_cells.eta(row)}" if row.eta is not None else ""
    return f"{told}, results differ" if row.identical is False else told


def _alt(found: Sequence[Row]) -> str:
    told = [
        f"{overlap_cells.times(row.speedup)} of {overlap_cells.times(row.attainable)} attainable on "
        f"{describe.plural(row.nodes, 'node')}" + (" (emulated)" if row.placement == "emulated" else "")
        for row in found
    ]
    return f"Speed-up of a training step by overlap: {describe.listed(told, shown=12)}."


def _numbers(kept: Sequence[tuple[Measured, Row]]) -> pd.DataFrame:
    import pandas as pd

    names = ["placement", "speedup", "speedup_low", "speedup_high", "attainable", "eta", "identical", "noisy"]
    told = [
        [one.letter, row.nodes, bar.mode, part, seconds, seconds / row.implicit_seconds, bar.seconds]
        + [getattr(row, name) for name in names]
        for one, row in kept
        for bar in bars(row)
        for part, seconds in bar.parts.items()
    ]
    columns = ["run", "nodes", "mode", "part", "seconds", "share_of_implicit", "step_seconds", *names]
    optional = ["speedup_low", "speedup_high", "eta"]
    return pd.DataFrame(told, columns=columns).astype({**dict.fromkeys(optional, "float64"), "identical": "boolean"})


def _draw(kept: Sequence[tuple[Measured, Row]]) -> Any:
    from matplotlib.ticker import MaxNLocator

    picture = column([rows.ROW * (_PITCH * len(kept) + 0.1)])
    panel = picture.panels[0]
    ends = [sum(bar.parts.values()) / row.implicit_seconds for _, row in kept for bar in bars(row)]
    panel.set_xlim(0, 101 * max(1.0, *ends))
    panel.set_ylim(_PITCH * len(kept) - 0.35, -0.7)
    panel.tick_params(axis="y", length=0, pad=12)
    panel.grid(visible=False, axis="y")
    ticks: list[tuple[float, str]] = []
    for index, (one, row) in enumerate(kept):
        top = _PITCH * index
        name = f"{one.letter}:{row.nodes}".strip(":")
        heading = ", ".join(filter(None, [describe.plural(row.nodes, "node"), one.letter]))
        ticks += [(top, heading), (top + 1, MODES[0]), (top + 2, MODES[1])]
        gid = f"overlap_step:{name}"
        rows.mark(panel, top, rows.Row(heading, Look(INK, "o"), row.placement, row.noisy, False, gid))
        # On a ground of its own: the grid runs through it.
        ground = {"facecolor": "white", "linewidth": 0, "pad": 0.6}
        where = {"xytext": (3, 0), "textcoords": "offset points", "va": "center_baseline"}
        panel.annotate(gained(row), (0, top), **where, size=SMALL, bbox=ground, annotation_clip=False)
        for place, bar in enumerate(bars(row), 1):
            _bar(panel, top + place, row, bar, gid)
    panel.set_yticks([at for at, _ in ticks], [text for _, text in ticks])
    panel.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    panel.set_xlabel("time, of the implicit step (%)")
    return settle(picture, _entries(kept))


def _bar(panel: Any, y: float, row: Row, bar: Bar, gid: str) -> None:
    left = 0.0
    for part, seconds in bar.parts.items():
        share = 100 * seconds / row.implicit_seconds
        if not share > 0:
            continue
        fill = FILLS[part]
        look = {"facecolor": fill.colour, "hatch": fill.hatch, "edgecolor": INK, "linewidth": 0.3}
        (drawn,) = panel.barh(y, share, 0.8, left=left, **look)
        drawn.set_gid(f"{gid}:{bar.mode}:{part}")
        left += share
    if row.placement == "emulated":
        (outline,) = panel.barh(y, left, 0.8, fill=False, edgecolor=INK, linewidth=0.9, linestyle=(0, (3, 1.6)))
        outline.set_gid(f"{gid}:{bar.mode}:outline")
    beyond = panel.get_yaxis_transform()
    told = units.seconds(bar.seconds)
    panel.text(1.02, y, told, transform=beyond, va="center_baseline", size=SMALL, clip_on=False)


def _entries(kept: Sequence[tuple[Measured, Row]]) -> list[Any]:
    from matplotlib.patches import Patch

    there = {part for _, row in kept for bar in bars(row) for part, seconds in bar.parts.items() if seconds > 0}
    entries: list[Any] = [
        (Patch(facecolor=fill.colour, hatch=fill.hatch, edgecolor=INK, linewidth=0.3), fill.label)
        for part, fill in FILLS.items()
        if part in there
    ]
    found = [row for _, row in kept]
    noisy_only = [row for row in found if row.identical is not False]
    return [*entries, *overlap_words.placements(found), *overlap_words.rings(noisy_only)]
