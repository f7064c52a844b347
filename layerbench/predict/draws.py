"""Random numbers of the replicas from which intervals are had: seeded, and the same for one name in whatever order."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np

REPLICAS = 400
"""Enough for ends of a 90 % interval that are right to a tenth of its width."""

LOW, HIGH = 5.0, 95.0
"""Per cent of the replicas below each end of an interval."""

_AT_MOST = 200
"""Samples of a record from which replicas are drawn; of more, these are chosen evenly."""


class Draws:
    """Draws by name: what shares a name shares an error.

    Parameters
    ----------
    seed
        The same gives the same draws.
    replicas
        How many; 0 for estimates without intervals.
    """

    def __init__(self, seed: int, replicas: int = REPLICAS) -> None:
        self.replicas = replicas
        self._seed = seed

    def generator(self, *name: object) -> np.random.Generator:
        """A source of random numbers of its own for a name."""
        return np.random.default_rng([self._seed, *(zlib.crc32(repr(part).encode()) for part in name)])

    def normal(self, *name: object) -> np.ndarray:
        """Standard normal numbers, (replicas,)."""
        return self.generator(*name).standard_normal(self.replicas)

    def nested(self, what: str, *names: object, pool: np.ndarray | None = None) -> np.ndarray:
        """Numbers of variance 1 for what is told by a row of names, such as a layer type, a layer and a pass.

        Half of the variance is of the whole row by itself; the rest is shared, in equal parts, by all that begin with
        its first name, its first two, and so on.

        Parameters
        ----------
        what
            What is drawn; nothing is shared with anything else.
        pool
            Residuals of variance 1 from which the part of the whole row is drawn; normal where there are none.
        """
        if pool is None:
            total = self.normal(what, *names) * np.sqrt(0.5)
        else:
            total = self.generator(what, *names).choice(pool, self.replicas) * np.sqrt(0.5)
        wider = [self.normal(what, *names[:end]) for end in range(1, len(names))]
        shared = np.sum(wider, axis=0) * np.sqrt(0.5 / len(wider)) if wider else total
        found: np.ndarray = total + shared
        return found

    def medians(self, samples: Sequence[float] | np.ndarray, *name: object) -> np.ndarray:
        """Medians of as many samples drawn from these, with replacement, (replicas,)."""
        values = np.asarray(samples, dtype=np.float64)
        if not self.replicas:
            return np.empty(0)
        if len(values) > _AT_MOST:
            values = np.sort(values)[np.linspace(0, len(values) - 1, _AT_MOST).round().astype(int)]
        drawn = self.generator(*name).integers(len(values), size=(self.replicas, len(values)))
        found: np.ndarray = np.median(values[drawn], axis=1)
        return found


def with_estimate(estimate: np.ndarray, replicas: np.ndarray) -> np.ndarray:
    """An estimate (n,) and its replicas (replicas, n) as one array, the estimate first."""
    return np.concatenate([estimate[None], replicas])


def interval(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ends of the 90 % interval of (1 + replicas, ...) values, the estimate within it; the estimate without any."""
    if len(values) == 1:
        return values[0], values[0]
    low, high = np.percentile(values[1:], [LOW, HIGH], axis=0)
    return np.minimum(low, values[0]), np.maximum(high, values[0])
