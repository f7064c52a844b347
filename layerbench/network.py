"""Network models: α-β figures of a network, by name, by file or fitted here, and what a collective takes on it.

Hockney's model gives a message of n bytes the time α + β n. On it, over p ranks, an all-reduce takes

* ring: 2 (p - 1) α + 2 (p - 1) / p · β n
* recursive doubling: ceil(log2 p) (α + β n)

(Thakur, Rabenseifner and Gropp, Optimization of Collective Communication Operations in MPICH, 2005; the time of
adding is part of β here, because it is part of what was measured). The lesser of the two is taken, as a library that
chooses well would.
"""

from __future__ import annotations

import math
import sys
import tomllib
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

from layerbench.errors import MeasurementError, UsageError
from layerbench.records import Network, NetworkPoint

HERE = "this-machine"
"""Name of the model that is fitted to the machine the run is made on."""

SWEEP_BYTES: tuple[int, ...] = tuple(4**exponent for exponent in range(1, 15))
"""Sizes of the calibrating all-reduce sweep: 4 B to 256 MiB, each four times the last."""


def all_reduce_seconds(network: Network, ranks: int, size: int) -> float:
    """Seconds of an all-reduce of ``size`` bytes over ``ranks`` ranks: ring or recursive doubling, the lesser.

    Zero for one rank, which has nothing to exchange.
    """
    if ranks <= 1:
        return 0.0
    ring = 2 * (ranks - 1) * network.alpha + 2 * (ranks - 1) / ranks * network.beta * size
    doubling = math.ceil(math.log2(ranks)) * (network.alpha + network.beta * size)
    return min(ring, doubling)


def fit(points: Sequence[NetworkPoint], ranks: int, name: str, source: str) -> Network:
    """Fit α and β to an all-reduce sweep over two ranks, where both formulas' lesser is α + β n.

    The squares of *relative* residuals are minimised, because sizes span seven orders of magnitude and an absolute fit
    would see the largest only. Neither figure can be negative.

    Raises
    ------
    MeasurementError
        If there are fewer than two sizes, or ranks other than two.
    """
    if ranks != 2 or len({p.bytes for p in points}) < 2:
        raise MeasurementError(
            f"fitting a network needs two ranks and at least two sizes, not {ranks} ranks and {len(points)} sizes"
        )
    # Least squares of (a + b n) / t - 1: the normal equations of the columns 1/t and n/t against 1.
    s11 = math.fsum(1 / p.seconds**2 for p in points)
    s12 = math.fsum(p.bytes / p.seconds**2 for p in points)
    s22 = math.fsum(p.bytes**2 / p.seconds**2 for p in points)
    r1 = math.fsum(1 / p.seconds for p in points)
    r2 = math.fsum(p.bytes / p.seconds for p in points)
    determinant = s11 * s22 - s12 * s12
    alpha, beta = (r1 * s22 - r2 * s12) / determinant, (r2 * s11 - r1 * s12) / determinant
    if alpha < 0:
        alpha, beta = 0.0, r2 / s22
    elif beta < 0:
        alpha, beta = r1 / s11, 0.0
    residuals = sorted(abs((alpha + beta * p.bytes) / p.seconds - 1) for p in points)
    return Network(
        name=name,
        alpha=alpha,
        beta=beta,
        source=source,
        points=list(points),
        fitted_ranks=ranks,
        residual=residuals[len(residuals) // 2],
    )


def names() -> list[str]:
    """Names of the network models that ship with layerbench."""
    folder = resources.files("layerbench.networks")
    return sorted(entry.name[:-5] for entry in folder.iterdir() if entry.name.endswith(".toml"))


def load(name_or_path: str) -> Network:
    """A network model by name, or from a TOML file of ``alpha_seconds``, ``bytes_per_second`` and ``source``.

    Raises
    ------
    UsageError
        If there is none of that name, or the file has a mistake.
    """
    if name_or_path.endswith(".toml"):
        try:
            return _parse(Path(name_or_path).read_bytes(), Path(name_or_path).stem, name_or_path)
        except OSError as error:
            raise UsageError(f"--network {name_or_path}: {error.strerror}") from error
    if name_or_path not in names():
        raise UsageError(
            f"--network {name_or_path}: unknown; known are {HERE}, {', '.join(names())}, or a path to a .toml file"
        )
    text = resources.files("layerbench.networks").joinpath(f"{name_or_path}.toml").read_bytes()
    return _parse(text, name_or_path, f"network {name_or_path}")


def _parse(text: bytes, name: str, where: str) -> Network:
    try:
        table = tomllib.loads(text.decode())
    except ValueError as error:  # not only TOML's own: text that is not UTF-8, an integer too long to convert
        raise UsageError(f"{where}: not TOML: {error}") from error
    allowed = {"alpha_seconds", "bytes_per_second", "source"}
    if unknown := sorted(set(table) - allowed):
        raise UsageError(f"{where}: unknown entry {unknown[0]!r}; allowed are {', '.join(sorted(allowed))}")
    figures = []
    for entry, least in (("alpha_seconds", 0.0), ("bytes_per_second", 1.0)):
        value = table.get(entry)
        if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= sys.float_info.max:
            raise UsageError(f"{where}: {entry} must be a finite number of at least {least:g}, not {value!r}")
        figures.append(float(value))
    return Network(name=name, alpha=figures[0], beta=1 / figures[1], source=str(table.get("source", where)))
