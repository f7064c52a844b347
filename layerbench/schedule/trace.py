"""Jobs that arrive over time: read from a file, or made at random at a wanted load."""

from __future__ import annotations

import csv
import io
import math
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from layerbench.errors import UsageError
from layerbench.schedule.jobs import Job, check_names
from layerbench.suite_format import did_you_mean, printable, shown

COLUMNS = ("arrival", "type", "work")

WORKS = (1.0, 100.0)
"""Least and most work of a job made at random."""

LONGEST = 1e12
"""Seconds, 30,000 years: beyond it the clock of a simulation can no longer tell milliseconds apart."""

NAMES_SHOWN = 12
"""Of known types, in a message."""


@dataclass(frozen=True)
class Arrival:
    """A job that arrives.

    Attributes
    ----------
    name
        Of the job.
    type
        Which curve it has.
    at
        When it arrives, in seconds.
    work
        How many times the curve's time it takes: ``work * curve.on(n)`` seconds on n nodes.
    """

    name: str
    type: str
    at: float
    work: float


def curves_of(jobs: Iterable[Job]) -> dict[str, Job]:
    """Jobs as the curves that a trace's types name: by type, or by name where two jobs have one type."""
    kept = list(jobs)
    by_type = {job.type: job for job in kept}
    return by_type if len(by_type) == len(kept) else {job.name: job for job in kept}


def read(path: Path) -> list[Arrival]:
    """Read a trace: CSV with the columns ``arrival,type,work`` (and ``job``, the name), in any order of both.

    Returns
    -------
    list of Arrival
        By arrival time. Without a column ``job``, a job is called ``type#row``, rows counted from 1.

    Raises
    ------
    UsageError
        If it cannot be read, a column is missing, a number is not one, an arrival is negative, work is not positive,
        two jobs have one name, or there is no arrival.
    """
    called = printable(str(path))
    reader = csv.DictReader(io.StringIO(_text(path), newline=""), skipinitialspace=True)
    try:
        head = [(name or "").strip() for name in reader.fieldnames or ()]
        reader.fieldnames = head
        missing = [name for name in COLUMNS if name not in head]
        if missing:
            raise UsageError(
                f"{called}: expected a header with the columns {','.join(COLUMNS)} (and job); "
                f"missing: {', '.join(missing)}"
            )
        if twice := [name for name in COLUMNS if head.count(name) > 1]:
            raise UsageError(f"{called}: the column {twice[0]} stands twice in the header: leave one out")
        arrivals = [_arrival(row, number, f"{called}: line {reader.line_num}") for number, row in enumerate(reader, 1)]
    except csv.Error as error:
        raise UsageError(f"{called}: line {reader.line_num}: is not CSV: {printable(str(error))}") from None
    if not arrivals:
        raise UsageError(f"{called}: has no arrivals: expected a row arrival,type,work for each job")
    try:
        check_names((arrival.name for arrival in arrivals), "name each once in column job")
    except UsageError as error:
        raise UsageError(f"{called}: {error}") from None
    return sorted(arrivals, key=lambda arrival: arrival.at)


def _text(path: Path) -> str:
    called = printable(str(path))
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"{called}: is not UTF-8 (byte {error.start}); expected a trace as CSV") from None
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else printable(str(error))
        raise UsageError(f"{called}: cannot be read: {why}; expected a trace as CSV") from None


def _arrival(row: Mapping[str, str | None], number: int, where: str) -> Arrival:
    if None in row:
        raise UsageError(f"{where}: has more cells than the header has columns: separate cells by commas")
    cells = {name: (row.get(name) or "").strip() for name in (*COLUMNS, "job")}
    for name in COLUMNS:
        if not cells[name]:
            raise UsageError(f"{where}: {name} is missing; expected {','.join(COLUMNS)}")
    at, work = (_number(cells[name], f"{where}: {name}") for name in ("arrival", "work"))
    if at < 0:
        raise UsageError(f"{where}: arrival must be 0 s or later, not {shown(at)}")
    if work <= 0:
        raise UsageError(f"{where}: work must be positive, not {shown(work)}")
    return Arrival(cells["job"] or f"{cells['type']}#{number}", cells["type"], at, work)


