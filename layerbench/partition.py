"""A layer over ranks: what each computes of it, and what they exchange.

Two layouts of a layer are known. In ``data`` the batch is split: every rank holds all weights, and the weight
gradients are all-reduced. In ``model`` the outputs are split, and the weights with them: output features of a fully
connected layer, output channels of a convolution, units of an LSTM. There every rank has all samples; outputs are
gathered, input gradients summed over ranks, and an LSTM's state goes round at every time step. Weight gradients stay
where they are (Krizhevsky, One weird trick for parallelizing convolutional neural networks, 2014).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from layerbench.layers import FC, ITEMSIZE, LSTM, AnyLayer, Conv, DType, Pass, SplitLSTM
from layerbench.records import Layout, Operation, Scaling


@dataclass(frozen=True)
class Shard:
    """Items ``start`` up to ``stop`` on one rank: of the global batch, or of a layer's outputs."""

    rank: int
    start: int
    stop: int

    @property
    def batch(self) -> int:
        return self.stop - self.start


@dataclass(frozen=True)
class Share:
    """What one rank computes of a layer.

    Attributes
    ----------
    layer
        The layer as this rank has it: itself in the data layout, with fewer outputs in the model layout. None for a
        rank that has nothing to do.
    samples
        Of the global batch: a part in the data layout, all of it in the model layout.
    outputs
        Of output features (FC), output channels (convolution) or units (LSTM): all in the data layout, a part in the
        model layout.
    """

    rank: int
    layer: AnyLayer | SplitLSTM | None
    samples: Shard
    outputs: Shard

    @property
    def batch(self) -> int:
        """Samples this rank computes on; 0 where it has nothing to do."""
        return self.samples.batch if self.layer is not None else 0


@dataclass(frozen=True)
class Exchange:
    """What ranks do together within a step.

    Attributes
    ----------
    pass_
        The pass it follows, or that it goes on in.
    size
        Bytes of the whole vector: what is reduced, or what an all-gather leaves on every rank.
    times
        How often, one after another.
    """

    operation: Operation
    pass_: Pass
    size: int
    times: int = 1


def global_batch(batch: int, ranks: int, base_ranks: int, scaling: Scaling) -> int:
    """Samples over all ranks.

    Parameters
    ----------
    batch
        What was asked for: the global batch in strong scaling. In weak scaling, the batch of ``base_ranks`` ranks.
    ranks, base_ranks
        Ranks at this node count, and of one node.
    """
    return batch if scaling == "strong" else batch * ranks // base_ranks


def split(items: int, ranks: int) -> list[Shard]:
    """Split a batch, or a layer's outputs, as evenly as whole items allow; the first ranks have one more.

    A rank without items gets an empty shard: the caller says so.
    """
    share, extra = divmod(items, ranks)
    starts = [rank * share + min(rank, extra) for rank in range(ranks + 1)]
    return [Shard(rank, starts[rank], starts[rank + 1]) for rank in range(ranks)]


def outputs(layer: AnyLayer) -> int:
    """How many outputs there are to split in the model layout.

    Output features of a fully connected layer, units of an LSTM, output channels of a convolution. A grouped
    convolution is split by whole groups, because a group's channels share their input.
    """
    if isinstance(layer, FC):
        return layer.out_features
    if isinstance(layer, LSTM):
        return layer.hidden_size
    return layer.groups if layer.groups > 1 else layer.out_channels


def shares(layer: AnyLayer, batch: int, ranks: int, layout: Layout) -> list[Share]:
    """What every rank computes, the largest shares first; ranks without work have no layer."""
    everything = outputs(layer)
    if layout == "data":
        all_outputs = [Shard(rank, 0, everything) for rank in range(ranks)]
        return [
            Share(samples.rank, layer if samples.batch else None, samples, of)
            for samples, of in zip(split(batch, ranks), all_outputs, strict=True)
        ]
    return [
        Share(
            part.rank, narrowed(layer, part.batch) if part.batch and batch else None, Shard(part.rank, 0, batch), part
        )
        for part in split(everything, ranks)
    ]


def without_work(layer: AnyLayer, shares: Sequence[Share], layout: Layout) -> str:
    """Why some ranks have nothing to do, in words; empty where every rank has its share."""
    idle = sum(share.layer is None for share in shares)
    if not idle:
        return ""
    ranks = len(shares)
    if layout == "data":
        return f"a batch of {shares[-1].samples.stop} leaves {idle} of {ranks} ranks without a sample"
    named = {"fc": "output features", "lstm": "units"}.get(layer.kind, "output channels")
    if isinstance(layer, Conv) and layer.groups > 1:
        named = "groups"
    return f"{outputs(layer)} {named}, which the model layout splits, leave {idle} of {ranks} ranks without one"


