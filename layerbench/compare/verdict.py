"""From matched records to ratios with their intervals, p-values and verdicts."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias, get_args

import numpy as np

from layerbench.compare.between import (
    LARGE_FACTOR,
    LEAST_RECORDS,
    location,
    moderated,
    single_run_variance,
    variance_of_runs,
)
from layerbench.compare.match import Pair
from layerbench.compare.statistics import (
    Values,
    benjamini_hochberg,
    log_medians,
    rank_test,
    satterthwaite,
    student_quantile,
    student_tail,
)

Verdict: TypeAlias = Literal["slower", "faster", "unclear", "same"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)

FALSE_DISCOVERIES = 0.05
"""Share of the differences found that may be none (Benjamini and Hochberg)."""

LEAST_SAMPLES = 3
"""Of fewer on a side nothing is said."""

UNCLEAR_FACTOR = 5
"""An interval that reaches beyond this power of 1 + threshold can't exclude a difference that would matter."""


@dataclass(frozen=True)
class Estimate:
    """How a record's time in NEW stands to that in BASE.

    Attributes
    ----------
    ratio
        Of the medians, NEW over BASE: above 1 is slower. Of several runs, the geometric mean of the pairs' ratios, or
        the ratio of geometric means of runs' medians, of five runs up without the fifth at either end.
    low, high
        Its 95 % interval; None of too few samples.
    p_value
        Of the test that the ratio is 1, adjusted for the number of records; None of too few samples.
    verdict
        See :func:`judge`.
    base_seconds
        The median; of several runs, the geometric mean of their medians, without these ends.
    """

    ratio: float
    low: float | None
    high: float | None
    p_value: float | None
    verdict: Verdict
    base_seconds: float


@dataclass(frozen=True)
class BetweenRuns:
    """What was taken to differ between runs of one thing, for some of the records.

    Attributes
    ----------
    parts
        Which records: ``communication``, ``the other parts`` or ``all parts``.
    records
        How many were tested.
    method
        ``runs`` where repetitions show it, ``scatter`` where the ratios' own scatter is taken for it, ``none`` where
        there are too few records for that.
    deviation
        Standard deviation of the logarithm of a ratio that comes of it: with ``runs``, the median over the records of
        the standard error of a ratio.
    """

    parts: str
    records: int
    method: Literal["runs", "scatter", "none"]
    deviation: float


@dataclass(frozen=True)
class _Effect:
    """A log ratio, its variance within and between runs, and the degrees of freedom of both."""

    log_ratio: float
    log_base: float
    within: float
    within_degrees: list[tuple[float, float]]
    runs_variance: float
    runs_degrees: int
    single: bool
    ranks_p: float
    enough: bool
    identical: bool

    @property
    def only_single(self) -> bool:
        """Whether no side shows how far its runs lie apart."""
        return self.single and not self.runs_degrees


def judge(
    pairs: Sequence[Pair], threshold: float, *, in_turns: bool = True
) -> tuple[list[Estimate], list[BetweenRuns]]:
    """Test every pair and say what it shows.

    ``slower`` and ``faster`` are ratios beyond the threshold, above 1 + t or below 1/(1 + t), whose adjusted p-value is
    at most 5 %. Of the others, those are ``unclear`` whose interval reaches beyond (1 + t)⁵ on either side, or that
    have fewer than three samples on a side; the rest is ``same``, and so is what has the very same samples on both
    sides.
    Where nothing tells how far runs lie apart, ratios beyond the threshold are ``unclear`` up to ``LARGE_FACTOR``.

    Parameters
    ----------
    pairs
        Records with samples on both sides.
    threshold
        t, as a fraction.
    in_turns
        Whether runs of the two sides with one number were taken in succession, so that drift is common to both.

    Returns
    -------
    list of Estimate and list of BetweenRuns
        One estimate for each pair in order, and the between-run terms that went into them.
    """
    effects = _effects(pairs, in_turns)
    tested = [number for number, effect in enumerate(effects) if effect.enough]
    deviations: dict[int, float] = {}
    degrees: dict[int, int] = {}
    terms: list[BetweenRuns] = []
    unknown: set[int] = set()
    for parts, members in _groups(pairs, tested):
        if sum(effects[number].single for number in members) < LEAST_RECORDS:
            unknown.update(number for number in members if effects[number].only_single)
        terms += _with_between_runs(parts, members, effects, deviations, degrees)
    p_values = [_p_value(effects[number], deviations[number], degrees[number]) for number in tested]
    adjusted = dict(zip(tested, benjamini_hochberg(p_values), strict=True))
    estimates = []
    for number, effect in enumerate(effects):
        estimate = Estimate(math.exp(effect.log_ratio), None, None, None, "unclear", math.exp(effect.log_base))
        if number in adjusted:
            reach = student_quantile(degrees[number]) * deviations[number]
            estimate = replace(
                estimate,
                low=_exp(effect.log_ratio - reach),
                high=_exp(effect.log_ratio + reach),
                p_value=adjusted[number],
            )
            estimate = replace(estimate, verdict=_verdict(estimate, threshold, number in unknown))
        if effect.identical:
            estimate = replace(estimate, verdict="same")
        estimates.append(estimate)
    return estimates, terms


def _exp(value: float) -> float:
    """Its exponential, and never an infinity: JSON has none."""
    return math.exp(min(value, 700.0))


