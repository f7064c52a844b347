"""Calls captured in CUDA graphs: what a stream would be given one launch after another, launched as one.

The host then queues nothing between the calls, whatever it takes to queue them; what the device itself takes from one
kernel to the next stays in.
"""

from __future__ import annotations

import functools
from typing import Any

from layerbench.cuda import library
from layerbench.cuda.remembered import Remembered
from layerbench.device import Run
from layerbench.errors import KernelError, MeasurementError

MOST = 64
"""Graphs that are kept: those of a step on every shape of share that is emulated. The oldest goes first."""


class Replay:
    """A captured graph as a call: it queues the whole graph on the current stream."""

    def __init__(self, graph: Any) -> None:
        self._graph = graph

    def __call__(self) -> None:
        self._graph.launch()


class Graphs:
    """Graphs of calls. One is freed with the call it was captured of, whose memory it uses."""

    def __init__(self) -> None:
        self._kept: Remembered[tuple[int, Replay]] = Remembered()

    def of(self, call: Run, repetitions: int, part: int) -> Replay:
        """So many calls in a row as one graph; captured if it was not.

        Parameters
        ----------
        call
            Only queues its work, on the current stream. It must have been called before: CUDA and its libraries may
            load and allocate at the first call.
        part
            The number of the call among those that are timed, for the message.

        Raises
        ------
        MeasurementError
            If CUDA cannot capture it.
        """
        found = self._kept.get(call)
        if found is not None and found[0] == repetitions:
            return found[1]
        # Before the other is captured: both may be large.
        self._kept.forget(call)
        while len(self._kept) >= MOST:
            self._kept.forget_oldest()
        replay = captured(call, repetitions, part)
        self._kept.put(call, (repetitions, replay))
        return replay

    def __len__(self) -> int:
        return len(self._kept)


def captured(call: Run, repetitions: int, part: int) -> Replay:
    """Capture so many calls in a row, and bring the graph to the device.

    Raises
    ------
    MeasurementError
        If CUDA cannot capture it: it waits, or copies from pageable memory, or uses another stream.
    """
    cuda = library.load().cuda
    stream = _capturing(cuda.Device().id)
    try:
        with stream:
            stream.begin_capture()
            try:
                for _ in range(repetitions):
                    call()
            except BaseException:
                _abandon(stream)
                raise
            graph = stream.end_capture()
        if library.graph_nodes(graph) == 0:
            raise KernelError("it holds nothing: what is called queues its work on a stream of its own")
        graph.upload()
        cuda.get_current_stream().synchronize()
    except (RuntimeError, KernelError) as error:
        reason = " ".join(str(error).split())
        raise MeasurementError(
            f"part {part} of a step cannot be captured in a CUDA graph ({reason}): time it without --cuda-graph"
        ) from error
    return Replay(graph)


@functools.cache
def _capturing(device: int) -> Any:
    """The stream that captures on a device; kept, because handles of libraries still have it when a capture is over."""
    return library.load().cuda.Stream(non_blocking=True)


def _abandon(stream: Any) -> None:
    """End a capture that failed; the stream would refuse all else until it is."""
    try:
        stream.end_capture()
    except RuntimeError:
        # It tells of the same failure again.
        return
