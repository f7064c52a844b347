"""From journals to columns: a run's records as one frame, and all of its samples as one array.

A record is a value with a list in it; a million of them do not fit the memory of a small machine. They are therefore
turned into columns some thousands at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from layerbench import store
from layerbench.errors import UsageError
from layerbench.records import Manifest, Record
from layerbench.stats import intervals
from layerbench.suite_format import printable

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

_LISTS = ("samples", "rank_medians")

_WORDS = (
    *("layer", "kind", "part", "dtype", "kernels", "algorithm", "device", "cache"),
    *("placement", "network", "ci_method", "status", "reason"),
)
"""Fields with few distinct values among many records."""

_CUT_OFF = "is cut off and is not counted"
"""The end of the store's warning of a last line that is no whole one."""

FIELDS = tuple(name for name in Record.__struct_fields__ if name not in _LISTS)


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
    warnings: list[str] = []
    with store.collector_paused():
        records, samples = _columns(store.batches(path, warnings), manifest)
    if records.empty:
        why = f" ({printable(warnings[0])})" if warnings else ""
        raise UsageError(
            f"{path} has no records to report{why}: complete it with layerbench run, its own options, "
            f"--output {path} and --resume"
        )
    return RunColumns(path, manifest, records, samples, with_state(path, manifest, warnings, busy=busy))


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
    return RunColumns(path, manifest, *_columns([records], manifest), warnings=list(warnings))


def _columns(batches: Iterable[Sequence[Record]], manifest: Manifest) -> tuple[pd.DataFrame, Samples]:
    import numpy as np
    import pandas as pd

    builder = _Builder()
    for batch in batches:
        builder.add(batch)
    columns, values, counts = builder.finish()
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


class _Builder:
    """Columns of the batches so far."""

    def __init__(self) -> None:
        self._codes: dict[str, dict[str, int]] = {name: {} for name in _WORDS}
        self._parts: dict[str, list[Any]] = {name: [] for name in (*FIELDS, "slowest_rank")}
        self._values: list[Any] = []
        self._counts: list[Any] = []

    def add(self, batch: Sequence[Record]) -> None:
        import numpy as np

        if not batch:
            return
        for name, column in zip(FIELDS, zip(*map(attrgetter(*FIELDS), batch), strict=True), strict=True):
            codes = self._codes.get(name)
            if codes is not None:
                for word in dict.fromkeys(column):
                    codes.setdefault(word, len(codes))
                self._parts[name].append(np.fromiter(map(codes.__getitem__, column), np.int32, len(column)))
            else:
                self._parts[name].append(_array(name, column))
        medians = [record.rank_medians for record in batch]
        slowest = [of_ranks.index(max(of_ranks)) if len(of_ranks) > 1 else None for of_ranks in medians]
        self._parts["slowest_rank"].append(_array("slowest_rank", slowest))
        lists = [record.samples for record in batch]
        counts = np.fromiter(map(len, lists), np.int64, len(lists))
        self._counts.append(counts)
        self._values.append(np.fromiter(chain.from_iterable(lists), np.float64, int(counts.sum())))

    def finish(self) -> tuple[dict[str, Any], np.ndarray, np.ndarray]:
        import numpy as np
        import pandas as pd

        if not self._counts:
            self.add_nothing()
        columns: dict[str, Any] = {}
        for name, parts in self._parts.items():
            codes = self._codes.get(name)
            if codes is not None:
                columns[name] = pd.Categorical.from_codes(
                    np.concatenate(parts), categories=pd.Index(list(codes), dtype="str")
                )
            else:
                columns[name] = pd.concat([pd.Series(part) for part in parts], ignore_index=True)
            parts.clear()
        return columns, np.concatenate(self._values), np.concatenate(self._counts)

    def add_nothing(self) -> None:
        """Empty columns of the right types, of a run without records."""
        import numpy as np

        for name, parts in self._parts.items():
            parts.append(np.array([], np.int32) if name in self._codes else _array(name, []))
        self._counts.append(np.array([], np.int64))
        self._values.append(np.array([], np.float64))


def _array(name: str, column: Sequence[Any]) -> Any:
    """A column's values; whole numbers too large for 64 bits, which no real layer reaches, as floating point."""
    import numpy as np
    import pandas as pd

    if name in ("bytes_weights_reread", "slowest_rank"):
        return pd.array(list(column), dtype="Int64")
    if name == "verified":
        return pd.array(list(column), dtype="boolean")
    if name in ("modelled_seconds", "relative_error"):
        return np.array(column, np.float64)
    try:
        return np.array(column, np.bool_ if column and isinstance(column[0], bool) else np.int64)
    except OverflowError:
        return np.array(column, np.float64)


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
    known = _is_time(median, (frame["part"] == "communication").to_numpy())
    median, low, high = (np.where(known, value, np.nan) for value in (median, low, high))
    macs, moved = frame["macs"].to_numpy(np.float64), frame["bytes"].to_numpy(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        flops = np.where((macs > 0) & (median > 0), 2 * macs / median, np.nan)
        intensity = np.where((macs > 0) & (moved > 0), macs / moved, np.nan)
    yield "sample_count", samples.counts
    yield "median", median
    yield "ci_low", low
    yield "ci_high", high
    yield "flops", flops
    yield "macs_per_byte", intensity


def _is_time(seconds: np.ndarray, communication: np.ndarray) -> Any:
    """Which medians are the time of something: one rank communicates in no time, but nothing is computed in none."""
    import numpy as np

    return np.isfinite(seconds) & np.where(communication, seconds >= 0, seconds > 0)


def _against_roofline(frame: pd.DataFrame, manifest: Manifest) -> Iterator[tuple[str, Any]]:
    """How each pass stands to the ceilings of one rank; see :func:`layerbench.report.tables.records_frame`."""
    import numpy as np
    import pandas as pd

    batch = frame["batch"].to_numpy(np.float64)
    of_one = (frame["flops"] * frame["local_batch"] / batch).where(frame["part"] != "step")
    roof, bound = np.full(len(frame), np.nan), np.full(len(frame), "", dtype=object)
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
        by_bytes = np.where(of_one > slope, "cache", "memory")
        bound = np.where(same, np.where(slope < ceilings.flops, by_bytes, "computation"), "")
    yield "flops_per_rank", of_one
    yield "roof_flops", roof
    yield "fraction_of_roofline", of_one / roof
    yield "bound", pd.Categorical(bound, categories=["", "cache", "computation", "memory"])
