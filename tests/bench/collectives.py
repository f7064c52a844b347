"""All-reduce as ``layerbench collectives`` times it, against the plain loop of OSU's benchmarks over the same MPI.

Two ranks take turns, size by size: a loop over ``Allreduce`` of mpi4py, of which the mean is taken over iterations and
ranks as ``osu_allreduce`` does it, and our samples. In place, as ours, and with a buffer for the result, as OSU has it.
The ratio is of bus bandwidths, ours over the plain loop's: all that ours adds to an exchange would make it less than 1,
and so does that ours is the slowest rank's time and not the mean.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from layerbench.collective_bench.exchanges import make
from layerbench.collective_bench.timing import sampled
from layerbench.collectives import MPIRanks, Ranks
from layerbench.device import Host
from layerbench.launch import find_mpiexec
from layerbench.pinning import assign, seat
from layerbench.sampling import Rule
from layerbench.stats import Interval, interval, median

RANKS = 2
SIZES = (4, 64, 1024, 16 * 1024, 256 * 1024, 4 * 2**20, 16 * 2**20)
ROUNDS = 21

LARGE = 8192
"""Bytes, from which on OSU iterates less."""

ITERATIONS = {False: (1000, 100), True: (100, 10)}
"""Of small and of large sizes: those that are timed, and those before."""

SECONDS = 0.05
"""Of our samples in a round."""

AIM = 0.98
WAYS = ("in place", "out of place")


def measure() -> tuple[dict[str, Any], str]:
    """Ratios by size, and their table."""
    mpiexec = find_mpiexec()
    if mpiexec is None:
        return {"sizes": []}, "No mpiexec: nothing was measured.\n"
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "found.json"
        command = [mpiexec, "-n", str(RANKS), sys.executable, "-m", "tests.bench.collectives", str(path)]
        subprocess.run(command, cwd=Path(__file__).parents[2], check=True)
        rows = json.loads(path.read_text())
    return {"ranks": RANKS, "sizes": rows, "aim": AIM}, _table(rows)


def _rank(path: Path) -> None:
    """What one of the ranks does; the first writes."""
    import os

    ranks = MPIRanks()
    seats = ranks.all_gather(seat())
    os.sched_setaffinity(0, assign(seats, 1, oversubscribe=True)[ranks.rank])
    rows = [_of_size(size, ranks) for size in SIZES]
    if ranks.rank == 0:
        path.write_text(json.dumps(rows))


def _of_size(size: int, ranks: Ranks) -> dict[str, Any]:
    exchange = make("all_reduce", size, "fp32", ranks, np)
    exchange.prepare()
    loops = {way: _plain(size, ranks, way) for way in WAYS}
    ours: list[float] = []
    plain: dict[str, list[float]] = {way: [] for way in WAYS}
    for _ in range(ROUNDS):
        for way, loop in loops.items():
            plain[way].append(loop())
        found, _quickest = sampled(exchange, ranks, Host(), Rule(0.005, SECONDS), False, lambda _: None)
        if found is not None:
            ours.append(median(found.step))
    if ranks.rank:
        return {}
    ratios = {way: [one / two for one, two in zip(plain[way], ours, strict=True)] for way in WAYS}
    return {"bytes": size, "ours": ours, "plain": plain, "ratio": ratios}


def _plain(size: int, ranks: Ranks, way: str) -> Callable[[], float]:
    """A loop over MPI's call; seconds of one, the mean over iterations and ranks."""
    from mpi4py import MPI

    world = ranks.communicator
    given = np.ones(size // 4, np.float32)
    into = np.zeros_like(given)
    iterations, before = ITERATIONS[size > LARGE]

    def loop() -> float:
        # Powers of the number of ranks grow to infinity, which adds up as quickly as anything else.
        given.fill(1)
        with np.errstate(over="ignore"):
            if way == "in place":
                for _ in range(before):
                    world.Allreduce(MPI.IN_PLACE, given, MPI.SUM)
                world.Barrier()
                begin = time.perf_counter()
                for _ in range(iterations):
                    world.Allreduce(MPI.IN_PLACE, given, MPI.SUM)
                taken = time.perf_counter() - begin
            else:
                for _ in range(before):
                    world.Allreduce(given, into, MPI.SUM)
                world.Barrier()
                begin = time.perf_counter()
                for _ in range(iterations):
                    world.Allreduce(given, into, MPI.SUM)
                taken = time.perf_counter() - begin
        every = ranks.all_gather(taken / iterations)
        return sum(every) / len(every)

    return loop


def _table(rows: list[dict[str, Any]]) -> str:
    lines = [
        f"All-reduce over {RANKS} ranks: busbw of `layerbench collectives` over that of OSU's plain loop, aim {AIM}:",
        "",
        "| size | ours | plain, in place | ratio | plain, out of place | ratio |",
        "|---:|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        cells = [f"{row['bytes']:,} B", _microseconds(row["ours"])]
        for way in WAYS:
            cells += [_microseconds(row["plain"][way]), _told(interval(row["ratio"][way]))]
        lines.append(f"| {' | '.join(cells)} |")
    if rows:
        of_each = [median(row["ratio"]["in place"]) for row in rows]
        lines += ["", f"Median over sizes, in place: {median(of_each):.3f}; least {min(of_each):.3f}."]
    return "\n".join(lines) + "\n"


def _microseconds(samples: list[float]) -> str:
    return f"{median(samples) * 1e6:,.2f} µs"


def _told(ratio: Interval) -> str:
    return f"{ratio.median:.3f} [{ratio.low:.3f}, {ratio.high:.3f}]"


if __name__ == "__main__":
    if len(sys.argv) > 1:
        _rank(Path(sys.argv[1]))
    else:
        print(measure()[1])
