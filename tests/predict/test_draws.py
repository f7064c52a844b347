from __future__ import annotations

import numpy as np

from layerbench.predict.draws import Draws, interval, with_estimate


def test_a_name_gives_the_same_numbers_in_whatever_order_and_another_seed_others() -> None:
    one, other = Draws(1), Draws(1)
    other.normal("b")
    assert np.array_equal(one.normal("a", 2), other.normal("a", 2))
    assert not np.array_equal(one.normal("a", 2), one.normal("a", 3))
    assert not np.array_equal(one.normal("a", 2), Draws(2).normal("a", 2))


def test_errors_of_one_layer_have_more_in_common_than_those_of_one_type() -> None:
    draws = Draws(0, 20_000)
    first = draws.nested("fit", "conv", "conv1", "forward")
    same_layer = draws.nested("fit", "conv", "conv1", "backward_data")
    same_type = draws.nested("fit", "conv", "conv2", "forward")
    other = draws.nested("fit", "fc", "fc6", "forward")
    shared = [np.corrcoef(first, each)[0, 1] for each in (same_layer, same_type, other)]
    assert np.allclose(shared, [0.5, 0.25, 0.0], atol=0.03)
    assert abs(first.std() - 1) < 0.02


def test_residuals_are_drawn_where_there_are_any() -> None:
    pool = np.array([-1.0, 1.0])
    assert set(np.round(Draws(0).nested("fit", "conv", pool=pool) / np.sqrt(0.5) / 2, 6)) <= {-1.0, 1.0}


def test_medians_scatter_as_medians_do() -> None:
    samples = np.random.default_rng(0).standard_normal(101)
    medians = Draws(0, 2000).medians(samples, "m")
    assert 0.6 < medians.std() / (1.2533 / np.sqrt(101)) < 1.5


def test_an_interval_has_the_estimate_in_it_and_none_without_replicas() -> None:
    values = with_estimate(np.array([5.0]), np.linspace(0, 1, 101)[:, None])
    low, high = interval(values)
    assert (low[0], high[0]) == (0.05, 5.0)
    assert [end[0] for end in interval(values[:1])] == [5.0, 5.0]
