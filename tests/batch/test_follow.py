"""Following and collecting where things go wrong: schedulers that fall silent or forget, nodes that die."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import msgspec
import pytest

from layerbench import store
from layerbench.batch import submission as submissions
from layerbench.batch.follow import LONGEST_INTERVAL, Look, look, update, wait
from layerbench.batch.status import Status
from layerbench.batch.submission import Job
from layerbench.batch.verdict import Verdict
from layerbench.errors import NoAnswerError
from tests.batch.conftest import SOON, Site, call, make_site
from tests.batch.rendered import submission
from tests.conftest import assert_one_line, until

ARGUMENTS = ("--nodes", "1,2", "--output", "run")


def test_a_scheduler_that_is_down_is_asked_again_and_never_called_a_failure(any_site: tuple[Site, str]) -> None:
    site, family = any_site
    site.set("hold")
    assert site.submit(family, *ARGUMENTS).returncode == 0
    assert site.jobs()[0]["state"] == "pending"
    site.set("down")
    down = site("jobs")
    assert down.returncode == 0, down.stderr
    assert "pending" in down.stdout
    assert "does not answer" in down.stderr
    # It is up again, and the job runs, once the command that waits for it has seen that it is down.
    told = []
    with subprocess.Popen(
        [sys.executable, "-m", "layerbench", "collect", "--timeout", "60", *SOON],
        cwd=site.folder,
        env=site.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as collecting:
        assert collecting.stderr is not None
        for line in collecting.stderr:
            told.append(line)
            if "it is asked again" in line:
                site.unset("down")
                site.unset("hold")
    assert collecting.returncode == 0, told
    assert any("it is asked again" in line for line in told), told
    assert any("answers again" in line for line in told), told
    assert not any("failed" in line for line in told), told


def test_what_a_scheduler_complains_of_is_told_once_for_all_jobs(torque_site: Site) -> None:
    site = torque_site
    site.set("hold")
    assert site.submit("torque", *ARGUMENTS, "--array").returncode == 0
    assert site.submit("torque", "--nodes", "1", "--output", "other").returncode == 0
    site.set("down")
    seen = site("jobs")
    assert_one_line(seen, "does not answer", "Connection refused", code=0)
    assert "Connection refused" not in seen.stdout
    assert all(len(job["note"]) < 40 for job in site.jobs())


def test_nonsense_in_the_place_of_a_state_is_asked_again_too(any_site: tuple[Site, str]) -> None:
    site, family = any_site
    site.set("hold")
    assert site.submit(family, *ARGUMENTS).returncode == 0
    site.set("babble", "<html>502 Bad Gateway</html>")
    seen = site("jobs")
    assert "502 Bad Gateway" in seen.stderr
    assert "failed" not in seen.stdout
    site.unset("babble")
    site.unset("hold")
    assert site("collect", *SOON).returncode == 0


def test_a_scheduler_that_forgets_leaves_the_exit_code(any_site: tuple[Site, str]) -> None:
    site, family = any_site
    site.set("forget")
    site.set("run", '{"exit_code": 1}')
    assert site.submit(family, *ARGUMENTS).returncode == 0
    collected = site("collect", *SOON)
    assert collected.returncode == 1, collected.stderr
    assert "some records failed" in collected.stderr


def test_a_node_that_dies_is_no_success_and_the_run_can_be_gone_on_with(torque_site: Site) -> None:
    site = torque_site
    site.set("run", '{"stop_before": 2}')
    assert site.submit("torque", *ARGUMENTS).returncode == 0
    until(lambda: len(site.lines("launches.jsonl")) == 1, "a count is measured")
    site.set("kill")
    collected = site("collect", *SOON)
    assert collected.returncode == 137, collected.stderr
    assert "submit --resume run" in collected.stderr
    site.unset("kill")
    site.unset("run")
    assert site("submit", "--resume", "run").returncode == 0
    assert site("collect", *SOON).returncode == 0
    assert {record.nodes for record in store.load(site.folder / "run").records} == {1, 2}


def _hidden(site: Site, path: Path) -> None:
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("hiding a folder from a job needs root and unshare")
    tried = subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False)
    if tried.returncode:
        pytest.skip("mount namespaces cannot be made here")
    site.set("hide", str(path))


@pytest.mark.root
@pytest.mark.parametrize("forgets", [False, True], ids=["known", "forgotten"])
def test_a_run_folder_that_nodes_do_not_see_is_said(torque_site: Site, forgets: bool) -> None:
    site = torque_site
    apart = site.folder / "apart"
    apart.mkdir()
    _hidden(site, apart)
    if forgets:
        site.set("forget")
    assert site.submit("torque", "--nodes", "1", "--output", "apart/run").returncode == 0
    until(lambda: '"over"' in (site.state / "jobs.json").read_text(), "the job ends")
    if forgets:
        # What is not known and has left nothing may still be on its way, at first.
        path = apart / "run" / "batch" / "job.json"
        (job,) = submissions.load(apart / "run").jobs
        path.write_text(path.read_text().replace(job.begun, "2020-01-01T00:00:00+00:00"))
    collected = site("collect", *SOON)
    assert collected.returncode == (1 if forgets else 97), collected.stderr
    assert "all nodes share" in collected.stderr
    assert site.lines("runs.jsonl") == []


def test_a_run_that_ended_well_elsewhere_is_said(torque_site: Site) -> None:
    torque_site.set("run", '{"nothing": true}')
    assert torque_site.submit("torque", *ARGUMENTS).returncode == 0
    assert_one_line(torque_site("collect", "--quiet", *SOON), "holds no run", "all nodes share")


def test_waiting_ends_when_it_is_to(torque_site: Site) -> None:
    site = torque_site
    site.set("hold")
    assert site.submit("torque", *ARGUMENTS).returncode == 0
    for how in (("--timeout", "0.5"), ("--no-wait",)):
        collected = site("collect", *how, *SOON)
        assert collected.returncode == 4, collected.stderr
        assert "pending" in collected.stderr
    site.unset("hold")
    assert site("collect", *SOON).returncode == 0


def test_what_there_is_of_an_array_is_collected_without_waiting(torque_site: Site) -> None:
    site = torque_site
    site.set("run", '{"stop_before": 2}')
    assert site.submit("torque", *ARGUMENTS, "--array").returncode == 0
    until(lambda: [job["state"] for job in site.jobs()] == ["done", "running"], "the small one is done")
    collected = site("collect", "run", "--no-wait")
    assert collected.returncode == 4
    assert {record.nodes for record in store.load(site.folder / "run").records} == {1}
    assert site("cancel", site.jobs()[1]["name"]).returncode == 0
    site.unset("run")
    assert site("collect", *SOON).returncode == 143
    assert site("submit", "--resume", "run").returncode == 0
    assert site("collect", *SOON).returncode == 0
    run = store.load(site.folder / "run")
    assert {record.nodes for record in run.records} == {1, 2}
    assert len(run.records) == len((site.folder / "run" / "records.jsonl").read_text().splitlines())


def test_the_exit_code_is_that_of_the_worst(torque_site: Site) -> None:
    site = torque_site
    site.set("run", '{"exit_code": 3}')
    assert site.submit("torque", *ARGUMENTS, "--array").returncode == 0
    until(lambda: {job["state"] for job in site.jobs()} == {"failed"}, "both fail")
    path = site.folder / "run" / "batch" / f"{site.jobs()[0]['name']}.exit"
    path.write_text("1\n")
    collected = site("collect", *SOON)
    assert collected.returncode == 3
    assert "some records failed" in collected.stderr
    assert "nothing could run" in collected.stderr
    quiet = site("collect", "--quiet", *SOON)
    for job in site.jobs():
        assert collected.stderr.count(f"{job['name']}: failed") == 1
        assert quiet.stderr.count(f"{job['name']}: failed: ") == 1


def test_jobs_are_found_by_folder_name_and_id(torque_site: Site) -> None:
    site = torque_site
    site.set("hold")
    assert site.submit("torque", "--nodes", "1").returncode == 0
    assert site.submit("torque", "--nodes", "2", "--output", "../elsewhere").returncode == 0
    first, second = site.jobs()
    assert first["run"].startswith("runs/alexnet-")
    assert second["run"] == str(site.folder.parent / "elsewhere")
    for named in (first["run"], first["name"], first["id"], first["id"].partition(".")[0]):
        seen = site("jobs", named)
        assert first["name"] in seen.stdout
        assert second["name"] not in seen.stdout
    assert_one_line(site("cancel", "lb-none"), "lb-none", "no such job", first["name"])
    assert_one_line(site("collect", "nowhere"), "nowhere", "no such job")


def test_where_nothing_was_submitted_it_is_said(tmp_path: Path) -> None:
    seen = call("jobs", cwd=tmp_path)
    assert seen.returncode == 0
    assert "nothing was submitted from here" in seen.stdout
    assert_one_line(call("collect", cwd=tmp_path), "nothing was submitted from here")
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_file_is_told_and_hides_no_other(torque_site: Site) -> None:
    site = torque_site
    site.set("hold")
    for _ in range(2):
        assert site.submit("torque", "--nodes", "1").returncode == 0
    first, second = site.jobs()
    (site.folder / first["run"] / "batch" / "job.json").write_text('{"schema_version": 1')
    seen = site("jobs")
    assert seen.returncode == 0, seen.stderr
    assert "damaged" in seen.stderr
    assert second["name"] in seen.stdout
    assert_one_line(site("collect", first["run"]), "damaged")


def test_where_the_scheduler_is_not_there_nobody_waits_for_it(torque_site: Site) -> None:
    site = torque_site
    site.set("hold")
    assert site.submit("torque", *ARGUMENTS).returncode == 0
    assert site.jobs()[0]["state"] == "pending"
    for program in ("qstat", "qselect"):
        (site.folder.parent / "bin" / program).unlink()
    assert_one_line(site("collect", "--quiet", *SOON), "qstat was not found")
    seen = site("jobs")
    assert seen.returncode == 0
    assert "pending" in seen.stdout


def test_an_openpbs_that_keeps_no_history_is_asked_in_another_way(tmp_path: Path) -> None:
    """It refuses to tell of ended jobs, and so every question that means these too: the exit code's file decides."""
    site = make_site(tmp_path, "openpbs")
    site.set("no history")
    site.set("hold")
    assert site.submit("openpbs", "--nodes", "1", "--output", "run").returncode == 0
    (job,) = site.jobs()
    assert job["state"] == "pending"
    path = site.folder / "run" / "batch" / "job.json"
    path.write_text(path.read_text().replace(f'"id": "{job["id"]}"', '"id": ""'))
    (again,) = site.jobs()
    assert again["id"] == job["id"], "a lost id is found all the same"
    site.unset("hold")
    collected = site("collect", *SOON)
    assert collected.returncode == 0, collected.stderr


