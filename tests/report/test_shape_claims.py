from __future__ import annotations

from collections.abc import Sequence

import msgspec
import pytest

from layerbench import suite
from layerbench.layers import FC, LSTM, AnyLayer, Conv
from layerbench.records import Record
from layerbench.report import shape_claims, tables
from layerbench.report.finding import FAILS, HOLDS, UNKNOWN, Finding
from tests.report import observed, synthetic


def judged(layers: Sequence[AnyLayer], batch: int = 16) -> tuple[Finding, Finding]:
    """The verdicts on MACs per weight and per byte."""
    computed = tables.of_run(synthetic.run(layers=layers, batch=batch, nodes=(1, 2)))
    return shape_claims.macs_per_weight(computed), shape_claims.macs_per_byte(computed)


def conv(pixels: int) -> Conv:
    return Conv(name="c", input=(1, pixels), in_channels=2, out_channels=3, filter=(1, 1))


def lstm(time_steps: int) -> LSTM:
    return msgspec.structs.replace(observed.RECURRENT, time_steps=time_steps)


@pytest.mark.parametrize(
    ("layers", "verdict"),
    [
        ([conv(10), observed.FULL], HOLDS),
        ([conv(9), observed.FULL], FAILS),
        ([conv(100), observed.FULL, lstm(10)], HOLDS),
        ([conv(100), observed.FULL, lstm(11)], FAILS),
        ([conv(100)], UNKNOWN),
        ([observed.FULL, lstm(5)], UNKNOWN),
    ],
)
def test_ten_times_the_macs_of_each_other_type(layers: Sequence[AnyLayer], verdict: str) -> None:
    finding, _ = judged(layers)
    assert finding.verdict == verdict
    assert ("run a suite that has" in finding.remedy) == (verdict == UNKNOWN)


@pytest.mark.parametrize("time_steps", [1, 3, 7, 13, 50, 100])
@pytest.mark.parametrize("copies", [1, 7])
def test_ten_times_is_not_less_by_rounding(time_steps: int, copies: int) -> None:
    many = [msgspec.structs.replace(conv(10 * time_steps), name=f"c{i}") for i in range(copies)]
    assert judged([*many, lstm(time_steps)])[0].verdict == HOLDS


def test_alexnet_per_weight_and_per_byte() -> None:
    # Output pixels 3025, 3025, 729, 169, 169: their geometric mean is 718.4; at batch 128 the MACs per byte of the
    # convolutions are 59.73, 434.41, 340.55, 400.04 and 324.84: 258.2, against 29.42 of FC and 118.52 of the LSTM.
    finding, _ = judged(suite.load("alexnet").layers, batch=128)
    assert finding.verdict == HOLDS
    assert "718 (169 to 3.02 k) of conv, 1 of fc and 50 of lstm" in finding.evidence
    assert "conv has 718 times those of fc and 14.4 times those of lstm" in finding.evidence
    assert "at a local batch of 128" in finding.evidence
    assert "258 (59.7 to 434) of conv, 29.4 (27.6 to 30.6) of fc and 119 of lstm" in finding.evidence
    assert "conv has 8.78 times those of fc and 2.18 times those of lstm" in finding.evidence


def test_grouped_convolution_has_the_macs_of_its_weights() -> None:
    grouped = Conv(name="c", input=(4, 5), in_channels=4, out_channels=4, filter=(1, 1), groups=2)
    assert "are 20 of conv" in judged([grouped, observed.FULL])[0].evidence


def test_the_order_per_byte_depends_on_how_bytes_are_counted() -> None:
    _, finding = judged(suite.load("alexnet").layers, batch=128)
    assert finding.verdict == HOLDS
    first, second = finding.evidence.split(". Where ")
    assert first.startswith("Where weights are re-read at each time step, MACs per byte at a local batch of 128 are ")
    assert first.endswith(" and 21.3 of lstm, so it holds, and that decides")
    assert second == "they are read once lstm has 119, so it does not hold"


def test_the_order_may_hold_by_neither_way_and_by_both() -> None:
    # At batch 16, by hand: conv 9600 / 32024 = 0.3, FC 512 / 896 = 0.571, LSTM 10240 / (4 · (320 + 128 + 320)) =
    # 3.33, or 10240 / (5 · 4 · (128 + 16 · 16)) = 1.33.
    _, neither = judged(list(observed.LAYERS.values()))
    assert neither.verdict == FAILS
    assert "0.3 of conv, 0.571 of fc and 1.33 of lstm, so it does not hold. " in neither.evidence
    assert "read once lstm has 3.33, so it does not hold" in neither.evidence
    wide = Conv(name="c", input=(10, 10), in_channels=64, out_channels=64, filter=(1, 1))
    full = msgspec.structs.replace(observed.FULL, in_features=64, out_features=64)
    _, both = judged([wide, full, lstm(1)])
    assert both.verdict == HOLDS
    assert both.evidence.count("so it holds") == 2


@pytest.mark.parametrize("copies", range(1, 12))
def test_equal_intensities_do_not_fall_by_rounding(copies: int) -> None:
    many = [msgspec.structs.replace(conv(1), name=f"c{i}") for i in range(copies)]
    _, finding = judged([*many, FC(name="f", in_features=2, out_features=3)])
    assert finding.verdict == FAILS


def test_without_a_type_the_order_can_be_refuted_only() -> None:
    wide = Conv(name="c", input=(10, 10), in_channels=64, out_channels=64, filter=(1, 1))
    _, fits = judged([wide, observed.FULL])
    assert fits.verdict == UNKNOWN
    assert fits.remedy == "run a suite that has lstm"
    assert (
        judged([conv(1), msgspec.structs.replace(observed.FULL, in_features=64, out_features=64)])[1].verdict == FAILS
    )
    _, alone = judged([wide])
    assert alone.verdict == UNKNOWN
    assert alone.remedy == "run a suite that has fc and lstm"


def test_nothing_recorded_is_to_be_completed() -> None:
    def nothing(record: Record) -> None:
        return None

    computed = tables.of_run(synthetic.run(change=nothing))
    for finding in (shape_claims.macs_per_weight(computed), shape_claims.macs_per_byte(computed)):
        assert finding.verdict == UNKNOWN
        assert finding.remedy == "complete the run with --resume"


def test_the_batch_in_weak_scaling_is_that_of_all_ranks() -> None:
    computed = tables.of_run(synthetic.run(nodes=(2, 4), scaling="weak"))
    assert "are 718 (169 to 3.02 k) of conv, 1 of fc" in shape_claims.macs_per_weight(computed).evidence
