"""``report.html``: the report as one file that works offline, for people to send each other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from layerbench.report import devices, markdown
from layerbench.report.cells import ROWS_SHOWN
from layerbench.report.page import charts, data, offline, overview, palette, words
from layerbench.report.page.section import SYMBOLS, Chart, Key
from layerbench.report.tables import Tables

if TYPE_CHECKING:
    import pandas as pd

_SCRIPTS = ("page.js", "table.js", "samples.js", "records.js")

DASHED = {"solid": "", "dot": "1.5 2.5", "dashdot": "6 2 1.5 2", "longdashdot": "9 2 1.5 2", "longdash": "9 3"}
"""The dashes of runs, as a key draws them."""

VERDICTS = {"holds": "good", "does not hold": "bad", "cannot be said": "unsure"}


def render(tables: Tables, claims: pd.DataFrame | None) -> bytes:
    """Make the page.

    Parameters
    ----------
    tables
        All frames.
    claims
        The observations checked, with columns ``id``, ``run``, ``claim``, ``verdict`` and ``evidence``; None if they
        were not.

    Returns
    -------
    bytes
        HTML in UTF-8 that asks nothing of any server; the same for the same tables and library versions.
    """
    before, after = charts.sections(tables)
    drawn = {chart.id: chart for section in (*before, *after) for chart in section.charts}
    letters = words.letters(tables)
    return offline.filled(
        offline.text(__name__, "page.html.jinja"),
        "\n".join(offline.text(__name__, name) for name in _SCRIPTS),
        title=markdown.title(tables),
        heads=overview.heads(tables),
        facts=overview.facts(tables),
        faults=overview.faults(tables),
        before=before,
        after=after,
        claims=_claims(claims, letters),
        verdicts=VERDICTS,
        devices=_devices(tables, letters),
        kinds=_kind_keys(tables),
        letters=letters,
        dashes=DASHED,
        several=len(letters) > 1,
        style=offline.text(__name__, "page.css"),
        light=palette.style(dark=False),
        dark=palette.style(dark=True),
        charts=offline.json({name: _drawing(chart) for name, chart in drawn.items()}),
        records=offline.json(data.payload(tables) | charts.strip(tables)),
        colours=offline.json(palette.DARK),
    )


def _drawing(chart: Chart) -> dict[str, Any]:
    return {"data": chart.data, "layout": chart.layout, "zoom": chart.zoom}


def _devices(tables: Tables, letters: dict[str, str]) -> dict[str, Any] | None:
    """What devices told of themselves; None where none did."""
    found = devices.rows(tables, ROWS_SHOWN)
    if not found:
        return None
    shown = [[letters.get(run, run), *cells] for run, *cells in found]
    rest = len(devices.told(tables)) - len(found)
    right = [column - 1 for column in devices.RIGHT]
    about = {"title": devices.TITLE, "text": devices.EXPLAINED, "head": devices.HEAD[1:], "right": right}
    return about | {"rows": shown, "rest": rest}


def _claims(claims: pd.DataFrame | None, letters: dict[str, str]) -> list[dict[str, str]]:
    if claims is None:
        return []
    rows = [
        {name: str(row[name]) for name in ("id", "run", "claim", "verdict", "evidence")} for _, row in claims.iterrows()
    ]
    return [row | {"letter": letters.get(row["run"], row["run"])} for row in rows]


def _kind_keys(tables: Tables) -> list[tuple[str, Key]]:
    """Each layer type by name, with its sign."""
    from layerbench.report.marks import look

    kinds = words.kinds(tables)
    looks = [(kind, look(kind, kinds)) for kind in kinds]
    return [(kind, Key(SYMBOLS[of.marker], words.type_label(tables, kind), of.colour)) for kind, of in looks]
