from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import pytest

from layerbench.errors import UsageError
from layerbench.layers import FC, AnyLayer
from layerbench.partition import connected, relayout
from layerbench.predict.choose import Chosen, choose
from layerbench.predict.layouts import LAYOUTS
from layerbench.records import Layout
from tests.predict.made import LAYERS, cost, half_of_roofline, machine


def chosen(layers: Sequence[AnyLayer] = LAYERS, nodes: int = 8, batch: int = 64) -> list[Chosen]:
    return choose(
        layers,
        machine(),
        nodes=nodes,
        ranks_per_node=1,
        batch=batch,
        dtype="fp32",
        cost=cost,
        kernels=half_of_roofline,
    )


def test_convolutions_are_split_by_data_and_large_fully_connected_layers_by_outputs() -> None:
    layouts = {one.layer: one.layout for one in chosen()}
    assert {layouts[name] for name in ("conv1", "conv2", "conv3", "conv4", "conv5")} == {"data"}
    assert {layouts[name] for name in ("fc6", "fc7", "fc8")} == {"model"}


def test_the_reason_has_the_figures() -> None:
    reasons = {one.layer: one.why for one in chosen()}
    assert reasons["fc6"].startswith("model: its 151 MB of gradient would take ")
    assert "its activations " in reasons["fc6"]
    assert reasons["conv2"].startswith("data: its activations would take ")
    assert all(reason.startswith(("data: ", "model: ")) and "\n" not in reason for reason in reasons.values())


def test_the_choice_is_the_best_of_all_there_are() -> None:
    layers = [layer for layer in LAYERS if layer.kind in ("conv", "fc")][2:]
    for nodes, batch in ((2, 8), (8, 64), (8, 2048)):
        found = chosen(layers, nodes, batch)

        def total(
            layouts: Sequence[Layout], found: list[Chosen] = found, nodes: int = nodes, batch: int = batch
        ) -> float:
            own = sum(
                one.data_seconds if layout == "data" else one.model_seconds
                for one, layout in zip(found, layouts, strict=True)
            )
            changes = (
                exchange
                for place in range(1, len(layers))
                if connected(layers[place - 1], layers[place])
                for exchange in relayout(layers[place], batch, nodes, (layouts[place - 1], layouts[place]), "fp32")
            )
            return own + sum(each.times * cost(machine(), each.operation, nodes, each.size, 1) for each in changes)

        best = min(total(layouts) for layouts in product(LAYOUTS, repeat=len(layers)))
        assert total([one.layout for one in found]) == pytest.approx(best)


def test_one_rank_is_as_it_is() -> None:
    found = chosen(nodes=1)
    assert {one.layout for one in found} == {"data"}
    assert {one.why for one in found} == {"data: one rank exchanges nothing"}


def test_a_layout_that_leaves_ranks_without_work_is_not_chosen_where_the_other_does_not() -> None:
    # By data it would be quicker, on the two ranks that have a sample.
    small = FC(name="small", in_features=16, out_features=64)
    found = chosen([small], nodes=64, batch=2)[0]
    assert found.layout == "model"
    assert "64 ranks, and only 2 samples" in found.why


def test_a_layer_that_is_split_for_its_neighbours_sake_says_so() -> None:
    # By itself the middle layer is a little quicker by data; a change before and after it would cost more.
    layers = [
        FC(name="wide", in_features=8192, out_features=8192),
        FC(name="middle", in_features=8192, out_features=120),
        FC(name="last", in_features=120, out_features=120_000),
    ]
    for batch in range(64, 2049, 16):
        found = chosen(layers, nodes=4, batch=batch)
        middle = found[1]
        if middle.layout == "model" and middle.data_seconds < middle.model_seconds:
            assert "data would save" in middle.why
            assert "changing the layout around it would take" in middle.why
            return
    pytest.fail("no batch at which the chain decides")


def test_a_machine_without_a_network_cannot_choose_for_several_ranks() -> None:
    bare = machine(between=None, no_network="one core")
    arguments = {"ranks_per_node": 1, "batch": 8, "cost": cost, "kernels": half_of_roofline}
    with pytest.raises(UsageError, match="one core"):
        choose(LAYERS, bare, nodes=2, dtype="fp32", **arguments)  # type: ignore[arg-type]
    assert len(choose(LAYERS, bare, nodes=1, dtype="fp32", **arguments)) == len(LAYERS)  # type: ignore[arg-type]
