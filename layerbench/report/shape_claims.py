"""The observations on arithmetic, which shapes and batch decide and no time does."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from layerbench import units
from layerbench.report import describe, spread
from layerbench.report.finding import FAILS, HOLDS, UNKNOWN, Finding, Verdict
from layerbench.report.spread import Spread
from layerbench.report.tables import Tables
from layerbench.report.type_times import TYPES

if TYPE_CHECKING:
    import pandas as pd

ORDER = 10
"""An order of magnitude."""

ROUNDING = 1e-12
"""By how much two geometric means of the same figures may differ."""

_SAID = {HOLDS: "so it holds", FAILS: "so it does not hold", UNKNOWN: "which fits as far as it goes"}


def macs_per_weight(tables: Tables) -> Finding:
    """Whether a weight of convolution takes part in ten times the MACs of one of FC, and of one of LSTM, or more.

    A type's figure is the geometric mean over its layers of the MACs of any one pass over one sample, by weights. It
    does not depend on the batch. A type that the run lacks is not asked for.
    """
    layers = tables.layers
    weights = {layer.name: layer.weights for layer in tables.manifest.layers}
    batches = dict(zip(tables.layer_types["nodes"], tables.layer_types["batch"], strict=True))
    of_sample = layers["macs"] / layers["nodes"].map(batches)
    figures = spread.by_kind(layers["kind"], of_sample / layers["layer"].astype("str").map(weights).astype("float64"))
    figures = {kind: figures[kind] for kind in TYPES if kind in figures}
    without = [kind for kind in TYPES if kind not in figures]
    if "conv" in without or len(figures) < 2:
        told = f"There is nothing to compare without {describe.listed(without)}"
        return Finding(UNKNOWN, told, _remedy(tables, without))
    verdict: Verdict = HOLDS if min(_ratios(figures).values()) >= ORDER * (1 - ROUNDING) else FAILS
    by_byte = spread.by_kind(layers["kind"], layers["macs_per_byte"])
    evidence = (
        f"MACs per weight and sample are {_listed(figures)}, so that conv has {_multiples(figures)}. "
        f"Per byte {_batch(layers)}, which is probably what was meant, they are {_listed(by_byte)}, "
        f"so that conv has {_multiples(by_byte)}"
    )
    return Finding(verdict, evidence)


def macs_per_byte(tables: Tables) -> Finding:
    """Whether MACs per byte of compulsory traffic fall from convolution to FC to LSTM.

    An LSTM's weights are read once, or again at each time step; the other types have no time steps. Where the order
    depends on that, the convention decides by which it may hold, and the evidence begins with it: a time step cannot
    begin before the one before has ended, so that each is a matrix product of its own, which reads its weights again.
    The figures are geometric means over a type's layers, at the largest batch of a rank.
    """
    layers = tables.layers
    reread = layers["macs_per_byte_weights_reread"].fillna(layers["macs_per_byte"])
    once, again = (spread.by_kind(layers["kind"], values) for values in (layers["macs_per_byte"], reread))
    without = [kind for kind in TYPES if kind not in once]
    if len(without) > 1:
        told = f"There is nothing to compare without {describe.listed(without)}"
        return Finding(UNKNOWN, told, _remedy(tables, without))
    verdict = _falls(again)
    evidence = f"MACs per byte {_batch(layers)} are {_listed(again)}"
    if "lstm" not in once:
        evidence += f", {_SAID[verdict]}"
    else:
        decides = ", and that decides" if _falls(once) != verdict else ""
        evidence = (
            f"Where weights are re-read at each time step, {evidence}, {_SAID[verdict]}{decides}. "
            f"Where they are read once lstm has {once['lstm']}, {_SAID[_falls(once)]}"
        )
    return Finding(verdict, evidence, _remedy(tables, without))


def _falls(figures: dict[str, Spread]) -> Verdict:
    """Whether the figures fall in the order of types; if one is missing, at most that they do not can be said."""
    there = [figures[kind].mean for kind in TYPES if kind in figures]
    if not all(more > less * (1 + ROUNDING) for more, less in pairwise(there)):
        return FAILS
    return HOLDS if len(there) == len(TYPES) else UNKNOWN


def _ratios(figures: dict[str, Spread]) -> dict[str, float]:
    """How many times the figure of each other type convolution has."""
    return {kind: figures["conv"].mean / figures[kind].mean for kind in TYPES[1:] if kind in figures}


def _multiples(figures: dict[str, Spread]) -> str:
    return describe.listed([f"{units.count(ratio)} times those of {kind}" for kind, ratio in _ratios(figures).items()])


def _listed(figures: dict[str, Spread]) -> str:
    return describe.listed([f"{figures[kind]} of {kind}" for kind in TYPES if kind in figures])


def _batch(layers: pd.DataFrame) -> str:
    """At which batch of a rank an intensity is given."""
    batches = sorted({int(batch) for batch in layers["local_batch"].unique()})
    return f"at a local batch of {' to '.join(f'{batch:,}' for batch in dict.fromkeys((batches[0], batches[-1])))}"


def _remedy(tables: Tables, kinds: Sequence[str]) -> str:
    """What to do to have layers of these types."""
    absent = [kind for kind in kinds if all(layer.kind != kind for layer in tables.manifest.layers)]
    if absent:
        return f"run a suite that has {describe.listed(absent)}"
    return "complete the run with --resume" if kinds else ""
