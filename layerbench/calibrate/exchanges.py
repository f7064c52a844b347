"""Measures what ranks do together: messages and collectives of many sizes, over two ranks and over more."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from layerbench import units
from layerbench.calibrate.sample import sample
from layerbench.collectives import Ranks, agreed
from layerbench.device import Run
from layerbench.environment import available_memory_bytes
from layerbench.errors import MeasurementError
from layerbench.machine import INTERVAL, Exchanged
from layerbench.network import SWEEP_BYTES
from layerbench.partition import split
from layerbench.pinning import seat
from layerbench.records import Operation, Options
from layerbench.sampling import Rule
from layerbench.stats import interval

LONGEST = 0.3
"""Seconds of an exchange after which no larger one is timed: the bandwidth shows long before."""

REL_ERROR = 0.02

COPIES = 4
"""Of the whole vector, that a rank holds while an exchange is prepared, checked and timed."""

_IN_BLOCKS: tuple[Operation, ...] = ("all_gather", "reduce_scatter")
"""Operations of which every rank has a block of the vector; a block is one value at least."""

PERIOD = 61
"""Of the values that are exchanged: whole numbers, so that sums are exact, and no power of two, so that a block that
came to the wrong place is seen."""

Progress = Callable[[str], None]


def counts(ranks: int) -> list[int]:
    """How many ranks are timed together: powers of two from 2, and all of them."""
    powers = [2**power for power in range(1, ranks.bit_length())]
    return powers if ranks in (1, *powers) else [*powers, ranks]


def sizes(blocks: int) -> list[int]:
    """Bytes of the vectors that are timed: 4 B to 256 MiB, as many whole float32 values in each of so many blocks."""
    least = 4 * blocks
    return sorted({-(-size // least) * least for size in SWEEP_BYTES})


def sweep(options: Options, ranks: Ranks, progress: Progress) -> list[Exchanged]:
    """Time every operation over every number of ranks.

    Returns
    -------
    list of Exchanged
        On rank 0; empty elsewhere.

    Raises
    ------
    MeasurementError
        If an exchange gave wrong values.
    """
    rule = Rule(max(options.rel_error, REL_ERROR), options.max_time, options.max_samples)
    found: list[Exchanged] = []
    for count in counts(ranks.size):
        part = ranks.first(count)
        if part is not None:
            # A message is between two, however many there are.
            operations: tuple[Operation, ...] = ("all_reduce", "all_gather", "reduce_scatter")
            for operation in ("point_to_point", *operations) if count == 2 else operations:
                found += _of_sizes(operation, part, rule, progress)
        ranks.rest()
    return found


def _of_sizes(operation: Operation, ranks: Ranks, rule: Rule, progress: Progress) -> list[Exchanged]:
    """An operation over all sizes that fit in memory and do not take too long."""
    found = []
    machines = ranks.all_gather(seat().machine)
    for size in sizes(ranks.size if operation in _IN_BLOCKS else 1):
        room = available_memory_bytes() // machines.count(machines[ranks.rank])
        if min(ranks.all_gather(room)) < COPIES * size:
            break
        point = _point(operation, size, ranks, rule, progress)
        if point is not None:
            found.append(point)
        if ranks.broadcast(point is not None and point.seconds > LONGEST):
            break
    return found


def _point(operation: Operation, size: int, ranks: Ranks, rule: Rule, progress: Progress) -> Exchanged | None:
    what = f"{operation.replace('_', '-')} of {units.size(size)} over {ranks.size} ranks"
    progress(what)
    exchange = agreed(ranks, lambda: _MAKERS[operation](size // 4, ranks))
    exchange.run()
    agreed(ranks, lambda: _check(exchange, what))
    samples = sample(exchange.run, exchange.reset, rule, ranks, lambda: progress(what))
    if samples is None:
        return None
    times = interval([each / exchange.messages for each in samples], INTERVAL)
    return Exchanged(
        operation=operation, ranks=ranks.size, bytes=size, seconds=times.median, low=times.low, high=times.high
    )


@dataclass(frozen=True)
class _Exchange:
    """One exchange, ready to run.

    Attributes
    ----------
    run
        The exchange.
    right
        Whether the values are those that the first run leaves.
    reset
        What gives operands that it changes their values again.
    messages
        How many exchanges one run is.
    """

    run: Run
    right: Callable[[], bool]
    reset: Run = lambda: None
    messages: int = 1


def _check(exchange: _Exchange, what: str) -> None:
    if not exchange.right():
        raise MeasurementError(f"{what} gave wrong values: the MPI library is not to be trusted")


def _values(start: int, stop: int) -> np.ndarray:
    return np.asarray(np.arange(start, stop) % PERIOD, dtype=np.float32)


def _all_reduce(elements: int, ranks: Ranks) -> _Exchange:
    mine = _values(0, elements) + ranks.rank
    buffer = mine.copy()

    def right() -> bool:
        # Of the ranks' numbers the sum is p (p - 1) / 2.
        sums = ranks.size * (mine - ranks.rank) + ranks.size * (ranks.size - 1) // 2
        return np.array_equal(buffer, sums)

    # Sums of sums grow, within one sample of a small buffer to infinity, which adds up as quickly as anything else.
    return _Exchange(ranks.all_reduce(buffer), right, lambda: np.copyto(buffer, mine))


def _all_gather(elements: int, ranks: Ranks) -> _Exchange:
    blocks = split(elements, ranks.size)
    mine = _values(blocks[ranks.rank].start, blocks[ranks.rank].stop)
    everyone = np.full(elements, -1, np.float32)
    run = ranks.all_gather_into(mine, everyone, [block.batch for block in blocks])
    return _Exchange(run, lambda: np.array_equal(everyone, _values(0, elements)))


def _reduce_scatter(elements: int, ranks: Ranks) -> _Exchange:
    blocks = split(elements, ranks.size)
    whole = _values(0, elements) + ranks.rank
    block = blocks[ranks.rank]
    mine = np.full(block.batch, -1, np.float32)

    def right() -> bool:
        sums = ranks.size * _values(block.start, block.stop) + ranks.size * (ranks.size - 1) // 2
        return np.array_equal(mine, sums)

    run = ranks.reduce_scatter_into(whole, mine, [each.batch for each in blocks])
    return _Exchange(run, right)


def _point_to_point(elements: int, ranks: Ranks) -> _Exchange:
    """A message there and back between ranks 0 and 1, whose half is the time of one."""
    sent = _values(0, elements) + 1
    got = np.full_like(sent, -1)
    other = 1 - ranks.rank
    receive = ranks.receive(got, other)
    # Rank 1 sends back what it was sent.
    send = ranks.send(got if ranks.rank else sent, other)
    first, second = (receive, send) if ranks.rank else (send, receive)

    def run() -> None:
        first()
        second()

    return _Exchange(run, lambda: np.array_equal(got, sent), messages=2)


_MAKERS: dict[Operation, Callable[[int, Ranks], _Exchange]] = {
    "point_to_point": _point_to_point,
    "all_reduce": _all_reduce,
    "all_gather": _all_gather,
    "reduce_scatter": _reduce_scatter,
}
