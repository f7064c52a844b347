"""Warm-up, samples, and when to stop (methodology sections 3 and 4).

One sample is one iteration of a step: all its parts, on all ranks, from the same moment. Rank 0 sees every rank's
times, decides whether to go on, and tells the others.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from layerbench.collectives import Ranks
from layerbench.stats import interval, median

Row = list[float]
"""Seconds of each part, for one rank."""

TimeStep = Callable[[int], list[Row]]
"""Times one step, repeated so many times: one row for each rank on rank 0, nothing elsewhere."""

MIN_SAMPLES = 6
"""The fewest samples for which the range itself is a 95 % interval of the median."""

MIN_SAMPLES_SLOW = 3
SLOW_SAMPLE = 1.0
"""A step over a second is slow: three samples will do where six would not fit the time allowed."""

SHORTEST_SAMPLE = 1e-3
"""A step with a pass quicker than this is repeated within one sample. The whole step is, not the pass: repeated by
itself it would multiply what ranks differ by, and an exchange would divide their waiting for each other."""

MAX_RETAKEN = 20
"""Samples of one step that are dropped because the device ran slowly; a device that goes on so is sampled as it is."""

MAX_REPEATED = 0.1
"""Seconds; no step is repeated longer than this for the sake of one quick part."""

WARM_UP_AGREEMENT = 0.05
WARM_UP_SAMPLES = 10
WARM_UP_SECONDS = 1.0


@dataclass(frozen=True)
class Rule:
    """When sampling stops: the relative half-width of the 95 % interval, seconds, and number of samples."""

    rel_error: float = 0.01
    max_time: float = 5.0
    max_samples: int = 10_000
    repeat_short_steps: bool = True


@dataclass(frozen=True)
class Sampled:
    """The samples of one step.

    Attributes
    ----------
    parts
        For each part its samples: seconds, each the maximum over ranks.
    step
        Samples of the step: the maximum over ranks of the sum of the parts in it.
    rank_medians, rank_step_medians
        For each part, and for the step, the median seconds of every rank.
    inner
        Repetitions of the step within one sample.
    retaken
        Samples that were dropped because the device ran slowly in them.
    throttled
        Whether any of the samples kept is one of those.
    """

    parts: list[list[float]]
    step: list[float]
    rank_medians: list[list[float]]
    rank_step_medians: list[float]
    inner: int
    retaken: int = 0
    throttled: bool = False


def collect(
    time_step: TimeStep,
    in_step: Sequence[bool],
    rule: Rule,
    ranks: Ranks,
    progress: Callable[[int], None] = lambda _: None,
    constant: float = 0.0,
    passes: Sequence[int] = (0,),
    slowed: Callable[[], bool] = lambda: False,
) -> Sampled | None:
    """Warm up, then sample until the medians of all parts and of the step are known well enough.

    Parameters
    ----------
    time_step
        Times one step.
    in_step
        For each part, whether it belongs to the step.
    rule
        When to stop.
    ranks
        The ranks that time together.
    progress
        Told the number of samples so far, on rank 0.
    constant
        Seconds added to every step: communication that was computed.
    passes
        Which of the parts are kernels: the quickest of them decides how often the step is repeated within a sample.
    slowed
        Whether any rank's device ran slowly in what ``time_step`` timed last; asked on rank 0. Such a sample is
        dropped, as long as there were not too many: a device that is slow all the time is still measured, and said to
        be throttled.

    Returns
    -------
    Sampled or None
        The samples on rank 0, None elsewhere.
    """
    inner = _warm_up(time_step, passes, rule, ranks, progress)
    rows_by_sample: list[list[Row]] = []
    series = _Series(in_step, constant)
    begin = time.perf_counter()
    next_look = 1
    retaken, throttled = 0, False
    while True:
        rows = time_step(inner)
        going = True
        slow = ranks.rank == 0 and slowed()
        if slow and retaken < MAX_RETAKEN:
            retaken += 1
            progress(len(rows_by_sample))
        elif ranks.rank == 0:
            throttled = throttled or slow
            rows_by_sample.append(rows)
            series.append(rows)
            count = len(rows_by_sample)
            progress(count)
            elapsed = time.perf_counter() - begin
            if count >= next_look or count >= rule.max_samples or elapsed >= rule.max_time:
                going = not series.settled(rule, elapsed)
                next_look = count + max(1, count // 10)
        if not ranks.broadcast(going):
            break
    if ranks.rank:
        return None
    return replace(_summary(rows_by_sample, series, in_step, constant, inner), retaken=retaken, throttled=throttled)


class _Series:
    """Samples of every part and of the step so far."""

    def __init__(self, in_step: Sequence[bool], constant: float) -> None:
        self._in_step = in_step
        self._constant = constant
        self.parts: list[list[float]] = [[] for _ in in_step]
        self.step: list[float] = []

    def append(self, rows: list[Row]) -> None:
        for part, samples in enumerate(self.parts):
            samples.append(max(row[part] for row in rows))
        self.step.append(max(_step_of(row, self._in_step) for row in rows) + self._constant)

    def settled(self, rule: Rule, elapsed: float) -> bool:
        count = len(self.step)
        least = MIN_SAMPLES_SLOW if median(self.step) > SLOW_SAMPLE else MIN_SAMPLES
        if count < least:
            return False
        if elapsed >= rule.max_time or count >= rule.max_samples:
            return True
        return all(converged(samples, rule.rel_error) for samples in [*self.parts, self.step])


def converged(samples: Sequence[float], rel_error: float) -> bool:
    """Whether the 95 % interval of the median is as narrow, relative to it, as was asked for."""
    return interval(samples).relative_half_width <= rel_error


def _step_of(row: Row, in_step: Sequence[bool]) -> float:
    return math.fsum(seconds for seconds, counts in zip(row, in_step, strict=True) if counts)


def _warm_up(
    time_step: TimeStep,
    passes: Sequence[int],
    rule: Rule,
    ranks: Ranks,
    progress: Callable[[int], None],
) -> int:
    """Run until two successive samples agree, then say how often the step is repeated within a sample."""
    begin = time.perf_counter()
    previous = math.inf
    count = 0
    inner, going = 1, True
    while going:
        rows = time_step(inner)
        count += 1
        if ranks.rank == 0:
            progress(0)
            now = max(math.fsum(row) for row in rows)
            wanted = _repetitions(rows, passes) if rule.repeat_short_steps else 1
            agree = abs(now - previous) <= WARM_UP_AGREEMENT * now and inner >= wanted
            spent = count >= WARM_UP_SAMPLES and time.perf_counter() - begin >= WARM_UP_SECONDS
            going = not (agree or spent)
            previous, inner = now, max(inner, wanted)
        inner, going = ranks.broadcast((inner, going))
    return inner


def _repetitions(rows: Sequence[Row], passes: Sequence[int]) -> int:
    """Repetitions that make the quickest pass of a sample long enough for the clock."""
    quickest = min(max(row[part] for row in rows) for part in passes)
    step = max(math.fsum(row) for row in rows)
    if quickest <= 0 or quickest >= SHORTEST_SAMPLE:
        return 1
    return max(1, min(math.ceil(1.1 * SHORTEST_SAMPLE / quickest), math.floor(MAX_REPEATED / step)))


def _summary(
    rows_by_sample: list[list[Row]],
    series: _Series,
    in_step: Sequence[bool],
    constant: float,
    inner: int,
) -> Sampled:
    size = len(rows_by_sample[0])
    rank_medians = [
        [median([rows[rank][part] for rows in rows_by_sample]) for rank in range(size)] for part in range(len(in_step))
    ]
    rank_steps = [median([_step_of(rows[rank], in_step) for rows in rows_by_sample]) + constant for rank in range(size)]
    return Sampled(series.parts, series.step, rank_medians, rank_steps, inner)
