"""What the commands say: hints that can be typed, and silence told apart from refusal."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from layerbench.batch import submission as submissions
from tests.batch.conftest import SOON, Site, call
from tests.conftest import assert_one_line

ARGUMENTS = ("--nodes", "1,2", "--walltime", "00:30:00", "--account", "abc")


def test_a_scheduler_that_cannot_be_reached_has_not_refused(any_site: tuple[Site, str]) -> None:
    site, family = any_site
    site.set("down")
    done = site.submit(family, *ARGUMENTS, "--output", "run")
    (job,) = submissions.load(site.folder / "run").jobs
    assert_one_line(done, f"{family} cannot be reached: ", f"whether it took {job.name}, layerbench jobs finds out")
    assert "refused it" not in done.stderr
    assert len(done.stderr) < 250
    assert job.id == ""
    site.unset("down")
    assert site.submit(family, *ARGUMENTS, "--output", "run").returncode == 0
    assert site("collect", "run", *SOON).returncode == 0


@pytest.mark.parametrize("name", ["-foo", "new\nline", "two words"])
def test_what_is_to_be_typed_next_works_whatever_the_folder_is_called(name: str, torque_site: Site) -> None:
    site = torque_site
    done = site.submit("torque", *ARGUMENTS, "--output", name)
    assert done.returncode == 0, done.stderr
    hint = done.stdout.splitlines()[-1].rpartition("layerbench ")[2]
    # bash reads what shlex does not: $'...' of control characters.
    words = shlex.split(hint) if "$'" not in hint else ["collect", name]
    assert words[0] == "collect"
    assert site(*words, *SOON).returncode == 0
    over = site("submit", "--resume", name)
    assert_one_line(over, "nothing is missing", "layerbench report ", code=0)


def test_a_dry_run_of_what_is_complete_prints_no_script(torque_site: Site) -> None:
    site = torque_site
    assert site.submit("torque", *ARGUMENTS, "--output", "run").returncode == 0
    assert site("collect", *SOON).returncode == 0
    over = site("submit", "--resume", "run", "--dry-run")
    assert (over.returncode, over.stdout) == (0, "")


def test_a_dry_run_says_that_names_are_new_each_time(tmp_path: Path) -> None:
    done = call("submit", "--system", "slurm", "--dry-run", "--walltime", "00:01:00", cwd=tmp_path)
    assert done.returncode == 0
    assert "new each time" in done.stderr
