"""A prediction: the times of every layer and part at every count, their intervals, and what they come to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from layerbench.layers import PASSES
from layerbench.machine import Machine
from layerbench.predict import answers as answered
from layerbench.predict.answers import Answers, Takeover
from layerbench.predict.draws import Draws, interval
from layerbench.predict.evidence import Observation, carried, of_kernels, of_records
from layerbench.predict.exchanges import ExchangeTimes, Measured
from layerbench.predict.exchanges import of_run as measured_exchanges
from layerbench.predict.layer_times import LayerTimes, Model, Place
from layerbench.predict.layouts import LAYOUTS, InLayouts, Steps, chosen, refined, steps
from layerbench.predict.measured_range import Range
from layerbench.predict.network_times import NetworkTimes, collective
from layerbench.predict.pass_times import CARRIED, CARRIED_TO_ANOTHER_KIND, PassTimes, Source
from layerbench.predict.published import estimator
from layerbench.predict.question import Question
from layerbench.predict.run_network import with_network
from layerbench.predict.work import ceilings
from layerbench.records import Layout, Part, Record

ALL = "all layers"
"""What all layer types together are called, where there are several."""


class Row(NamedTuple):
    """A part of a layer's step at a node count: seconds, their 90 % interval, and what is to be known of it.

    Attributes
    ----------
    layout
        How the layer is split there.
    extrapolated
        Whether it lies beyond 8 times what was measured.
    idle_ranks
        Ranks that have no sample, or no output: the time is that of the others.
    batch
        Samples over all nodes.
    """

    layer: str
    part: Part
    nodes: int
    seconds: float
    low: float
    high: float
    kind: str
    layout: Layout
    extrapolated: bool
    idle_ranks: int
    batch: int


class TypeRow(NamedTuple):
    """The steps of a layer type at a node count, together.

    Attributes
    ----------
    communication
        Seconds of it that a step has, and their share of it: nothing is left of what is hidden.
    efficiency
        Over the smallest count that was asked for.
    """

    kind: str
    nodes: int
    seconds: float
    low: float
    high: float
    communication: float
    share: float
    efficiency: float
    extrapolated: bool
    idle_ranks: int


class Total(NamedTuple):
    """The steps of all layers together in one layout, ``data``, ``model`` or ``best``, at a node count."""

    layout: str
    nodes: int
    seconds: float
    low: float
    high: float


@dataclass(frozen=True)
class Prediction:
    """What was predicted.

    Attributes
    ----------
    rows
        By layer, count and part.
    types
        By layer type and count; then of all layers together, with what it costs to change the layout between them.
    totals
        Of all layers together: in the layout that was asked for, and in each if that is ``best``.
    of_types, of_layers
        Answers; of each layer if these were asked for.
    sources
        Where the times of each layer come from.
    factors, waiting
        What exchanges take over what the network's figures say, by operation, and what part of the passes is waited
        besides; empty and 0 where no exchange was measured.
    measured
        Counts that the run measured with more than one rank.
    """

    question: Question
    rows: tuple[Row, ...]
    types: tuple[TypeRow, ...]
    totals: tuple[Total, ...]
    of_types: tuple[Answers, ...]
    of_layers: tuple[Answers, ...]
    sources: dict[str, set[Source]]
    factors: dict[str, float]
    waiting: float
    measured: tuple[int, ...]

    @property
    def kinds(self) -> list[str]:
        """Layer types in the order of every table."""
        return list(dict.fromkeys(row.kind for row in self.types))

    def of_kind(self, kind: str) -> list[TypeRow]:
        """The rows of a layer type."""
        return [row for row in self.types if row.kind == kind]

    def steps(self) -> Iterator[Row]:
        """The rows of whole steps."""
        return (row for row in self.rows if row.part == "step")


def predict(question: Question, *, each_layer: bool = False) -> Prediction:
    """Predict what was asked.

    Parameters
    ----------
    each_layer
        Whether to find the answers of each layer too, and not only of each layer type.

    Raises
    ------
    UsageError
        If the machine has no network and there is more than one rank, or no peak for the dtype.
    """
    model, measured = model_of(question, Draws(question.seed))
    places = [Place(count, question.batch) for count in question.nodes]
    plain, _ = model_of(question, Draws(question.seed, 0))
    found, by_layout = _steps(question, model, plain, places)
    known = Range.of(question)
    rows = tuple(_rows(question, found, known))
    types, groups = _types(question, found, rows)
    return Prediction(
        question=question,
        rows=rows,
        types=types,
        totals=tuple(_totals(question, by_layout)),
        of_types=tuple(_answers(question, kind, members, found, plain) for kind, members in groups.items()),
        of_layers=tuple(
            _answers(question, layer.name, [index], found, plain)
            for index, layer in enumerate(question.layers)
            if each_layer
        ),
        sources={layer.name: model.passes.sources(layer) for layer in question.layers},
        factors={str(operation): factor for operation, factor in model.communication.factors.items()},
        waiting=float(model.communication.waiting[0]),
        measured=tuple(sorted({one.nodes for one in measured})),
    )


def model_of(
    question: Question, draws: Draws, records: Sequence[Record] | None = None
) -> tuple[Model, Sequence[Measured]]:
    """The model that answers a question, and the exchanges it was fitted to.

    Parameters
    ----------
    records
        To calibrate on; by default all of the run.
    """
    run, machine = question.run, question.machine
    used = records if records is not None else run.records if run is not None else []
    observations: list[Observation] = of_kernels(machine.kernels, question.dtype)
    elsewhere = question.carried_from
    if run is not None:
        timed = of_records(run.manifest, used, question.dtype)
        if elsewhere is not None and timed:
            own, there = ceilings(elsewhere, question.dtype), ceilings(machine, question.dtype)
            timed = carried(timed, question.dtype, own, there)
        observations += timed
    here = run is not None and elsewhere is None
    layers = run.manifest.layers if run is not None and here else []
    machine = with_network(machine, layers, used if here else [], question.nodes[-1], question.ranks_per_node)
    passes = PassTimes(
        machine,
        question.dtype,
        observations,
        question.estimator or estimator(machine.device, question.efficiency),
        draws,
        carried=_carried(elsewhere, machine),
    )
    network = NetworkTimes(machine, question.ranks_per_node, question.collective or collective())
    measured: Sequence[Measured] = ()
    joined = machine.between is not None
    if run is not None and here and joined and run.manifest.options.ranks_per_node == question.ranks_per_node:
        measured = measured_exchanges(run.manifest, used, network, draws)
    return Model(passes, ExchangeTimes(network, measured, draws), question.dtype, question.scaling), measured


def _carried(elsewhere: Machine | None, machine: Machine) -> float:
    """How far what kernels reach on one machine is from what they reach on another."""
    if elsewhere is None:
        return 0.0
    return CARRIED if elsewhere.device == machine.device else CARRIED_TO_ANOTHER_KIND


def _steps(question: Question, model: Model, plain: Model, places: Sequence[Place]) -> tuple[Steps, dict[str, Steps]]:
    """The steps in the layout that was asked for, and in each that was looked at; ``plain`` is without replicas."""
    wanted: Sequence[Layout] = LAYOUTS if question.layout == "best" else (question.layout,)
    times: InLayouts = {layout: [model.layer(layer, layout, places) for layer in question.layers] for layout in wanted}

    def of(layouts: Sequence[Sequence[Layout]]) -> Steps:
        return steps(times, layouts, model, places, question.overlap)

    pure = {layout: [[layout] * len(places) for _ in question.layers] for layout in wanted}
    found: dict[str, Steps] = {layout: of(layouts) for layout, layouts in pure.items()}
    if question.layout != "best":
        return found[question.layout], found
    best = chosen(times, model, places)
    if question.overlap > 0:
        # Dynamic programming knows no overlap, which hides gradients better than activations.
        known = {layout: [plain.layer(layer, layout, places) for layer in question.layers] for layout in wanted}
        best = refined(known, [best, *pure.values()], plain, places, question.overlap)
    found["best"] = of(best)
    return found["best"], found


def _rows(question: Question, found: Steps, known: Range) -> Iterator[Row]:
    for index, layer in enumerate(question.layers):
        for column, count in enumerate(question.nodes):
            layout = found.layouts[index][column]
            times: LayerTimes = found.times[index][layout]
            share = times.shares[column]
            beyond = known.is_beyond(layer, count, share)
            parts: dict[Part, np.ndarray] = {pass_: times.passes[pass_][:, column] for pass_ in PASSES}
            parts["communication"] = found.communication[index][:, column]
            parts["step"] = found.step[index][:, column]
            for part, values in parts.items():
                low, high = interval(values)
                yield Row(
                    layer.name,
                    part,
                    count,
                    float(values[0]),
                    float(low),
                    float(high),
                    layer.kind,
                    layout,
                    beyond,
                    share.idle_ranks,
                    share.batch,
                )


def _types(question: Question, found: Steps, rows: Sequence[Row]) -> tuple[tuple[TypeRow, ...], dict[str, list[int]]]:
    """The types' rows, and the places of each type's layers."""
    from layerbench.report.layer_types import kind_order

    groups: dict[str, list[int]] = {}
    for index, layer in enumerate(question.layers):
        groups.setdefault(layer.kind, []).append(index)
    groups = dict(sorted(groups.items(), key=lambda item: kind_order(item[0])))
    if len(groups) > 1:
        groups[ALL] = list(range(len(question.layers)))
    told = []
    for kind, members in groups.items():
        seconds, exposed = _together(found.step, members), _together(found.exposed, members)
        low, high = interval(seconds)
        efficiency = answered.efficiency(question.nodes, seconds[0], question.scaling)
        of_kind = [row for row in rows if kind in (row.kind, ALL) and row.part == "step"]
        for column, count in enumerate(question.nodes):
            there = [row for row in of_kind if row.nodes == count]
            told.append(
                TypeRow(
                    kind,
                    count,
                    float(seconds[0, column]),
                    float(low[column]),
                    float(high[column]),
                    float(exposed[0, column]),
                    float(exposed[0, column] / seconds[0, column]),
                    float(efficiency[column]),
                    any(row.extrapolated for row in there),
                    max(row.idle_ranks for row in there),
                )
            )
    return tuple(told), groups


def _together(arrays: Sequence[np.ndarray], members: Sequence[int]) -> np.ndarray:
    total: np.ndarray = np.sum([arrays[index] for index in members], axis=0)
    return total


def _totals(question: Question, by_layout: dict[str, Steps]) -> Iterator[Total]:
    for layout, found in by_layout.items():
        low, high = interval(found.total)
        for column, count in enumerate(question.nodes):
            yield Total(layout, count, float(found.total[0, column]), float(low[column]), float(high[column]))


def _answers(question: Question, name: str, members: Sequence[int], found: Steps, plain: Model) -> Answers:
    nodes, scaling = question.nodes, question.scaling
    seconds, exposed = _together(found.step, members), _together(found.exposed, members)
    best, part = answered.best(nodes, seconds, scaling)
    apart = [place for place, count in enumerate(nodes) if count * question.ranks_per_node > 1]
    layers = [question.layers[index] for index in members]

    def shares(asked: Sequence[tuple[int, int]]) -> np.ndarray:
        """Of a layer in the layout that it has at the count, by itself: without overlap."""
        places = [Place(nodes[apart[place]], batch) for place, batch in asked]
        whole, exchanged = np.zeros(len(asked)), np.zeros(len(asked))
        for index, layer in zip(members, layers, strict=True):
            layouts = np.array([found.layouts[index][apart[place]] for place, _ in asked])
            for layout in LAYOUTS:
                there = np.flatnonzero(layouts == layout)
                if len(there):
                    times = plain.layer(layer, layout, [places[at] for at in there])
                    exchanged[there] += times.exchange[0]
                    whole[there] += times.in_step[0] + times.exchange[0]
        return np.divide(exchanged, whole, out=np.zeros(len(asked)), where=whole > 0)

    # Only in the data layout a rank needs a sample of its own.
    least = [
        question.ranks_per_node * (nodes[place] if scaling == "strong" else 1)
        if any(found.layouts[index][place] == "data" for index in members)
        else 1
        for place in apart
    ]
    share = exposed[0] / seconds[0]
    taken = answered.takeover(nodes, share)
    if taken.between and question.overlap == 0:
        taken = Takeover(_first_bound(question, members, found, plain, float(taken.nodes or 0)))
    return Answers(
        name=name,
        best=best,
        best_share=part,
        knee=answered.knee(nodes, seconds[0], scaling, answered.KNEE),
        higher_knee=answered.knee(nodes, seconds[0], scaling, answered.HIGHER_KNEE),
        takeover=taken,
        thresholds=answered.thresholds([nodes[place] for place in apart], least, shares) if apart else (),
    )


def _first_bound(question: Question, members: Sequence[int], found: Steps, plain: Model, about: float) -> int:
    """The count, between the two that were asked for around ``about``, from which communication takes half of a step.

    Layers are split there as they are at the larger of the two.
    """
    place = next(at for at, count in enumerate(question.nodes) if count > about)
    low, high = question.nodes[place - 1], question.nodes[place]
    while high - low > 1:
        middle = (low + high) // 2
        exchanged = whole = 0.0
        for index in members:
            layout = found.layouts[index][place]
            times = plain.layer(question.layers[index], layout, [Place(middle, question.batch)])
            exchanged += float(times.exchange[0, 0])
            whole += float(times.in_step[0, 0] + times.exchange[0, 0])
        low, high = (low, middle) if exchanged >= answered.BOUND * whole else (middle, high)
    return high
