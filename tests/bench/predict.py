"""The cost model: counts held out of a run, beside Extra-P; links of a known rate; kernels of published devices.

The run is made here, on counts of which a machine with few cores measures one or two and emulates the rest. What is
held out of an emulated count is its passes, which were timed, and its step, whose exchange was computed; the exchange
itself is judged on real links (see ``links.py``).
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from layerbench import store
from layerbench.layers import PASSES
from layerbench.stats import median
from tests.bench import extra_p, links
from tests.bench.holdout import Ranking, Row, holdout, ranking

JOB = ("--suite", "alexnet", "--nodes", "1,2,3,4,6,8,12,16", "--batch", "32", "--max-time", "1", "--quiet")

FITS = ((1, 2), (1, 4), (1, 2, 4), (1, 4, 16), (1, 2, 3, 4, 6), (1, 2, 4, 8, 16))
KEPT = ("alexnet-2-cores", "two-hosts-gigabit")

AIMS = {"inside": 0.10, "twice": 0.20}
NAMED = {"inside": "inside the range", "twice": "up to twice its end", "beyond": "further beyond"}


def measure() -> tuple[dict[str, Any], str]:
    """All of it, and the tables."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        subprocess.run([sys.executable, "-m", "layerbench", "run", *JOB, "--output", run], check=True)
        rows = [*_beside_extra_p(run, FITS)]
        ranked = ranking(run, fits=FITS)
    kept = Path(__file__).parents[2] / "results"
    for name in KEPT:
        rows += _beside_extra_p(kept / name, None)
        ranked += ranking(kept / name)
    of_links, links_table = links.measure()
    kernels = _printed("kernel-times")
    figures = {
        "job": list(JOB),
        "rows": [{**row._asdict(), "extra_p": theirs} for row, theirs in rows],
        "ranking": [one._asdict() for one in ranked],
        "links": of_links,
    }
    return figures, f"{_table(rows, ranked)}\n{links_table}\n```\n{kernels}```\n"


def _printed(*command: str) -> str:
    done = subprocess.run([sys.executable, "-m", "layerbench", *command], check=True, capture_output=True, text=True)
    return done.stdout


def _beside_extra_p(run: Path, fits: Sequence[tuple[int, ...]] | None) -> Iterator[tuple[Row, float | None]]:
    """Every held-out pass and step, with what Extra-P makes of the same points."""
    stored = store.load(run)
    by = {record.key: record for record in stored.records if record.status == "ok" and record.samples}
    for row in holdout(run, fits=fits):
        if row.part == "communication":
            continue
        points = {count: by[row.layer, row.part, count].samples for count in row.fit}
        theirs = extra_p.predicted(points, [row.nodes])[row.nodes] if extra_p.available() else None
        yield row, theirs


def _table(rows: Sequence[tuple[Row, float | None]], ranked: Sequence[Ranking]) -> str:
    lines = [
        "| held out | counts fitted | part | times | median error | aim | Extra-P's | in 90 % intervals |",
        "|---|---:|---|---:|---:|---:|---:|---:|",
    ]
    for where, named in NAMED.items():
        for counts in sorted({len(row.fit) for row, _ in rows}):
            for part, parts in (("passes", PASSES), ("steps", ("step",))):
                chosen = [
                    (row, theirs)
                    for row, theirs in rows
                    if row.where == where and len(row.fit) == counts and row.part in parts
                ]
                if not chosen:
                    continue
                ours = median([row.error for row, _ in chosen])
                others = [abs(theirs / row.true - 1) for row, theirs in chosen if theirs is not None]
                beside = f"{median(others):.1%}" if others else "-"
                aim = f"{AIMS[where]:.0%}" if where in AIMS else ""
                held = sum(row.held for row, _ in chosen) / len(chosen)
                lines.append(
                    f"| {named} | {counts} | {part} | {len(chosen)} | {ours:.1%} | {aim} | {beside} | {held:.0%} |"
                )
    right = sum(one.right for one in ranked)
    lines += [
        "",
        f"Counts ranked as they were measured: {right} of {len(ranked)} ({right / len(ranked):.1%}; aim 90 %).",
        f"Extra-P's modeler wants {extra_p.FEWEST} counts; exponents below zero are allowed it.",
    ]
    return "\n".join(lines) + "\n"
