"""The frames that every figure, text, page and file of a report is made from: tidy, and computed once.

Each frame has a column ``run`` with the label of the run that a row is of, so that one report can be about several.

A *type* of layers is complete at a node count when every layer of it has a step there. Its running time is the sum of
the layers' steps; where one is missing there is no sum, rather than a smaller one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol

from layerbench.layers import PASSES
from layerbench.overlap_records import Overlap
from layerbench.records import PARTS, Manifest, Record
from layerbench.reference import matches, published
from layerbench.report import against as against_
from layerbench.report import labels, overlap_rows
from layerbench.report.against import Against
from layerbench.report.columns import RunColumns, of_records, row_tuples
from layerbench.report.layer_types import layer_types
from layerbench.report.overlap_rows import Measured

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd


class Run(Protocol):
    """A run as it was read, from wherever: its folder, its manifest, and a record for each (layer, part, nodes)."""

    @property
    def path(self) -> Path: ...

    @property
    def manifest(self) -> Manifest: ...

    @property
    def records(self) -> Sequence[Record]: ...


FRAMES = ("records", "layer_types", "breakdown", "intensity", "ceilings", "reference", "overlap")


@dataclass(frozen=True)
class Tables:
    """All frames of a report.

    Attributes
    ----------
    runs
        What is reported on, by label, in order.
    records
        See :func:`records_frame`; ``run`` is its first column.
    layer_types
        See :func:`layerbench.report.layer_types.layer_types`.
    breakdown
        See :func:`breakdown`.
    intensity
        See :func:`intensity`.
    ceilings
        See :func:`ceilings`.
    reference
        See :func:`reference`.
    overlap
        See :func:`layerbench.report.overlap_rows.frame`.
    overlaps
        What each run's folder holds of overlap, by label, of those that hold anything that can be read.
    against
        See :class:`layerbench.report.against.Against`; None where no published device was asked for, and
        :attr:`reference` is about all of them.
    alone
        Whether the report is about one run.
    """

    runs: dict[str, RunColumns]
    records: pd.DataFrame
    layer_types: pd.DataFrame
    breakdown: pd.DataFrame
    intensity: pd.DataFrame
    ceilings: pd.DataFrame
    reference: pd.DataFrame
    overlap: pd.DataFrame
    overlaps: dict[str, Overlap] = field(default_factory=dict)
    against: Against | None = None
    alone: bool = True

    @property
    def run(self) -> RunColumns:
        """The run, where there is one."""
        (run,) = self.runs.values()
        return run

    @property
    def manifest(self) -> Manifest:
        """The run's, where there is one."""
        return self.run.manifest

    @property
    def base_nodes(self) -> int | None:
        """The node count that a run's speed-ups are relative to; None where nothing is complete."""
        bases = self.layer_types["base_nodes"]
        return None if bases.isna().all() else int(bases.iloc[0])

    @property
    def layers(self) -> pd.DataFrame:
        """Of :attr:`intensity` one row for each layer: any one pass over the largest batch that a rank has."""
        forward = self.intensity[self.intensity["pass"] == PASSES[0]]
        return forward.sort_values("nodes", kind="stable").drop_duplicates(["run", "layer"]).sort_index()

    def each(self) -> Iterator[Tables]:
        """The same of every run by itself."""
        if len(self.runs) == 1:
            yield self
            return
        for label, run in self.runs.items():
            of_run = {name: frame[frame["run"] == label] for name in FRAMES for frame in [getattr(self, name)]}
            overlaps = {label: self.overlaps[label]} if label in self.overlaps else {}
            against = self.against and self.against.of(label)
            yield replace(self, runs={label: run}, overlaps=overlaps, against=against, **of_run)

    def measured_overlap(self, letters: Mapping[str, str]) -> list[Measured]:
        """What each run's folder holds of overlap, in order; the runs are called by these letters."""
        return [
            Measured(letters[label], label, self.overlaps[label], index)
            for index, label in enumerate(self.runs)
            if label in self.overlaps
        ]


