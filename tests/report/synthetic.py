"""Runs with made-up but plausible times, for tests of what is drawn and written from them."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from layerbench import hockney, store, suite
from layerbench.layers import AnyLayer
from layerbench.partition import global_batch, split
from layerbench.records import PARTS, Manifest, Network, Options, Part, Record, Scaling
from layerbench.stats import interval
from layerbench.store import StoredRun
from layerbench.task import Task, blank

NETWORK = Network(
    name="this-machine", alpha=1.6e-6, beta=1 / 3.8e9, source="fitted to an all-reduce sweep", residual=0.08
)

RATE = {"conv": 6e10, "fc": 2.2e10, "lstm": 2.5e10}
"""Multiply-accumulates a second."""

OVERHEAD = {"conv": 2e-4, "fc": 1e-3, "lstm": 1.5e-3}
"""Seconds of a pass that do not shrink with the batch."""


def _all_reduce_seconds(ranks: int, size: int) -> float:
    """By ring or recursive doubling, whatever else a network model may know: figures are compared with kept ones."""
    if ranks == 1:
        return 0.0
    kept = [one for one in hockney.algorithms("all_reduce", ranks) if one.name in ("ring", "recursive doubling")]
    return min(one.seconds(size, NETWORK.alpha, NETWORK.beta) for one in kept)


def options(nodes: Sequence[int], batch: int, scaling: Scaling = "strong", **changes: object) -> Options:
    return msgspec.convert(
        {
            "nodes": list(nodes),
            "batch": batch,
            "scaling": scaling,
            "dtype": "fp32",
            "kernels": "auto",
            "threads_per_rank": 1,
            "ranks_per_node": 1,
            "filter": "",
            "rel_error": 0.01,
            "max_time": 5.0,
            "max_samples": 10_000,
            "cache": "hot",
            "oversubscribe": False,
            "network": "this-machine",
            "launcher": "mpiexec",
            "launcher_args": "",
            "hosts": [],
            "timeout": 120.0,
            "seed": 0,
            **changes,
        },
        Options,
    )


def run(
    path: Path = Path("runs/alexnet"),
    nodes: Sequence[int] = (1, 2, 4, 8),
    measured: int = 2,
    batch: int = 16,
    scaling: Scaling = "strong",
    layers: Sequence[AnyLayer] | None = None,
    samples: int = 20,
    spread: float = 0.01,
    change: Callable[[Record], Record | None] = lambda record: record,
    **more_options: object,
) -> StoredRun:
    """A run of the alexnet suite, emulated above ``measured`` nodes.

    ``change`` may replace any record, or leave it out by returning None.
    """
    layers = list(suite.load("alexnet").layers) if layers is None else list(layers)
    chosen = options(nodes, batch, scaling, **more_options)
    manifest = Manifest(
        command="layerbench run --suite alexnet",
        suite="alexnet",
        suite_source="suites/alexnet.toml",
        layers=layers,
        options=chosen,
        environment={
            "hostname": "node17",
            "cpu_model": "AMD EPYC 7R13 Processor",
            "usable_core_count": 2,
            "caches": {"L1d": 32768, "L2": 524288, "L3": 33554432},
            "frequency_governor": None,
            "memory_total": 16 * 2**30,
            "libraries": {"numpy": "2.4.6", "onednn-cpu-gomp": "2023.2.0"},
        },
        network=NETWORK if max(nodes) > measured else None,
        start="2026-01-02T03:04:05+00:00",
        end="2026-01-02T03:06:07+00:00",
        outcome="finished",
    )
    generator = random.Random(17)
    made = [
        record(manifest, layer, part, count, measured, samples, spread, generator)
        for count in nodes
        for layer in layers
        for part in PARTS
    ]
    changed = [change(one) for one in made]
    return StoredRun(path, manifest, [one for one in changed if one is not None])


def stored(run: StoredRun) -> Path:
    """The folder of a run, written as a sweep writes it."""
    store.create(run.path, run.manifest)
    with store.Journal(run.path) as journal:
        journal.append(run.records)
    return run.path


def record(
    manifest: Manifest,
    layer: AnyLayer,
    part: Part,
    nodes: int,
    measured: int,
    samples: int,
    spread: float,
    generator: random.Random,
) -> Record:
    options = manifest.options
    batch = global_batch(options.batch, nodes, 1, options.scaling)
    local = split(batch, nodes)[0].batch
    emulated = nodes > measured
    one_pass = layer.macs(local) / RATE[layer.kind] + OVERHEAD[layer.kind]
    exchange = _all_reduce_seconds(nodes, 4 * layer.weights)
    passes = 3 if layer.backward_data_in_step else 2
    seconds = {"communication": exchange, "step": passes * one_pass + exchange}.get(part, one_pass)
    computed = part == "communication" and emulated
    task = Task(options, nodes, nodes, "emulated" if emulated else "measured", None)
    known = next(one for one in blank(task, layer) if one.part == part)
    drawn = [] if computed else [seconds * generator.lognormvariate(0, spread) for _ in range(samples)]
    return Record(
        layer=layer.name,
        kind=layer.kind,
        part=part,
        nodes=nodes,
        ranks=nodes,
        threads_per_rank=options.threads_per_rank,
        layout=known.layout,
        batch=batch,
        local_batch=known.local_batch,
        dtype=options.dtype,
        kernels="onednn",
        algorithm="" if part in ("communication", "step") else "brgconv:avx2",
        in_step=part != "backward_data" or layer.backward_data_in_step,
        placement="emulated" if emulated else "measured",
        network=NETWORK.name if emulated else "",
        samples=drawn,
        modelled_seconds=exchange if emulated and part in ("communication", "step") else None,
        rank_medians=[seconds] * nodes,
        ci_method=interval(drawn).method,
        noisy=bool(drawn) and interval(drawn).relative_half_width > options.rel_error,
        verified=None if part in ("communication", "step") else True,
        macs=known.macs,
        bytes=known.bytes,
        bytes_weights_reread=known.bytes_weights_reread,
    )


def failed(
    layer: str, nodes: int, reason: str = "wrong result: relative error 0.31, allowed 1e-05"
) -> Callable[[Record], Record]:
    """A ``change`` that makes a layer fail at one node count."""

    def change(record: Record) -> Record:
        if (record.layer, record.nodes) != (layer, nodes):
            return record
        return msgspec.structs.replace(
            record, status="failed", reason=reason, samples=[], rank_medians=[], modelled_seconds=None, ci_method="none"
        )

    return change
