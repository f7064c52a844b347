"""What is to be known of a prediction: on what it rests, and where it is not to be trusted as the rest."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from layerbench import units
from layerbench.predict.measured_range import BEYOND
from layerbench.predict.pass_times import Source
from layerbench.predict.prediction import Prediction
from layerbench.predict.shard import largest
from layerbench.records import Layout, Placement
from layerbench.report.cells import flat, percent
from layerbench.report.describe import listed, node_counts, plural

_REST: dict[Source, str] = {
    "class": "of the machine's other layers of their type and pass",
    "published": "of published devices, from peak and bandwidth alone",
    "processor": "that are usual on processors at this peak and bandwidth; measure them with layerbench calibrate",
}


def notes(found: Prediction) -> list[str]:
    """Sentences, the most important first."""
    question = found.question
    told = [*(question.run.warnings if question.run is not None else ()), *_evidence(found), *_exchanges(found)]
    if question.overlap > 0:
        told.append(
            f"Of what communication can hide behind, {percent(question.overlap)} does: in the data layout the backward "
            "passes of the layers before, in the model layout a layer's own backward_weights."
        )
    if question.layout == "best":
        searched = ", by search from layer to layer because of the overlap" if question.overlap > 0 else ""
        told.append(
            f"Layouts are chosen over the whole chain of layers, with what it costs to change between them{searched}."
        )
    if question.scaling == "weak":
        told.append("Weak scaling: n nodes do n times the work; times are of a step of all of them.")
    if question.nodes[0] > 1:
        told.append(f"Efficiency is over {plural(question.nodes[0], 'node')}, the least count that was asked for.")
    told += _beyond(found)
    return told


def _evidence(found: Prediction) -> Iterator[str]:
    """On what the times of passes rest."""
    question, run = found.question, found.question.run
    if run is not None:
        own = [name for name, sources in found.sources.items() if sources == {"layer"}]
        if own:
            options = run.manifest.options
            yield (
                f"Passes of {_all(own, found)} are calibrated on {flat(run.path)} ({node_counts(_counts(found))}, "
                f"batch {options.batch:,})."
            )
            if question.carried_from is not None:
                yield (
                    f"That run was made on another machine ({flat(question.carried_from.description)}): what its "
                    "kernels reach of its peak, bandwidth and launches is carried over to "
                    f"{flat(question.machine.name)}, which between published devices is wrong by a fifth in the "
                    "median; its exchanges are not used."
                )
            elif emulated := _counts(found, "emulated"):
                yield (
                    f"On {node_counts(emulated)} shards were timed by themselves (emulated): their passes count, their "
                    "computed communication does not. What is predicted is of ranks that exchange in every step."
                )
        else:
            yield f"No pass of {flat(run.path)} is of a layer and dtype that is asked for: nothing of it is used."
    elif question.machine.kernels:
        yield f"{plural(len(question.machine.kernels), 'kernel')} measured on {flat(question.machine.name)} are used."
    rests: dict[Source, str] = dict(_REST)
    if question.efficiency is not None:
        rests["published"] = f"of kernels that reach {percent(question.efficiency)} of the roofline, as was asked"
    for source, rest in rests.items():
        of_it = [name for name, sources in found.sources.items() if source in sources]
        if of_it:
            some = " some" if any(len(found.sources[name]) > 1 for name in of_it) else ""
            yield f"For{some} passes of {_all(of_it, found)} the times are those {rest}."
            if source == "published" and question.efficiency is None and question.dtype != "fp32":
                yield f"Published times are of fp32: in {question.dtype} the same part of its own peak is assumed."


def _counts(found: Prediction, placement: Placement | None = None) -> list[int]:
    """Counts of the run that have times, of those that came about in one way if one is named."""
    assert found.question.run is not None
    timed = [record for record in found.question.run.records if record.status == "ok" and record.samples]
    return sorted({record.nodes for record in timed if placement in (None, record.placement)})


def _all(names: Sequence[str], found: Prediction) -> str:
    return "all layers" if len(names) == len(found.sources) > 1 else flat(listed(names))


def _exchanges(found: Prediction) -> Iterator[str]:
    """How measured communication was taken into account."""
    question = found.question
    if found.factors:
        factors = listed([f"{operation} × {factor:.2f}" for operation, factor in found.factors.items()])
        yield (
            f"Exchanges are those of the network's figures times what {node_counts(found.measured)} measured: "
            f"{factors}. Communication includes {percent(found.waiting, 1)} of the passes' time as waiting for the "
            "slowest rank, which the step has once, in its passes."
        )
    elif (
        question.run is not None and question.carried_from is None and question.nodes[-1] * question.ranks_per_node > 1
    ):
        yield "No exchange was measured at these ranks per node: communication is that of the network's figures."


def _beyond(found: Prediction) -> Iterator[str]:
    """Where a prediction is extrapolated, ranks have nothing to do, or there is no such machine."""
    question = found.question
    steps = list(found.steps())
    if counts := sorted({row.nodes for row in steps if row.extrapolated}):
        names = list(dict.fromkeys(row.layer for row in steps if row.extrapolated))
        yield (
            f"Extrapolated beyond {BEYOND} times what was measured: {_all(names, found)} on {node_counts(counts)} (*)."
        )
    for layout, what in (("data", "sample"), ("model", "output")):
        idle = [row for row in steps if row.idle_ranks and row.layout == layout]
        if idle:
            first = min(row.nodes for row in idle)
            names = list(dict.fromkeys(row.layer for row in idle))
            yield (
                f"Ranks without work: from {plural(first, 'node')} on there are more ranks than {what}s for "
                f"{_all(names, found)}; the time is that of the ranks that have one (idle)."
            )
    machine = question.machine
    if machine.nodes is not None and question.nodes[-1] > machine.nodes:
        yield (
            f"More nodes than there are: {flat(machine.name)} has {plural(machine.nodes, 'node')}, larger counts are "
            "of a machine like it."
        )
    yield from _memory(found)


def _memory(found: Prediction) -> Iterator[str]:
    """Which steps do not fit."""
    question = found.question
    room = question.machine.memory_bytes
    if room is None:
        return
    short: dict[str, list[int]] = {}
    layouts: dict[tuple[str, int], Layout] = {(row.layer, row.nodes): row.layout for row in found.steps()}
    for layer in question.layers:
        for count in question.nodes:
            layout = layouts[layer.name, count]
            share = largest(layer, layout, count, question.ranks_per_node, question.batch, question.scaling)
            if share.computed.operand_bytes(share.local_batch, question.dtype) > room:
                short.setdefault(layer.name, []).append(count)
    for name, counts in short.items():
        yield (
            f"{flat(name)} does not fit the {units.size(room)} of a rank on {node_counts(counts)}: its operands alone "
            "are larger."
        )
