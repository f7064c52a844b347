import pytest
from hypothesis import given
from hypothesis import strategies as st

from layerbench.schedule import best, elastic, online, state
from layerbench.schedule.ahead import Ahead
from layerbench.schedule.jobs import Job
from layerbench.schedule.state import Change, Running, Shape, Start, State, Waiting, shapes
from layerbench.schedule.trace import Arrival
from tests.schedule.arrived import amdahl, curve, like_alexnet

HALVES = Shape((1, 2, 4, 8), (80.0, 40.0, 20.0, 10.0))
STALLS = Shape((1, 2, 4, 8), (80.0, 70.0, 60.0, 55.0))


def waiting(*queue: tuple[Shape, float], nodes: int = 8) -> State:
    """A queue of (shape, work) before idle nodes."""
    found = State(nodes, nodes)
    for index, (shape, work) in enumerate(queue):
        job = Waiting(index, Arrival(f"job{index}", "a", 0.0, work), shape)
        found.past.arrived(0.0, job)
        found.arrive(job, index)
    return found


def running(into: State, nodes: int, left: float, shape: Shape = HALVES, since: float = 0.0) -> Running:
    job = Running(0, shape, shape.on, nodes, left, since, since)
    into.enter(job)
    return job


def test_the_planner_knows_the_useful_counts_that_there_are() -> None:
    assert shapes(like_alexnet() | {"wide": curve("wide", n8=1.0)}, 4, 0.0, 0) == {
        "conv": Shape((1, 2, 4), (165.8, 85.7, 42.1)),
        "fc": Shape((1,), (63.0,)),
        "lstm": Shape((1, 2, 4), (54.2, 32.0, 19.6)),
    }


def test_noise_is_a_factor_for_each_type_and_count() -> None:
    ideal = Job.of("a", "a", [(count, 100.0 / count) for count in range(1, 400)])
    seen = shapes({"a": ideal, "b": ideal}, 399, 0.2, 1)
    factors = [seconds / (100.0 / count) for count, seconds in seen["a"].options]
    assert 0.8 <= min(factors) < 0.82
    assert max(factors) <= 1.2
    assert seen["a"] != seen["b"]
    assert seen == shapes({"b": ideal, "a": ideal}, 399, 0.2, 1), "the same whatever else there is"
    assert seen != shapes({"a": ideal, "b": ideal}, 399, 0.2, 2)
    assert shapes({"a": ideal}, 399, 0.2, 1)["a"] == seen["a"]


@given(st.lists(st.tuples(st.integers(1, 5), st.floats(1.0, 100.0)), max_size=12), st.integers(0, 5))
def test_ahead_knows_when_nodes_fall_free(jobs: list[tuple[int, float]], more: int) -> None:
    total = sum(nodes for nodes, _ in jobs) + more + 1
    of = State(total, total)
    for nodes, left in jobs:
        running(of, nodes, left, Shape((nodes,), (1.0,)))
    ahead = Ahead(of)
    for wanted in range(1, total + 1):
        ends = sorted((left, nodes) for nodes, left in jobs)
        expected, free = 0.0, of.free
        for end, nodes in ends:
            if free >= wanted:
                break
            expected, free = end, free + nodes
        if expected:
            free = of.free + sum(nodes for end, nodes in ends if end <= expected)
        assert ahead.earliest(wanted) == expected
        assert ahead.reserve(wanted) == (expected, free - wanted)


def test_ahead_sees_what_starts_now() -> None:
    of = State(4, 4)
    ahead = Ahead(of)
    ahead.start(3, 50.0)
    assert ahead.free == 1
    assert ahead.earliest(1) == 0.0
    assert ahead.reserve(2) == (50.0, 2)


def test_what_overruns_may_end_at_any_moment() -> None:
    of = State(4, 4)
    running(of, 4, 1.0)
    of.now = 500.0
    assert Ahead(of).earliest(4) == 500.0


def test_marginal_gives_nodes_where_they_save_most() -> None:
    assert online.marginal(waiting((HALVES, 1.0), (STALLS, 1.0))) == [Start(0, 4), Start(1, 4)]
    assert online.marginal(waiting((HALVES, 0.1), (STALLS, 20.0), nodes=9)) == [Start(0, 1), Start(1, 8)]
    assert online.marginal(waiting(*[(HALVES, 1.0)] * 10)) == [Start(index, 1) for index in range(8)]


def test_marginal_stalls_where_a_step_gains_nothing_though_the_next_would() -> None:
    late = Shape((1, 2, 4), (80.0, 79.9, 10.0))
    assert online.marginal(waiting((late, 1.0), (STALLS, 1.0), nodes=5)) == [Start(0, 1), Start(1, 4)]


