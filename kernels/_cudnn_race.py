"""The search: every plan that cuDNN offers for a pass, in both layouts, is built and timed, and the fastest kept.

A plan that cannot be built or run is left out. The first run of each is timed by the host's clock and not counted: it
loads the plan's kernels, which must not happen while the stream is held for timing.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from layerbench.cuda import library
from layerbench.device import Device, Run
from layerbench.errors import KernelError, OutOfMemoryError
from layerbench.kernel import Budget, Choice, Job, Tensors
from layerbench.layers import PASSES, Conv, Pass

from . import _cuda_arrays as arrays
from ._cudnn_errors import planning, running
from ._cudnn_graph import DESELECTED, LAYOUTS, RESULT, UIDS, Built, Operand, Plan, Problem, build, notes_of, offered
from ._cudnn_load import Handle, handle

SLOW = 0.05
"""Seconds; a first run that takes longer, and many times the best so far, is not repeated."""

HOPELESS = 10.0
"""That many times: much of a first run is the loading of its kernel."""

SHORT, MOST = 1e-3, 50
"""Shorter runs are timed as the mean of enough to last these seconds, but of so many at most."""


@dataclass
class Scratch:
    """Workspace that grows to what the greediest plan needs."""

    _array: Any = None
    nbytes: int = 0

    def pointer(self, nbytes: int) -> int | None:
        """Address of at least so many bytes; None for none.

        Raises
        ------
        OutOfMemoryError
            If there are not so many; what was there before is given up.
        """
        if not nbytes:
            return None
        if nbytes > self.nbytes:
            self._array, self.nbytes = None, 0
            with library.refusals(f"a workspace of {nbytes} bytes"):
                self._array = library.load().empty(nbytes, np.uint8)
            self.nbytes = nbytes
        return int(self._array.data.ptr)


def executed(built: Built, pointers: dict[Operand, int], workspace: int | None, on: Handle, what: str) -> Run:
    """The call that queues a plan on the current stream, of operands and workspace at these addresses.

    It raises as :func:`running` does; ``what`` begins the message.
    """
    graph, index, raw, follow = built.graph, built.index, on.raw, on.follow
    pack = {UIDS[name]: pointer for name, pointer in pointers.items()}
    execute = graph.execute_plan_at_index

    def run() -> None:
        try:
            follow()
            execute(pack, workspace, index, raw)
        except Exception:
            # Not around the call: it is timed, and this is entered only where it fails.
            with running(what):
                raise

    return run


@dataclass
class _Race:
    """One pass: what was timed so far."""

    label: str
    device: Device
    budget: Budget
    best: tuple[Plan, Built] | None = None
    least: float = math.inf
    tried: int = 0
    smallest: int | None = None
    refusals: list[str] = field(default_factory=list)

    def enter(self, plan: Plan, built: Built, run: Run) -> None:
        """Time a plan, and keep it if it is the fastest."""
        with running(f"{self.label} {plan.algorithm}"):
            seconds = self._seconds(run)
        self.tried += 1
        if seconds < self.least:
            self.best, self.least = (plan, built), seconds

    def _seconds(self, run: Run) -> float:
        start = time.perf_counter()
        run()
        self.device.synchronize()
        first = time.perf_counter() - start
        if first > SLOW and first > HOPELESS * self.least:
            return first
        seconds = self.device.time_parts([run], 1)[0]
        if seconds > self.budget.patience * self.least:
            return seconds
        repetitions = min(MOST, max(1, math.ceil(SHORT / max(seconds, 1e-7))))
        if repetitions > 1:
            # The mean of many is steadier, and less than one alone, whose launch may show.
            seconds = self.device.time_parts([run], repetitions)[0]
        for _ in range(self.budget.runs - 1):
            seconds = min(seconds, self.device.time_parts([run], repetitions)[0])
        return seconds

    def winner(self) -> tuple[Plan, Built]:
        """The fastest plan.

        Raises
        ------
        KernelError
            If there is none, with the first reason.
        """
        if self.best is not None:
            return self.best
        if self.smallest is not None and not self.refusals:
            raise KernelError(
                f"{self.label}: every plan of cuDNN needs more workspace than the {self.budget.workspace} bytes "
                f"allowed; the least is {self.smallest} bytes: raise --workspace"
            )
        raise KernelError(self.refusals[0] if self.refusals else f"{self.label}: cuDNN offers no plan")


def search(layer: Conv, job: Job, tensors: Tensors, device: Device, budget: Budget) -> dict[Pass, Choice]:
    """The fastest plan of each pass.

    Raises
    ------
    KernelError
        If no plan can do a pass within the workspace.
    OutOfMemoryError
        If the operands do not fit the GPU.
    """
    with running(f"cudnn: {layer.name}"):
        # Both layouts take the same memory, unconverted: what is computed from it is not read, and its values are as
        # random as they should be.
        operands = {
            "src": arrays.to_device(tensors["src"], job.dtype),
            "weights": arrays.to_device(tensors["weights"], job.dtype),
            "dst": arrays.to_device(tensors["diff_dst"], job.dtype),
        }
        result = arrays.empty([max(operand.size for operand in operands.values())], job.dtype)
        on = handle()
    choices = {}
    for pass_ in PASSES:
        pointers: dict[Operand, int] = {
            "src": operands["src"].data.ptr,
            "weights": operands["weights"].data.ptr,
            "dst": operands["dst"].data.ptr,
        }
        pointers[RESULT[pass_]] = result.data.ptr
        choices[pass_] = _search_pass(layer, job, pass_, pointers, on, device, budget)
    return choices


def _search_pass(
    layer: Conv, job: Job, pass_: Pass, pointers: dict[Operand, int], on: Handle, device: Device, budget: Budget
) -> Choice:
    place = {"handle": on.raw}
    race = _Race(f"{layer.name} {pass_}", device, budget)
    problems = {layout: Problem(layer, job.batch, job.dtype, pass_, layout) for layout in LAYOUTS}
    scratch = Scratch()
    for plan, problem, graph, index in _entries(problems.values(), place, race):
        budget.progress(f"{layer.name} {pass_} {plan.algorithm}")
        try:
            built = build(problem, graph, index)
            if built.workspace_bytes > budget.workspace:
                race.smallest = min(built.workspace_bytes, race.smallest or built.workspace_bytes)
                continue
            workspace = scratch.pointer(built.workspace_bytes)
            what = f"{race.label} {plan.algorithm}"
            race.enter(plan, built, executed(built, pointers, workspace, on, what))
        except (KernelError, OutOfMemoryError) as error:
            race.refusals.append(str(error))
    plan, built = race.winner()
    notes = notes_of(problems[plan.layout], place, plan)
    return Choice(
        algorithm=plan.algorithm,
        settings={**plan.settings, "notes": notes, "deselected": list(DESELECTED[job.dtype])},
        workspace_bytes=built.workspace_bytes,
        tried=race.tried,
    )


def _entries(problems: Iterable[Problem], place: dict[str, Any], race: _Race) -> list[tuple[Plan, Problem, Any, int]]:
    """All plans of both layouts; a layout that cuDNN refuses has none."""
    entries: list[tuple[Plan, Problem, Any, int]] = []
    for problem in problems:
        try:
            with planning(problem.label):
                entries += [(plan, problem, graph, index) for plan, graph, index in offered(problem, place)]
        except KernelError as error:
            race.refusals.append(str(error))
    return entries