def _number(text: str, where: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise UsageError(f"{where} must be a number, not {shown(text)}") from None
    if not math.isfinite(value):
        raise UsageError(f"{where} must be finite, not {shown(text)}")
    return value


def check(arrivals: Sequence[Arrival], curves: Mapping[str, Job], nodes: int) -> None:
    """See that every arrival can run on ``nodes`` nodes.

    Raises
    ------
    UsageError
        If there is none, a type has no curve, a curve has no count that fits, or a time or a work is impossible.
    """
    if nodes < 1:
        raise UsageError(f"--nodes must be at least 1, not {nodes}")
    if not arrivals:
        raise UsageError("there are no arrivals: a trace needs one job at least")
    for arrival in arrivals:
        called = f"job {printable(arrival.name)}"
        if not 0 <= arrival.at <= LONGEST:
            raise UsageError(f"{called}: its arrival must be from 0 to {LONGEST:g} s, not {arrival.at} s")
        if not 0 < arrival.work < math.inf:
            raise UsageError(f"{called}: its work must be positive and finite, not {arrival.work}")
    for type_ in sorted({arrival.type for arrival in arrivals}):
        if type_ not in curves:
            raise UsageError(f"no curve for type {shown(type_)}{did_you_mean(type_, curves)}; known: {_known(curves)}")
        _feasible(type_, curves[type_], nodes)
    for arrival in arrivals:
        seconds = arrival.work * max(curves[arrival.type].seconds)
        if not 0 < seconds <= LONGEST:
            raise UsageError(
                f"job {printable(arrival.name)}: work {arrival.work:g} makes {seconds:g} s on some count; expected "
                f"{LONGEST:g} s at most, and more than none"
            )


def _known(curves: Mapping[str, Job]) -> str:
    names = [printable(name) for name in curves]
    more = f" and {len(names) - NAMES_SHOWN:,} more" if len(names) > NAMES_SHOWN else ""
    return ", ".join(names[:NAMES_SHOWN]) + more


def _feasible(type_: str, curve: Job, nodes: int) -> None:
    if curve.nodes[0] > nodes:
        raise UsageError(
            f"type {printable(type_)} needs {curve.nodes[0]} nodes at least and there are {nodes}: "
            "give more with --nodes, or a time on fewer nodes"
        )


def poisson(
    types: Sequence[str], count: int, rate: float, seed: int = 0, works: tuple[float, float] = WORKS
) -> list[Arrival]:
    """Arrivals at random: gaps exponential with mean 1 / ``rate`` seconds, types uniform, works log-uniform.

    Parameters
    ----------
    types
        To choose from.
    count
        How many jobs.
    rate
        Jobs a second; see :func:`rate_for_load`.
    seed
        The same one gives the same jobs.
    works
        Least and most.

    Raises
    ------
    UsageError
        If there is nothing to choose from, or a number is out of its range.
    """
    if not types:
        raise UsageError("there are no types to make arrivals of: expected one curve at least")
    if count < 1:
        raise UsageError(f"the number of arrivals must be at least 1, not {count}")
    if not 0 < rate < math.inf:
        raise UsageError(f"the arrival rate must be positive and finite, not {rate} jobs/s")
    low, high = _works(works)
    chance = random.Random(seed)
    arrivals, at = [], 0.0
    for number in range(1, count + 1):
        at += chance.expovariate(rate)
        type_ = chance.choice(types)
        work = math.exp(chance.uniform(math.log(low), math.log(high)))
        arrivals.append(Arrival(f"{type_}#{number}", type_, at, min(max(work, low), high)))
    return arrivals


def rate_for_load(curves: Mapping[str, Job], nodes: int, load: float, works: tuple[float, float] = WORKS) -> float:
    """Jobs a second that offer a load to ``nodes`` nodes, types uniform and works log-uniform.

    The load is the node-seconds that arrive in a second, each job on its count of least node-seconds, divided by
    ``nodes``: no policy keeps up with one above 1.

    Raises
    ------
    UsageError
        If there is no curve, one has no count that fits, or a number is out of its range.
    """
    if not curves:
        raise UsageError("there are no curves to take a load from: expected one at least")
    if not 0 < load < math.inf:
        raise UsageError(f"the load must be positive and finite, not {load}")
    for type_, curve in curves.items():
        _feasible(type_, curve, nodes)
    low, high = _works(works)
    mean_work = (high - low) / math.log(high / low) if high > low else low
    area = math.fsum(min(n * seconds for n, seconds in curve.useful(nodes)) for curve in curves.values()) / len(curves)
    return load * nodes / (mean_work * area)


def _works(works: tuple[float, float]) -> tuple[float, float]:
    low, high = works
    if not 0 < low <= high < math.inf:
        raise UsageError(f"the least and most work must be positive, finite and in this order, not {low} and {high}")
    return low, high
