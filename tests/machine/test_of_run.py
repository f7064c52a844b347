"""The machine that a run measured, and the link that its network model is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from layerbench import network as networks
from layerbench import store
from layerbench.collective_times import link_seconds
from layerbench.errors import UsageError
from layerbench.machine import ceiling, link_of, of_run, parse, to_toml
from layerbench.network import SWEEP_BYTES, all_gather_seconds, all_reduce_seconds
from layerbench.records import Manifest, Network, NetworkPoint, Roofline
from tests.values import manifest, options

RESULTS = Path(__file__).resolve().parents[2] / "results"

ROOFLINE = Roofline(
    device="host",
    dtype="fp32",
    threads=2,
    flops=4e11,
    bandwidth=2e10,
    flops_source="a matrix product",
    bandwidth_source="a sum",
    flops_samples=[4e11, 3.9e11, 3.0e11],
    bandwidth_samples=[1e10, 1.1e10, 1.9e10, 2e10],
)


def measured(**changes: Any) -> Manifest:
    return manifest(**{"roofline": ROOFLINE, "network": networks.load("gemini"), **changes})


def test_a_run_gives_its_ceilings_and_its_network() -> None:
    run = measured(environment={"cpu_model": "a processor", "caches": {"L1d": 32768, "L1i": 65536, "L2": 2**20}})
    found = of_run(run)
    assert found.description == "a processor, 2 threads a rank"
    assert found.peak.keys() == {"fp32"}
    assert found.peak["fp32"].value == found.peak["fp32"].high == 4e11
    assert found.peak["fp32"].low == 3.9e11
    assert found.bandwidth.value == 2e10
    assert found.bandwidth.low == 1.9e10, "reading is quicker than adding: only the quicker of the two is a ceiling"
    assert found.caches == [32768, 2**20]
    assert found.between == link_of(networks.load("gemini"))
    assert found.within is None
    assert found.nodes is None
    assert parse(to_toml(found).encode(), found.name, "x") == found


def test_hosts_are_nodes_and_ranks_are_of_each() -> None:
    found = of_run(measured(options=options(hosts=["a", "b", "c"], ranks_per_node=4)))
    assert (found.nodes, found.ranks_per_node) == (3, 4)


@pytest.mark.parametrize(
    "roofline",
    [
        None,
        Roofline(device="host", dtype="fp32", threads=1, flops=0.0, bandwidth=1e10, reason="no peak: no product"),
        Roofline(device="host", dtype="fp32", threads=1, flops=1e10, bandwidth=0.0, reason="no bandwidth: no memory"),
    ],
)
def test_a_run_without_ceilings_is_refused_in_one_line(roofline: Roofline | None) -> None:
    with pytest.raises(UsageError, match="--machine") as caught:
        of_run(measured(roofline=roofline))
    assert "\n" not in str(caught.value)
    assert "small" in str(caught.value), "the suite tells which run it is"
    if roofline is not None:
        assert roofline.reason in str(caught.value)


def test_a_run_without_a_network_model_has_no_network_and_says_why() -> None:
    found = of_run(measured(network=None))
    assert found.between is None
    assert "all counts of the run were measured" in found.no_network


@pytest.mark.parametrize("run", ["alexnet-2-cores", "two-hosts-gigabit"])
def test_kept_runs_give_machines_that_exchange_as_their_network_models_say(run: str) -> None:
    kept = store.load(RESULTS / run).manifest
    found = of_run(kept)
    assert found.between is not None
    assert kept.network is not None
    for ranks in (1, 2, 3, 8, 100):
        for size in (1, 4, 100, 10**4, 2**20, 3 * 2**22, 2**28, 2**32):
            said = all_reduce_seconds(kept.network, ranks, size)
            assert link_seconds(found.between, "all_reduce", ranks, size) == pytest.approx(said, rel=1e-9)
            said = all_gather_seconds(kept.network, ranks, size)
            assert link_seconds(found.between, "all_gather", ranks, size) == pytest.approx(said, rel=1e-9)


@given(
    alpha=st.floats(1e-7, 1e-3),
    slow=st.floats(1e-11, 1e-7),
    ranks=st.integers(1, 200),
    size=st.integers(1, 2**33),
)
def test_any_sweep_that_grows_gives_a_link_that_agrees_with_it(
    alpha: float, slow: float, ranks: int, size: int
) -> None:
    def seconds(bytes_: int) -> float:
        # Ten times as quick in the cache.
        return alpha + slow * bytes_ / (10 if bytes_ < 2**20 else 1)

    points = [NetworkPoint(bytes=each, seconds=seconds(each), low=0.0, high=1.0) for each in SWEEP_BYTES]
    network = networks.fit(points, 2, "made", "a test")
    link = link_of(network)
    for operation, said in (("all_reduce", all_reduce_seconds), ("all_gather", all_gather_seconds)):
        assert link_seconds(link, operation, ranks, size) == pytest.approx(said(network, ranks, size), rel=1e-9)  # type: ignore[arg-type]


def test_the_interval_of_a_point_is_made_anew_of_its_samples() -> None:
    samples = [float(each) for each in range(1, 101)]
    point = NetworkPoint(bytes=4, seconds=50.5, low=41.0, high=60.0, samples=samples)
    network = Network(name="x", alpha=1.0, beta=1.0, points=[point], fitted_ranks=2)
    (exchanged,) = link_of(network).sweeps
    assert 41 < exchanged.low < exchanged.seconds == 50.5 < exchanged.high < 60, "of 90 %, not of 95 %"


def test_a_network_model_of_no_sweep_gives_a_link_of_its_two_figures() -> None:
    link = link_of(networks.load("gemini"))
    assert link.sweeps == link.fits == []
    assert link.alpha.value == 1.4e-6
    assert 1 / link.beta.value == pytest.approx(6e9)


def test_a_network_model_of_unlimited_bandwidth_gives_a_link_that_can_be_written() -> None:
    found = of_run(measured(network=Network(name="x", alpha=1e-6, beta=0.0)))
    assert parse(to_toml(found).encode(), found.name, "x") == found


def test_a_ceiling_is_the_best_and_its_interval_the_better_half() -> None:
    assert (ceiling([1.0]).low, ceiling([1.0]).value) == (1.0, 1.0)
    figure = ceiling([3.0, 1.0, 5.0, 4.0, 2.0])
    assert (figure.low, figure.value, figure.high) == (4.0, 5.0, 5.0)
