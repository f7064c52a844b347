"""What communication can hide behind, by layout.

In the data layout a layer's gradients are exchanged once its ``backward_weights`` has run, while the layers before it
in the network still go backward. Exchanges follow one another, the last layer's first, as on one network; what of a
layer's exchange goes on before the first layer's backward passes end is hideable. The first layer's own exchange has
nothing after it, and neither has that of a layer which stands alone.

In the model layout a layer's outputs are waited for by the next layer, and its input gradients by the one before, so of
these only the all-reduce of the input gradients is hideable: behind the layer's own ``backward_weights``, which comes
after it. An LSTM's state is waited for at every time step.

A share η of what is hideable is hidden: step = compute + communication - η · hideable.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Backward:
    """A layer's part in the backward phase; arrays of one shape.

    Attributes
    ----------
    passes
        Seconds of its backward passes.
    exchange
        Seconds of all it exchanges.
    own
        What of this may go on during its own ``backward_weights``: nothing in the data layout.
    is_data
        Where it is in the data layout.
    """

    passes: np.ndarray
    exchange: np.ndarray
    own: np.ndarray
    is_data: np.ndarray


def hideable(chain: Sequence[Backward]) -> list[np.ndarray]:
    """Seconds of each layer's communication that can be hidden, of layers that follow one another in a network."""
    clock = np.zeros_like(chain[-1].passes)
    free = np.zeros_like(clock)
    spans: list[tuple[np.ndarray, np.ndarray]] = []
    for layer in reversed(chain):
        # In the model layout the exchange is waited for.
        clock = clock + layer.passes + np.where(layer.is_data, 0.0, layer.exchange)
        start = np.maximum(clock, free)
        end = start + np.where(layer.is_data, layer.exchange, 0.0)
        free = np.where(layer.is_data, end, free)
        spans.append((start, end))
    found = []
    for layer, (start, end) in zip(chain, reversed(spans), strict=True):
        behind = np.clip(np.minimum(end, clock) - start, 0.0, layer.exchange)
        found.append(np.where(layer.is_data, behind, np.minimum(layer.own, layer.exchange)))
    return found
