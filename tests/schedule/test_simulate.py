import math
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from layerbench.errors import UsageError
from layerbench.schedule import trace
from layerbench.schedule.jobs import Job
from layerbench.schedule.outcome import Finished, Outcome
from layerbench.schedule.simulate import POLICIES, simulate
from layerbench.schedule.trace import Arrival
from tests.schedule.arrived import amdahl, arrivals, check, curve, curves, like_alexnet, traces


@pytest.mark.parametrize("policy", POLICIES)
@settings(max_examples=40, deadline=None)
@given(st.data())
def test_every_outcome_can_be(policy: str, data: st.DataObject) -> None:
    nodes = data.draw(st.integers(8, 20))
    known = data.draw(curves())
    arrived = data.draw(traces(list(known)))
    cost = data.draw(st.sampled_from([None, 0.0, 0.5, 20.0]))
    noise = data.draw(st.sampled_from([0.0, 0.2, 0.9]))
    outcome = simulate(arrived, known, nodes, policy, cost, noise, seed=7)
    check(outcome, arrived, known, cost)
    assert outcome == simulate(arrived, known, nodes, policy, cost, noise, seed=7)


@pytest.mark.parametrize("policy", ["best", "marginal"])
@pytest.mark.parametrize("noise", [0.0, 0.2])
def test_elastic_outcomes_can_be_and_jobs_are_reallotted(policy: str, noise: float) -> None:
    known = like_alexnet() | {"amdahl": amdahl("amdahl", 300.0, 0.02, 32)}
    arrived = trace.poisson(sorted(known), 300, trace.rate_for_load(known, 32, 0.8), seed=2)
    outcome = simulate(arrived, known, 32, policy, 5.0, noise)
    check(outcome, arrived, known, 5.0)
    assert outcome.reallotments > 20


def test_one_job_runs_on_its_fastest_count() -> None:
    for policy in POLICIES:
        job = simulate(arrivals(("conv", 3.0, 2.0)), like_alexnet(), 64, policy).jobs[0]
        assert job == Finished(Arrival("job0", "conv", 3.0, 2.0), 42.6, ((3.0, 8),), 45.6)


def test_fifo_lets_none_pass_and_fastest_backfills() -> None:
    known = {"a": curve("a", n3=10.0), "b": curve("b", n4=10.0), "c": curve("c", n1=5.0), "d": curve("d", n1=20.0)}
    arrived = arrivals(("a", 0.0, 1.0), ("b", 1.0, 1.0), ("d", 2.0, 1.0), ("c", 3.0, 1.0))
    assert [job.start for job in simulate(arrived, known, 4, "fifo").jobs] == [0.0, 10.0, 20.0, 20.0]
    # d would delay b, and c ends before it.
    assert [job.start for job in simulate(arrived, known, 4, "fastest").jobs] == [0.0, 10.0, 20.0, 3.0]


def test_a_longer_job_is_backfilled_on_nodes_that_the_reservation_leaves_over() -> None:
    known = {"a": curve("a", n3=10.0), "b": curve("b", n4=10.0), "d": curve("d", n1=50.0)}
    arrived = arrivals(("a", 0.0, 1.0), ("b", 1.0, 1.0), ("d", 2.0, 1.0), ("d", 2.0, 1.0))
    starts = [job.start for job in simulate(arrived, known, 5, "fastest").jobs]
    assert starts == [0.0, 10.0, 2.0, 20.0]


def test_uniform_takes_the_count_that_is_best_here() -> None:
    known = {"a": amdahl("a", 100.0, 0.3, 16)}
    means = {}
    arrived = trace.poisson(["a"], 200, trace.rate_for_load(known, 16, 0.5), seed=1)
    for count in (1, 2, 4, 8, 16):
        outcome = simulate(arrived, known, 16, "uniform", count=count)
        assert {job.history[0][1] for job in outcome.jobs} == {count}
        means[count] = outcome.mean_completion
    chosen = simulate(arrived, known, 16, "uniform")
    assert chosen.mean_completion == min(means.values())
    assert 1 < chosen.jobs[0].history[0][1] < 16


def test_uniform_gives_a_job_what_it_may_take() -> None:
    arrived = arrivals(("a", 0.0, 1.0), ("b", 0.0, 1.0))
    known = {"a": curve("a", n1=9.0, n3=4.0), "b": curve("b", n8=5.0)}
    outcome = simulate(arrived, known, 16, "uniform", count=4)
    assert [job.history[0][1] for job in outcome.jobs] == [3, 8]


def test_jobs_take_their_true_time_whatever_the_planner_knows() -> None:
    known = like_alexnet()
    arrived = trace.poisson(sorted(known), 200, trace.rate_for_load(known, 16, 0.9), seed=5)
    right, wrong = (simulate(arrived, known, 16, "best", noise=noise, seed=1) for noise in (0.0, 0.4))
    check(wrong, arrived, known)
    assert [job.end for job in right.jobs] != [job.end for job in wrong.jobs]
    other = simulate(arrived, known, 16, "best", noise=0.4, seed=2)
    assert [job.end for job in other.jobs] != [job.end for job in wrong.jobs]


def test_an_elastic_job_gets_the_nodes_that_fall_free() -> None:
    known = {"a": curve("a", n1=100.0, n2=50.0, n4=25.0)}
    arrived = arrivals(("a", 0.0, 1.0), ("a", 0.0, 0.1))
    outcome = simulate(arrived, known, 4, "marginal", 2.0)
    check(outcome, arrived, known, 2.0)
    long, short = outcome.jobs
    assert short.history == ((0.0, 2),)
    assert long.history == ((0.0, 2), (5.0, 4))
    assert long.end == pytest.approx(5.0 + 2.0 + 0.9 * 25.0)
    assert simulate(arrived, known, 4, "marginal", 30.0).reallotments == 0, "what costs more than it saves is not done"


