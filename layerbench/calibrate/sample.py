"""Samples of one exchange."""

from __future__ import annotations

from collections.abc import Callable

from layerbench.collectives import Ranks
from layerbench.device import Host, Run
from layerbench.sampling import Row, Rule, collect


def sample(run: Run, reset: Run, rule: Rule, ranks: Ranks, progress: Callable[[], None]) -> list[float] | None:
    """Seconds of an exchange that all ranks begin at once, each sample the maximum over ranks.

    Parameters
    ----------
    run
        The exchange.
    reset
        Called before every sample, outside the timed region.
    rule, ranks
        When to stop, and who takes part.
    progress
        Called now and then.

    Returns
    -------
    list of float or None
        The samples on rank 0, None elsewhere.
    """
    device = Host()

    def time_step(repetitions: int) -> list[Row]:
        reset()
        ranks.barrier()
        return ranks.gather(device.time_parts([run], repetitions))

    sampled = collect(time_step, [True], rule, ranks, lambda _: progress())
    return sampled.parts[0] if sampled is not None else None
