"""The α-β model: formulas by hand, fits of known figures, files with mistakes."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from layerbench import network as networks
from layerbench.errors import MeasurementError, UsageError
from layerbench.network import SWEEP_BYTES, all_reduce_seconds, fit
from layerbench.records import Network, NetworkPoint

SLOW = Network(name="slow", alpha=1e-3, beta=1e-6)
"""A millisecond a message, a megabyte a second: sums that can be done by hand."""


def points(time: Callable[[int], float], sizes: tuple[int, ...] = SWEEP_BYTES) -> list[NetworkPoint]:
    return [NetworkPoint(bytes=size, seconds=time(size), low=time(size), high=time(size)) for size in sizes]


@pytest.mark.parametrize(
    ("ranks", "size", "seconds"),
    [
        (1, 10**9, 0.0),
        (2, 0, 1e-3),  # doubling: one message
        (2, 1_000, 2e-3),  # doubling: 1 ms + 1 ms; the ring would take 2 ms + 1 ms
        (4, 1_000, 4e-3),  # doubling: 2 (1 ms + 1 ms); the ring would take 6 ms + 1.5 ms
        (4, 100_000, 0.156),  # ring: 6 ms + 150 ms; doubling would take 202 ms
        (8, 1_000_000, 1.764),  # ring: 14 ms + 1.75 s; doubling would take 3.003 s
        (3, 0, 2e-3),  # doubling over three ranks needs two rounds
        (5, 1_000, 6e-3),  # three rounds
    ],
)
def test_all_reduce_by_hand(ranks: int, size: int, seconds: float) -> None:
    assert all_reduce_seconds(SLOW, ranks, size) == pytest.approx(seconds, rel=1e-12)


def test_recursive_doubling_wins_below_the_crossover_and_the_ring_above() -> None:
    # 4 ranks: 6 α + 1.5 β n = 2 α + 2 β n at n = 8 α / β = 8000 bytes.
    at = all_reduce_seconds(SLOW, 4, 8_000)
    assert at == pytest.approx(18e-3)
    below, above = all_reduce_seconds(SLOW, 4, 4_000), all_reduce_seconds(SLOW, 4, 16_000)
    assert (at - below) / 4_000 == pytest.approx(2 * SLOW.beta), "doubling sends everything in each of two rounds"
    assert (above - at) / 8_000 == pytest.approx(1.5 * SLOW.beta), "the ring sends 2 (p - 1) / p of it"


@given(ranks=st.integers(1, 512), size=st.integers(0, 2**30))
def test_all_reduce_grows_with_the_size_and_never_shrinks_to_nothing(ranks: int, size: int) -> None:
    seconds = all_reduce_seconds(SLOW, ranks, size)
    assert all_reduce_seconds(SLOW, ranks, size + 1) >= seconds
    assert seconds >= (SLOW.alpha if ranks > 1 else 0.0)


@pytest.mark.parametrize(("alpha", "beta"), [(1e-6, 1e-10), (5e-5, 8.5e-9), (1.4e-6, 1 / 6e9)])
def test_fit_recovers_what_made_the_points(alpha: float, beta: float) -> None:
    found = fit(points(lambda size: alpha + beta * size), 2, "made", "a test")
    assert found.alpha == pytest.approx(alpha, rel=1e-6)
    assert found.beta == pytest.approx(beta, rel=1e-6)
    assert found.residual == pytest.approx(0, abs=1e-9)
    assert (found.name, found.source, found.fitted_ranks) == ("made", "a test", 2)
    assert [point.bytes for point in found.points] == list(SWEEP_BYTES)


@pytest.mark.parametrize("seed", range(5))
def test_fit_of_noisy_points_is_near(seed: int) -> None:
    noise = random.Random(seed)
    alpha, beta = 2e-6, 1e-9
    noisy = points(lambda size: alpha + beta * size)
    noisy = [
        NetworkPoint(bytes=p.bytes, seconds=p.seconds * noise.uniform(0.9, 1.1), low=0, high=0)  # ± 10 %
        for p in noisy
    ]
    found = fit(noisy, 2, "noisy", "")
    assert found.alpha == pytest.approx(alpha, rel=0.1)
    assert found.beta == pytest.approx(beta, rel=0.1)
    assert found.residual is not None
    assert 0.01 < found.residual < 0.1


def test_fit_counts_small_sizes_as_much_as_large_ones() -> None:
    # 20 % more time for the largest size only: an absolute fit would bend to it and lose α wholly.
    found = fit(points(lambda size: (2e-6 + 1e-9 * size) * (1.2 if size == SWEEP_BYTES[-1] else 1.0)), 2, "bent", "")
    assert found.alpha == pytest.approx(2e-6, rel=0.1)


@given(
    st.lists(
        st.tuples(st.integers(1, 2**26), st.floats(1e-7, 10.0)),
        min_size=2,
        max_size=13,
        unique_by=lambda point: point[0],
    )
)
def test_a_fit_is_never_negative(measured: list[tuple[int, float]]) -> None:
    times = dict(measured)
    found = fit(points(times.__getitem__, tuple(times)), 2, "any", "")
    assert 0 <= found.alpha < math.inf
    assert 0 <= found.beta < math.inf
    assert found.alpha > 0 or found.beta > 0


def test_times_that_fall_with_the_size_have_no_beta() -> None:
    assert fit(points({4: 3e-6, 1024: 1e-6}.__getitem__, (4, 1024)), 2, "falling", "").beta == 0.0


def test_times_that_grow_faster_than_the_size_have_no_alpha() -> None:
    assert fit(points({4: 1e-9, 1024: 1e-3}.__getitem__, (4, 1024)), 2, "steep", "").alpha == 0.0


@pytest.mark.parametrize(
    ("made", "ranks"), [(points(float, (4,)), 2), (points(float, (4, 4)), 2), ([], 2), (points(float), 4)]
)
def test_a_fit_needs_two_ranks_and_two_sizes(made: list[NetworkPoint], ranks: int) -> None:
    with pytest.raises(MeasurementError, match="two ranks and at least two sizes"):
        fit(made, ranks, "impossible", "")


def test_every_built_in_network_loads() -> None:
    assert "gemini" in networks.names()
    for name in networks.names():
        network = networks.load(name)
        assert network.name == name
        assert 0 < network.alpha < 1e-3
        assert 1e6 < 1 / network.beta < 1e12
        assert network.source


def test_a_network_file_loads(tmp_path: Path) -> None:
    path = tmp_path / "lab.toml"
    path.write_text('alpha_seconds = 2e-6\nbytes_per_second = 4_000_000_000\nsource = "measured on a Tuesday"\n')
    assert networks.load(str(path)) == Network(name="lab", alpha=2e-6, beta=2.5e-10, source="measured on a Tuesday")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("alpha_seconds = ", ["not TOML"]),
        (b"\xff\xfe = 1", ["not TOML"]),
        (f"alpha_seconds = {'9' * 5000}", ["not TOML"]),
        ("", ["alpha_seconds", "None"]),
        ("alpha_seconds = 1e-6", ["bytes_per_second", "None"]),
        ("alpha_seconds = -1e-6\nbytes_per_second = 1e9", ["alpha_seconds", "at least 0", "-1e-06"]),
        ("alpha_seconds = nan\nbytes_per_second = 1e9", ["alpha_seconds", "nan"]),
        ("alpha_seconds = 'fast'\nbytes_per_second = 1e9", ["alpha_seconds", "'fast'"]),
        ("alpha_seconds = true\nbytes_per_second = 1e9", ["alpha_seconds", "True"]),
        ("alpha_seconds = 1e-6\nbytes_per_second = 0", ["bytes_per_second", "at least 1", "not 0"]),
        ("alpha_seconds = 1e-6\nbytes_per_second = inf", ["bytes_per_second", "inf"]),
        (f"alpha_seconds = 1e-6\nbytes_per_second = 1{'0' * 400}", ["bytes_per_second"]),
        ("alpha_seconds = 1e-6\nbytes_per_second = [1]", ["bytes_per_second", "[1]"]),
        ("alpha = 1e-6\nbytes_per_second = 1e9", ["'alpha'", "allowed are alpha_seconds, bytes_per_second, source"]),
        ("[network]\nalpha_seconds = 1e-6", ["'network'"]),
    ],
)
def test_a_mistake_in_a_network_file_is_one_line(tmp_path: Path, text: str | bytes, words: list[str]) -> None:
    path = tmp_path / "wrong.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UsageError) as caught:
        networks.load(str(path))
    said = str(caught.value)
    assert "\n" not in said
    for word in [str(path), *words]:
        assert word in said


def test_an_unknown_network_lists_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        networks.load("gemni")
    for name in [*networks.names(), networks.HERE, "gemni"]:
        assert name in str(caught.value)
    with pytest.raises(UsageError, match="No such file"):
        networks.load(str(tmp_path / "nowhere.toml"))
    (tmp_path / "folder.toml").mkdir()
    with pytest.raises(UsageError, match="Is a directory"):
        networks.load(str(tmp_path / "folder.toml"))
