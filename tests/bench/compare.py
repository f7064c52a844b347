"""A/A: the same run again and again, taking turns, and how many records come out as anything but the same.

Then A/B: one side's samples of a random half of the layers made a tenth longer, and how many of those are found.
"""

from __future__ import annotations

import random
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from layerbench import store
from layerbench.compare import Comparison, compare
from layerbench.compare.verdict import VERDICTS
from layerbench.store import Journal, StoredRun

JOB = (
    *("--suite", "alexnet", "--filter", "conv3,conv5,fc7,fc8,lstm", "--batch", "4", "--nodes", "1,2"),
    *("--max-time", "0.5", "--threads-per-rank", "1", "--quiet"),
)
PAIRS = 20
REPETITIONS = 3
SLOW_DOWN = 1.10


def measure(pairs: int = PAIRS) -> tuple[dict[str, Any], str]:
    """Verdicts of single runs and of repetitions, with and without a planted slow-down, and their table."""
    rows: list[dict[str, Any]] = []
    for number in range(pairs):
        with tempfile.TemporaryDirectory() as folder:
            base, new = _in_turns(Path(folder))
            slowed = _slowed_layers(base[0], number)
            planted = [_slowed(path, slowed) for path in new]
            kinds = (("A/A", new, frozenset[str]()), ("A/B", planted, slowed))
            for repetitions in (1, REPETITIONS):
                for name, others, truth in kinds:
                    found = compare(base[:repetitions], others[:repetitions], force=True)
                    rows += _rows(found, number, repetitions, name, truth)
        print(f"pair {number + 1} of {pairs}", file=sys.stderr, flush=True)
    return {"job": list(JOB), "slow_down": SLOW_DOWN, "rows": rows}, _table(rows)


def _in_turns(folder: Path) -> tuple[list[Path], list[Path]]:
    """Run folders of both sides, measured as ABABAB."""
    sides: tuple[list[Path], list[Path]] = ([], [])
    for repetition in range(REPETITIONS):
        for name, side in zip("ab", sides, strict=True):
            path = folder / name / str(repetition)
            subprocess.run([sys.executable, "-m", "layerbench", "run", *JOB, "--output", path], check=True)
            side.append(path)
    return sides


def _slowed_layers(run: Path, seed: int) -> frozenset[str]:
    names = [layer.name for layer in store.load_manifest(run).layers]
    return frozenset(random.Random(seed).sample(names, len(names) // 2))


def _slowed(path: Path, layers: frozenset[str]) -> Path:
    """A copy of a run whose samples of these layers are longer."""
    run = store.load(path)
    copied = path.parent.parent / "slowed" / path.name
    store.create(copied, run.manifest)
    with Journal(copied) as journal:
        journal.append(_longer(run, layers))
    return copied


def _longer(run: StoredRun, layers: frozenset[str]) -> list[Any]:
    return [
        msgspec.structs.replace(record, samples=[SLOW_DOWN * sample for sample in record.samples])
        if record.layer in layers
        else record
        for record in run.records
    ]


def _rows(
    found: Comparison, pair: int, repetitions: int, name: str, slowed: frozenset[str]
) -> Sequence[dict[str, Any]]:
    return [
        {
            "pair": pair,
            "kind": name,
            "repetitions": repetitions,
            "layer": row.layer,
            "part": row.part,
            "nodes": row.nodes,
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
        f"| runs a side | records | true ratio | number | {' | '.join(VERDICTS)} | median of \\|ratio / true - 1\\| |",
        f"|---:|---|---:|---:|{'---:|' * len(VERDICTS)}---:|",
    ]
    for repetitions in (1, REPETITIONS):
        for kind, slowed in (("A/A", False), ("A/B", False), ("A/B", True)):
            which = (repetitions, kind, slowed)
            some = [row for row in rows if (row["repetitions"], row["kind"], row["slowed"]) == which]
            if not some:
                continue
            true = SLOW_DOWN if slowed else 1.0
            counts = Counter(row["verdict"] for row in some)
            shares = " | ".join(f"{counts[verdict] / len(some):.1%}" for verdict in VERDICTS)
            spread = sorted(abs(row["ratio"] / true - 1) for row in some)[len(some) // 2]
            told = {("A/A", False): "A/A", ("A/B", False): "A/B, untouched", ("A/B", True): "A/B, slowed"}[kind, slowed]
            lines.append(f"| {repetitions} | {told} | {true:.2f} | {len(some)} | {shares} | {spread:.1%} |")
    return "\n".join(lines) + "\n"
