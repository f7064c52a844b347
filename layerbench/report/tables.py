"""The frames that every figure, text and file of a report is made from: tidy, and computed once.

A *type* of layers is complete at a node count when every layer of it has a step there. Its running time is the sum of
the layers' steps; where one is missing there is no sum, rather than a smaller one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from layerbench.layers import KINDS
from layerbench.partition import global_batch
from layerbench.records import Manifest, Options, Record
from layerbench.stats import Interval, interval, ratio_of, sum_of

if TYPE_CHECKING:
    import pandas as pd

FIELDS = tuple(name for name in Record.__struct_fields__ if name != "samples")


class Run(Protocol):
    """A run as it was read, from wherever: its folder, its manifest, and a record for each (layer, part, nodes)."""

    @property
    def path(self) -> Path: ...

    @property
    def manifest(self) -> Manifest: ...

    @property
    def records(self) -> Sequence[Record]: ...


@dataclass(frozen=True)
class Tables:
    """All frames of one run.

    Attributes
    ----------
    manifest
        The run's.
    records
        See :func:`records_frame`.
    layer_types
        See :func:`layer_types`.
    intensity
        See :func:`intensity`.
    """

    manifest: Manifest
    records: pd.DataFrame
    layer_types: pd.DataFrame
    intensity: pd.DataFrame

    @property
    def base_nodes(self) -> int | None:
        """The node count that speed-ups are relative to; None where nothing is complete."""
        bases = self.layer_types["base_nodes"]
        return None if bases.isna().all() else int(bases.iloc[0])


def row_tuples(frame: pd.DataFrame) -> Iterator[Any]:
    """A frame row by row, columns as attributes."""
    return iter(frame.itertuples(index=False))


def compute(run: Run) -> Tables:
    """All frames of a run."""
    records = records_frame(run)
    return Tables(run.manifest, records, layer_types(run, records), intensity(run))


def records_frame(run: Run) -> pd.DataFrame:
    """One row for each record.

    Columns are a record's fields without ``samples``, and

    * ``sample_count``
    * ``median``, ``ci_low``, ``ci_high``: seconds, with the 95 % interval; a time that was computed is its own
      median and has no interval, what failed has neither
    * ``flops``: FLOP/s, two for each multiply-accumulate
    * ``macs_per_byte``: arithmetic intensity on compulsory traffic; NaN where there is nothing to compute
    """
    import pandas as pd

    records = run.records
    transposed = zip(*map(attrgetter(*FIELDS), records), strict=True) if records else ([] for _ in FIELDS)
    columns: dict[str, Sequence[Any]] = dict(zip(FIELDS, transposed, strict=True))
    intervals = [_interval_of(record) for record in records]
    columns["sample_count"] = [len(record.samples) for record in records]
    columns["median"] = [i.median for i in intervals]
    columns["ci_low"] = [i.low for i in intervals]
    columns["ci_high"] = [i.high for i in intervals]
    columns["flops"] = [
        2 * r.macs / i.median if r.macs and i.median else math.nan for r, i in zip(records, intervals, strict=True)
    ]
    columns["macs_per_byte"] = [r.macs / r.bytes if r.macs and r.bytes else math.nan for r in records]
    return pd.DataFrame({name: _series(name, values) for name, values in columns.items()})


def _series(name: str, values: Sequence[Any]) -> pd.Series[Any]:
    """A column; one that may be None throughout needs its type told."""
    import pandas as pd

    dtypes = {"modelled_seconds": "float64", "relative_error": "float64", "verified": "boolean"}
    dtype: Any = "Int64" if name.startswith("bytes_") else dtypes.get(name)
    series: pd.Series[Any] = pd.Series(values, dtype=dtype)
    return series


def _interval_of(record: Record) -> Interval:
    if record.status != "ok":
        return interval([])
    if not record.samples and record.modelled_seconds is not None:
        return Interval(record.modelled_seconds, math.nan, math.nan, "none")
    return interval(record.samples)


def layer_types(run: Run, records: pd.DataFrame | None = None) -> pd.DataFrame:
    """One row for each layer type and node count, types in the order of :data:`layerbench.layers.KINDS`.

    Columns:

    * ``kind``, ``nodes``, ``ranks``, ``batch``, ``layers``: how many layers the type has
    * ``complete``, ``missing``: whether every layer has a step, and the names of those that have none
    * ``placement``, ``network``: ``emulated`` if any of the steps is
    * ``noisy``: whether any of the steps is
    * ``seconds``, ``ci_low``, ``ci_high``, ``ci_method``: the type's step, the sum of its layers' medians
    * ``base_nodes``: the smallest count at which any type is complete; speed-ups are relative to it
    * ``speedup``, ``speedup_low``, ``speedup_high``: t(base)/t(n) in strong scaling; in weak scaling, where n nodes
      do n times the work, the scaled speed-up n/base · t(base)/t(n)
    * ``ideal``: n/base
    * ``efficiency``: ``speedup / ideal``, so t(base)/t(n) in weak scaling
    * ``communication_seconds``, ``communication_share``: the all-reduce, and its part of the step

    Numbers are NaN where the type is not complete, and speed-ups also where it is not complete at the base.

    Parameters
    ----------
    run
        A run.
    records
        Its :func:`records_frame`, if that is at hand.
    """
    import pandas as pd

    sums = _sums(run, records_frame(run) if records is None else records)
    base = min((s.nodes for s in sums if not s.missing), default=None)
    at_base = {s.kind: s.step for s in sums if s.nodes == base and not s.missing}
    weak = run.manifest.options.scaling == "weak"
    rows = []
    for s in sums:
        ideal = s.nodes / base if base is not None else math.nan
        speedup = _speedup(s, at_base.get(s.kind), s.nodes == base, ideal if weak else 1.0)
        rows.append(
            {
                "kind": s.kind,
                "nodes": s.nodes,
                "ranks": s.ranks,
                "batch": s.batch,
                "layers": s.layers,
                "complete": not s.missing,
                "missing": " ".join(s.missing),
                "placement": s.placement,
                "network": s.network,
                "noisy": s.noisy,
                "seconds": s.step.median,
                "ci_low": s.step.low,
                "ci_high": s.step.high,
                "ci_method": s.step.method,
                "base_nodes": base,
                "speedup": speedup.median,
                "speedup_low": speedup.low,
                "speedup_high": speedup.high,
                "ideal": ideal,
                "efficiency": speedup.median / ideal,
                "communication_seconds": s.communication,
                "communication_share": s.communication / s.step.median if s.step.median else math.nan,
            }
        )
    return pd.DataFrame(rows).astype({"base_nodes": "Int64"}) if rows else pd.DataFrame(columns=["kind", "base_nodes"])


@dataclass(frozen=True)
class _Sum:
    """The layers of one type at one node count, put together."""

    kind: str
    nodes: int
    ranks: int
    batch: int
    layers: int
    missing: Sequence[str]
    placement: str
    network: str
    noisy: bool
    step: Interval
    communication: float


_NOTHING = interval([])

_SUMMED = (
    *("layer", "part", "nodes", "placement", "network", "noisy"),
    *("median", "ci_low", "ci_high", "ci_method"),
)


def _sums(run: Run, records: pd.DataFrame) -> list[_Sum]:
    options = run.manifest.options
    names: dict[str, list[str]] = {}
    for layer in run.manifest.layers:
        names.setdefault(layer.kind, []).append(layer.name)
    wanted = records.loc[records["part"].isin(["step", "communication"]), list(_SUMMED)]
    by_key = {(row.layer, row.part, row.nodes): row for row in row_tuples(wanted)}
    counts = sorted({*options.nodes, *(int(nodes) for nodes in records["nodes"])})
    return [
        _sum(kind, names[kind], nodes, by_key, options) for kind in sorted(names, key=_kind_order) for nodes in counts
    ]


def _sum(kind: str, names: Sequence[str], nodes: int, by_key: Mapping[Any, Any], options: Options) -> _Sum:
    steps = {name: by_key.get((name, "step", nodes)) for name in names}
    missing = [name for name, step in steps.items() if step is None or math.isnan(step.median)]
    there = [step for step in steps.values() if step is not None]
    exchanges = [by_key.get((name, "communication", nodes)) for name in names]
    ranks = nodes * options.ranks_per_node
    return _Sum(
        kind=kind,
        nodes=nodes,
        ranks=ranks,
        batch=global_batch(options.batch, ranks, options.ranks_per_node, options.scaling),
        layers=len(names),
        missing=missing,
        placement=_placement([step.placement for step in there]),
        network=next((step.network for step in there if step.network), ""),
        noisy=any(step.noisy for step in there),
        step=_NOTHING if missing else sum_of([_as_interval(step) for step in there]),
        communication=math.nan if missing else math.fsum(math.nan if e is None else e.median for e in exchanges),
    )


def _placement(placements: Sequence[str]) -> str:
    """One emulated step makes the sum emulated; empty where nothing is known."""
    return "emulated" if "emulated" in placements else "measured" if placements else ""


def _kind_order(kind: str) -> int:
    return list(KINDS).index(kind) if kind in KINDS else len(KINDS)


def _as_interval(row: Any) -> Interval:
    return Interval(row.median, row.ci_low, row.ci_high, row.ci_method)


def _speedup(here: _Sum, base: Interval | None, is_base: bool, work: float) -> Interval:
    """``work`` times base over here; exactly 1 at the base, which is no quotient of two measurements."""
    if base is None or here.missing:
        return _NOTHING
    if is_base:
        return Interval(1.0, 1.0, 1.0, here.step.method)
    ratio = ratio_of(base, here.step)
    return Interval(work * ratio.median, work * ratio.low, work * ratio.high, ratio.method)


def intensity(run: Run) -> pd.DataFrame:
    """One row for each layer, in the suite's order: any one pass over the run's batch, from its shape alone.

    Columns: ``layer``, ``kind``, ``batch`` (in weak scaling, of one node), ``dtype``, ``weights``, ``macs``,
    ``bytes`` and ``macs_per_byte``, and, for layers with time steps, ``bytes_weights_reread`` and
    ``macs_per_byte_weights_reread``: the same if nothing stays in cache between time steps.
    """
    import pandas as pd

    options = run.manifest.options
    rows: list[dict[str, Any]] = []
    for layer in run.manifest.layers:
        macs = layer.macs(options.batch)
        moved = layer.bytes(options.batch, options.dtype)
        reread = layer.bytes_weights_reread(options.batch, options.dtype)
        rows.append(
            {
                "layer": layer.name,
                "kind": layer.kind,
                "batch": options.batch,
                "dtype": options.dtype,
                "weights": layer.weights,
                "macs": macs,
                "bytes": moved,
                "macs_per_byte": macs / moved,
                "bytes_weights_reread": reread,
                "macs_per_byte_weights_reread": math.nan if reread is None else macs / reread,
            }
        )
    return pd.DataFrame({name: _series(name, [row[name] for row in rows]) for name in rows[0]} if rows else {})
