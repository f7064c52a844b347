"""Submitting, against schedulers that check what they are given and can refuse, dawdle, babble or be down."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from layerbench import store
from layerbench.batch import submission as submissions
from tests.batch.conftest import SOON, Site, call, make_site
from tests.conftest import assert_one_line, until

ARGUMENTS = ("--nodes", "1,2,4", "--walltime", "00:30:00", "--account", "abc")


def test_the_whole_way_on_every_scheduler(any_site: tuple[Site, str]) -> None:
    site, family = any_site
    done = site.submit(family, *ARGUMENTS, "--filter", "fc*", "--output", "run")
    assert done.returncode == 0, done.stderr
    collected = site("collect", *SOON)
    assert collected.returncode == 0, collected.stderr
    assert {record.nodes for record in store.load(site.folder / "run").records} == {1, 2, 4}
    assert [launch["nodes"] for launch in site.lines("launches.jsonl")] == [1, 2, 4]
    assert {launch["threads"] for launch in site.lines("launches.jsonl")} == {7 if family == "lsf" else 16}
    (job,) = site.jobs()
    assert (job["state"], job["exit_code"], job["run"]) == ("done", 0, "run")


def test_an_array_has_a_job_for_each_count_small_ones_first(any_site: tuple[Site, str]) -> None:
    site, family = any_site
    done = site.submit(family, *ARGUMENTS, "--array", "--output", "run")
    assert done.returncode == 0, done.stderr
    assert [job["nodes"] for job in site.jobs()] == [[1], [2], [4]]
    with_allocations = json.loads((site.state / "jobs.json").read_text())
    assert [job["allocation"]["nodes"] for job in with_allocations] == [1, 2, 4]
    collected = site("collect", *SOON)
    assert collected.returncode == 0, collected.stderr
    run = store.load(site.folder / "run")
    assert run.manifest.options.nodes == [1, 2, 4]
    assert {record.nodes for record in run.records} == {1, 2, 4}


def test_a_cancelled_job_is_gone_on_with(any_site: tuple[Site, str]) -> None:
    site, family = any_site
    site.set("run", '{"stop_before": 4}')
    assert site.submit(family, *ARGUMENTS, "--output", "run").returncode == 0
    until(lambda: len(site.lines("launches.jsonl")) == 2, "two counts are measured")
    assert site.jobs()[0]["state"] == "running"
    refused = site("submit", "--resume", "run")
    assert_one_line(refused, "is running", "layerbench cancel")
    assert site("cancel", site.jobs()[0]["id"]).returncode == 0
    collected = site("collect", *SOON)
    assert collected.returncode == 143, collected.stderr
    assert site.jobs()[0]["state"] == "cancelled"

    site.unset("run")
    again = site("submit", "--resume", "run", "--walltime", "00:10:00")
    assert again.returncode == 0, again.stderr
    assert site("collect", *SOON).returncode == 0
    first, second = site.lines("runs.jsonl")
    assert "--resume" not in first["words"]
    assert "--resume" in second["words"]
    assert [launch["nodes"] for launch in site.lines("launches.jsonl")] == [1, 2, 4]
    assert {record.nodes for record in store.load(site.folder / "run").records} == {1, 2, 4}
    assert_one_line(site("submit", "--resume", "run"), "nothing is missing", "layerbench report run", code=0)
    assert len(site.jobs()) == 2


def test_a_job_that_waits_can_be_cancelled(any_site: tuple[Site, str]) -> None:
    site, family = any_site
    site.set("hold")
    assert site.submit(family, *ARGUMENTS, "--output", "run").returncode == 0
    assert site.jobs()[0]["state"] == "pending"
    assert site("cancel", "run").returncode == 0
    site.unset("hold")
    until(lambda: site.jobs()[0]["state"] == "cancelled", "it is cancelled")
    assert site.lines("runs.jsonl") == []
    again = site("cancel", "run")
    assert again.returncode == 0
    assert "over already" in again.stdout


def test_a_refusal_is_shown_and_leaves_nothing(any_site: tuple[Site, str]) -> None:
    site, family = any_site
    site.set("refuse", "Invalid account or account/partition combination")
    done = site.submit(family, *ARGUMENTS, "--output", "run")
    assert_one_line(done, "refused it", "Invalid account")
    assert sorted(path.suffix for path in site.folder.iterdir()) == [".toml"] * 5
    assert site.jobs() == []


def test_of_an_array_what_was_taken_before_a_refusal_is_kept(torque_site: Site) -> None:
    site = torque_site
    site.set("hold")
    site.set("refuse after", "1")
    done = site.submit("torque", *ARGUMENTS, "--array", "--output", "run")
    assert_one_line(done, "refused it", "submitted before: lb-n1-")
    assert [job["nodes"] for job in site.jobs()] == [[1]]
    site.unset("refuse after")
    site.unset("hold")
    until(lambda: site.jobs()[0]["state"] == "done", "the first job is done")
    incomplete = site("collect", "run", *SOON)
    assert incomplete.returncode == 1
    assert "nothing was submitted for 2 nodes" in incomplete.stderr
    assert site("submit", "--resume", "run").returncode == 0
    assert site("collect", "run", *SOON).returncode == 0
    assert [job["nodes"] for job in site.jobs()] == [[1], [2], [4]]
    assert {record.nodes for record in store.load(site.folder / "run").records} == {1, 2, 4}


def test_a_missing_scheduler_is_named_with_what_to_do(torque_site: Site) -> None:
    done = torque_site.submit("lsf", *ARGUMENTS, "--output", "run")
    assert_one_line(done, "bsub was not found", "--system")
    assert not (torque_site.folder / "run").exists()


def test_an_answer_that_is_no_id_is_not_the_end(any_site: tuple[Site, str]) -> None:
    site, family = any_site
    site.set("garbage", "Welcome to our machine! News: maintenance on Friday")
    done = site.submit(family, *ARGUMENTS, "--output", "run")
    assert done.returncode == 0, done.stderr
    (job,) = site.jobs()
    assert job["id"]
    assert site("collect", *SOON).returncode == 0


def test_a_slow_scheduler_is_not_waited_for_for_ever(torque_site: Site) -> None:
    site = torque_site
    site.set("slow", "20")
    done = site.submit("torque", *ARGUMENTS, "--output", "run", "--scheduler-timeout", "0.5")
    assert_one_line(done, "did not answer within 0.5 s", "layerbench jobs")
    # What was about to be done is written down, and what came of it is found out later.
    (job,) = submissions.load(site.folder / "run").jobs
    assert job.id == ""
    site.unset("slow")
    assert site.jobs()[0]["state"] in ("unconfirmed", "pending", "running", "done")


def test_what_a_dead_scheduler_cannot_have_taken_can_be_forgotten(torque_site: Site) -> None:
    site = torque_site
    site.set("slow", "20")
    assert site.submit("torque", *ARGUMENTS, "--output", "run", "--scheduler-timeout", "0.5").returncode == 2
    (job,) = submissions.load(site.folder / "run").jobs
    blocked = site("submit", "--resume", "run", "--scheduler-timeout", "0.5")
    assert_one_line(blocked, "may still be there", "layerbench cancel")
    uncancelled = site("cancel", job.name, "--scheduler-timeout", "0.5")
    assert_one_line(uncancelled, f"layerbench cancel --forget {job.name}")
    forgotten = site("cancel", "--forget", job.name)
    assert (forgotten.returncode, forgotten.stdout) == (0, f"{job.name}: forgotten; nothing was cancelled\n")
    assert not (site.folder / "run").exists()
    site.unset("slow")
    site.set("hold")
    assert site.jobs() == []
    assert site.submit("torque", *ARGUMENTS, "--output", "run").returncode == 0
    (known,) = site.jobs()
    assert_one_line(site("cancel", "--forget", "run"), f"is job {known['id']}", "without --forget")
    assert [job["id"] for job in site.jobs()] == [known["id"]]


def test_a_crash_between_submitting_and_writing_it_down_is_mended(any_site: tuple[Site, str]) -> None:
    site, family = any_site
    site.set("hold")
    assert site.submit(family, *ARGUMENTS, "--output", "run").returncode == 0
    run = site.folder / "run"
    kept = submissions.load(run)
    (job,) = kept.jobs
    forgotten = kept.with_job(submissions.Job(name=job.name, nodes=job.nodes, run=job.run, command=[], begun=job.begun))
    submissions.save(run, forgotten)
    (seen,) = site.jobs()
    assert (seen["id"], seen["state"]) == (job.id, "pending")
    assert submissions.load(run).jobs[0].id == job.id


def test_a_crash_before_submitting_is_mended_too(torque_site: Site) -> None:
    site = torque_site
    site.set("hold")
    assert site.submit("torque", *ARGUMENTS, "--output", "run").returncode == 0
    assert site("cancel", "run").returncode == 0
    run = site.folder / "run"
    (job,) = submissions.load(run).jobs
    # The scheduler never heard of the next one.
    begun = "2020-01-01T00:00:00+00:00"
    lost = submissions.Job(name="lb-lost-00000000", nodes=job.nodes, run=job.run, command=[], begun=begun)
    submissions.save(run, submissions.load(run).with_job(lost))
    seen = site.jobs()[-1]
    assert seen["state"] == "failed"
    assert "never submitted" in seen["note"]
    site.unset("hold")
    assert site("submit", "--resume", "run").returncode == 0
    assert site("collect", *SOON).returncode == 0


def test_the_same_command_with_the_same_output_goes_on(torque_site: Site) -> None:
    site = torque_site
    site.set("run", '{"stop_before": 2}')
    assert site.submit("torque", *ARGUMENTS, "--output", "run").returncode == 0
    until(lambda: len(site.lines("launches.jsonl")) == 1, "a count is measured")
    assert site("cancel", "run").returncode == 0
    until(lambda: site.jobs()[0]["state"] == "cancelled", "it is over")
    site.unset("run")
    other = site.submit("torque", *ARGUMENTS, "--output", "run", "--batch", "64")
    assert_one_line(other, "options differ", "--resume")
    assert site.submit("torque", *ARGUMENTS, "--output", "run").returncode == 0
    assert site("collect", *SOON).returncode == 0
    assert [(job["state"], job["note"]) for job in site.jobs()] == [("cancelled", ""), ("done", "")]


def test_a_dry_run_prints_what_would_be_submitted_and_touches_nothing(torque_site: Site) -> None:
    site = torque_site
    before = sorted(site.folder.rglob("*"))
    done = site.submit("torque", *ARGUMENTS, "--dry-run")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("#!/bin/bash\n")
    assert done.stdout.endswith('end "$code"\n')
    assert "not submitted" in done.stderr
    assert sorted(site.folder.rglob("*")) == before
    assert not (site.state / "jobs.json").exists()


BAD = [
    (("--system", "blue-water"), ["blue-water", "did you mean 'blue-waters'"]),
    ((), ["--system is missing"]),
    (("--system", "delta"), ["--account is missing", "delta"]),
    (("--system", "lsf"), ["--walltime is missing"]),
    (("--system", "openpbs"), ["--cores-per-node is missing"]),
    (("--system", "local", "--walltime", "30m"), ["--walltime '30m'", "00:30:00"]),
    (("--system", "local", "--walltime", "00:00:00"), ["more than no time"]),
    (("--system", "delta", "--account", "a", "--walltime", "72:00:00"), ["--walltime", "48:00:00 at most"]),
    (
        ("--system", "blue-waters", "--account", "a", "--queue", "debug", "--walltime", "01:00:00"),
        ["queue debug", "00:30:00 at most"],
    ),
    (("--system", "delta", "--account", "a", "--nodes", "1,101"), ["--nodes 101", "100 nodes"]),
    (("--system", "delta", "--account", "a b"), ["--account 'a b'"]),
    (("--system", "delta", "--account", "a\n#SBATCH --uid=0"), ["--account"]),
    (("--system", "delta", "--account", "a", "--queue", "q;rm"), ["--queue 'q;rm'"]),
    (("--system", "local", "--name", "a b"), ["--name 'a b'"]),
    (("--system", "local", "--name", "$(rm)"), ["--name"]),
    (("--system", "local", "--name", "-x"), ["--name"]),
    (("--system", "local", "--suite", "alexnett"), ["alexnett", "did you mean"]),
    (("--system", "local", "--filter", "dense*"), ["dense*"]),
    (("--system", "local", "--filter", ""), ["--filter", "empty"]),
    (("--system", "local", "--nodes", "1,x"), ["'x'"]),
    (("--system", "local", "--output", ""), ["--output", "empty"]),
    (("--system", "local", "--array"), ["--array"]),
    (("--system", "local", "--launcher-args", "'open"), ["--launcher-args", "quotation"]),
    (("--system", "local", "--ranks-per-node", "0"), ["--ranks-per-node"]),
    (("--system", "delta", "--account", "a", "--ranks-per-node", "65"), ["64 cores"]),
    (("--system", "delta", "--account", "a", "--threads-per-rank", "32"), ["64 cores"]),
    (("--resume", "nowhere"), ["nowhere was not submitted"]),
    (("--resume", "nowhere", "--batch", "3"), ["--resume", "--batch"]),
    (("--system", "missing.toml"), ["missing.toml", "No such file"]),
    (("--system", "local", "--launcher", "ssh"), ["--launcher"]),
    (("--system", "slurm", "--launcher", "jsrun"), ["--launcher jsrun", "job of slurm", "srun, mpiexec, auto, none"]),
    (("--system", "local", "--launcher", "srun"), ["--launcher srun", "job of local"]),
    (("--system", "local", "--cores-per-node", "65537"), ["--cores-per-node 65537", "a node of local has"]),
    (("--system", "delta", "--account", "a", "--cores-per-node", "65"), ["--cores-per-node 65", "delta has 64"]),
    (("--system", "local", "--batch", "0"), ["--batch", "not 0"]),
    (("--system", "local", "--kernels", "nosuch"), ["--kernels nosuch", "numpy"]),
    (("--system", "local", "--kernels", "nosuch.py"), ["--kernels nosuch.py", "no such file"]),
    (("--system", "local", "--network", "nosuch"), ["nosuch"]),
    (("--system", "local", "--rel-error", "2"), ["--rel-error"]),
    (("--system", "local", "--max-time", "nan"), ["--max-time", "nan"]),
    (("--system", "local", "--seed", "-1"), ["--seed"]),
    (("--system", "local", "--suite", "\udcff.toml"), ["not UTF-8"]),
    (("--system", "local", "--kernels", "\udcff.py"), ["not UTF-8"]),
]


@pytest.mark.parametrize(("arguments", "words"), BAD, ids=[" ".join(arguments) or "nothing" for arguments, _ in BAD])
def test_what_cannot_be_is_said_before_anything_is_submitted(
    arguments: tuple[str, ...], words: list[str], tmp_path: Path
) -> None:
    assert_one_line(call("submit", *arguments, cwd=tmp_path), *words)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("seconds", ["nan", "inf", "0", "-1"])
@pytest.mark.parametrize(
    "command",
    [
        ("submit", "--system", "local", "--scheduler-timeout"),
        ("jobs", "--scheduler-timeout"),
        ("collect", "--poll"),
        ("collect", "--scheduler-timeout"),
    ],
    ids=" ".join,
)
def test_seconds_are_a_number_of_them(command: tuple[str, ...], seconds: str, tmp_path: Path) -> None:
    done = call(*command, seconds, cwd=tmp_path)
    assert done.returncode == 2
    assert f"Invalid value for '{command[-1]}'" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_of_several_scripts_each_is_announced(torque_site: Site) -> None:
    done = torque_site.submit("torque", *ARGUMENTS, "--array", "--dry-run")
    assert [line for line in done.stderr.splitlines() if "script " in line] == [
        f"layerbench: script {number} of 3:" for number in (1, 2, 3)
    ]
    assert done.stdout.count("#!/bin/bash\n") == 3


def test_a_job_without_walltime_is_remarked_on(tmp_path: Path) -> None:
    done = call("submit", "--system", "slurm", "--dry-run", cwd=tmp_path)
    assert done.returncode == 0
    assert "no --walltime" in done.stderr
    assert (
        "no --walltime"
        not in call("submit", "--system", "slurm", "--walltime", "00:01:00", "--dry-run", cwd=tmp_path).stderr
    )


def test_gpus_that_are_shared_unevenly_are_remarked_on(tmp_path: Path) -> None:
    for ranks, remarked in (("4", False), ("5", True), ("8", False)):
        done = call(
            "submit", "--system", "delta", "--account", "a", "--ranks-per-node", ranks, "--dry-run", cwd=tmp_path
        )
        assert done.returncode == 0
        assert ("5 ranks share the 4 GPUs of a node unevenly" in done.stderr) == remarked


def test_a_folder_with_something_else_in_it_is_left_alone(torque_site: Site) -> None:
    (torque_site.folder / "mine").mkdir()
    (torque_site.folder / "mine" / "thesis.tex").write_text("")
    done = torque_site.submit("torque", *ARGUMENTS, "--output", "mine")
    assert_one_line(done, "mine is not empty and holds no run")


def test_options_of_the_run_are_passed_on_as_they_were_given(torque_site: Site) -> None:
    options = ("--batch", "64", "--max-time", "1.5", "--kernels", "numpy", "--filter", "conv*,lstm")
    assert torque_site.submit("torque", *ARGUMENTS, *options, "--output", "run").returncode == 0
    assert torque_site("collect", *SOON).returncode == 0
    ((line),) = torque_site.lines("runs.jsonl")
    words = line["words"]
    for option, value in zip(options[::2], options[1::2], strict=True):
        assert words[words.index(option) + 1] == value
    assert line["folder"] == str(torque_site.folder)
    assert "--max-samples" not in words


def test_a_dry_run_of_going_on_touches_nothing_either(torque_site: Site) -> None:
    site = torque_site
    site.set("run", '{"exit_code": 1}')
    assert site.submit("torque", *ARGUMENTS, "--output", "run").returncode == 0
    until(lambda: len(list((site.folder / "run" / "batch").glob("*.exit"))) == 1, "the job ends")
    before = {path: path.read_bytes() for path in site.folder.rglob("*") if path.is_file()}
    done = site("submit", "--resume", "run", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert {path: path.read_bytes() for path in site.folder.rglob("*") if path.is_file()} == before


def test_a_folder_whose_name_is_no_text_is_refused(tmp_path: Path) -> None:
    done = call("submit", "--system", "local", "--output", "caf\udce9", cwd=tmp_path)
    assert_one_line(done, "caf\\udce9", "UTF-8")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "arguments"),
    [
        ((), "-cc none -b -- bwpy-environ --"),
        (("--launcher-args", "-S 4"), "-cc none -b -S 4 -- bwpy-environ --"),
        (("--launcher", "aprun", "--launcher-args", "-S 4"), "-cc none -b -S 4 -- bwpy-environ --"),
        (("--launcher", "mpiexec"), ""),
    ],
)
def test_launcher_arguments_stand_before_the_end_of_options_and_go_with_their_launcher(
    options: tuple[str, ...], arguments: str, tmp_path: Path
) -> None:
    dry = ("submit", "--system", "blue-waters", "--account", "A", "--dry-run", *options)
    done = call(*dry, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (f"--launcher-args '{arguments}'" in done.stdout) is bool(arguments)
    assert ("--launcher-args" in done.stdout) is bool(arguments)


def test_a_refused_submission_leaves_what_was_measured_by_hand(tmp_path: Path) -> None:
    site = make_site(tmp_path, "torque")
    measured = site.folder / "run" / "batch" / "nodes-1" / "run.json"
    measured.parent.mkdir(parents=True)
    measured.write_text("{}")
    site.set("refuse", "no such account")
    done = site.submit("torque", "--nodes", "1", "--output", "run")
    assert done.returncode == 2
    assert measured.exists()
    assert not (measured.parents[1] / "job.json").exists()
