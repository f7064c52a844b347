"""Launches that end well, badly and not at all; real processes, and nothing of them is left."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from layerbench import supervise as supervision
from layerbench.assignment import Event, JournalFailed, Progressed, Recorded, Started
from layerbench.errors import LaunchError
from layerbench.supervise import Ending, supervise

SAY = """
import os, signal, subprocess, sys, time
from pathlib import Path
from layerbench.assignment import JournalFailed, Progressed, Recorded, Started, line_of

def say(event):
    # In one write: print has a second one for the end of the line, and another rank's may come between.
    sys.stdout.write(line_of(event) + "\\n")
    sys.stdout.flush()

def sleeper(**how):
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], **how)
    with Path(sys.argv[1]).open("a") as file:
        file.write(f"{child.pid}\\n")
    return child
"""


class Launches:
    """Runs small programs under watch and knows the processes they started."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "launch.log"
        self.pids = folder / "pids"
        self.events: list[Event] = []

    def run(self, program: str, timeout: float = 30.0) -> Ending:
        script = self.folder / "program.py"
        script.write_text(SAY + program)
        command = [sys.executable, str(script), str(self.pids)]
        return supervise(command, os.environ, self.log, timeout, self.events.append)

    def children(self) -> list[int]:
        return [int(line) for line in self.pids.read_text().split()]

    def assert_nothing_left(self, started: int) -> None:
        pids = self.children()
        assert len(pids) == started
        assert [pid for pid in pids if alive(pid)] == []


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.fixture
def launches(tmp_path: Path) -> Iterator[Launches]:
    made = Launches(tmp_path)
    yield made
    for pid in made.children() if made.pids.exists() else []:
        if alive(pid):
            os.kill(pid, signal.SIGKILL)


def test_a_launch_that_ends_well(launches: Launches) -> None:
    ending = launches.run(
        """
say(Started(2))
say(Progressed("conv: 3 samples"))
say(Recorded("conv", 5, 0, 0, 1))
"""
    )
    assert ending == Ending(0, "", "")
    assert ending.ok
    assert launches.events == [Started(2), Progressed("conv: 3 samples"), Recorded("conv", 5, 0, 0, 1)]


def test_an_exit_code_comes_with_the_end_of_its_log(launches: Launches) -> None:
    ending = launches.run(
        """
for number in range(100):
    print(f"line {number}", file=sys.stderr)
print("=" * 70, file=sys.stderr)
sys.exit(3)
"""
    )
    assert not ending.ok
    assert ending.exit_code == 3
    assert ending.reason == "the launch ended with exit code 3"
    assert ending.tail.splitlines()[-1] == "line 99", "a launcher's frame of ==== says nothing"
    assert len(ending.tail.splitlines()) == 12
    assert launches.log.read_text().startswith("line 0\n")


def test_a_long_log_line_is_cut(launches: Launches) -> None:
    ending = launches.run("sys.stderr.write('x' * 100_000 + 'the end'); sys.exit(1)")
    assert len(ending.tail) == 2000
    assert ending.tail.endswith("the end")


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("os.kill(os.getpid(), signal.SIGKILL)", "SIGKILL (out of memory, if nobody sent it)"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", "SIGSEGV"),
        ("os.abort()", "SIGABRT"),
        ("sys.exit(128 + 15)", "SIGTERM"),  # as a shell reports it
        ("sys.exit(9)", "SIGKILL (out of memory, if nobody sent it)"),  # as MPICH reports it
    ],
)
def test_a_deadly_signal_is_named(launches: Launches, program: str, reason: str) -> None:
    assert launches.run(program).reason == f"a rank was ended by {reason}"


def test_a_hang_is_ended_within_the_timeout(launches: Launches) -> None:
    begin = time.monotonic()
    ending = launches.run("say(Started(1)); sleeper(); time.sleep(600)", timeout=1.0)
    assert 1.0 <= time.monotonic() - begin < 1.0 + supervision.GRACE + 3
    assert ending.reason == "no rank made progress for 1 s, so the launch was ended (--timeout)"
    launches.assert_nothing_left(1)


def test_progress_keeps_a_launch_alive_beyond_its_timeout(launches: Launches) -> None:
    ending = launches.run(
        """
say(Started(1))
for number in range(8):
    time.sleep(0.2)
    say(Progressed(str(number)))
""",
        timeout=1.0,
    )
    assert ending.ok
    assert len(launches.events) == 9


