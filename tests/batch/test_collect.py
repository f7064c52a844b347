"""Collecting: what is told of jobs that measured nothing, whose parts are damaged or elsewhere, and the exit code."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from layerbench import store
from layerbench.batch.collect import NOT_OVER, worst_of
from layerbench.batch.verdict import Verdict
from tests.batch.conftest import SOON, Site
from tests.conftest import assert_one_line, until

ARRAY = ("--nodes", "1,2", "--array", "--output", "run")


@pytest.mark.parametrize(
    ("verdicts", "code"),
    [
        ([], 0),
        ([Verdict("done", 0)], 0),
        ([Verdict("done", 0), Verdict("failed", 3), Verdict("failed", 1)], 3),
        ([Verdict("stopped", 143), Verdict("failed", 1)], 143),
        ([Verdict("stopped", 143), Verdict("pending")], NOT_OVER),
        ([Verdict("failed", 1), Verdict("unknown")], NOT_OVER),
        # What no process can end with would come out as another code, and perhaps as 0.
        ([Verdict("failed", 256)], 1),
        ([Verdict("failed", -1)], 1),
        ([Verdict("failed", 0)], 1),
    ],
)
def test_the_worst(verdicts: Sequence[Verdict], code: int) -> None:
    assert worst_of(verdicts) == code


@pytest.mark.parametrize("array", [(), ("--array",)])
def test_that_nothing_was_measured_is_said(array: tuple[str, ...], torque_site: Site) -> None:
    site = torque_site
    site.set("hold")
    assert site.submit("torque", "--nodes", "1,2", "--output", "run", *array).returncode == 0
    assert site("collect", "--no-wait").stdout == "run: nothing was measured yet\n"
    assert site("cancel", "run").returncode == 0
    collected = site("collect", *SOON)
    assert (collected.returncode, collected.stdout) == (143, "run: nothing was measured\n")
    assert "submit --resume run" in collected.stderr
    assert site("collect", "--quiet", *SOON).stdout == ""


def test_a_part_that_is_damaged_is_told_though_others_are_to_come(torque_site: Site) -> None:
    site = torque_site
    site.set("run", '{"stop_before": 2}')
    assert site.submit("torque", *ARRAY).returncode == 0
    until(lambda: [job["state"] for job in site.jobs()] == ["done", "running"], "the small one is done")
    (site.folder / "run" / "batch" / "nodes-1" / "run.json").write_text("{")
    assert_one_line(site("collect", "--no-wait"), "nodes-1/run.json")


def test_a_run_that_is_moved_is_collected_where_it_is(torque_site: Site) -> None:
    site = torque_site
    assert site.submit("torque", *ARRAY).returncode == 0
    until(lambda: {job["state"] for job in site.jobs()} == {"done"}, "both are done")
    (site.folder / "run").rename(site.folder / "kept")
    collected = site("collect", "kept", *SOON)
    assert collected.returncode == 0, collected.stderr
    assert {record.nodes for record in store.load(site.folder / "kept").records} == {1, 2}


def test_a_part_that_ended_well_elsewhere_is_no_success(torque_site: Site) -> None:
    site = torque_site
    assert site.submit("torque", *ARRAY).returncode == 0
    until(lambda: {job["state"] for job in site.jobs()} == {"done"}, "both are done")
    (site.folder / "run" / "batch" / "nodes-2" / "run.json").unlink()
    collected = site("collect", *SOON)
    assert collected.returncode == 1, collected.stderr
    assert f"{site.jobs()[1]['name']} ended well and run/batch/nodes-2 holds no run" in collected.stderr
    run = store.load(site.folder / "run")
    assert {record.nodes for record in run.records} == {1}
    assert run.manifest.outcome == "running"
