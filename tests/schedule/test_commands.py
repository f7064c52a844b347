from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from layerbench.cli import main
from layerbench.schedule import commands, solve
from layerbench.schedule.simulate import POLICIES
from tests.report import synthetic
from tests.report.synthetic import stored

JOBS = """job,type,nodes,seconds
resnet,conv,1,3600
resnet,conv,2,1850
resnet,conv,4,960
ranker,fc,1,900
ranker,fc,2,700
speech,lstm,1,2400
speech,lstm,4,900
"""


@pytest.fixture
def jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "jobs.csv"
    path.write_text(JOBS)
    return path


def run(*arguments: object, text: str | None = None) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments], input=text)


def test_the_choices_are_those_of_the_solvers() -> None:
    assert commands.OBJECTIVES == solve.OBJECTIVES
    assert commands.POLICIES == solve.POLICIES
    assert sorted(commands.ONLINE) == sorted(POLICIES)


def test_a_plan_is_printed_and_written(jobs: Path) -> None:
    found = run("schedule", jobs, "--nodes", 4, "--no-html", "--seconds", 0.1)
    assert found.exit_code == 0
    for told in ("3 jobs on 4 nodes", "L1", "L2", "L3", "best one count for all", "schedule/plan.json"):
        assert told in found.output
    plan = json.loads(Path("schedule/plan.json").read_text())
    assert {"nodes", "makespan", "lower_bound", "gap", "jobs"} <= plan.keys()
    assert [set(job) >= {"job", "type", "nodes", "start", "end"} for job in plan["jobs"]] == [True] * 3
    assert plan["makespan"] == max(job["end"] for job in plan["jobs"])
    assert {path.name for path in Path("schedule").iterdir()} >= {
        "plan.csv",
        "comparison.csv",
        "gantt.png",
        "gantt.svg",
    }


@pytest.mark.parametrize("policy", [policy for policy in solve.POLICIES if policy != "best"])
def test_every_policy_plans(jobs: Path, policy: str) -> None:
    found = run("schedule", jobs, "--nodes", 4, "--no-html", "--policy", policy, "--quiet")
    assert (found.exit_code, found.output) == (0, "")
    assert json.loads(Path("schedule/plan.json").read_text())["policy"] == policy


def test_jobs_come_from_standard_input_and_from_a_run(jobs: Path) -> None:
    assert run("schedule", "-", "--nodes", 4, "--no-html", "--quiet", text=JOBS).exit_code == 0
    folder = stored(synthetic.run(path=jobs.parent / "run"))
    found = run("schedule", folder, "--nodes", 8, "--no-html", "--seconds", 0.1)
    assert found.exit_code == 0
    assert "emulated, not measured" in found.output
    assert {job["type"] for job in json.loads(Path("schedule/plan.json").read_text())["jobs"]} == {"conv", "fc", "lstm"}


def test_a_deadline_that_cannot_be_met_is_told(jobs: Path) -> None:
    found = run("schedule", jobs, "--nodes", 4, "--objective", "deadline", "--deadline", 60)
    assert found.exit_code == 2
    assert "no plan ends before" in found.output
    assert "seconds" in found.output
    assert not Path("schedule").exists()


def test_a_simulation_is_printed_and_written(jobs: Path) -> None:
    found = run("simulate", "poisson", "--curves", jobs, "--nodes", 8, "--arrivals", 40, "--noise", 0.2)
    assert found.exit_code == 0
    for policy in commands.ONLINE:
        assert policy in found.output
    assert "planned with the right curves, and with times up to 20 % wrong" in found.output
    assert Path("simulation/outcome.json").exists()
    trace = jobs.parent / "trace.csv"
    trace.write_text("arrival,type,work\n0,conv,2\n30,lstm,1\n")
    found = run("simulate", trace, "--curves", jobs, "--nodes", 8, "--policy", "fifo", "--elastic", 5, "--output", "x")
    assert found.exit_code == 0
    assert "2 jobs on 8 nodes" in found.output


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("schedule", "none.csv", "--nodes", "4"), "none.csv"),
        (("schedule", "jobs.csv", "--nodes", "0"), "--nodes must be from 1"),
        (("schedule", "jobs.csv", "--nodes", "4", "--seconds", "-1"), "--seconds must be positive"),
        (("schedule", "jobs.csv", "--nodes", "4", "--output", "jobs.csv"), "jobs.csv"),
        (("schedule", "jobs.csv", "--nodes", "4", "--deadline", "60"), "belong together"),
        (("schedule", "jobs.csv"), "--nodes"),
        (("simulate", "poisson", "--curves", "jobs.csv", "--nodes", "4", "--policy", "luck"), "--policy luck: unknown"),
        (("simulate", "poisson", "--curves", "jobs.csv", "--nodes", "4", "--policy", "best,best"), "named twice"),
        (("simulate", "none.csv", "--curves", "jobs.csv", "--nodes", "4"), "none.csv"),
        (("simulate", "poisson", "--curves", "jobs.csv", "--nodes", "4", "--load", "-1"), "load"),
        (("simulate", "poisson", "--curves", "jobs.csv", "--nodes", "4", "--arrivals", "0"), "arrival"),
        (("simulate", "poisson", "--curves", "jobs.csv", "--nodes", "4", "--noise", "1"), "--noise must be"),
    ],
)
def test_wrong_use_is_one_line_and_exit_code_2(jobs: Path, arguments: tuple[str, ...], told: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "layerbench", *arguments], capture_output=True, text=True, check=False, cwd=jobs.parent
    )
    assert ended.returncode == 2
    (line,) = ended.stderr.splitlines()
    assert line.startswith("layerbench: ")
    assert told in line
    assert jobs.read_text() == JOBS
