"""Figures against images of how they should look: ``REDRAW=1 pytest`` of this file draws new ones, to be looked at."""

import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import imread
from matplotlib.legend import Legend
from matplotlib.text import Text

from layerbench.report import overlap_figures, style
from tests.report import overlapped, synthetic, twinned
from tests.report.pictures import artist

BASELINE = Path(__file__).parent / "baseline"
DPI = 100
BLOCK = 6
"""Pixels: the mean of a block is hardly another where only the edges of a line are drawn otherwise."""

DIFFERS = 20.0
"""Of 255: how far the means of a block may be apart."""

MOST = 2
"""How many blocks may differ by more."""

SHIFT = 2
"""Pixels that a panel may have moved, because the words around it take more or less room."""

FIGURES = [
    *("running_time", "speedup", "efficiency", "breakdown", "intensity", "roofline", "samples", "reference"),
    *("overlap_step", "overlap_gain", "overlap_timeline"),
]


@pytest.fixture(scope="module")
def figures() -> dict[str, Figure]:
    run = twinned.run(change=twinned.in_turn(twinned.marked, synthetic.failed("conv3", 4)))
    alone = {name: twin.figure for name, twin in twinned.drawn(twinned.of(run)).items()}
    two = twinned.of(twinned.run(path=Path("r/a")), twinned.run(path=Path("r/b"), measured=4, batch=32))
    together = {f"{name}-two": twin.figure for name, twin in twinned.drawn(two).items() if name != "intensity"}
    overlap = {twin.name: twin.figure for twin in overlap_figures.figures(overlapped.marked())}
    return alone | together | overlap


def pixels(figure: Figure, **changes: Any) -> np.ndarray:
    """A figure in red, green and blue from 0 to 255."""
    png = style.rendered(figure, "png", {**style.PAPER, **changes}, DPI)
    return 255.0 * imread(io.BytesIO(png))[..., :3]


def difference(figure: Figure, image: np.ndarray, other: np.ndarray) -> int:
    """Blocks that differ, where the two match best. Words are not compared: every font library draws them otherwise."""
    assert np.abs(np.subtract(image.shape, other.shape)).max() <= SHIFT, "the figure has another size"
    rows, columns = (min(a, b) // BLOCK - 1 for a, b in zip(image.shape[:2], other.shape[:2], strict=True))
    worded = words_of(figure, image.shape)

    def means(one: np.ndarray, down: int = 0, right: int = 0) -> np.ndarray:
        cut = one[SHIFT + down :, SHIFT + right :][: rows * BLOCK, : columns * BLOCK]
        return cut.reshape(rows, BLOCK, columns, BLOCK, -1).mean(axis=(1, 3))

    ours, compared = means(image), means(worded)[..., 0] == 0
    shifts = [(down, right) for down in range(-SHIFT, SHIFT + 1) for right in range(-SHIFT, SHIFT + 1)]
    apart = [np.abs(ours - means(other, *shift)).max(axis=2) for shift in shifts]
    return min(int((one[compared] > DIFFERS).sum()) for one in apart)


def words_of(figure: Figure, shape: tuple[int, ...]) -> np.ndarray:
    """1 where a word is, or may be, and in the key, whose words push one another along."""
    covered = np.zeros((*shape[:2], 1))
    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # puts words in place
    renderer = canvas.get_renderer()
    for one in [*figure.findobj(Text), *figure.legends]:
        if isinstance(one, Legend) or (one.get_visible() and one.get_text().strip()):
            x0, y0, x1, y1 = (edge * DPI / figure.dpi for edge in one.get_window_extent(renderer).extents)
            top, bottom = shape[0] - y1 - SHIFT, shape[0] - y0 + SHIFT
            covered[max(0, int(top)) : max(0, int(bottom) + 1), max(0, int(x0) - SHIFT) : max(0, int(x1) + SHIFT)] = 1
    return covered


def baseline(name: str) -> np.ndarray:
    return 255.0 * imread(BASELINE / f"{name}.png")[..., :3]


@pytest.mark.parametrize("name", [*FIGURES, "running_time-two", "breakdown-two", "roofline-two"])
def test_figures_look_as_they_should(figures: dict[str, Figure], name: str) -> None:
    if os.environ.get("REDRAW"):
        (BASELINE / f"{name}.png").write_bytes(style.rendered(figures[name], "png", style.PAPER, DPI))
    assert difference(figures[name], pixels(figures[name]), baseline(name)) <= MOST


@pytest.mark.parametrize("name", FIGURES)
def test_other_edges_of_letters_and_a_panel_moved_a_little_are_no_difference(
    figures: dict[str, Figure], name: str
) -> None:
    usual = pixels(figures[name])
    otherwise = pixels(figures[name], **{"text.hinting": "none"})
    assert not np.array_equal(otherwise, usual)
    assert difference(figures[name], otherwise, baseline(name)) <= MOST
    assert difference(figures[name], np.roll(otherwise, (1, -1), (0, 1)), baseline(name)) <= MOST


@pytest.mark.parametrize(
    ("name", "gid"),
    [
        ("running_time", "time:lstm:measured:line"),
        ("running_time", "time:fc:emulated:line"),
        ("running_time", "time:lstm:emulated:throttled"),
        ("speedup", "speedup:lstm:emulated"),
        ("efficiency", "efficiency:conv:missing"),
        ("breakdown", "breakdown:fc:8:communication"),
        ("intensity", "intensity:lstm"),
        ("roofline", "roofline:ceiling"),
        ("reference", "reference:fc7:forward"),
        ("overlap_step", "overlap_step:2:implicit:transfer"),
        ("overlap_gain", "overlap_gain:speedup:1:measured"),
        ("overlap_gain", "overlap_gain:attainable"),
        ("overlap_timeline", "overlap_timeline:explicit:compute:backward_weights"),
        ("overlap_timeline", "overlap_timeline:implicit:asks:3"),
    ],
)
def test_something_missing_is_a_difference(figures: dict[str, Figure], name: str, gid: str) -> None:
    one = artist(figures[name], gid)
    one.set_visible(False)
    try:
        assert difference(figures[name], pixels(figures[name]), baseline(name)) > MOST
    finally:
        one.set_visible(True)
