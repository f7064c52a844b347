"""The search: every plan oneDNN offers for a pass is timed, and the fastest kept.

A plan can be a hundred times slower than the best, so none is run at full size before it has shown promise: where
the pass can be had at a smaller batch, all run there first and only the finalists at full size. A plan that is
clearly slower than the best so far is not run again, and oneDNN's reference loops run only where nothing else does.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from layerbench.device import Run
from layerbench.errors import KernelError
from layerbench.kernel import Budget

from ._dnnl import Memory, PrimitiveDesc, aligned
from ._onednn_plan import Plan, Problem, bind, offered, rebuild

Values = Callable[[str], np.ndarray | None]
"""Values fit for timing of the operand of that name; None for a result."""

FINALISTS = 2
"""Plans that run at full size after a first round at a small batch."""

CLOSE = 1.15
"""A plan this many times slower than the best at a small batch is not run at full size, nor a long one run twice."""

SHORT = 1e-3
"""Seconds; shorter runs are timed as the mean of several."""

LONG, VERY_LONG = 0.01, 0.1
"""Seconds; a run this long is steady enough to be timed twice at most, or once."""

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


def _buffers(entries: Sequence[_Entry], values: Values) -> dict[str, np.ndarray]:
    """A buffer for each operand that is large enough for every entry.

    All layouts of an operand share it, unconverted: what is computed from it is not read, and its values are those
    of the tensor or zeros for a result, so they cost a processor no more time than the right ones would.
    """
    largest: dict[str, int] = {}
    for entry in entries:
        for operand in entry.problem.operands:
            nbytes = entry.pd.desc(operand.argument).nbytes
            largest[operand.name] = max(nbytes, largest.get(operand.name, 0))
    buffers = {name: aligned(nbytes + -nbytes % 4) for name, nbytes in largest.items()}
    for name, buffer in buffers.items():
        tensor = values(name)
        if tensor is not None:
            for start in range(0, buffer.size, tensor.size):
                buffer[start : start + tensor.size] = tensor.reshape(-1)[: buffer.size - start]
    return buffers


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
    """Least seconds of a few runs; of one, where that took too much longer than the best so far."""
    least = _seconds(run)
    in_the_race = budget.patience if least < LONG else min(budget.patience, CLOSE)
    enough = 1 if least > VERY_LONG else 2 if least > LONG else budget.runs
    for _ in range(min(budget.runs, enough) - 1):
        if least > in_the_race * best:
            break
        least = min(least, _seconds(run))
    return least


def _handicap(entry: _Entry) -> float:
    return PADDED if entry.pd.desc(entry.problem.result.argument).padded else 1.0


def _timed(entries: Sequence[_Entry], values: Values, budget: Budget, label: str) -> list[tuple[float, _Entry]]:
    """Seconds of each entry, least first."""
    buffers = _buffers(entries, values)
    best, timed = math.inf, []
    for entry in entries:
        budget.progress(f"{label}: {entry.plan.algorithm}")
        operands = entry.problem.operands
        memories = {o.name: Memory(entry.pd.desc(o.argument), buffers[o.name]) for o in operands}
        seconds = _least(bind(entry.problem, entry.pd, memories), best, budget)
        best = min(best, seconds)
        timed.append((seconds * _handicap(entry), entry))
    return sorted(timed, key=lambda item: item[0])


def _finalists(
    entries: Sequence[_Entry], problems: Sequence[Problem], values: Values, budget: Budget, label: str
) -> tuple[list[_Entry], int]:
    """The plans that are fastest for the same operations at a smaller batch, fastest first; and how many ran."""
    small = {problem.operation: problem for problem in problems}
    probes = []
    for entry in entries:
        problem = small[entry.plan.operation]
        # An implementation that the small batch does not have is out: it could not be verified either.
        with contextlib.suppress(KernelError):
            probes.append(_Entry(problem, entry.plan, rebuild(problem, entry.plan)))
    if not probes:
        return list(entries), len(entries)
    full = {entry.plan: entry for entry in entries}
    ranked = _timed(probes, values, budget, f"{label}, first round")
    close = [full[probe.plan] for seconds, probe in ranked if seconds <= CLOSE * ranked[0][0]]
    return close[:FINALISTS], len(probes)


def race(
    problems: Sequence[Problem],
    values: Values,
    budget: Budget,
    label: str,
    small: Sequence[Problem] = (),
) -> Winner:
    """The fastest plan of all that solve a pass.

    Parameters
    ----------
    problems
        The primitives that can compute it.
    values
        Values of an operand by name.
    budget
        What the search may spend.
    label
        The layer and pass, for messages.
    small
        The same problems at a smaller batch, for a first round.

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
    if small:
        entries, tried = _finalists(entries, small, values, budget, label)
    seconds, entry = _timed(entries, values, budget, label)[0]
    return Winner(entry.plan, seconds, entry.pd.scratchpad.nbytes, tried)
