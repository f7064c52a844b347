"""How a batch of arrays is cut into pieces."""

from __future__ import annotations

import itertools

from layerbench.datamanager.order import Samples
from layerbench.datamanager.source import Piece

PIECE_BYTES = 2 * 2**20
"""About what one piece has, as delivered: small enough for a core's cache and for several workers to share a batch,
large enough that handing it from thread to thread costs nothing beside it."""


def pieces(samples: Samples, sample_bytes: int) -> list[Piece]:
    """The pieces of a batch, alike in size; the item of each is the samples that it consists of."""
    count = min(len(samples), len(samples) * sample_bytes // PIECE_BYTES)
    if count <= 1:
        return [Piece(0, len(samples), samples, told(samples))]
    bounds = [piece * len(samples) // count for piece in range(count + 1)]
    return [
        Piece(start, stop, samples[start:stop], told(samples[start:stop])) for start, stop in itertools.pairwise(bounds)
    ]


def told(samples: Samples) -> str:
    """Samples as messages name them."""
    first, last = samples[0], samples[-1]
    if len(samples) == 1:
        return f"sample {first}"
    return f"samples {first} to {last}" if isinstance(samples, range) else f"samples {first}, {samples[1]}, ..."
