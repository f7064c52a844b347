"""The best plan, proven, of a few jobs: constraint programming by OR-Tools' CP-SAT."""

from __future__ import annotations

import importlib.util
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from layerbench.errors import UsageError
from layerbench.schedule.allotments import Start, items
from layerbench.schedule.goals import Completion, Goal, Makespan
from layerbench.schedule.instance import Instance
from layerbench.schedule.packing import lateness, makespan, starts

if TYPE_CHECKING:
    from ortools.sat.python import cp_model

INSTALL = "pip install 'layerbench[schedule]'"

TICKS = 10**7
"""Of the time in which all jobs end: the solver counts in whole ticks."""


class Solved(NamedTuple):
    """A plan, a lower bound on every plan's value, and whether the solver closed the gap, to within its ticks."""

    start: Start
    bound: float
    proven: bool


def solve(instance: Instance, begin: Start, goal: Goal, seconds: float, seed: int) -> Solved:
    """The best plan, or the best found and a bound.

    Parameters
    ----------
    instance
        Jobs and nodes.
    begin
        A plan with the goal's value; a worse one is not looked at.
    goal
        What is to be small.
    seconds
        How long to search, by the clock; where that ends the search, how far it came depends on the machine.
    seed
        Of its random choices.

    Raises
    ------
    UsageError
        If OR-Tools is not installed.
    """
    if importlib.util.find_spec("ortools") is None:
        raise UsageError(f"--policy exact needs ortools, not installed here: {INSTALL}")
    from ortools.sat.python import cp_model

    model = _Model(instance, begin, goal)
    solver = cp_model.CpSolver()
    solver.parameters.random_seed = seed % 2**31
    # Several strategies that wait for one another: the same result every time, unless the clock ends them.
    solver.parameters.num_workers = 8
    solver.parameters.interleave_search = True
    solver.parameters.max_time_in_seconds = seconds
    status = solver.solve(model.model)
    if status not in (cp_model.OPTIMAL, cp_model.FEASIBLE):
        return Solved(begin, goal.least, proven=False)
    best = min(begin, model.plan(solver), key=lambda start: start.value)
    bound = max(goal.least, (solver.best_objective_bound - model.too_much) * model.tick)
    met = best.value <= bound + 2 * model.too_much * model.tick
    return Solved(best, min(bound, best.value), proven=status == cp_model.OPTIMAL and met)


@dataclass
class _Model:
    """The jobs as the solver sees them.

    Durations are rounded up to ticks, so that a plan of the solver's holds. A job then ends too late by a tick for each
    that may come before it, and takes too many node-seconds by a tick for each of its nodes: ``too_much`` is what that
    may come to, and what the solver's bound is lowered by.
    """

    instance: Instance
    begin: Start
    goal: Goal
    tick: float = 0.0
    too_much: int = 0
    ways: list[list[cp_model.IntVar]] = field(default_factory=list)
    begins: list[cp_model.IntVar] = field(default_factory=list)

    def __post_init__(self) -> None:
        from ortools.sat.python import cp_model

        of_jobs = items(self.instance, self.begin.choice)
        before = starts(self.begin.order, of_jobs, self.instance.nodes)
        jobs = len(self.instance.jobs)
        horizon = self._horizon(makespan(self.begin.order, of_jobs, self.instance.nodes))
        self.tick = horizon / TICKS
        self.model = cp_model.CpModel()
        last = self.model.new_int_var(0, TICKS + jobs, "makespan")
        ends, intervals, demands, areas = [], [], [], []
        for job, counts in enumerate(self.instance.counts):
            start, end = (self.model.new_int_var(0, TICKS + jobs, f"{which} {job}") for which in ("start", "end"))
            self.model.add(end <= last)
            ways = []
            for place, (nodes, seconds) in enumerate(counts):
                way = self.model.new_bool_var(f"{job} on {nodes}")
                ways.append(way)
                ticks = math.ceil(seconds / self.tick)
                if ticks > TICKS + jobs:
                    self.model.add(way == 0)
                    continue
                intervals.append(self.model.new_optional_interval_var(start, ticks, end, way, f"{job} on {nodes}"))
                demands.append(nodes)
                areas.append(nodes * ticks * way)
                self.model.add_hint(way, place == self.begin.choice[job])
            self.model.add_exactly_one(ways)
            self.model.add_hint(start, math.ceil(before[job] / self.tick))
            self.ways.append(ways)
            self.begins.append(start)
            ends.append(end)
        self.model.add_cumulative(intervals, demands, self.instance.nodes)
        if isinstance(self.goal, Makespan):
            self.model.minimize(last)
            self.too_much = jobs
        elif isinstance(self.goal, Completion):
            self.model.minimize(sum(ends))
            self.too_much = jobs * jobs
        else:
            self.model.minimize(sum(areas))
            self.too_much = sum(counts[-1][0] for counts in self.instance.counts)

    def _horizon(self, ends: float) -> float:
        """The time in which all jobs end, in seconds, of a best plan."""
        if isinstance(self.goal, Makespan):
            return ends
        if isinstance(self.goal, Completion):
            # A plan of the least sum may end later than this one, though not later than all ends together.
            return self.begin.value
        return self.goal.due(math.inf)

    def plan(self, solver: cp_model.CpSolver) -> Start:
        """What the solver found."""
        choice = [next(place for place, way in enumerate(ways) if solver.value(way)) for ways in self.ways]
        order = sorted(range(len(choice)), key=lambda job: solver.value(self.begins[job]))
        of_jobs = [(nodes, seconds, self.goal.weight(nodes)) for nodes, seconds, _ in items(self.instance, choice)]
        late, end = lateness(order, of_jobs, self.instance.nodes, self.goal.due(math.inf))
        used = math.fsum(nodes * seconds for nodes, seconds, _ in of_jobs)
        return Start(self.goal.value(late, end, used), order, choice)
