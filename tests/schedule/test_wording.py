import dataclasses

import pytest

from layerbench.schedule import wording
from layerbench.schedule.jobs import Job
from layerbench.schedule.plan import Placement, Plan
from tests.schedule import made


def plan(bounds: dict[str, float], **more: object) -> Plan:
    job = Job.of("one", "conv", [(2, 7200.0)])
    return dataclasses.replace(Plan(4, (Placement(job, 2, 0.0),), "best", bounds), **more)


@pytest.mark.parametrize(
    ("bounds", "told"),
    [
        ({}, ""),
        ({"L1": 7200.0}, ", the least possible"),
        ({"L1": 100.0, "L2": 7200.0 / 1.021}, ", at most 2.1 % above the least possible"),
        ({"L1": 7200.0 / 1.0214}, ", at most 2.2 % above the least possible"),
        ({"L1": 7200.0 / 1.0000001}, ", the least possible"),
        ({"L1": 7200.0 / 1.00001}, ", at most 0.1 % above the least possible"),
        ({"L1": 720.0}, ", at most 900 % above the least possible"),
    ],
)
def test_the_heading_says_no_more_than_the_bound_does(bounds: dict[str, float], told: str) -> None:
    assert wording.heading(plan(bounds)) == f"1 job on 4 nodes: makespan 120 min{told}"


def test_facts() -> None:
    found = wording.facts(plan({"L1": 3600.0, "L2": 6000.0}, proven=True))
    assert found == {
        "makespan": "120 min",
        "lower bounds on it": "L1 60.0 min, L2 100 min",
        "gap": "none: no plan is shorter",
        "utilisation": "50.0 %",
        "node-hours": "4.00",
        "mean completion": "120 min",
        "policy": "best, for the least makespan",
    }
    assert "gap" not in wording.facts(plan({}))


def test_other_schemes_are_compared_with_the_plan() -> None:
    one = made.twelve()
    rows = made.rows(one)
    cells = wording.compared(one, rows)
    assert [row[0] for row in cells] == ["best", *(row.policy for row in rows)]
    assert [row[3] for row in cells][:2] == ["1.000", "1.170"]
    assert wording.others(one, []) == ""
    assert "(×1.17), fastest" in wording.others(one, rows)
