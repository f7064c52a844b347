from __future__ import annotations

import math

import pytest

from layerbench.machine import Exchanged, Figure, Fit, Link
from layerbench.partition import Exchange
from layerbench.predict.evidence import INTERVAL_WIDTH
from layerbench.predict.network_times import FORMULA_ERROR, GROWTH, SWEPT_ERROR, NetworkTimes
from tests.predict.made import ALPHA, BETA, cost, machine

BIG = Exchange("all_reduce", "backward_weights", 10**9)


def spread(value: float, factor: float) -> Figure:
    return Figure(value=value, low=value / factor, high=value * factor)


def test_repeated_exchanges_take_as_often_as_long() -> None:
    network = NetworkTimes(machine(), 1, cost)
    once = network.of(Exchange("all_gather", "forward", 4096), 4)
    assert network.of(Exchange("all_gather", "forward", 4096, 50), 4).seconds == pytest.approx(50 * once.seconds)


def test_figures_of_a_data_sheet_have_the_error_of_the_formulas_which_grows_with_the_ranks() -> None:
    network = NetworkTimes(machine(), 1, cost)
    assert network.of(BIG, 2).error == pytest.approx(math.hypot(FORMULA_ERROR, GROWTH))
    assert network.of(BIG, 1024).error == pytest.approx(math.hypot(FORMULA_ERROR, GROWTH * math.sqrt(10)))


def test_intervals_of_the_figures_are_part_of_the_error() -> None:
    link = Link(alpha=spread(ALPHA, 1.0), beta=spread(BETA, 1.5))
    of_figures = 2 * math.log(1.5) / INTERVAL_WIDTH
    network = NetworkTimes(machine(between=link), 1, cost)
    assert network.of(BIG, 2).error == pytest.approx(math.hypot(of_figures, FORMULA_ERROR, GROWTH), rel=1e-3)


def test_what_was_swept_is_known_best() -> None:
    swept = Exchanged(operation="all_reduce", ranks=4, bytes=10**9, seconds=1.0, low=1.0, high=1.0)
    alpha, beta = spread(ALPHA, 1.0), spread(BETA, 1.0)
    fit = Fit(operation="all_reduce", residual=0.2, alpha=alpha, beta=beta)
    network = NetworkTimes(machine(between=Link(alpha=alpha, beta=beta, sweeps=[swept], fits=[fit])), 1, cost)
    assert network.of(BIG, 4).error == pytest.approx(SWEPT_ERROR)
    assert network.of(BIG, 8).error == pytest.approx(math.hypot(1.4826 * 0.2, GROWTH))
