"""The data manager: batches are read, decoded, cast and transferred while earlier ones are computed on.

::

    from layerbench.datamanager import Arrays, DataManager

    with DataManager(Arrays(images, labels, batch_size=128), depth=3) as batches:
        for images, labels in batches:
            step(images, labels)

Across ranks, each reads its own share (``rank`` and ``ranks`` of a source), and :class:`GradientExchange` sums weight
gradients while those of earlier layers are still computed.
"""

from layerbench.datamanager.arrays import Arrays
from layerbench.datamanager.buckets import Bucket
from layerbench.datamanager.casting import Normalise
from layerbench.datamanager.exchange import BlockingExchange, GradientExchange, exchange_each
from layerbench.datamanager.images import ImageFolder
from layerbench.datamanager.iterables import Batches
from layerbench.datamanager.manager import Batch, DataManager
from layerbench.datamanager.order import Order
from layerbench.datamanager.shard_files import Raw
from layerbench.datamanager.shards import Shards
from layerbench.datamanager.slots import Skipped
from layerbench.datamanager.source import Field, Piece, SkippedError, Source, Stage

__all__ = [
    "Arrays",
    "Batch",
    "Batches",
    "BlockingExchange",
    "Bucket",
    "DataManager",
    "Field",
    "GradientExchange",
    "ImageFolder",
    "Normalise",
    "Order",
    "Piece",
    "Raw",
    "Shards",
    "Skipped",
    "SkippedError",
    "Source",
    "Stage",
    "exchange_each",
]
