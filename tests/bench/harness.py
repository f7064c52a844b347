"""What the harness itself costs: wall time over timed samples, start-up, and reports on a million records."""

from __future__ import annotations

import contextlib
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import msgspec
import psutil

from layerbench import store
from layerbench.records import Record

RECORDS = 1_000_000
SAMPLES = 20
"""That a record of the large run keeps at most."""

HELP_RUNS = 11


def measure() -> tuple[dict[str, Any], str]:
    """The figures, and their table."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        job = ("--suite", "alexnet", "--nodes", "1,2,4,8", "--batch", "16", "--quiet")
        wall = _cost("run", *job, "--output", str(run))
        stored = store.load(run)
        timed = sum(sum(record.samples) * record.inner for record in stored.records if _is_timed(record))
        helps = [_cost("--help") for _ in range(HELP_RUNS)]
        usual = _cost("report", str(run), "--quiet")
        big = Path(folder) / "big"
        size = _multiply(stored, big)
        plain = _cost("report", str(big), "--quiet", "--no-html")
        whole = _cost("report", str(big), "--quiet", "--html")
        memory = {html: _memory("report", str(big), "--quiet", html) for html in ("--no-html", "--html")}
        page = (big / "report" / "report.html").stat().st_size
    figures = {
        "run_wall_seconds": wall,
        "run_timed_seconds": timed,
        "run_wall_over_timed": wall / timed,
        "help_seconds": statistics.median(helps),
        "report_usual_seconds": usual,
        "report_records": size,
        "report_seconds": plain,
        "report_peak_bytes": memory["--no-html"],
        "report_with_page_seconds": whole,
        "report_with_page_peak_bytes": memory["--html"],
        "page_bytes": page,
    }
    table = (
        "| figure | value | aim |\n|---|---:|---:|\n"
        f"| wall time of `run` over its timed samples | {wall:.0f} s / {timed:.0f} s = "
        f"{wall / timed:.2f} | 1.5 |\n"
        f"| `layerbench --help`, median of {HELP_RUNS} | {statistics.median(helps) * 1e3:.0f} ms | 200 ms |\n"
        f"| `report` on {len(stored.records)} records, page and figures included | {usual:.1f} s | |\n"
        f"| `report --no-html` on {size:,} records | {plain:.1f} s, {memory['--no-html'] / 1e9:.2f} GB | 15 s, 3 GB |\n"
        f"| `report --html` on the same | {whole:.1f} s, {memory['--html'] / 1e9:.2f} GB | |\n"
        f"| its page | {page / 1e6:.1f} MB | 10 MB |\n"
    )
    return figures, table


def _is_timed(record: Record) -> bool:
    return record.part not in ("step",) and bool(record.samples)


def _started(*arguments: str) -> subprocess.Popen[bytes]:
    """A command; what it complains of is seen."""
    return subprocess.Popen([sys.executable, "-m", "layerbench", *arguments], stdout=subprocess.DEVNULL)


def _cost(*arguments: str) -> float:
    """Wall seconds of a command."""
    begin = time.perf_counter()
    assert _started(*arguments).wait() == 0
    return time.perf_counter() - begin


def _memory(*arguments: str) -> int:
    """The most memory that a command and its processes were seen to have together, in bytes.

    What they share is counted once. Looked at ten times a second, and not in the run that is timed: to look takes time.
    """
    process = _started(*arguments)
    peak = 0
    while process.poll() is None:
        family = [psutil.Process(process.pid)]
        share = 0
        with contextlib.suppress(psutil.Error):
            family += family[0].children(recursive=True)
        for member in family:
            with contextlib.suppress(psutil.Error):
                share += member.memory_full_info().pss
        peak = max(peak, share)
        time.sleep(0.1)
    assert process.returncode == 0
    return peak


def _multiply(stored: store.StoredRun, path: Path) -> int:
    """A run of many records, from those of a real one under further layer names."""
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
                more = msgspec.structs.replace(record, layer=f"{record.layer}-{copy}", samples=record.samples[:SAMPLES])
                file.write(msgspec.json.encode(more) + b"\n")
    return times * len(stored.records)