@pytest.fixture
def three(tmp_path: Path) -> Path:
    """A run of three jobs that the scheduler has."""
    submissions.folder(tmp_path).mkdir()
    jobs = [
        Job(
            name=f"lb-{n}", nodes=[n], run=str(tmp_path), command=["qsub"], begun="2020-01-01T00:00:00+00:00", id=str(n)
        )
        for n in (1, 2, 3)
    ]
    submissions.save(tmp_path, msgspec.structs.replace(submission("torque"), jobs=jobs))
    return tmp_path


def test_a_scheduler_that_hangs_is_waited_for_once(three: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Sequence[str]] = []

    def hang(command: Sequence[str], *, timeout: float, **_: Any) -> NoReturn:
        asked.append(command)
        clock.sleep(timeout)
        raise NoAnswerError("qstat did not answer")

    clock = Clock([])
    monkeypatch.setattr("layerbench.batch.follow.time", clock)
    monkeypatch.setattr("layerbench.batch.follow.ask", hang)
    update(three, submissions.load(three).jobs[2], last=Status("done", 0))
    submissions.files(three, "lb-3").with_suffix(".exit").write_text("0\n")
    seen = look(three, ["lb-1", "lb-2", "lb-3"], 60)
    assert len(asked) == 1
    assert [verdict.outcome for verdict in seen.verdicts.values()] == ["unknown", "unknown", "done"]
    assert (seen.silence, seen.hopeless) == ("qstat did not answer", False)


