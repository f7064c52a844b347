"""What a loop says of its steps."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest

from layerbench.datamanager.source import Field, Out, Piece, Stage
from layerbench.overlap.loops import Implicit, Observed


class Waiting:
    """Batches that are waited for and computed."""

    def __init__(self, waits: float, computes: float) -> None:
        self.fields: Sequence[Field] = (Field("x", (), np.dtype(np.float32)),)
        self.batch_size = 1
        self.batches: int | None = None
        self.stages: Sequence[Stage] = [Stage("read", self._read)]
        self._waits, self._computes = waits, computes

    def plan(self) -> Iterator[Sequence[Piece]]:
        while True:
            yield [Piece(0, 1, None, "x")]

    def close(self) -> None:
        pass

    def _read(self, item: None, out: Out) -> None:
        time.sleep(self._waits)
        until = time.thread_time() + self._computes
        while time.thread_time() < until:
            pass


class Nothing:
    gradients: Sequence[Any] = ()

    def run(
        self, arrays: Sequence[Any], ready: Callable[[int], None], between: Callable[[], None], number: int = -1
    ) -> None:
        """No computation."""

    def synchronize(self) -> None:
        """Nothing is queued."""


class Queued:
    """A gradient that a device needs a while for; the call returns as soon as it is queued."""

    gradients: Sequence[Any] = (None,)

    def __init__(self, seconds: float) -> None:
        self._seconds, self._done = seconds, 0.0

    def run(
        self, arrays: Sequence[Any], ready: Callable[[int], None], between: Callable[[], None], number: int = -1
    ) -> None:
        self._done = time.perf_counter() + self._seconds
        ready(0)
        self.synchronize()

    def synchronize(self) -> None:
        time.sleep(max(0.0, self._done - time.perf_counter()))


@pytest.mark.parametrize(("waiting", "least", "most"), [(False, 0.09, 10.0), (True, 0.0, 0.05)])
def test_a_gradient_that_is_only_queued_is_complete_when_it_was_waited_for(
    waiting: bool, least: float, most: float
) -> None:
    observed = Observed(Queued(0.1), waiting=waiting)
    observed.run([], lambda index: None, lambda: None)
    ((before_end,),) = observed.before_end
    assert least <= before_end < most


@pytest.mark.parametrize(("waits", "computes"), [(0.1, 0.0), (0.02, 0.05)])
def test_what_a_batch_waits_for_is_not_what_it_keeps_a_core_busy_for(waits: float, computes: float) -> None:
    loop = Implicit(Nothing(), Waiting(waits, computes), None, device="host")
    seconds = loop.step()
    loop.close()
    assert seconds.transfer >= waits + computes
    assert computes <= seconds.busy < computes + 0.02
