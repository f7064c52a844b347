"""Runs whose true times, noise and variation between runs are known, for tests of what a comparison finds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import numpy as np

from layerbench import store
from layerbench.compare.match import Pair
from layerbench.compare.side import BASE, NEW, Side
from layerbench.compare.statistics import Values
from layerbench.records import Record
from layerbench.store import Journal, StoredRun
from tests.report import synthetic

Factor = Callable[[Record], float]


def unchanged(record: Record) -> float:
    return 1.0


TRUTH = synthetic.run(nodes=(1, 2), measured=2, samples=3, spread=0.0)
"""90 records, 81 of which have a time to test: the communication of one rank has none."""


def run(
    seed: int,
    noise: float = 0.01,
    samples: int = 20,
    between: float = 0.0,
    factor: Factor = unchanged,
    truth: StoredRun = TRUTH,
    name: str = "run",
) -> StoredRun:
    """A run whose samples are lognormal about the truth, times a factor of its own for each record."""
    generator = np.random.default_rng(seed)
    records = []
    for record in truth.records:
        center = generator.lognormal(0.0, between) * factor(record)
        drawn = generator.lognormal(0.0, noise, samples) * center * (record.samples[0] if record.samples else 0.0)
        records.append(msgspec.structs.replace(record, samples=drawn.tolist() if record.samples else []))
    manifest = msgspec.structs.replace(truth.manifest, start=f"2026-01-02T03:04:{seed % 60:02d}+00:00")
    return StoredRun(Path(name), manifest, records)


def sides(
    seed: int, repetitions: int = 1, factor: Factor = unchanged, noise: float = 0.01, **options: float
) -> tuple[Side, Side]:
    """Repetitions of one run, and of the same with its records' times multiplied by a factor, taken in turns."""
    seeds = [1000 * seed + number for number in range(2 * repetitions)]
    base = [run(s, noise=noise, **options) for s in seeds[::2]]
    new = [run(s, noise=noise, factor=factor, **options) for s in seeds[1::2]]
    return Side(BASE, base, []), Side(NEW, new, [])


def write(path: Path, runs: Sequence[StoredRun]) -> Path:
    """Run folders on disk: the run itself, or a folder of its repetitions."""
    for number, one in enumerate(runs):
        folder = path if len(runs) == 1 else path / str(number + 1)
        store.create(folder, one.manifest)
        with Journal(folder) as journal:
            journal.append(one.records)
    return path


def half(seed: int, by: float) -> Factor:
    """A slow-down of a random half of the records."""
    keys = [record.key for record in TRUTH.records if record.samples and record.samples[0] > 0]
    chosen = {keys[i] for i in np.random.default_rng(seed).permutation(len(keys))[: len(keys) // 2]}
    return lambda record: by if record.key in chosen else 1.0


def pair(base: Values, new: Values) -> Pair:
    """One record with these samples on each side."""
    record = TRUTH.records[0]
    return Pair(record, record, {0: base}, {0: new}, ["a"], ["a"], ["onednn"], ["onednn"])
