"""What a check aims at, and whether its figures meet it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import geometric_mean
from typing import Any

PEER_MEAN = 1.05
PEER_LEAST = 0.97
LSTM = 1.5
OF_ROOFLINE = 0.8
AGREEMENT = 0.02
NOT_SAME = 0.05

SHORT = 50e-6
"""Seconds under which what it takes to launch a kernel tells in its time."""

PASSES = ("forward", "backward_data", "backward_weights")

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Aim:
    """An aim; ``met`` is None where nothing was measured that would tell."""

    what: str
    wanted: str
    found: str
    met: bool | None

    @property
    def verdict(self) -> str:
        return {True: "met", False: "missed", None: "not measured"}[self.met]


def fraction_of_roofline(row: Row, roofline: Mapping[str, Any] | None) -> float | None:
    """What a pass reaches of ``min(peak, bandwidth × intensity)``; None where either is not known."""
    if row["seconds"] is None or roofline is None or not (roofline["flops"] and roofline["bandwidth"] and row["macs"]):
        return None
    roof = min(roofline["flops"], roofline["bandwidth"] * 2 * row["macs"] / row["bytes"])
    return float(2 * row["macs"] / row["seconds"][0] / roof)


def of_peer(rows: Sequence[Row], peer: str) -> list[tuple[str, float]]:
    """The peer's time over ours of each layer and pass that can be compared fairly."""
    return [
        (_name(row), row["ratio"][peer][0])
        for row in rows
        if peer in row["ratio"] and peer not in row["not_counted"] and math.isfinite(row["ratio"][peer][0])
    ]


def against(rows: Sequence[Row], peer: str) -> list[Aim]:
    """The aims of times beside a peer's, of all dtypes together."""
    every = of_peer(rows, peer)
    lstm = of_peer([row for row in rows if row["kind"] == "lstm"], peer)
    mean_of = f"geometric mean of times over ours, {peer}"
    least_of = f"least of any layer and pass, {peer}"
    lstm_of = f"geometric mean of the LSTM, {peer}"
    if not every:
        return [
            Aim(mean_of, f"≥ {PEER_MEAN:.2f}", "", None),
            Aim(least_of, f"≥ {PEER_LEAST:.2f}", "", None),
            Aim(lstm_of, f"≥ {LSTM:.1f}", "", None),
        ]
    mean = geometric_mean([ratio for _, ratio in every])
    name, least = min(every, key=lambda each: each[1])
    under = sum(ratio < PEER_LEAST for _, ratio in every)
    found = [
        Aim(mean_of, f"≥ {PEER_MEAN:.2f}", f"{mean:.3f} of {len(every)}", mean >= PEER_MEAN),
        Aim(least_of, f"≥ {PEER_LEAST:.2f}", f"{least:.3f} ({name}); {under} under", least >= PEER_LEAST),
    ]
    if not lstm:
        return [*found, Aim(lstm_of, f"≥ {LSTM:.1f}", "", None)]
    of_lstm = geometric_mean([ratio for _, ratio in lstm])
    slowest, at_least = min(lstm, key=lambda each: each[1])
    told = f"{of_lstm:.3f} of {len(lstm)}, least {at_least:.3f} ({slowest})"
    return [*found, Aim(lstm_of, f"≥ {LSTM:.1f}", told, of_lstm >= LSTM)]


def of_roofline(rows: Sequence[Row], roofline: Mapping[str, Any] | None, dtype: str) -> Aim:
    """Whether every pass of a convolution is near what the roofline allows it, with hot caches."""
    what = f"conv layers of the measured roofline, {dtype}"
    found = [
        (_name(row), fraction)
        for row in rows
        if row["kind"] == "conv"
        and row["way"] == "hot"
        and (fraction := fraction_of_roofline(row, roofline)) is not None
    ]
    if not found:
        return Aim(what, f"≥ {OF_ROOFLINE:.0%}", "", None)
    name, least = min(found, key=lambda each: each[1])
    under = sum(fraction < OF_ROOFLINE for _, fraction in found)
    told = f"least {least:.0%} ({name}); {under} of {len(found)} under"
    return Aim(what, f"≥ {OF_ROOFLINE:.0%}", told, least >= OF_ROOFLINE)


def agreement(found: Mapping[str, Any] | None) -> Aim:
    """Whether another harness says the same."""
    rows = found["rows"] if found else []
    what = f"difference from {found['harness']}" if found and found["harness"] else "difference from another harness"
    if not rows:
        return Aim(what, f"≤ {AGREEMENT:.0%}", "", None)
    differences = [(f"{_name(row)}, {row['cache']}", row["theirs"] / row["ours"] - 1) for row in rows]
    name, most = max(differences, key=lambda each: abs(each[1]))
    above = sum(abs(difference) > AGREEMENT for _, difference in differences)
    told = f"at most {most:+.1%} ({name}); {above} of {len(rows)} above"
    return Aim(what, f"≤ {AGREEMENT:.0%}", told, abs(most) <= AGREEMENT)


