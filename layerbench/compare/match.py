"""Which record of one side is which of the other, and which have no counterpart or no time, and why."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, NamedTuple

import numpy as np

from layerbench.compare.side import BASE, NEW, Side
from layerbench.compare.statistics import Values
from layerbench.records import Record


class Key(NamedTuple):
    """All that makes a record the same measurement as another. Not the kernel library or its algorithm."""

    layer: str
    part: str
    nodes: int
    shape: Any
    ranks: int
    threads_per_rank: int
    layout: str
    batch: int
    local_batch: int
    dtype: str
    scaling: str
    cache: str
    placement: str
    oversubscribed: bool
    device: str


@dataclass(frozen=True)
class Pair:
    """A record that has samples on both sides.

    Attributes
    ----------
    base, new
        The record in the first run that has it.
    base_samples, new_samples
        Seconds, by the number of the run within its side. Of an emulated step, whose samples hold a computed
        communication, each is that of its measured part and the communication that BASE computed.
    base_algorithms, new_algorithms
        Of its runs, each once.
    base_kernels, new_kernels
        Likewise.
    """

    base: Record
    new: Record
    base_samples: Mapping[int, Values]
    new_samples: Mapping[int, Values]
    base_algorithms: Sequence[str]
    new_algorithms: Sequence[str]
    base_kernels: Sequence[str]
    new_kernels: Sequence[str]


@dataclass(frozen=True)
class Untested:
    """A record without a verdict, and why; ``missing`` where BASE has a time and NEW has none."""

    layer: str
    part: str
    nodes: int
    reason: str
    missing: bool


Found = Mapping[int, Record]
"""The records of one key, by the number of the run within its side."""


def match(base: Side, new: Side) -> tuple[list[Pair], list[Untested]]:
    """Match records on everything but time, in the order of BASE and then of NEW."""
    were, are = _by_key(base), _by_key(new)
    nearest_in_base, nearest_in_new = _by_layer_and_part(were), _by_layer_and_part(are)
    pairs: list[Pair] = []
    untested: list[Untested] = []
    for key, found in were.items():
        other = are.get(key, {})
        reason = _no_verdict(found, other) if other else _only_in(BASE, NEW, key, nearest_in_new)
        pair = None if reason else _pair(found, other)
        if pair is None:
            missing = _has_time(found) and not _has_time(other)
            untested.append(Untested(key.layer, key.part, key.nodes, reason, missing))
        elif min(samples.min() for samples in (*pair.base_samples.values(), *pair.new_samples.values())) <= 0:
            reason = "no time is left beside its computed communication"
            untested.append(Untested(key.layer, key.part, key.nodes, reason, False))
        else:
            pairs.append(pair)
    for key in are:
        if key not in were:
            reason = _only_in(NEW, BASE, key, nearest_in_base)
            untested.append(Untested(key.layer, key.part, key.nodes, reason, False))
    return pairs, untested


def _by_key(side: Side) -> dict[Key, dict[int, Record]]:
    shapes = {layer.name: layer for layer in side.manifest.layers}
    scaling = side.manifest.options.scaling
    found: dict[Key, dict[int, Record]] = {}
    for number, run in enumerate(side.runs):
        for record in run.records:
            own = {name: getattr(record, name) for name in Key._fields if name not in ("shape", "scaling")}
            key = Key(**own, shape=shapes.get(record.layer), scaling=scaling)
            found.setdefault(key, {})[number] = record
    return found


def _by_layer_and_part(keys: Iterable[Key]) -> dict[tuple[str, str], list[Key]]:
    found: dict[tuple[str, str], list[Key]] = {}
    for key in keys:
        found.setdefault((key.layer, key.part), []).append(key)
    return found


def _has_time(found: Found) -> bool:
    return any(one.status == "ok" and (one.samples or one.modelled_seconds is not None) for one in found.values())


def _timed(found: Found) -> dict[int, Record]:
    return {number: one for number, one in found.items() if one.status == "ok" and one.samples}


def _no_verdict(base: Found, new: Found) -> str:
    """Why two records cannot be compared; empty if they can."""
    for name, found in ((BASE, base), (NEW, new)):
        if timed := _timed(found):
            samples = [sample for record in timed.values() for sample in record.samples]
            if not any(samples):
                return next((record.reason for record in timed.values() if record.reason), "no time passes")
            if min(samples) <= 0:
                return f"a sample of {name} took no time"
        else:
            record = next((one for one in found.values() if one.status == "failed"), next(iter(found.values())))
            if record.status != "ok":
                return f"{record.status} in {name}: {record.reason or 'no reason was recorded'}"
            return "computed, not measured" if record.modelled_seconds is not None else f"no samples in {name}"
    return ""


def _pair(base: Found, new: Found) -> Pair:
    were, are = _timed(base), _timed(new)
    computed = [record.modelled_seconds for record in were.values() if record.modelled_seconds is not None]
    common = median(computed) if computed else None

    def samples(records: Mapping[int, Record]) -> dict[int, Values]:
        return {number: _with_communication(record, common) for number, record in records.items()}

    def each_once(records: Mapping[int, Record], name: str) -> list[str]:
        return sorted({getattr(record, name) for record in records.values()})

    return Pair(
        base=next(iter(were.values())),
        new=next(iter(are.values())),
        base_samples=samples(were),
        new_samples=samples(are),
        base_algorithms=each_once(were, "algorithm"),
        new_algorithms=each_once(are, "algorithm"),
        base_kernels=each_once(were, "kernels"),
        new_kernels=each_once(are, "kernels"),
    )


def _with_communication(record: Record, common: float | None) -> Values:
    """Samples with another computed communication than their own: two calibrations are no difference of kernels."""
    samples = np.asarray(record.samples, np.float64)
    if record.modelled_seconds is None or common is None or record.modelled_seconds == common:
        return samples
    return samples - record.modelled_seconds + common


def _only_in(there: str, absent: str, key: Key, others: Mapping[tuple[str, str], list[Key]]) -> str:
    """Why a record has no counterpart: what the nearest one differs in, or that there is none."""
    near = others.get((key.layer, key.part))
    if not near:
        return f"only in {there}: {absent} has no such layer and part"
    nearest = min(near, key=lambda other: (other.nodes != key.nodes, len(_different(key, other))))
    if nearest.nodes != key.nodes:
        return f"only in {there}: {absent} has no such node count"
    told = [
        "another shape"
        if name == "shape"
        else f"{name.replace('_', ' ')} {getattr(key, name)} in {there}, {getattr(nearest, name)} in {absent}"
        for name in _different(key, nearest)
    ]
    return f"only in {there}: {'; '.join(told)}"


def _different(key: Key, other: Key) -> list[str]:
    return [name for name in Key._fields if getattr(key, name) != getattr(other, name)]
