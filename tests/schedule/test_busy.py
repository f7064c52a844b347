import pytest

from layerbench.schedule import looks
from layerbench.schedule.busy import busy
from layerbench.schedule.plan import Plan, usage
from tests.schedule import made


def of(plan: Plan, most: int = 1000) -> tuple[list[looks.Group], list[float], list[list[float]], bool]:
    groups = looks.groups(plan.placements)
    found = busy(plan.placements, groups, most)
    return groups, found.times.tolist(), found.nodes.tolist(), found.averaged


def test_steps_are_those_of_the_plan() -> None:
    plan = made.twelve()
    _, times, nodes, averaged = of(plan)
    total = [sum(column) for column in zip(*nodes, strict=True)]
    assert list(zip(times, total, strict=True)) == usage(plan.placements)
    assert not averaged


def test_each_group_has_its_own_node_seconds() -> None:
    plan = made.forty()
    groups, times, nodes, _ = of(plan)
    for group, row in zip(groups, nodes, strict=True):
        area = sum(value * (end - start) for value, start, end in zip(row, times, times[1:], strict=False))
        own = sum(one.node_seconds for one in plan.placements if one.job.type in group.types)
        assert area == pytest.approx(own)


def test_means_keep_the_node_seconds() -> None:
    plan = made.forty()
    _, times, nodes, averaged = of(plan, most=10)
    assert averaged
    assert len(times) == 11
    assert sum(map(sum, nodes)) * plan.makespan / 10 == pytest.approx(plan.node_seconds)
    assert max(sum(column) for column in zip(*nodes, strict=True)) <= plan.nodes
