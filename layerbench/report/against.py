"""A run against the published times of devices that were asked for: means of the ratios, and what has no match."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from layerbench import reference
from layerbench.errors import UsageError
from layerbench.layers import PASSES, AnyLayer
from layerbench.report import describe
from layerbench.report.columns import RunColumns, row_tuples
from layerbench.report.layer_types import kind_order

if TYPE_CHECKING:
    import pandas as pd

SOURCE = "deepbench"

EVERY_PASS = "all"
"""In the column ``part`` of :attr:`Against.means`."""

MEANS = ("device", "stage", "dtype", "kind", "op", "part", "kernels", "ratio", "least", "greatest")
KERNELS = ("device", "layer", "kind", "part", "nodes", "batch", "dtype", "why")

_KERNEL = ["device", "stage", "dtype", "kind", "layer", "part", "nodes"]


@dataclass(frozen=True)
class Against:
    """What a run, or several, amount to against published devices.

    Attributes
    ----------
    devices
        Names of the devices, as they were asked for.
    means
        A row for each run, device, operation and pass, with :data:`EVERY_PASS` first: over so many ``kernels`` the
        geometric mean of the ratios, ``ratio``, and the smallest and the largest of them, ``least`` and ``greatest``.
        ``op`` is DeepBench's word for the operation. A kernel that was published twice counts once, with the geometric
        mean of both.
    kernels
        A row for each run, device and pass of a layer: ``why`` there is no ratio, empty where there is one.
    """

    devices: tuple[str, ...]
    means: pd.DataFrame
    kernels: pd.DataFrame

    @property
    def unmatched(self) -> pd.DataFrame:
        """Of :attr:`kernels` those without a ratio."""
        return self.kernels[self.kernels["why"] != ""]

    def of(self, run: str) -> Against:
        """The same of one run, by its label."""
        return replace(self, means=_of(self.means, run), kernels=_of(self.kernels, run))


def _of(frame: pd.DataFrame, run: str) -> pd.DataFrame:
    return frame[frame["run"] == run]


def asked(words: Sequence[str]) -> tuple[str, ...]:
    """Devices by what ``--against`` was given, each once and as it is spelled in the data.

    Parameters
    ----------
    words
        Such as ``deepbench:V100``; several in one are separated by commas, of which the first alone must name
        DeepBench.

    Raises
    ------
    UsageError
        If there are no such times, with the names of all devices that there are.
    """
    known = {name.casefold(): name for name in reference.devices()} if words else {}
    found: dict[str, None] = {}
    for word in words:
        source = ""
        for item in word.split(","):
            before, colon, device = item.strip().rpartition(":")
            source = before if colon else source
            if source.casefold() != SOURCE or device.casefold() not in known:
                names = ", ".join(known.values())
                raise UsageError(f"--against must be {SOURCE}:DEVICE, not {item.strip()!r}; devices: {names}")
            found[known[device.casefold()]] = None
    return tuple(found)


def compute(run: RunColumns, devices: Sequence[str], matched: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Means and kernels of one run; see :class:`Against`.

    Parameters
    ----------
    run
        The run.
    devices
        Whose times it is set beside.
    matched
        See :func:`layerbench.report.tables.reference`, of these devices.
    """
    return _means(run, devices, matched[matched["ratio"].notna()]), _kernels(run, devices)


