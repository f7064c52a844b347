"""From journals to columns: a run's records as one frame, and all of its samples as one array.

A record is a value with a list in it; a million of them do not fit the memory of a small machine. They are therefore
turned into columns some hundreds at a time, and those of a large journal by several processes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from layerbench import store
from layerbench.partition import outputs
from layerbench.processes import in_processes
from layerbench.records import Manifest, Record
from layerbench.report.pieces import Piece, taken_apart, together
from layerbench.stats import intervals
from layerbench.suite_format import printable

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

PIECE_BYTES = 64 * 2**20
"""Of a journal, that one process reads at a time; a smaller one is not worth a process."""

_BOUNDS = ("", "cache", "computation", "memory")

_CUT_OFF = "is cut off and is not counted"
"""The end of the store's warning of a last line that is no whole one."""


@dataclass(frozen=True)
class Samples:
    """Raw samples of the rows of a frame, in seconds: those of row ``i`` are ``values[starts[i]:][:counts[i]]``."""

    values: np.ndarray
    starts: np.ndarray
    counts: np.ndarray

    def of(self, row: int) -> np.ndarray:
        """The samples of one row."""
        start = self.starts[row]
        return self.values[start : start + self.counts[row]]


@dataclass(frozen=True)
class RunColumns:
    """A run as its report reads it.

    Attributes
    ----------
    path, manifest, warnings
        As :class:`layerbench.store.StoredRun` has them.
    records
        See :func:`records_frame`.
    samples
        Of the same rows.
    """

    path: Path
    manifest: Manifest
    records: pd.DataFrame
    samples: Samples
    warnings: list[str] = field(default_factory=list)


def row_tuples(frame: pd.DataFrame) -> Iterator[Any]:
    """A frame row by row, columns as attributes."""
    return iter(frame.itertuples(index=False))


def load(path: Path) -> RunColumns:
    """Read a run folder.

    Raises
    ------
    StoreError
        If there is none, or it cannot be read.
    UsageError
        If it has no records.
    """
    manifest = store.load_manifest(path)
    busy = store.being_written(path)
    with store.collector_paused():
        pieces, warnings = _pieces(path)
        records, samples = _columns(pieces, manifest)
    if records.empty:
        raise store.without_records(path, "report", warnings)
    return RunColumns(path, manifest, records, samples, with_state(path, manifest, warnings, busy=busy))


def _pieces(path: Path) -> tuple[list[Piece], list[str]]:
    """A run's records, and what was wrong with its journal."""
    ranges = store.ranges(path, PIECE_BYTES)
    if len(ranges) > 1:
        told = in_processes([partial(_piece, path, *each) for each in ranges])
        if not any(warnings for _, warnings in told):
            return [piece for piece, _ in told], []
        # Read it from the front: only then is known in which line something is wrong.
    piece, warnings = _piece(path)
    return [piece], warnings


def _piece(path: Path, start: int = 0, stop: int | None = None) -> tuple[Piece, list[str]]:
    warnings: list[str] = []
    return taken_apart(store.batches(path, warnings, start, stop)), warnings


def with_state(path: Path, manifest: Manifest, warnings: Sequence[str], *, busy: bool) -> list[str]:
    """What was wrong with a journal, and whether its run goes on (``busy``) or was cut short.

    While a run goes on, its last line may be cut off because it is just being written, which is nothing to tell.
    """
    # A decoder quotes what it cannot take.
    warnings = [printable(warning) for warning in warnings]
    if busy:
        told = [warning for warning in warnings if not warning.endswith(_CUT_OFF)]
        return [*told, f"{path} is being written: this is what it held when it was read"]
    if manifest.outcome == "running":
        return [*warnings, f"{path} was cut short: complete it with its own command, --output {path} and --resume"]
    return warnings


def of_records(path: Path, manifest: Manifest, records: Sequence[Record], warnings: Sequence[str] = ()) -> RunColumns:
    """The same of records at hand."""
    return RunColumns(path, manifest, *_columns([taken_apart([records])], manifest), warnings=list(warnings))


def _columns(pieces: Sequence[Piece], manifest: Manifest) -> tuple[pd.DataFrame, Samples]:
    import numpy as np
    import pandas as pd

    columns, values, counts = together(pieces)
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]]) if len(counts) else counts
    frame = pd.DataFrame(columns, copy=False)
    kept = _latest(frame)
    if len(kept) < len(frame):
        frame = frame.iloc[kept].reset_index(drop=True)
        starts, counts = starts[kept], counts[kept]
    samples = Samples(values, starts, counts)
    # One column after another: a frame put beside another would be copied whole.
    for derived in (_derived(frame, samples), _against_roofline(frame, manifest)):
        for name, column in derived:
            frame[name] = column
    return frame, samples


