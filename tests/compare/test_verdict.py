"""Identical runs come out the same, and a planted slow-down is found: counted over many made runs."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest

from layerbench.compare.match import Pair, match
from layerbench.compare.side import BASE, NEW, Side
from layerbench.compare.verdict import Estimate, judge
from layerbench.records import Record
from tests.compare import made

PAIRS = 20
THRESHOLD = 0.03

Found = list[tuple[float, Estimate]]


def verdicts(factor: Callable[[int], made.Factor], **options: float) -> Found:
    """Every record of 20 comparisons: its true ratio, and what was found."""
    found: Found = []
    for seed in range(PAIRS):
        planted = factor(seed)
        pairs, _ = match(*made.sides(seed, factor=planted, **options))
        estimates, _ = judge(pairs, THRESHOLD)
        found += [(planted(pair.base), estimate) for pair, estimate in zip(pairs, estimates, strict=True)]
    assert len(found) == 81 * PAIRS
    return found


def share(found: Found, *kinds: str) -> float:
    return sum(estimate.verdict in kinds for _, estimate in found) / len(found)


NOISE = [{"noise": 0.01}, {"noise": 0.05}, {"noise": 0.01, "repetitions": 3}, {"noise": 0.05, "repetitions": 3}]
RUNS_DIFFER = {"noise": 0.01, "between": 0.03, "repetitions": 5}


@pytest.mark.parametrize("options", [*NOISE, RUNS_DIFFER], ids=str)
def test_identical_runs_come_out_the_same(options: dict[str, float]) -> None:
    found = verdicts(lambda seed: made.unchanged, **options)
    assert share(found, "same") >= 0.95
    assert share(found, "slower", "faster") <= 0.005


@pytest.mark.parametrize("options", [*NOISE, RUNS_DIFFER], ids=str)
@pytest.mark.parametrize("which", ["half", "all"])
def test_a_slow_down_of_a_tenth_is_found(which: str, options: dict[str, float]) -> None:
    factor = (lambda seed: made.half(seed, 1.1)) if which == "half" else (lambda seed: lambda record: 1.1)
    found = verdicts(factor, **options)
    slowed = [one for one in found if one[0] > 1]
    assert len(slowed) == PAIRS * (40 if which == "half" else 81)
    assert share(slowed, "slower") >= 0.95
    if which == "half":
        assert share([one for one in found if one[0] == 1], "same") >= 0.95


def test_a_speed_up_is_found_as_well() -> None:
    found = verdicts(lambda seed: made.half(seed, 1 / 1.1))
    assert share([one for one in found if one[0] < 1], "faster") >= 0.95


def test_single_runs_that_differ_by_more_than_their_samples_say_are_not_called_different() -> None:
    found = verdicts(lambda seed: made.unchanged, noise=0.01, between=0.03)
    assert share(found, "slower", "faster") <= 0.01


def test_a_slow_down_of_everything_is_found_in_single_runs_that_differ() -> None:
    found = verdicts(lambda seed: lambda record: 1.1, noise=0.01, between=0.01)
    assert share(found, "slower") >= 0.95


def test_long_tails_between_single_runs_are_not_called_different() -> None:
    def tails(seed: int) -> made.Factor:
        generator = np.random.default_rng(seed)
        own = {record.key: math.exp(0.03 * generator.standard_t(3)) for record in made.TRUTH.records}
        return lambda record: own[record.key]

    assert share(verdicts(tails), "slower", "faster") <= 0.02


def test_a_change_below_the_threshold_is_the_same_however_sure() -> None:
    found = verdicts(lambda seed: made.half(seed, 1.02), noise=0.001, samples=50)
    assert share(found, "same") == 1
    assert all(estimate.p_value is not None and estimate.p_value < 1e-3 for true, estimate in found if true > 1)


def test_intervals_cover_the_true_ratio() -> None:
    for options in ({"noise": 0.05}, RUNS_DIFFER):
        found = verdicts(lambda seed: lambda record: 1.1, **options)
        covered = [estimate.low <= true <= estimate.high for true, estimate in found if estimate.low and estimate.high]
        assert 0.93 <= np.mean(covered) <= 0.995


def of(base: list[float], new: list[float], threshold: float = THRESHOLD) -> Estimate:
    """Among nine copies, so that there are enough records to tell that single runs do not vary."""
    values = np.array(base)
    estimates, _ = judge([made.pair(values, np.array(new)), *[made.pair(values, values.copy())] * 9], threshold)
    return estimates[0]


def test_numbers_of_one_record() -> None:
    found = of([1.0, 1.1, 0.9, 1.0, 1.0, 1.05, 0.95], [2.0, 2.2, 1.8, 2.0, 2.0, 2.1, 1.9])
    assert found.ratio == pytest.approx(2)
    assert found.base_seconds == pytest.approx(1)
    assert found.verdict == "slower"
    assert found.low is not None
    assert found.high is not None
    assert found.low * found.high == pytest.approx(4)
    turned = of([2.0, 2.2, 1.8, 2.0, 2.0, 2.1, 1.9], [1.0, 1.1, 0.9, 1.0, 1.0, 1.05, 0.95])
    assert turned.verdict == "faster"
    assert turned.low == pytest.approx(1 / found.high)
    assert turned.p_value == pytest.approx(found.p_value)


def test_samples_without_any_spread() -> None:
    assert of([1.0] * 6, [1.0] * 6).verdict == "same"
    exact = of([1.0] * 6, [1.1] * 6)
    assert (exact.verdict, exact.p_value) == ("slower", 0.0)
    assert exact.low == exact.high == pytest.approx(1.1)


def test_the_threshold_is_where_it_says() -> None:
    assert of([1.0] * 6, [1.0299] * 6).verdict == "same"
    assert of([1.0] * 6, [1.0301] * 6).verdict == "slower"
    assert of([1.0] * 6, [1 / 1.0299] * 6).verdict == "same"
    assert of([1.0] * 6, [1 / 1.0301] * 6).verdict == "faster"
    assert of([1.0] * 6, [1.0301] * 6, threshold=0.04).verdict == "same"


def test_noise_that_could_hide_a_large_difference_is_unclear() -> None:
    wide = [1.0, 1.5, 0.7, 1.2, 0.8, 1.1]
    assert of(wide, sorted(wide)).verdict == "unclear"


@pytest.mark.parametrize(("base", "new"), [(2, 50), (50, 2), (1, 1)])
def test_fewer_than_three_samples_are_unclear(base: int, new: int) -> None:
    found = of([1.0] * base, [2.0] * new)
    assert (found.verdict, found.low, found.high, found.p_value) == ("unclear", None, None, None)
    assert found.ratio == pytest.approx(2)


def term_of(pairs: list[Pair]) -> Counter[tuple[str, str, int]]:
    return Counter((term.parts, term.method, term.records) for term in judge(pairs, THRESHOLD)[1])


@pytest.mark.parametrize("seed", range(PAIRS))
def test_few_records_of_single_runs_are_not_called_different(seed: int) -> None:
    pairs, _ = match(*made.sides(seed, noise=0.01, between=0.03))
    estimates, (term,) = judge(pairs[:8], THRESHOLD)
    assert (term.method, term.records) == ("none", 8)
    assert {estimate.verdict for estimate in estimates} <= {"same", "unclear"}
    beyond = [estimate for estimate in estimates if not 1 / 1.03 <= estimate.ratio <= 1.03]
    assert all(estimate.verdict == "unclear" for estimate in beyond)
    doubled, _ = match(*made.sides(seed, noise=0.01, between=0.03, factor=lambda record: 2.0))
    assert {estimate.verdict for estimate in judge(doubled[:8], THRESHOLD)[0]} == {"slower"}


@pytest.mark.parametrize(
    ("ratio", "verdict"),
    [(1.02, "same"), (1.04, "unclear"), (1.49, "unclear"), (1.51, "slower"), (1 / 1.49, "unclear"), (0.66, "faster")],
)
def test_how_large_a_difference_of_few_single_runs_must_be(ratio: float, verdict: str) -> None:
    (found,), _ = judge([made.pair(np.ones(6), np.full(6, ratio))], THRESHOLD)
    assert found.verdict == verdict
    noisy = np.array([0.2, 0.5, 1.0, 1.0, 2.0, 5.0])
    (found,), _ = judge([made.pair(noisy, 1.6 * noisy)], THRESHOLD)
    assert found.verdict == "unclear"


def varying(record: Record) -> float:
    """A fifth of the records varies by 10 % between runs, the others by 1 %."""
    return 0.10 if made.TRUTH.records.index(record) % 5 == 0 else 0.01


def unequal(seed: int, repetitions: int) -> list[Estimate]:
    runs = []
    for number in range(2 * repetitions):
        generator = np.random.default_rng([seed, number])
        own = {one.key: math.exp(generator.normal(0, varying(one))) for one in made.TRUTH.records}
        runs.append(made.run(1000 * seed + number, factor=lambda record, own=own: own[record.key]))
    pairs, _ = match(Side(BASE, runs[::2], []), Side(NEW, runs[1::2], []))
    return judge(pairs, THRESHOLD)[0]


def test_records_that_vary_unequally_between_runs() -> None:
    wrong = [sum(one.verdict in ("slower", "faster") for one in unequal(seed, 5)) for seed in range(60)]
    # One in twenty, and two standard deviations of 60.
    assert sum(count > 0 for count in wrong) <= 6


def test_records_that_vary_unequally_between_single_runs() -> None:
    wrong = [one.verdict in ("slower", "faster") for seed in range(40) for one in unequal(seed, 1)]
    assert np.mean(wrong) <= 0.05


def test_drift_cancels_only_where_runs_were_taken_in_turns() -> None:
    drift = {number: 1.02**number for number in range(10)}
    runs = [made.run(k, factor=lambda record, by=by: by) for k, by in drift.items()]
    turns, _ = match(Side(BASE, runs[::2], []), Side(NEW, runs[1::2], []))
    widths = [
        [math.log(one.high / one.low) for one in judge(turns, THRESHOLD, in_turns=asked)[0] if one.high and one.low]
        for asked in (True, False)
    ]
    assert len(widths[0]) == len(widths[1]) == 81
    assert np.mean(np.divide(widths[1], widths[0]) > 3) > 0.9


def test_what_was_taken_between_runs_is_told() -> None:
    single, _ = match(*made.sides(1))
    assert term_of(single) == {("all parts", "scatter", 81): 1}
    assert term_of(single[:9]) == {("all parts", "none", 9): 1}
    repeated, _ = match(*made.sides(1, repetitions=2))
    assert term_of(repeated) == {("all parts", "runs", 81): 1}
    communication = [pair for pair in single if pair.base.part == "communication"]
    assert term_of([*single, *communication]) == {
        ("communication", "scatter", 18): 1,
        ("the other parts", "scatter", 72): 1,
    }


def test_one_run_against_several() -> None:
    base, _ = made.sides(5, repetitions=3, between=0.02)
    _, new = made.sides(6, factor=lambda record: 1.5, between=0.02)
    pairs, _ = match(base, new)
    estimates, terms = judge(pairs, THRESHOLD)
    assert [term.method for term in terms] == ["runs", "scatter"]
    assert [term.method for term in judge(pairs[:8], THRESHOLD)[1]] == ["runs"]
    assert np.mean([estimate.verdict == "slower" for estimate in estimates]) >= 0.95


def test_the_same_samples_give_the_same_verdicts_again() -> None:
    pairs, _ = match(*made.sides(9))
    assert judge(pairs, THRESHOLD) == judge(pairs, THRESHOLD)
    assert judge([], THRESHOLD) == ([], [])


def test_copies_of_one_run_are_the_same_however_noisy() -> None:
    values = np.random.default_rng(1).lognormal(0, 1, 8)
    (copied,), _ = judge([made.pair(values, values.copy())], THRESHOLD)
    assert copied.verdict == "same"
    (other,), _ = judge([made.pair(values, np.nextafter(values, 2))], THRESHOLD)
    assert other.verdict == "unclear"
