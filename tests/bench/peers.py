"""Each layer and pass of `alexnet` at batch 16: the best kernel here against PyTorch and NumPy, threads equal.

Kernels take turns sample by sample in one process on one core, so that whatever else the machine does meets all.
"""

from __future__ import annotations

import importlib
import math
import os
import time
from functools import partial
from statistics import geometric_mean
from typing import Any

from layerbench import registry, suite, verify
from layerbench.kernel import Budget, Job
from layerbench.layers import FC, PASSES, AnyLayer
from layerbench.stats import Interval, interval, ratio_of
from tests.bench.turns import both_gradients, take_turns

BATCH = 16
THREADS = 1
OURS = "onednn"
PEERS = ("pytorch", "numpy")
MIN_SAMPLES = 7
MAX_SECONDS = 4.0
PEAK_SIZE = 1536

AIM = "aim: geometric mean over PyTorch at least 1.10, no layer under 0.95"


def measure() -> tuple[dict[str, Any], str]:
    """Times of every kernel, and the table."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    for library in ("threadpoolctl",):
        importlib.import_module(library).threadpool_limits(THREADS)
    loaded = suite.load("alexnet")
    rows = [row for layer in loaded.layers for row in _layer(layer)]
    peak = _gemm_peak()
    figures = {"batch": BATCH, "threads": THREADS, "gemm_peak_flops": peak, "rows": rows}
    return figures, _table(rows, peak)


def _layer(layer: AnyLayer) -> list[dict[str, Any]]:
    tensors = verify.tensors(layer, "fp32", 0, 0, BATCH)
    job = Job(layer, BATCH, "fp32", THREADS)
    prepared = {}
    for name in (OURS, *PEERS):
        kernel = registry.named(name)
        if not kernel.availability().ok:
            continue
        choices = kernel.search(job, tensors, Budget())
        checks = verify.verify(kernel, job, tensors, choices)
        assert all(check.ok for check in checks.values()), (name, layer.name, checks)
        prepared[name] = (kernel.prepare(job, tensors, choices), choices)
    rows = []
    for pass_ in PASSES:
        runs = {name: [ready.run[pass_]] for name, (ready, _) in prepared.items()}
        algorithms = {name: choices[pass_].algorithm for name, (_, choices) in prepared.items()}
        rows.append(_row(layer, pass_, layer.macs(BATCH), runs, algorithms))
    if layer.kind == "lstm" and "pytorch" in prepared:
        ready = {name: of_kernel for name, (of_kernel, _) in prepared.items()}
        together = both_gradients(ready, "pytorch")
        if together is not None:
            rows.append(_row(layer, "backward (both)", 2 * layer.macs(BATCH), together, {}))
            for row in rows[1:3]:
                row["counts"] = False
    return rows


def _row(layer: AnyLayer, pass_: str, macs: int, runs: dict[str, Any], algorithms: dict[str, str]) -> dict[str, Any]:
    timings = {name: partial(_time, steps) for name, steps in runs.items()}
    times = take_turns(timings, MIN_SAMPLES, MAX_SECONDS)
    ours = interval(times[OURS])
    row: dict[str, Any] = {
        "layer": layer.name,
        "pass": pass_,
        "macs": macs,
        "counts": True,
        "algorithm": algorithms.get(OURS, ""),
        "seconds": {name: interval(samples)[:3] for name, samples in times.items()},
        "samples": len(times[OURS]),
    }
    row["ratio"] = {name: ratio_of(interval(times[name]), ours)[:3] for name in times if name != OURS}
    return row


def _time(steps: Any, calls: int) -> float:
    begin = time.perf_counter_ns()
    for _ in range(calls):
        for step in steps:
            step()
    return (time.perf_counter_ns() - begin) / calls * 1e-9


def _gemm_peak() -> float:
    """FLOP/s of a large matrix product by whichever library does it best: what this core can do at most."""
    layer = FC(name="peak", in_features=PEAK_SIZE, out_features=PEAK_SIZE)
    job, tensors = Job(layer, PEAK_SIZE, "fp32", THREADS), verify.tensors(layer, "fp32", 0, 0, PEAK_SIZE)
    least = math.inf
    for name in (OURS, "numpy"):
        kernel = registry.named(name)
        run = kernel.prepare(job, tensors, kernel.search(job, tensors, Budget())).run["forward"]
        least = min(least, *(_time([run], 1) for _ in range(10)))
    return 2 * layer.macs(PEAK_SIZE) / least


def _table(rows: list[dict[str, Any]], peak: float) -> str:
    names = [name for name in PEERS if any(name in row["ratio"] for row in rows)]
    lines = [
        f"Batch {BATCH}, fp32, {THREADS} thread. Ratios are the peer's time over ours (above 1: ours is faster), with "
        f"95 % intervals. Share: of the {peak / 1e9:.0f} GFLOP/s of a large matrix product on this core.",
        "",
        "| layer | pass | ours, ms | GFLOP/s | share | "
        + " | ".join(f"{name} / ours" for name in names)
        + " | algorithm |",
        "|---|---|---:|---:|---:|" + "---:|" * len(names) + "---|",
    ]
    for row in rows:
        seconds = row["seconds"][OURS][0]
        rate = 2 * row["macs"] / seconds
        ratios = [_ratio(Interval(*row["ratio"][name], "range")) if name in row["ratio"] else "-" for name in names]
        mark = "" if row["counts"] else " *"
        lines.append(
            f"| {row['layer']} | {row['pass']}{mark} | {seconds * 1e3:.3f} | {rate / 1e9:.1f} | {rate / peak:.0%} | "
            + " | ".join(ratios)
            + f" | {row['algorithm']} |"
        )
    lines.append("")
    for name in names:
        ratios_ = [row["ratio"][name][0] for row in rows if row["counts"] and name in row["ratio"]]
        least = min((row["ratio"][name][0], f"{row['layer']} {row['pass']}") for row in rows if row["counts"])
        lines.append(
            f"Over {name}: geometric mean {geometric_mean(ratios_):.2f}, least {least[0]:.2f} ({least[1]})"
            + (f"; {AIM}." if name == "pytorch" else ".")
        )
    if any(not row["counts"] for row in rows):
        lines.append(
            "\\* not in the mean: the peer computes both gradients whichever is asked for; see the row of both."
        )
    return "\n".join(lines) + "\n"


def _ratio(value: Interval) -> str:
    return f"{value.median:.2f} ({value.low:.2f} to {value.high:.2f})"
