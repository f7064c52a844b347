"""Colours of the page: each by what it is on a light ground, with what it becomes on a dark one."""

from __future__ import annotations

from layerbench.report import marks, overlap_lanes

INK, QUIET = "#1b1f24", "#59636e"
"""Of text, and of text that may be overlooked."""

PAPER, RAISED, RULE, GRID = "#ffffff", "#f6f8fa", "#d0d7de", "#e4e8ec"
LINK = "#0a5cad"
FAINT, HATCH = "#6e7781", "#6e7780"
"""Of what surrounds a point, and of what is drawn over a bar."""

PARTS = {
    "forward": "#dcebf5",
    "backward_data": "#b5d3e8",
    "backward_weights": "#94c0dd",
    "communication": marks.VERMILION,
}
"""Pale blues for what computes, so that what does not stands out."""

GOOD, BAD, UNSURE = "#116329", "#a40e26", "#7d4e00"
HIGHLIGHT, BAND = "#fff3c4", "#e8ebef"
"""Behind what is pointed out, and behind an interval."""

DARK = {
    INK: "#e6edf3",
    QUIET: "#9aa4ae",
    PAPER: "#0d1117",
    RAISED: "#161b22",
    RULE: "#30363d",
    GRID: "#232a32",
    LINK: "#79b8ff",
    FAINT: "#8b949e",
    HATCH: "#dce3ea",
    GOOD: "#6fdd8b",
    BAD: "#ff9492",
    UNSURE: "#e3b341",
    HIGHLIGHT: "#3a3110",
    BAND: "#262d35",
    marks.BLUE: "#4a9fd8",
    marks.GREEN: "#2bb98f",
    PARTS["forward"]: "#2a4356",
    PARTS["backward_data"]: "#3f6480",
    PARTS["backward_weights"]: "#5486aa",
    overlap_lanes.STAGE.pale: "#1c6f58",
    overlap_lanes.MOVE.pale: "#8a6410",
    overlap_lanes.EXCHANGE.pale: "#86461a",
    overlap_lanes.FORWARD.colour: "#cfe8f7",
    overlap_lanes.BACKWARD_WEIGHTS.colour: "#2a77ad",
    overlap_lanes.OTHER.colour: "#8b949e",
}
"""What each colour becomes; one that is not here is the same on both grounds."""

_NAMES = {
    "ink": INK,
    "quiet": QUIET,
    "paper": PAPER,
    "raised": RAISED,
    "rule": RULE,
    "link": LINK,
    "good": GOOD,
    "bad": BAD,
    "unsure": UNSURE,
    "highlight": HIGHLIGHT,
    "band": BAND,
    "faint": FAINT,
    "hatch": HATCH,
}
"""By which the style sheet calls them."""


def variable(colour: str) -> str:
    """The style sheet's variable for a colour of a chart: ``var(--c-0072b2)``."""
    return f"var(--c-{colour[1:].lower()})"


def style(dark: bool) -> str:
    """The variables of one of the two grounds as declarations of a style sheet."""
    colours = {*DARK, *marks_used()}
    told = dict(_NAMES)
    told |= {f"c-{colour[1:].lower()}": colour for colour in sorted(colours)}
    return " ".join(f"--{name}: {DARK.get(colour, colour) if dark else colour};" for name, colour in told.items())


def marks_used() -> tuple[str, ...]:
    """Every colour that a layer type may have."""
    return (marks.BLUE, marks.ORANGE, marks.GREEN, marks.PURPLE, marks.VERMILION, marks.SKY)
