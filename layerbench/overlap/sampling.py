"""Blocks of steps, implicit and explicit in turn, until both medians are known."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

from layerbench.collectives import Ranks
from layerbench.overlap.loops import Loop, Seconds
from layerbench.overlap_records import Mode
from layerbench.sampling import MIN_SAMPLES, MIN_SAMPLES_SLOW, SLOW_SAMPLE, Rule, converged
from layerbench.stats import median

BLOCK = 0.25
"""Seconds that a block of steps should last: what comes and goes within it, such as one worker's turn, is averaged."""

MOST_STEPS = 200

WARM_UP = 2


class Samples(NamedTuple):
    """Seconds of a step in each block: the slowest rank's, and what the rank that others wait for waited itself.

    ``busy`` is what of its transfer kept its core busy.
    """

    step: list[float]
    transfer: list[float]
    communication: list[float]
    busy: list[float]

    def append(self, seconds: Seconds) -> None:
        """One block more."""
        for samples, value in zip(self, seconds, strict=True):
            samples.append(value)


def collect(
    loops: Mapping[Mode, Loop], settle: int, rule: Rule, ranks: Ranks, progress: Callable[[str], None]
) -> dict[Mode, Samples]:
    """Time both loops in turn, so that what changes on the machine meanwhile changes both.

    Parameters
    ----------
    loops
        One or both of them.
    settle
        Steps that a loop takes before a block is timed, as long as that costs little: slots that were filled while the
        other loop ran would make the first steps of a loop that waits for its batches too quick.
    rule
        When to stop; its time is for each loop.
    ranks
        Who times together: rank 0 decides.
    progress
        Told of every block.

    Returns
    -------
    dict
        Samples of each mode, complete on rank 0.
    """
    lengths = {mode: _steps(loop, ranks, progress) for mode, loop in loops.items()}
    found = {mode: Samples([], [], [], []) for mode in loops}
    begin = time.perf_counter()
    going = True
    while going:
        for mode, loop in loops.items():
            unsettled = _waits(found[mode])
            for _ in range(settle if ranks.broadcast(unsettled) else 0):
                progress(f"{mode}: settling")  # steps may be long
                loop.step()
            slowest = _block(loop, lengths[mode], ranks)
            if slowest is not None:
                found[mode].append(slowest)
                progress(f"{mode}: {len(found[mode].step)} blocks of {lengths[mode]} steps")
        elapsed = time.perf_counter() - begin
        going = ranks.broadcast(not all(_enough(samples, rule, elapsed / len(loops)) for samples in found.values()))
    return found


def _waits(samples: Samples) -> bool:
    """Whether a loop waits for its batches, for a good part of the time, or that is not known."""
    return not samples.step or median(samples.transfer) > 0.02 * median(samples.step)


def _steps(loop: Loop, ranks: Ranks, progress: Callable[[str], None]) -> int:
    """Warm up, and say how many steps make a block; the same on every rank."""
    last = math.inf
    for _ in range(WARM_UP):
        progress("warming up")
        slowest = _block(loop, 1, ranks)
        last = slowest.step if slowest is not None else last
    return ranks.broadcast(max(1, min(MOST_STEPS, math.ceil(BLOCK / last))))


def _block(loop: Loop, steps: int, ranks: Ranks) -> Seconds | None:
    """A step's seconds in a block, of the rank that took longest; None on other ranks than 0.

    Ranks that compute less wait longer in the exchange, for those that compute more, and all end together. What the
    exchange itself takes is known by the rank that waits least in it, so that the parts are that rank's.
    """
    ranks.barrier()
    taken = [loop.step() for _ in range(steps)]
    mine = Seconds(*(math.fsum(values) / steps for values in zip(*taken, strict=True)))
    every = ranks.gather(mine)
    if not every:
        return None
    last = min(every, key=lambda seconds: seconds[2])
    return Seconds(max(seconds[0] for seconds in every), *last[1:])


def _enough(samples: Samples, rule: Rule, elapsed: float) -> bool:
    """Whether a median is known well enough, or as well as the time allows."""
    count = len(samples.step)
    least = MIN_SAMPLES_SLOW if count and median(samples.step) > SLOW_SAMPLE else MIN_SAMPLES
    if count < least:
        return False
    return elapsed >= rule.max_time or count >= rule.max_samples or converged(samples.step, rule.rel_error)
