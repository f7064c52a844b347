from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest

from layerbench.layers import FC, AnyLayer, Conv
from layerbench.predict.efficiency import ClassFit, Estimate
from layerbench.predict.evidence import Observation
from layerbench.predict.work import Ceilings, seconds

LIMITS = Ceilings(1e11, 1e10, 1e-6)

CONV = Conv(name="", input=(13, 13), in_channels=128, out_channels=128, filter=(3, 3), padding=(1, 1))
WIDE = FC(name="", in_features=4096, out_features=4096)
SMALL = FC(name="", in_features=1024, out_features=1000)


def roofline(layer: AnyLayer, batch: int, reached: Sequence[float] = (0.6, 0.8, 0.5)) -> float:
    """A law: parts of peak and bandwidth that are reached, and the quickest kernel over a launch."""
    at_ceilings = seconds(layer, "forward", [batch], "fp32", LIMITS)[:, 0]
    return float(at_ceilings @ (1 / np.array(reached)))


def observed(
    layer: AnyLayer, batch: int, taken: float, noise: float = 0.005, *, exchanged: bool = False
) -> Observation:
    return Observation(layer, layer, "forward", batch, exchanged, taken, noise)


def fitted(*observations: Observation) -> ClassFit:
    moved = np.zeros((0, len(observations)))
    return ClassFit(observations, moved, "forward", "fp32", LIMITS)


def asked(fit: ClassFit, layer: AnyLayer, *batches: int, exchanged: bool = False) -> Estimate:
    return fit.at(layer, layer, batches, np.full(len(batches), float(exchanged)))


def times(fit: ClassFit, layer: AnyLayer, *batches: int, exchanged: bool = False) -> np.ndarray:
    found: np.ndarray = np.exp(asked(fit, layer, *batches, exchanged=exchanged).mean)
    return found


def test_what_was_measured_is_predicted_as_measured() -> None:
    fit = fitted(observed(WIDE, 16, 3.1e-2), observed(WIDE, 8, 2.7e-2), observed(SMALL, 16, 1e-3))
    assert times(fit, WIDE, 16, 8) == pytest.approx([3.1e-2, 2.7e-2], rel=0.02)


def test_a_compute_bound_layer_is_extrapolated_in_proportion_to_the_batch() -> None:
    fit = fitted(observed(CONV, 16, roofline(CONV, 16)), observed(CONV, 8, roofline(CONV, 8)))
    assert times(fit, CONV, 4, 2) == pytest.approx([roofline(CONV, 4), roofline(CONV, 2)], rel=0.03)


def test_a_memory_bound_layer_is_extrapolated_to_the_time_its_weights_take() -> None:
    fit = fitted(observed(WIDE, 16, roofline(WIDE, 16)), observed(WIDE, 8, roofline(WIDE, 8)))
    assert times(fit, WIDE, 4, 1) == pytest.approx([roofline(WIDE, 4), roofline(WIDE, 1)], rel=0.06)


def test_noise_in_two_points_is_not_multiplied_by_extrapolation() -> None:
    # A line through two points that are each 4 % off would be 12 % off at a quarter.
    high, low = roofline(CONV, 16) * 1.04, roofline(CONV, 8) / 1.04
    fit = fitted(observed(CONV, 16, high, 0.04), observed(CONV, 8, low, 0.04))
    line = low + (low - high) / 8 * 6
    there = roofline(CONV, 2)
    assert abs(times(fit, CONV, 2)[0] / there - 1) < 0.3 * abs(line / there - 1)


def test_other_layers_of_the_class_tell_of_a_layer_that_was_not_measured() -> None:
    reached = (0.3, 0.8, 0.5)
    others = [Conv(name="", input=(size, size), in_channels=64, out_channels=64, filter=(3, 3)) for size in (9, 17, 33)]
    fit = fitted(*(observed(layer, 8, roofline(layer, 8, reached)) for layer in others))
    assert times(fit, CONV, 8)[0] == pytest.approx(roofline(CONV, 8, reached), rel=0.1)
    own = fitted(*(observed(layer, 8, roofline(layer, 8, reached)) for layer in (*others, CONV)))
    assert asked(own, CONV, 8).error[0] < 0.3 * asked(fit, CONV, 8).error[0]


def test_one_size_at_which_a_library_does_badly_does_not_bend_the_rest() -> None:
    good = [observed(CONV, batch, roofline(CONV, batch)) for batch in (64, 32, 8, 4)]
    bad = observed(CONV, 16, 3 * roofline(CONV, 16))
    fit = fitted(*good, bad)
    assert times(fit, CONV, 2)[0] == pytest.approx(roofline(CONV, 2), rel=0.08)
    assert times(fit, CONV, 16)[0] > 2 * roofline(CONV, 16)


def test_the_error_grows_with_the_distance_of_extrapolation() -> None:
    fit = fitted(observed(WIDE, 64, roofline(WIDE, 64)), observed(WIDE, 32, roofline(WIDE, 32)))
    errors = asked(fit, WIDE, 32, 16, 8, 2, 1).error
    assert (np.diff(errors) > 0).all()
    assert errors[0] < 0.03


def test_what_an_exchange_does_to_memory_is_learned_apart() -> None:
    alone = [observed(layer, batch, roofline(layer, batch)) for layer in (WIDE, SMALL) for batch in (16, 4)]
    beside = [observed(layer, 8, roofline(layer, 8, (0.6, 0.5, 0.5)), exchanged=True) for layer in (WIDE, SMALL)]
    fit = fitted(*alone, *beside)
    assert times(fit, WIDE, 2)[0] == pytest.approx(roofline(WIDE, 2), rel=0.07)
    slower = times(fit, WIDE, 2, exchanged=True)[0] / times(fit, WIDE, 2)[0]
    assert 1.25 < slower < 1.65


def test_fewer_outputs_of_a_measured_layer_take_what_its_own_efficiency_says() -> None:
    narrow = FC(name="", in_features=4096, out_features=512)
    reached = (0.6, 0.4, 0.5)
    own = [observed(WIDE, batch, roofline(WIDE, batch, reached)) for batch in (16, 8)]
    fit = fitted(*own, *(observed(SMALL, batch, roofline(SMALL, batch)) for batch in (16, 8)))
    there = fit.at(WIDE, narrow, [16], np.zeros(1))
    assert math.exp(there.mean[0]) == pytest.approx(roofline(narrow, 16, reached), rel=0.15)


def test_many_observations_are_thinned() -> None:
    layers = [FC(name="", in_features=64 + 8 * place, out_features=512) for place in range(500)]
    fit = fitted(*(observed(layer, 8, roofline(layer, 8)) for layer in layers))
    assert len(fit.left_out) == 400
    assert times(fit, WIDE, 8)[0] == pytest.approx(roofline(WIDE, 8), rel=0.1)
