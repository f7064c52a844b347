"""What one rank measures by itself: ceilings, launches, and layers of every kind."""

from __future__ import annotations

from pathlib import Path

import pytest

from layerbench.calibrate import probes, rank
from layerbench.calibrate.probes import LAYERS, SMALLEST, launches, probe
from layerbench.errors import UnavailableError
from layerbench.layers import FC, LSTM, PASSES, Conv
from tests.values import options

QUICK = options(max_time=0.01, rel_error=0.5)

FEW = (
    FC(name="fc", in_features=64, out_features=32),
    Conv(name="conv", input=(8, 8), in_channels=4, out_channels=4, filter=(3, 3)),
    LSTM(name="lstm", input_size=8, hidden_size=8, time_steps=3),
)


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Layers that take no time."""
    monkeypatch.setattr(probes, "LAYERS", FEW)
    monkeypatch.setattr(rank, "LAYERS", FEW)
    monkeypatch.setattr(probes, "BATCHES", (4, 1))


def test_every_kind_is_timed_and_has_its_launch() -> None:
    kinds = {"conv", "fc", "lstm"}
    assert {layer.kind for layer in LAYERS} == {layer.kind for layer in SMALLEST} == kinds
    assert len({layer.name for layer in LAYERS}) == len(LAYERS)


@pytest.mark.usefixtures("few")
def test_each_pass_of_each_layer_is_timed_at_each_batch() -> None:
    told: list[str] = []
    points, reasons = probe(QUICK, "fp64", 1e9, told.append)
    assert reasons == []
    found = [(point.layer.name, point.batch, point.pass_) for point in points]
    assert sorted(found) == sorted((layer.name, batch, pass_) for layer in FEW for batch in (4, 1) for pass_ in PASSES)
    for point in points:
        assert 0 < point.low <= point.seconds <= point.high
        assert point.dtype == "fp64"
    assert "fc, batch 4" in told


@pytest.mark.usefixtures("few")
def test_what_would_take_too_long_is_left_out() -> None:
    points, _ = probe(QUICK, "fp32", 2 * FEW[0].macs(2) / QUICK.max_time, lambda _: None)
    # At this peak two samples of the fully connected layer take all the time there is.
    assert {point.batch for point in points if point.layer.name == "fc"} == {1}


@pytest.mark.usefixtures("few")
def test_no_layer_is_begun_after_the_time_for_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "IN_ALL", 0)
    assert probe(QUICK, "fp32", 1e9, lambda _: None) == ([], [])


WRONG = """
from layerbench.registry import named

class Wrong(type(named("numpy"))):
    name = "wrong"
    preference = None

    def error_limit(self, dtype, choice):
        return -1.0

KERNEL = Wrong()
"""


@pytest.mark.usefixtures("few")
def test_a_kernel_with_wrong_results_is_not_timed_and_each_layer_says_so_once(tmp_path: Path) -> None:
    path = tmp_path / "wrong.py"
    path.write_text(WRONG)
    points, reasons = probe(options(kernels=str(path), max_time=0.01), "fp32", 1e9, lambda _: None)
    assert points == []
    assert sorted(reasons) == [
        f"{layer}: {' and '.join(PASSES)} gave a wrong result" for layer in ("conv", "fc", "lstm")
    ]


def test_a_launch_takes_longer_than_an_empty_call_and_less_than_a_layer() -> None:
    found = launches(QUICK, "fp32", lambda _: None)
    assert found.keys() == {"conv", "fc", "lstm", "an empty call"}
    nothing = min(found.pop("an empty call"))
    assert 0 < nothing < 1e-5
    for times in found.values():
        assert nothing < min(times) < 1e-3


@pytest.mark.usefixtures("few")
def test_a_rank_finds_its_ceilings_in_every_dtype_that_a_kernel_can_do() -> None:
    found = rank.measure(QUICK, ["int8", "fp64"], lambda _: None)
    assert found.device == "host"
    assert found.peak.keys() == {"fp64"}
    peak = found.peak["fp64"]
    assert 1e7 < peak.low <= peak.value == peak.high < 1e14
    assert "numpy" in peak.source
    assert 1e8 < found.bandwidth.low <= found.bandwidth.value < 1e13
    assert 1e-8 < found.launch.value < 1e-3
    for word in ("conv", "fc", "lstm", "an empty call"):
        assert word in found.launch.source
    assert {point.dtype for point in found.kernels} == {"fp64"}, "there is no fp32 among what was asked for"
    assert found.memory_bytes is not None
    assert found.caches == sorted(found.caches)
    assert found.reasons == [], "a dtype that no kernel can do is not a failure"


def test_a_rank_whose_kernels_can_do_nothing_says_so() -> None:
    with pytest.raises(UnavailableError, match="no kernel can run here"):
        rank.measure(QUICK, ["int8"], lambda _: None)