def test_printing_without_end_is_no_progress(launches: Launches) -> None:
    begin = time.monotonic()
    ending = launches.run(
        """
say(Started(1))
while True:
    print("a library that will not stop warning", flush=True)
    time.sleep(0.001)
""",
        timeout=1.0,
    )
    assert "no rank made progress" in ending.reason
    assert time.monotonic() - begin < 10


def test_ranks_that_do_not_find_each_other_have_their_own_time(
    launches: Launches, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervision, "START_TIMEOUT", 1.0)
    begin = time.monotonic()
    ending = launches.run("time.sleep(600)", timeout=0.1)
    assert time.monotonic() - begin >= 1.0
    assert ending.reason == "the ranks did not find each other for 1 s, so the launch was ended (--timeout)"


def test_who_closes_its_output_and_goes_on_is_ended(launches: Launches, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervision, "GRACE", 0.5)
    ending = launches.run("say(Started(1)); os.close(1); time.sleep(600)", timeout=0.5)
    assert ending.reason == "the ranks ended and their launcher did not for 0.5 s"


def test_who_ignores_being_asked_is_killed(launches: Launches, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervision, "GRACE", 0.5)
    ending = launches.run(
        "signal.signal(signal.SIGTERM, signal.SIG_IGN); say(Started(1)); time.sleep(600)", timeout=0.5
    )
    assert ending.exit_code == -signal.SIGKILL
    assert "no rank made progress" in ending.reason


@pytest.mark.parametrize(
    "how",
    ["", "process_group=0", "start_new_session=True"],
    ids=["in the launch's group", "in a group of its own", "in a session of its own"],
)
@pytest.mark.parametrize(
    "end",
    ["", "sys.exit(1)", "os.kill(os.getpid(), signal.SIGKILL)", "time.sleep(600)"],
    ids=["ends well", "fails", "is killed", "hangs"],
)
def test_no_grandchild_is_left_however_the_launch_ends(launches: Launches, how: str, end: str) -> None:
    launches.run(f"say(Started(1)); sleeper({how}); {end}", timeout=0.5)
    launches.assert_nothing_left(1)


def test_a_stopped_grandchild_is_killed_too(launches: Launches) -> None:
    ending = launches.run(
        """
say(Started(2))
for how in ({}, {"start_new_session": True}):
    os.kill(sleeper(**how).pid, signal.SIGSTOP)
time.sleep(600)
""",
        timeout=0.5,
    )
    assert "no rank made progress" in ending.reason
    launches.assert_nothing_left(2)


def test_a_stopped_launcher_is_killed_too(launches: Launches, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervision, "GRACE", 0.5)
    ending = launches.run("say(Started(1)); sleeper(); os.kill(os.getpid(), signal.SIGSTOP)", timeout=0.5)
    assert ending.exit_code == -signal.SIGKILL
    launches.assert_nothing_left(1)


def test_a_great_grandchild_whose_parents_are_gone_is_found(launches: Launches) -> None:
    launches.run(
        """
say(Started(1))
if os.fork() == 0:
    os.setsid()
    sleeper(stdout=subprocess.DEVNULL)
    os._exit(0)
os.wait()
"""
    )
    launches.assert_nothing_left(1)


@pytest.mark.mpi
def test_stopped_ranks_of_a_killed_mpiexec_are_found(launches: Launches, mpiexec: str) -> None:
    script = launches.folder / "program.py"
    script.write_text(SAY + "sleeper(start_new_session=True); say(Started(2)); time.sleep(600)")
    ranks: list[psutil.Process] = []

    def listen(event: Event) -> None:
        launches.events.append(event)
        if len(launches.events) < 2:
            return
        family = psutil.Process().children(recursive=True)
        ranks.extend(process for process in family if str(script) in process.cmdline()[1:2])
        for rank in ranks:
            rank.suspend()
        for process in family:
            if process.name().startswith(("mpiexec", "hydra")):
                process.kill()

    command = [mpiexec, "-n", "2", sys.executable, str(script), str(launches.pids)]
    ending = supervise(command, os.environ, launches.log, 2.0, listen)
    assert "SIGKILL" in ending.reason
    assert len(ranks) == 2
    assert [rank.pid for rank in ranks if alive(rank.pid)] == []
    launches.assert_nothing_left(2)


