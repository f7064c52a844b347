"""What the harness itself costs: wall time over timed samples, start-up, and a report on 100,000 records."""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import msgspec

from layerbench import store
from layerbench.records import Record

RECORDS = 100_000
HELP_RUNS = 11


def measure() -> tuple[dict[str, Any], str]:
    """The three figures, and their table."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        wall = _wall(
            [
                *_layerbench("run", "--suite", "alexnet", "--nodes", "1,2,4,8", "--batch", "16", "--quiet"),
                "--output",
                str(run),
            ]
        )
        stored = store.load(run)
        timed = sum(sum(record.samples) * record.inner for record in stored.records if _is_timed(record))
        helps = [_wall(_layerbench("--help")) for _ in range(HELP_RUNS)]
        big = Path(folder) / "big"
        size = _multiply(stored, big)
        report = _wall(_layerbench("report", str(big), "--quiet"))
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    figures = {
        "run_wall_seconds": wall,
        "run_timed_seconds": timed,
        "run_wall_over_timed": wall / timed,
        "help_seconds": statistics.median(helps),
        "report_records": size,
        "report_seconds": report,
        "largest_child_bytes": peak,
    }
    table = (
        "| figure | value | aim |\n|---|---:|---:|\n"
        f"| wall time of `run` over its timed samples | {wall:.0f} s / {timed:.0f} s = {wall / timed:.2f} | 1.5 |\n"
        f"| `layerbench --help`, median of {HELP_RUNS} | {statistics.median(helps) * 1e3:.0f} ms | 200 ms |\n"
        f"| `report` on {size} records | {report:.1f} s | 5 s |\n"
        f"| largest memory of any command above | {peak / 2**30:.2f} GiB | 1 GB for `report` |\n"
    )
    return figures, table


def _is_timed(record: Record) -> bool:
    return record.part not in ("step",) and bool(record.samples)


def _layerbench(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "layerbench", *arguments]


def _wall(command: list[str]) -> float:
    begin = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - begin


def _multiply(stored: store.StoredRun, path: Path) -> int:
    """A run of many records, from those of a real one under further layer names; each keeps at most 20 samples."""
    times = -(-RECORDS // len(stored.records))
    layers = [
        msgspec.structs.replace(layer, name=f"{layer.name}-{copy}")
        for copy in range(times)
        for layer in stored.manifest.layers
    ]
    store.create(path, msgspec.structs.replace(stored.manifest, layers=layers))
    with (path / store.RECORDS).open("wb") as file:
        for copy in range(times):
            for record in stored.records:
                more = msgspec.structs.replace(record, layer=f"{record.layer}-{copy}", samples=record.samples[:20])
                file.write(msgspec.json.encode(more) + b"\n")
    return times * len(stored.records)
