"""Overlap in words: the cells, signs and sentences that Markdown, terminal and page share."""

from __future__ import annotations

import math
from collections.abc import Sequence

from layerbench import units
from layerbench.overlap_records import OneMode, Overlap, Row
from layerbench.report import cells, describe
from layerbench.report.finding import told_apart
from layerbench.report.overlap_claim import GAIN
from layerbench.report.overlap_rows import of_workload

CROWDED = "‡"
DIFFERENT = "≠"
"""Signs of a row whose threads were more than there are cores, and of one whose results differ between the modes."""

TITLE = "Overlap of transfer, computation and communication"
SWEEP_TITLE = "Gain by the ratio of transfer to computation"

STEP_HEAD = (
    *("nodes", "implicit", "explicit", "speed-up", "attainable", "η"),
    *("exposed transfer", "exposed communication", "samples/s implicit", "samples/s explicit"),
    *("placement", "identical", ""),
)
STEP_NUMBERS = frozenset(range(10))

SWEEP_HEAD = ("nodes", "ratio", "attainable", "implicit", "explicit", "speed-up", "η", f"{GAIN} can be reached", "")
SWEEP_NUMBERS = frozenset(range(7))
"""Heads of the tables, and which of their columns are of numbers."""

ONE_HEAD = ("nodes", "mode", "step", "waiting for transfer", "waiting for communication", "samples/s", "placement", "")
ONE_NUMBERS = frozenset({0, 2, 3, 4, 5})
"""Of node counts that one mode only was asked for."""

MEANING = (
    "One step without overlap (implicit: transfer, then computation, then the exchange of each layer's gradient) and "
    "with it (explicit), medians with 95 % intervals. Attainable: the sum of all stages over the longest one. η: the "
    "part of the time that overlap can save that it saved. Exposed: what computation waits for in explicit mode."
)

SWEEP_MEANING = (
    f"Two stages of which one takes r times as long as the other gain 1 + min(r, 1/r) at most, so that {GAIN} can be "
    f"reached only where r lies between {GAIN - 1:.1f} and {1 / (GAIN - 1):.2f}; elsewhere only where transfer is "
    "spread over several cores."
)


def step_cells(row: Row) -> list[str]:
    """A row of the training step's table, under :data:`STEP_HEAD`."""
    rates = row.images_per_second
    return [
        f"{row.nodes:,}",
        time(row.implicit_seconds, row.implicit_low, row.implicit_high),
        time(row.explicit_seconds, row.explicit_low, row.explicit_high),
        speedup(row),
        times(row.attainable),
        eta(row),
        units.seconds(row.exposed_transfer_seconds),
        units.seconds(row.exposed_communication_seconds),
        rate(rates["implicit"]),
        rate(rates["explicit"]),
        row.placement,
        identical(row),
        signs(row),
    ]


def sweep_cells(row: Row) -> list[str]:
    """A row of the sweep's table, under :data:`SWEEP_HEAD`."""
    return [
        f"{row.nodes:,}",
        ratio(row),
        attainable(row),
        time(row.implicit_seconds, row.implicit_low, row.implicit_high),
        time(row.explicit_seconds, row.explicit_low, row.explicit_high),
        speedup(row),
        eta(row),
        can_be_reached(row),
        signs(row),
    ]


def one_cells(one: OneMode) -> list[str]:
    """A node count of one mode, under :data:`ONE_HEAD`."""
    marks = ((one.placement == "emulated", cells.EMULATED), (one.noisy, cells.NOISY))
    return [
        f"{one.nodes:,}",
        one.mode,
        time(one.seconds, one.low, one.high),
        units.seconds(one.transfer_seconds),
        units.seconds(one.communication_seconds),
        rate(one.batch / one.seconds),
        one.placement,
        "".join(sign for applies, sign in marks if applies),
    ]


def time(seconds: float, low: float | None, high: float | None) -> str:
    """A time with half its interval: ``243 ms ± 1.2 %``."""
    told = cells.plus_minus(seconds, _number(low), _number(high))
    return f"{units.seconds(seconds)} {told}".strip()


