"""What ``make gpu-check`` times kernels against: other harnesses, and kernels that take turns."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from layerbench.layers import Conv
from tests.bench.turns import both_gradients, take_turns
from tests.gpu import harnesses, independent


def test_nvbench_results_are_read(tmp_path: Path) -> None:
    (tmp_path / "results.json-bin").mkdir()
    np.array([3e-5, 1e-5, 2e-5], "<f4").tofile(tmp_path / "results.json-bin/0.bin")

    def summary(tag: str, **values: str) -> dict[str, Any]:
        data = [{"name": name, "type": "string", "value": value} for name, value in values.items()]
        return {"tag": tag, "name": tag, "data": data}

    told = [
        summary("nv/cold/sample_size", value="3"),
        summary("nv/batch/time/gpu/mean", value="1.5e-05"),
        summary("nv/json/bin:nv/cold/sample_times", filename="results.json-bin/0.bin", size="3"),
    ]
    state = {"name": "Device=0", "is_skipped": False, "summaries": told}
    results = tmp_path / "results.json"
    results.write_text(json.dumps({"benchmarks": [{"name": "call-0", "states": [state]}]}))
    found = harnesses.nvbench_times(results)
    assert found["call-0"]["hot"] == 1.5e-5
    assert found["call-0"]["cold"] == pytest.approx(2e-5)
    state |= {"is_skipped": True, "skip_reason": "no device"}
    results.write_text(json.dumps({"benchmarks": [{"name": "call-0", "states": [state]}]}))
    with pytest.raises(ValueError, match="call-0 was skipped: no device"):
        harnesses.nvbench_times(results)


def test_the_next_harness_serves_where_one_cannot() -> None:
    tried: list[str] = []
    told: list[str] = []

    @contextlib.contextmanager
    def trying(name: str) -> Any:
        tried.append(name)
        yield told.append

    # Neither CuPy nor a GPU is needed to see that all three are tried in their order.
    lost = {"cuda-bench (NVBench)": "took its process down", "CUDA events around a loop": "lost too"}
    if harnesses_can_run():
        pytest.skip("a GPU is there: Triton or the loop would time")
    with pytest.raises(RuntimeError, match=r"NVBench\): took its process down; triton.*; CUDA events .*: lost too"):
        harnesses.times({"call": lambda: None}, "cuda", lost, trying)
    assert tried == ["triton.testing.do_bench"]
    name, reasons, times = harnesses.times({"call": lambda: time.sleep(0.002)}, "host", {}, trying)
    assert told == ["call"]
    assert (name, reasons) == ("the host clock around a loop", [])
    assert 0.002 <= times["call"]["hot"] < 0.1


def harnesses_can_run() -> bool:
    from layerbench.cuda import library

    return library.availability().ok


def test_six_kernels_are_checked_of_alexnet_and_fewer_of_less() -> None:
    from layerbench import suite

    found = [(layer.name, pass_) for layer, pass_ in independent.chosen(suite.load("alexnet").layers)]
    assert found == [(name, pass_) for _, name, pass_ in independent.WANTED]
    conv = Conv(name="only", input=(8, 8), in_channels=1, out_channels=1, filter=(3, 3))
    assert independent.chosen([conv]) == [(conv, "forward"), (conv, "backward_weights")]


def test_kernels_take_turns() -> None:
    order: list[str] = []

    def timing(name: str, seconds: float) -> Any:
        def timed(calls: int) -> float:
            order.append(f"{name}{calls}")
            return seconds

        return timed

    times = take_turns({"quick": timing("q", 1e-4), "slow": timing("s", 1.0)}, 3, 0.0)
    assert {name: len(samples) for name, samples in times.items()} == {"quick": 3, "slow": 3}
    assert order == ["q1", "q1", "s1", "s1", *["q10", "s1"] * 3]


def test_both_gradients_are_those_of_the_peer_that_has_them_together() -> None:
    class Apart:
        run: Mapping[str, Any] = {"backward_data": "data", "backward_weights": "weights"}

    class Together(Apart):
        backward_together = "together"

    assert both_gradients({"ours": Apart(), "peer": Apart()}, "peer") is None
    found = both_gradients({"ours": Apart(), "peer": Together()}, "peer")
    assert found == {"ours": ["data", "weights"], "peer": ["together"]}