def compute(runs: Sequence[RunColumns], devices: Sequence[str] = ()) -> Tables:
    """All frames of a report on these runs; against the published times of these devices alone, if there are any."""
    import pandas as pd

    named = dict(zip(labels.of(runs), runs, strict=True))
    frames: dict[str, list[pd.DataFrame]] = {}
    overlaps = {label: found for label, run in named.items() if (found := overlap_rows.of_folder(run.path))}
    for label, run in named.items():
        types = layer_types(run)
        of_run = {
            "records": run.records,
            "layer_types": types,
            "breakdown": breakdown(run, types),
            "intensity": intensity(run),
            "ceilings": ceilings(run),
            "reference": reference(run, devices),
            "overlap": overlap_rows.frame([overlaps[label]] if label in overlaps else []),
        }
        if devices:
            of_run["means"], of_run["kernels"] = against_.compute(run, devices, of_run["reference"])
        for name, frame in of_run.items():
            labelled = frame.copy(deep=False)
            labelled.insert(0, "run", pd.Series(pd.Categorical([label] * len(frame), list(named)), frame.index))
            frames.setdefault(name, []).append(labelled)
    together = {name: _together(parts) for name, parts in frames.items()}
    against = Against(tuple(devices), together.pop("means"), together.pop("kernels")) if devices else None
    return Tables(named, **together, overlaps=overlaps, against=against, alone=len(named) == 1)


