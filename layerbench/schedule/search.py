"""Local search over the order of the jobs and the count of each, by simulated annealing.

A move changes a job's count, puts a job elsewhere in the order, or exchanges two. What is cooled is told by a goal (see
:mod:`layerbench.schedule.goals`).

How much is tried follows from the seconds allowed by a rate that is fixed, and not from the clock: the same seed finds
the same plan on every machine.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence

from layerbench.schedule.allotments import Start
from layerbench.schedule.goals import Goal
from layerbench.schedule.instance import Instance
from layerbench.schedule.packing import Item, lateness

_SECONDS_A_TRIAL, _SECONDS_A_JOB = 3.5e-6, 0.35e-6
"""Of trying one move, on a processor of 2020 or so: a part that is fixed, and one for each job."""

_WARM, _COLD = 1e-3, 1e-4
"""Temperatures at the begin and the end, as parts of all nodes' time until the makespan."""

_STARTS = 16
"""Plans that are tried at first; the better half goes on each time."""

_COUNT_MOVES, _SHIFTS = 0.35, 0.35
"""Parts of the moves; the rest exchange two jobs."""

_NEIGHBOUR = 0.7
"""Part of the changes of a count that go to the next larger or smaller one; the others go anywhere."""


def trials(seconds: float, jobs: int) -> int:
    """How many moves are tried in so many seconds."""
    return int(seconds / (_SECONDS_A_TRIAL + _SECONDS_A_JOB * jobs))


def search(instance: Instance, begin: Sequence[Start], goal: Goal, seconds: float, seed: int) -> Start:
    """The best plan found from several to begin with; none is left for a worse one.

    Successive halving: every plan is searched from for a while, the better half for twice as long, and so on to one.

    Parameters
    ----------
    instance
        Jobs and nodes.
    begin
        Plans, the better ones first, with the goal's values.
    goal
        What is to be small.
    seconds, seed
        How long to search, and of the random moves.
    """
    alive = list(begin[:_STARTS])
    rounds = len(alive).bit_length()
    each = trials(seconds, len(instance.jobs)) // rounds
    best = min(begin, key=lambda start: start.value)
    for round_ in range(rounds):
        if best.value <= goal.least:
            break
        found = [
            _Annealing(instance, start, goal, random.Random(f"{seed} {round_} {number}")).run(each // len(alive))
            for number, start in enumerate(alive)
        ]
        found.sort(key=lambda start: start.value)
        best = min(best, found[0], key=lambda start: start.value)
        alive = found[: max(1, len(found) // 2)]
    return best


class _Annealing:
    """One search from one plan."""

    def __init__(self, instance: Instance, start: Start, goal: Goal, source: random.Random) -> None:
        self.instance, self.goal, self.start = instance, goal, start
        self.uniform = source.random
        self.order, self.choice = start.order[:], start.choice[:]
        self.items: list[Item] = [(0, 0.0, 0.0)] * len(start.choice)
        self.used = 0.0
        for job, place in enumerate(start.choice):
            self._take(job, place)
        self.several = [job for job, counts in enumerate(instance.counts) if len(counts) > 1]

    def run(self, count: int) -> Start:
        """Try so many moves; the best plan met."""
        goal, nodes, uniform = self.goal, self.instance.nodes, self.uniform
        best = self.start
        due = goal.due(best.value)
        late, makespan = lateness(self.order, self.items, nodes, due)
        weighed = late + goal.uses * self.used
        scale = goal.scale(late, makespan, nodes)
        cooling = math.log(_COLD / _WARM)
        for trial in range(count):
            undo = self._moved()
            if undo is None:
                continue
            # Metropolis' rule, its random number drawn first: a plan is given up as soon as it is known to fail it.
            worst = weighed - scale * _WARM * math.exp(cooling * trial / count) * math.log(1 - uniform())
            limit = worst - goal.uses * self.used
            late, makespan = lateness(self.order, self.items, nodes, due, limit) if limit >= 0 else (0.0, math.inf)
            if math.isinf(makespan):
                undo()
                continue
            weighed = late + goal.uses * self.used
            value = goal.value(late, makespan, self.used)
            if value < best.value:
                best = Start(value, self.order[:], self.choice[:])
                if value <= goal.least:
                    break
                if due != (due := goal.due(value)):
                    weighed = lateness(self.order, self.items, nodes, due)[0] + goal.uses * self.used
        return best

    def _moved(self) -> Callable[[], None] | None:
        """Make a random move and return how to undo it, or None where it would change nothing."""
        uniform, size = self.uniform, len(self.order)
        kind = uniform()
        if self.several and kind < _COUNT_MOVES:
            return self._other_count(self.several[int(uniform() * len(self.several))])
        one, two = int(uniform() * size), int(uniform() * size)
        if one == two:
            return None
        return self._shifted(one, two) if kind < _COUNT_MOVES + _SHIFTS else self._exchanged(one, two)

    def _other_count(self, job: int) -> Callable[[], None] | None:
        counts, before = self.instance.counts[job], self.choice[job]
        uniform = self.uniform
        if uniform() < _NEIGHBOUR:
            place = before + (1 if uniform() < 0.5 else -1)
            if not 0 <= place < len(counts):
                place = 2 * before - place
        else:
            place = int(uniform() * len(counts))
        if place == before:
            return None
        self._take(job, place)
        back = self._shifted(self.order.index(job), int(uniform() * len(self.order))) if uniform() < 0.5 else None

        def undo() -> None:
            if back is not None:
                back()
            self._take(job, before)

        return undo

    def _take(self, job: int, place: int) -> None:
        nodes, seconds = self.instance.counts[job][place]
        old_nodes, old_seconds, _ = self.items[job]
        self.used += nodes * seconds - old_nodes * old_seconds
        self.choice[job], self.items[job] = place, (nodes, seconds, self.goal.weight(nodes))

    def _shifted(self, source: int, target: int) -> Callable[[], None]:
        order = self.order
        order.insert(target, order.pop(source))
        return lambda: order.insert(source, order.pop(target))

    def _exchanged(self, one: int, two: int) -> Callable[[], None]:
        order = self.order

        def exchange() -> None:
            order[one], order[two] = order[two], order[one]

        exchange()
        return exchange
