"""Whole sweeps with real ranks, and each way they can go wrong, for real."""

from __future__ import annotations

import contextlib
import json
import os
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
from layerbench.records import PARTS, Record
from layerbench.stats import median
from tests.conftest import Layerbench, assert_one_line

pytestmark = pytest.mark.mpi

QUICK = ("--kernels", "numpy", "--max-time", "0.2", "--batch", "8")
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


def test_a_sweep_measures_every_layer_part_and_count(small_suite: Path, tmp_path: Path, layerbench: Layerbench) -> None:
    run = tmp_path / "run"
    done = layerbench(
        "run", "--suite", small_suite, "--nodes", "1,2,4", *QUICK, "--threads-per-rank", "1", "--output", run
    )
    assert done.returncode == 0, done.stderr
    found = {record.key: record for record in records(run)}
    assert set(found) == {(layer, part, n) for layer in ("conv", "fc", "lstm") for part in PARTS for n in (1, 2, 4)}
    cores = len(os.sched_getaffinity(0))
    for record in found.values():
        assert record.status == "ok"
        assert record.ranks == record.nodes
        assert record.placement == ("measured" if record.nodes <= cores else "emulated")
        assert (record.network == "this-machine") == (record.placement == "emulated")
        assert len(record.rank_medians) == (0 if record.part == "communication" and record.network else record.ranks)
        if record.part in ("forward", "backward_data", "backward_weights"):
            assert record.verified
            assert record.relative_error is not None
            assert record.relative_error < 1e-5
            assert record.algorithm
    manifest = store.load(run).manifest
    assert manifest.outcome == "complete"
    assert manifest.network is not None
    assert manifest.network.alpha > 0
    assert manifest.network.beta > 0
    for launch in manifest.launches:
        pinned = [core for cores_ in launch.pinned_cores for core in cores_]
        assert len(pinned) == len(set(pinned)), "ranks share a core"


def test_a_step_is_the_sum_of_its_parts(small_suite: Path, tmp_path: Path) -> None:
    run = lb.run(
        str(small_suite),
        nodes=[1, 4],
        batch=8,
        kernels="numpy",
        threads_per_rank=1,
        max_time=0.2,
        output=tmp_path / "r",
    )
    by = {record.key: record for record in run.records}
    for layer in ("conv", "fc", "lstm"):
        for nodes in (1, 4):
            step = by[layer, "step", nodes]
            passes = [by[layer, part, nodes] for part in ("forward", "backward_data", "backward_weights")]
            modelled = by[layer, "communication", nodes].modelled_seconds or 0.0
            if step.placement == "emulated":
                assert step.modelled_seconds == modelled > 0
            for index, seconds in enumerate(step.samples):
                assert seconds == pytest.approx(sum(p.samples[index] for p in passes) + modelled, rel=1e-9)


def test_more_counts_than_cores_are_emulated_unless_oversubscribed(small_suite: Path, tmp_path: Path) -> None:
    too_many = len(os.sched_getaffinity(0)) + 1
    options = {"batch": 2 * too_many, "kernels": "numpy", "threads_per_rank": 1, "max_time": 0.1, "filter": "fc"}
    emulated = lb.run(str(small_suite), nodes=[too_many], **options, output=tmp_path / "e")
    assert {record.placement for record in emulated.records} == {"emulated"}
    real = lb.run(str(small_suite), nodes=[too_many], **options, oversubscribe=True, output=tmp_path / "r")
    assert {record.placement for record in real.records} == {"measured"}
    assert all(record.samples for record in real.records)


def test_uneven_batches_and_ranks_without_work(small_suite: Path, tmp_path: Path) -> None:
    run = lb.run(
        str(small_suite),
        nodes=[1, 2, 4],
        batch=3,
        kernels="numpy",
        threads_per_rank=1,
        max_time=0.1,
        filter="fc",
        output=tmp_path / "r",
    )
    by = {record.key: record for record in run.records}
    assert by["fc", "step", 2].local_batch == 2
    assert by["fc", "step", 4].status == "skipped"
    assert "leaves 1 of 4 ranks without a sample" in by["fc", "step", 4].reason


