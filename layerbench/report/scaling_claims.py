"""The observations on running times: that they fall, how speed-up falls short, and what a step is spent on.

Two times differ where their 95 % intervals are more than a margin apart. Intervals know of the noise within a launch,
and every node count is a launch of its own: the margin is for what differs between launches, in clocks or in where
memory lies. The interval of an emulated count is that of its measured passes: what its network model is wrong by
is not in it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations, pairwise
from typing import Any

from layerbench import units
from layerbench.report import describe, spread
from layerbench.report.cells import percent, plus_minus
from layerbench.report.columns import largest_share
from layerbench.report.finding import FAILS, HOLDS, UNKNOWN, Finding, Verdict, together, told_apart
from layerbench.report.spread import Spread
from layerbench.report.tables import Tables
from layerbench.report.type_times import TYPES, TypeTimes
from layerbench.stats import Interval, ratio_of

FINER = "run with a smaller --rel-error and a longer --max-time"

MARGIN = 1.03
"""A factor between intervals that is no difference yet: identical launches differ by as much."""

HALF = 0.5
"""The share of a step above which communication dominates it."""


def running_time(times: TypeTimes) -> Finding:
    """Whether the time of a step falls from each node count to the next, of every type that is there.

    A type's time falls if it does at every step between neighbouring counts, and does not if it rises between any two.
    A step whose ends cannot be told apart is neither a fall nor a rise: if there is one, and no rise, nothing can be
    said of the type.
    """
    if times.weak:
        evidence = "Every node keeps its batch in weak scaling, so that the time of a step is not meant to fall"
        return Finding(UNKNOWN, evidence, "run with --scaling strong")
    return together([_falls(times, kind) for kind in times.complete] or [_nothing(times)])


def _nothing(times: TypeTimes) -> Finding:
    """Of a run that has none of the types; that it has none is said of it already."""
    return Finding(UNKNOWN, "", times.remedy(TYPES))


def _falls(times: TypeTimes, kind: str) -> Finding:
    rows = times.complete[kind]
    if len(rows) < 2:
        return Finding(UNKNOWN, f"{kind} has {_known_at(rows)}", times.remedy([kind]))
    if rises := [(less, more) for less, more in combinations(rows, 2) if more.ci_low > less.ci_high * MARGIN]:
        less, more = max(rises, key=lambda pair: float(pair[1].seconds / pair[0].seconds))
        return Finding(FAILS, f"{kind} rises from {_time(less)} to {_time(more)}", rows=(less, more))
    for less, more in pairwise(rows):
        if not more.ci_high * MARGIN < less.ci_low:
            evidence = f"{kind} does not rise, but {_time(less)} and {_time(more)} cannot be told apart"
            return Finding(UNKNOWN, evidence, FINER, (less, more))
    return Finding(HOLDS, f"{kind} falls at every step, from {_time(rows[0])} to {_time(rows[-1])}", rows=tuple(rows))


def speed_up(times: TypeTimes) -> Finding:
    """Whether speed-up is sublinear, of every type that is there, and to what it was lost at the type's largest count.

    It is where the efficiency's interval is clearly below 1 at the largest count, and above 1 at none. In strong
    scaling from b nodes to n, the node time lost a step is n·t(n) - b·t(b), of which n·c(n) - b·c(b) is communication.
    In weak scaling n nodes do n/b times the work, for which n·t(b) would do: of n·t(n) - n·t(b), n·c(n) - n·c(b) is
    communication.
    """
    return together([_sublinear(times, kind) for kind in times.complete] or [_nothing(times)])


def _sublinear(times: TypeTimes, kind: str) -> Finding:
    rows = times.scaled(kind)
    if not rows:
        known = _known_at(times.complete[kind])
        return Finding(UNKNOWN, f"{kind} has no speed-up, but {known}", times.remedy([kind]))
    base, last = times.base(kind), rows[-1]
    told = f"an efficiency of {_efficiency(last)} {_at(last)}{_lost(base, last, weak=times.weak)}"
    if above := [row for row in rows if row.efficiency_low > MARGIN]:
        most = max(above, key=lambda row: float(row.efficiency))
        if most is not last:
            told = f"an efficiency of {_efficiency(most)} {_at(most)}, and {told}"
        return Finding(FAILS, f"{kind} is superlinear with {told}", rows=(base, most))
    if last.efficiency_high * MARGIN < 1:
        return Finding(HOLDS, f"{kind} has {told}", rows=(base, last))
    return Finding(UNKNOWN, f"{kind} cannot be told from linear with {told}", FINER, (base, last))


def _lost(base: Any, row: Any, *, weak: bool) -> str:
    """To what node time was lost since the base; empty where it is not clear that any was."""
    if not row.efficiency_high < 1:
        return ""
    work = row.ideal if weak else 1.0
    lost = row.nodes * row.seconds - work * base.nodes * base.seconds
    exchanged = row.nodes * row.communication_seconds - work * base.nodes * base.communication_seconds
    share = exchanged / lost
    if math.isnan(share):
        to = "to what cannot be said without a time of the communication"
    elif share < 0:
        to = "all of it to less efficient computation"
    else:
        waiting = " and waiting" if row.placement == "measured" else ""
        rest = "while computation became more efficient" if share > 1 else "the rest to less efficient computation"
        to = f"{percent(share, 1)} of that to communication{waiting}, {rest}"
    return f", with {units.seconds(lost)} of node time lost a step, {to}"


def scales_best(times: TypeTimes) -> Finding:
    """Whether convolution is more efficient than each other type, at the largest count at which all have a speed-up.

    A type that the suite has, but without a speed-up, leaves it open; one that the suite lacks is not asked for.
    """
    scaled = {kind: found for kind in TYPES if (found := {row.nodes: row for row in times.scaled(kind)})}
    common = set.intersection(*map(set, scaled.values())) if scaled else set()
    if "conv" not in scaled or len(scaled) < 2 or not common:
        without = [kind for kind in TYPES if kind not in scaled]
        told = f"of {describe.listed(without)}" if without else "of all types at one count"
        return Finding(UNKNOWN, f"There is no speed-up {told}", times.remedy(without or TYPES))
    conv, *others = (by_count[max(common)] for by_count in scaled.values())
    parts = [
        Finding(_compared(conv, row), "", FINER, (times.base("conv"), times.base(row.kind), conv, row))
        for row in others
    ]
    unknown = [kind for kind in times.complete if kind not in scaled]
    parts += [Finding(UNKNOWN, "", times.remedy([kind])) for kind in unknown]
    figures = [f"{_efficiency(conv, max(row.efficiency_high for row in others))} of conv"]
    figures += [f"{_efficiency(row, conv.efficiency_low)} of {row.kind}" for row in others]
    told = f"The efficiency {_at(conv, *others)} is {describe.listed(figures)}"
    if close := [row.kind for row in others if _compared(conv, row) == UNKNOWN]:
        told += f", where conv cannot be told apart from {describe.listed(close)}"
    return together(parts)._replace(evidence=told)


def _compared(conv: Any, other: Any) -> Verdict:
    if conv.efficiency_low > other.efficiency_high * MARGIN:
        return HOLDS
    return FAILS if other.efficiency_low > conv.efficiency_high * MARGIN else UNKNOWN


def dominates(times: TypeTimes, tables: Tables) -> Finding:
    """Whether communication takes over half of a step of FC and LSTM, and less than half of one of convolution.

    At the largest count at which every type that is there has a time. A share whose interval has a half in it says
    nothing. Bound by computation is meant against communication: whether memory or the processor is the limit of the
    computation is for the roofline to say.
    """
    exchanging = {kind: found for kind in TYPES if (found := _exchanging(times, kind))}
    common = set.intersection(*map(set, exchanging.values())) if exchanging else set()
    missing = [kind for kind in TYPES if kind not in exchanging]
    if not common:
        told = f"of {describe.listed(missing)}" if missing else "of all types at one count"
        return Finding(UNKNOWN, f"There is no time of an exchange {told}", times.remedy(missing or TYPES))
    rows = [by_count[max(common)] for by_count in exchanging.values()]
    shares = {row.kind: ratio_of(times.communication[row.kind, row.nodes], _seconds(row)) for row in rows}
    parts = [Finding(_on_its_side(row.kind, shares[row.kind]), "", FINER, (row,)) for row in rows]
    parts += [Finding(UNKNOWN, "", times.remedy([kind])) for kind in missing]
    figures = [f"{_share(share)} of a step of {kind}" for kind, share in shares.items()]
    told = f"Communication, as against computation, {_at(*rows)} takes {describe.listed(figures)}"
    for verdict, words in ((FAILS, "of {} the opposite was observed"), (UNKNOWN, "nothing can be said of {}")):
        if kinds := [kind for kind, part in zip((*shares, *missing), parts, strict=True) if part.verdict == verdict]:
            told += f"; {words.format(describe.listed(kinds))}"
    return together(parts)._replace(evidence=f"{told}. {_arithmetic(tables, max(common))}")


def _exchanging(times: TypeTimes, kind: str) -> dict[int, Any]:
    """By node count, rows of several ranks whose exchange has a time."""
    rows = times.complete.get(kind, [])
    return {row.nodes: row for row in rows if row.ranks > 1 and row.communication_seconds >= 0}


def _on_its_side(kind: str, share: Interval) -> Verdict:
    if share.low <= HALF <= share.high:
        return UNKNOWN
    return HOLDS if (share.median < HALF) == (kind == "conv") else FAILS


def _arithmetic(tables: Tables, nodes: int) -> str:
    """Training MACs of the busiest rank for each byte that ranks exchange, by type."""
    columns = ["layer", "kind", "part", "layout", "ranks", "batch", "local_batch", "macs", "bytes"]
    records = tables.records.loc[tables.records["nodes"] == nodes, columns]
    steps = records[records["part"] == "step"].set_index("layer")
    exchanged = records[records["part"] == "communication"].set_index("layer")["bytes"].reindex(steps.index)
    share = largest_share(records[records["part"] == "step"], tables.manifest)
    own = steps["macs"] * share / exchanged
    figures: dict[str, Spread] = spread.by_kind(steps["kind"], own)
    told = describe.listed([f"{figures[kind]} of {kind}" for kind in TYPES if kind in figures])
    what = "of gradient" if (steps["layout"] == "data").all() else "that is exchanged"
    # Layers that are split by outputs have the whole batch on every rank, and others, beside them, a part of it.
    batches = sorted({int(batch) for batch in steps["local_batch"]})
    batch = " to ".join(f"{one:,}" for one in dict.fromkeys((batches[0], batches[-1])))
    return f"A rank with a batch of {batch} has {told} training MACs for each byte {what}"


def _seconds(row: Any) -> Interval:
    return Interval(row.seconds, row.ci_low, row.ci_high, row.ci_method)


def _at(*rows: Any) -> str:
    """Where numbers are from: ``at 8 nodes (emulated)``."""
    emulated = " (emulated)" if any(row.placement == "emulated" for row in rows) else ""
    return f"at {describe.plural(rows[0].nodes, 'node')}{emulated}"


def _time(row: Any) -> str:
    interval = plus_minus(row.seconds, row.ci_low, row.ci_high)
    return " ".join(filter(None, (units.seconds(row.seconds), interval, _at(row))))


def _known_at(rows: Sequence[Any]) -> str:
    """Of what little is known: at how many counts there is a time."""
    if len(rows) > 1:
        return f"times at {len(rows)} node counts, none of them that of the others' speed-ups"
    return f"a time {_at(rows[0])} only" if rows else "no time"


def _efficiency(row: Any, beside: float = 1.0) -> str:
    """An efficiency with its interval, told apart from another figure."""
    ends = row.efficiency, row.efficiency_low, row.efficiency_high
    value, low, high, _ = told_apart([100 * end for end in (*ends, beside)])
    return f"{value} % ({low} % to {high} %)"


def _share(share: Interval) -> str:
    if not share.low <= HALF <= share.high:
        return f"{told_apart([100 * share.median, 100 * HALF])[0]} %"
    value, low, high, _ = told_apart([100 * end for end in (*share[:3], HALF)])
    return f"{value} % ({low} % to {high} %)"
