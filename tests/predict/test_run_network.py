from __future__ import annotations

import pytest

from layerbench.errors import UsageError
from layerbench.predict.run_network import with_network
from tests.predict.made import ALPHA, BETA, LAYERS, World, machine


def test_a_network_is_fitted_to_what_a_run_exchanged() -> None:
    bare = machine(between=None, no_network="all counts were measured")
    found = with_network(bare, LAYERS, World(noise=0.001, waiting=0.001).records((1, 2, 4), 4), 64, 1)
    assert found.between is not None
    assert found.between.beta.value == pytest.approx(BETA, rel=0.1)
    assert ALPHA / 10 < found.between.alpha.value < ALPHA * 100  # layers' gradients are too large to tell more
    assert found.between.beta.low < found.between.beta.value < found.between.beta.high


def test_a_network_that_is_known_stays() -> None:
    known = machine()
    assert with_network(known, LAYERS, World().records((1, 2), 2), 64, 1) is known


def test_without_any_exchange_only_one_rank_can_be_predicted() -> None:
    bare = machine(between=None, no_network="there was one core")
    assert with_network(bare, LAYERS, [], 1, 1) is bare
    with pytest.raises(UsageError, match="there was one core") as raised:
        with_network(bare, LAYERS, World().records((1, 2), 1), 2, 1)
    assert "\n" not in str(raised.value)
