"""The best plan, proven, of a few jobs: constraint programming by OR-Tools' CP-SAT."""

from __future__ import annotations

import importlib.util
import math
from typing import NamedTuple

from layerbench.errors import UsageError
from layerbench.schedule.allotments import Start, items
from layerbench.schedule.instance import Instance
from layerbench.schedule.packing import makespan, starts

INSTALL = "pip install 'layerbench[schedule]'"

TICKS = 10**7
"""Of the makespan to begin with: the solver counts in whole ticks."""


class Solved(NamedTuple):
    """A plan, a lower bound on every plan's makespan in seconds, and whether the solver closed the gap."""

    start: Start
    bound: float
    proven: bool


def available() -> bool:
    """Whether OR-Tools is installed."""
    return importlib.util.find_spec("ortools") is not None


def solve(instance: Instance, begin: Start, bound: float, seconds: float, seed: int) -> Solved:
    """The shortest plan, or the best found and a bound.

    Parameters
    ----------
    instance
        Jobs and nodes.
    begin
        A plan; a worse one is not looked at.
    bound
        A lower bound, in seconds.
    seconds
        How long to search, by the clock; where that ends the search, how far it came depends on the machine.
    seed
        Of its random choices.

    Raises
    ------
    UsageError
        If OR-Tools is not installed.
    """
    if not available():
        raise UsageError(f"--policy exact needs ortools, not installed here: {INSTALL}")
    from ortools.sat.python import cp_model

    # Durations are rounded up, so that a plan holds; a chain of jobs is then too long by a tick for each, which is what
    # the bound is lowered by.
    tick = begin.value / TICKS
    model = cp_model.CpModel()
    end_of_all = model.new_int_var(math.floor(bound / tick), TICKS + len(instance.jobs), "makespan")
    taken: list[list[cp_model.IntVar]] = []
    begins: list[cp_model.IntVar] = []
    intervals, demands = [], []
    before = starts(begin.order, items(instance, begin.choice), instance.nodes)
    for job, counts in enumerate(instance.counts):
        start = model.new_int_var(0, TICKS, f"start {job}")
        end = model.new_int_var(0, TICKS + len(instance.jobs), f"end {job}")
        model.add(end <= end_of_all)
        ways = []
        for place, (nodes, length) in enumerate(counts):
            way = model.new_bool_var(f"{job} on {nodes}")
            duration = math.ceil(length / tick)
            if duration > TICKS + len(instance.jobs):
                model.add(way == 0)
                ways.append(way)
                continue
            intervals.append(model.new_optional_interval_var(start, duration, end, way, f"{job} on {nodes}"))
            demands.append(nodes)
            model.add_hint(way, place == begin.choice[job])
            ways.append(way)
        model.add_exactly_one(ways)
        model.add_hint(start, math.ceil(before[job] / tick))
        taken.append(ways)
        begins.append(start)
    model.add_cumulative(intervals, demands, instance.nodes)
    model.minimize(end_of_all)
    solver = cp_model.CpSolver()
    solver.parameters.random_seed = seed % 2**31
    # Several strategies that wait for one another: the same result every time, unless the clock ends them.
    solver.parameters.num_workers = 8
    solver.parameters.interleave_search = True
    solver.parameters.max_time_in_seconds = seconds
    status = solver.solve(model)
    if status not in (cp_model.OPTIMAL, cp_model.FEASIBLE):
        return Solved(begin, bound, proven=False)
    choice = [next(place for place, way in enumerate(ways) if solver.value(way)) for ways in taken]
    order = sorted(range(len(choice)), key=lambda job: solver.value(begins[job]))
    found = Start(makespan(order, items(instance, choice), instance.nodes), order, choice)
    least = max(bound, (solver.best_objective_bound - len(instance.jobs)) * tick)
    best = min(begin, found, key=lambda start: start.value)
    return Solved(best, min(least, best.value), proven=status == cp_model.OPTIMAL)
