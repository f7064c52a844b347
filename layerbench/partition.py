"""A layer over ranks: who computes which samples, and what they exchange.

The layout here is data parallelism: the batch is split, every rank holds all weights, and the weight gradients are
all-reduced.
"""

from __future__ import annotations

from dataclasses import dataclass

from layerbench.records import Scaling


@dataclass(frozen=True)
class Shard:
    """Samples ``start`` up to ``stop`` of the global batch, on one rank."""

    rank: int
    start: int
    stop: int

    @property
    def batch(self) -> int:
        return self.stop - self.start


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


def split(batch: int, ranks: int) -> list[Shard]:
    """Split a batch as evenly as whole samples allow; the first ``batch % ranks`` ranks have one more.

    A rank without samples gets an empty shard: the caller says so.
    """
    share, extra = divmod(batch, ranks)
    starts = [rank * share + min(rank, extra) for rank in range(ranks + 1)]
    return [Shard(rank, starts[rank], starts[rank + 1]) for rank in range(ranks)]
