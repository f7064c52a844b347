"""How the aims of ``make gpu-check`` are judged, and how its table tells them, from given figures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from tests.gpu import aims, table
from tests.gpu.aims import Aim
from tests.gpu.process import Outcome


def peer_row(layer: str, pass_: str, ratio: float, *not_counted: str, kind: str = "conv") -> dict[str, Any]:
    return {
        "layer": layer,
        "kind": kind,
        "pass": pass_,
        "not_counted": list(not_counted),
        "seconds": {"ours": [1e-3, 1e-3, 1e-3], "pytorch": [ratio * 1e-3] * 3},
        "ratio": {"pytorch": [ratio] * 3},
    }


def swept_row(layer: str, pass_: str, seconds: Sequence[float], way: str = "hot", **more: Any) -> dict[str, Any]:
    row: dict[str, Any] = {"layer": layer, "kind": "conv", "pass": pass_, "way": way, "seconds": list(seconds)}
    row |= {"macs": 10**9, "bytes": 10**6, "status": "ok", "reason": "", "noisy": False, "throttled": False}
    row |= {"retaken": 0, "energy_joules": 0.5, "launch_seconds": 7e-6, "kernels": "cudnn", "algorithm": "engine 1"}
    return row | more


def verdicts(found: Sequence[Aim]) -> list[str]:
    return [aim.verdict for aim in found]


def test_peers_are_judged_by_mean_least_and_lstm() -> None:
    rows = [
        peer_row("conv1", "forward", 1.2),
        peer_row("conv2", "forward", 0.98),
        peer_row("lstm", "forward", 1.6, kind="lstm"),
        peer_row("lstm", "backward_data", 9.0, "pytorch", kind="lstm"),
        peer_row("lstm", "backward (both)", 1.5, kind="lstm"),
    ]
    mean, least, lstm = aims.against(rows, "pytorch")
    assert verdicts([mean, least, lstm]) == ["met", "met", "met"]
    assert mean.found == f"{(1.2 * 0.98 * 1.6 * 1.5) ** 0.25:.3f} of 4"
    assert least.found == "0.980 (conv2 forward); 0 under"
    assert lstm.found == f"{(1.6 * 1.5) ** 0.5:.3f} of 2, least 1.500 (lstm backward (both))"
    slower = [*rows, peer_row("fc8", "forward", 0.5)]
    assert verdicts(aims.against(slower, "pytorch")) == ["met", "missed", "met"]
    assert verdicts(aims.against(slower[-1:], "pytorch")) == ["missed", "missed", "not measured"]
    assert verdicts(aims.against(rows, "numpy")) == ["not measured"] * 3


def test_the_edge_of_an_aim_meets_it() -> None:
    assert verdicts(aims.against([peer_row("a", "forward", 1.05)], "pytorch"))[0] == "met"
    assert verdicts(aims.against([peer_row("a", "forward", 1.0499)], "pytorch"))[0] == "missed"
    assert verdicts(aims.against([peer_row("a", "forward", 0.97)], "pytorch"))[1] == "met"
    assert verdicts(aims.against([peer_row("a", "forward", 0.9699)], "pytorch"))[1] == "missed"


def test_the_roofline_is_the_lower_of_peak_and_bandwidth() -> None:
    ceiling = {"flops": 1e12, "bandwidth": 1e11}
    # 2000 FLOP a byte: the peak. A tenth of the bytes' rate: the bandwidth.
    assert aims.fraction_of_roofline(swept_row("a", "forward", [4e-3] * 3), ceiling) == pytest.approx(0.5)
    bound = swept_row("a", "forward", [4e-3] * 3, macs=10**6, bytes=10**8)
    assert aims.fraction_of_roofline(bound, ceiling) == pytest.approx(0.25)
    assert aims.fraction_of_roofline(bound, None) is None
    assert aims.fraction_of_roofline(bound, ceiling | {"bandwidth": 0.0}) is None
    assert aims.fraction_of_roofline(bound | {"seconds": None}, ceiling) is None
    rows = [
        swept_row("conv1", "forward", [2.5e-3] * 3),
        swept_row("conv2", "forward", [2.2e-3] * 3),
        swept_row("conv2", "forward", [1.0] * 3, way="cold"),
        swept_row("fc6", "forward", [1.0] * 3, kind="fc"),
    ]
    assert aims.of_roofline(rows, ceiling, "bf16").verdict == "met"
    slow = [*rows, swept_row("conv3", "forward", [3e-3] * 3)]
    judged = aims.of_roofline(slow, ceiling, "bf16")
    assert (judged.verdict, judged.found) == ("missed", "least 67% (conv3 forward); 1 of 3 under")
    assert aims.of_roofline(rows, None, "bf16").verdict == "not measured"


def test_another_harness_agrees_within_two_per_cent_either_way() -> None:
    def by_other(*theirs: float) -> Aim:
        rows = [{"layer": "a", "pass": "forward", "cache": "hot", "ours": 1.0, "theirs": each} for each in theirs]
        return aims.agreement({"harness": "other", "rows": rows})

    assert by_other(1.0, 1.019, 0.981).verdict == "met"
    assert by_other(1.0, 1.03).verdict == "missed"
    assert by_other(0.97, 1.0).found == "at most -3.0% (a forward, hot); 1 of 2 above"
    assert by_other().verdict == "not measured"
    assert aims.agreement(None).verdict == "not measured"


def test_two_equal_runs_may_differ_in_one_of_twenty_records() -> None:
    same, other = {"verdict": "same"}, {"verdict": "unclear"}
    assert aims.alike({"rows": [same] * 19 + [other]}).verdict == "met"
    assert aims.alike({"rows": [same] * 18 + [other]}).verdict == "missed"
    assert aims.alike(None).verdict == "not measured"


def test_ways_of_timing_agree_where_their_intervals_overlap() -> None:
    rows = [
        swept_row("long", "forward", [100e-6, 99e-6, 101e-6]),
        swept_row("long", "forward", [101.5e-6, 100.5e-6, 102e-6], way="graph hot"),
        swept_row("short", "forward", [10e-6, 9.9e-6, 10.1e-6]),
        swept_row("short", "forward", [5e-6, 4.9e-6, 5.1e-6], way="graph hot"),
        swept_row("noisy", "forward", [100e-6, 50e-6, 200e-6]),
        swept_row("noisy", "forward", [60e-6, 59e-6, 61e-6], way="graph hot"),
        swept_row("long", "forward", [200e-6, 199e-6, 201e-6], way="cold"),
    ]
    found = aims.differences(rows)
    assert [(each.layer, each.agree, each.not_judged) for each in found] == [
        ("long", True, ""),
        ("short", False, "under 50 µs"),
        ("noisy", True, "too noisy to tell"),
    ]
    hot, cold = aims.ways_agree(found)
    assert (hot.verdict, cold.verdict) == ("met", "not measured")
    assert hot.found == "0 of 1; at most +1.5% (long forward); 1 too noisy to tell"
    rows.append(swept_row("long", "forward", [150e-6, 149e-6, 151e-6], way="graph cold"))
    assert verdicts(aims.ways_agree(aims.differences(rows))) == ["met", "missed"]


def test_a_table_of_given_figures() -> None:
    ceiling = {"flops": 1e12, "bandwidth": 1e11, "flops_source": "fc", "bandwidth_source": "triad", "reason": ""}
    ways = {way: {"run": way, "reason": ""} for way in ("hot", "graph hot")}
    rows = [
        swept_row("conv|1", "forward", [40e-6, 39e-6, 41e-6], macs=15 * 10**6, throttled=True, retaken=3),
        swept_row("conv|1", "forward", [41e-6, 39e-6, 41e-6], way="graph hot", macs=15 * 10**6, noisy=True),
    ]
    figures: dict[str, Any] = {
        "layers-bf16": {"batch": 128, "roofline": ceiling, "ways": ways, "rows": rows},
        "peers-bf16": {"batch": 128, "rows": [peer_row("conv|1", "forward", 1.25)], "left_out": ["fc6: why"]},
        "independent": None,
    }
    outcomes = [Outcome("layers-bf16", "ok", 61.0), Outcome("tests", "out of time", 9.0, "ended after 9 s: a | b")]
    judged = aims.judged(figures, ["bf16"], ["pytorch"])
    text = table.markdown(outcomes, figures, judged, ["bf16"], ["pytorch"])
    lines = text.splitlines()
    assert "| conv\\|1 | forward | 40.0 ▽ | 41.0 ~ | 750 G | 75% | 1.25 | 33.3 | 7.0 | cudnn: engine 1 |" in lines
    assert "- 1 records throttled, 3 samples retaken, 1 noisy (~)" in lines
    assert "| tests | out of time | 9 | ended after 9 s: a \\| b |" in lines
    of_roofline = "least 75% (conv\\|1 forward); 1 of 1 under"
    assert f"| conv layers of the measured roofline, bf16 | ≥ 80% | {of_roofline} | missed |" in lines
    assert "- left out: fc6: why" in lines
    widths: list[int] = []
    for line in lines:
        if not line.startswith("|"):
            widths.clear()
            continue
        widths.append(line.replace("\\|", "").count("|"))
        assert len(set(widths)) == 1, line
