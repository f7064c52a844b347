"""Timing calls that queue work on a stream: by events between them, with the host's queueing hidden.

A call that only queues is timed behind a kernel that holds the stream (:mod:`layerbench.cuda.blocking`). How many calls
may be queued there depends on how many launches each of them makes, which nobody tells: when the launch queue is full
the host waits, the kernel gives up, and fewer are queued together from then on. What had been queued by then is timed
well; the calls that had not are left out where others were.

A call that waits (:func:`layerbench.device.waits`) would wait for ever for a stream that is held: the stream is
released before it, and its time is what passes on the stream until the host has come back.

Nothing is ever timed again for having failed: a call may be an exchange among ranks, of which each has to make as many.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from layerbench.cuda import library
from layerbench.cuda.blocking import Blocking
from layerbench.cuda.clock import CoreClock
from layerbench.cuda.remembered import Remembered
from layerbench.device import Run, waits

CALLS_TOGETHER = 64
"""Calls that are held together at first, and at most."""

KEPT = 0.75
"""Of as many calls as fitted, so many are held together the next time: calls differ in what they launch."""


class Interval(NamedTuple):
    """The time of one call.

    Attributes
    ----------
    seconds
        From event to event.
    sound
        Whether the host's queueing of it was hidden, or had no part in it.
    """

    seconds: float
    sound: bool


class Stopwatch:
    """Times calls on the current stream of the current GPU."""

    def __init__(self) -> None:
        self._cupy = library.load()
        self._blocking = Blocking()
        self._clock = CoreClock()
        self._events: list[Any] = []
        # Of each call, how many may be held together; 0 once not even one could.
        self._together: Remembered[int] = Remembered()
        # CUDA loads a kernel when it is first launched, for which it may wait for the stream: never while it is held.
        self._clock.begin()
        self._clock.end()
        self._blocking.hold()
        self._blocking.release()
        self._cupy.cuda.Device().synchronize()

    def intervals(self, calls: Sequence[Run], before_each: Run | None = None) -> list[Interval]:
        """Make calls one after another and time each of them.

        What was never timed before is called once ahead of all, so that its kernels are loaded.

        Parameters
        ----------
        calls
            In their order; the same one may come again.
        before_each
            Called before each of them, outside of its time.
        """
        self.meet(calls)
        # A call needs an event behind it, and one ahead where it does not follow another at once.
        self._provide(2 * len(calls))
        self._clock.reset()
        sample = _Sample(self, before_each)
        try:
            for call in calls:
                sample.make(call)
            sample.end_block()
        finally:
            # Of a call that failed too: nothing else would let the stream go on.
            self._blocking.release()
        self._cupy.cuda.Device().synchronize()
        elapsed = self._cupy.cuda.get_elapsed_time
        return [
            Interval(elapsed(self._events[start], self._events[end]) * 1e-3, sound)
            for start, end, sound in sample.marks
        ]

    def clock(self) -> float | None:
        """The core clock in Hz during the last :meth:`intervals`; None where that was too short to tell."""
        return self._clock.hertz()

    def queued(self, call: Run, times: int, now: Any) -> float | None:
        """Seconds in which the host queues one call, of so many in a row, or as many as fit, on a held stream.

        Parameters
        ----------
        now
            A clock of the host, in seconds.

        Returns
        -------
        float or None
            None where not even one fits.
        """
        self.meet([call])
        stream = self._cupy.cuda.get_current_stream()
        made = 0
        self._blocking.hold()
        try:
            begin = end = now()
            for _ in range(times):
                call()
                if self._blocking.gave_up:
                    break
                made, end = made + 1, now()
        finally:
            self._blocking.release()
            stream.synchronize()
        return (end - begin) / made if made else None

    def together(self, call: Run) -> int:
        """How many calls may be held together if this is one of them."""
        found = self._together.get(call)
        return CALLS_TOGETHER if found is None else found

    def meet(self, calls: Sequence[Run]) -> None:
        """Call what was never called here before, and wait for it."""
        new = [call for call in _distinct(calls) if self._together.get(call) is None]
        for call in new:
            call()
            self._together.put(call, CALLS_TOGETHER)
        if new:
            self._cupy.cuda.Device().synchronize()

    def _provide(self, count: int) -> None:
        """Make events: timing enabled, and spinning where they are waited for."""
        while len(self._events) < count:
            self._events.append(self._cupy.cuda.Event())


def _distinct(calls: Sequence[Run]) -> list[Run]:
    """Each call once, in the order of their first time; they need not be hashable."""
    return list({id(call): call for call in calls}.values())


class _Sample:
    """Calls being made: which block they are in, and which events lie around them.

    Attributes
    ----------
    marks
        Of each call the events before and after it, and whether its interval is sound.
    """

    def __init__(self, watch: Stopwatch, before_each: Run | None) -> None:
        self.marks: list[tuple[int, int, bool]] = []
        self._watch = watch
        self._before_each = before_each
        self._stream = watch._cupy.cuda.get_current_stream()
        self._used = 0
        self._block: list[Run] | None = None
        self._room = 0
        self._last: int | None = None

    def make(self, call: Run) -> None:
        blocking = self._watch._blocking
        together = self._watch.together(call)
        held = together > 0 and not waits(call)
        if self._before_each is not None:
            self.end_block()
            self._before_each()
            self._last = None
        if self._block is not None and (not held or len(self._block) >= min(self._room, together)):
            self.end_block()
        if held and self._block is None:
            self._begin_block()
        if self._last is None:
            self._last = self._mark()
        call()
        start, end = self._last, self._mark()
        self._last = end
        sound = waits(call)
        if self._block is not None:
            sound = not blocking.gave_up
            self._block.append(call)
            self._room = min(self._room, together)
            if not sound:
                self._shorten(len(self._block) - 1)
                self.end_block()
        self.marks.append((start, end, sound))

    def end_block(self) -> None:
        """Let the stream go on, if it is held."""
        if self._block is None:
            return
        self._watch._clock.end()
        self._watch._blocking.release()
        # What follows shall not be charged with the look at the clock.
        self._block, self._last = None, None

    def _begin_block(self) -> None:
        self._watch._blocking.hold()
        self._block, self._room = [], CALLS_TOGETHER
        self._watch._clock.begin()
        self._last = None

    def _shorten(self, fitted: int) -> None:
        """Hold fewer calls together from now on; not even one where a single one did not fit twice."""
        assert self._block is not None
        for call in _distinct(self._block):
            alone = self._watch.together(call) == 1
            self._watch._together.put(call, 0 if alone and not fitted else max(1, math.floor(KEPT * fitted)))

    def _mark(self) -> int:
        self._watch._events[self._used].record(self._stream)
        self._used += 1
        return self._used - 1
