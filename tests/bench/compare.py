"""A/A: one job again and again, its runs taken in turn for BASE and NEW, and how many records come out as not the same.

Then A/B: one side's samples of a random half of the layers made a tenth longer, and how many of those are found.
"""

from __future__ import annotations

import random
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec

from layerbench import store
from layerbench.compare import Comparison, compare
from layerbench.compare.verdict import VERDICTS
from layerbench.store import Journal

JOB = (
    *("--suite", "alexnet", "--filter", "conv3,conv5,fc7,fc8,lstm", "--batch", "4", "--nodes", "1"),
    *("--launcher", "none", "--threads-per-rank", "1", "--max-time", "0.3", "--quiet"),
)
RUNS = 60
PAIRS = 20
REPETITIONS = (1, 3, 5, 7)
SLOW_DOWN = 1.10


def measure(
    runs: int = RUNS, pairs: int = PAIRS, repetitions: Sequence[int] = REPETITIONS
) -> tuple[dict[str, Any], str]:
    """Verdicts of single runs and of repetitions, with and without a planted slow-down, and their table.

    Parameters
    ----------
    runs
        Taken one after another; the first is one of BASE, the next one of NEW, and so on.
    pairs
        Comparisons of each number of repetitions.
    repetitions
        Runs a side.
    """
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        taken = [_taken(Path(folder) / str(number), number, runs) for number in range(runs)]
        for a_side in repetitions:
            for pair, first in enumerate(_windows(runs, a_side, pairs)):
                window = taken[first : first + 2 * a_side]
                rows += _compared(window[::2], window[1::2], pair, Path(folder) / f"slowed-{a_side}-{pair}")
    table = _table(rows) + _thirds(rows, pairs) + _note(runs, pairs, repetitions)
    return {"job": list(JOB), "runs": runs, "slow_down": SLOW_DOWN, "rows": rows}, table


def _taken(folder: Path, number: int, runs: int) -> Path:
    subprocess.run([sys.executable, "-m", "layerbench", "run", *JOB, "--output", folder], check=True)
    print(f"run {number + 1} of {runs}", file=sys.stderr, flush=True)
    return folder


def _windows(runs: int, a_side: int, pairs: int) -> list[int]:
    """The first run of each pair, spread evenly; each is one of BASE."""
    last = (runs - 2 * a_side) // 2
    return [2 * (last * pair // max(1, pairs - 1)) for pair in range(pairs)]


def _compared(base: Sequence[Path], new: Sequence[Path], pair: int, copies: Path) -> list[dict[str, Any]]:
    names = [layer.name for layer in store.load_manifest(base[0]).layers]
    slowed = frozenset(random.Random(pair).sample(names, len(names) // 2))
    planted = [_slowed(path, slowed, copies / path.name) for path in new]
    rows: list[dict[str, Any]] = []
    for kind, others, truth in (("A/A", new, frozenset[str]()), ("A/B", planted, slowed)):
        rows += _rows(compare(base, others, force=True), pair, len(base), kind, truth)
    return rows


def _slowed(path: Path, layers: frozenset[str], copied: Path) -> Path:
    """A copy of a run whose samples of these layers are longer."""
    run = store.load(path)
    store.create(copied, run.manifest)
    with Journal(copied) as journal:
        journal.append(
            [
                msgspec.structs.replace(record, samples=[SLOW_DOWN * sample for sample in record.samples])
                if record.layer in layers
                else record
                for record in run.records
            ]
        )
    return copied


def _rows(
    found: Comparison, pair: int, repetitions: int, kind: str, slowed: frozenset[str]
) -> Sequence[dict[str, Any]]:
    return [
        {
            "pair": pair,
            "kind": kind,
            "repetitions": repetitions,
            "layer": row.layer,
            "part": row.part,
            "slowed": row.layer in slowed,
            "ratio": row.ratio,
            "low": row.low,
            "high": row.high,
            "p_value": row.p_value,
            "verdict": row.verdict,
            "same_algorithm": row.base_algorithm == row.new_algorithm,
        }
        for row in found.rows
    ]


def _table(rows: Sequence[dict[str, Any]]) -> str:
    lines = [
        "| runs a side | part | A/A records | not same | slower or faster | median of \\|ratio - 1\\| "
        "| A/B slowed | found |",
        "|---:|---|---:|---:|---:|---:|---:|---:|",
    ]
    for a_side in dict.fromkeys(row["repetitions"] for row in rows):
        of_side = [row for row in rows if row["repetitions"] == a_side]
        for part in [*dict.fromkeys(row["part"] for row in of_side), "all"]:
            some = [row for row in of_side if part in (row["part"], "all")]
            alike = [row for row in some if row["kind"] == "A/A"]
            slowed = [row for row in some if row["slowed"]]
            spread = sorted(abs(row["ratio"] - 1) for row in alike)[len(alike) // 2]
            lines.append(
                f"| {a_side} | {part} | {len(alike)} | {1 - _share(alike, 'same'):.1%} "
                f"| {_share(alike, 'slower', 'faster'):.1%} | {spread:.1%} "
                f"| {len(slowed)} | {_share(slowed, 'slower'):.1%} |"
            )
    return "\n".join(lines) + "\n"


def _thirds(rows: Sequence[dict[str, Any]], pairs: int) -> str:
    """The same by when the runs were taken, because a shared machine is not equally steady all the time."""
    lines = [
        "",
        "| runs a side | pairs | A/A: not same | median of \\|ratio - 1\\| | A/B: found |",
        "|---:|---|---:|---:|---:|",
    ]
    for a_side in dict.fromkeys(row["repetitions"] for row in rows):
        for third in range(3):
            first, beyond = pairs * third // 3, pairs * (third + 1) // 3
            some = [row for row in rows if row["repetitions"] == a_side and first <= row["pair"] < beyond]
            alike, slowed = [row for row in some if row["kind"] == "A/A"], [row for row in some if row["slowed"]]
            spread = sorted(abs(row["ratio"] - 1) for row in alike)[len(alike) // 2]
            lines.append(
                f"| {a_side} | {first + 1} to {beyond} | {1 - _share(alike, 'same'):.1%} | {spread:.1%} "
                f"| {_share(slowed, 'slower'):.1%} |"
            )
    return "\n".join(lines) + "\n"


def _share(rows: Sequence[dict[str, Any]], *verdicts: str) -> float:
    counts = Counter(row["verdict"] for row in rows)
    assert counts.keys() <= set(VERDICTS)
    return sum(counts[verdict] for verdict in verdicts) / max(1, len(rows))


def _note(runs: int, pairs: int, repetitions: Sequence[int]) -> str:
    """Which pairs share runs, and so are not independent of one another."""
    lines = []
    for a_side in repetitions:
        windows = _windows(runs, a_side, pairs)
        overlap = any(two - one < 2 * a_side for one, two in pairwise(windows))
        lines.append(f"{a_side} a side: {'pairs overlap and share runs' if overlap else 'no two pairs share a run'}")
    return (
        f"\n{runs} runs of one job, one after another, alternately taken as BASE and NEW; {pairs} pairs of successive "
        f"runs of each kind ({'; '.join(lines)}). A/B: a random half of the layers {SLOW_DOWN - 1:.0%} slower.\n"
    )
