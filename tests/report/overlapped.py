"""Made-up but plausible measurements of overlap, for tests of what is drawn and written from them."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import msgspec

from layerbench.overlap_records import Mode, OneMode, Overlap, Row, StepTimeline, TimedSpan
from layerbench.report import overlap_rows
from layerbench.report.tables import Tables

LAYERS = ("conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "fc8", "lstm")
"""Of the alexnet suite."""

_COSTS = (9.0, 14.0, 8.0, 10.0, 7.0, 4.5, 2.0, 0.6, 12.0)
"""Milliseconds of a forward pass."""


def row(
    transfer: float, compute: float, communication: float = 0.0, eta: float = 0.9, nodes: int = 1, **changes: Any
) -> Row:
    """A row of these stages in implicit mode, of whose possible gain a part was gained."""
    implicit = transfer + compute + communication
    longest = max(transfer, compute, communication)
    explicit = implicit - eta * (implicit - longest)
    waited = max(0.0, explicit - compute)
    brought = min(transfer, waited if not communication else 0.1 * waited)
    return msgspec.structs.replace(
        Row(
            nodes=nodes,
            ranks=nodes,
            placement="measured",
            implicit_seconds=implicit,
            explicit_seconds=explicit,
            speedup=implicit / explicit,
            attainable=implicit / longest,
            eta=eta if implicit > longest else None,
            implicit_low=implicit * 0.992,
            implicit_high=implicit * 1.009,
            explicit_low=explicit * 0.985,
            explicit_high=explicit * 1.012,
            speedup_low=implicit / explicit * 0.98,
            speedup_high=implicit / explicit * 1.025,
            ratio=transfer / compute,
            batch=64,
            transfer_seconds=transfer,
            compute_seconds=compute,
            communication_seconds=communication,
            exposed_transfer_seconds=brought,
            exposed_communication_seconds=min(communication, waited - brought),
            identical=True,
        ),
        **changes,
    )


def steps(counts: Sequence[int] = (1, 2, 4, 8), measured: int = 2) -> list[Row]:
    """The training step of a suite: transfer and computation shrink with the nodes, communication does not."""
    rows = []
    for nodes in counts:
        emulated: dict[str, Any] = {"placement": "emulated", "network": "this-machine", "identical": None}
        rows.append(
            row(
                0.061 / nodes,
                0.219 / nodes + 0.004,
                0.0 if nodes == 1 else 0.052 + 0.006 * nodes,
                0.93 - 0.05 * nodes / counts[-1],
                nodes,
                workload="training step",
                **(emulated if nodes > measured else {}),
            )
        )
    return rows


def sweep(
    ratios: Sequence[float] = (0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.67, 2.5, 5.0, 10.0), **changes: Any
) -> list[Row]:
    """Two stages at these ratios."""
    draw = random.Random(5)
    return [row(0.02 * ratio, 0.02, eta=0.96 - 0.25 * draw.random(), **changes) for ratio in ratios]


def timeline(
    mode: Mode, nodes: int = 2, count: int = 8, casts: int = 1, pieces: int = 4, scale: float = 1.0
) -> StepTimeline:
    """Steps of a rank: one stage after another, or side by side with slots for three batches."""
    spans: list[TimedSpan] = []
    now = 0.0
    ready = [0.0] * count
    free = {"read 0": 0.0} | {f"cast {index}": 0.0 for index in range(casts)}

    def bring(step: int, begin: float) -> float:
        ends = []
        for piece in range(pieces):
            start = max(begin, free["read 0"])
            free["read 0"] = start + 0.018 / pieces
            spans.append(TimedSpan("read 0", "read", start, free["read 0"], step))
            worker = f"cast {piece % casts}"
            cast = max(free["read 0"], free[worker])
            free[worker] = cast + 0.031 / pieces
            spans.append(TimedSpan(worker, "cast", cast, free[worker], step))
            ends.append(free[worker])
        spans.append(TimedSpan("transfer", "transfer", max(ends), max(ends) + 0.012, step))
        return max(ends) + 0.012

    over: list[float] = []
    for step in range(count):
        if mode == "implicit":
            now = bring(step, now)
        else:
            for ahead in range(step, min(count, step + 3)):
                if not ready[ahead]:
                    ready[ahead] = bring(ahead, over[ahead - 3] if ahead >= 3 else 0.0)
            now = max(now, ready[step])
        exchanges: list[TimedSpan] = []
        for layer, cost in zip(LAYERS, _COSTS, strict=True):
            spans.append(TimedSpan("compute", f"{layer} forward", now, now + cost / 1e3, step))
            now += cost / 1e3
        for layer, cost in reversed(list(zip(LAYERS, _COSTS, strict=True))):
            spans.append(TimedSpan("compute", f"{layer} backward_weights", now, now + cost / 1e3, step))
            now += cost / 1e3
            if mode == "explicit" and layer in ("lstm", "fc6", "conv1"):
                begin = now if not exchanges else max(now, exchanges[-1].start + 0.02)
                exchanges.append(TimedSpan("communication", f"bucket {len(exchanges)}", begin, begin + 0.024, step))
            if layer != "conv1":
                spans.append(TimedSpan("compute", f"{layer} backward_data", now, now + cost / 1e3, step))
                now += cost / 1e3
        if mode == "implicit":
            for layer in LAYERS:
                spans.append(TimedSpan("communication", layer, now, now + 0.006, step))
                now += 0.006
        else:
            spans += exchanges
            now = max(now, exchanges[-1].stop)
        over.append(now)
    scaled = [TimedSpan(s.lane, s.name, s.start * scale, s.stop * scale, s.step) for s in spans]
    return StepTimeline(nodes=nodes, mode=mode, spans=scaled)


def overlap(
    rows: Sequence[Row] | None = None, timelines: Sequence[StepTimeline] | None = None, **changes: Any
) -> Overlap:
    """What a command measures of the alexnet suite."""
    known = Overlap(
        rows=[*steps(), *sweep()] if rows is None else list(rows),
        timelines=[timeline("implicit"), timeline("explicit")] if timelines is None else list(timelines),
        command="layerbench overlap --suite alexnet --nodes 1,2,4,8",
        suite="alexnet",
        source="synthetic",
        device="AMD EPYC 7R13 Processor",
        dtype="fp32",
        depth=3,
        workers=2,
        threads_per_rank=1,
        spare_cores=1,
        bucket_bytes=25 * 2**20,
        progress="calls",
        notes=["Two ranks share two cores: communication has no core of its own."],
    )
    return msgspec.structs.replace(known, **changes)


def marked() -> Overlap:
    """Rows with every mark: noisy, oversubscribed, emulated, and of different results."""
    rows = steps()
    rows[1] = msgspec.structs.replace(rows[1], noisy=True, oversubscribed=True)
    rows[2] = msgspec.structs.replace(rows[2], noisy=True)
    rows[0] = msgspec.structs.replace(rows[0], identical=False)
    found = sweep()
    found[2] = msgspec.structs.replace(found[2], noisy=True, speedup_low=1.1, speedup_high=1.6)
    found[5] = msgspec.structs.replace(found[5], placement="emulated", network="this-machine")
    found[8] = msgspec.structs.replace(found[8], identical=False)
    found[0] = msgspec.structs.replace(found[0], eta=-3.0, speedup=0.8, speedup_low=0.7, speedup_high=0.9)
    found[-1] = msgspec.structs.replace(found[-1], eta=1.9)
    return overlap([*rows, *found])


HOSTILE = "</script><b>x\x1b[2J\r\n$y_1$ `|` &amp; \u202e"


def hostile() -> Overlap:
    """Names that would be markup, mathematics or control characters if they were taken for it."""
    spans = [TimedSpan(HOSTILE, HOSTILE, 0.0, 0.4, 0), TimedSpan("compute", f"{HOSTILE} forward", 0.3, 1.0, 0)]
    rows = [
        row(1.0, 2.0, workload="training step", network=HOSTILE, placement="emulated"),
        row(1.0, 2.0, network=HOSTILE, placement="emulated"),
    ]
    names = dict.fromkeys(("suite", "source", "device", "dtype", "progress", "command"), HOSTILE)
    return overlap(rows, [StepTimeline(nodes=1, mode="explicit", spans=spans)], notes=[HOSTILE], **names)


MINIMAL = Row(
    nodes=1,
    placement="measured",
    implicit_seconds=0.017,
    explicit_seconds=0.010,
    speedup=1.7,
    attainable=1.9,
    eta=0.87,
)
"""No more than a file must have."""


ONE_MODE = [
    OneMode(nodes=1, placement="measured", mode="explicit", seconds=0.2, low=0.19, high=0.21, batch=64, noisy=True),
    OneMode(
        nodes=2,
        placement="emulated",
        mode="explicit",
        seconds=0.1,
        low=0.09,
        high=0.11,
        batch=64,
        transfer_seconds=0.004,
        communication_seconds=0.02,
        network="this-machine",
    ),
]


def strange() -> list[StepTimeline]:
    """Timelines as no machine makes them: spans backwards, of no step, under way together, in any order."""
    draw = random.Random(7)
    lanes = ("read 0", "read 11", "decode 3", "compute", "communication", "transfer 1", "", "compute 2 3", "x" * 90)
    spans = [
        TimedSpan(
            draw.choice(lanes), draw.choice(("forward", "", "conv1 backward_data")), start, stop, draw.randrange(-1, 9)
        )
        for start, stop in ((draw.random() * 3, draw.random() * 3) for _ in range(120))
    ]
    return [
        StepTimeline(nodes=1, mode="implicit", spans=spans),
        StepTimeline(nodes=1, mode="explicit", spans=spans[:5]),
    ]


def put_into(computed: Tables, *overlaps: Overlap | None) -> Tables:
    """The tables of runs as they would be if their folders held these."""
    named = {label: found for label, found in zip(computed.runs, overlaps, strict=True) if found is not None}
    return replace(computed, overlaps=named, overlap=overlap_rows.frame(named.values()).assign(run="a"))


CASES: dict[str, Callable[[], Overlap]] = {
    "usual": overlap,
    "every mark": marked,
    "one row": lambda: overlap(steps((1,)), []),
    "no sweep": lambda: overlap(steps()),
    "no step": lambda: overlap(sweep(), []),
    "sweep of several counts": lambda: overlap([*sweep(), *sweep((0.5, 1.0, 2.0), nodes=2), *sweep((1.0,), nodes=4)]),
    "minimal": lambda: Overlap(rows=[MINIMAL]),
    "minimal step": lambda: Overlap(rows=[msgspec.structs.replace(MINIMAL, workload="training step")]),
    "nothing": lambda: Overlap(rows=[]),
    "many counts": lambda: overlap(
        steps([1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024])
    ),
    "one mode": lambda: overlap([], [timeline("explicit")], one_mode=ONE_MODE),
    "transfer on two cores": lambda: overlap(
        [
            msgspec.structs.replace(one, attainable=(1 + ratio) / max(ratio / 2, 1.0))
            for one in sweep()
            for ratio in (one.ratio or 0.0,)
        ]
    ),
    "emulated timeline": lambda: overlap(steps(measured=1), [timeline("implicit"), timeline("explicit")]),
    "many lanes": lambda: overlap(
        [], [timeline("implicit", casts=24, pieces=48), timeline("explicit", casts=24, pieces=48)]
    ),
    "long and slow": lambda: overlap(
        [], [timeline("implicit", count=40, scale=1e3), timeline("explicit", count=40, scale=1e3)]
    ),
    "two quick steps": lambda: overlap(
        [], [timeline("implicit", count=2, scale=1e-4), timeline("explicit", count=2, scale=1e-4)]
    ),
    "slower with overlap": lambda: overlap(
        [row(0.01, 0.04, eta=-2.5, workload="training step"), row(0.01, 0.04, eta=-2.5)], []
    ),
    "hostile names": hostile,
    "strange spans": lambda: overlap([], strange()),
    "extreme ratios": lambda: overlap(
        [row(0.02 * ratio, 0.02, workload="ratio sweep") for ratio in (0.0, 1e-9, 2e-4, 1.0, 5e3, 1e9)], []
    ),
}
