"""The search: every plan oneDNN offers for a pass is timed, and the fastest kept.

A plan can be a hundred times slower than the best, so none is run at full size before it has shown promise: where
the pass can be had at a smaller batch, all run there first and only the finalists at full size. A plan that is
clearly slower than the best so far is not run again, and oneDNN's reference loops run only where nothing else does.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from layerbench.device import Run
from layerbench.errors import KernelError
from layerbench.kernel import Budget

from ._dnnl import Desc, Memory, PrimitiveDesc
from ._onednn_plan import Operand, Plan, Problem, bind, offered, rebuild

Fill = Callable[[Operand, Desc], Memory]
"""A memory with values fit for timing, for an operand in a given layout."""

FINALISTS = 4
"""Plans that run at full size after a first round at a small batch."""

CLOSE = 1.3
"""A plan this many times slower than the best at a small batch is not run at full size."""

SHORT = 1e-3
"""Seconds; shorter runs are timed as the mean of several."""

LONG = 0.1
"""Seconds; a run this long is steady enough to be timed twice at most."""

PADDED = 1.03
"""A padded weight gradient costs the all-reduce that much: it must be faster by more than this."""


@dataclass(frozen=True)
class Winner:
    """The fastest plan, its seconds (NaN where there was no race), scratch bytes, and how many were timed."""

    plan: Plan
    seconds: float
    workspace_bytes: int
    tried: int


@dataclass(frozen=True)
class _Entry:
    problem: Problem
    plan: Plan
    pd: PrimitiveDesc


def _entries(problems: Sequence[Problem], budget: Budget, label: str) -> list[_Entry]:
    """The plans within the workspace allowed; reference loops only where there is nothing else."""
    every = [_Entry(problem, plan, pd) for problem in problems for plan, pd in offered(problem).items()]
    if not every:
        raise KernelError(f"oneDNN offers no implementation of {label}; choose another with --kernels")
    smallest = min(entry.pd.scratchpad.nbytes for entry in every)
    entries = [entry for entry in every if entry.pd.scratchpad.nbytes <= budget.workspace]
    if not entries:
        raise KernelError(
            f"{label}: every implementation needs more workspace than the {budget.workspace} bytes allowed; "
            f"the least is {smallest} bytes"
        )
    fast = [entry for entry in entries if not entry.plan.is_reference]
    return fast or entries[:1]


class _Operands:
    """Memories of the plan that runs; a layout shared with the plan before is not filled again."""

    def __init__(self, fill: Fill) -> None:
        self._fill = fill
        self._kept: dict[str, tuple[Operand, str, Memory]] = {}

    def of(self, entry: _Entry) -> dict[str, Memory]:
        for operand in entry.problem.operands:
            desc = entry.pd.desc(operand.argument)
            layout = desc.layout
            kept = self._kept.get(operand.name)
            if kept is None or layout is None or kept[:2] != (operand, layout):
                self._kept.pop(operand.name, None)
                self._kept[operand.name] = (operand, layout or "", self._fill(operand, desc))
        return {name: memory for name, (_, _, memory) in self._kept.items()}


def _seconds(run: Run) -> float:
    """Seconds of one run; the mean of enough runs to fill a millisecond, where the clock would not resolve one."""
    start = time.perf_counter()
    run()
    first = time.perf_counter() - start
    count = int(SHORT / max(first, 1e-7))
    if count < 2:
        return first
    start = time.perf_counter()
    for _ in range(count):
        run()
    return (time.perf_counter() - start) / count


def _least(run: Run, best: float, budget: Budget) -> float:
    """Least seconds of a few runs; of one, where that has taken ``patience`` times the best."""
    least = _seconds(run)
    for _ in range(min(budget.runs, 2 if least > LONG else budget.runs) - 1):
        if least > budget.patience * best:
            break
        least = min(least, _seconds(run))
    return least


def _handicap(entry: _Entry) -> float:
    return PADDED if entry.pd.desc(entry.problem.result.argument).padded else 1.0


def _timed(entries: Sequence[_Entry], fill: Fill, budget: Budget, label: str) -> Iterator[tuple[float, _Entry]]:
    operands = _Operands(fill)
    best = math.inf
    for entry in entries:
        budget.progress(f"{label}: {entry.plan.algorithm}")
        run = bind(entry.problem, entry.pd, operands.of(entry))
        seconds = _least(run, best, budget)
        best = min(best, seconds)
        yield seconds * _handicap(entry), entry


def _by_layout(entries: Sequence[_Entry]) -> list[_Entry]:
    """In an order that converts the largest operand as seldom as possible."""

    def key(entry: _Entry) -> tuple[str, str, bool]:
        operands = entry.problem.operands
        largest = max(range(len(operands)), key=lambda i: math.prod(operands[i].sizes))
        return operands[largest].name, entry.plan.layouts[largest], operands[largest].transposed

    return sorted(entries, key=key)


def _finalists(
    entries: Sequence[_Entry], problems: Sequence[Problem], fill: Fill, budget: Budget, label: str
) -> list[_Entry]:
    """The plans that are fastest for the same operations at a smaller batch."""
    small = {problem.operation: problem for problem in problems}
    probes, full = [], {}
    for entry in entries:
        problem = small[entry.plan.operation]
        try:
            pd = rebuild(problem, entry.plan)
        except KernelError:
            continue
        probe = _Entry(problem, entry.plan, pd)
        probes.append(probe)
        full[entry.plan] = entry
    if not probes:
        return list(entries)
    ranked = sorted(_timed(_by_layout(probes), fill, budget, f"{label}, first round"), key=lambda item: item[0])
    close = [full[probe.plan] for seconds, probe in ranked if seconds <= CLOSE * ranked[0][0]]
    return close[:FINALISTS]


def race(
    problems: Sequence[Problem],
    fill: Fill,
    budget: Budget,
    label: str,
    small: tuple[Sequence[Problem], Fill] | None = None,
) -> Winner:
    """The fastest plan of all that solve a pass.

    Parameters
    ----------
    problems
        The primitives that can compute it.
    fill
        Makes the memories to time it on.
    budget
        What the search may spend.
    label
        The layer and pass, for messages.
    small
        The same problems at a smaller batch, for a first round, with what fills theirs.

    Raises
    ------
    KernelError
        If oneDNN offers none, or none within the workspace allowed.
    """
    entries = _entries(problems, budget, label)
    tried = len(entries)
    if tried == 1:
        only = entries[0]
        return Winner(only.plan, math.nan, only.pd.scratchpad.nbytes, tried)
    entries = _finalists(entries, *small, budget, label) if small else _by_layout(entries)
    seconds, entry = min(_timed(entries, fill, budget, label), key=lambda item: item[0])
    return Winner(entry.plan, seconds, entry.pd.scratchpad.nbytes, tried)
