"""Ways of others to time a call: NVBench's Python package, Triton's, and a plain loop where neither is there.

Each takes calls by name and gives seconds of one call. What it does between two calls differs: NVBench times calls in a
row and, apart from that, calls before each of which it flushes the cache; Triton's flushes; the loop does not.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from layerbench.device import Run

Times = dict[str, dict[str, float]]
"""Seconds of one call by its name and by the state of the cache, ``hot`` or ``cold``."""

SECONDS = 0.3
"""A call is timed for about so long."""

REPETITIONS = 11

NVBENCH_TIMEOUT = 4
"""Seconds after which NVBench goes on to the next call."""


Progress = Callable[[str], None]

Trying = Callable[[str], AbstractContextManager[Progress]]


def times(
    calls: Mapping[str, Run], device: str, lost: Mapping[str, str], trying: Trying
) -> tuple[str, list[str], Times]:
    """Time calls by the first of the ways that can be had.

    Parameters
    ----------
    calls
        By name; on a GPU each queues its work on CuPy's current stream.
    device
        What the calls run on, ``host`` or ``cuda``.
    lost
        Ways that are not to be tried, and why.
    trying
        What surrounds the use of a way, by its name; it gives what is to be told of progress.

    Returns
    -------
    str, list of str, Times
        Which way it is, why it is none of those before it, and the times.
    """
    ways: dict[str, Callable[[Mapping[str, Run], Progress], Times]] = {"the host clock around a loop": host_loop}
    if device == "cuda":
        ways = {
            "cuda-bench (NVBench)": nvbench,
            "triton.testing.do_bench": triton,
            "CUDA events around a loop": event_loop,
        }
    reasons: list[str] = []
    for name, way in ways.items():
        if name in lost:
            reasons.append(f"{name}: {lost[name]}")
            continue
        try:
            with trying(name) as progress:
                return name, reasons, way(calls, progress)
        except Exception as error:
            reasons.append(f"{name}: {type(error).__name__}: {' '.join(str(error).split())}")
    raise RuntimeError(f"no way to time a call independently: {'; '.join(reasons)}")


def host_loop(calls: Mapping[str, Run], progress: Progress) -> Times:
    """``time.perf_counter`` around calls in a row."""

    def seconds(call: Run, repetitions: int) -> float:
        begin = time.perf_counter()
        for _ in range(repetitions):
            call()
        return (time.perf_counter() - begin) / repetitions

    return _in_loops(calls, seconds, progress)


def event_loop(calls: Mapping[str, Run], progress: Progress) -> Times:
    """Two CUDA events around calls in a row, with nothing to hide that the host queues them."""
    import cupy

    def seconds(call: Run, repetitions: int) -> float:
        begin, end = cupy.cuda.Event(), cupy.cuda.Event()
        begin.record()
        for _ in range(repetitions):
            call()
        end.record()
        end.synchronize()
        return float(cupy.cuda.get_elapsed_time(begin, end)) / repetitions * 1e-3

    return _in_loops(calls, seconds, progress)


def _in_loops(calls: Mapping[str, Run], seconds: Callable[[Run, int], float], progress: Progress) -> Times:
    found: Times = {}
    for name, call in calls.items():
        progress(name)
        found[name] = {"hot": _median_of_loops(call, seconds)}
    return found


def _median_of_loops(call: Run, seconds: Callable[[Run, int], float]) -> float:
    seconds(call, 3)
    once = max(seconds(call, 1), 1e-9)
    repetitions = max(1, round(SECONDS / REPETITIONS / once))
    return statistics.median(seconds(call, repetitions) for _ in range(REPETITIONS))


def triton(calls: Mapping[str, Run], progress: Progress) -> Times:
    """Medians of Triton's own benchmark, which clears the cache before each call."""
    import cupy
    import torch
    from triton.testing import do_bench

    found: Times = {}
    # Its events lie on PyTorch's current stream.
    with cupy.cuda.ExternalStream(torch.cuda.current_stream().cuda_stream):
        for name, call in calls.items():
            progress(name)
            milliseconds = do_bench(call, rep=round(SECONDS * 1e3), return_mode="median")
            found[name] = {"cold": milliseconds * 1e-3}
    return found


def nvbench(calls: Mapping[str, Run], progress: Progress) -> Times:
    """NVBench: the mean of calls in a row, and the median of calls that each find the cache flushed."""
    import cupy
    from cuda import bench

    cupy.cuda.Device().synchronize()
    named = {f"call-{number}": name for number, name in enumerate(calls)}
    for short, name in named.items():
        bench.register(_benchmark(name, calls[name], cupy, progress)).set_name(short)
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder) / "results.json"
        device = str(cupy.cuda.runtime.getDevice())
        bench.run_all_benchmarks(
            ["check", "--devices", device, "--timeout", str(NVBENCH_TIMEOUT), "--jsonbin", str(results)]
        )
        return {named[short]: found for short, found in nvbench_times(results).items()}


def _benchmark(name: str, call: Run, cupy: Any, progress: Progress) -> Callable[[Any], None]:
    def of_state(state: Any) -> None:
        progress(name)

        def launch(launched: Any) -> None:
            with cupy.cuda.ExternalStream(launched.get_stream().addressof()):
                call()

        state.exec(launch)

    return of_state


def nvbench_times(results: Path) -> Times:
    """Times in NVBench's JSON, whose samples lie in files beside it.

    Raises
    ------
    ValueError
        If a benchmark has no times.
    """
    import numpy as np

    found: Times = {}
    for benchmark in json.loads(results.read_text())["benchmarks"]:
        (state,) = benchmark["states"]
        if state.get("is_skipped"):
            raise ValueError(f"{benchmark['name']} was skipped: {state.get('skip_reason')}")
        told: dict[str, dict[str, Any]] = {
            summary["tag"]: {entry["name"]: entry["value"] for entry in summary["data"]}
            for summary in state["summaries"] or []
        }
        of_call: dict[str, float] = {}
        if in_a_row := told.get("nv/batch/time/gpu/mean"):
            of_call["hot"] = float(in_a_row["value"])
        if samples := told.get("nv/json/bin:nv/cold/sample_times"):
            file = Path(samples["filename"])
            beside = results.parent / file
            values = np.fromfile(beside if beside.exists() else results.parent / file.name, "<f4")
            of_call["cold"] = float(np.median(values))
        if not of_call:
            raise ValueError(f"{benchmark['name']} has no times; it tells of {', '.join(sorted(told))}")
        found[benchmark["name"]] = of_call
    return found
