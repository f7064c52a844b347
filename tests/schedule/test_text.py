import dataclasses
import io

from rich.console import Console

from layerbench.schedule.jobs import Job
from layerbench.schedule.plan import Placement, Plan
from layerbench.schedule.text import print_plan
from tests.schedule import made


def printed(plan: Plan, *, rows: bool = True, **console: object) -> list[str]:
    out = io.StringIO()
    print_plan(plan, made.rows(plan) if rows else [], Console(file=out, **console))  # type: ignore[arg-type]
    return out.getvalue().splitlines()


def test_the_plan_its_numbers_and_other_schemes() -> None:
    plan = dataclasses.replace(made.twelve(), notes=("A note.",))
    lines = printed(plan)
    assert lines[0].startswith("12 jobs on 16 nodes: makespan ")
    assert lines[1].split() == ["job", "type", "nodes", "start", "(min)", "end", "(min)", "node-hours"]
    rows = [line.split() for line in lines[2:14]]
    assert {row[0] for row in rows} == {one.job.name for one in plan.placements}
    starts = [float(row[3]) for row in rows]
    assert starts == sorted(starts)
    text = "\n".join(lines)
    for told in ("L1 ", "L2 ", "L3 ", "above the highest bound", "utilisation", "mean completion", "node-hours"):
        assert told in text
    (uniform,) = [line for line in lines if line.startswith("uniform")]
    assert "every job on 8 nodes, the best single count" in uniform
    assert "1.170" in uniform
    assert lines[-1] == "A note."


def test_a_long_plan_is_cut_and_says_where_the_rest_is() -> None:
    plan = made.listed(made.jobs(45, ["a"], 8), 8)
    lines = printed(plan, rows=False)
    assert lines[42] == "... 5 more in plan.csv"
    assert not [line for line in lines if "schemes" in line]


def test_forty_jobs_are_not_cut() -> None:
    assert "more in plan.csv" not in "\n".join(printed(made.forty()))


def test_a_log_is_not_cut_to_a_width() -> None:
    job = Job.of("name " * 40, "t", [(1, 1.0)])
    assert ("name " * 40).strip() in "\n".join(printed(Plan(1, (Placement(job, 1, 0.0),), "best")))


def test_names_do_not_steer_the_terminal() -> None:
    job = Job.of("evil\x1b[31m\r[red]x[/red]", "type\x07", [(1, 1.0)])
    text = "\n".join(printed(Plan(1, (Placement(job, 1, 0.0),), "best", notes=("note\x1b[2J",)), width=200))
    assert "\x1b" not in text
    assert "\x07" not in text
    assert "[red]x[/red]" in text
