"""A training step of a suite's network on one rank: a batch goes through its layers, and gradients come back.

In a measurement of layers each has operands of its own. Here each computes on what the one before computed
(:mod:`layerbench.connections`), from a batch on, and the gradient that ranks exchange of any layer depends on every
sample: what goes wrong on a batch's way, or on a gradient's, changes bits.

The loss of each chain of layers is half the sum of its squared outputs. The gradient of that is the outputs themselves,
so that the backward pass depends on the batch too, and begins as it would with a loss that compares outputs with
labels. Weights are not updated: every step is the same work on other numbers, and a batch always gives the same
gradients.
"""

from __future__ import annotations

import gc
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import numpy as np

from layerbench.connections import Connection, chains, has_samples_first, sample_shape, samples_first
from layerbench.datamanager.source import Field
from layerbench.device import Device, Run
from layerbench.errors import DataError, MeasurementError
from layerbench.kernel import PreparedLinked
from layerbench.layers import LSTM, AnyLayer, Pass, Shape
from layerbench.timeline import Timeline


def scratch_elements(layers: Sequence[AnyLayer], batch: int) -> tuple[int, int]:
    """Elements of the largest output, and of the largest input that no output is as it stands."""
    outputs = [math.prod(layer.output_shape(batch)) for layer in layers]
    inputs = [0]
    for chain in chains(layers):
        between = (None, *chain.connections)
        inputs += [
            math.prod(layer.input_shape(batch))
            for layer, before in zip(chain.layers, between, strict=True)
            if not (has_samples_first(layer) if before is None else before.whole)
        ]
    return max(outputs, default=0), max(inputs)


@dataclass(frozen=True)
class _Place:
    """A layer in its network.

    Attributes
    ----------
    layer, prepared
        What is computed.
    head
        Which array of the batch is its input; None where that is another layer's output.
    before
        What connects it to the layer before it; None at the head of a chain.
    last
        Whether its output is that of its chain.
    output, source
        Room for its output and its input, or their gradients, in canonical layout. Other layers have theirs in the same
        memory: what is put there is used at once. ``source`` is None where the batch's array is the input as it is.
    """

    layer: AnyLayer
    prepared: PreparedLinked
    head: int | None
    before: Connection | None
    last: bool
    output: Any
    source: Any

    @property
    def backward_passes(self) -> tuple[Pass, ...]:
        """In order: weights first, so that their gradient can go on its way.

        A recurrent layer computes that from what ``backward_data`` leaves.
        """
        if isinstance(self.layer, LSTM):
            return "backward_data", "backward_weights"
        if self.before is not None or self.layer.backward_data_in_step:
            return "backward_weights", "backward_data"
        return ("backward_weights",)


