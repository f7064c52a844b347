"""Each way a sweep can go wrong, for real: ranks killed, stopped, out of memory, a full disk, a wrong kernel."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import psutil
import pytest

import layerbench as lb
from layerbench import store
from layerbench.records import Record
from tests.conftest import QUICK, Layerbench, assert_one_line

pytestmark = pytest.mark.mpi

LONG = (
    "--kernels",
    "numpy",
    "--max-time",
    "60",
    "--rel-error",
    "0.0000001",
    "--max-samples",
    "100000000",
    "--batch",
    "8",
)


def records(run: Path) -> list[Record]:
    return store.load(run).records


@contextlib.contextmanager
def background(small_suite: Path, run: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A sweep under way, in a process group of its own; nothing of it is left afterwards."""
    process = subprocess.Popen(
        [sys.executable, "-m", "layerbench", "run", "--suite", small_suite, "--output", run, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    family = [psutil.Process(process.pid)]
    try:
        yield process
    finally:
        with contextlib.suppress(psutil.Error):
            family += family[0].children(recursive=True)
        for member in family:
            with contextlib.suppress(psutil.Error):
                member.kill()
        process.communicate()


def workers(process: subprocess.Popen[str], ranks: int, run: Path, nodes: int) -> list[psutil.Process]:
    """The rank processes of one launch, once they are sampling."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        found = []
        for child in psutil.Process(process.pid).children(recursive=True):
            with contextlib.suppress(psutil.Error):
                command = child.cmdline()
                if "layerbench.worker" in command and f"nodes-{nodes}.json" in command[-1] and command[1] == "-m":
                    found.append(child)
        if len(found) == ranks and all(worker.cpu_times().user > 0.6 for worker in found):
            return found
        time.sleep(0.05)
    raise AssertionError(f"{ranks} ranks did not start; log: {[p.read_text() for p in run.glob('launches/*.log')]}")


def assert_nothing_left(run: Path) -> None:
    """No rank of this run lives on."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        left = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if any(str(run) in word for word in process.cmdline()):
                    left.append(process)
        if not left:
            return
        time.sleep(0.1)
    raise AssertionError(f"still running: {left}")


def test_killed_rank_costs_its_own_count_only(small_suite: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    with background(
        small_suite, run, "--nodes", "2,3", "--threads-per-rank", "1", "--filter", "fc,lstm", *LONG
    ) as sweep:
        victim = workers(sweep, 2, run, 2)[1]
        victim.send_signal(signal.SIGKILL)
        emulated = workers(sweep, 1, run, 3)
        assert emulated, "the sweep went on with the next count"
        sweep.send_signal(signal.SIGTERM)
        _, errors = sweep.communicate(timeout=30)
    assert_nothing_left(run)
    assert "Traceback" not in errors
    failed = [record for record in records(run) if record.nodes == 2]
    assert {record.layer for record in failed} == {"fc", "lstm"}
    assert {record.status for record in failed} == {"failed"}
    assert all("SIGKILL" in record.reason and "end of its log" in record.reason for record in failed)


def test_stopped_rank_is_found_by_the_watchdog(small_suite: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    with background(
        small_suite, run, "--nodes", "2", "--threads-per-rank", "1", "--filter", "fc", "--timeout", "3", *LONG
    ) as sweep:
        workers(sweep, 2, run, 2)[1].send_signal(signal.SIGSTOP)
        begin = time.monotonic()
        output, errors = sweep.communicate(timeout=60)
        assert time.monotonic() - begin < 30
        assert sweep.returncode == 1, (output, errors)
    assert_nothing_left(run)
    assert all("no rank made progress for 3 s" in record.reason for record in records(run))


def test_a_second_interruption_does_not_break_off_the_clean_up(small_suite: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    with background(small_suite, run, "--nodes", "2", "--threads-per-rank", "1", "--filter", "fc", *LONG) as sweep:
        # Stopped ranks make the clean-up take as long as it can.
        for worker in workers(sweep, 2, run, 2):
            worker.send_signal(signal.SIGSTOP)
        for _ in range(3):
            sweep.send_signal(signal.SIGINT)
            time.sleep(0.2)
        _, errors = sweep.communicate(timeout=30)
    assert_nothing_left(run)
    assert "stopped by SIGINT" in errors
    launch = store.load(run).manifest.launches[-1]
    assert launch.outcome == "interrupted"
    assert launch.mpi, "what the ranks said of themselves is kept"


def test_nohup_is_heeded(small_suite: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    ignoring = subprocess.Popen(
        ["nohup", sys.executable, "-m", "layerbench", "run", "--suite", small_suite, "--output", run, *QUICK],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while not (run / store.MANIFEST).exists():
        assert ignoring.poll() is None
        time.sleep(0.02)
    ignoring.send_signal(signal.SIGHUP)
    assert ignoring.wait(60) == 0
    assert store.load(run).manifest.outcome == "complete"


def test_a_failed_remeasurement_does_not_undo_a_measurement(small_suite: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    with background(small_suite, run, "--nodes", "1", "--filter", "fc", *QUICK) as sweep:
        sweep.communicate(timeout=60)
    whole = records(run)
    lines = (run / store.RECORDS).read_bytes().splitlines(keepends=True)
    (run / store.RECORDS).write_bytes(b"".join(lines[:-1]))
    # The same run again, whose launcher now fails.
    broken = "import layerbench.launch as l; l.worker_command = lambda a: ['false']\n"
    script = broken + "from layerbench.cli import main; main(prog_name='layerbench')"
    job = ["run", "--suite", small_suite, "--output", run, "--nodes", "1", "--filter", "fc", *QUICK, "--resume"]
    done = subprocess.run([sys.executable, "-c", script, *job], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    after = {record.key: record for record in records(run)}
    for record in whole[:-1]:
        assert after[record.key] == record
    assert after[whole[-1].key].status == "failed"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interruption_leaves_a_readable_folder_and_no_orphan(
    small_suite: Path, tmp_path: Path, number: signal.Signals
) -> None:
    run = tmp_path / "run"
    with background(small_suite, run, "--nodes", "1,2", "--threads-per-rank", "1", *LONG) as sweep:
        workers(sweep, 1, run, 1)
        sweep.send_signal(number)
        _, errors = sweep.communicate(timeout=30)
        assert sweep.returncode == 128 + number
    assert_nothing_left(run)
    assert "Traceback" not in errors
    assert f"stopped by {number.name}" in errors
    assert store.load(run).manifest.outcome == "interrupted"


@pytest.mark.parametrize("size", [28, 36, 72])
def test_a_disk_that_fills_ends_the_sweep_with_what_it_has(
    small_suite: Path, tmp_path: Path, layerbench: Layerbench, size: int
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}k", "tmpfs", disk], capture_output=True, text=True, check=False
    )
    if mount.returncode:
        pytest.skip(f"a tmpfs cannot be mounted: {mount.stderr.strip()}")
    try:
        run = disk / "run"
        # So many samples that three layers' records do not fit, however quick the machine is.
        many = ("--max-samples", "500", "--max-time", "60", "--rel-error", "1e-7", "--kernels", "numpy", "--batch", "8")
        done = layerbench("run", "--suite", small_suite, "--nodes", "1", *many, "--output", run)
        assert_one_line(done, "No space left on device", "every record before it is safe", code=1)
        stored = store.load(run)
        assert not stored.warnings
        assert (run / store.RECORDS).read_bytes() == b"".join(
            msgspec.json.encode(record) + b"\n" for record in stored.records
        )
    finally:
        subprocess.run(["umount", disk], check=True)


def test_separate_worlds_are_told_apart_from_one_world(
    small_suite: Path, tmp_path: Path, layerbench: Layerbench
) -> None:
    # A launcher that starts each rank without telling it of the others, as srun --mpi=none does.
    fake = tmp_path / "bin" / "mpiexec"
    fake.parent.mkdir()
    fake.write_text(
        '#!/bin/sh\n[ "$1" = --version ] && exit 0\n'
        'while [ "$1" != -n ]; do shift; done\nshift 2\n"$@" & "$@" & wait $!\n'
    )
    fake.chmod(0o755)
    script = (
        "import sys, layerbench.launch as l; program = sys.argv.pop(1); l.find_mpiexec = lambda: program\n"
        "from layerbench.cli import main; main(prog_name='layerbench')"
    )
    run = tmp_path / "run"
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            script,
            fake,
            "run",
            "--suite",
            small_suite,
            "--nodes",
            "2",
            *QUICK,
            "--output",
            run,
            "--threads-per-rank",
            "1",
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 1, done.stderr
    assert all("sees 1 ranks, 2 were asked for" in record.reason for record in records(run))


def test_out_of_memory_in_a_rank_is_one_failed_layer(small_suite: Path, tmp_path: Path) -> None:
    # A kernel file whose second layer asks for more memory than an address space has.
    kernel = tmp_path / "greedy.py"
    kernel.write_text(
        "import numpy as np, importlib\n"
        "class Greedy(type(importlib.import_module('layerbench.kernels.reference').KERNEL)):\n"
        "    name = 'greedy'\n"
        "    preference = None\n"
        "    def prepare(self, job, tensors, choices):\n"
        "        if job.layer.kind == 'fc':\n"
        "            np.empty(2**60, dtype=np.uint8)\n"
        "        return super().prepare(job, tensors, choices)\n"
        "KERNEL = Greedy()\n"
    )
    run = lb.run(
        str(small_suite),
        nodes=[1, 2],
        batch=8,
        kernels=str(kernel),
        threads_per_rank=1,
        max_time=0.1,
        output=tmp_path / "r",
    )
    by = {record.key: record for record in run.records}
    for nodes in (1, 2):
        assert by["fc", "step", nodes].status == "failed"
        assert "memory" in by["fc", "step", nodes].reason.lower()
        assert by["conv", "step", nodes].status == by["lstm", "step", nodes].status == "ok"


def test_a_wrong_kernel_is_not_timed(small_suite: Path, tmp_path: Path) -> None:
    kernel = tmp_path / "wrong.py"
    kernel.write_text(
        "import importlib\n"
        "class Wrong(type(importlib.import_module('layerbench.kernels.reference').KERNEL)):\n"
        "    name = 'wrong'\n"
        "    preference = None\n"
        "    def prepare(self, job, tensors, choices):\n"
        "        tensors = {**tensors, 'src': tensors['src'] + 1e-3}\n"
        "        return super().prepare(job, tensors, choices)\n"
        "KERNEL = Wrong()\n"
    )
    run = lb.run(
        str(small_suite), nodes=[1], batch=8, kernels=str(kernel), max_time=0.1, filter="fc", output=tmp_path / "r"
    )
    by = {record.part: record for record in run.records}
    for part in ("forward", "backward_weights"):
        assert by[part].status == "failed"
        assert by[part].verified is False
        assert by[part].samples == []
        assert "wrong result" in by[part].reason
    assert by["backward_data"].status == "ok", "it does not read the input"
    assert by["step"].status == "failed"
    assert by["step"].samples == []