def test_what_is_kept_of_a_job_leaves_what_others_have_kept(three: Path) -> None:
    first, second, _ = submissions.load(three).jobs
    update(three, first, cancelled=True)
    submissions.withdraw(three, [second.name])
    for job in (first, second):
        update(three, job, last=Status("running"))
    kept = submissions.load(three).jobs
    assert [job.name for job in kept] == ["lb-1", "lb-3"]
    assert (kept[0].cancelled, kept[0].last) == (True, Status("running"))


@dataclass
class Clock:
    """Stands for :mod:`time`, and passes only where somebody sleeps."""

    slept: list[float]

    def monotonic(self) -> float:
        return sum(self.slept)

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)


@pytest.mark.parametrize("certain", [True, False])
def test_one_job_that_is_done_does_not_have_the_others_asked_for_often(
    certain: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock([])
    seen = Look({"a": Verdict("done", 0, certain=certain), "b": Verdict("pending")})
    monkeypatch.setattr("layerbench.batch.follow.time", clock)
    monkeypatch.setattr("layerbench.batch.follow.look", lambda *_: seen)
    wait(tmp_path, ["a", "b"], lambda _: None, timeout=3600, lag=30)
    assert max(clock.slept) == LONGEST_INTERVAL
    assert len(clock.slept) < 80
