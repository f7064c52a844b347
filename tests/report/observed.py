"""Runs of one small layer of each type with times that are chosen to the digit, to judge observations by."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from layerbench.layers import FC, LSTM, AnyLayer, Conv
from layerbench.records import Record, Scaling
from layerbench.report import tables
from layerbench.report.tables import Tables
from tests.report import synthetic

CONV = Conv(name="c", input=(10, 10), in_channels=2, out_channels=3, filter=(1, 1))
FULL = FC(name="f", in_features=8, out_features=4)
RECURRENT = LSTM(name="l", input_size=4, hidden_size=4, time_steps=5)
LAYERS: dict[str, AnyLayer] = {"conv": CONV, "fc": FULL, "lstm": RECURRENT}

Seconds = Mapping[int, float]
"""By node count."""


def tables_of(
    steps: Mapping[str, Seconds],
    exchanges: Mapping[str, Seconds] | None = None,
    width: float = 0.0,
    measured: int = 8,
    batch: int = 16,
    scaling: Scaling = "strong",
    path: Path = Path("runs/small"),
    change: Callable[[Record], Record | None] = lambda record: record,
) -> Tables:
    """A report on a run in which each type takes these seconds a step, and these of them for communication.

    The 95 % interval of each reaches ``width`` seconds to either side. A count at which a type has no seconds, and
    another has, failed.
    """
    counts = sorted({nodes for of_kind in steps.values() for nodes in of_kind})

    def timed(record: Record) -> Record | None:
        seconds = steps[record.kind].get(record.nodes)
        if seconds is None:
            return change(synthetic.failed(record.layer, record.nodes)(record))
        if record.part == "communication":
            seconds = (exchanges or {}).get(record.kind, {}).get(record.nodes, 0.0)
        # Of six samples the least and the largest are the ends of the interval.
        samples = [max(0.0, seconds - width), seconds, seconds, seconds, seconds, seconds + width]
        if record.part == "communication" and record.placement == "emulated":
            samples = []
        return change(msgspec.structs.replace(record, samples=samples, modelled_seconds=seconds, noisy=False))

    layers = [LAYERS[kind] for kind in steps]
    run = synthetic.run(path, counts, measured, batch, scaling, layers, change=timed)
    return tables.of_run(run)


def noisy(layer: str, nodes: int, part: str = "step") -> Callable[[Record], Record]:
    """A ``change`` that marks one record."""

    def change(record: Record) -> Record:
        return msgspec.structs.replace(record, noisy=record.noisy or record.key == (layer, part, nodes))

    return change