def alike(found: Mapping[str, Any] | None) -> Aim:
    """Whether two runs of the same are found to be the same."""
    what, wanted = "records of two equal runs that are not same", f"≤ {NOT_SAME:.0%}"
    rows = found["rows"] if found else []
    if not rows:
        return Aim(what, wanted, "", None)
    other = sum(row["verdict"] != "same" for row in rows)
    return Aim(what, wanted, f"{other} of {len(rows)}, {other / len(rows):.1%}", other / len(rows) <= NOT_SAME)


WIDE = 0.05
"""An interval that reaches farther than this from its median overlaps too easily to say that two ways agree."""

PAIRS = (("hot", "graph hot"), ("cold", "graph cold"))
"""Ways of timing that should find the same."""


@dataclass(frozen=True)
class Difference:
    """One call timed in two ways.

    Attributes
    ----------
    difference
        The second way's median over the first's, less one.
    agree
        Whether the intervals overlap.
    not_judged
        Why the two need not agree, or could not fail to; empty where they have to.
    """

    layer: str
    pass_: str
    ways: tuple[str, str]
    seconds: tuple[float, float]
    difference: float
    agree: bool
    not_judged: str


def differences(rows: Sequence[Row]) -> list[Difference]:
    """Every call that was timed in both ways of a pair; they agree where their intervals overlap."""
    by_key = {(row["layer"], row["pass"], row["way"]): row["seconds"] for row in rows if row["seconds"]}
    found = []
    for layer, pass_ in dict.fromkeys((row["layer"], row["pass"]) for row in rows):
        for first, second in PAIRS:
            one, other = by_key.get((layer, pass_, first)), by_key.get((layer, pass_, second))
            if one is None or other is None or not one[0]:
                continue
            agree = one[1] <= other[2] and other[1] <= one[2]
            why = "under 50 µs" if min(one[0], other[0]) <= SHORT else ""
            if not why and agree and max((high - low) / 2 / median for median, low, high in (one, other)) > WIDE:
                why = "too noisy to tell"
            ways, seconds = (first, second), (one[0], other[0])
            found.append(Difference(layer, pass_, ways, seconds, other[0] / one[0] - 1, agree, why))
    return found


def ways_agree(found: Sequence[Difference]) -> list[Aim]:
    """Whether the ways of timing agree, of calls over 50 µs."""
    aims = []
    for ways in PAIRS:
        judged = [each for each in found if each.ways == ways and not each.not_judged]
        noisy = sum(each.ways == ways and each.not_judged == "too noisy to tell" for each in found)
        what = f"{ways[0]} and {ways[1]}, calls over 50 µs: intervals that do not overlap"
        if not judged:
            aims.append(Aim(what, "none", f"{noisy} too noisy to tell" if noisy else "", None))
            continue
        apart = [each for each in judged if not each.agree]
        most = max(judged, key=lambda each: abs(each.difference))
        told = f"{len(apart)} of {len(judged)}; at most {most.difference:+.1%} ({most.layer} {most.pass_})"
        told += f"; {noisy} too noisy to tell" if noisy else ""
        aims.append(Aim(what, "none", told, not apart))
    return aims


def judged(figures: Mapping[str, Any], dtypes: Sequence[str], peers: Sequence[str]) -> list[Aim]:
    """Every aim, of the figures of all steps by the steps' names."""
    beside = [
        {**row, "layer": f"{row['layer']} {dtype}"}
        for dtype in dtypes
        for row in (figures.get(f"peers-{dtype}") or {"rows": []})["rows"]
    ]
    # The aim is one of bf16; where that was not asked for, of what was.
    dtype = "bf16" if "bf16" in dtypes else dtypes[0]
    swept = figures.get(f"layers-{dtype}") or {"rows": [], "roofline": None}
    apart = [each for dtype in dtypes for each in differences((figures.get(f"layers-{dtype}") or {"rows": []})["rows"])]
    return [
        *(aim for peer in peers for aim in against(beside, peer)),
        of_roofline(swept["rows"], swept["roofline"], dtype),
        agreement(figures.get("independent")),
        alike(figures.get("alike")),
        *ways_agree(apart),
    ]


def _name(row: Row) -> str:
    return f"{row['layer']} {row['pass']}"
