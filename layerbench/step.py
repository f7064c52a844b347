"""One training step on the ranks of a launch: the calls that are timed, in order, and what ranks exchange in it.

Every layout goes the same way: each pass is a row of segments, after each of which ranks may exchange something. Of the
data layout that is the gradient after ``backward_weights``; of the model layout, results after ``forward`` and
``backward_data``, and an LSTM's state after every time step.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import cast

import numpy as np

from layerbench.collectives import OneRank, Ranks
from layerbench.device import Run, waits
from layerbench.errors import KernelError
from layerbench.kernel import Gather, Prepared, PreparedSlice, PreparedUnits, Reduce, Segment
from layerbench.layers import PASSES, AnyLayer, Pass, SplitLSTM
from layerbench.network import all_gather_seconds, all_reduce_seconds
from layerbench.partition import Share, gradient_operation
from layerbench.records import Layout, Network, Operation, Part

Segments = Mapping[Pass, Sequence[Segment]]

_MODELLED: dict[Operation, str] = {"all_reduce": "modelled all-reduce", "all_gather": "modelled all-gather"}


@dataclass(frozen=True)
class Call:
    """A timed call of a step.

    Attributes
    ----------
    part
        Whose seconds its own are; None where they count for none.
    run
        The call.
    flushed
        Whether caches are flushed before it, in runs with cold caches: not between the segments of one pass.
    """

    part: Part | None
    run: Run
    flushed: bool


class InTurn:
    """A call that makes several calls, one at a time, over and over: the same one on other operands each time."""

    def __init__(self, runs: Sequence[Run]) -> None:
        self._runs = tuple(runs)
        self._next = 0
        self.waits = any(waits(run) for run in runs)

    def __call__(self) -> None:
        self._runs[self._next]()
        self._next = (self._next + 1) % len(self._runs)


def in_turn(sets: Sequence[Sequence[Call]]) -> list[Call]:
    """The calls of a step that is prepared several times, on operands of its own each time, as calls in turn."""
    if len(sets) == 1:
        return list(sets[0])
    return [replace(calls[0], run=InTurn([call.run for call in calls])) for calls in zip(*sets, strict=True)]


@dataclass(frozen=True)
class Exchanged:
    """An exchange among all ranks.

    ``bytes`` is the whole vector, as :class:`layerbench.partition.Exchange` has it; ``name`` what does it.
    """

    operation: Operation
    bytes: int
    name: str


def in_step(layer: AnyLayer, part: Part) -> bool:
    """Whether a part belongs to the step: not ``backward_data`` of a network's first layer."""
    return part != "backward_data" or layer.backward_data_in_step


def segments(
    layer: AnyLayer, share: Share, layout: Layout, ranks: int, prepared: Prepared
) -> dict[Pass, list[Segment]]:
    """The passes of a rank's share in pieces, with what is exchanged after each; nothing is among one rank.

    Of a pass that is not in the step, what would be exchanged after it is left out: nobody waits for it. What is
    exchanged within it stays.
    """
    found = {pass_: [Segment(run)] for pass_, run in prepared.run.items()}
    if ranks == 1:
        return found
    if layout == "data":
        return found | {"backward_weights": [Segment(prepared.run["backward_weights"], Reduce(prepared.gradient))]}
    if isinstance(share.layer, SplitLSTM):
        found = {pass_: list(pieces) for pass_, pieces in cast(PreparedUnits, prepared).segments.items()}
    else:
        buffers = cast(PreparedSlice, prepared).buffers
        of_input = Gather if gradient_operation(layer) == "all_gather" else Reduce
        found["forward"] = [Segment(prepared.run["forward"], Gather(buffers["forward"]))]
        found["backward_data"] = [Segment(prepared.run["backward_data"], of_input(buffers["backward_data"]))]
    if not in_step(layer, "backward_data"):
        *before, last = found["backward_data"]
        found["backward_data"] = [*before, Segment(last.run)]
    return found


def elements(pieces: Segments) -> list[int]:
    """How many elements a rank gives to each exchange of its passes, pass by pass."""
    return [_given(exchange).size for segment in _every(pieces) if (exchange := segment.exchange) is not None]


def _every(pieces: Segments) -> Iterator[Segment]:
    for pass_ in PASSES:
        yield from pieces[pass_]


def _given(exchange: Gather | Reduce) -> np.ndarray:
    array: np.ndarray = exchange.mine if isinstance(exchange, Gather) else exchange.buffer
    return array


