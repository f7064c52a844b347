"""Whole sweeps of layers split by outputs, with real ranks."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

import layerbench as lb
from layerbench import store
from layerbench.errors import UnavailableError
from layerbench.layers import PASSES
from layerbench.partition import exchanges
from layerbench.records import PARTS, Record
from tests.conftest import QUICK, Layerbench, assert_one_line

pytestmark = pytest.mark.mpi

MODEL = ("--layout", "model", "--threads-per-rank", "1", *QUICK)


def by_key(run: Path) -> dict[tuple[str, str, int], Record]:
    return {record.key: record for record in store.load(run).records}


def test_every_part_is_measured_or_emulated_as_in_the_data_layout(
    small_suite: Path, tmp_path: Path, layerbench: Layerbench
) -> None:
    run = tmp_path / "run"
    done = layerbench("run", "--suite", small_suite, "--nodes", "1,2,3", "--network", "gemini", *MODEL, "--output", run)
    assert done.returncode == 0, done.stderr
    assert "layers split by outputs (model layout)" in done.stdout
    found = by_key(run)
    assert set(found) == {(layer, part, n) for layer in ("conv", "fc", "lstm") for part in PARTS for n in (1, 2, 3)}
    layers = {layer.name: layer for layer in store.load(run).manifest.layers}
    for (name, part, nodes), record in found.items():
        assert record.status == "ok"
        assert (record.layout, record.batch, record.local_batch) == ("model", 8, 8)
        if part in PASSES:
            assert record.verified
        if part == "communication":
            told = exchanges(layers[name], 8, nodes, "model", "fp32")
            assert record.bytes == sum(each.size * each.times for each in told)
            assert ("all-gather" if record.network else "MPI_Allgather") in record.algorithm or nodes == 1
            assert (record.modelled_seconds is not None) == (record.placement == "emulated")
        if record.placement == "measured" or part != "communication":
            assert record.samples
            assert len(record.rank_medians) == nodes
    assert found["lstm", "communication", 2].algorithm.startswith("MPI_Allgather of 1024 B, 8 times; MPI_Allreduce in")


def test_a_step_is_the_sum_of_its_parts(small_suite: Path, tmp_path: Path) -> None:
    run = lb.run(
        str(small_suite),
        nodes=[3],
        batch=8,
        layout="model",
        kernels="numpy",
        threads_per_rank=1,
        max_time=0.2,
        network="gigabit-ethernet",
        launcher="none",
        output=tmp_path / "r",
    )
    by = {record.key: record for record in run.records}
    for layer in ("conv", "fc", "lstm"):
        step, modelled = by[layer, "step", 3], by[layer, "communication", 3].modelled_seconds
        assert step.modelled_seconds == modelled
        assert modelled is not None
        # Two sizes of a share are timed, of each sample the slower counts: no step is more than its parts together.
        for index, seconds in enumerate(step.samples):
            parts = [by[layer, pass_, 3].samples[index] for pass_ in PASSES]
            assert modelled < seconds <= (sum(parts) + modelled) * (1 + 1e-9)


def test_ranks_without_an_output_are_said_and_skipped(small_suite: Path, tmp_path: Path) -> None:
    run = lb.run(
        str(small_suite),
        nodes=[40],
        batch=64,
        layout="model",
        kernels="numpy",
        threads_per_rank=1,
        max_time=0.1,
        network="gemini",
        output=tmp_path / "r",
    )
    by = {record.key: record for record in run.records}
    assert by["lstm", "step", 40].status == "skipped"
    assert by["lstm", "step", 40].reason == "32 units, which the model layout splits, leave 8 of 40 ranks without one"
    assert by["fc", "step", 40].status == "ok"


def test_cold_caches_are_flushed_once_a_pass(small_suite: Path, tmp_path: Path) -> None:
    run = lb.run(
        str(small_suite),
        nodes=[2],
        batch=8,
        layout="model",
        kernels="numpy",
        threads_per_rank=1,
        cache="cold",
        max_time=0.5,
        filter="lstm",
        output=tmp_path / "r",
    )
    by = {record.part: record for record in run.records}
    assert all(record.status == "ok" and record.cache == "cold" for record in run.records)
    assert by["step"].inner == 1


def test_a_kernel_that_cannot_split_is_refused_before_anything_runs(
    small_suite: Path, tmp_path: Path, layerbench: Layerbench
) -> None:
    file = tmp_path / "plain.py"
    file.write_text(
        "from layerbench.kernel import Availability\n"
        "class Plain:\n"
        "    name, preference = 'plain', None\n"
        "    def availability(self): return Availability(True)\n"
        "    def supports(self, layer, dtype): return None\n"
        "KERNEL = Plain()\n"
    )
    done = layerbench(
        "run", "--suite", small_suite, "--nodes", "1,2", "--layout", "model", "--kernels", file, "--output", "r"
    )
    assert_one_line(done, "no kernel can run conv in fp32", "cannot be split by outputs", code=3)
    assert not (tmp_path / "r").exists()
    with pytest.raises(UnavailableError, match="cannot be split by outputs"):
        lb.run(str(small_suite), nodes=[2], layout="model", kernels=str(file), output=tmp_path / "r")


def test_resume_and_compare_refuse_another_layout(small_suite: Path, tmp_path: Path, layerbench: Layerbench) -> None:
    for layout in ("data", "model"):
        lb.run(
            str(small_suite),
            nodes=[2],
            batch=8,
            layout=layout,  # type: ignore[arg-type]
            kernels="numpy",
            threads_per_rank=1,
            max_time=0.1,
            filter="fc",
            output=tmp_path / layout,
        )
    again = ("run", "--suite", small_suite, "--nodes", "2", "--filter", "fc", "--output", tmp_path / "model")
    done = layerbench(*again, *QUICK, "--max-time", "0.1", "--threads-per-rank", "1", "--resume")
    assert_one_line(done, "--layout was model, now data")
    compared = layerbench("compare", tmp_path / "data", tmp_path / "model")
    assert_one_line(compared, "layout: data in BASE, model in NEW")


def test_best_chooses_says_why_and_keeps_its_choices(
    small_suite: Path, tmp_path: Path, layerbench: Layerbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    run = tmp_path / "run"
    # A network on which a gradient of 131 kB takes as long as all else, and the activations of eight samples do not.
    network = tmp_path / "slow.toml"
    network.write_text("alpha_seconds = 1e-6\nbytes_per_second = 1e6\n")
    arguments = ("run", "--suite", small_suite, "--nodes", "1,2", "--layout", "best", "--filter", "conv,fc", *QUICK)
    arguments = (*arguments, "--threads-per-rank", "1", "--network", network, "--output", run)
    done = layerbench(*arguments)
    assert done.returncode == 0, done.stderr
    assert "fc on 2 nodes: layout model: its 131 kB of gradient" in done.stderr
    assert "model (data " in done.stdout, "a table at the end"
    stored = store.load(run)
    chosen = {(choice.layer, choice.nodes): choice for choice in stored.manifest.layouts}
    assert set(chosen) == {(layer, nodes) for layer in ("conv", "fc") for nodes in (1, 2)}
    assert (chosen["fc", 1].layout, chosen["fc", 2].layout) == ("data", "model")
    for record in stored.records:
        assert record.layout == chosen[record.layer, record.nodes].layout
    assert "## Layouts" in lb_report(layerbench, run)

    manifest = json.loads((run / store.MANIFEST).read_text())
    manifest["layouts"] = [{**choice, "layout": "data"} for choice in manifest["layouts"]]
    (run / store.MANIFEST).write_text(json.dumps(manifest))
    kept = [line for line in (run / store.RECORDS).read_text().splitlines() if '"layer":"conv"' in line]
    (run / store.RECORDS).write_text("\n".join(kept) + "\n")
    done = layerbench(*arguments, "--resume")
    assert done.returncode == 0, done.stderr
    after = Counter((record.layer, record.layout) for record in store.load(run).records)
    assert after["fc", "data"] == 2 * len(PARTS), "what was chosen before stands, whatever would be chosen now"


def lb_report(layerbench: Layerbench, run: Path) -> str:
    """The text of a report on a run."""
    done = layerbench("report", run, "--no-html", "--quiet")
    assert done.returncode == 0, done.stderr
    return (run / "report" / "report.md").read_text()