def narrowed(layer: AnyLayer, count: int) -> AnyLayer | SplitLSTM:
    """The layer with ``count`` of its :func:`outputs`; itself where that is all of them."""
    if count == outputs(layer):
        return layer
    if isinstance(layer, FC):
        return msgspec.structs.replace(layer, out_features=count)
    if isinstance(layer, Conv):
        if layer.groups == 1:
            return msgspec.structs.replace(layer, out_channels=count)
        return msgspec.structs.replace(
            layer,
            groups=count,
            in_channels=layer.in_channels // layer.groups * count,
            out_channels=layer.out_channels // layer.groups * count,
        )
    return SplitLSTM(
        name=layer.name,
        backward_data_in_step=layer.backward_data_in_step,
        input_size=layer.input_size,
        hidden_size=layer.hidden_size,
        units=count,
        time_steps=layer.time_steps,
    )


def exchanges(layer: AnyLayer, batch: int, ranks: int, layout: Layout, dtype: DType) -> list[Exchange]:
    """What a step exchanges, in the order in which it does.

    In the data layout the weight gradients are all-reduced, in float32 at least. In the model layout a layer's outputs
    are gathered after the forward pass. Each rank's share of the outputs gives a part of every input's gradient, so
    these are all-reduced after ``backward_data``; a grouped convolution's input channels belong to one rank each, so
    theirs are gathered. An LSTM gathers the hidden state (N, H) after every time step, all-reduces its gradient
    before every step but the last, and the input's gradient (T, N, I) at the end. Where ``backward_data`` is not in the
    step, neither is what it exchanges.
    """
    if ranks == 1:
        return []
    item = ITEMSIZE[dtype]
    if layout == "data":
        return [Exchange("all_reduce", "backward_weights", layer.weights * max(item, 4))]
    into = math.prod(layer.input_shape(batch)) * item
    if isinstance(layer, LSTM):
        state = batch * layer.hidden_size * item
        found = [Exchange("all_gather", "forward", state, layer.time_steps)]
        if layer.time_steps > 1:
            found.append(Exchange("all_reduce", "backward_data", state, layer.time_steps - 1))
        found.append(Exchange("all_reduce", "backward_data", into))
    else:
        found = [
            Exchange("all_gather", "forward", math.prod(layer.output_shape(batch)) * item),
            Exchange(gradient_operation(layer), "backward_data", into),
        ]
    return [exchange for exchange in found if exchange.pass_ != "backward_data" or layer.backward_data_in_step]


def gradient_operation(layer: AnyLayer) -> Operation:
    """What makes the whole of the input's gradient from the ranks' shares of it, in the model layout."""
    return "all_gather" if isinstance(layer, Conv) and layer.groups > 1 else "all_reduce"


def connected(layer: AnyLayer, following: AnyLayer) -> bool:
    """Whether one layer's output can be the next one's input, with pooling between them allowed.

    Suites list layers; where two of them do not fit, the second begins a chain of its own.
    """
    if isinstance(layer, LSTM) or isinstance(following, LSTM):
        return (
            isinstance(layer, LSTM)
            and isinstance(following, LSTM)
            and (layer.hidden_size, layer.time_steps) == (following.input_size, following.time_steps)
        )
    if isinstance(layer, FC):
        return isinstance(following, FC) and layer.out_features == following.in_features
    if isinstance(following, FC):
        return following.in_features % layer.out_channels == 0
    return layer.out_channels == following.in_channels


def relayout(
    following: AnyLayer, batch: int, ranks: int, layouts: tuple[Layout, Layout], dtype: DType
) -> list[Exchange]:
    """What changing the layout before a layer costs, beside what the layers exchange themselves.

    Parameters
    ----------
    following
        The layer whose input changes hands.
    layouts
        Of the layer before it, and its own.

    A layer in the model layout needs all samples, which ranks in the data layout have a part of each: the input is
    gathered. It leaves outputs and input gradients on every rank, of which a data layout takes its own samples. The
    gradients that a data layout hands back to a model layout are gathered again.
    """
    if ranks == 1 or layouts[0] == layouts[1]:
        return []
    size = math.prod(following.input_shape(batch)) * ITEMSIZE[dtype]
    return [Exchange("all_gather", "forward" if layouts[1] == "model" else "backward_data", size)]
