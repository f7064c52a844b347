from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import msgspec
import pytest

from layerbench import machine, suite
from layerbench.layers import FC
from layerbench.predict import figure
from layerbench.predict.measured_points import points
from layerbench.predict.prediction import predict
from layerbench.predict.question import Question, asked
from layerbench.records import LayoutOption
from tests.predict.made import World, half_of_roofline, question

RUN = Path(__file__).parents[2] / "results" / "alexnet-2-cores"


def artists(panel: Any) -> dict[str, Any]:
    found = {artist.get_gid(): artist for artist in [*panel.lines, *panel.collections] if artist.get_gid()}
    return dict(sorted(found.items()))


def drawn(asked_for: Question) -> Any:
    return figure.draw(predict(asked_for))


@pytest.fixture(scope="module")
def of_run() -> Question:
    return replace(asked(nodes=(1, 2, 4, 8, 16, 32), from_run=RUN), estimator=half_of_roofline)


def test_a_panel_shows_what_was_measured_the_curve_and_its_band(of_run: Question) -> None:
    made = drawn(of_run)
    assert [panel.get_title(loc="left") for panel in made.axes] == [
        *("conv (5 layers)", "fc (3 layers)", "lstm", "all layers (9)")
    ]
    conv = artists(made.axes[0])
    assert {"conv:measured", "conv:emulated", "conv:predicted", "conv:extrapolated", "conv:band"} <= set(conv)
    assert list(conv["conv:measured"].get_xdata()) == [1, 2]
    assert list(conv["conv:emulated"].get_xdata()) == [4, 8]
    assert conv["conv:emulated"].get_markerfacecolor() == "white" != conv["conv:measured"].get_markerfacecolor()


def test_what_is_extrapolated_is_dashed_and_joins_the_rest(of_run: Question) -> None:
    conv = artists(drawn(of_run).axes[0])
    assert list(conv["conv:predicted"].get_xdata()) == [1, 2, 4, 8, 16]
    assert list(conv["conv:extrapolated"].get_xdata()) == [16, 32]
    assert (conv["conv:predicted"].get_linestyle(), conv["conv:extrapolated"].get_linestyle()) == ("-", "--")


def test_where_communication_takes_over_is_marked(of_run: Question) -> None:
    made = drawn(of_run)
    assert ["fc:takeover" in artists(panel) for panel in made.axes] == [False, True, False, False]
    assert "communication bound\nfrom 2 nodes" in made.axes[1].texts[0].get_text()


def test_points_are_of_the_same_question_only(of_run: Question) -> None:
    assert {point.kind for point in points(of_run)} == {"conv", "fc", "lstm", "all layers"}
    for nodes in (1, 8):
        *types, together = (point for point in points(of_run) if point.nodes == nodes)
        assert together.seconds == pytest.approx(sum(point.seconds for point in types))
        assert {point.placement for point in types} == {together.placement}
    assert points(replace(of_run, batch=32)) == []
    assert points(replace(of_run, overlap=0.5)) == []
    assert points(replace(of_run, layout="model")) == []
    some = tuple(layer for layer in of_run.layers if layer.name in ("fc6", "lstm"))
    assert {point.kind for point in points(replace(of_run, layers=some))} == {"lstm"}


def test_where_each_chose_its_layouts_only_what_was_split_alike_is_drawn(of_run: Question) -> None:
    run = of_run.run
    assert run is not None
    options = msgspec.structs.replace(run.manifest.options, layout="best")
    best = replace(run, manifest=msgspec.structs.replace(run.manifest, options=options))
    found = predict(replace(of_run, layout="best", run=best))
    assert {row.layout for row in found.steps() if row.kind == "fc" and row.nodes > 1} == {"model"}
    drawn_ = {(point.kind, point.nodes) for point in points(found.question, found.steps())}
    assert {nodes for kind, nodes in drawn_ if kind == "fc"} == {1}
    assert {nodes for kind, nodes in drawn_ if kind == "conv"} == {1, 2, 4, 8}


@pytest.mark.parametrize(
    "nodes",
    [(1,), (1, 2), tuple(2**power for power in range(13)), (3, 5, 7, 4228), (*range(1, 17), 24, 200, 512, 2000, 5000)],
    ids=lambda nodes: str(len(nodes)),
)
@pytest.mark.parametrize("layout", ["data", "best"])
def test_no_words_touch(nodes: Sequence[int], layout: LayoutOption) -> None:
    asked_for = Question(
        suite="alexnet",
        layers=suite.load("alexnet").layers,
        machine=machine.load("blue-waters-xk7"),
        nodes=tuple(nodes),
        batch=128,
        layout=layout,
        estimator=half_of_roofline,
    )
    made = drawn(asked_for)
    assert _touching(made) == []


def test_many_layer_types_and_one_are_drawn() -> None:
    one = drawn(question((1, 2, 4), layers=[FC(name="fc", in_features=64, out_features=64)]))
    assert len(one.axes) == 1
    assert _touching(one) == []


def test_a_figure_is_the_same_each_time() -> None:
    asked_for = question((1, 2, 4), World().records((1, 2), 2))
    one, other = (figure.rendered(drawn(asked_for), "svg") for _ in range(2))
    assert one == other


def _touching(made: Any) -> list[tuple[str, str]]:
    """Words that stand on one another, or leave the figure."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(made)
    canvas.draw()
    renderer = canvas.get_renderer()
    shown = [text for text in made.findobj(_is_text) if text.get_text().strip() and text.get_visible()]
    boxes = [(text.get_text(), text.get_window_extent(renderer)) for text in shown]
    within = made.bbox
    out = [
        (words, "edge")
        for words, box in boxes
        if box.x0 < within.x0 or box.x1 > within.x1 or box.y0 < within.y0 or box.y1 > within.y1
    ]
    return out + [
        (one[0], other[0]) for one, other in combinations(boxes, 2) if one[1].overlaps(other[1]) and one[0] != other[0]
    ]


def _is_text(artist: Any) -> bool:
    from matplotlib.text import Text

    return isinstance(artist, Text)
