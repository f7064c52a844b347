"""The command collectives, as it is typed, with real ranks."""

from __future__ import annotations

import csv
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from layerbench.collective_records import COLLECTIVES_JSON, read
from layerbench.records import COLLECTIVE_OPERATIONS
from tests.conftest import Layerbench, assert_one_line, until

QUICK = ("--max-time", "0.02", "--rel-error", "0.5", "--oversubscribe", "--kernels", "numpy", "--threads-per-rank", "1")

pytestmark = [pytest.mark.mpi, pytest.mark.usefixtures("mpiexec")]


def test_every_operation_over_two_and_three_ranks(tmp_path: Path, layerbench: Layerbench) -> None:
    out = tmp_path / "out"
    done = layerbench("collectives", "--op", "all", "--sizes", "4,1000", "--nodes", "1,2,3", *QUICK, "--output", out)
    assert done.returncode == 0, done.stderr
    found = read(out / COLLECTIVES_JSON)
    assert {row.status for row in found.rows} == {"ok"}
    sizes: dict[tuple[str, int], list[int]] = {}
    for row in found.rows:
        sizes.setdefault((row.operation, row.ranks), []).append(row.bytes)
    assert list(dict.fromkeys(operation for operation, _ in sizes)) == list(COLLECTIVE_OPERATIONS)
    for operation in ("all_reduce", "broadcast"):
        assert sizes[operation, 2] == sizes[operation, 3] == [4, 1000]
    for operation in ("all_gather", "reduce_scatter", "all_to_all"):
        assert (sizes[operation, 2], sizes[operation, 3]) == ([8, 1000], [12, 1008])
    for row in found.rows:
        assert len(row.samples) == len(row.quickest_rank_samples) >= 6
        assert all(least <= most for least, most in zip(row.quickest_rank_samples, row.samples, strict=True))
        assert row.call.startswith("MPI_")
        assert row.apart == (row.operation == "broadcast")
    assert [(launch.ranks, launch.outcome, len(launch.hosts)) for launch in found.launches] == [
        (2, "ok", 2),
        (3, "ok", 3),
    ]
    assert "1 rank has nobody to exchange with" in done.stdout
    assert "all-to-all over 3 ranks: 4 B became 12 B, 1000 B became 1008 B." in done.stdout
    with (out / "collectives.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(found.rows) == 20
    assert list(dict.fromkeys(row["operation"] for row in rows)) == [
        "all-reduce", "all-gather", "reduce-scatter", "broadcast", "all-to-all"
    ]  # fmt: skip
    for name in (COLLECTIVES_JSON, "collectives.csv", "collectives.png", "collectives.svg"):
        assert str(out / name) in done.stdout
    assert_one_line(layerbench("collectives", "--nodes", "2", *QUICK, "--output", out), "collectives.json already")


def test_other_types_are_moved_and_added(tmp_path: Path, layerbench: Layerbench) -> None:
    for dtype, operations in (("fp64", "all-reduce,reduce-scatter"), ("bf16", "all-gather,broadcast,all-to-all")):
        out = tmp_path / dtype
        done = layerbench(
            "collectives", "--op", operations, "--sizes", "64", "--nodes", "3", "--dtype", dtype, *QUICK, "--quiet",
            "--output", out,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert done.stdout == ""
        assert {(row.dtype, row.status) for row in read(out / COLLECTIVES_JSON).rows} == {(dtype, "ok")}


CORRUPTING = """
import sys
from layerbench import collectives, worker

right = collectives.MPIRanks.all_reduce

def wrong(self, buffer):
    run = right(self, buffer)
    def both():
        run()
        if self.rank == 1 and buffer.size == 16:
            buffer[5] += 1
    return both

collectives.MPIRanks.all_reduce = wrong
sys.exit(worker.main(sys.argv[1:]))
"""


def test_a_wrong_result_on_one_rank_has_no_time(
    tmp_path: Path, layerbench: Layerbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A module in the place of the worker, which every rank runs by its name."""
    script = tmp_path / "corrupting.py"
    script.write_text(CORRUPTING)
    program = (
        "import sys\n"
        "from layerbench import launch\n"
        "from layerbench.cli import main\n"
        f"launch.worker_command = lambda assignment: [sys.executable, {str(script)!r}, str(assignment)]\n"
        "main(sys.argv[1:])\n"
    )
    out = tmp_path / "out"
    done = subprocess.run(
        [sys.executable, "-c", program, "collectives", "--sizes", "32..128", "--nodes", "2", *QUICK, "--output", out],
        capture_output=True, text=True, timeout=120, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert_one_line(done, "1 of 3 rows failed", "64 bytes", "rank 1: wrong result: element 5 is", code=1)
    rows = {row.bytes: row for row in read(out / COLLECTIVES_JSON).rows}
    assert [rows[size].status for size in (32, 64, 128)] == ["ok", "failed", "ok"]
    assert rows[64].samples == []
    assert "failed: rank 1: wrong result" in done.stdout


def test_an_interruption_leaves_what_was_measured(tmp_path: Path) -> None:
    out = tmp_path / "out"
    asked = ["collectives", "--op", "all", "--sizes", "4..64MB", "--nodes", "2", *QUICK, "--max-time", "1"]
    running = subprocess.Popen(
        [sys.executable, "-m", "layerbench", *asked, "--rel-error", "0.0001", "--output", out],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path,
    )  # fmt: skip
    try:
        until((out / COLLECTIVES_JSON).exists, "a first look at what ranks have measured")
        time.sleep(0.5)
        running.send_signal(signal.SIGINT)
        _, told = running.communicate(timeout=60)
    finally:
        running.kill()
        running.wait()
    assert running.returncode == 128 + signal.SIGINT, told
    assert "stopped by SIGINT; what was measured is in" in told
    found = read(out / COLLECTIVES_JSON)
    assert found.rows
    assert all(row.status == "ok" and row.samples for row in found.rows)
    assert [launch.outcome for launch in found.launches] == ["interrupted"]
    names = [COLLECTIVES_JSON, "collectives.csv", "collectives.png", "collectives.svg"]
    was = "row was" if len(found.rows) == 1 else "rows were"
    assert f"layerbench: {len(found.rows)} {was} measured, and {', '.join(names)} written\n" in told
    assert sorted(path.name for path in out.iterdir()) == sorted(names)
    with (out / "collectives.csv").open() as file:
        assert len(list(csv.DictReader(file))) == len(found.rows)


def test_an_interruption_before_the_first_row_leaves_nothing_and_says_so(tmp_path: Path) -> None:
    asked = ["collectives", "--sizes", "1MB", "--nodes", "2", *QUICK, "--max-time", "60", "--rel-error", "0.000001"]
    running = subprocess.Popen(
        [sys.executable, "-m", "layerbench", *asked, "--output", "out"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path,
    )  # fmt: skip
    try:
        assert running.stderr is not None
        first = running.stderr.readline()
        running.send_signal(signal.SIGINT)
        _, told = running.communicate(timeout=60)
    finally:
        running.kill()
        running.wait()
    assert first == "2 nodes, 2 ranks\n"
    assert running.returncode == 128 + signal.SIGINT, told
    assert "layerbench: nothing had been measured yet\nlayerbench: stopped by SIGINT" in told
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--op", "gather"), ["--op", "all-reduce"]),
        (("--op", "all,broadcast"), ["--op", "all stands alone"]),
        (("--sizes", "8..4"), ["--sizes", "8..4", "runs backwards"]),
        (("--launcher", "none"), ["--launcher none", "several ranks", "--launcher mpiexec"]),
        (("--hosts", "nohost"), ["there is 1 node (nohost)", "name more with --hosts"]),
        (("--collectives", "nccl", "--kernels", "numpy"), ["--collectives nccl", "GPU"]),
        (("--nodes", "100000"), ["--nodes 100000", "--oversubscribe"]),
        (("--dtype", "fp8"), ["--dtype"]),
    ],
    ids=" ".join,
)
def test_bad_input_is_one_line(
    options: tuple[str, ...], words: list[str], tmp_path: Path, layerbench: Layerbench
) -> None:
    done = layerbench("collectives", "--nodes", "2", "--threads-per-rank", "1", *options)
    assert_one_line(done, *words)
    assert list(tmp_path.iterdir()) == []


def test_too_large_for_memory_is_skipped_and_said(tmp_path: Path, layerbench: Layerbench) -> None:
    done = layerbench("collectives", "--sizes", "512GiB", "--nodes", "2", *QUICK, "--output", tmp_path / "out")
    assert_one_line(done, "nothing could run: a rank needs about 1 TiB of memory", code=3)
