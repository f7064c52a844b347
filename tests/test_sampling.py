"""The sampler on steps whose times are known, on a clock that only they move."""

from __future__ import annotations

import itertools
import math
import random
import threading
from collections.abc import Callable, Iterator, Sequence
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from layerbench import device, sampling
from layerbench.collectives import OneRank
from layerbench.device import Host
from layerbench.sampling import Row, Rule, Sampled, collect, converged
from layerbench.stats import interval, median
from tests.ranks import ThreadRank, together


class Steps:
    """A ``time_step`` that answers with given rows, moves the clock by their time, and remembers its calls."""

    def __init__(self, rows: Iterator[list[Row]]) -> None:
        self._rows = rows
        self.now = 0.0
        self.repetitions: list[int] = []

    def __call__(self, repetitions: int) -> list[Row]:
        self.repetitions.append(repetitions)
        rows = next(self._rows)
        self.now += repetitions * max(math.fsum(row) for row in rows)
        return rows

    @property
    def calls(self) -> int:
        return len(self.repetitions)


StepsOf = Callable[..., Steps]


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> StepsOf:
    """Steps that are the sampler's only clock: each argument is one step's rows, the last one repeats."""

    def make(*first: list[Row], then: Callable[[], list[Row]] | None = None) -> Steps:
        rest = iter(then, None) if then else itertools.repeat(first[-1])
        made = Steps(itertools.chain(first, rest))
        monkeypatch.setattr(sampling, "time", SimpleNamespace(perf_counter=lambda: made.now))
        return made

    return make


def alone(seconds: float) -> list[Row]:
    """One rank, one part."""
    return [[seconds]]


def sample(
    step: Steps,
    rule: Rule | None = None,
    in_step: Sequence[bool] = (True,),
    constant: float = 0.0,
    passes: Sequence[int] = (0,),
) -> Sampled:
    sampled = collect(step, in_step, rule or Rule(), OneRank(), constant=constant, passes=passes)
    assert sampled is not None
    return sampled


def noisy(seconds: float, spread: float, seed: int = 0) -> Callable[[], list[Row]]:
    """Steps so scattered that a median known within a percent takes tens of thousands of them."""
    chance = random.Random(seed)
    return lambda: alone(seconds * chance.uniform(1 - spread, 1 + spread))


def test_steady_times_need_two_steps_to_warm_up_and_six_samples(steps: StepsOf) -> None:
    step = steps(alone(0.01))
    sampled = sample(step)
    assert sampled.step == [0.01] * 6
    assert sampled.parts == [[0.01] * 6]
    assert step.calls == 2 + 6


@pytest.mark.parametrize(("seconds", "samples"), [(0.999, 6), (1.0, 6), (1.001, 3), (30.0, 3)])
def test_three_samples_are_enough_where_one_lasts_over_a_second(steps: StepsOf, seconds: float, samples: int) -> None:
    assert len(sample(steps(alone(seconds)), Rule(max_time=1000)).step) == samples


def test_the_fewest_samples_are_taken_even_beyond_the_time_allowed(steps: StepsOf) -> None:
    assert len(sample(steps(alone(0.9)), Rule(max_time=0.1)).step) == 6
    assert len(sample(steps(alone(9.0)), Rule(max_time=0.1)).step) == 3