def _means(run: RunColumns, devices: Sequence[str], timed: pd.DataFrame) -> pd.DataFrame:
    import numpy as np
    import pandas as pd

    if timed.empty:
        return pd.DataFrame(columns=list(MEANS))
    ops = {layer.name: listed[0] for layer in run.manifest.layers if (listed := reference.params_of(layer, 1))}
    plain = timed.astype(dict.fromkeys(("device", "stage", "dtype", "kind", "layer", "part"), "str"))
    logs = np.log(plain["ratio"]).groupby([plain[name] for name in _KERNEL]).mean().reset_index()
    logs["op"] = logs["layer"].map(ops)
    both = pd.concat([logs.assign(part=EVERY_PASS), logs])
    grouped = both.groupby(list(MEANS[:6]), sort=False)["ratio"]
    means: pd.DataFrame = grouped.agg(kernels="size", ratio="mean", least="min", greatest="max").reset_index()
    for name in ("ratio", "least", "greatest"):
        means[name] = np.exp(means[name])
    parts = [EVERY_PASS, *PASSES]
    places = [
        (devices.index(row.device), row.stage, row.dtype, kind_order(row.kind), row.op, parts.index(row.part))
        for row in row_tuples(means)
    ]
    return means.iloc[sorted(range(len(places)), key=places.__getitem__)].reset_index(drop=True)


def _kernels(run: RunColumns, devices: Sequence[str]) -> pd.DataFrame:
    import pandas as pd

    passes = run.records[run.records["part"].isin(PASSES)].reset_index(drop=True)
    layers = {layer.name: layer for layer in run.manifest.layers}
    why = _not_comparable(passes, layers)
    open_ = passes[why == ""]
    names = ("layer", "part", "batch", "dtype")
    wanted = [
        (layers[str(layer)], part, int(batch), str(dtype))
        for layer, part, batch, dtype in zip(*(open_[name] for name in names), strict=True)
    ]
    times = reference.published()
    found = []
    for device in devices:
        of_device = why.copy()
        of_device[open_.index] = reference.missing(wanted, times[times["device"] == device])
        found.append(passes.assign(device=device, why=of_device))
    frame = pd.concat(found, ignore_index=True)[list(KERNELS)]
    return frame.astype(dict.fromkeys(("device", "layer", "kind", "part", "dtype", "why"), "str"))


def _not_comparable(passes: pd.DataFrame, layers: Mapping[str, AnyLayer]) -> pd.Series[Any]:
    """Why a kernel is not to be set beside any published time, whatever its shape; empty where nothing speaks so."""
    import numpy as np
    import pandas as pd

    told = (
        (passes["ranks"] != 1, "on several ranks, where published times are of one device"),
        ((passes["status"] != "ok") | ~(passes["median"] > 0), "without a time here"),
        (passes["placement"] != "measured", "emulated"),
        (~passes["layer"].isin(list(layers)), "of layers that the run does not list"),
        (passes["cache"] != "hot", "with caches flushed, which DeepBench leaves hot"),
    )
    chosen = np.select([applies for applies, _ in told], [words for _, words in told], "")
    return pd.Series(chosen, passes.index, dtype="object")


def coverage(against: Against, device: str) -> str:
    """How many kernels of one run have a time of a device, and why the others have none, in one sentence."""
    of_device = against.kernels[against.kernels["device"] == device]
    lacking = of_device[of_device["why"] != ""]
    why = _reasons(of_device, lacking)
    count, timed = len(of_device), len(of_device) - len(lacking)
    if not count:
        return f"{device}: the run has no kernels."
    if not timed:
        these = "the run's one kernel" if count == 1 else f"any of the run's {count:,} kernels"
        return f"{device}: DeepBench published no time of the same shape, precision and pass for {these} ({why})."
    told = (
        f"{device}: {timed:,} of {describe.plural(count, 'kernel')} {'has' if timed == 1 else 'have'} a published time"
    )
    return f"{told}; {len(lacking):,} {'has' if len(lacking) == 1 else 'have'} none ({why})." if why else f"{told}."


def _reasons(kernels: pd.DataFrame, lacking: pd.DataFrame) -> str:
    """Each reason with its number, the most frequent first, and its layers where they are not all of them."""
    every = kernels["layer"].nunique()
    told = []
    for why, count in lacking["why"].value_counts().items():
        layers = list(lacking.loc[lacking["why"] == why, "layer"].unique())
        named = f", of {describe.listed(layers, shown=4)}" if len(layers) < every else ""
        told.append(f"{why}: {count:,}{named}")
    return "; ".join(told)
