"""Curves and traces for tests, and a checker of outcomes that shares no code with the simulation."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from hypothesis import strategies as st

from layerbench.schedule.jobs import Job
from layerbench.schedule.outcome import Outcome
from layerbench.schedule.trace import Arrival


def curve(type_: str, **seconds: float) -> Job:
    """``curve("conv", n1=8.0, n2=4.5)``."""
    return Job.of(type_, type_, [(int(count[1:]), value) for count, value in seconds.items()])


def like_alexnet() -> dict[str, Job]:
    """A type that scales almost ideally, one that gets slower with nodes, and one between."""
    found = [
        curve("conv", n1=165.8, n2=85.7, n4=42.1, n8=21.3),
        curve("fc", n1=63.0, n2=164.0, n4=197.0, n8=219.0),
        curve("lstm", n1=54.2, n2=32.0, n4=19.6, n8=15.4),
    ]
    return {job.type: job for job in found}


def amdahl(type_: str, one: float, serial: float, most: int) -> Job:
    """A curve of which a part gains nothing from nodes."""
    counts = [2**power for power in range(most.bit_length())]
    return Job.of(type_, type_, [(count, one * (serial + (1 - serial) / count)) for count in counts])


def arrivals(*rows: tuple[str, float, float]) -> list[Arrival]:
    """(type, at, work) of each."""
    return [Arrival(f"job{number}", type_, at, work) for number, (type_, at, work) in enumerate(rows)]


def curves(most: int = 8) -> st.SearchStrategy[dict[str, Job]]:
    """Superlinear, flat, rising, with gaps, or of one count; each type has a count up to ``most``."""
    seconds = st.floats(0.05, 500.0)
    points = st.dictionaries(st.integers(1, most + 3), seconds, min_size=1, max_size=6)
    feasible = points.filter(lambda found: min(found) <= most)
    return st.lists(feasible, min_size=1, max_size=4).map(
        lambda found: {f"t{index}": Job.of(f"t{index}", f"t{index}", each.items()) for index, each in enumerate(found)}
    )


def traces(types: Sequence[str], most: int = 30) -> st.SearchStrategy[list[Arrival]]:
    """Arrivals in no order, some at one time."""
    at = st.one_of(st.integers(0, 20).map(float), st.floats(0.0, 1000.0))
    row = st.tuples(st.sampled_from(list(types)), at, st.floats(0.01, 50.0))
    return st.lists(row, min_size=1, max_size=most).map(lambda rows: arrivals(*rows))


def check(outcome: Outcome, trace: Sequence[Arrival], known: Mapping[str, Job], cost: float | None = None) -> None:
    """Never more nodes than there are, each job once, all its work done in its true time, none before its arrival."""
    assert [job.arrival for job in outcome.jobs] == list(trace)
    changes: list[tuple[float, int]] = []
    for job in outcome.jobs:
        times = [at for at, _ in job.history] + [job.end]
        assert times == sorted(times)
        assert times[0] >= job.arrival.at
        done = 0.0
        for index, (at, nodes) in enumerate(job.history):
            until = times[index + 1]
            assert nodes in known[job.arrival.type].nodes
            paused = (cost or 0.0) if index else 0.0
            assert until - at >= paused * (1 - 1e-9) - 1e-9, "no change before the one before is paid"
            done += (until - at - paused) / (known[job.arrival.type].on(nodes) * job.arrival.work)
            changes += [(at, nodes), (until, -nodes)]
        assert math.isclose(done, 1.0, rel_tol=1e-6)
        assert cost is not None or len(job.history) == 1
        assert len({at for at, _ in job.history}) == len(job.history), "at most once at an event"
    busy = 0
    for _, change in sorted(changes):  # what ends at a time frees its nodes for what starts then
        busy += change
        assert 0 <= busy <= outcome.nodes
    assert busy == 0
