"""The step that times six kernels by another harness too, in the same process, on the same stream."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from layerbench.layers import AnyLayer, Pass
from layerbench.stats import median
from tests.gpu import harnesses, here
from tests.gpu.here import Ready
from tests.gpu.job import Job, Once, given, say, write
from tests.gpu.peers import timed

WANTED: tuple[tuple[str, str, Pass], ...] = (
    ("conv", "conv2", "forward"),
    ("conv", "conv4", "backward_weights"),
    ("fc", "fc6", "forward"),
    ("fc", "fc8", "backward_weights"),
    ("lstm", "lstm", "forward"),
    ("lstm", "lstm", "backward_data"),
)
"""Kind, name and pass; of a suite that has no layer of that name, the first of that kind."""

SAMPLES = 15


def main() -> None:
    job = given()
    once = Once(job)
    threads, _ = here.take()
    found: dict[str, Any] = {"dtype": job.dtype, "harness": "", "reasons": [], "rows": []}
    ready: dict[str, Ready] = {}
    for layer in dict.fromkeys(layer.name for layer, _ in chosen(here.layers(job))):
        if layer in once.lost:
            found["reasons"].append(f"{layer}: {once.lost[layer]}")
            continue
        shape = next(each for each in here.layers(job) if each.name == layer)
        with once.trying(layer, "preparing") as progress:
            try:
                ready[layer] = _prepared(job, shape, threads, progress)
            except Exception as error:
                found["reasons"].append(f"{layer}: {here.one_line(error)}")
    calls = {
        (layer.name, pass_): ready[layer.name]
        for layer, pass_ in chosen(here.layers(job))
        if layer.name in ready and pass_ in ready[layer.name].sound
    }
    if not calls:
        write(job.figures, found)
        return
    ours = {key: _ours(of, key[1]) for key, of in calls.items()}
    write(job.figures, found)
    say("timed by layerbench; now by another harness")
    named = {f"{layer} {pass_}": of.prepared.run[pass_] for (layer, pass_), of in calls.items()}
    device = next(iter(calls.values())).kernel.device().name
    trying = partial(once.trying, what="timing by it")
    found["harness"], reasons, theirs = harnesses.times(named, device, once.lost, trying)
    found["reasons"] += reasons
    found["rows"] = [
        {"layer": layer, "pass": pass_, "cache": cache, "ours": ours[layer, pass_][cache], "theirs": seconds}
        for layer, pass_ in calls
        for cache, seconds in theirs.get(f"{layer} {pass_}", {}).items()
    ]
    write(job.figures, found)


def _prepared(job: Job, layer: AnyLayer, threads: int, progress: Callable[[str], None]) -> Ready:
    return here.ready(job, here.found(job, layer), layer, here.operands(job, layer), threads, progress)


def chosen(layers: Sequence[AnyLayer]) -> list[tuple[AnyLayer, Pass]]:
    """Layers and passes that are checked, each once."""
    found: list[tuple[AnyLayer, Pass]] = []
    for kind, name, pass_ in WANTED:
        of_kind = [layer for layer in layers if layer.kind == kind]
        layer = next((layer for layer in of_kind if layer.name == name), of_kind[0] if of_kind else None)
        if layer is not None and (layer, pass_) not in found:
            found.append((layer, pass_))
    return found


def _ours(of: Ready, pass_: Pass) -> dict[str, float]:
    """Medians with hot and with cold caches, in seconds."""
    device, call = of.kernel.device(), of.prepared.run[pass_]
    hot = timed(device, [call])
    hot(1)
    repetitions = max(1, round(1e-3 / max(hot(1), 1e-9)))
    return {
        "hot": median([hot(repetitions) for _ in range(SAMPLES)]),
        "cold": median([device.time_parts([call], 1, device.flush_cache)[0] for _ in range(SAMPLES)]),
    }


if __name__ == "__main__":
    main()