def calls(
    layer: AnyLayer, pieces: Segments, passes: Sequence[Pass], counts: Sequence[Sequence[int]], ranks: Ranks | None
) -> tuple[list[Call], list[Exchanged]]:
    """The calls of a step, and what it exchanges.

    Parameters
    ----------
    pieces
        This rank's; see :func:`segments`.
    passes
        Those that are timed.
    counts
        :func:`elements` of every rank, in rank order.
    ranks
        Who exchanges; None where exchanges are not run, but computed.

    Returns
    -------
    list of Call, list of Exchanged
        Exchanges of the step only: those within a pass that is not in it are run, and count for no part.

    Raises
    ------
    KernelError
        If ranks do not lay out alike what they are to add up.
    """
    found: list[Call] = []
    exchanged: list[Exchanged] = []
    index = 0
    for pass_ in PASSES:
        of_pass = pieces[pass_]
        counts_in_step = in_step(layer, pass_)
        for number, segment in enumerate(of_pass):
            if pass_ in passes:
                found.append(Call(pass_, segment.run, number == 0))
            if segment.exchange is None:
                continue
            of_ranks = [of_rank[index] for of_rank in counts]
            index += 1
            if pass_ not in passes:
                continue
            if counts_in_step:
                exchanged.append(_exchanged(layer, segment.exchange, of_ranks, ranks or OneRank()))
            if ranks is not None:
                run = _collective(segment.exchange, of_ranks, ranks)
                found.append(Call("communication" if counts_in_step else None, run, len(of_pass) == 1))
    return found, exchanged


def _exchanged(layer: AnyLayer, exchange: Gather | Reduce, of_ranks: Sequence[int], ranks: Ranks) -> Exchanged:
    given = _given(exchange)
    if isinstance(exchange, Gather):
        name = ranks.operation_name("all_gather", len(set(of_ranks)) == 1)
        return Exchanged("all_gather", sum(of_ranks) * given.itemsize, name)
    if len(set(of_ranks)) > 1:
        raise KernelError(
            f"{layer.name}: ranks are to add up results that the kernel lays out in {min(of_ranks)} elements on one "
            f"and {max(of_ranks)} on another; choose another with --kernels"
        )
    return Exchanged("all_reduce", given.nbytes, ranks.operation_name("all_reduce", True))


def _collective(exchange: Gather | Reduce, of_ranks: Sequence[int], ranks: Ranks) -> Run:
    if isinstance(exchange, Reduce):
        return ranks.all_reduce(exchange.buffer)
    everyone = exchange.everyone
    if everyone is None:
        everyone = np.empty_like(exchange.mine, shape=(sum(of_ranks),))
        everyone.fill(0)  # touched for the first time here, and not within a timed call
    return ranks.all_gather_into(exchange.mine, everyone, of_ranks)


def stand_in(pieces: Segments) -> None:
    """Run the passes of a rank that is alone with plausible values in place of those other ranks would have given.

    An LSTM's next time step reads what is gathered: numbers as large as the rank's own take a processor as long as the
    right ones.
    """
    for segment in _every(pieces):
        segment.run()
        exchange = segment.exchange
        if isinstance(exchange, Gather) and exchange.everyone is not None:
            mine, everyone = exchange.mine, exchange.everyone
            for start in range(0, everyone.size, mine.size):
                everyone[start : start + mine.size] = mine[: everyone.size - start]


def exchange_among(exchanges: Sequence[Gather | Reduce | None]) -> None:
    """Do in one process what ranks would do together: one exchange, as each of them has it, in rank order."""
    gathers = [exchange for exchange in exchanges if isinstance(exchange, Gather)]
    reductions = [exchange for exchange in exchanges if isinstance(exchange, Reduce)]
    if gathers:
        gathered = np.concatenate([exchange.mine for exchange in gathers])
        for gather in gathers:
            if gather.everyone is not None:
                gather.everyone[:] = gathered
    if reductions:
        total = np.sum([exchange.buffer for exchange in reductions], axis=0)
        for reduction in reductions:
            reduction.buffer[:] = total


def modelled_seconds(network: Network, ranks: int, exchanged: Sequence[Exchanged]) -> float:
    """Seconds that a step's exchanges take on a network, one after another."""
    laws = {"all_reduce": all_reduce_seconds, "all_gather": all_gather_seconds}
    return sum(laws[each.operation](network, ranks, each.bytes) for each in exchanged)


def named(exchanged: Sequence[Exchanged], *, modelled: bool) -> str:
    """What was exchanged, in words, each kind and size once: ``MPI_Allgather of 65536 B, 50 times``."""
    told = []
    for each, alike in groupby(exchanged):
        times = len(list(alike))
        name = _MODELLED[each.operation] if modelled else each.name
        told.append(f"{name} of {each.bytes} B" + (f", {times} times" if times > 1 else ""))
    return "; ".join(told)
