from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from layerbench import processes
from layerbench.errors import LayerbenchError, StoreError
from layerbench.processes import MOST_TASKS, in_processes
from tests.values import HEEDING


def meet(folder: Path, name: str, others: int) -> int:
    """Wait until as many tasks are here, each in a process of its own; the process."""
    (folder / name).touch()
    until = time.monotonic() + 60
    while len(list(folder.iterdir())) < others and time.monotonic() < until:
        time.sleep(0.005)
    return os.getpid()


def test_tasks_are_done_by_as_many_processes_as_asked_for_and_results_come_in_order(tmp_path: Path) -> None:
    # The first three wait for one another, so that each is in a process of its own.
    tasks: list[Callable[[], int]] = [partial(meet, tmp_path, str(number), 3) for number in range(3)]
    tasks += [lambda number=number: -number for number in range(3, 20)]  # type: ignore[misc]
    found = in_processes(tasks, 3)
    assert len(set(found[:3])) == 3
    assert os.getpid() in found
    assert found[3:] == [-number for number in range(3, 20)]


@pytest.mark.parametrize(("most", "count"), [(1, 3), (4, 1)])
def test_one_process_or_one_task_is_done_here(most: int, count: int) -> None:
    assert in_processes([os.getpid] * count, most) == [os.getpid()] * count


def test_nothing_to_do_is_done() -> None:
    assert in_processes([]) == []


def test_more_tasks_than_a_byte_numbers_are_refused() -> None:
    assert in_processes([lambda: 1] * MOST_TASKS, 2) == [1] * MOST_TASKS
    with pytest.raises(ValueError, match="at most 256 tasks, not 257"):
        in_processes([lambda: 1] * (MOST_TASKS + 1), 2)


def test_a_copy_has_what_its_parent_had_and_a_task_need_not_pickle() -> None:
    large = {"of": list(range(1000))}
    assert in_processes([lambda: sum(large["of"]), lambda: len(large["of"])], 2) == [499500, 1000]


def elsewhere(folder: Path, action: Callable[[], Any]) -> list[Callable[[], Any]]:
    """Two tasks: this process waits until the other has come, which does something."""
    parent = os.getpid()

    def task() -> Any:
        meet(folder, str(os.getpid()), 2)
        return None if os.getpid() == parent else action()

    return [task, task]


class Odd(Exception):
    """One that pickles and cannot be made again."""

    def __init__(self, one: str, two: str) -> None:
        super().__init__(f"{one} and {two}")


def raise_(error: Exception) -> Callable[[], None]:
    def raise_it() -> None:
        raise error

    return raise_it


@pytest.mark.parametrize("error", [StoreError("it cannot be read"), OSError(28, "No space", "a file")], ids=str)
def test_an_error_elsewhere_is_raised_here_as_it_was(tmp_path: Path, error: Exception) -> None:
    with pytest.raises(type(error)) as raised:
        in_processes(elsewhere(tmp_path, raise_(error)), 2)
    assert str(raised.value) == str(error)
    assert "raise_it" in "".join(raised.value.__notes__)


def test_an_error_that_does_not_survive_the_way_is_told(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="Odd: 1 and 2"):
        in_processes(elsewhere(tmp_path, raise_(Odd("1", "2"))), 2)


def test_a_result_that_does_not_pickle_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="pickle"):
        in_processes(elsewhere(tmp_path, lambda: lambda: None), 2)


def test_a_killed_process_is_told_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(LayerbenchError, match="was killed: was there enough memory") as raised:
        in_processes(elsewhere(tmp_path, lambda: os.kill(os.getpid(), signal.SIGKILL)), 2)
    assert "\n" not in str(raised.value)


def test_an_error_here_ends_the_others_at_once(tmp_path: Path) -> None:
    parent = os.getpid()

    def task() -> None:
        meet(tmp_path, str(os.getpid()), 2)
        if os.getpid() == parent:
            raise StoreError("here")
        time.sleep(600)

    begin = time.monotonic()
    with pytest.raises(StoreError, match="here"):
        in_processes([task, task], 2)
    assert time.monotonic() - begin < 60
    copy = next(int(path.name) for path in tmp_path.iterdir() if path.name != str(parent))
    assert not runs(copy)


def test_where_the_system_gives_no_process_all_is_done_here(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> int:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(os, "fork", refuse)
    assert in_processes([os.getpid] * 5, 4) == [os.getpid()] * 5


WORK = """
import os, time
from pathlib import Path
from layerbench.guard import signals_raise
from layerbench.processes import MOST_TASKS, in_processes
def work():
    Path(FOLDER, str(os.getpid())).touch()
    time.sleep(600 if os.getpid() == parent else LONG)
parent = os.getpid()
with signals_raise():
    in_processes([work, work], 2)
"""


def started(folder: Path, long: float) -> tuple[subprocess.Popen[bytes], int]:
    """A process that works with a copy, and the copy's number."""
    code = WORK.replace("FOLDER", repr(str(folder))).replace("LONG", str(long))
    parent = subprocess.Popen([sys.executable, "-c", HEEDING + code], stderr=subprocess.DEVNULL)
    until = time.monotonic() + 60
    while len(list(folder.iterdir())) < 2 and time.monotonic() < until:
        time.sleep(0.02)
    (copy,) = {int(path.name) for path in folder.iterdir()} - {parent.pid}
    return parent, copy


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_all_at_once(tmp_path: Path, number: signal.Signals) -> None:
    parent, copy = started(tmp_path, 600)
    # A copy heeds none itself: it is ended by its parent.
    os.kill(copy, number)
    parent.send_signal(number)
    parent.send_signal(number)
    try:
        assert parent.wait(60) != 0
    finally:
        parent.kill()
    assert not runs(copy)


def test_no_copy_outlives_a_parent_that_was_killed(tmp_path: Path) -> None:
    parent, copy = started(tmp_path, 1)
    parent.kill()
    parent.wait()
    until = time.monotonic() + 60
    while runs(copy) and time.monotonic() < until:
        time.sleep(0.02)
    assert not runs(copy)


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