class TrainingStep:
    """The layers of a suite as a network, or several where they do not fit together.

    No step allocates arrays. Used as a context manager, it is closed in the end.

    Parameters
    ----------
    layers, prepared
        In the suite's order; the second as kernels prepared them.
    batch
        Samples.
    dtype
        Of canonical arrays.
    device
        Where all layers run.

    Attributes
    ----------
    fields
        What a batch must have: for each chain of layers the input of its first, under that layer's name.
    gradients
        The weight gradient of each layer, flat, as its kernel lays it out: alike on all ranks. Ranks may replace them
        by their sums.
    device
        Where all layers run; its ``synchronize`` returns when the passes that were run are done.
    timeline
        Where the time of each pass is kept, on the lane ``compute``; None where it is not.
    """

    def __init__(
        self,
        layers: Sequence[AnyLayer],
        prepared: Sequence[PreparedLinked],
        batch: int,
        dtype: np.dtype[Any],
        device: Device,
    ) -> None:
        found = chains(layers)
        self.device = device
        self.timeline: Timeline | None = None
        self.gradients: tuple[Any, ...] = tuple(each.gradient for each in prepared)
        self.fields = tuple(Field(of.layers[0].name, sample_shape(of.layers[0]), dtype) for of in found)
        self._batch = batch
        self._step = -1
        # Where the kernels have their memory, which need not be the host's.
        outputs, inputs = (
            np.empty_like(self.gradients[0], shape=(elements,), dtype=dtype)
            for elements in scratch_elements(layers, batch)
        )
        for room in (outputs, inputs):
            room.fill(0)  # touched for the first time here, and not within a step
        self._places: list[_Place] = []
        for head, chain in enumerate(found):
            for layer, before in zip(chain.layers, (None, *chain.connections), strict=True):
                source = None
                if before is not None or not has_samples_first(layer):
                    shared = outputs if before is not None and before.whole else inputs
                    source = _shaped(shared, layer.input_shape(batch))
                place = _Place(
                    layer=layer,
                    prepared=prepared[len(self._places)],
                    head=head if before is None else None,
                    before=before,
                    last=layer is chain.layers[-1],
                    output=_shaped(outputs, layer.output_shape(batch)),
                    source=source,
                )
                self._places.append(place)

    def forward(self, arrays: Sequence[Any], step: int = -1) -> None:
        """Run ``forward`` of every layer.

        Parameters
        ----------
        arrays
            The batch: for each of ``fields`` an array (batch, ...), contiguous, where the device has its memory.
        step
            The batch's number, for the timeline.

        Raises
        ------
        DataError
            If the batch is not as ``fields`` have it.
        """
        self._check(arrays)
        self._step = step
        for index, place in enumerate(self._places):
            with self._timed(place, "forward"):
                place.prepared.put("src", self._input(index, arrays))
                place.prepared.run["forward"]()

    def backward(self, on_gradient: Callable[[int], None] = lambda _: None, between: Run = lambda: None) -> None:
        """Run the backward passes of every layer, the last layer first; ``forward`` has run before.

        Parameters
        ----------
        on_gradient
            Called with a layer's index as soon as its weight gradient is computed, or queued on the device.
        between
            Called after every pass: what has to be done now and then while others compute.
        """
        for index in reversed(range(len(self._places))):
            place = self._places[index]
            for number, pass_ in enumerate(place.backward_passes):
                with self._timed(place, pass_):
                    if number == 0:
                        place.prepared.put("diff_dst", self._output_gradient(index))
                    place.prepared.run[pass_]()
                if pass_ == "backward_weights":
                    on_gradient(index)
                between()

    def activations(self) -> dict[str, Any]:
        """The output of every chain's last layer in canonical layout, under the layer's name, as new arrays."""
        found = {}
        for place in self._places:
            if place.last:
                found[place.layer.name] = np.empty_like(place.output)
                place.prepared.take("dst", found[place.layer.name])
        return found

    def close(self) -> None:
        """Let go of all memory but what the caller holds; no step runs afterwards."""
        self._places.clear()
        self.gradients = ()
        # Prepared layers refer to themselves, by the passes that are their methods.
        gc.collect()

    def __enter__(self) -> TrainingStep:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _check(self, arrays: Sequence[Any]) -> None:
        if not self._places:
            raise MeasurementError("this training step has been closed; prepare another one")
        if len(arrays) != len(self.fields):
            named = ", ".join(field.name for field in self.fields)
            raise DataError(f"a batch needs {len(self.fields)} arrays ({named}), and {len(arrays)} came")
        for field, array in zip(self.fields, arrays, strict=True):
            shape = (self._batch, *field.shape)
            if array.shape != shape or array.dtype != field.dtype:
                raise DataError(
                    f"{field.name}: a batch must be {field.dtype} of sizes {shape}, not {array.dtype} of {array.shape}"
                )

    def _timed(self, place: _Place, pass_: Pass) -> AbstractContextManager[None]:
        """Keeps the time of a pass, and of the copies that bring it what another layer computed."""
        if self.timeline is None:
            return nullcontext()
        return self._until_done(self.timeline, f"{place.layer.name} {pass_}")

    @contextmanager
    def _until_done(self, timeline: Timeline, what: str) -> Iterator[None]:
        """A span that ends when the device is done: what is only queued would take no time."""
        with timeline.span("compute", what, self._step):
            yield
            self.device.synchronize()

    def _input(self, index: int, arrays: Sequence[Any]) -> Any:
        """A layer's input in canonical layout: a batch's array, or what it needs of the output before it."""
        place = self._places[index]
        if place.head is not None:
            if place.source is None:
                return arrays[place.head]
            np.copyto(samples_first(place.layer, place.source), arrays[place.head])
            return place.source
        assert place.before is not None
        previous = self._places[index - 1]
        previous.prepared.take("dst", previous.output)
        if not place.before.whole:
            place.before.forward(previous.output, place.source)
        return place.source

    def _output_gradient(self, index: int) -> Any:
        """The gradient of a layer's output: what the next layer left of it, or at the end that of the loss."""
        place = self._places[index]
        if place.last:
            place.prepared.take("dst", place.output)
            return place.output
        following = self._places[index + 1]
        assert following.before is not None
        following.prepared.take("diff_src", following.source)
        if not following.before.whole:
            following.before.backward(following.source, place.output)
        return place.output


def _shaped(shared: Any, shape: Shape) -> Any:
    """The beginning of shared memory, as an array of this shape."""
    return shared[: math.prod(shape)].reshape(shape)
