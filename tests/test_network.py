"""The α-β model: formulas by hand, fits of known figures, files with mistakes."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from layerbench import network as networks
from layerbench.errors import MeasurementError, UsageError
from layerbench.network import SWEEP_BYTES, all_gather_seconds, all_reduce_seconds, beta_at, fit
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
        (4, 1_000, 4e-3),  # doubling: 2 (1 ms + 1 ms); halving would take 4 ms + 1.5 ms
        (4, 100_000, 0.154),  # halving: 4 ms + 150 ms; doubling would take 202 ms, the ring 156 ms
        (8, 1_000_000, 1.756),  # halving: 6 ms + 1.75 s; doubling would take 3.003 s
        (3, 900_000, 1.204),  # ring: 4 ms + 1.2 s; doubling would take 1.802 s, halving 2.704 s
        (3, 0, 2e-3),  # doubling over three ranks needs two rounds
        (5, 1_000, 6e-3),  # three rounds
    ],
)
def test_all_reduce_by_hand(ranks: int, size: int, seconds: float) -> None:
    assert all_reduce_seconds(SLOW, ranks, size) == pytest.approx(seconds, rel=1e-12)


def test_recursive_doubling_wins_below_the_crossover_and_halving_above() -> None:
    # 4 ranks: 4 α + 1.5 β n = 2 α + 2 β n at n = 4 α / β = 4000 bytes.
    at = all_reduce_seconds(SLOW, 4, 4_000)
    assert at == pytest.approx(10e-3)
    below, above = all_reduce_seconds(SLOW, 4, 2_000), all_reduce_seconds(SLOW, 4, 8_000)
    assert (at - below) / 2_000 == pytest.approx(2 * SLOW.beta), "doubling sends everything in each of two rounds"
    assert (above - at) / 4_000 == pytest.approx(1.5 * SLOW.beta), "halving sends 2 (p - 1) / p of it"


@pytest.mark.parametrize(
    ("ranks", "size", "seconds"),
    [(1, 10**9, 0.0), (2, 1_000, 1.5e-3), (4, 100_000, 77e-3), (5, 1_000, 3.8e-3)],
)
def test_all_gather_by_hand(ranks: int, size: int, seconds: float) -> None:
    assert all_gather_seconds(SLOW, ranks, size) == pytest.approx(seconds, rel=1e-12)


def test_an_all_gather_takes_the_rate_that_an_all_reduce_of_its_size_was_measured_at() -> None:
    found = fit(points(lambda size: 1e-6 + size / (1e10 if size < 2**20 else 1e9)), 2, "made", "a test")
    for size, rate in ((2**18, 1e10), (2**26, 1e9)):
        assert all_gather_seconds(found, 2, size) == pytest.approx(1e-6 + size / 2 / rate, rel=1e-3)


@given(ranks=st.integers(1, 512), size=st.integers(0, 2**30))
def test_all_reduce_grows_with_the_size_and_never_shrinks_to_nothing(ranks: int, size: int) -> None:
    seconds = all_reduce_seconds(SLOW, ranks, size)
    assert all_reduce_seconds(SLOW, ranks, size + 1) >= seconds
    assert seconds >= (SLOW.alpha if ranks > 1 else 0.0)


@pytest.mark.parametrize(("alpha", "beta"), [(1e-6, 1e-10), (5e-5, 8.5e-9), (1.4e-6, 1 / 6e9)])
def test_fit_recovers_what_made_the_points(alpha: float, beta: float) -> None:
    found = fit(points(lambda size: alpha + beta * size), 2, "made", "a test")
    assert found.alpha == pytest.approx(alpha + 4 * beta)
    assert found.beta == pytest.approx(beta, rel=1e-5)
    for size in SWEEP_BYTES:
        assert all_reduce_seconds(found, 2, size) == pytest.approx(alpha + beta * size, rel=1e-9)
    assert found.residual is not None
    assert found.residual < 0.3, "sizes four times apart bend between α and β"


def test_a_network_that_slows_down_beyond_its_caches_is_followed() -> None:
    def shared_memory(size: int) -> float:
        return 2e-6 + size / (10e9 if size < 2**24 else 2.5e9)

    found = fit(points(shared_memory), 2, "shared memory", "")
    assert 1 / found.beta == pytest.approx(2.5e9, rel=1e-3)
    for size in (2**20, 2**22, 2**26, 2**28):
        assert all_reduce_seconds(found, 2, size) == pytest.approx(shared_memory(size), rel=1e-6)
    halving = 4 * found.alpha + 1.5 * (shared_memory(2**26) - found.alpha)
    assert all_reduce_seconds(found, 4, 2**26) == pytest.approx(halving)


def test_beta_is_held_beyond_the_ends_of_the_sweep() -> None:
    found = fit(points(lambda size: 1e-6 + 1e-9 * size, (4, 1024, 2**20)), 2, "short", "")
    assert beta_at(found, 2**30) == pytest.approx(beta_at(found, 2**20))
    assert beta_at(found, 1) == beta_at(found, 4) == 0.0
    assert beta_at(SLOW, 10) == SLOW.beta


def test_the_residual_is_what_neighbours_say_of_a_size() -> None:
    # On a power law every size lies where its neighbours put it; one that is twice that is found twice off.
    law = {4: 4e-6, 64: 64e-6, 1024: 1024e-6}
    assert fit(points(law.__getitem__, tuple(law)), 2, "law", "").residual == pytest.approx(0.0, abs=1e-9)
    law[64] *= 2
    assert fit(points(law.__getitem__, tuple(law)), 2, "bent", "").residual == pytest.approx(0.5)


@given(
    st.lists(st.tuples(st.integers(1, 2**28), st.floats(1e-9, 10.0)), min_size=2, max_size=14, unique_by=lambda p: p[0])
)
def test_a_fit_is_never_negative(measured: list[tuple[int, float]]) -> None:
    times = dict(measured)
    found = fit(points(times.__getitem__, tuple(times)), 2, "any", "")
    assert found.alpha >= 0
    assert found.beta >= 0
    for size in times:
        assert math.isfinite(all_reduce_seconds(found, 8, size))
        assert beta_at(found, size + 1) >= 0


@pytest.mark.parametrize(
    ("made", "ranks"), [(points(float, (4,)), 2), (points(float, (4, 4)), 2), ([], 2), (points(float), 4)]
)
def test_a_fit_needs_two_ranks_and_two_sizes(made: list[NetworkPoint], ranks: int) -> None:
    with pytest.raises(MeasurementError, match="two ranks and at least two sizes, all different"):
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
