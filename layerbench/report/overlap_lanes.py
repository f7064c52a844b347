"""Timelines of a training loop, made ready to be drawn: kinds of work, lanes in order, and a window of a few steps."""

from __future__ import annotations

import heapq
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from layerbench.layers import PASSES
from layerbench.overlap_records import Overlap, StepTimeline, TimedSpan
from layerbench.records import Placement
from layerbench.report import describe
from layerbench.report.marks import FAINT, GREEN, ORANGE, SKY, VERMILION

COMPUTE, COMMUNICATION, TRANSFER = "compute", "communication", "transfer"
"""Lanes that are no stage of the source."""

_LAST = (TRANSFER, COMPUTE, COMMUNICATION)

STEPS = 3
"""Steps that a figure shows of a long timeline."""

ALONE = "Emulated: one rank's share was computed alone, and nothing was exchanged."
"""What is to be known of the timeline of an emulated node count."""

_LANE = re.compile(r"(.*?)(?: (\d{1,9}))?", re.DOTALL)


class Kind(NamedTuple):
    """A kind of work: what it is called, and how its bars are painted; ``pale`` is of every other step."""

    label: str
    colour: str
    pale: str


STAGE = Kind("stages", GREEN, "#7fceb9")
MOVE = Kind("transfer", ORANGE, "#f2cf80")
FORWARD = Kind("forward", "#b5dcf3", "#b5dcf3")
BACKWARD_DATA = Kind("backward_data", SKY, SKY)
BACKWARD_WEIGHTS = Kind("backward_weights", "#00609a", "#00609a")
OTHER = Kind("other", FAINT, FAINT)
EXCHANGE = Kind("exchange", VERMILION, "#eaae80")

KINDS = (STAGE, MOVE, FORWARD, BACKWARD_DATA, BACKWARD_WEIGHTS, OTHER, EXCHANGE)
"""Computation keeps its colours in every step: its steps follow one another, while those of stages run ahead."""

_OF_PASS: dict[str, Kind] = dict(zip(PASSES, (FORWARD, BACKWARD_DATA, BACKWARD_WEIGHTS), strict=True))


class Lane(NamedTuple):
    """One lane of a timeline, and its spans by start."""

    name: str
    spans: list[TimedSpan]


class Pair(NamedTuple):
    """The timelines of one rank at one node count in both modes, or in the one that there is.

    Attributes
    ----------
    placement
        That of the rows of this node count: an emulated one's rank was alone, and exchanged nothing.
    """

    nodes: int
    rank: int
    timelines: list[StepTimeline]
    placement: Placement = "measured"

    @property
    def name(self) -> str:
        """``rank 0 on 2 nodes``, and whether these were emulated."""
        emulated = " (emulated)" if self.placement == "emulated" else ""
        return f"rank {self.rank} on {describe.plural(self.nodes, 'node')}{emulated}"


def kind_of(span: TimedSpan) -> Kind:
    """Which kind of work a span is."""
    base, _ = parts(span.lane)
    if base == COMMUNICATION:
        return EXCHANGE
    if base == TRANSFER:
        return MOVE
    if base == COMPUTE:
        return _OF_PASS.get(span.name.rpartition(" ")[2], OTHER)
    return STAGE


def is_pale(span: TimedSpan) -> bool:
    """Whether a span is of every other step, by which the steps of its kind are told apart."""
    kind = kind_of(span)
    return span.step % 2 == 1 and kind.pale != kind.colour


def parts(lane: str) -> tuple[str, int]:
    """What a lane does and the number of its worker: ``cast 1`` is ``("cast", 1)``; -1 where it has no number."""
    found = _LANE.fullmatch(lane)
    if found is None or found[2] is None:
        return lane, -1
    return found[1], int(found[2])


def lanes(timelines: Sequence[StepTimeline]) -> list[str]:
    """The lanes of timelines, in the order in which a batch goes through them."""
    names = {span.lane for timeline in timelines for span in timeline.spans}
    when = _order(timelines)

    def place(lane: str) -> tuple[int, float, str, int]:
        base, number = parts(lane)
        return (_LAST.index(base) + 1 if base in _LAST else 0, when.get(base, 0.0), base, number)

    return sorted(names, key=place)


def _order(timelines: Sequence[StepTimeline]) -> dict[str, float]:
    """When each stage begins, counted from the first stage's beginning of the same step, in the mean over steps."""
    late: dict[str, list[float]] = {}
    for timeline in timelines:
        begins: dict[int, dict[str, float]] = {}
        for span in timeline.spans:
            base, _ = parts(span.lane)
            if base not in _LAST and span.step >= 0:
                of_step = begins.setdefault(span.step, {})
                of_step[base] = min(span.start, of_step.get(base, span.start))
        most = max(map(len, begins.values()), default=0)
        for of_step in begins.values():
            # A step whose first stage is not in the timeline has no beginning to count from.
            if len(of_step) == most:
                for base, start in of_step.items():
                    late.setdefault(base, []).append(start - min(of_step.values()))
    return {base: sum(found) / len(found) for base, found in late.items()}


