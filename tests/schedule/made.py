"""Plans to be shown: jobs with Amdahl's curves, started one after another as soon as there are nodes for them."""

from __future__ import annotations

import dataclasses
import functools
import heapq
import random
from collections.abc import Sequence
from typing import Any

from layerbench.schedule.comparison import Row
from layerbench.schedule.jobs import Job
from layerbench.schedule.plan import Placement, Plan


def jobs(number: int, types: Sequence[str], most: int, seed: int = 1, hours: float = 2.0) -> list[Job]:
    """Jobs on 1, 2, 4 ... nodes, of types in turn."""
    chance = random.Random(seed)
    found = []
    for index in range(number):
        alone, serial = 3600 * hours * chance.uniform(0.1, 4), chance.choice([0.01, 0.05, 0.2])
        counts = [2**power for power in range(most.bit_length()) if 2**power <= most]
        curve = [(count, alone * (serial + (1 - serial) / count)) for count in counts]
        type_ = types[index % len(types)]
        found.append(Job.of(f"{type_}-{index:03d}", type_, curve))
    return found


def listed(of: Sequence[Job], nodes: int, seed: int = 1, **more: Any) -> Plan:
    """Each job on a count by chance; whenever nodes are free, the longest job that fits on them starts."""
    chance = random.Random(seed)
    waiting: dict[int, list[Job]] = {}
    for job in of:
        count = chance.choice([count for count in job.nodes if count <= max(1, nodes // 3)])
        waiting.setdefault(count, []).append(job)
    for count, jobs_ in waiting.items():
        jobs_.sort(key=lambda job: job.on(count))
    free, now, placed = nodes, 0.0, {}
    running: list[tuple[float, int]] = []
    while any(waiting.values()):
        fits = [count for count, jobs_ in waiting.items() if jobs_ and count <= free]
        if fits:
            count = max(fits, key=lambda count: waiting[count][-1].on(count))
            placement = Placement(waiting[count].pop(), count, now)
            placed[placement.job.name] = placement
            heapq.heappush(running, (placement.end, count))
            free -= count
        else:
            now, count = heapq.heappop(running)
            free += count
    plan = Plan(nodes, tuple(placed[job.name] for job in of), "best")
    area = sum(min(count * seconds for count, seconds in zip(job.nodes, job.seconds, strict=True)) for job in of)
    bounds = {"L1": max(area / nodes, *(min(job.seconds) for job in of))}
    bounds |= {"L2": min(bounds["L1"] * 1.05, plan.makespan), "L3": min(bounds["L1"] * 1.07, plan.makespan)}
    return dataclasses.replace(plan, **{"bounds": bounds} | more)


def three() -> Plan:
    return listed(jobs(3, ["conv", "fc", "lstm"], 4, hours=0.004), 4)


def twelve() -> Plan:
    return listed(jobs(12, ["conv", "fc", "lstm", "alexnet"], 16, hours=0.3), 16)


def forty(types: int = 8) -> Plan:
    names = ["conv", "fc", "lstm", *(f"net-{index}" for index in range(types - 3))]
    return listed(jobs(40, names, 64), 64, notes=("Counts were chosen by chance, seed 1.",))


@functools.cache
def thousand() -> Plan:
    return listed(jobs(1000, ["conv", "fc", "lstm", "alexnet", "gru"], 1024, hours=20), 1024)


@functools.cache
def ten_thousand() -> Plan:
    return listed(jobs(10_000, ["conv", "fc", "lstm", "alexnet", "gru"], 64), 4228)


def rows(plan: Plan) -> list[Row]:
    """What other schemes would give, made up."""
    told = {
        "uniform": "every job on 8 nodes, the best single count",
        "fastest": "every job on its fastest count",
        "fifo": "in order, no overtaking",
        "marginal": "nodes to where they gain most",
    }
    return [
        Row(name, text, plan.makespan * (1.17 + 0.21 * index), plan.mean_completion * 1.3, plan.node_seconds * 1.1)
        for index, (name, text) in enumerate(told.items())
    ]
