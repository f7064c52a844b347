"""One layer at one node count: from its shape to its records.

The path of one number runs through here: shard, kernel, search, verification, samples, record. Every rank runs the same
lines; records are made on rank 0.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import msgspec

from layerbench import kernel as kernels
from layerbench import verify
from layerbench.collectives import Ranks, agreed
from layerbench.device import Device, Run
from layerbench.errors import LayerbenchError, OutOfMemoryError, UnavailableError
from layerbench.kernel import Budget, Choice, Job, Kernel, Prepared
from layerbench.layers import PASSES, AnyLayer, Pass
from layerbench.network import all_reduce_seconds
from layerbench.partition import Shard
from layerbench.records import Options, Part, Record
from layerbench.sampling import Row, Rule, Sampled, TimeStep, collect, converged
from layerbench.stats import interval
from layerbench.suite import memory_needed
from layerbench.task import Task, blank, without_result
from layerbench.units import size

Progress = Callable[[str], None]
T = TypeVar("T")


def measure(task: Task, layer: AnyLayer, ranks: Ranks, progress: Progress) -> list[Record]:
    """Measure a layer on the ranks of this launch.

    Parameters
    ----------
    task
        Node count, options, and whether ranks are real.
    layer
        What to measure.
    ranks
        The ranks of this launch: ``task.ranks`` of them if measured, one if emulated.
    progress
        Told what is being done; a watchdog listens.

    Returns
    -------
    list of Record
        On rank 0, a record for each part, also where something failed. Empty on other ranks.
    """
    shards = task.shards()
    if shards[-1].batch == 0:
        idle = sum(shard.batch == 0 for shard in shards)
        reason = f"a batch of {shards[-1].stop} leaves {idle} of {task.ranks} ranks without a sample"
        return without_result(task, layer, "skipped", reason) if ranks.rank == 0 else []
    try:
        return _measure(task, layer, shards, ranks, progress)
    except UnavailableError as error:
        return without_result(task, layer, "skipped", str(error)) if ranks.rank == 0 else []
    except LayerbenchError as error:
        return without_result(task, layer, "failed", str(error)) if ranks.rank == 0 else []


def _measure(task: Task, layer: AnyLayer, shards: Sequence[Shard], ranks: Ranks, progress: Progress) -> list[Record]:
    options = task.options
    found = agreed(ranks, lambda: kernels.find(options.kernels, layer, options.dtype))
    mine = _distinct(shards) if task.placement == "emulated" else [shards[ranks.rank]]
    job = Job(layer, max(shard.batch for shard in mine), options.dtype, options.threads_per_rank)
    agreed(ranks, lambda: _check_memory(found, layer, mine, options))

    progress(f"{layer.name}: operands")
    operands = agreed(
        ranks,
        lambda: [verify.tensors(layer, options.dtype, options.seed, shard.start, shard.stop) for shard in mine],
    )
    budget = Budget(progress=lambda what: progress(f"{layer.name}: trying {what}"))
    choices = _on_rank_0(ranks, lambda: found.search(job, operands[0], budget))
    progress(f"{layer.name}: verifying")
    checks = _on_rank_0(ranks, lambda: verify.verify(found, job, operands[0], choices))
    progress(f"{layer.name}: preparing")
    sound = [pass_ for pass_ in PASSES if checks[pass_].ok]

    prepared = agreed(
        ranks,
        lambda: [
            found.prepare(replace(job, batch=shard.batch), tensors, choices)
            for shard, tensors in zip(mine, operands, strict=True)
        ],
    )
    timed = _Timed(task, layer, shards, prepared, sound)
    if ranks.size > 1 and "backward_weights" in sound:
        timed = replace(timed, exchange=ranks.all_reduce(prepared[0].gradient))
    if task.placement == "emulated" and task.network is not None:
        seconds = all_reduce_seconds(task.network, task.ranks, int(prepared[0].gradient.nbytes))
        timed = replace(timed, modelled=seconds)
    if not sound:
        return _records(timed, None, found, choices, checks) if ranks.rank == 0 else []
    rule = Rule(options.rel_error, options.max_time, options.max_samples, options.cache == "hot")
    try:
        sampled = collect(
            timed.step(found.device(), ranks),
            [part != "backward_data" or layer.backward_data_in_step for part in timed.parts],
            rule,
            ranks,
            lambda count: progress(f"{layer.name}: {count} samples" if count else f"{layer.name}: warming up"),
            timed.modelled or 0.0,
            range(len(sound)),
        )
    except LayerbenchError as error:
        if ranks.size > 1:
            # The other ranks are inside a collective call and cannot be told: only ending the world frees them.
            ranks.abort(f"{layer.name}: {error}")
        raise
    return _records(timed, sampled, found, choices, checks) if sampled is not None else []


@dataclass(frozen=True)
class _Timed:
    """What one rank times in each step.

    ``prepared`` has this rank's shard, or, where ranks are emulated, one of each size.
    """

    task: Task
    layer: AnyLayer
    shards: Sequence[Shard]
    prepared: Sequence[Prepared]
    passes: Sequence[Pass]
    exchange: Run | None = None
    modelled: float | None = None

    @property
    def parts(self) -> list[Part]:
        """The parts that are timed, in the order in which they run."""
        return [*self.passes, "communication"] if self.exchange else [*self.passes]

    def step(self, device: Device, ranks: Ranks) -> TimeStep:
        """A call that times one step on all ranks at once."""
        runs = [[prepared.run[pass_] for pass_ in self.passes] for prepared in self.prepared]
        cold = self.task.options.cache == "cold"
        if self.task.placement == "emulated":
            before_each = device.flush_cache if cold else None

            def alone(repetitions: int) -> list[Row]:
                return [device.time_parts(shard_runs, repetitions, before_each) for shard_runs in runs]

            return alone
        mine = [*runs[0], self.exchange] if self.exchange else runs[0]

        def flush() -> None:
            # Ranks flush for different times, which an exchange must not be charged with.
            device.flush_cache()
            ranks.barrier()

        def together(repetitions: int) -> list[Row]:
            ranks.barrier()
            return ranks.gather(device.time_parts(mine, repetitions, flush if cold else None))

        return together

    def of_ranks(self, medians: Sequence[float]) -> list[float]:
        """Medians of the timed rows as medians of all ranks: an emulated rank has its shard's."""
        if self.task.placement == "measured":
            return list(medians)
        sizes = [shard.batch for shard in _distinct(self.shards)]
        return [medians[sizes.index(shard.batch)] for shard in self.shards]