def speedup(row: Row, between: str = " to ") -> str:
    """A speed-up with its interval: ``1.52 (1.48 to 1.56)``."""
    value = times(row.speedup)
    if row.speedup_low is None or row.speedup_high is None:
        return value
    return f"{value} ({times(row.speedup_low)}{between}{times(row.speedup_high)})"


def times(value: float) -> str:
    """How many times as fast: two decimals, and three digits of what is large or next to nothing."""
    return f"{value:.2f}" if 0.1 <= value < 9.995 else cells.number(value)


def attainable(row: Row) -> str:
    """What can be gained, with as many decimals as tell it from :data:`layerbench.report.overlap_claim.GAIN`."""
    near = abs(row.attainable - GAIN) < 0.01
    return told_apart([row.attainable, GAIN], 2)[0] if near else times(row.attainable)


def eta(row: Row) -> str:
    """η with two decimals, and three digits of what is large: noise, where there is little to save."""
    if row.eta is None:
        return cells.NOTHING
    return f"{row.eta:.2f}" if abs(row.eta) < 9.995 else cells.number(row.eta)


def ratio(row: Row) -> str:
    """Transfer over computation, to three digits."""
    return cells.NOTHING if row.ratio is None else cells.number(row.ratio)


def can_be_reached(row: Row) -> str:
    """Whether a gain of 1.6 is within what is attainable."""
    return "yes" if row.attainable >= GAIN else "no"


def rate(value: float) -> str:
    """Samples a second: three digits, and those of large numbers in groups."""
    return f"{value:,.0f}" if 999.5 <= value < 1e7 else cells.number(value)


def identical(row: Row) -> str:
    """Whether both modes computed the same."""
    return cells.NOTHING if row.identical is None else "yes" if row.identical else "NO"


def signs(row: Row) -> str:
    """The signs of what a row is: emulated, noisy, oversubscribed, its results not the same."""
    told = [
        (row.placement == "emulated", cells.EMULATED),
        (row.noisy, cells.NOISY),
        (row.oversubscribed, CROWDED),
        (row.identical is False, DIFFERENT),
    ]
    return "".join(sign for applies, sign in told if applies)


def legend(rows: Sequence[Row], one_mode: Sequence[OneMode] = ()) -> list[str]:
    """What each sign of these rows means, of those that are there."""
    told = [
        (cells.EMULATED, emulation([*rows, *one_mode])),
        (cells.NOISY, noisy([*rows, *one_mode])),
        (CROWDED, oversubscription(rows)),
        (DIFFERENT, difference(rows)),
    ]
    lines = [f"{sign} {words}" for sign, words in told if words]
    looked_at = [row for row in rows if row.identical is not None]
    if looked_at and all(row.identical for row in looked_at):
        rest = "" if len(looked_at) == len(rows) else f" (looked at in {len(looked_at):,} of {len(rows):,} rows)"
        lines.append(f"both modes gave the same activations and gradients, bit for bit{rest}")
    return lines


def emulation(rows: Sequence[Row | OneMode]) -> str:
    """What emulated means, with the network models; empty where nothing was emulated."""
    found = [row for row in rows if row.placement == "emulated"]
    if not found:
        return ""
    networks = list(dict.fromkeys(row.network for row in found if row.network))
    model = f" for the network {describe.listed(networks)}" if networks else ""
    return (
        f"emulated ({where(found)}): one rank's share was timed alone, and communication computed{model}; "
        "intervals leave out the model's own error"
    )


def noisy(rows: Sequence[Row | OneMode]) -> str:
    """Which rows are noisy; empty where none is."""
    found = [row for row in rows if row.noisy]
    told = "sampling ended before the 95 % intervals were as narrow as asked for"
    return f"noisy ({where(found)}): {told}" if found else ""


