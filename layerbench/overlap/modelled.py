"""What of an exchange that is not run would be hidden: gradients' buckets on a link that carries one at a time."""

from __future__ import annotations

from collections.abc import Sequence

from layerbench.datamanager.buckets import Bucket
from layerbench.network import all_reduce_seconds
from layerbench.records import Network


def blocking_seconds(network: Network, ranks: int, sizes: Sequence[int]) -> float:
    """Seconds that all-reduces of these many bytes take one after another."""
    return sum(all_reduce_seconds(network, ranks, size) for size in sizes if size)


def exposed_seconds(network: Network, ranks: int, buckets: Sequence[Bucket], ready: Sequence[float]) -> float:
    """Seconds that exchanges go on after the computation has ended.

    A bucket's all-reduce begins when its last gradient is complete and the one before it has ended. That it takes
    nothing from the computation is assumed: no core, and no memory bandwidth.

    Parameters
    ----------
    network, ranks
        Which model, among how many.
    buckets
        In the order in which they are exchanged.
    ready
        When each gradient was complete, in seconds before the end of the computation.
    """
    free = -float("inf")
    for bucket in buckets:
        complete = max(-ready[index] for index in bucket.indices)
        free = max(free, complete) + all_reduce_seconds(network, ranks, bucket.bytes)
    return max(0.0, free)
