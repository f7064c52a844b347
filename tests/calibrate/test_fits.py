"""α and β of sweeps: of known figures, of links that let a burst pass, of shared memory, and how sure they are."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from layerbench import hockney
from layerbench.calibrate.exchanges import counts, sizes
from layerbench.calibrate.fits import fit
from layerbench.machine import Exchanged, Fit
from layerbench.machine.read import OPERATIONS
from layerbench.records import Operation

LONGEST = 0.3

Law = Callable[[Operation, int, int], float]
"""Seconds of an operation over so many ranks, of so many bytes."""


def swept(operation: Operation, law: Law, ranks: int = 2, noise: float = 0.0, seed: int = 0) -> list[Exchanged]:
    """What a sweep finds where a law holds: sizes up to one that takes too long, each with noise, and its interval."""
    random = np.random.default_rng(seed)
    found = []
    for count in [2] if operation == "point_to_point" else counts(ranks):
        for size in sizes(count):
            seconds = law(operation, count, size) * math.exp(noise * random.standard_normal())
            spread = math.exp(1.645 * noise)
            found.append(
                Exchanged(
                    operation=operation,
                    ranks=count,
                    bytes=size,
                    seconds=seconds,
                    low=seconds / spread,
                    high=seconds * spread,
                )
            )
            if seconds > LONGEST:
                break
    return found


def formula(alpha: float, beta: float) -> Law:
    return lambda operation, ranks, size: hockney.seconds(operation, ranks, size, alpha, beta)


def fitted(operation: Operation, points: Sequence[Exchanged]) -> Fit:
    found = fit(operation, points)
    assert found is not None
    assert found.alpha.low <= found.alpha.value <= found.alpha.high
    assert found.beta.low <= found.beta.value <= found.beta.high
    return found


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("ranks", [2, 7, 16])
@pytest.mark.parametrize(("alpha", "beta"), [(1e-6, 1e-10), (5e-5, 8.5e-9), (1e-3, 4e-8)])
def test_what_made_a_sweep_is_found_in_it(operation: Operation, ranks: int, alpha: float, beta: float) -> None:
    found = fitted(operation, swept(operation, formula(alpha, beta), ranks))
    assert found.alpha.value == pytest.approx(alpha, rel=1e-3)
    assert found.beta.value == pytest.approx(beta, rel=1e-3)
    assert found.residual == pytest.approx(0.0, abs=1e-3)
    assert found.alpha.high / found.alpha.low < 1.01, "a sweep without noise leaves no doubt"
    for count, crossover in found.crossover.items():
        wanted = hockney.crossover_bytes(operation, count, alpha, beta)
        assert (crossover is None) == (wanted is None)
        assert crossover is None or wanted is None or crossover == pytest.approx(wanted, rel=1e-2)


@pytest.mark.parametrize("rate", [25e6, 125e6])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_burst_that_passes_at_once_does_not_pass_for_bandwidth(operation: Operation, rate: float) -> None:
    # A token bucket: what fits it costs next to nothing. A message there and back leaves each direction idle for half
    # of the time, in which its bucket fills.
    alpha, beta, bucket = 2e-5, 1 / rate, 256e3

    def limited(operation: Operation, ranks: int, size: int) -> float:
        moved = (hockney.seconds(operation, ranks, size, alpha, beta) - alpha) / beta
        waited = moved / 2 if operation == "point_to_point" and moved < 2 * bucket else min(moved, bucket)
        return alpha + (moved - waited) * beta + moved * 1e-10

    found = fitted(operation, swept(operation, limited))
    assert 1 / found.beta.value == pytest.approx(rate, rel=0.1)


def test_caches_that_ranks_share_do_not_pass_for_bandwidth() -> None:
    def shared_memory(operation: Operation, ranks: int, size: int) -> float:
        return hockney.seconds(operation, ranks, size, 2e-6, 1 / (10e9 if size < 2**25 else 2.5e9))

    found = fitted("all_reduce", swept("all_reduce", shared_memory))
    assert found.alpha.value == pytest.approx(2e-6, rel=0.05)
    assert 1 / found.beta.value == pytest.approx(2.5e9, rel=0.05)
    assert found.residual is not None
    assert found.residual > 0.2, "and it is said that one β is not enough"


@pytest.mark.parametrize("disturbed", [4, 8, 11])
def test_one_size_that_was_disturbed_does_not_draw_the_fit_away(disturbed: int) -> None:
    points = swept("all_gather", formula(1e-5, 1e-8))
    slow = points[disturbed]
    points[disturbed] = Exchanged(
        operation="all_gather",
        ranks=2,
        bytes=slow.bytes,
        seconds=2 * slow.seconds,
        low=2 * slow.low,
        high=2 * slow.high,
    )
    found = fitted("all_gather", points)
    assert found.alpha.value == pytest.approx(1e-5, rel=0.05)
    assert found.beta.value == pytest.approx(1e-8, rel=0.05)


def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    alpha, beta, worlds = 5e-6, 1e-9, 60
    inside = {"alpha": 0, "beta": 0}
    for seed in range(worlds):
        found = fitted("all_reduce", swept("all_reduce", formula(alpha, beta), 8, noise=0.05, seed=seed))
        inside["alpha"] += found.alpha.low <= alpha <= found.alpha.high
        inside["beta"] += found.beta.low <= beta <= found.beta.high
        assert found.beta.high / found.beta.low < 1.25, "and are no wider than the noise makes them"
    # Of 90 %, over 60 worlds.
    assert all(count / worlds >= 0.75 for count in inside.values()), inside


def test_the_same_points_give_the_same_fit_and_others_are_left_out() -> None:
    points = swept("all_reduce", formula(1e-6, 1e-9), 4, noise=0.1)
    others = swept("reduce_scatter", formula(1.0, 1.0), 4)
    assert fit("all_reduce", points) == fit("all_reduce", [*others, *points])


def test_fewer_than_two_sizes_are_not_fitted() -> None:
    points = swept("all_reduce", formula(1e-6, 1e-9), 4)
    assert fit("all_reduce", []) is None
    assert fit("all_reduce", points[:1]) is None
    assert fit("all_gather", points) is None
    assert fit("all_reduce", points[:2]) is not None


def test_times_that_make_no_sense_give_figures_that_can_still_be_written() -> None:
    points = [
        Exchanged(operation="all_reduce", ranks=2, bytes=size, seconds=1e-3 / size, low=1e-4 / size, high=1e-2 / size)
        for size in sizes(2)
    ]
    found = fitted("all_reduce", points)
    assert found.alpha.low > 0
    assert found.beta.low > 0
    assert 1 / (1 / found.beta.low) == found.beta.low
