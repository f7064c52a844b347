"""Network models: α and β of a network, by name, by file or measured here, and what a collective takes on it.

The formulas are those of :mod:`layerbench.hockney`. Over two ranks an all-reduce takes α + β n, which is how a network
is measured. A β that is measured depends on n: a library changes its protocol with the size, and ranks that share
memory exchange ten times as quickly what fits their caches as what does not. One line through all sizes is wrong by a
factor of three there, so β is taken at the size in question.
"""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

from layerbench import hockney
from layerbench.errors import MeasurementError, UsageError
from layerbench.records import Network, NetworkPoint

HERE = "this-machine"
"""Name of the model that is fitted to the machine the run is made on."""

SWEEP_BYTES: tuple[int, ...] = tuple(4**exponent for exponent in range(1, 15))
"""Sizes of the calibrating all-reduce sweep: 4 B to 256 MiB, each four times the last."""


def all_reduce_seconds(network: Network, ranks: int, size: int) -> float:
    """Seconds of an all-reduce of ``size`` bytes over ``ranks`` ranks, by the quickest algorithm.

    Zero for one rank, which has nothing to exchange.
    """
    return hockney.seconds("all_reduce", ranks, size, network.alpha, beta_at(network, size))


def all_gather_seconds(network: Network, ranks: int, size: int) -> float:
    """Seconds of an all-gather that leaves ``size`` bytes on each of ``ranks`` ranks, by the quickest algorithm.

    β is that of an all-reduce, which adds as well, where the network was measured: more than it needs, if anything.
    """
    return hockney.seconds("all_gather", ranks, size, network.alpha, beta_at(network, size))


def beta_at(network: Network, size: int) -> float:
    """Seconds for each byte of an exchange of ``size`` bytes: of the sweep where there is one, else the network's.

    Between two sizes of the sweep the time is interpolated, both on logarithmic scales; beyond its ends β is the one at
    the end.
    """
    if not network.points or size <= 0:
        return network.beta
    within = min(max(size, network.points[0].bytes), network.points[-1].bytes)
    return max(0.0, _interpolated(network.points, within) - network.alpha) / within


def _interpolated(points: Sequence[NetworkPoint], size: int) -> float:
    """Seconds at a size within the range of the points, which are in ascending order."""
    return hockney.interpolated([(point.bytes, point.seconds) for point in points], size)


def fit(points: Sequence[NetworkPoint], ranks: int, name: str, source: str) -> Network:
    """A network model from an all-reduce sweep over two ranks, where an exchange of n bytes takes α + β n.

    α is the time of the smallest exchange. β is the sweep's own at every size (see :func:`beta_at`); the figure in the
    model is that of the largest. The residual is how far a size's time is from what its neighbours say of it, as the
    median over all sizes but the first and last: the error to expect of an interpolated time.

    Raises
    ------
    MeasurementError
        If there are fewer than two sizes, or ranks other than two.
    """
    ordered = sorted(points, key=lambda point: point.bytes)
    if ranks != 2 or len({point.bytes for point in ordered}) != len(ordered) or len(ordered) < 2:
        raise MeasurementError(
            f"fitting a network needs two ranks and at least two sizes, all different, not {ranks} ranks and "
            f"{len(ordered)} sizes"
        )
    alpha = ordered[0].seconds
    residuals = sorted(
        abs(_interpolated([*ordered[:i], *ordered[i + 1 :]], point.bytes) / point.seconds - 1)
        for i, point in enumerate(ordered[1:-1], start=1)
    )
    last = ordered[-1]
    return Network(
        name=name,
        alpha=alpha,
        beta=max(0.0, last.seconds - alpha) / last.bytes,
        source=source,
        points=ordered,
        fitted_ranks=ranks,
        residual=residuals[len(residuals) // 2] if residuals else None,
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