def _distinct(shards: Sequence[Shard]) -> list[Shard]:
    """One shard of each size, the largest first."""
    first: dict[int, Shard] = {}
    for shard in shards:
        first.setdefault(shard.batch, shard)
    return sorted(first.values(), key=lambda shard: -shard.batch)


def _check_memory(found: Kernel, layer: AnyLayer, mine: Sequence[Shard], options: Options) -> None:
    """Refuse what cannot fit, before anything is allocated: the operands, and a kernel's copy in its own layout."""
    needed = sum(memory_needed(layer, shard.batch, options.dtype) for shard in mine)
    free = found.device().free_memory()
    if needed > free:
        raise OutOfMemoryError(
            f"{layer.name} with {mine[0].batch} samples needs {size(needed)} of memory and {size(free)} are free: "
            "lower --batch or use more nodes"
        )


def _on_rank_0(ranks: Ranks, action: Callable[[], T]) -> T:
    """What rank 0 finds, on every rank, while the others leave the machine to it."""
    found = ranks.broadcast(agreed(ranks, lambda: action() if ranks.rank == 0 else None))
    assert found is not None
    return found


def _records(
    timed: _Timed,
    sampled: Sampled | None,
    found: Kernel,
    choices: Mapping[Pass, Choice],
    checks: Mapping[Pass, verify.Verification],
) -> list[Record]:
    """Fill in what was measured, part by part."""
    wrong = [pass_ for pass_ in PASSES if not checks[pass_].ok]
    records = []
    for record in blank(timed.task, timed.layer):
        found_out: dict[str, Any] = {"kernels": found.name, "device": found.device().name}
        if record.part in PASSES:
            choice, check = choices[record.part], checks[record.part]
            found_out |= {
                "algorithm": choice.algorithm,
                "workspace_bytes": choice.workspace_bytes,
                "candidates": choice.tried,
                "verified": check.ok,
                "relative_error": check.relative_error,
            }
            if not check.ok:
                found_out |= {
                    "status": "failed",
                    "reason": f"wrong result: relative error {check.relative_error:.2g}, allowed {check.limit:.2g}",
                }
            elif sampled is not None:
                found_out |= _times_of_part(timed, sampled, record.part)
        elif record.part == "communication":
            found_out |= _communication(timed, sampled, wrong)
        elif wrong or sampled is None:
            found_out |= {"status": "failed", "reason": f"{' and '.join(wrong)} gave a wrong result"}
        else:
            found_out |= {"modelled_seconds": timed.modelled, "inner": sampled.inner}
            found_out |= _times(timed, sampled.step, sampled.rank_step_medians)
        records.append(msgspec.structs.replace(record, **found_out))
    return records


def _communication(timed: _Timed, sampled: Sampled | None, wrong: Sequence[Pass]) -> dict[str, Any]:
    gradient = int(timed.prepared[0].gradient.nbytes)
    if "backward_weights" in wrong or sampled is None:
        return {
            "status": "failed",
            "reason": "there is no gradient to exchange: backward_weights gave a wrong result",
        }
    if timed.task.ranks == 1:
        nothing = [0.0] * len(sampled.step)
        return {"algorithm": "none", "reason": "one rank has nothing to exchange"} | _times(timed, nothing, [0.0])
    if timed.modelled is not None:
        return {"algorithm": f"modelled all-reduce of {gradient} B", "modelled_seconds": timed.modelled}
    return {"algorithm": f"MPI_Allreduce in place of {gradient} B"} | _times_of_part(timed, sampled, "communication")


def _times_of_part(timed: _Timed, sampled: Sampled, part: Part) -> dict[str, Any]:
    index = timed.parts.index(part)
    return _times(timed, sampled.parts[index], sampled.rank_medians[index]) | {"inner": sampled.inner}


def _times(timed: _Timed, samples: list[float], rank_medians: list[float]) -> dict[str, Any]:
    return {
        "samples": samples,
        "rank_medians": timed.of_ranks(rank_medians),
        "ci_method": interval(samples).method,
        "noisy": not converged(samples, timed.task.options.rel_error),
    }