def test_strangers_are_left_alone(launches: Launches) -> None:
    stranger = psutil.Popen([sys.executable, "-c", "import time; time.sleep(60)"], process_group=0)
    try:
        launches.run("say(Started(1)); time.sleep(600)", timeout=0.5)
        assert stranger.is_running()
    finally:
        stranger.kill()
        stranger.wait()


def test_what_is_no_event_goes_to_the_log(launches: Launches) -> None:
    ending = launches.run(
        r"""
out = sys.stdout.buffer
out.write(b"hello\n\xff\xfe\x00\n")
out.write(b"@layerbench {damaged\n")
out.write(b"@layerbench \n")
out.flush()
say(Started(1))
out.write(b"no end of line")
out.flush()
"""
    )
    assert ending.ok
    assert launches.events == [Started(1)]
    assert launches.log.read_bytes() == b"hello\n\xff\xfe\x00\n@layerbench {damaged\n@layerbench \nno end of line\n"


def test_an_event_in_pieces_or_without_its_end_is_understood(launches: Launches) -> None:
    launches.run(
        """
text = line_of(Progressed("in pieces")) + "\\n" + line_of(Progressed("the last"))
for character in text:
    sys.stdout.write(character)
    sys.stdout.flush()
"""
    )
    assert launches.events == [Progressed("in pieces"), Progressed("the last")]


def test_a_line_without_end_is_not_kept_in_memory(launches: Launches, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervision, "LONGEST_LINE", 1000)
    ending = launches.run("sys.stdout.write('x' * 300_000); print(); say(Started(1))")
    assert ending.ok
    assert launches.events == [Started(1)]
    assert launches.log.read_text().count("x") == 300_000
    assert launches.log.read_text().count("\n") > 1


def test_a_journal_that_failed_is_reported_and_fails_the_launch(launches: Launches) -> None:
    ending = launches.run("say(Started(1)); say(JournalFailed('no space left'))")
    assert ending.journal_failed == "no space left"
    assert not ending.ok
    assert launches.events[-1] == JournalFailed("no space left")


def test_a_launcher_that_does_not_exist(launches: Launches) -> None:
    with pytest.raises(LaunchError) as caught:
        supervise(["/no/such/mpiexec", "-n", "2"], os.environ, launches.log, 1.0, launches.events.append)
    assert str(caught.value) == "/no/such/mpiexec cannot be started: No such file or directory"


def test_a_launcher_that_may_not_be_run(launches: Launches) -> None:
    program = launches.folder / "mpiexec"
    program.write_text("no program")
    with pytest.raises(LaunchError, match="mpiexec cannot be started: Permission denied"):
        supervise([str(program)], os.environ, launches.log, 1.0, launches.events.append)


def test_a_log_that_cannot_be_written(launches: Launches) -> None:
    with pytest.raises(LaunchError, match="cannot be written: Is a directory"):
        supervise([sys.executable, "-c", ""], os.environ, launches.folder, 1.0, launches.events.append)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), BrokenPipeError(), RuntimeError("a defect")])
def test_what_interrupts_the_listener_ends_the_launch_and_goes_on_as_it_was(
    launches: Launches, error: BaseException
) -> None:
    script = launches.folder / "program.py"
    script.write_text(SAY + "sleeper(start_new_session=True); say(Started(1)); time.sleep(600)")

    def listen(_: Event) -> None:
        raise error

    with pytest.raises(type(error)) as caught:
        supervise([sys.executable, str(script), str(launches.pids)], os.environ, launches.log, 30.0, listen)
    assert caught.value is error
    launches.assert_nothing_left(1)


def test_the_environment_is_what_was_given(launches: Launches) -> None:
    script = launches.folder / "program.py"
    script.write_text(SAY + "say(Progressed(os.environ['COLOUR']))")
    environment = {**os.environ, "COLOUR": "green"}
    supervise(
        [sys.executable, str(script), str(launches.pids)], environment, launches.log, 30.0, launches.events.append
    )
    assert launches.events == [Progressed("green")]
    assert supervision.MARK not in os.environ


def test_supervising_leaves_no_thread_and_no_open_file(launches: Launches) -> None:
    launches.run("say(Started(1))")
    before = (threading.active_count(), len(os.listdir("/proc/self/fd")))  # noqa: PTH208
    for _ in range(3):
        launches.run("say(Started(1))")
    assert (threading.active_count(), len(os.listdir("/proc/self/fd"))) == before  # noqa: PTH208
