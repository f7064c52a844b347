"""The steps of a run put together by layer type: running times, speed-ups, efficiency, communication."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from layerbench.layers import KINDS
from layerbench.partition import global_batch
from layerbench.report.columns import RunColumns

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd


def kind_order(kind: str) -> int:
    """Place of a layer type in every table: the order of :data:`layerbench.layers.KINDS`."""
    return list(KINDS).index(kind) if kind in KINDS else len(KINDS)


@dataclass(frozen=True)
class _Groups:
    """(kind, nodes) of a run: every layer type of its suite at every count asked for or found."""

    kinds: list[str]
    nodes: list[int]
    layers: dict[str, list[str]]

    @property
    def count(self) -> int:
        return len(self.kinds) * len(self.nodes)

    def rows(self) -> Iterator[tuple[str, int]]:
        return ((kind, nodes) for kind in self.kinds for nodes in self.nodes)

    def of(self, frame: pd.DataFrame) -> np.ndarray:
        """The group of each row."""
        import numpy as np

        kinds = frame["kind"].cat
        of_category = np.array([self.kinds.index(str(kind)) for kind in kinds.categories], np.int64)
        of_kind = of_category[kinds.codes.to_numpy()] if len(frame) else np.array([], np.int64)
        return of_kind * len(self.nodes) + np.searchsorted(self.nodes, frame["nodes"].to_numpy())

    def sum(self, group: np.ndarray, values: Any) -> np.ndarray:
        """Sums of values by group; one NaN makes a sum NaN."""
        import numpy as np

        return np.bincount(group, np.asarray(values, np.float64), self.count)

    def any(self, group: np.ndarray, values: Any) -> np.ndarray:
        return self.sum(group, values) > 0


def _groups(run: RunColumns) -> _Groups:
    layers: dict[str, list[str]] = {}
    for layer in run.manifest.layers:
        layers.setdefault(layer.kind, []).append(layer.name)
    for kind in run.records["kind"].cat.categories:
        layers.setdefault(str(kind), [])
    nodes = sorted({*run.manifest.options.nodes, *(int(n) for n in run.records["nodes"].unique())})
    return _Groups(sorted(layers, key=kind_order), nodes, layers)


def layer_types(run: RunColumns) -> pd.DataFrame:
    """One row for each layer type and node count, types in the order of :data:`layerbench.layers.KINDS`.

    Columns:

    * ``kind``, ``nodes``, ``ranks``, ``batch``, ``layers``: how many layers the type has
    * ``complete``, ``missing``: whether every layer has a step, and the names of those that have none
    * ``placement``, ``network``: ``emulated`` if any of the steps is
    * ``noisy``, ``throttled``: whether any of the steps is
    * ``seconds``, ``ci_low``, ``ci_high``, ``ci_method``: the type's step, the sum of its layers' medians, whose
      half-widths are combined in quadrature, each side by itself (as :func:`layerbench.stats.sum_of` does)
    * ``base_nodes``: the smallest count at which any type is complete; speed-ups are relative to it
    * ``speedup``, ``speedup_low``, ``speedup_high``: t(base)/t(n) in strong scaling; in weak scaling, where n nodes
      do n times the work, the scaled speed-up n/base · t(base)/t(n)
    * ``ideal``: n/base
    * ``efficiency``, ``efficiency_low``, ``efficiency_high``: ``speedup / ideal``, so t(base)/t(n) in weak scaling
    * ``communication_seconds``, ``communication_share``: what ranks exchange, and its part of the step

    Numbers are NaN where the type is not complete, and speed-ups also where it is not complete at the base.
    """
    import numpy as np
    import pandas as pd

    options, groups = run.manifest.options, _groups(run)
    steps = run.records[run.records["part"] == "step"]
    group = groups.of(steps)
    known = steps["median"].notna().to_numpy()
    expected = np.repeat([len(groups.layers[kind]) for kind in groups.kinds], len(groups.nodes))
    there = groups.sum(group[known], np.ones(known.sum()))
    complete = (there == expected) & (expected > 0)
    median, low, high = (steps[name].to_numpy(np.float64) for name in ("median", "ci_low", "ci_high"))
    seconds = np.where(complete, groups.sum(group, median), np.nan)
    down = np.sqrt(groups.sum(group, (median - low) ** 2))
    up = np.sqrt(groups.sum(group, (high - median) ** 2))
    exchanges = run.records[run.records["part"] == "communication"]
    exchange_group = groups.of(exchanges)
    all_there = groups.sum(exchange_group, np.ones(len(exchanges))) == expected
    exchange = np.where(complete & all_there, groups.sum(exchange_group, exchanges["median"]), np.nan)
    emulated = groups.any(group, steps["placement"] == "emulated")
    ranks = np.array([nodes * options.ranks_per_node for _, nodes in groups.rows()], np.int64)
    rows = pd.DataFrame(
        {
            "kind": [kind for kind, _ in groups.rows()],
            "nodes": [nodes for _, nodes in groups.rows()],
            "ranks": ranks,
            "batch": [
                global_batch(options.batch, int(count), options.ranks_per_node, options.scaling) for count in ranks
            ],
            "layers": expected,
            "complete": complete,
            "missing": [
                "" if complete[i] else " ".join(_without_step(groups.layers[kind], steps[known], kind, nodes))
                for i, (kind, nodes) in enumerate(groups.rows())
            ],
            "placement": np.where(
                emulated, "emulated", np.where(groups.any(group, np.ones(len(steps))), "measured", "")
            ),
            "network": _first_words(groups, group, steps["network"]),
            "noisy": groups.any(group, steps["noisy"]),
            "throttled": groups.any(group, steps["throttled"]),
            "seconds": seconds,
            "ci_low": seconds - down,
            "ci_high": seconds + up,
            "ci_method": np.where(complete, _common_words(groups, group, steps["ci_method"]), "none"),
        }
    )
    speedups = _speedups(rows, weak=options.scaling == "weak")
    rows = pd.concat([rows, speedups], axis=1)
    rows["communication_seconds"] = exchange
    rows["communication_share"] = (rows["communication_seconds"] / rows["seconds"]).where(rows["seconds"] > 0)
    return rows


def _without_step(names: Sequence[str], known: pd.DataFrame, kind: str, nodes: int) -> list[str]:
    there = set(known.loc[(known["kind"] == kind) & (known["nodes"] == nodes), "layer"])
    return [name for name in names if name not in there]


def _first_words(groups: _Groups, group: np.ndarray, words: pd.Series[Any]) -> list[str]:
    """The first word of each group that is not empty."""
    found = [""] * groups.count
    for word in words.cat.categories:
        if word:
            for index in groups.any(group, words == word).nonzero()[0]:
                found[index] = found[index] or str(word)
    return found


def _common_words(groups: _Groups, group: np.ndarray, words: pd.Series[Any]) -> list[str]:
    """How the intervals of each group were had, if all in one way; ``range`` where they differ."""
    found: list[set[str]] = [set() for _ in range(groups.count)]
    for word in words.cat.categories:
        for index in groups.any(group, words == word).nonzero()[0]:
            found[index].add(str(word))
    return [next(iter(one)) if len(one) == 1 else "range" if one else "none" for one in found]


def _speedups(rows: pd.DataFrame, *, weak: bool) -> pd.DataFrame:
    """Base over here, with the ends of the quotient's interval as :func:`layerbench.stats.ratio_of` has them.

    Exactly 1 at the base, which is no quotient of two measurements.
    """
    import numpy as np
    import pandas as pd

    base = rows.loc[rows["complete"], "nodes"].min() if rows["complete"].any() else None
    at_base = rows[rows["nodes"] == base].set_index("kind")[["seconds", "ci_low", "ci_high"]]
    of_base = at_base.reindex(rows["kind"]).reset_index(drop=True)
    ideal = rows["nodes"] / base if base is not None else pd.Series(np.nan, rows.index)
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = {
            name: np.log(frame[["ci_low", "seconds", "ci_high"]].clip(lower=0).to_numpy(np.float64))
            for name, frame in (("base", of_base), ("here", rows))
        }
        value = of_base["seconds"] / rows["seconds"]
        down = np.hypot(logs["base"][:, 1] - logs["base"][:, 0], logs["here"][:, 2] - logs["here"][:, 1])
        up = np.hypot(logs["base"][:, 2] - logs["base"][:, 1], logs["here"][:, 1] - logs["here"][:, 0])
        ends = {"speedup": value, "speedup_low": value * np.exp(-down), "speedup_high": value * np.exp(up)}
    is_base = (rows["nodes"] == base) & rows["complete"]
    work = ideal if weak else 1.0
    frame = pd.DataFrame({"base_nodes": pd.array([base] * len(rows), dtype="Int64")})
    for name, end in ends.items():
        frame[name] = (end * work).mask(is_base, 1.0)
    frame["ideal"] = ideal
    for name in ("", "_low", "_high"):
        frame[f"efficiency{name}"] = frame[f"speedup{name}"] / ideal
    return frame
