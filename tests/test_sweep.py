"""Whole sweeps with real ranks."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path

import pytest

import layerbench as lb
from layerbench import store
from layerbench.device import Host
from layerbench.environment import usable_cores
from layerbench.records import PARTS, Record
from layerbench.stats import median
from tests.conftest import QUICK, SMALL_SUITE, Layerbench, assert_one_line, command_line

pytestmark = pytest.mark.mpi


def records(run: Path) -> list[Record]:
    return store.load(run).records


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a sweep's suite and of its run, which several tests look at; who changes it takes a copy."""
    folder = tmp_path_factory.mktemp("swept")
    (folder / "small.toml").write_text(SMALL_SUITE)
    done = command_line(folder)(*SWEEP, "--output", "run")
    assert done.returncode == 0, done.stderr
    return folder


SWEEP = ("run", "--suite", "small.toml", "--nodes", "1,2,4", *QUICK, "--threads-per-rank", "1")


def test_a_sweep_measures_every_layer_part_and_count(swept: Path) -> None:
    run = swept / "run"
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


def test_a_step_is_the_sum_of_its_parts(swept: Path) -> None:
    by = {record.key: record for record in records(swept / "run")}
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
    emulated = lb.run(str(small_suite), nodes=[too_many], **options, network="gemini", output=tmp_path / "e")
    assert {record.placement for record in emulated.records} == {"emulated"}
    real = lb.run(str(small_suite), nodes=[too_many], **options, oversubscribe=True, output=tmp_path / "r")
    assert {record.placement for record in real.records} == {"measured"}
    assert all(record.samples for record in real.records)


def test_uneven_batches_and_ranks_without_work(small_suite: Path, tmp_path: Path) -> None:
    run = lb.run(
        str(small_suite),
        nodes=[1, 2, 4],
        batch=3,
        network="gemini",
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


def test_a_cold_exchange_is_not_charged_with_the_other_ranks_flush(small_suite: Path, tmp_path: Path) -> None:
    if len(usable_cores()) < 2:
        pytest.skip("two ranks with a core each need two cores")
    host = Host()
    begin = time.perf_counter()
    host.flush_cache()
    host.flush_cache()
    flush = (time.perf_counter() - begin) / 2
    run = lb.run(
        str(small_suite),
        nodes=[2],
        batch=8,
        kernels="numpy",
        threads_per_rank=1,
        cache="cold",
        max_time=1,
        filter="conv",
        output=tmp_path / "r",
    )
    exchange = next(record for record in run.records if record.part == "communication")
    assert exchange.inner == 1
    assert min(exchange.rank_medians) < 0.2 * flush
    assert median(exchange.samples) < 0.5 * flush


def test_resume_measures_what_is_missing_and_nothing_else(swept: Path, tmp_path: Path, layerbench: Layerbench) -> None:
    shutil.copytree(swept, tmp_path, dirs_exist_ok=True)
    run = tmp_path / "run"
    lines = (run / store.RECORDS).read_bytes().splitlines(keepends=True)
    kept = [line for line in lines if not (b'"layer":"lstm"' in line and b'"nodes":2' in line)]
    torn = lines[-1][: len(lines[-1]) // 2]
    (run / store.RECORDS).write_bytes(b"".join(kept) + torn)

    done = layerbench(*SWEEP, "--output", "run", "--resume")
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
