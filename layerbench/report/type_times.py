"""What a run knows of the times of the three layer types that were observed on Blue Waters."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from layerbench.records import Network, Part
from layerbench.report import describe
from layerbench.report.cells import percent
from layerbench.report.columns import row_tuples
from layerbench.report.tables import Tables
from layerbench.stats import Interval

TYPES = ("conv", "fc", "lstm")

_MARKS = {
    "noisy": "noisy records",
    "throttled": "throttled records",
    "oversubscribed": "ranks that shared cores",
    "range": "ranges of too few samples for an interval",
}


@dataclass(frozen=True)
class TypeTimes:
    """Times of the types in one run.

    Attributes
    ----------
    weak
        Whether it scales weakly.
    filtered
        Whether ``--filter`` left layers of its suite out.
    complete, lacking
        By type, its rows of ``layer_types`` in the order of node counts: those that have a time, and those that
        have none because a layer's is missing. A type that the suite lacks is in neither.
    communication
        By (type, node count), the sum of the layers' exchanges in seconds; without width where it was computed.
    marks
        By (type, node count, part), what is to be known of the records.
    model
        The network model that emulated counts rest on with its error; empty where that is not known.
    """

    weak: bool
    filtered: bool
    complete: dict[str, list[Any]]
    lacking: dict[str, list[Any]]
    communication: dict[tuple[str, int], Interval]
    marks: dict[tuple[str, int, str], list[str]]
    model: str

    @property
    def absent(self) -> list[str]:
        """Types that the suite has no layer of."""
        return [kind for kind in TYPES if kind not in self.complete]

    def scaled(self, kind: str) -> list[Any]:
        """Rows that have a speed-up over another count."""
        rows = self.complete.get(kind, [])
        return [row for row in rows if row.nodes > row.base_nodes and row.speedup > 0]

    def base(self, kind: str) -> Any:
        """The row that the type's speed-ups are relative to."""
        return next(row for row in self.complete[kind] if row.nodes == row.base_nodes)

    def remedy(self, kinds: Iterable[str]) -> str:
        """What to do to have times of these types at several counts."""
        return describe.listed(list(dict.fromkeys(self._remedy(kind) for kind in kinds)))

    def _remedy(self, kind: str) -> str:
        if kind in self.absent:
            return f"run without a --filter that leaves {kind} out" if self.filtered else f"run a suite that has {kind}"
        idle = [row.ranks // (row.nodes if self.weak else 1) for row in self.lacking[kind] if row.batch < row.ranks]
        if idle:
            return f"run with a --batch of at least {max(idle):,}"
        if any("skipped" in self.marks.get((kind, row.nodes, "step"), []) for row in self.lacking[kind]):
            return "run with other --kernels"
        if self.lacking[kind]:
            return "complete the run with --resume"
        return "run with several counts, such as --nodes 1,2,4,8"

    def gaps(self) -> str:
        """Types and counts that nothing can be said of; empty where there are none."""
        told = [f"no {' and no '.join(self.absent)} in the suite"] if self.absent else []
        for kind, rows in self.lacking.items():
            if rows:
                told.append(f"no time of {kind} at {describe.node_counts([row.nodes for row in rows])}")
        return f"There is {describe.listed(told)}" if told else ""

    def caveats(self, rows: Iterable[Any], parts: Sequence[Part]) -> str:
        """What is to be known of the records behind these rows; empty where there is nothing."""
        counts: dict[str, dict[str, set[int]]] = {}
        emulated = False
        for row in rows:
            emulated |= row.placement == "emulated"
            for part in parts:
                for mark in self.marks.get((row.kind, row.nodes, part), []):
                    counts.setdefault(mark, {}).setdefault(row.kind, set()).add(row.nodes)
        where = {
            mark: ", ".join(f"{kind} at {describe.node_counts(sorted(nodes))}" for kind, nodes in by_kind.items())
            for mark, by_kind in counts.items()
        }
        told = [f"{words} ({where[mark]})" for mark, words in _MARKS.items() if mark in where]
        if emulated and self.model:
            told.append(self.model)
        return f"This rests on {describe.listed(told)}" if told else ""


def of(tables: Tables) -> TypeTimes:
    """The times of a report on one run."""
    complete: dict[str, list[Any]] = {}
    lacking: dict[str, list[Any]] = {}
    for row in row_tuples(tables.layer_types[tables.layer_types["layers"] > 0]):
        if row.kind in TYPES:
            complete.setdefault(row.kind, [])
            lacking.setdefault(row.kind, [])
            (complete if row.complete else lacking)[row.kind].append(row)
    marks = _marks(tables)
    for rows in complete.values():
        for row in rows:
            if row.ci_method == "range":
                marks.setdefault((row.kind, row.nodes, "step"), []).append("range")
    weak = tables.manifest.options.scaling == "weak"
    filtered = bool(tables.manifest.options.filter)
    return TypeTimes(weak, filtered, complete, lacking, _communication(tables), marks, _model(tables.manifest.network))


def _model(network: Network | None) -> str:
    if network is None or network.residual is None:
        return ""
    return f"the network model {network.name} (median residual of its fit {percent(network.residual, 1)})"


def _marks(tables: Tables) -> dict[tuple[str, int, str], list[str]]:
    marks = ["noisy", "throttled", "oversubscribed"]
    of_parts = tables.records["part"].isin(["step", "communication"])
    records = tables.records.loc[of_parts, ["kind", "nodes", "part", "status", *marks]]
    records = records.assign(skipped=records["status"] == "skipped")
    found: dict[tuple[str, int, str], list[str]] = {}
    for mark in (*marks, "skipped"):
        keys = records.loc[records[mark], ["kind", "nodes", "part"]].drop_duplicates()
        for row in row_tuples(keys):
            found.setdefault((str(row.kind), int(row.nodes), str(row.part)), []).append(mark)
    return found


def _communication(tables: Tables) -> dict[tuple[str, int], Interval]:
    """Sums of independent medians, as :func:`layerbench.stats.sum_of` has them, of many layers at once.

    A time that was computed has no interval, and adds no width.
    """
    import numpy as np

    records = tables.records
    exchanges = records.loc[records["part"] == "communication", ["kind", "nodes", "median", "ci_low", "ci_high"]]
    squares = exchanges.assign(
        down=(exchanges["median"] - exchanges["ci_low"]) ** 2, up=(exchanges["ci_high"] - exchanges["median"]) ** 2
    )
    sums = squares.groupby(["kind", "nodes"], observed=True)[["down", "up"]].sum()
    seconds = {(row.kind, row.nodes): row.communication_seconds for row in row_tuples(tables.layer_types)}
    return {
        (str(kind), int(nodes)): Interval(total, total - down, total + up, "order-statistics")
        for (kind, nodes), down, up in zip(sums.index, np.sqrt(sums["down"]), np.sqrt(sums["up"]), strict=True)
        for total in [seconds[str(kind), int(nodes)]]
    }