def test_weak_scaling_keeps_the_batch_of_a_rank(small_suite: Path, tmp_path: Path) -> None:
    run = lb.run(
        str(small_suite),
        nodes=[1, 2],
        batch=4,
        scaling="weak",
        kernels="numpy",
        threads_per_rank=1,
        max_time=0.1,
        filter="fc",
        output=tmp_path / "r",
    )
    by = {record.key: record for record in run.records}
    assert (by["fc", "step", 1].batch, by["fc", "step", 1].local_batch) == (4, 4)
    assert (by["fc", "step", 2].batch, by["fc", "step", 2].local_batch) == (8, 4)


def test_cold_cache_is_slower_where_hot_operands_fit(tmp_path: Path) -> None:
    suite = tmp_path / "cached.toml"
    suite.write_text('batch = 8\n[[layer]]\nkind = "fc"\nname = "fc"\nin_features = 512\nout_features = 512\n')
    times = {}
    for cache in ("hot", "cold"):
        run = lb.run(
            str(suite), batch=8, kernels="numpy", threads_per_rank=1, cache=cache, max_time=1, output=tmp_path / cache
        )
        record = next(r for r in run.records if r.part == "backward_data")
        assert record.cache == cache
        times[cache] = median(record.samples)
    assert times["cold"] > 1.2 * times["hot"]


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


def test_resume_measures_what_is_missing_and_nothing_else(
    small_suite: Path, tmp_path: Path, layerbench: Layerbench
) -> None:
    run = tmp_path / "run"
    arguments = ("run", "--suite", small_suite, "--nodes", "1,2", "--threads-per-rank", "1", *QUICK, "--output", run)
    assert layerbench(*arguments).returncode == 0
    lines = (run / store.RECORDS).read_bytes().splitlines(keepends=True)
    kept = [line for line in lines if not (b'"layer":"lstm"' in line and b'"nodes":2' in line)]
    torn = lines[-1][: len(lines[-1]) // 2]
    (run / store.RECORDS).write_bytes(b"".join(kept) + torn)

    done = layerbench(*arguments, "--resume")
    assert done.returncode == 0, done.stderr
    assert "was cut off" in done.stderr
    after = (run / store.RECORDS).read_bytes()
    assert after.startswith(b"".join(kept))
    assert torn in (run / store.TORN).read_bytes()
    added = [json.loads(line) for line in after[len(b"".join(kept)) :].splitlines()]
    assert {(record["layer"], record["nodes"]) for record in added} == {("lstm", 2)}


def test_resume_refuses_what_differs_and_names_it(small_suite: Path, tmp_path: Path, layerbench: Layerbench) -> None:
    run = tmp_path / "run"
    arguments = ["run", "--suite", small_suite, "--nodes", "1", "--filter", "fc", *QUICK, "--output", run]
    assert layerbench(*arguments).returncode == 0
    before = (run / store.RECORDS).read_bytes()
    assert_one_line(layerbench(*arguments, "--resume", "--seed", "7"), "--seed was 0, now 7")
    assert_one_line(layerbench(*arguments), "already holds a run", "--resume")
    small_suite.write_text(small_suite.read_text().replace("out_features = 128", "out_features = 64"))
    assert_one_line(layerbench(*arguments, "--resume"), "layers fc")
    manifest = json.loads((run / store.MANIFEST).read_text())
    manifest["environment"]["cpu_model"] = "Another CPU"
    manifest["layers"][0]["out_features"] = 64
    (run / store.MANIFEST).write_text(json.dumps(manifest))
    assert_one_line(layerbench(*arguments, "--resume"), "cpu model was Another CPU")
    assert (run / store.RECORDS).read_bytes() == before


def test_a_disk_that_fills_ends_the_sweep_with_what_it_has(
    small_suite: Path, tmp_path: Path, layerbench: Layerbench
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=112k", "tmpfs", disk], capture_output=True, text=True, check=False
    )
    if mount.returncode:
        pytest.skip(f"a tmpfs cannot be mounted: {mount.stderr.strip()}")
    try:
        run = disk / "run"
        many = ("--max-time", "3", "--rel-error", "0.0000001", "--kernels", "numpy", "--batch", "8")
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
