"""A comparison in words: the sentences that table, Markdown and page share, each on one line."""

from __future__ import annotations

import math
from collections.abc import Sequence

from layerbench import suite_format, units
from layerbench.compare.between import LARGE_FACTOR, LEAST_RECORDS
from layerbench.compare.comparison import MISSING, Comparison, Row
from layerbench.compare.match import Untested
from layerbench.compare.verdict import LEAST_SAMPLES, UNCLEAR_FACTOR, VERDICTS, BetweenRuns
from layerbench.report.cells import EMULATED, NOTHING
from layerbench.report.describe import listed, plural

MARKS = {"slower": "▲", "faster": "▼", "unclear": "?", "same": "="}
"""What stands beside a verdict, for those who do not see its colour."""

HEAD = ("layer", "part", "nodes", "BASE", "NEW", "ratio", "95 % interval", "p", "verdict")
NUMBERS = range(2, 8)
"""Columns of :data:`HEAD` that are set flush right."""

MEANS_HEAD = ("part", "geometric mean of ratios", "records")

RATIO = "ratio: median of NEW over median of BASE, above 1 is slower; p is adjusted for the number of records"
IS_EMULATED = (
    f"{EMULATED} emulated: shares were timed alone; a step holds the communication computed for BASE on both sides"
)


def flat(text: object) -> str:
    """Text from a run on one line, without what would steer a terminal."""
    return suite_format.flat("".join(c if suite_format.is_shown(c) else " " for c in str(text)))


def percent(fraction: float) -> str:
    """A fraction in per cent with two digits: ``3 %``."""
    return f"{100 * fraction:.2g} %"


def heading(comparison: Comparison) -> str:
    """The verdicts in numbers: ``2 slower, 1 faster, 0 unclear, 78 same of 81 records``."""
    told = [f"{comparison.count(verdict)} {verdict}" for verdict in VERDICTS]
    rest = f"; {comparison.count(MISSING)} {MISSING} in NEW" if comparison.count(MISSING) else ""
    return f"{', '.join(told)} of {plural(len(comparison.rows), 'record')}{rest}"


def most_different_first(rows: Sequence[Row]) -> list[Row]:
    """Rows by how far their ratio is from 1, in either direction."""
    return sorted(rows, key=lambda row: -abs(math.log(row.ratio)))


def record(layer: str, part: str, nodes: int) -> str:
    """Which record: ``fc6 forward on 2 nodes``."""
    return f"{flat(layer)} {part} on {plural(nodes, 'node')}"


def times(ratio: float) -> str:
    """A ratio to a thousandth, and to three digits where it is large."""
    return f"{ratio:.3f}" if ratio < 9.9995 else f"{ratio:.3g}" if ratio < 999.5 else f"{ratio:,.0f}"


def interval(row: Row) -> str:
    """The ratio's interval, by its ends."""
    if row.low is None or row.high is None:
        return f"fewer than {LEAST_SAMPLES} samples"
    return f"{times(row.low)} to {times(row.high)}"


def p_value(row: Row) -> str:
    """The adjusted p-value; never a nought that it is not."""
    if row.p_value is None:
        return NOTHING
    return f"{row.p_value:.2g}" if row.p_value >= 1e-4 else "< 0.0001"


def nodes(row: Row) -> str:
    """The node count, marked where it was emulated."""
    return f"{row.nodes:,} {EMULATED}" if row.placement == "emulated" else f"{row.nodes:,}"


def in_cells(row: Row) -> list[str]:
    """A row's cells in the order of :data:`HEAD`."""
    return [
        flat(row.layer),
        row.part.replace("_", " "),
        nodes(row),
        units.seconds(row.base_seconds),
        units.seconds(row.new_seconds),
        times(row.ratio),
        interval(row),
        p_value(row),
        f"{MARKS[row.verdict]} {row.verdict}",
    ]


def sides(comparison: Comparison) -> list[str]:
    """What was compared."""
    return [
        f"{name}: {flat(paths[0])}" + (f" and {plural(len(paths) - 1, 'repetition')}" if len(paths) > 1 else "")
        for name, paths in (("BASE", comparison.base), ("NEW", comparison.new))
    ]


def rules(comparison: Comparison) -> list[str]:
    """How the verdicts came about, and what was taken to differ between runs."""
    lines = [RATIO, f"threshold {percent(comparison.threshold)}", same(comparison)]
    lines += [between(term) for term in comparison.between_runs]
    if any(row.placement == "emulated" for row in comparison.rows):
        lines.append(IS_EMULATED)
    return lines


def same(comparison: Comparison) -> str:
    """What the verdict ``same`` excludes."""
    excluded = (1 + comparison.threshold) ** UNCLEAR_FACTOR - 1
    return f"same: no difference shown, and one of {percent(excluded)} or more excluded"


def between(term: BetweenRuns) -> str:
    """The between-run term of some records."""
    of = f"{term.parts} ({plural(term.records, 'record')})"
    if term.method == "runs":
        return (
            f"between runs, {of}: seen in the repetitions; the standard error of a ratio is {percent(term.deviation)}"
        )
    if term.method == "scatter" and term.deviation == 0:
        return f"between runs, {of}: nothing beyond the noise within them, as the scatter of the ratios shows"
    if term.method == "scatter":
        return f"between runs, {of}: {percent(term.deviation)}, from the scatter of the ratios, as a side has one run"
    return (
        f"between runs, {of}: not known, as a side has one run and there are fewer than {LEAST_RECORDS} records, so "
        f"ratios beyond the threshold are unclear up to {LARGE_FACTOR}; repeat the runs (5 a side in turns) or compare "
        f"{LEAST_RECORDS} records or more"
    )


def differences(comparison: Comparison) -> tuple[list[str], list[str]]:
    """What matters and was overruled, and what else differs between the sides."""
    forced = [f"differs, and was compared all the same: {flat(line)}" for line in comparison.forced]
    return forced, [flat(line) for line in comparison.notes]


def other_algorithms(rows: Sequence[Row]) -> list[str]:
    """Where another algorithm ran."""
    return [
        f"another algorithm: {record(row.layer, row.part, row.nodes)}: "
        f"{flat(row.base_algorithm) or 'none'} → {flat(row.new_algorithm) or 'none'}"
        for row in rows
        if row.base_algorithm != row.new_algorithm
    ]


def incomplete(comparison: Comparison) -> list[str]:
    """Records that some of a side's runs have no time for."""
    full = len(comparison.base), len(comparison.new)
    return [
        f"{record(row.layer, row.part, row.nodes)}: {row.base_runs} of {full[0]} runs of BASE and {row.new_runs} of "
        f"{full[1]} of NEW have a time"
        for row in comparison.rows
        if (row.base_runs, row.new_runs) != full
    ]


def untested(comparison: Comparison) -> list[str]:
    """Records without a verdict, those with one reason together."""
    found: dict[str, list[Untested]] = {}
    for one in comparison.untested:
        found.setdefault(flat(one.reason), []).append(one)
    return [
        f"no verdict: {listed([record(one.layer, one.part, one.nodes) for one in those])}: {reason}"
        for reason, those in found.items()
    ]