def in_lanes(spans: Iterable[TimedSpan], order: Sequence[str]) -> list[Lane]:
    """Spans by lane, those of each by start; a lane of the order that has none is left out."""
    found: dict[str, list[TimedSpan]] = {}
    for span in sorted(spans, key=lambda one: (one.start, one.stop)):
        found.setdefault(span.lane, []).append(span)
    return [Lane(name, found[name]) for name in order if name in found]


def that_fit(found: Sequence[Lane], most: int) -> list[Lane]:
    """Lanes where there is room for so many: of the workers of stages only the first ones stay."""
    stages = [lane for lane in found if kind_of(lane.spans[0]) is STAGE]
    room = max(1, most - (len(found) - len(stages)))
    return [lane for lane in found if lane not in stages[room:]][:most]


def side_by_side(spans: Sequence[TimedSpan]) -> list[list[TimedSpan]]:
    """Spans of one lane, by start, as rows in which none begins before the one before it has ended.

    Usually that is one row; exchanges, which are under way together, need several.
    """
    rows: list[list[TimedSpan]] = []
    busy: list[tuple[float, int]] = []
    free: list[int] = []
    for span in spans:
        while busy and busy[0][0] <= span.start:
            heapq.heappush(free, heapq.heappop(busy)[1])
        if not free:
            free.append(len(rows))
            rows.append([])
        row = heapq.heappop(free)
        rows[row].append(span)
        heapq.heappush(busy, (max(span.start, span.stop), row))
    return rows


def asks(timeline: StepTimeline) -> dict[int, float]:
    """When each step is over, so that the consumer asks for the next batch: by step, in order, in seconds."""
    found: dict[int, float] = {}
    for span in timeline.spans:
        base, _ = parts(span.lane)
        if base in (COMPUTE, COMMUNICATION) and span.step >= 0:
            found[span.step] = max(span.stop, found.get(span.step, span.stop))
    return dict(sorted(found.items()))


def window(timeline: StepTimeline, most: int = STEPS) -> tuple[float, float, list[int]]:
    """Where a figure of a few steps begins and ends, in seconds of the timeline, and which steps they are.

    A timeline of one step more is shown whole. Of a longer one the steps in its middle are, where the pipeline is full.
    """
    ends = asks(timeline)
    steps = list(ends)
    first = min((span.start for span in timeline.spans), default=0.0)
    last = max((span.stop for span in timeline.spans), default=0.0)
    at = (len(steps) - most) // 2
    if len(steps) <= most + 1 or ends[steps[at - 1]] >= ends[steps[at + most - 1]]:
        return first, last, steps
    return ends[steps[at - 1]], ends[steps[at + most - 1]], steps[at : at + most]


def cut(timeline: StepTimeline, start: float, stop: float) -> Iterator[TimedSpan]:
    """What of the spans lies in a window, in seconds from its beginning."""
    for span in timeline.spans:
        begin, end = max(span.start, start), min(span.stop, stop)
        if begin < end or (span.start == span.stop and start <= span.start <= stop):
            yield TimedSpan(span.lane, span.name, begin - start, end - start, span.step)


def pairs(overlap: Overlap) -> list[Pair]:
    """The timelines that have spans, by node count and rank, implicit before explicit."""
    found: dict[tuple[int, int], dict[str, StepTimeline]] = {}
    for timeline in overlap.timelines:
        if timeline.spans:
            found.setdefault((timeline.nodes, timeline.rank), {}).setdefault(timeline.mode, timeline)
    placements = {one.nodes: one.placement for one in overlap.one_mode}
    placements |= {row.nodes: row.placement for row in overlap.rows if row.workload == "training step"}
    return [
        Pair(
            nodes,
            rank,
            [of_mode[mode] for mode in ("implicit", "explicit") if mode in of_mode],
            placements.get(nodes, "measured"),
        )
        for (nodes, rank), of_mode in sorted(found.items())
    ]


def telling(found: Sequence[Pair]) -> Pair | None:
    """The pair that says most: both modes, measured, on the most nodes, of the first rank; None where there is none."""

    def says(pair: Pair) -> tuple[int, bool, int, int]:
        return len(pair.timelines), pair.placement == "measured", pair.nodes, -pair.rank

    return max(found, key=says, default=None)
