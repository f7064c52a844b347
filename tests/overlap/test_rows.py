"""What a row says of samples of both modes."""

from __future__ import annotations

import pytest

from layerbench.overlap import rows
from layerbench.overlap.sampling import Samples

KNOWN = {"nodes": 1, "placement": "measured", "workload": "training step", "batch": 12}


def constant(step: float, transfer: float, communication: float, busy: float = 0.0, count: int = 6) -> Samples:
    return Samples([step] * count, [transfer] * count, [communication] * count, [busy] * count)


def test_two_equal_stages_that_are_wholly_overlapped_gain_twice_and_all_of_it() -> None:
    row = rows.both(constant(2.0, 1.0, 0.0), constant(1.0, 0.0, 0.0), lanes=1, rel_error=0.01, **KNOWN)
    assert (row.speedup, row.attainable, row.eta, row.ratio) == (2.0, 2.0, 1.0, 1.0)
    assert row.images_per_second == {"implicit": 6.0, "explicit": 12.0}
    assert not row.noisy


def test_three_stages_count_the_longest_of_them() -> None:
    row = rows.both(constant(6.0, 1.0, 3.0), constant(4.0, 0.0, 1.0), lanes=1, rel_error=0.01, **KNOWN)
    assert row.compute_seconds == 2.0
    assert row.attainable == 2.0
    assert row.eta == pytest.approx((6 - 4) / (6 - 3))
    assert row.exposed_communication_seconds == 1.0


def test_transfer_over_several_cores_is_as_much_shorter_in_what_can_be_attained() -> None:
    assert rows.attainable(4.0, 2.0, 0.0, lanes=2) == 3.0
    assert rows.attainable(4.0, 2.0, 0.0) == 1.5


@pytest.mark.parametrize(
    ("busy", "shared", "attainable"),
    [
        (1.0, 0, 2.0),  # cores of its own
        (1.0, 1, 1.0),  # all of it computes on the one core that there is
        (0.25, 1, 2 / 1.25),  # three quarters of it wait for files
        (1.0, 4, 2 / 1.25),  # spread over four cores that compute
        (1.5, 1, 1.0),  # no clock makes it slower than one after another
    ],
)
def test_transfer_that_computes_where_computation_does_hides_behind_nothing(
    busy: float, shared: int, attainable: float
) -> None:
    both = constant(2.0, 1.0, 0.0, busy), constant(1.9, 0.0, 0.0)
    row = rows.both(*both, lanes=max(1, shared), shared=shared, rel_error=0.01, **KNOWN)
    assert row.attainable == pytest.approx(attainable)
    assert (row.eta is None) == (attainable == 1.0)


def test_nothing_to_save_has_no_part_that_is_saved() -> None:
    row = rows.both(constant(1.0, 0.0, 0.0), constant(1.01, 0.0, 0.0), lanes=1, rel_error=0.01, **KNOWN)
    assert row.eta is None
    assert row.attainable == 1.0


def test_less_to_save_than_the_medians_are_known_by_has_no_part_either() -> None:
    unsure = Samples([0.9, 0.95, 1.0, 1.0, 1.05, 1.1], [0.01] * 6, [0.0] * 6, [0.01] * 6)
    row = rows.both(unsure, constant(1.0, 0.0, 0.0), lanes=1, rel_error=0.01, **KNOWN)
    assert row.eta is None
    assert row.noisy
    assert row.speedup_low is not None
    assert row.speedup_high is not None
    assert row.speedup_low < row.speedup < row.speedup_high


def test_one_mode_keeps_what_it_waited_for() -> None:
    known = {key: value for key, value in KNOWN.items() if key != "workload"}
    found = rows.alone("explicit", constant(2.0, 0.25, 0.5), rel_error=0.01, **known)
    assert (found.mode, found.seconds, found.transfer_seconds, found.communication_seconds) == (
        "explicit",
        2.0,
        0.25,
        0.5,
    )
    assert (found.low, found.high, found.noisy) == (2.0, 2.0, False)