def test_best_takes_the_fastest_count_when_alone_and_an_efficient_one_in_a_long_queue() -> None:
    assert best.starts(waiting((STALLS, 1.0))) == [Start(0, 8)]
    starts = best.starts(waiting(*[(STALLS, 1.0)] * 20))
    assert starts == [Start(index, 1) for index in range(8)]
    ideal = best.starts(waiting(*[(HALVES, 1.0)] * 20))
    assert ideal == [Start(0, 8)], "where nodes lose nothing, one after another"


def test_best_waits_for_nodes_that_soon_are_free() -> None:
    of = waiting((HALVES, 1.0))
    of.now = 1.0
    running(of, 7, 0.2, Shape((7,), (10.0,)))
    assert best.starts(of) == []
    of = waiting((HALVES, 1.0))
    running(of, 7, 20.0, Shape((7,), (10.0,)))
    assert best.starts(of) == [Start(0, 1)]


def test_an_elastic_job_starts_small_rather_than_wait() -> None:
    of = waiting((HALVES, 1.0))
    running(of, 6, 1.0, Shape((6,), (10.0,)))
    assert best.starts(of) == []
    of.elastic_cost = 1.0
    assert best.starts(of) == [Start(0, 2)]
    of.elastic_cost = 30.0
    assert best.starts(of) == []


def test_the_price_grows_with_the_queue_and_with_what_will_come() -> None:
    idle = waiting((HALVES, 1.0))
    idle.depart(0)
    assert best.price(idle, 0, 10.0) == 0
    of = waiting(*[(HALVES, 1.0)] * 4)
    assert 0 < best.price(of, 1, 10.0) < best.price(of, 3, 10.0)
    assert best.price(of, 3, 1000.0) < best.price(of, 3, 10.0), "long jobs pay less"
    now = best.price(of, 0, 10.0)
    of.now = 5.0
    of.past.arrived(5.0, of.queue[0])
    assert best.price(of, 0, 10.0) > now


def test_the_past_is_of_the_last_arrivals() -> None:
    past = state.Past()
    job = waiting((HALVES, 2.0)).queue[0]
    for index in range(1000):
        past.arrived(0.5 * index, job)
    assert past.rate == pytest.approx(2.0, rel=0.01)
    assert past.area == pytest.approx(160.0)
    assert past.fastest == pytest.approx(20.0)


def test_the_backlog_is_what_waits_and_what_runs() -> None:
    of = waiting((HALVES, 1.0), nodes=10)
    assert of.backlog == pytest.approx(80.0 / 10)
    job = running(of, 2, 0.5)
    assert of.backlog == pytest.approx((80.0 + 2 * 20.0) / 10)
    of.now = 10.0
    assert of.backlog == pytest.approx((80.0 + 2 * 10.0) / 10)
    of.leave(job)
    of.depart(0)
    assert of.backlog == 0
    assert of.free == 10


def test_more_nodes_than_there_are_cannot_be_given() -> None:
    with pytest.raises(ValueError, match="3 nodes more"):
        running(State(5, 5), 8, 1.0)


def test_free_nodes_go_to_what_ends_last_where_that_pays() -> None:
    of = State(8, 8)
    long, short = running(of, 2, 1.0), running(of, 2, 0.1)
    of.now = 1.0
    assert elastic.grown(of, 2.0) == [Change(long, 4)]
    assert elastic.grown(of, 0.4) == [Change(long, 4), Change(short, 4)]
    assert elastic.grown(of, 30.0) == []
    of.now = 0.0
    assert elastic.grown(of, 2.0) == [], "not what was changed at this event"


def test_what_is_paid_for_is_not_changed_again() -> None:
    of = State(8, 8)
    job = running(of, 2, 1.0)
    of.now = 1.0
    job.since = 3.0
    assert elastic.grown(of, 0.1) == []


def test_running_jobs_give_up_nodes_only_for_those_that_wait() -> None:
    of = State(8, 8)
    job = running(of, 8, 1.0, STALLS)
    of.now = 1.0
    assert best.changes(of, 1.0) == []
    for index in range(4):
        other = Waiting(index, Arrival(f"w{index}", "a", 1.0, 1.0), STALLS)
        of.past.arrived(1.0, other)
        of.arrive(other, index)
    assert best.changes(of, 1.0) == [Change(job, 1)]
    assert best.changes(of, 500.0) == []


def test_shapes_of_many_counts_are_looked_up() -> None:
    shape = shapes({"a": amdahl("a", 100.0, 0.1, 64)}, 64, 0.0, 0)["a"]
    assert shape.fastest == 64
    assert shape.on[1] == 100.0
    assert shape.least_area == pytest.approx(100.0)
