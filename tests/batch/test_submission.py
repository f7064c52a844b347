"""Which job is meant by a folder, a name or an id, among all that were submitted from here."""

from __future__ import annotations

import msgspec

from layerbench.batch import submission as submissions
from tests.batch.conftest import Site
from tests.conftest import assert_one_line

ARGUMENTS = ("--nodes", "1,2", "--walltime", "00:30:00", "--account", "abc")


def test_an_id_that_two_jobs_have_means_neither(torque_site: Site) -> None:
    site = torque_site
    site.set("hold")
    for run in ("first", "second"):
        assert site.submit("torque", *ARGUMENTS, "--output", run).returncode == 0
    first, second = (submissions.load(site.folder / run).jobs[0] for run in ("first", "second"))
    twin = msgspec.structs.replace(second, id=first.id)
    submissions.save(site.folder / "second", submissions.load(site.folder / "second").with_job(twin))
    told = site("cancel", first.id)
    assert_one_line(told, "several jobs have this id", f"{first.name} (first)", f"{second.name} (second)")
    assert site("cancel", first.name).returncode == 0


def test_a_damaged_run_does_not_hide_the_others(torque_site: Site) -> None:
    site = torque_site
    site.set("hold")
    for run in ("first", "second"):
        assert site.submit("torque", *ARGUMENTS, "--output", run).returncode == 0
    (job,) = submissions.load(site.folder / "second").jobs
    (site.folder / "first" / "batch" / "job.json").write_text("{")
    assert site("cancel", job.name).returncode == 0
    assert_one_line(site("cancel", "nosuch"), "nosuch: no such job", "first/batch/job.json is damaged")


def test_a_run_that_is_linked_into_runs_is_one(torque_site: Site) -> None:
    site = torque_site
    site.set("hold")
    elsewhere = site.folder / "scratch"
    assert site.submit("torque", *ARGUMENTS, "--output", elsewhere).returncode == 0
    (site.folder / "runs" / "linked").symlink_to(elsewhere)
    (job,) = site.jobs()
    assert site("cancel", job["name"]).returncode == 0