def _verdict(estimate: Estimate, threshold: float, between_unknown: bool) -> Verdict:
    assert estimate.p_value is not None
    assert estimate.low is not None
    assert estimate.high is not None
    beyond = max(estimate.ratio, 1 / estimate.ratio)
    if between_unknown and 1 + threshold < beyond <= LARGE_FACTOR:
        return "unclear"
    if estimate.p_value <= FALSE_DISCOVERIES:
        if estimate.ratio > 1 + threshold:
            return "slower"
        if estimate.ratio < 1 / (1 + threshold):
            return "faster"
    far = (1 + threshold) ** UNCLEAR_FACTOR
    return "unclear" if estimate.high > far or estimate.low < 1 / far else "same"


def _effects(pairs: Sequence[Pair], in_turns: bool) -> list[_Effect]:
    samples = [values for pair in pairs for side in (pair.base_samples, pair.new_samples) for values in side.values()]
    medians, variances = log_medians(samples)
    effects = []
    place = 0
    for pair in pairs:
        sides = []
        parts: list[tuple[float, float]] = []
        for side in (pair.base_samples, pair.new_samples):
            runs = slice(place, place + len(side))
            place += len(side)
            sides.append(medians[runs].tolist())
            parts += [
                (float(variance) / len(side) ** 2, max(1.0, len(values) - 1.0))
                for variance, values in zip(variances[runs], side.values(), strict=True)
            ]
        base, new = sides
        paired = in_turns and len(base) > 1 and list(pair.base_samples) == list(pair.new_samples)
        between, degrees = variance_of_runs(base, new, paired=paired)
        once = len(base) == len(new) == 1
        effects.append(
            _Effect(
                log_ratio=(location(np.subtract(new, base).tolist()) if paired else location(new) - location(base)),
                log_base=location(base),
                within=math.fsum(variance for variance, _ in parts),
                within_degrees=parts,
                runs_variance=between,
                runs_degrees=degrees,
                single=min(len(base), len(new)) == 1,
                ranks_p=rank_test(*pair.base_samples.values(), *pair.new_samples.values()) if once else 0.0,
                enough=min(_count(pair.base_samples.values()), _count(pair.new_samples.values())) >= LEAST_SAMPLES,
                identical=_identical(pair),
            )
        )
    return effects


def _identical(pair: Pair) -> bool:
    """Whether both sides are copies of one: no interval, however wide, is then of a difference."""
    return pair.base_samples.keys() == pair.new_samples.keys() and all(
        np.array_equal(values, pair.new_samples[run]) for run, values in pair.base_samples.items()
    )


def _count(samples: Iterable[Values]) -> int:
    return sum(len(values) for values in samples)


def _groups(pairs: Sequence[Pair], tested: Sequence[int]) -> list[tuple[str, list[int]]]:
    """Records that may be taken to vary alike: communication and the rest, where there are enough of each."""
    communication = [number for number in tested if pairs[number].base.part == "communication"]
    rest = [number for number in tested if pairs[number].base.part != "communication"]
    if min(len(communication), len(rest)) >= LEAST_RECORDS:
        return [("communication", communication), ("the other parts", rest)]
    return [("all parts", list(tested))] if tested else []


def _with_between_runs(
    parts: str,
    members: Sequence[int],
    effects: Sequence[_Effect],
    deviations: dict[int, float],
    degrees: dict[int, int],
) -> list[BetweenRuns]:
    """Fill in standard deviation and degrees of freedom of each member, and say what between-run terms they have."""
    terms: list[BetweenRuns] = []
    variance = {number: effects[number].within for number in members}
    for number in members:
        degrees[number] = satterthwaite(effects[number].within_degrees)
    repeated = [number for number in members if effects[number].runs_degrees]
    if repeated:
        of_runs = np.array([effects[number].runs_variance for number in repeated])
        own = np.array([effects[number].runs_degrees for number in repeated], np.float64)
        for number, seen, freedom in zip(repeated, *moderated(of_runs, own), strict=True):
            # What samples within runs say already is a part of what runs differ by, and never more than it.
            variance[number], degrees[number] = max(variance[number], float(seen)), int(freedom)
        typical = math.sqrt(float(np.median([variance[number] for number in repeated])))
        terms.append(BetweenRuns(parts, len(repeated), "runs", typical))
    single = [number for number in members if effects[number].single]
    if single:
        log_ratios = np.array([effects[number].log_ratio for number in single])
        between, freedom = single_run_variance(log_ratios, np.array([effects[number].within for number in single]))
        for number in single:
            effect = effects[number]
            if effect.within + between > variance[number] or not effect.runs_degrees:
                variance[number] = effect.within + between
                degrees[number] = satterthwaite([*effect.within_degrees, (between, freedom)])
        only = sum(effects[number].only_single for number in single)
        if len(single) >= LEAST_RECORDS:
            terms.append(BetweenRuns(parts, len(single), "scatter", math.sqrt(between)))
        elif only:
            terms.append(BetweenRuns(parts, only, "none", 0.0))
    for number in members:
        deviations[number] = math.sqrt(variance[number])
    return terms


def _p_value(effect: _Effect, deviation: float, degrees: int) -> float:
    """Of Student's t; of a single run on both sides also that of ranks, if it is larger.

    Where samples fall into two clumps of equal size, the median may be in either, and the bootstrap knows of one only.
    The ranks of identical runs are not deceived by any distribution.
    """
    if effect.log_ratio == 0:
        return 1.0
    t = math.inf if deviation == 0 else abs(effect.log_ratio) / deviation
    return max(student_tail(t, degrees), effect.ranks_p)
