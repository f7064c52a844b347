"""The step that times the whole suite in one dtype, in every way in which a call can be timed.

Each way is a run of its own, measured as ``layerbench run`` measures it, but in one process, so that algorithms are
searched for once and the roofline is measured once.
"""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Any

import msgspec

from layerbench import environment, measure, roofline, store, suite, sweep
from layerbench.collectives import OneRank
from layerbench.errors import LayerbenchError
from layerbench.layers import PASSES, AnyLayer
from layerbench.records import Cache, Manifest, Options, Record, Roofline
from layerbench.stats import interval
from layerbench.task import Task, without_result
from tests.gpu import here
from tests.gpu.job import RUNS, Job, Once, given, say, write

WAYS: dict[str, tuple[Cache, bool]] = {
    "hot": ("hot", False),
    "graph hot": ("hot", True),
    "cold": ("cold", False),
    "graph cold": ("cold", True),
}
"""Cache, and whether calls are replayed from a graph. What matters most comes first."""


def main() -> None:
    job = given()
    once = Once(job)
    threads, devices = here.take()
    layers = here.layers(job)
    found: dict[str, Any] = {"dtype": job.dtype, "batch": job.batch, "roofline": None, "ways": {}, "rows": []}
    ceiling: Roofline | None = None
    for way, (cache, graph) in WAYS.items():
        options = here.options(job, threads, devices, cache, graph=graph)
        told = found["ways"][way] = {"run": f"{RUNS}/{folder_of(job, way)}", "reason": ""}
        if graph and (refusal := _refusal(job, layers)):
            told["reason"] = refusal
            continue
        if once.left <= 0:
            told["reason"] = "not reached in the time there was"
            continue
        run = _Run(job, job.folder / told["run"], options, layers, ceiling)
        for layer in layers:
            if once.left <= 0:
                told["reason"] = "not all layers were reached in the time there was"
                break
            records = run.of(layer, way, once)
            found["rows"] += [_row(record, way) for record in records if record.part in PASSES]
            write(job.figures, found)
        if ceiling is None and once.left > 0 and way == "hot":
            ceiling = _ceiling(run, options, layers, once)
            found["roofline"] = None if ceiling is None else _told(ceiling)
        run.close(ceiling, complete=not told["reason"])
        write(job.figures, found)
    write(job.figures, found)


def folder_of(job: Job, way: str) -> str:
    """Name of the run folder of a way of timing."""
    return f"{job.dtype}-{way.replace(' ', '-')}"


def once_more(job: Job, once: Once, name: str, layers: list[AnyLayer], threads: int, devices: int) -> Path:
    """Measure the suite with hot caches into a run folder of this name; returns the folder."""
    run = _Run(job, job.folder / RUNS / name, here.options(job, threads, devices), layers, None)
    for layer in layers:
        if once.left <= 0:
            break
        run.of(layer, "hot", once)
    run.close(None, complete=once.left > 0)
    return run.path


class _Run:
    """A run folder, new or taken up again after its process was lost."""

    def __init__(self, job: Job, path: Path, options: Options, layers: list[AnyLayer], ceiling: Roofline | None):
        self.path = path
        loaded = suite.load(job.suite)
        self._manifest = Manifest(
            command=shlex.join(["python", "-m", "tests.gpu.sweeps", *sys.argv[1:]]),
            suite=loaded.name,
            suite_source=loaded.source,
            layers=layers,
            options=options,
            environment=environment.capture(),
            roofline=ceiling,
            start=sweep.now(),
        )
        self._task = Task(options, 1, 1, "measured", None)
        self._known: dict[str, list[Record]] = {}
        if path.exists():
            stored = store.load(path)
            self._manifest = msgspec.structs.replace(stored.manifest, roofline=stored.manifest.roofline or ceiling)
            for record in stored.records:
                self._known.setdefault(record.layer, []).append(record)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            store.create(path, self._manifest)

    @property
    def ceiling(self) -> Roofline | None:
        return self._manifest.roofline

    def of(self, layer: AnyLayer, way: str, once: Once) -> list[Record]:
        """Records of a layer: those that are there already, or measured now."""
        if layer.name in self._known:
            return self._known[layer.name]
        if layer.name in once.lost:
            records = without_result(self._task, layer, "failed", once.lost[layer.name])
        else:
            with once.trying(layer.name, way) as progress:
                try:
                    records = measure.measure(self._task, layer, OneRank(), progress)
                except Exception as error:
                    records = without_result(self._task, layer, "failed", here.one_line(error))
        with store.Journal(self.path) as journal:
            journal.append(records)
        return records

    def close(self, ceiling: Roofline | None, *, complete: bool) -> None:
        """Say in the manifest how it ended."""
        outcome = "complete" if complete else "ended: its time was over"
        changed = {"end": sweep.now(), "outcome": outcome, "roofline": ceiling or self.ceiling}
        store.write_manifest(self.path, msgspec.structs.replace(self._manifest, **changed))


def _refusal(job: Job, layers: list[AnyLayer]) -> str:
    """Why the device cannot replay calls from a graph; empty where it can."""
    reason = ""
    for layer in layers:
        try:
            here.found(job, layer).device().replayed()
            return ""
        except LayerbenchError as error:
            reason = reason or here.one_line(error)
    return reason


def _ceiling(run: _Run, options: Options, layers: list[AnyLayer], once: Once) -> Roofline | None:
    if run.ceiling is not None:
        return run.ceiling
    if "roofline" in once.lost:
        return None
    with once.trying("roofline", "ceilings") as progress:
        try:
            return roofline.measure(options, layers, progress)
        except Exception as error:
            say(f"no roofline: {here.one_line(error)}")
            return None


def _told(ceiling: Roofline) -> dict[str, Any]:
    names = ("device", "threads", "flops", "bandwidth", "flops_source", "bandwidth_source", "reason")
    return {name: getattr(ceiling, name) for name in names}


_FIELDS = (
    *("layer", "kind", "status", "reason", "kernels", "device", "algorithm", "workspace_bytes", "candidates"),
    *("macs", "bytes", "inner", "noisy", "throttled", "retaken", "energy_joules", "launch_seconds", "relative_error"),
)


def _row(record: Record, way: str) -> dict[str, Any]:
    """A record as it is told: its own fields, the way it was timed in, the median of its samples and its interval."""
    row = {name: getattr(record, name) for name in _FIELDS}
    row |= {"pass": record.part, "way": way, "seconds": None, "samples": len(record.samples), "conditions": None}
    if record.samples:
        row["seconds"] = here.plain(interval(record.samples))
    if record.conditions:
        row["conditions"] = msgspec.to_builtins(record.conditions[-1])
    return row


if __name__ == "__main__":
    main()
