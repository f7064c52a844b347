"""Which cores each rank may use: disjoint, and equally many for every rank."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from layerbench.errors import LaunchError
from layerbench.topology import one_of_each_core


class Seat(NamedTuple):
    """Where a rank finds itself: a machine, and the cores (the first hardware thread of each) it may run on.

    The machine is told by its running kernel, not its host name: containers and network namespaces have names of their
    own and share cores all the same.
    """

    machine: str
    cores: tuple[int, ...]


def seat() -> Seat:
    """This process's seat."""
    try:
        machine = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        machine = os.uname().nodename
    return Seat(machine, tuple(one_of_each_core(os.sched_getaffinity(0))))


def assign(seats: Sequence[Seat], threads: int, *, oversubscribe: bool) -> list[tuple[int, ...]]:
    """Cores for every rank.

    Ranks that a launcher has already bound to enough cores of their own keep the first ``threads`` of these. Else the
    cores that the ranks of a machine share are dealt out in rank order.

    Raises
    ------
    LaunchError
        If a machine has fewer cores than its ranks need, unless ``oversubscribe``: then cores are dealt round robin.
    """
    assigned: dict[int, tuple[int, ...]] = {}
    for machine in dict.fromkeys(seat.machine for seat in seats):
        ranks = [rank for rank, seat in enumerate(seats) if seat.machine == machine]
        cores = sorted({core for rank in ranks for core in seats[rank].cores})
        bound = sum(len(seats[rank].cores) for rank in ranks) == len(cores)
        if bound and all(len(seats[rank].cores) >= threads for rank in ranks):
            assigned |= {rank: seats[rank].cores[:threads] for rank in ranks}
            continue
        if len(ranks) * threads > len(cores) and not oversubscribe:
            raise LaunchError(
                f"{len(ranks)} ranks of {threads} threads share the {len(cores)} cores of one machine: that would time "
                "oversubscription; use fewer ranks or threads, more hosts, or --oversubscribe"
            )
        for place, rank in enumerate(ranks):
            picked = [cores[(place * threads + i) % len(cores)] for i in range(threads)]
            assigned[rank] = tuple(sorted(set(picked)))
    return [assigned[rank] for rank in range(len(seats))]