def _latest(frame: pd.DataFrame) -> np.ndarray:
    """Rows that count: of several with one key the last, or the last that did not fail, where the first one stood."""
    import numpy as np

    key = ["layer", "part", "nodes"]
    if not frame.duplicated(key).any():
        return np.arange(len(frame))
    group = frame.groupby(key, sort=False, observed=True).ngroup().to_numpy()
    # The last write to a group wins, and what is sound is written after what is not.
    order = np.argsort(frame["status"].to_numpy() == "ok", kind="stable")
    kept = np.empty(group.max() + 1, np.int64)
    kept[group[order]] = order
    return kept


def _derived(frame: pd.DataFrame, samples: Samples) -> Iterator[tuple[str, Any]]:
    """What follows from a record's own figures and its samples."""
    import numpy as np

    ok = (frame["status"] == "ok").to_numpy()
    median, low, high = intervals(samples.values, samples.starts, np.where(ok, samples.counts, 0))
    modelled = frame["modelled_seconds"].to_numpy()
    computed = ok & (samples.counts == 0) & ~np.isnan(modelled)
    median = np.where(computed, modelled, median)
    communication = (frame["part"] == "communication").to_numpy()
    known = _is_time(median, communication)
    median, low, high = (np.where(known, value, np.nan) for value in (median, low, high))
    macs, moved = frame["macs"].to_numpy(np.float64), frame["bytes"].to_numpy(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        flops = np.where((macs > 0) & (median > 0), 2 * macs / median, np.nan)
        intensity = np.where((macs > 0) & (moved > 0), macs / moved, np.nan)
    # One rank exchanges nothing, whose interval has no width that too few samples could leave too wide.
    yield "noisy", frame["noisy"].to_numpy() & ~(communication & (frame["ranks"].to_numpy() == 1))
    yield "sample_count", samples.counts
    yield "median", median
    yield "ci_low", low
    yield "ci_high", high
    yield "flops", flops
    yield "macs_per_byte", intensity
    yield "joules_per_gmac", frame["energy_joules"].to_numpy() / np.where(macs > 0, macs * 1e-9, np.nan)


def _is_time(seconds: np.ndarray, communication: np.ndarray) -> Any:
    """Which medians are the time of something: one rank communicates in no time, but nothing is computed in none."""
    import numpy as np

    return np.isfinite(seconds) & np.where(communication, seconds >= 0, seconds > 0)


def largest_share(frame: pd.DataFrame, manifest: Manifest) -> np.ndarray:
    """What the rank with the most to compute has of each record's MACs: of the samples, or of the layer's outputs."""
    import numpy as np

    share: np.ndarray = frame["local_batch"].to_numpy(np.float64) / frame["batch"].to_numpy(np.float64)
    split = (frame["layout"] == "model").to_numpy()
    if split.any():
        every = {layer.name: outputs(layer) for layer in manifest.layers}
        of_layer = frame.loc[split, "layer"].astype("str").map(every).to_numpy(np.float64)
        share[split] = np.ceil(of_layer / frame.loc[split, "ranks"].to_numpy()) / of_layer
    return share


def _against_roofline(frame: pd.DataFrame, manifest: Manifest) -> Iterator[tuple[str, Any]]:
    """How each pass stands to the ceilings of one rank; see :func:`layerbench.report.tables.records_frame`."""
    import numpy as np
    import pandas as pd

    of_one = (frame["flops"] * largest_share(frame, manifest)).where(frame["part"] != "step")
    roof, bound = np.full(len(frame), np.nan), np.zeros(len(frame), np.int8)
    ceilings = manifest.roofline
    if ceilings is not None and ceilings.flops > 0 and ceilings.bandwidth > 0:
        same = (
            (frame["device"] == ceilings.device)
            & (frame["dtype"] == ceilings.dtype)
            & (frame["threads_per_rank"] == ceilings.threads)
            & of_one.notna()
        )
        slope = ceilings.bandwidth * 2 * frame["macs_per_byte"]
        roof = np.where(same, np.minimum(slope, ceilings.flops), np.nan)
        # Beyond what memory gives only a cache can be: operands of the repetition before are still there.
        cache, memory, computation = map(_BOUNDS.index, ("cache", "memory", "computation"))
        by_bytes = np.where(of_one > slope, cache, memory)
        bound = np.where(same, np.where(slope < ceilings.flops, by_bytes, computation), bound).astype(np.int8)
    yield "flops_per_rank", of_one
    yield "roof_flops", roof
    yield "fraction_of_roofline", of_one / roof
    yield "bound", pd.Categorical.from_codes(bound, categories=pd.Index(list(_BOUNDS), dtype="str"))
