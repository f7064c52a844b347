"""The layout of each layer at one node count, with the reason: what ``layerbench run --layout best`` asks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from layerbench import units
from layerbench.layers import AnyLayer, DType
from layerbench.machine import Machine
from layerbench.partition import connected, exchanges
from layerbench.predict.draws import Draws
from layerbench.predict.evidence import of_kernels
from layerbench.predict.exchanges import ExchangeTimes
from layerbench.predict.layer_times import LayerTimes, Model, Place
from layerbench.predict.layouts import LAYOUTS, InLayouts, chosen
from layerbench.predict.network_times import Collective, NetworkTimes, collective
from layerbench.predict.pass_times import PassTimes
from layerbench.predict.published import Estimator, estimator
from layerbench.predict.run_network import with_network
from layerbench.records import Layout


@dataclass(frozen=True)
class Chosen:
    """The layout of a layer.

    Attributes
    ----------
    data_seconds, model_seconds
        A step of the layer in either layout, by itself: without what a change of layout before it costs.
    why
        The reason, in a sentence with figures.
    """

    layer: str
    layout: Layout
    data_seconds: float
    model_seconds: float
    why: str


def choose(
    layers: Sequence[AnyLayer],
    machine: Machine,
    *,
    nodes: int,
    ranks_per_node: int,
    batch: int,
    dtype: DType,
    cost: Collective | None = None,
    kernels: Estimator | None = None,
) -> list[Chosen]:
    """Choose how each layer is split, so that a step of all of them together takes the least time.

    Layers that follow one another are split together, with what it costs to change the layout between them: dynamic
    programming over the chain (see :mod:`layerbench.predict.chain`). A layout that leaves ranks without work is not
    chosen where the other does not.

    Parameters
    ----------
    layers
        In the network's order.
    batch
        Samples over all ranks.
    cost, kernels
        Of a collective, and of a kernel that the machine has not measured; by default layerbench's own.

    Raises
    ------
    UsageError
        If the machine has no peak for the dtype, or no network and there is more than one rank.
    """
    draws = Draws(0, replicas=0)
    machine = with_network(machine, [], [], nodes, ranks_per_node)
    passes = PassTimes(machine, dtype, of_kernels(machine.kernels, dtype), kernels or estimator(machine.device), draws)
    network = NetworkTimes(machine, ranks_per_node, cost or collective())
    model = Model(passes, ExchangeTimes(network, (), draws), dtype, "strong")
    places = [Place(nodes, batch)]
    times: InLayouts = {layout: [model.layer(layer, layout, places) for layer in layers] for layout in LAYOUTS}
    layouts = [of_layer[0] for of_layer in chosen(times, model, places, only_full=True)]
    found = []
    for index, (layer, layout) in enumerate(zip(layers, layouts, strict=True)):
        of_data, of_model = times["data"][index], times["model"][index]
        seconds = {"data": _step(of_data), "model": _step(of_model)}
        why = f"{layout}: {_why(layout, of_data, of_model, dtype)}"
        if layout != min(LAYOUTS, key=lambda one: seconds[one]) and not _idle(of_data, of_model):
            why = f"{layout}: {_for_the_chain(index, layers, layouts, seconds, model, places[0])}"
        found.append(Chosen(layer.name, layout, seconds["data"], seconds["model"], why))
    return found


def _step(times: LayerTimes) -> float:
    return float((times.in_step + times.exchange)[0, 0])


def _idle(of_data: LayerTimes, of_model: LayerTimes) -> bool:
    """Whether one of the layouts leaves ranks without work, and the other does not."""
    return (of_data.shares[0].idle_ranks > 0) != (of_model.shares[0].idle_ranks > 0)


def _why(layout: Layout, of_data: LayerTimes, of_model: LayerTimes, dtype: DType) -> str:
    """What speaks for a layout of a layer by itself."""
    layer, share = of_data.layer, of_data.shares[0]
    if share.ranks + share.idle_ranks == 1:
        return "one rank exchanges nothing"
    if _idle(of_data, of_model):
        other = of_model if layout == "data" else of_data
        left = other.shares[0]
        what = "outputs are" if layout == "data" else "samples are"
        return f"there are {left.ranks + left.idle_ranks} ranks, and only {left.ranks} {what} there to split"
    gradient = sum(one.size * one.times for one in exchanges(layer, share.batch, share.ranks, "data", dtype))
    exchanged = {one.layout: float(one.exchange[0, 0]) for one in (of_data, of_model)}
    taken = {layout_: units.seconds(value) for layout_, value in exchanged.items()}
    computed = {one.layout: float(one.in_step[0, 0]) for one in (of_data, of_model)}
    other_layout: Layout = "model" if layout == "data" else "data"
    said = {
        "data": f"its {units.size(gradient)} of gradient would take {taken['data']} to exchange",
        "model": f"its activations would take {taken['model']} to exchange",
    }
    short = {
        "data": f"its {units.size(gradient)} of gradient {taken['data']}",
        "model": f"its activations {taken['model']}",
    }
    told = f"{said[other_layout]}, {short[layout]}"
    saved = computed[other_layout] - computed[layout]
    if exchanged[layout] > exchanged[other_layout] and saved > 0:
        told += f", but it computes {units.seconds(saved)} less"
    return told


def _for_the_chain(
    index: int,
    layers: Sequence[AnyLayer],
    layouts: Sequence[Layout],
    seconds: dict[str, float],
    model: Model,
    place: Place,
) -> str:
    """Why a layer is not in the layout that is quicker for it by itself."""
    own = layouts[index]
    other: Layout = "model" if own == "data" else "data"
    saved = seconds[own] - seconds[other]
    costs = []
    if index and connected(layers[index - 1], layers[index]) and layouts[index - 1] == own:
        costs.append(float(model.change(layers[index], place, (own, other))[0]))
    if index + 1 < len(layers) and connected(layers[index], layers[index + 1]) and layouts[index + 1] == own:
        costs.append(float(model.change(layers[index + 1], place, (other, own))[0]))
    return (
        f"{other} would save {units.seconds(saved)} of its step, but changing the layout around it would take "
        f"{units.seconds(sum(costs))}"
    )
