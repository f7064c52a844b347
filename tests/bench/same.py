"""A/A: the same run twice, and the share of records whose 95 % intervals do not overlap."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from layerbench import store
from layerbench.records import PARTS
from layerbench.stats import interval

JOB = ("--suite", "alexnet", "--nodes", "1,2", "--batch", "16", "--threads-per-rank", "1", "--quiet")


def measure() -> tuple[dict[str, Any], str]:
    """Records that differ, and their table."""
    with tempfile.TemporaryDirectory() as folder:
        runs = []
        for name in ("first", "second"):
            path = Path(folder) / name
            subprocess.run([sys.executable, "-m", "layerbench", "run", *JOB, "--output", path], check=True)
            runs.append({record.key: record for record in store.load(path).records})
    rows = []
    for key, first in runs[0].items():
        second = runs[1][key]
        if sum(first.samples) == 0:
            continue
        a, b = interval(first.samples), interval(second.samples)
        rows.append(
            {
                "layer": first.layer,
                "part": first.part,
                "nodes": first.nodes,
                "ratio": b.median / a.median,
                "overlap": a.low <= b.high and b.low <= a.high,
                "same_algorithm": first.algorithm == second.algorithm,
                "noisy": first.noisy or second.noisy,
            }
        )
    return {"rows": rows}, _table(rows)


def _table(rows: list[dict[str, Any]]) -> str:
    lines = [
        "| part | records | intervals apart | of these with another algorithm | median of \\|ratio - 1\\| |",
        "|---|---:|---:|---:|---:|",
    ]
    for part in (*PARTS, "all"):
        some = [row for row in rows if part in (row["part"], "all")]
        if not some:
            continue
        apart = [row for row in some if not row["overlap"]]
        other = sum(not row["same_algorithm"] for row in apart)
        spread = sorted(abs(row["ratio"] - 1) for row in some)[len(some) // 2]
        lines.append(f"| {part} | {len(some)} | {len(apart)} ({len(apart) / len(some):.0%}) | {other} | {spread:.1%} |")
    return "\n".join(lines) + "\n"
