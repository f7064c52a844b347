from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from layerbench import processes
from layerbench.errors import LayerbenchError, StoreError
from layerbench.processes import in_processes


def value_and_process(value: int, seconds: float = 0.0) -> tuple[int, int]:
    time.sleep(seconds)
    return value, os.getpid()


def test_results_come_in_the_tasks_order_from_as_many_processes_as_asked_for() -> None:
    tasks = [partial(value_and_process, value, 0.2 if value == 0 else 0.01) for value in range(6)]
    found = in_processes(tasks, 2)
    assert [value for value, _ in found] == list(range(6))
    workers = {process for _, process in found}
    assert len(workers) == 2
    assert os.getpid() not in workers


@pytest.mark.parametrize(("most", "count"), [(1, 3), (4, 1)])
def test_one_process_or_one_task_is_done_here(most: int, count: int) -> None:
    found = in_processes([partial(value_and_process, value) for value in range(count)], most)
    assert found == [(value, os.getpid()) for value in range(count)]


def test_nothing_to_do_is_done() -> None:
    assert in_processes([]) == []


def test_a_copy_has_what_its_parent_had_and_a_task_need_not_pickle() -> None:
    large = {"of": list(range(1000))}
    assert in_processes([lambda: sum(large["of"]), lambda: len(large["of"])], 2) == [499500, 1000]


def test_the_first_failure_is_raised_as_it_was() -> None:
    def refuse(name: str) -> None:
        raise StoreError(f"{name} cannot be read")

    with pytest.raises(StoreError, match="second cannot be read"):
        in_processes([lambda: None, lambda: refuse("second"), lambda: refuse("third")], 2)


def test_a_killed_process_is_told_in_one_line() -> None:
    with pytest.raises(LayerbenchError, match="was killed: was there enough memory") as raised:
        in_processes([lambda: os.kill(os.getpid(), signal.SIGKILL), lambda: time.sleep(0.01)], 2)
    assert "\n" not in str(raised.value)


def test_no_copy_outlives_a_parent_that_was_killed(tmp_path: Path) -> None:
    code = f"""
import os, time
from pathlib import Path
from layerbench.processes import in_processes
def work():
    Path({str(tmp_path)!r}, str(os.getpid())).touch()
    time.sleep(60)
in_processes([work, work], 2)
"""
    parent = subprocess.Popen([sys.executable, "-c", code])
    until = time.monotonic() + 30
    while len(list(tmp_path.iterdir())) < 2 and time.monotonic() < until:
        time.sleep(0.02)
    copies = [int(path.name) for path in tmp_path.iterdir()]
    assert len(copies) == 2
    parent.kill()
    parent.wait()
    while any(map(runs, copies)) and time.monotonic() < until:
        time.sleep(0.02)
    assert not any(map(runs, copies))


def runs(process: int) -> bool:
    """Whether there is such a process, and it has not ended."""
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


@pytest.mark.parametrize(("quota", "expected"), [(None, 4), (1.5, 2), (0.2, 1), (64.0, 4)])
def test_cores_are_those_allowed(monkeypatch: pytest.MonkeyPatch, quota: float | None, expected: int) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3})
    monkeypatch.setattr(processes, "cpu_quota", lambda: quota)
    assert processes.cores() == expected