def test_an_elastic_job_gives_nodes_to_those_that_wait() -> None:
    known = {"a": curve("a", n1=100.0, n2=60.0, n4=40.0)}
    arrived = arrivals(("a", 0.0, 10.0), *(("a", 1.0 + index, 0.1) for index in range(5)))
    rigid, elastic = simulate(arrived, known, 4, "best"), simulate(arrived, known, 4, "best", 0.5)
    check(elastic, arrived, known, 0.5)
    assert [nodes for _, nodes in elastic.jobs[0].history][:2] == [4, 1]
    assert elastic.mean_completion < 0.7 * rigid.mean_completion


@pytest.mark.parametrize("load", [0.3, 0.7, 0.95])
@pytest.mark.parametrize("which", ["alexnet", "amdahl"])
def test_best_is_better_than_the_baselines(which: str, load: float) -> None:
    serial = {"a": 0.003, "b": 0.03, "c": 0.1}
    mixed = {type_: amdahl(type_, 300.0, part, 32) for type_, part in serial.items()}
    known = like_alexnet() if which == "alexnet" else mixed
    arrived = trace.poisson(sorted(known), 1_000, trace.rate_for_load(known, 32, load), seed=9)
    outcomes = {policy: simulate(arrived, known, 32, policy) for policy in POLICIES}
    best = outcomes.pop("best")
    assert best.mean_completion <= 1.03 * min(each.mean_completion for each in outcomes.values())
    # Ten jobs make the percentile, and uniform's count is chosen in hindsight.
    assert best.p99_completion <= 1.35 * min(each.p99_completion for each in outcomes.values())
    assert best.p99_completion < 0.9 * outcomes["marginal"].p99_completion or load < 0.5


def test_none_waits_for_ever() -> None:
    known = {"long": curve("long", n4=100.0), "short": curve("short", n1=10.0, n2=5.0)}
    shorts = [("short", 2.6 * index, 1.0) for index in range(2_000)]
    arrived = arrivals(("short", 0.0, 1.0), ("long", 1.0, 1.0), *shorts)
    long = simulate(arrived, known, 4, "best").jobs[1]
    assert long.wait < 600


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("cost", [None, 5.0])
def test_a_thousand_arrivals_take_no_time(policy: str, cost: float | None) -> None:
    known = {f"t{index}": amdahl(f"t{index}", 100.0, 0.3 / (index + 1), 64) for index in range(20)}
    arrived = trace.poisson(sorted(known), 1_000, trace.rate_for_load(known, 256, 1.5), seed=1)
    began = time.process_time()
    simulate(arrived, known, 256, policy, cost)
    assert time.process_time() - began < 6.0


def test_all_arrive_at_once() -> None:
    known = like_alexnet()
    arrived = arrivals(*((sorted(known)[index % 3], 0.0, 1.0 + index % 7) for index in range(300)))
    for policy in POLICIES:
        check(simulate(arrived, known, 16, policy), arrived, known)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"policy": "bets"}, r"no policy is called 'bets' \(did you mean 'best'\?\): best, fifo"),
        ({"elastic_cost": -1.0}, "--elastic must be 0 s or more"),
        ({"elastic_cost": math.nan}, "--elastic must be"),
        ({"noise": 1.0}, "--noise must be from 0 to below 1"),
        ({"noise": math.nan}, "--noise must be"),
        ({"count": 0}, "the count of uniform must be from 1 to all 8 nodes, not 0"),
        ({"count": 9}, "the count of uniform"),
    ],
)
def test_what_cannot_be_simulated_is_told(wrong: dict[str, object], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        simulate(**({"arrivals": arrivals(("conv", 0.0, 1.0)), "curves": like_alexnet(), "nodes": 8} | wrong))


def of(*jobs: tuple[float, float, float, float, int]) -> Outcome:
    """(arrival, best, start, end, nodes) of each."""
    finished = [
        Finished(Arrival(f"job{index}", "a", at, 1.0), best, ((start, nodes),), end)
        for index, (at, best, start, end, nodes) in enumerate(jobs)
    ]
    return Outcome("best", "", 4, None, 0.0, 0, tuple(finished))


def test_figures_of_an_outcome() -> None:
    outcome = of((2.0, 2000.0, 2.0, 4002.0, 1), (12.0, 1.0, 22.0, 32.0, 3))
    assert outcome.mean_completion == (4000 + 20) / 2
    assert outcome.p99_completion == 4000
    assert outcome.mean_wait == 5
    assert outcome.tau == 10, "of jobs of a quarter of an hour on average"
    assert outcome.bounded_slowdown == (2 + 2) / 2, "of the short one, over tau"
    assert outcome.node_seconds == 4000 + 30
    assert outcome.makespan == 4000
    assert outcome.utilisation == 4030 / 16_000
    assert outcome.metrics()["node_hours"] == pytest.approx(4030 / 3600)
    assert of((0.0, 2.0, 0.0, 2.0, 1)).tau == 0.02


def test_p99_is_what_99_of_100_keep_within() -> None:
    assert of(*((0.0, 1.0, 0.0, float(end), 1) for end in range(1, 101))).p99_completion == 99
    assert of(*((0.0, 1.0, 0.0, float(end), 1) for end in range(1, 102))).p99_completion == 100


def test_a_job_too_short_for_the_clock_is_no_trouble() -> None:
    outcome = simulate([Arrival("a", "a", 1e12, 1.0)], {"a": Job.of("a", "a", [(1, 1e-9)])}, 1)
    assert outcome.utilisation == 0
    assert math.isfinite(outcome.bounded_slowdown)
