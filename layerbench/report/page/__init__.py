"""``report.html``: the report as one file that works offline, for people to send each other."""

from __future__ import annotations

import base64
import hashlib
import importlib.resources
from typing import TYPE_CHECKING, Any

import msgspec

from layerbench.report import markdown
from layerbench.report.page import charts, data, overview, palette, words
from layerbench.report.page.section import SYMBOLS, Chart, Key
from layerbench.report.tables import Tables

if TYPE_CHECKING:
    import pandas as pd

_SCRIPTS = ("page.js", "samples.js", "records.js")

_UNSAFE = {
    ord("<"): "\\u003c",
    ord(">"): "\\u003e",
    ord("&"): "\\u0026",
    0x2028: "\\u2028",
    0x2029: "\\u2029",
}
"""What could end a script's element, or a line of it, within a string of JSON."""

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
    from jinja2 import Environment
    from plotly.offline import get_plotlyjs

    before, after = charts.sections(tables)
    drawn = {chart.id: chart for section in (*before, *after) for chart in section.charts}
    library, program = get_plotlyjs(), "\n".join(_text(name) for name in _SCRIPTS)
    letters = words.letters(tables)
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True, finalize=words.visible)
    template = environment.from_string(_text("page.html.jinja"))
    page = template.render(
        title=markdown.title(tables),
        heads=overview.heads(tables),
        facts=overview.facts(tables),
        faults=overview.faults(tables),
        before=before,
        after=after,
        claims=_claims(claims, letters),
        verdicts=VERDICTS,
        kinds=_kind_keys(tables),
        letters=letters,
        dashes=DASHED,
        several=len(letters) > 1,
        style=_text("page.css"),
        light=palette.style(dark=False),
        dark=palette.style(dark=True),
        policy=_policy(library, program),
        charts=_json({name: _drawing(chart) for name, chart in drawn.items()}),
        records=_json(data.payload(tables) | charts.strip(tables)),
        colours=_json(palette.DARK),
        library=library,
        program=program,
    )
    # A warning may name a folder whose name is no text.
    return page.encode("utf-8", "replace")


def _text(name: str) -> str:
    return (importlib.resources.files(__name__) / name).read_text(encoding="utf-8")


def _policy(*scripts: str) -> str:
    """A content security policy that lets the page's own scripts run and nothing else: no request, no other script.

    Charts set styles on their elements and are saved by way of an image.
    """
    hashes = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    allowed = " ".join(f"'sha256-{digest}'" for digest in hashes)
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data: blob:; "
        "base-uri 'none'; form-action 'none'"
    )


def _drawing(chart: Chart) -> dict[str, Any]:
    return {"data": chart.data, "layout": chart.layout, "zoom": chart.zoom}


def _json(value: Any) -> str:
    """JSON that stands within a script's element; NaN becomes null."""
    return msgspec.json.encode(value).decode().translate(_UNSAFE)


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
