"""The thread that copies batches to a device with memory of its own."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from queue import Empty

from layerbench.datamanager.device import DeviceSlot
from layerbench.datamanager.failures import Doing, failed
from layerbench.datamanager.slots import Slot, Token
from layerbench.timeline import Timeline


class Transfer:
    """Copies each batch from the slot that was filled to a slot of the device, in order.

    A batch is handed on as soon as its copy is queued: the consumer queues its work behind it. The host's slot is given
    back when the copy has ended. Until then the next batch's copy is queued too, if that batch is complete and the
    device has an empty slot, so that the copy engine need not wait for this thread.

    Parameters
    ----------
    filled
        The slots that workers fill.
    slots
        As many on the device.
    to
        What the device is called.
    """

    lane = "transfer"

    def __init__(self, filled: Sequence[Slot], slots: Sequence[Slot], to: str, timeline: Timeline | None) -> None:
        self.doing: Doing | None = None
        self._filled = filled
        self._slots = slots
        self._origin = f"the batch to {to}"
        self._timeline = timeline
        self._copying: deque[tuple[Slot, DeviceSlot, int]] = deque()
        self._last = 0
        self._stopped = False

    def work(self) -> None:
        """Copy batches until there are no more."""
        index = 0
        over = False
        while not over:
            filled, slot = self._filled[index % len(self._filled)], self._slots[index % len(self._slots)]
            if not self._wait(filled.full) or not self._wait(slot.empty):
                return
            slot.take_over(filled)
            if slot.failure is None and slot.samples:
                self._start(filled, slot)
            else:
                filled.empty.put(None)
            over = slot.ended or slot.failure is not None
            slot.full.put(None)
            index += 1
        while self._copying:
            self._finish()

    def stop(self) -> None:
        """Let the thread go, if it waits for a slot."""
        self._stopped = True
        for slot in (*self._filled, *self._slots):
            slot.full.put(None)
            slot.empty.put(None)

    def _wait(self, token: Token) -> bool:
        """Wait for a token, ending copies meanwhile, oldest first; whether to go on."""
        while self._copying:
            try:
                token.get_nowait()
            except Empty:
                self._finish()
            else:
                return not self._stopped
        token.get()
        return not self._stopped

    def _start(self, filled: Slot, slot: Slot) -> None:
        assert slot.device is not None
        began = time.perf_counter_ns()
        self.doing = Doing(slot.index, self.lane, self._origin, began)
        try:
            slot.device.start(filled.arrays, slot.samples)
        except BaseException as error:
            slot.failure = failed(slot.index, self.lane, self._origin, error)
        else:
            self._copying.append((filled, slot.device, began))
        self.doing = None

    def _finish(self) -> None:
        """End the oldest copy and give its slot of the host back."""
        filled, device, began = self._copying.popleft()
        index = filled.index
        self.doing = Doing(index, self.lane, self._origin, time.perf_counter_ns())
        try:
            took = device.finish()
        except BaseException as error:
            # The batch has been handed on, so this cannot be told in its place.
            raise failed(index, self.lane, self._origin, error) from error
        self.doing = None
        ended = time.perf_counter_ns()
        filled.empty.put(None)
        if self._timeline is not None:
            # One copy runs at a time, so that it began no sooner than the last one ended.
            start = max(began, self._last, 0 if took is None else ended - round(took * 1e9))
            self._timeline.add(self.lane, self.lane, start, ended, index)
            self._last = ended
