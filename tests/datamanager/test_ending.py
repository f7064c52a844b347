"""How the data manager ends: leaving early, hanging stages, and data managers that nobody closes."""

from __future__ import annotations

import gc
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from layerbench.datamanager.manager import DataManager
from layerbench.datamanager.source import Piece
from layerbench.errors import DataError, UsageError
from tests.datamanager.looped import ended
from tests.datamanager.made import Made, Tiny, dawdle, workers_alive


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    gc.collect()
    assert workers_alive(before) == []


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("after", [0, 1, 5])
def test_leaving_the_loop_ends_every_thread_and_closes_the_source(workers: int, after: int) -> None:
    before = threading.active_count()
    source = Made([[1, 2, 1]] * 1000, before=dawdle(after))
    with DataManager(source, workers=workers) as batches:
        for batch in batches:
            if batch.index == after:
                break
        assert threading.active_count() == before, "the loop is left for good"
        assert source.closed == 1
    assert source.planned <= after + 4


def test_an_error_of_the_loop_is_its_own() -> None:
    source = Made([[1]] * 100)
    _, error = ended(DataManager(source), lambda batch: 1 // (3 - batch.index), ZeroDivisionError)
    assert not hasattr(error, "__notes__")
    assert source.closed == 1


def test_one_that_is_entered_and_not_iterated_over_ends_too() -> None:
    source = Made([[1]] * 100)
    with DataManager(source):
        pass
    assert source.closed == 1


def test_closing_twice_is_closing_once() -> None:
    source = Made([[1]] * 100)
    batches = DataManager(source)
    next(iter(batches))
    batches.close()
    batches.close()
    assert source.closed == 1
    with pytest.raises(UsageError, match="this data manager is closed"), batches:
        pass
    unused = DataManager(source)
    unused.close()
    assert source.closed == 2
    with pytest.raises(UsageError, match="this data manager is closed"):
        iter(unused)


def test_closing_wakes_a_consumer_that_waits() -> None:
    held = threading.Event()
    source = Made([[1]] * 5, before=lambda stage, batch, start: None if batch < 1 else held.wait(20) and None)
    batches = DataManager(source)
    told: list[BaseException] = []

    def consume() -> None:
        try:
            for _ in batches:
                pass
        except UsageError as error:
            told.append(error)

    consumer = threading.Thread(target=consume)
    consumer.start()
    time.sleep(0.05)
    threading.Timer(0.1, held.set).start()
    batches.close()
    consumer.join(5)
    assert [str(error) for error in told] == ["the data manager was closed while it was iterated over"]


@pytest.mark.parametrize("stage", ["plan", "read", "decode", "cast"])
def test_a_stage_that_hangs_is_named(stage: str) -> None:
    before = set(threading.enumerate())
    held = threading.Event()

    def hang(at: str, batch: int, start: int) -> None:
        # One worker of two, so that whatever is before it gets by.
        if (at, batch, start) == (stage, 2, 0):
            held.wait(20)

    source = Made([[1, 1]] * 9, before=hang)
    of = "plan of the source" if stage == "plan" else rf"{stage} of 2/0\.jpg"
    begin = time.monotonic()
    seen, error = ended(DataManager(source, workers=2, timeout=0.2))
    assert re.fullmatch(
        rf"batch 2 was not ready after 200 ms: {of} \(batch 2\) has not returned for .* ms; "
        "if it is only slow, give a longer timeout",
        str(error),
    )
    assert seen == [0, 1]
    assert time.monotonic() - begin < 5, "nobody waits for what hangs"
    left = set(threading.enumerate()) - before
    assert {thread.name.partition(" ")[0] for thread in left} == {"read" if stage == "plan" else stage}
    assert all(thread.daemon for thread in left)
    assert source.closed == 0, "a stage is still using it"
    held.set()
    assert workers_alive(before) == []
    assert source.closed == 1


def test_a_batch_that_failed_beside_a_piece_that_hangs_tells_the_failure() -> None:
    held = threading.Event()

    def before(stage: str, batch: int, start: int) -> None:
        if (stage, batch, start) == ("read", 1, 0):
            held.wait(20)
        if (stage, batch, start) == ("read", 1, 1):
            raise OSError("no such disk")

    with (
        pytest.raises(DataError, match=r"read of 1/1\.jpg \(batch 1\): OSError: no such disk"),
        DataManager(Made([[1, 1]] * 3, before=before), workers=2, timeout=0.2) as batches,
    ):
        for _ in batches:
            pass
    held.set()


def test_a_slow_stage_is_no_hanging_one() -> None:
    def before(stage: str, batch: int, start: int) -> None:
        if stage == "read":
            time.sleep(0.05)

    with DataManager(Made([[1]] * 6, before=before), timeout=0.5) as batches:
        assert len(list(batches)) == 6


@pytest.mark.parametrize("begun", [False, True])
def test_one_that_is_dropped_is_collected_and_its_threads_end(begun: bool) -> None:
    before = set(threading.enumerate())
    source = Made([[1, 1]] * 1000)
    batches = DataManager(source, workers=2).__enter__()
    if begun:
        going = iter(batches)
        assert [next(going).index for _ in range(3)] == [0, 1, 2]
        del going
    del batches
    assert workers_alive(before) == []
    assert source.closed == 1


def test_one_in_a_cycle_is_collected_too() -> None:
    before = set(threading.enumerate())
    source = Made([[1, 1]] * 1000)
    cycle: list[object] = [DataManager(source).__enter__()]
    cycle.append(cycle)
    del cycle
    gc.collect()
    assert workers_alive(before) == []
    assert source.closed == 1


@pytest.mark.parametrize("with_with", [False, True])
def test_a_consumer_that_dies_leaves_no_worker(with_with: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threading, "excepthook", lambda died: None)
    before = set(threading.enumerate())
    source = Made([[1, 1]] * 1000, before=dawdle(3))

    def consume() -> None:
        if with_with:
            with DataManager(source, workers=2) as batches:
                for batch in batches:
                    assert batch.index < 5, "dies here"
        for batch in DataManager(source, workers=2):
            assert batch.index < 5, "dies here"

    consumer = threading.Thread(target=consume)
    consumer.start()
    consumer.join(10)
    assert workers_alive(before) == []
    assert source.closed == 1


def interrupted() -> None:
    """A consumer that is interrupted while it waits; in a process of its own."""
    main = threading.main_thread().ident
    assert main is not None

    def before(stage: str, batch: int, start: int) -> None:
        if (stage, batch) == ("decode", 3):
            time.sleep(0.5)
            signal.pthread_kill(main, signal.SIGINT)
            time.sleep(0.05)

    source = Made([[1]] * 100, before=before)
    seen, _ = ended(DataManager(source, depth=2), error=KeyboardInterrupt)
    assert seen == [0, 1, 2]
    assert source.closed == 1


def test_an_interrupted_wait_ends_cleanly() -> None:
    # On a busy machine the signal may come late, and must not meet whoever runs the tests.
    done = subprocess.run(
        [sys.executable, "-c", "from tests.datamanager.test_ending import interrupted; interrupted()"],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr


class Fails(Tiny):
    def close(self) -> None:
        super().close()
        raise OSError("still open")


def test_a_source_that_fails_to_close_is_told_after_its_batches() -> None:
    source = Fails(3)
    seen, error = ended(DataManager(source))
    assert str(error) == "closing the source: OSError: still open"
    assert seen == [0, 1, 2]
    assert source.closed == 1


def leave(batches: DataManager) -> None:
    with batches:
        for _ in batches:
            break


def test_a_source_that_fails_to_close_is_told_when_the_loop_is_left() -> None:
    with pytest.raises(DataError, match="closing the source: OSError: still open"):
        leave(DataManager(Fails(100)))


def test_a_source_that_fails_to_close_hides_no_other_error() -> None:
    _, error = ended(DataManager(Fails(3)), lambda batch: 1 // (1 - batch.index), ZeroDivisionError)
    assert error.__notes__ == ["closing the source: OSError: still open"]


def test_a_plan_that_is_left_early_is_closed_before_its_source() -> None:
    order: list[str] = []

    class Careful(Tiny):
        def plan(self) -> Iterator[list[Piece]]:
            try:
                yield from super().plan()  # type: ignore[misc]
            finally:
                order.append("plan")

        def close(self) -> None:
            order.append("source")

    with DataManager(Careful(100)) as batches:
        next(iter(batches))
    assert order == ["plan", "source"]


ABANDONED = """
import sys, time
sys.path.insert(0, {root!r})
from layerbench.datamanager.manager import DataManager
from tests.datamanager.made import Made

def before(stage, batch, start):
    if {hangs} and stage == "decode" and batch == 1:
        time.sleep(60)

batches = DataManager(Made([[1, 2]] * 1000, before=before), workers=3)
going = iter(batches)
next(going)
print("done")
"""


@pytest.mark.parametrize("hangs", [False, True])
def test_the_interpreter_ends_though_nobody_closed_it(hangs: bool, tmp_path: Path) -> None:
    root = str(Path(__file__).resolve().parents[2])
    begin = time.monotonic()
    ended = subprocess.run(
        [sys.executable, "-c", ABANDONED.format(root=root, hangs=hangs)],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": root},
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "done\n", "")
    assert time.monotonic() - begin < 30
