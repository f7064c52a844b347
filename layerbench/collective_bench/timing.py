"""Samples of one exchange."""

from __future__ import annotations

from collections.abc import Callable

from layerbench.collective_bench.exchanges import Exchange
from layerbench.collectives import Ranks
from layerbench.device import Device, Run
from layerbench.sampling import Row, Rule, Sampled, collect


def sampled(
    exchange: Exchange, ranks: Ranks, device: Device, rule: Rule, apart: bool, progress: Callable[[int], None]
) -> tuple[Sampled | None, list[float]]:
    """Samples of an exchange that all ranks begin at once, each the maximum over ranks.

    Parameters
    ----------
    exchange, ranks, device
        What is timed, who takes part, and whose clock counts.
    rule
        When to stop.
    apart
        Whether ranks meet before each of several exchanges in a sample. The root of a broadcast is done before the
        others are: of broadcasts in a row it would be ahead, and the time of one would be the inverse of their rate.
    progress
        Told the number of samples so far.

    Returns
    -------
    Sampled or None, list of float
        The samples, and the minimum over ranks of every sample ever taken, those of the warm-up first; None and nothing
        on other ranks than 0.
    """
    quickest: list[float] = []

    def time_step(repetitions: int) -> list[Row]:
        exchange.reset()
        device.synchronize()
        ranks.barrier()
        rows = ranks.gather(_timed(exchange.run, repetitions, ranks, device, apart))
        if rows:
            quickest.append(min(row[0] for row in rows))
        return rows

    return collect(time_step, [True], rule, ranks, progress), quickest


def _timed(run: Run, repetitions: int, ranks: Ranks, device: Device, apart: bool) -> Row:
    if apart:
        return device.time_parts([run], repetitions, ranks.barrier)
    if device.name != "host":
        return device.time_parts([run], repetitions)

    def in_a_row() -> None:
        for _ in range(repetitions):
            run()

    # Small exchanges take little more than looking at the clock: it is looked at around all of them.
    return [seconds / repetitions for seconds in device.time_parts([in_a_row], 1)]