def test_sampling_stops_as_soon_as_the_median_is_known(steps: StepsOf) -> None:
    chance = random.Random(1)
    sampled = sample(steps(then=lambda: alone(chance.gauss(0.01, 0.0005))), Rule(rel_error=0.01, max_time=1000))
    assert converged(sampled.step, 0.01)
    assert not converged(sampled.step[: len(sampled.step) // 2], 0.01), "half as many were not enough"
    assert len(sampled.step) < 400
    assert median(sampled.step) == pytest.approx(0.01, rel=0.02)


def test_a_stricter_error_takes_more_samples(steps: StepsOf) -> None:
    def count(rel_error: float) -> int:
        chance = random.Random(1)
        step = steps(then=lambda: alone(chance.gauss(0.01, 0.0005)))
        return len(sample(step, Rule(rel_error=rel_error, max_time=1e6)).step)

    assert count(0.05) < count(0.02) < count(0.005)


def test_noise_that_never_settles_stops_on_time(steps: StepsOf) -> None:
    step = steps(alone(0.01), alone(0.01), then=noisy(0.01, 0.9))
    sampled = sample(step, Rule(max_time=2.0))
    assert not converged(sampled.step, 0.01)
    assert 2.0 <= math.fsum(sampled.step) <= 2.0 + 0.02


@pytest.mark.parametrize("most", [6, 7, 20, 100, 101, 999])
def test_no_more_samples_than_allowed(steps: StepsOf, most: int) -> None:
    step = steps(alone(0.01), alone(0.01), then=noisy(0.01, 0.9))
    assert len(sample(step, Rule(max_time=1e6, max_samples=most)).step) == most


def test_every_part_must_settle_and_not_only_the_step(steps: StepsOf) -> None:
    chance = random.Random(0)
    # The small part is a thousandth of the step: its noise does not show in the sum.
    step = steps([[1.0, 1e-3]], [[1.0, 1e-3]], then=lambda: [[1.0, 1e-3 * chance.uniform(0.1, 1.9)]])
    sampled = sample(step, Rule(max_time=1e6, max_samples=40), in_step=(True, True))
    assert converged(sampled.step, 0.01)
    assert len(sampled.step) == 40


def test_a_part_that_takes_no_time_is_settled(steps: StepsOf) -> None:
    assert len(sample(steps([[0.01, 0.0]]), in_step=(True, True)).step) == 6


def test_warm_up_ends_when_two_steps_agree_and_its_steps_are_no_samples(steps: StepsOf) -> None:
    step = steps(alone(1.0), alone(0.5), alone(0.2), alone(0.1), alone(0.104), alone(0.1))
    sampled = sample(step)
    assert step.calls == 5 + 6, "0.1 and 0.104 agree within 5 %"
    assert sampled.step == [0.1] * 6


def test_warm_up_of_slow_steps_that_never_agree_ends_after_ten(steps: StepsOf) -> None:
    falling = (alone(100 * 0.8**i) for i in itertools.count())
    step = steps(then=lambda: next(falling))
    sampled = sample(step, Rule(max_time=0.1))
    assert sampled.step[0] == pytest.approx(100 * 0.8**10)


def test_warm_up_of_quick_steps_that_never_agree_goes_on_for_a_second(steps: StepsOf) -> None:
    turn = itertools.cycle([0.01, 0.02])
    step = steps(then=lambda: alone(next(turn)))
    sampled = sample(step, Rule(max_time=0.05))
    assert 1.0 <= step.now - math.fsum(sampled.step) <= 1.02


@pytest.mark.parametrize(("seconds", "inner"), [(3e-6, 367), (1.5e-4, 8), (9.99e-4, 2), (1e-3, 1), (0.5, 1), (0.0, 1)])
def test_a_quick_step_is_repeated_until_a_sample_lasts_a_millisecond_and_some(
    steps: StepsOf, seconds: float, inner: int
) -> None:
    step = steps(alone(seconds))
    sampled = sample(step)
    assert sampled.inner == inner
    assert step.repetitions == [1] + [inner] * 7, "warming up begins with one step and ends with as many as are sampled"
    assert sampled.step == [seconds] * 6, "times are those of one step"


def test_the_quickest_pass_decides_and_communication_does_not(steps: StepsOf) -> None:
    rows = [[2e-4, 1e-6, 1e-4]]
    for passes, inner in (((0,), 6), ((0, 2), 11), ((2, 0), 11)):
        assert sample(steps(rows), in_step=(True, True, False), passes=passes).inner == inner


def test_the_slowest_rank_says_how_often_a_step_is_repeated(steps: StepsOf) -> None:
    assert sample(steps([[1e-5], [1e-4]])).inner == 11


@pytest.mark.parametrize(("rest", "inner"), [(1e-3, 99), (0.03, 3), (0.06, 1), (0.5, 1)])
def test_no_step_is_repeated_for_more_than_a_tenth_of_a_second(steps: StepsOf, rest: float, inner: int) -> None:
    assert sample(steps([[1e-6, rest / 2], [1e-6, rest]]), in_step=(True, True)).inner == inner


def test_a_pass_that_gets_quicker_when_repeated_is_repeated_more_often(steps: StepsOf) -> None:
    step = steps([[1e-4, 2e-3]], [[5e-5, 2e-3]], [[4.9e-5, 2e-3]], [[4.9e-5, 2e-3]])
    sampled = sample(step, in_step=(True, True))
    assert step.repetitions[:4] == [1, 11, 22, 23], "the steps agree at once, their repetitions later"
    assert sampled.inner == 23


def test_a_pass_that_gets_slower_when_repeated_is_not_repeated_less_often(steps: StepsOf) -> None:
    assert sample(steps(alone(1e-4), alone(2e-4))).inner == 11


def test_steps_are_not_repeated_where_the_rule_forbids_it(steps: StepsOf) -> None:
    step = steps(alone(1e-6))
    assert sample(step, Rule(repeat_short_steps=False)).inner == 1
    assert step.repetitions == [1] * 8


def test_a_part_is_its_slowest_rank_and_a_step_the_slowest_sum(steps: StepsOf) -> None:
    rows = [[0.01, 0.05], [0.04, 0.01]]
    sampled = sample(steps(rows), in_step=(True, True))
    assert sampled.parts == [[0.04] * 6, [0.05] * 6]
    assert sampled.step == pytest.approx([0.06] * 6), "not 0.09: no rank does both slow parts"
    assert sampled.rank_medians == [[0.01, 0.04], [0.05, 0.01]]
    assert sampled.rank_step_medians == pytest.approx([0.06, 0.05])


def test_parts_outside_the_step_are_left_out_of_it(steps: StepsOf) -> None:
    sampled = sample(steps([[0.01, 0.5, 0.02]]), in_step=(True, False, True))
    assert sampled.step == pytest.approx([0.03] * 6)
    assert sampled.parts[1] == [0.5] * 6
    assert sampled.rank_step_medians == pytest.approx([0.03])


def test_computed_communication_is_added_to_every_step_and_to_no_part(steps: StepsOf) -> None:
    sampled = sample(steps([[0.01, 0.02]]), in_step=(True, True), constant=0.5)
    assert sampled.step == pytest.approx([0.53] * 6)
    assert sampled.rank_step_medians == pytest.approx([0.53])
    assert sampled.parts == [[0.01] * 6, [0.02] * 6]


@given(
    rows=st.lists(
        st.lists(st.lists(st.floats(1e-3, 10.0), min_size=3, max_size=3), min_size=2, max_size=2),
        min_size=8,
        max_size=8,
    ),
    in_step=st.lists(st.booleans(), min_size=3, max_size=3),
    constant=st.floats(0, 5.0),
)
def test_parts_and_step_come_from_the_same_iterations(
    rows: list[list[Row]], in_step: list[bool], constant: float
) -> None:
    made = Steps(itertools.chain(rows[:1] * 2, itertools.cycle(rows)))
    sampled = sample(made, Rule(max_time=1e-9, max_samples=8), in_step, constant)
    for number, seconds in enumerate(sampled.step):
        taken = rows[number]
        sums = [math.fsum(s for s, counts in zip(row, in_step, strict=True) if counts) for row in taken]
        assert seconds == max(sums) + constant
        for part, samples in enumerate(sampled.parts):
            assert samples[number] == max(row[part] for row in taken)


def test_progress_is_told_from_the_first_warm_up_step_to_the_last_sample(steps: StepsOf) -> None:
    told: list[int] = []
    collect(steps(alone(0.01)), [True], Rule(), OneRank(), told.append)
    assert told == [0, 0, 1, 2, 3, 4, 5, 6]


def test_looking_at_every_sample_would_cost_more_the_more_there_are(
    steps: StepsOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = 0

    def counted(samples: Sequence[float], rel_error: float) -> bool:
        nonlocal looks
        looks += 1
        return interval(samples).relative_half_width <= rel_error

    monkeypatch.setattr(sampling, "converged", counted)
    step = steps(alone(0.01), alone(0.01), then=noisy(0.01, 0.9))
    sample(step, Rule(max_time=1e9, max_samples=5_000))
    assert looks < 100


@pytest.mark.parametrize("size", [2, 3])
def test_rank_0_decides_and_every_rank_stops_with_it(size: int) -> None:
    def work(ranks: ThreadRank) -> tuple[Sampled | None, list[int]]:
        chance = random.Random(ranks.rank)
        repetitions: list[int] = []

        def time_step(inner: int) -> list[Row]:
            repetitions.append(inner)
            return ranks.gather([1e-4 * (1 + ranks.rank) * chance.gauss(1, 0.03), 1e-2])

        return collect(time_step, [True, True], Rule(rel_error=0.02, max_samples=60), ranks), repetitions

    results = together(size, work)
    (first, steps_of_first), *others = results  # type: ignore[misc]
    assert first is not None
    assert len(steps_of_first) > 8
    assert first.inner == steps_of_first[-1] > 1
    assert len(first.rank_medians[0]) == size
    assert median(first.parts[0]) == pytest.approx(1e-4 * size, rel=0.1), "the slowest rank's times"
    for sampled, steps_of_rank in others:
        assert sampled is None
        assert steps_of_rank == steps_of_first, "the same number of steps with the same repetitions"


@pytest.mark.parametrize(("repeated", "inner"), [(False, 1), (True, 6)])
def test_the_wait_for_a_slower_rank_is_the_same_however_often_a_step_is_repeated(
    repeated: bool, inner: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = threading.local()  # each rank's own; an exchange sets all to the latest
    monkeypatch.setattr(device, "time", SimpleNamespace(perf_counter_ns=lambda: clock.now))

    def work(ranks: ThreadRank) -> Sampled | None:
        clock.now = 0

        def compute() -> None:
            clock.now += 100_000 * (1 + ranks.rank)

        def exchange() -> None:
            clock.now = max(ranks.all_gather(clock.now)) + 10_000

        def time_step(repetitions: int) -> list[Row]:
            return ranks.gather(Host().time_parts([compute, exchange], repetitions))

        return collect(time_step, [True, True], Rule(repeat_short_steps=repeated), ranks)

    sampled, _ = together(2, work)
    assert isinstance(sampled, Sampled)
    assert sampled.inner == inner
    assert sampled.rank_medians[0] == pytest.approx([1e-4, 2e-4])
    assert sampled.rank_medians[1] == pytest.approx([1.1e-4, 1e-5]), "rank 0 waits in every step"
    assert sampled.rank_step_medians == pytest.approx([2.1e-4] * 2)