def oversubscription(rows: Sequence[Row]) -> str:
    """Where threads shared cores; empty where none did."""
    found = [row for row in rows if row.oversubscribed]
    told = "more threads were busy than there are cores, so that stages and computation slow each other down"
    return f"oversubscribed ({where(found)}): {told}" if found else ""


def difference(rows: Sequence[Row]) -> str:
    """Where results differ; empty where none do."""
    found = [row for row in rows if row.identical is False]
    if not found:
        return ""
    return (
        f"NOT identical ({where(found)}): explicit mode gave other activations or gradients than implicit mode, so "
        "that its time is of other work and no gain"
    )


def where(rows: Sequence[Row | OneMode]) -> str:
    """Of which counts or ratios rows are: ``2 and 4 nodes``, ``ratio 0.5``."""
    told = []
    swept = [row for row in rows if isinstance(row, Row) and row.workload == "ratio sweep"]
    if counts := sorted({row.nodes for row in rows if row not in swept}):
        told.append(describe.node_counts(counts))
    if ratios := [ratio(row) for row in swept]:
        told.append(f"{'ratio' if len(ratios) == 1 else 'ratios'} {describe.listed(ratios)}")
    return "; ".join(told)


def settings(overlap: Overlap) -> list[str]:
    """How it was measured, most important first: what of it a file tells."""
    told = [overlap.suite, f"source {overlap.source}" if overlap.source else "", overlap.dtype]
    told += [describe.plural(overlap.depth, "slot")] if overlap.depth else []
    told += [describe.plural(overlap.workers, "worker")] if overlap.workers else []
    of_rank = [
        describe.plural(number, word)
        for number, word in ((overlap.threads_per_rank, "thread"), (overlap.spare_cores, "spare core"))
        if number
    ]
    told += [f"{describe.listed(of_rank)} a rank"] if of_rank else []
    told.append(f"buckets of {units.size(overlap.bucket_bytes)}" if overlap.bucket_bytes else "")
    told.append(_progress(overlap.progress))
    told.append(overlap.device)
    return [cells.flat(part) for part in told if part]


def _progress(how: str) -> str:
    if how == "thread":
        return "exchanges driven by a thread"
    if how == "calls":
        return "exchanges driven by calls between passes"
    return f"exchanges driven by {how}" if how else ""


def markdown(overlap: Overlap) -> list[str]:
    """Lines of Markdown: the settings, both tables as far as there are rows, what their signs mean, and the notes."""
    lines = []
    if told := settings(overlap):
        lines += [f"{cells.escape(', '.join(told))}.", ""]
    steps, sweep = of_workload(overlap, "training step"), of_workload(overlap, "ratio sweep")
    if steps:
        rows = [[cells.escape(cell) for cell in step_cells(row)] for row in steps[: cells.ROWS_SHOWN]]
        lines += [MEANING, "", *cells.table(STEP_HEAD, rows, right=STEP_NUMBERS), *_rest(steps)]
    if sweep:
        rows = [[cells.escape(cell) for cell in sweep_cells(row)] for row in sweep[: cells.ROWS_SHOWN]]
        lines += [SWEEP_MEANING, "", *cells.table(SWEEP_HEAD, rows, right=SWEEP_NUMBERS), *_rest(sweep)]
    if overlap.one_mode:
        rows = [[cells.escape(cell) for cell in one_cells(one)] for one in overlap.one_mode[: cells.ROWS_SHOWN]]
        lines += ["Of one mode only:", "", *cells.table(ONE_HEAD, rows, right=ONE_NUMBERS)]
    told = [*legend([*steps, *sweep], overlap.one_mode), *overlap.notes]
    return [*lines, *(f"- {cells.escape(line)}" for line in told), *([""] if told else [])]


def _rest(rows: Sequence[Row]) -> list[str]:
    more = len(rows) - cells.ROWS_SHOWN
    return [f"{more:,} more are in overlap.csv.", ""] if more > 0 else []


def _number(value: float | None) -> float:
    return math.nan if value is None else value