def _together(parts: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Frames of several runs one below the other; columns of few words stay such."""
    import pandas as pd

    if len(parts) == 1:
        return parts[0]
    united = {
        name: pd.api.types.union_categoricals([part[name] for part in parts])
        for name in parts[0].columns
        if all(isinstance(part[name].dtype, pd.CategoricalDtype) for part in parts)
    }
    plain = pd.concat([part.drop(columns=list(united)) for part in parts], ignore_index=True)
    return plain.assign(**united)[list(parts[0].columns)]


def of_run(run: Run) -> Tables:
    """All frames of a run whose records are at hand."""
    return compute([of_records(run.path, run.manifest, run.records, getattr(run, "warnings", ()))])


def records_frame(run: Run) -> pd.DataFrame:
    """One row for each record.

    Columns are a record's fields without its lists ``samples`` and ``rank_medians``, where communication of one rank,
    which has nothing to exchange, is never ``noisy``, and

    * ``slowest_rank``: the rank with the largest median, where there are several
    * ``sample_count``
    * ``median``, ``ci_low``, ``ci_high``: seconds, with the 95 % interval; a time that was computed is its own
      median and has no interval, what failed has neither
    * ``flops``: FLOP/s over all ranks, two for each multiply-accumulate
    * ``macs_per_byte``: arithmetic intensity on compulsory traffic; NaN where there is nothing to compute
    * ``flops_per_rank``: of a pass, on the rank with the most samples or, in the model layout, outputs
    * ``roof_flops``, ``bound``: what the measured roofline allows that rank at this intensity,
      ``min(peak, 2 · macs_per_byte · bandwidth)``, and which of the two it is, ``computation`` or ``memory``, or
      ``cache`` where the rate is beyond what memory gives; NaN where none was measured for this device, dtype and
      number of threads
    * ``fraction_of_roofline``: ``flops_per_rank / roof_flops``; above 1 where operands stay in cache
    """
    return of_records(run.path, run.manifest, run.records).records


def breakdown(run: RunColumns, types: pd.DataFrame) -> pd.DataFrame:
    """What a type's step is made of: one row for each type, node count and part.

    Columns: ``kind``, ``nodes``, ``placement``, ``part`` (the passes and ``communication``), ``seconds``: the sum of
    the medians of that part over the layers whose step it is in, ``step_seconds``, and ``share``: their quotient. All
    communication is exposed: nothing is computed meanwhile. Parts need not add up to the step: of each part the slowest
    rank counts, so that where ranks differ and wait for one another their sum is more than the step, by half and beyond
    in the worst cases; and a sum of medians is not the median of sums. Only types that are complete.
    """
    import pandas as pd

    complete = types[types["complete"]]
    parts = run.records[(run.records["part"] != "step") & run.records["in_step"]]
    sums = parts.groupby(["kind", "nodes", "part"], observed=True)["median"].agg(
        lambda of_part: of_part.sum(skipna=False)
    )
    order = [part for part in PARTS if part != "step"]
    rows = [
        {
            "kind": row.kind,
            "nodes": row.nodes,
            "placement": row.placement,
            "part": part,
            "seconds": sums.get((row.kind, row.nodes, part), 0.0),
            "step_seconds": row.seconds,
        }
        for row in row_tuples(complete)
        for part in order
    ]
    frame = pd.DataFrame(rows, columns=["kind", "nodes", "placement", "part", "seconds", "step_seconds"])
    return frame.assign(share=frame["seconds"] / frame["step_seconds"])


def intensity(run: RunColumns) -> pd.DataFrame:
    """MACs per byte by layer, batch and pass: one row for each pass of a layer and batch of a rank.

    Columns: ``layer``, ``kind``, ``pass``, ``nodes`` (the least at which a rank has this batch), ``local_batch`` (of
    the rank with the most samples), ``dtype``, and over all ranks ``macs``, ``bytes``, ``macs_per_byte``; for layers
    with time steps also ``bytes_weights_reread`` and ``macs_per_byte_weights_reread``: the same if nothing stays in
    cache between time steps. All three passes of a layer read two of input, weights and output and write the third,
    so they have one intensity.
    """
    columns = ["layer", "kind", "part", "nodes", "local_batch", "dtype", "macs", "bytes", "macs_per_byte"]
    passes = run.records.loc[run.records["part"].isin(PASSES), [*columns, "bytes_weights_reread"]]
    passes = passes[passes["local_batch"] > 0].sort_values("nodes", kind="stable")
    distinct = passes.drop_duplicates(["layer", "part", "local_batch"]).sort_index(kind="stable")
    distinct = distinct.rename(columns={"part": "pass"}).reset_index(drop=True)
    reread = distinct["bytes_weights_reread"].astype("Float64").astype("float64")
    return distinct.assign(macs_per_byte_weights_reread=distinct["macs"] / reread)


def ceilings(run: RunColumns) -> pd.DataFrame:
    """The measured roofline of one rank, if the run has one.

    Columns: ``device``, ``dtype``, ``threads``, ``flops`` (FLOP/s), ``bandwidth`` (bytes/s), ``ridge``: the MACs per
    byte at which the two meet, and what was measured in words, ``flops_source`` and ``bandwidth_source``.
    """
    import pandas as pd

    names = ["device", "dtype", "threads", "flops", "bandwidth", "flops_source", "bandwidth_source"]
    measured = run.manifest.roofline
    known = measured is not None and measured.flops > 0 and measured.bandwidth > 0
    frame = pd.DataFrame([{name: getattr(measured, name) for name in names}] if known else [], columns=names)
    return frame.assign(ridge=(frame["flops"] / frame["bandwidth"] / 2).astype("float64"))


def reference(run: RunColumns, devices: Sequence[str] = ()) -> pd.DataFrame:
    """Published times of the same shapes, one row for each device that has one; of some devices only, if any are named.

    Columns: ``layer``, ``kind``, ``part``, ``nodes``, ``local_batch``, ``dtype``, ``median``, ``ci_low``, ``ci_high``,
    ``device``, ``stage``, ``published_seconds``, and ``ratio``: published over measured. Only of one rank, whose batch
    is the whole one.
    """
    ours = ["layer", "kind", "part", "nodes", "local_batch", "dtype", "median", "ci_low", "ci_high"]
    times = published()
    found = matches(run.records, run.manifest.layers, times[times["device"].isin(devices)] if devices else times)
    theirs = found[["layer", "part", "nodes", "device", "stage"]].assign(published_seconds=found["time_seconds"])
    keys = ["layer", "part", "nodes"]
    records = run.records.loc[run.records["layer"].isin(theirs["layer"].unique()), ours]
    joined = records.astype(dict.fromkeys(("layer", "part"), "str")).merge(theirs, how="inner", on=keys)
    return joined.assign(ratio=joined["published_seconds"] / joined["median"])
