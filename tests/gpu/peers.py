"""The step that times each layer and pass of the suite beside what its user would run instead, sample by sample."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from layerbench import registry
from layerbench.device import Device, Run
from layerbench.errors import UnavailableError
from layerbench.kernel import Kernel
from layerbench.layers import PASSES, AnyLayer
from layerbench.stats import interval, ratio_of
from tests.bench.turns import Timing, both_gradients, take_turns
from tests.gpu import here
from tests.gpu.here import Ready
from tests.gpu.job import Job, Once, given, write

OURS = "ours"

MIN_SAMPLES = 7


def main() -> None:
    job = given()
    once = Once(job)
    threads, _ = here.take()
    found: dict[str, Any] = {"dtype": job.dtype, "batch": job.batch, "peers": job.peers, "rows": [], "left_out": []}
    for layer in here.layers(job):
        if once.left <= 0:
            found["left_out"].append(f"{layer.name}: not reached in the time there was")
        elif layer.name in once.lost:
            found["left_out"].append(f"{layer.name}: {once.lost[layer.name]}")
        else:
            with once.trying(layer.name, "peers") as progress:
                rows, left_out = _layer(job, layer, threads, progress)
            found["rows"] += rows
            found["left_out"] += left_out
        write(job.figures, found)


def _layer(
    job: Job, layer: AnyLayer, threads: int, progress: Callable[[str], None]
) -> tuple[list[dict[str, Any]], list[str]]:
    """Rows of a layer, and who was left out of it and why."""
    tensors = here.operands(job, layer)
    ready: dict[str, Ready] = {}
    left_out: list[str] = []
    for name in (OURS, *job.peers):
        try:
            kernel = here.found(job, layer) if name == OURS else _peer(job, layer, name)
            ready[name] = here.ready(job, kernel, layer, tensors, threads, progress)
            _see_that_device_is_ours(ready, name)
        except Exception as error:
            ready.pop(name, None)
            left_out.append(f"{layer.name}, {name}: {here.one_line(error)}")
            if name == OURS:
                return [], left_out
        progress(f"{layer.name}: {name} is ready")
    rows = []
    for pass_ in PASSES:
        runs = {name: [of.prepared.run[pass_]] for name, of in ready.items() if pass_ in of.sound}
        left_out += [f"{layer.name} {pass_}, {name}: wrong result" for name in ready if name not in runs]
        progress(f"{layer.name}: {pass_}")
        if OURS in runs:
            rows.append(_row(job, layer, pass_, runs, ready))
    for name in job.peers:
        together = both_gradients({of: each.prepared for of, each in ready.items()}, name)
        if together is None:
            continue
        rows.append(_row(job, layer, "backward (both)", {of: together[of] for of in (OURS, name)}, ready))
        for row in rows:
            if row["pass"] in {"backward_data", "backward_weights"}:
                row["not_counted"].append(name)
    return rows, left_out


def _peer(job: Job, layer: AnyLayer, name: str) -> Kernel:
    kernel = registry.named(name)
    available = kernel.availability()
    refusal = kernel.supports(layer, job.dtype) if available.ok else available.reason  # type: ignore[arg-type]
    if refusal:
        raise UnavailableError(refusal)
    return kernel


def _see_that_device_is_ours(ready: Mapping[str, Ready], name: str) -> None:
    ours, theirs = (ready[of].kernel.device().name for of in (OURS, name))
    if ours != theirs:
        raise UnavailableError(f"it runs on {theirs}, not on {ours}")


def _row(
    job: Job, layer: AnyLayer, pass_: str, runs: Mapping[str, Sequence[Run]], ready: Mapping[str, Ready]
) -> dict[str, Any]:
    timings = {name: timed(ready[name].kernel.device(), calls) for name, calls in runs.items()}
    times = take_turns(timings, MIN_SAMPLES, job.max_time)
    medians = {name: interval(samples) for name, samples in times.items()}
    return {
        "layer": layer.name,
        "kind": layer.kind,
        "pass": pass_,
        "not_counted": [],
        "kernels": ready[OURS].kernel.name,
        "seconds": {name: here.plain(of) for name, of in medians.items()},
        "ratio": {name: here.plain(ratio_of(of, medians[OURS])) for name, of in medians.items() if name != OURS},
        "samples": len(times[OURS]),
    }


def timed(device: Device, calls: Sequence[Run]) -> Timing:
    """Times calls that belong together by their device's own clock."""
    return lambda repetitions: sum(device.time_parts(calls, repetitions))


if __name__ == "__main__":
    main()
