"""The threads' work: a stage's workers, and what lies between two stages."""

from __future__ import annotations

import time
from collections.abc import Callable
from queue import SimpleQueue

from layerbench.datamanager.failures import Doing, failed
from layerbench.datamanager.plan import Taker, Work
from layerbench.datamanager.slots import Skipped, Token
from layerbench.datamanager.source import SkippedError, Stage
from layerbench.timeline import Timeline


class Channel:
    """Pieces between two stages, few enough that what is decoded and not yet in its place takes little memory.

    Parameters
    ----------
    givers, takers
        Workers of the stage before and after it. Two pieces for each of the latter have room: one to go on with, and
        one more against uneven times.
    """

    def __init__(self, givers: int, takers: int) -> None:
        self._givers = givers
        self._takers = takers
        self._works: SimpleQueue[Work | None] = SimpleQueue()
        self._room: Token = SimpleQueue()
        self._stopped = False
        for _ in range(2 * takers):
            self._room.put(None)

    def give(self, work: Work) -> None:
        """Hand a piece on; waits for room."""
        self._room.get()
        if not self._stopped:
            self._works.put(work)

    def take(self, taker: Taker) -> Work | None:
        """The next piece; None when the pipeline stops."""
        work = self._works.get()
        if work is None or self._stopped:
            return None
        self._room.put(None)
        return work

    def stop(self) -> None:
        """Let every thread that waits here go."""
        self._stopped = True
        for _ in range(self._givers):
            self._room.put(None)
        for _ in range(self._takers):
            self._works.put(None)


class StageWorker:
    """One thread of a stage.

    Parameters
    ----------
    stage, number
        Which; its lane in the timeline is named for both.
    take, give
        Where pieces come from and go to; the last stage's are done.
    """

    def __init__(
        self,
        stage: Stage,
        number: int,
        take: Callable[[Taker], Work | None],
        give: Callable[[Work], None] | None,
        timeline: Timeline | None,
    ) -> None:
        self.lane = f"{stage.name} {number}"
        self.doing: Doing | None = None
        self._stage = stage
        self._take = take
        self._give = give
        self._timeline = timeline

    def work(self) -> None:
        """Take pieces and bring each through the stage, until there are no more."""
        while (work := self._take(self)) is not None:
            if (handed_on := self._run(work)) is None:
                work.slot.piece_done()
            elif self._give is not None:
                self._give(handed_on)
            # Nothing is kept of a piece while the next one is waited for.
            del work, handed_on

    def _run(self, work: Work) -> Work | None:
        """Bring a piece through the stage; what is to be handed on, if it is not done."""
        slot, name = work.slot, self._stage.name
        if slot.failure is not None:
            self.doing = None
            return None
        # Where the plan was asked for this piece's batch, that time is the stage's too.
        began = time.perf_counter_ns() if self.doing is None else self.doing.since
        self.doing = Doing(slot.index, name, work.origin, began)
        try:
            value = self._stage.run(work.value, work.out)
            if self._give is None:
                return None
            return Work(slot, work.start, work.stop, work.origin, work.out, value)
        except SkippedError as why:
            slot.skipped.append((work.start, work.stop, Skipped(work.origin, str(why), slot.index)))
        except BaseException as error:
            if slot.failure is None:
                slot.failure = failed(slot.index, name, work.origin, error)
        finally:
            if self._timeline is not None:
                self._timeline.add(self.lane, name, began, time.perf_counter_ns(), slot.index)
            self.doing = None
        return None
