"""What a run of one machine says of another, and what an assumed efficiency does."""

from __future__ import annotations

import math

import msgspec
import pytest

from layerbench import suite
from layerbench.layers import FC, PASSES
from layerbench.machine import Machine, load
from layerbench.predict.measured_points import points
from layerbench.predict.notes import notes
from layerbench.predict.pass_times import CARRIED
from layerbench.predict.prediction import Prediction, predict
from layerbench.predict.published import at_fraction
from layerbench.predict.question import Question
from tests.predict.made import LAUNCH, World, exact, machine, question


def faster(factor: float) -> Machine:
    """The made machine with everything of a rank so many times as quick."""
    made = machine()
    return msgspec.structs.replace(
        made,
        peak={dtype: exact(peak.value * factor) for dtype, peak in made.peak.items()},
        bandwidth=exact(made.bandwidth.value * factor),
        launch=exact(LAUNCH / factor),
    )


def passes(found: Prediction) -> dict[tuple[str, str, int], float]:
    return {(row.layer, row.part, row.nodes): row.seconds for row in found.rows if row.part in PASSES}


def test_a_machine_twice_as_quick_in_everything_takes_half_the_time() -> None:
    records = World(own=0.0, noise=0.001).records((1, 2, 4), 2)
    here = predict(question(records=records))
    there = predict(question(records=records, machine=faster(2), carried_from=machine()))
    for key, seconds in passes(there).items():
        assert seconds == pytest.approx(passes(here)[key] / 2, rel=0.02)


def test_what_the_run_exchanged_tells_nothing_of_another_network() -> None:
    records = World(network_factor=3.0).records((1, 2), 2)
    here = predict(question(records=records))
    there = predict(question(records=records, machine=faster(2), carried_from=machine()))
    assert here.factors["all_reduce"] == pytest.approx(3.0, rel=0.2)
    assert there.factors == {}
    assert there.waiting == 0.0


def test_intervals_are_as_wide_as_kernels_of_two_machines_differ_and_it_is_said() -> None:
    records = World().records((1, 2), 2)
    asked = question(records=records, machine=faster(2), carried_from=machine())
    found = predict(asked)
    width = [math.log(row.high / row.low) for row in found.rows if row.part == "forward"]
    assert min(width) > 0.8 * 2 * 1.645 * CARRIED
    assert any("another machine" in note for note in notes(found))
    assert points(asked) == []


def test_kernels_reach_the_part_of_the_roofline_that_is_asked_for() -> None:
    layer = FC(name="fc", in_features=64, out_features=32)
    at_the_roof = at_fraction(1.0)(layer, "forward", 8, "fp32", 1e9, 1e9).seconds
    assert at_the_roof == max(2 * layer.macs(8) / 1e9, layer.bytes(8) / 1e9)
    assert at_fraction(0.25)(layer, "forward", 8, "fp32", 1e9, 1e9).seconds == pytest.approx(4 * at_the_roof)


def test_at_the_roofline_the_lstm_is_communication_bound_at_eight_nodes_and_batch_128() -> None:
    loaded = suite.load("alexnet")
    machine = load("blue-waters-xk7")

    def least(efficiency: float) -> int:
        asked = Question(
            suite="alexnet", layers=loaded.layers, machine=machine, nodes=(1, 8), batch=128, efficiency=efficiency
        )
        (lstm,) = (one for one in predict(asked).of_types if one.name == "lstm")
        found = lstm.thresholds[-1].below
        assert found is not None
        return found

    assert least(1.0) > 128 > least(0.5)
