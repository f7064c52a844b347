from __future__ import annotations

import numpy as np
import pytest

from layerbench.layers import AnyLayer
from layerbench.partition import exchanges
from layerbench.predict.draws import Draws
from layerbench.predict.exchanges import ExchangeTimes, of_run
from layerbench.predict.network_times import NetworkTimes
from layerbench.records import Layout, Record
from tests.predict.made import LAYERS, World, cost, machine, manifest


def fitted(records: list[Record]) -> ExchangeTimes:
    draws = Draws(0)
    network = NetworkTimes(machine(), 1, cost)
    return ExchangeTimes(network, of_run(manifest((1, 2, 4)), records, network, draws), draws)


def exchanged(times: ExchangeTimes, layer: AnyLayer, nodes: int, layout: Layout = "data") -> np.ndarray:
    return times.seconds(layer, exchanges(layer, 64, nodes, layout, "fp32"), layout, nodes)


def test_a_factor_on_the_network_and_the_waiting_are_found() -> None:
    times = fitted(World(network_factor=1.6, waiting=0.03).records((1, 2, 4), 4))
    assert times.factors == pytest.approx({"all_reduce": 1.6}, rel=0.05)
    assert times.waiting[0] == pytest.approx(0.03, rel=0.25)
    assert times.waiting[1:].std() > 0


def test_computed_communication_of_emulated_counts_is_not_fitted_to() -> None:
    # Their communication is a second long.
    measured = fitted(World(network_factor=1.6).records((1, 2), 2))
    with_emulated = fitted(World(network_factor=1.6).records((1, 2, 4, 8), 2))
    assert with_emulated.factors == pytest.approx(measured.factors, rel=0.02)
    assert fitted(World().records((1, 2, 4), 1)).factors == {}


def test_without_measured_exchanges_the_network_is_as_its_figures_and_waiting_is_not_known() -> None:
    times = fitted([])
    fc6 = LAYERS[5]
    plain = cost(machine(), "all_reduce", 8, fc6.weights * 4, 1)
    assert exchanged(times, fc6, 8)[0] == pytest.approx(plain)
    assert times.waiting[0] == 0 < times.waiting[1:].max() < 0.1


def test_other_operations_keep_their_figures() -> None:
    times = fitted(World(network_factor=2.0).records((1, 2), 2))
    gather = exchanges(LAYERS[5], 64, 4, "model", "fp32")[:1]
    assert gather[0].operation == "all_gather"
    assert times.plain(LAYERS[5], gather, 4)[0] == pytest.approx(cost(machine(), "all_gather", 4, gather[0].size, 1))


def test_factors_of_the_model_layout_are_of_both_operations() -> None:
    fc = [layer for layer in LAYERS if layer.kind == "fc"]
    records = World(network_factor=1.5, own=0, noise=0.001).records((1, 2, 4), 4, layers=fc, layout="model")
    times = fitted(records)
    assert set(times.factors) == {"all_gather", "all_reduce"}
    for layer in fc:
        truth = World(network_factor=1.5).exchange(layer, "model", 64, 8)
        assert exchanged(times, layer, 8, "model")[0] == pytest.approx(truth, rel=0.2)


def test_at_a_measured_count_an_exchange_is_what_was_measured() -> None:
    records = World(network_factor=1.0).records((1, 2), 2)
    slow = [
        Record(**{name: getattr(record, name) for name in record.__struct_fields__} | {"samples": moved})
        if record.layer == "fc6" and record.nodes == 2 and record.part in ("communication", "step")
        else record
        for record in records
        for moved in [[sample + 0.05 for sample in record.samples]]
    ]
    fc6 = LAYERS[5]
    usual, changed = exchanged(fitted(records), fc6, 2)[0], exchanged(fitted(slow), fc6, 2)[0]
    assert changed - usual == pytest.approx(0.05, rel=0.1)
    assert exchanged(fitted(slow), fc6, 4)[0] < 1.4 * exchanged(fitted(records), fc6, 4)[0]


def test_intervals_of_an_exchange_widen_with_the_ranks() -> None:
    times = fitted(World(waiting=0.01).records((1, 2), 2))
    widths = [np.std(np.log(exchanged(times, LAYERS[5], nodes)[1:])) for nodes in (2, 4, 64, 1024)]
    assert widths == sorted(widths)
    assert widths[0] < 0.05
