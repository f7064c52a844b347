"""Jobs of this machine: processes that outlive who started them, and are never taken for others."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from layerbench import store
from layerbench.batch import background
from tests.batch.conftest import SOON, call, jobs_of
from tests.conftest import QUICK, until


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "lb-tried-1a2b3c4d.sh"
    path.write_text("echo started\ntrap 'echo told; exit 5' TERM\nwhile :; do sleep 0.05; done\n")
    return path


def test_it_is_started_found_and_ended(script: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "layerbench.batch.background", "start", script],
        capture_output=True,
        text=True,
        check=True,
    )
    job = done.stdout.strip()
    log = script.with_suffix(".log")
    until(lambda: log.exists() and log.read_text() == "started\n", "it starts")
    try:
        # Whoever started it is gone, and it has a session of its own.
        assert background.running(job)
        assert os.getsid(int(job.partition(".")[0])) == int(job.partition(".")[0])
        assert background.find("lb-tried-1a2b3c4d") == [job]
        assert background.find("lb-tried") == []
    finally:
        background.end(job)
    until(lambda: not background.running(job), "it ends")
    assert log.read_text() == "started\ntold\n"
    background.end(job)


def test_another_process_of_the_same_number_is_left_alone() -> None:
    with subprocess.Popen(["sleep", "60"]) as other:
        try:
            stale = f"{other.pid}.1"
            assert not background.running(stale)
            background.end(stale)
            assert other.poll() is None
        finally:
            other.kill()


def test_an_array_is_refused_and_one_job_runs_for_real(tmp_path: Path, small_suite: Path) -> None:
    options = ("--suite", small_suite, "--nodes", "1,2", "--filter", "fc", "--network", "gemini", *QUICK)
    done = call("submit", "--system", "local", *options, "--output", "run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    collected = call("collect", *SOON, cwd=tmp_path)
    assert collected.returncode == 0, collected.stderr
    assert {record.nodes for record in store.load(tmp_path / "run").records} == {1, 2}
    assert [job["state"] for job in jobs_of(tmp_path)] == ["done"]
