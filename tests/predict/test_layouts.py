from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import pytest

from layerbench import machine, suite
from layerbench.predict.draws import Draws
from layerbench.predict.layer_times import Model, Place
from layerbench.predict.layouts import LAYOUTS, InLayouts, chosen, refined, steps
from layerbench.predict.prediction import model_of, predict
from layerbench.predict.question import Question
from layerbench.records import Layout
from tests.predict.made import half_of_roofline

NODES = (2, 8, 64)


def asked(suite_name: str, machine_name: str, overlap: float) -> Question:
    loaded = suite.load(suite_name)
    return Question(
        suite=suite_name,
        layers=loaded.layers,
        machine=machine.load(machine_name),
        nodes=NODES,
        batch=128,
        layout="best",
        overlap=overlap,
        estimator=half_of_roofline,
    )


def totals(times: InLayouts, layouts: Sequence[Sequence[Layout]], model: Model, overlap: float) -> list[float]:
    places = [Place(count, 128) for count in NODES]
    return [float(value) for value in steps(times, layouts, model, places, overlap).total[0]]


@pytest.mark.parametrize("overlap", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("machine_name", ["blue-waters-xk7", "h100-cluster"])
def test_the_layouts_of_a_whole_network_are_those_of_exhaustive_search(machine_name: str, overlap: float) -> None:
    question = asked("alexnet-2012", machine_name, overlap)
    model, _ = model_of(question, Draws(0, 0))
    places = [Place(count, 128) for count in NODES]
    times: InLayouts = {layout: [model.layer(layer, layout, places) for layer in question.layers] for layout in LAYOUTS}
    found = chosen(times, model, places)
    if overlap:
        found = refined(times, [found, *([[layout] * 3] * len(found) for layout in LAYOUTS)], model, places, overlap)
    every = (
        totals(times, [[layout] * len(NODES) for layout in layouts], model, overlap)
        for layouts in product(LAYOUTS, repeat=len(question.layers))
    )
    least = [min(of_count) for of_count in zip(*every, strict=True)]
    assert totals(times, found, model, overlap) == pytest.approx(least, rel=1e-9)


def test_what_overlap_hides_is_in_the_choice() -> None:
    """The all-reduce of the last layer's gradient hides behind all others, its activations would not."""
    without, hidden = (
        {(row.layer, row.nodes): row.layout for row in predict(asked("alexnet-2012", "h100-cluster", overlap)).steps()}
        for overlap in (0.0, 1.0)
    )
    assert (without["fc8", 8], hidden["fc8", 8]) == ("model", "data")
