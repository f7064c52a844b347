"""Two runs, or two sets of repetitions, compared record by record."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from layerbench import store
from layerbench.compare import environments
from layerbench.compare.match import Pair, Untested, match
from layerbench.compare.side import BASE, NEW, in_turns, load
from layerbench.compare.verdict import VERDICTS, BetweenRuns, Estimate, judge
from layerbench.errors import UsageError
from layerbench.records import PARTS
from layerbench.report.describe import plural
from layerbench.suite_format import flat

THRESHOLD = 0.03

NOT_IN_TURNS = "runs were not taken in turns: drift between the sides is not told from a difference"

MISSING = "missing"
KINDS = (*VERDICTS[:3], MISSING)
"""What ``--fail-on`` may name."""


@dataclass(frozen=True)
class Row(Estimate):
    """One record of both sides, and how its time in NEW stands to that in BASE.

    Attributes
    ----------
    layer, part, nodes, ranks, batch, placement
        Which it is; see :class:`layerbench.records.Record`.
    new_seconds
        As ``base_seconds``.
    base_algorithm, new_algorithm
        What computed it; several of one side's runs are separated by `` | ``.
    base_runs, new_runs
        How many runs of each side have a time.
    """

    layer: str
    part: str
    nodes: int
    ranks: int
    batch: int
    placement: str
    new_seconds: float
    base_algorithm: str
    new_algorithm: str
    base_runs: int
    new_runs: int


@dataclass(frozen=True)
class Comparison:
    """What two sides show.

    Attributes
    ----------
    base, new
        Folders of each side's runs, in order of their start.
    threshold
        Least difference that counts, as a fraction.
    rows
        Records with a verdict, in the order of BASE.
    untested
        Records without one, and why.
    between_runs
        What was taken to differ between runs of one thing.
    forced
        Differences that matter, and were overruled.
    notes
        Other differences, of software and host, and of when the runs were taken.
    warnings
        What is wrong with the run folders.
    """

    base: Sequence[Path]
    new: Sequence[Path]
    threshold: float
    rows: Sequence[Row]
    untested: Sequence[Untested]
    between_runs: Sequence[BetweenRuns]
    forced: Sequence[str]
    notes: Sequence[str]
    warnings: Sequence[str]

    def count(self, kind: str) -> int:
        """Records with a verdict; of ``missing``, those that BASE has a time for and NEW has not."""
        if kind == MISSING:
            return sum(record.missing for record in self.untested)
        return sum(row.verdict == kind for row in self.rows)

    def geometric_means(self) -> dict[str, tuple[float, int]]:
        """Geometric mean of the ratios of each part, and of how many records it is; parts in their usual order."""
        found: dict[str, tuple[float, int]] = {}
        for part in PARTS:
            logs = [math.log(row.ratio) for row in self.rows if row.part == part and row.p_value is not None]
            if logs:
                found[part] = math.exp(math.fsum(logs) / len(logs)), len(logs)
        return found


def compare(
    base: Path | str | Sequence[Path | str],
    new: Path | str | Sequence[Path | str],
    *,
    threshold: float = THRESHOLD,
    force: bool = False,
) -> Comparison:
    """Compare two runs, or repetitions of two runs.

    Parameters
    ----------
    base, new
        A run folder, a folder of run folders that are repetitions of one run, or several of these.
    threshold
        Least difference that counts, as a fraction above 0 and below 1.
    force
        Compare although hardware or options differ.

    Raises
    ------
    StoreError
        If a folder is no run, or cannot be read.
    UsageError
        If the threshold is out of range, one side's runs are not alike, a side has no records, the sides differ in what
        matters, or they have no record in common.
    """
    if not 0 < threshold < 1:
        raise UsageError(f"--threshold must be above 0 and below 1, such as {THRESHOLD}, and is {threshold:g}")
    were, are = load(BASE, base), load(NEW, new)
    for side in (were, are):
        if not any(run.records for run in side.runs):
            raise store.without_records(side.runs[0].path, "compare", side.runs[0].warnings)
    differences = environments.that_matter(were, are)
    pairs, untested = match(were, are)
    if were.manifest.options.kernels == are.manifest.options.kernels:
        differences += _other_kernels(pairs)
    if differences and not force:
        # Some options make every record another measurement: forcing would end with nothing to compare.
        otherwise = ", or add --force" if pairs else ""
        raise UsageError(
            f"BASE and NEW differ in what no time can be compared across: {'; '.join(differences)}; "
            f"compare runs of equal hardware and options{otherwise}"
        )
    if not pairs:
        raise UsageError(f"BASE and NEW have no record in common that both have samples of: {_nearest(untested)}")
    turns = in_turns(were, are)
    estimates, between_runs = judge(pairs, threshold, in_turns=turns)
    notes = environments.to_be_told(were, are)
    if not turns and min(len(were.runs), len(are.runs)) > 1:
        notes.insert(0, NOT_IN_TURNS)
    return Comparison(
        base=[run.path for run in were.runs],
        new=[run.path for run in are.runs],
        threshold=threshold,
        rows=[_row(pair, estimate) for pair, estimate in zip(pairs, estimates, strict=True)],
        untested=untested,
        between_runs=between_runs,
        forced=differences,
        notes=notes,
        warnings=[*were.warnings, *are.warnings],
    )


def kinds(text: str | None) -> list[str]:
    """The words of ``--fail-on``.

    Raises
    ------
    UsageError
        Naming the first that is none of :data:`KINDS`.
    """
    if text is None:
        return []
    words = [word.strip() for word in text.split(",")]
    for word in words:
        if word not in KINDS:
            raise UsageError(
                f"--fail-on {text!r}: {word!r} is none of {', '.join(KINDS)}; give some, such as slower,missing"
            )
    return words


def failing(comparison: Comparison, forbidden: Sequence[str]) -> str:
    """How many records are of the kinds that must not be, such as ``2 slower, 1 missing``; empty where none is."""
    counts = {kind: comparison.count(kind) for kind in KINDS if kind in forbidden}
    return ", ".join(f"{count} {kind}" for kind, count in counts.items() if count)


def _other_kernels(pairs: Sequence[Pair]) -> list[str]:
    """Kernel libraries, where ``auto`` chose others."""
    other = [pair for pair in pairs if pair.base_kernels != pair.new_kernels]
    if not other:
        return []
    were, are = (sorted({name for pair in other for name in getattr(pair, side)}) for side in _KERNELS)
    return [f"{environments.against('kernels', were, are)} ({len(other)} of {len(pairs)} records)"]


_KERNELS = ("base_kernels", "new_kernels")


def _nearest(untested: Sequence[Untested]) -> str:
    """Why most of the records that are nearest to one another do not match."""
    reasons = [flat(record.reason) for record in untested]
    commonest = max(dict.fromkeys(reasons), key=reasons.count)
    record = untested[reasons.index(commonest)]
    which = f"{record.layer} {record.part} on {plural(record.nodes, 'node')}"
    return f"{which} is {commonest}; that is so of {reasons.count(commonest)} of the {len(reasons)} records of both"


def _row(pair: Pair, estimate: Estimate) -> Row:
    record = pair.base
    return Row(
        **vars(estimate),
        layer=record.layer,
        part=record.part,
        nodes=record.nodes,
        ranks=record.ranks,
        batch=record.batch,
        placement=record.placement,
        new_seconds=estimate.base_seconds * estimate.ratio,
        base_algorithm=" | ".join(pair.base_algorithms),
        new_algorithm=" | ".join(pair.new_algorithms),
        base_runs=len(pair.base_samples),
        new_runs=len(pair.new_samples),
    )
