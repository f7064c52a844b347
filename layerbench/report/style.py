"""Fonts, lines and colours of the figures, and the files that figures become."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal, TypeAlias

from layerbench.report.marks import FAINT, GRID, INK

Format: TypeAlias = Literal["png", "svg", "pdf"]

_COMMON = {
    "font.family": "DejaVu Sans",
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelcolor": INK,
    "axes.edgecolor": FAINT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "text.color": INK,
    "xtick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.color": FAINT,
    "ytick.labelcolor": INK,
    "text.parse_math": False,  # a $ in a name is a $
    "svg.hashsalt": "layerbench",  # the same ids, so the same file, for the same figure
    "svg.fonttype": "path",
    "pdf.fonttype": 42,  # publishers refuse the other kind
}

OVERVIEW = {
    **_COMMON,
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.labelsize": 10,
    "grid.linewidth": 0.7,
    "hatch.linewidth": 0.9,
    "lines.linewidth": 1.8,
}

PAPER = {
    **_COMMON,
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.titlepad": 3,
    "axes.labelsize": 8,
    "axes.labelpad": 2,
    "axes.linewidth": 0.6,
    "grid.linewidth": 0.4,
    "hatch.linewidth": 0.5,
    "lines.linewidth": 1.1,
    "legend.fontsize": 7,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "xtick.major.pad": 2.5,
    "ytick.major.pad": 2.5,
}
"""Of a figure that is printed as large as it is drawn."""

_UNDATED: dict[Format, dict[str, None]] = {
    "png": {"Software": None},
    "svg": {"Date": None},
    "pdf": {"CreationDate": None},
}

_NOT_XML = bytes({*range(0x20)} - {*b"\t\n\r"})
"""Control characters of a name, which the library writes into ids and comments and no reader of XML takes."""


@contextmanager
def styled(style: Mapping[str, Any]) -> Iterator[None]:
    """A style on top of the library's own defaults, whatever the user's configuration, for the time of drawing."""
    import matplotlib

    with matplotlib.rc_context(), warnings.catch_warnings():
        # A name in a script the font lacks is drawn as boxes; nothing the reader of a terminal can mend.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(style)
        yield


def fitted_key(
    figure: Any, handles: Sequence[Any], labels: Sequence[str], width: float, renderer: Any, most: int, **look: Any
) -> Any:
    """A key in the upper left corner, with as many columns, of ``most``, as ``width`` pixels have room for."""
    for columns in range(min(len(labels), most), 0, -1):
        key = figure.legend(list(handles), list(labels), loc="upper left", ncols=columns, frameon=False, **look)
        if columns == 1 or key.get_window_extent(renderer).width <= width:
            break
        key.remove()
    return key


def rendered(figure: Any, kind: Format, style: Mapping[str, Any], dpi: int) -> bytes:
    """A figure as a file's contents; the same bytes for the same figure and library versions."""
    out = io.BytesIO()
    with styled(style):
        figure.savefig(out, format=kind, dpi=dpi, metadata=_UNDATED[kind])
    return out.getvalue().translate(None, _NOT_XML) if kind == "svg" else out.getvalue()
