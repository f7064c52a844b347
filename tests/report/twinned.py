"""Runs for tests of the twins: with a measured roofline, with marks, and several of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from layerbench import suite
from layerbench.layers import FC, LSTM
from layerbench.records import Record, Roofline
from layerbench.report import tables, twins
from layerbench.report.columns import of_records
from layerbench.report.tables import Tables
from layerbench.report.twins import Twin
from layerbench.store import StoredRun
from tests.report import synthetic

ALEXNET = suite.load("alexnet").layers

ROOFLINE = Roofline(
    device="host",
    dtype="fp32",
    threads=1,
    flops=130e9,
    bandwidth=18e9,
    flops_source="the fastest of 3 products",
    bandwidth_source="a triad over 256 MiB",
)


def run(roofline: Roofline | None = ROOFLINE, **options: Any) -> StoredRun:
    """A made-up run with ceilings."""
    made = synthetic.run(**options)
    return StoredRun(made.path, msgspec.structs.replace(made.manifest, roofline=roofline), made.records)


def of(*runs: StoredRun) -> Tables:
    """The frames of one run or of several."""
    return tables.compute([of_records(one.path, one.manifest, one.records) for one in runs])


def drawn(computed: Tables) -> dict[str, Twin]:
    """Every figure by name."""
    return {twin.name: twin for twin in twins.draw_all(computed)}


def in_turn(*changes: Callable[[Record], Record]) -> Callable[[Record], Record]:
    """Several changes of a record, one after another."""

    def change(record: Record) -> Record:
        for one in changes:
            record = one(record)
        return record

    return change


def marked(record: Record) -> Record:
    """Noisy, and of two modes: fc7 at 2 nodes; throttled: lstm at 4; nothing else."""
    noisy = (record.layer, record.nodes) == ("fc7", 2)
    two_modes = [sample * (1.06 if index % 3 == 0 else 1.0) for index, sample in enumerate(record.samples)]
    return msgspec.structs.replace(
        record,
        samples=two_modes if noisy else record.samples,
        noisy=noisy,
        throttled=(record.layer, record.nodes) == ("lstm", 4),
    )


def several() -> Tables:
    """Five runs that differ in all that runs can differ in."""
    return of(
        run(path=Path("r/a")),
        run(None, path=Path("r/b"), nodes=[2, 4, 8, 16], measured=4, change=synthetic.failed("fc6", 2)),
        run(
            msgspec.structs.replace(ROOFLINE, dtype="bf16", flops=240e9),
            path=Path("r/c"),
            dtype="bf16",
            scaling="weak",
            batch=32,
            spread=0.04,
            change=marked,
        ),
        run(None, path=Path("r/d"), dtype="bf16", batch=64, layers=ALEXNET[:6]),
        run(path=Path("r/e"), batch=64, measured=8),
    )


CASES: dict[str, Callable[[], Tables]] = {
    "usual": lambda: of(run()),
    "one count": lambda: of(run(nodes=[1])),
    "one emulated count": lambda: of(run(nodes=[4])),
    "failures": lambda: of(run(change=in_turn(marked, synthetic.failed("conv3", 4), synthetic.failed("fc6", 1)))),
    "a type failed everywhere": lambda: of(
        run(change=in_turn(*(synthetic.failed("fc7", nodes) for nodes in (1, 2, 4, 8))))
    ),
    "twelve counts, weak": lambda: of(
        run(nodes=[1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64], measured=4, scaling="weak", spread=0.05)
    ),
    "close counts": lambda: of(run(nodes=[1, 30, 31, 32])),
    "one layer, batch 1": lambda: of(run(nodes=[1], batch=1, layers=ALEXNET[-1:])),
    "few samples": lambda: of(run(samples=3)),
    "sixty layers": lambda: of(
        run(layers=[LSTM(name=f"l{i}", input_size=64, hidden_size=64 + i, time_steps=9) for i in range(60)])
    ),
    "long names": lambda: of(
        run(layers=[FC(name=f"{'decoder_' * 7}{i}", in_features=100 * i + 100, out_features=900) for i in range(14)])
    ),
    "two runs": lambda: of(run(path=Path("r/a")), run(path=Path("r/b"), measured=4, spread=0.03)),
    "five runs": several,
}
