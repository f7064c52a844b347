"""The command overlap, as it is typed."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image

from layerbench.environment import usable_cores
from layerbench.overlap import rows
from layerbench.overlap_records import read
from tests.conftest import Layerbench, assert_one_line, command_line

SUITE = """
name = "small"
description = "two layers of images and one of sequences"
batch = 6

[[layer]]
kind = "conv"
name = "first"
input = 12
in_channels = 3
out_channels = 4
filter = 3
backward_data_in_step = false

[[layer]]
kind = "fc"
name = "second"
in_features = 400
out_features = 10

[[layer]]
kind = "lstm"
name = "third"
input_size = 8
hidden_size = 8
time_steps = 3
"""

QUICK = ("--max-time", "0.3", "--rel-error", "0.2")


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("suite") / "small.toml"
    path.write_text(SUITE)
    return path


class Measured(NamedTuple):
    """A run's folder in which overlap was measured too, and how that ended."""

    folder: Path
    done: subprocess.CompletedProcess[str]


@pytest.fixture(scope="module")
def measured(suite: Path, tmp_path_factory: pytest.TempPathFactory) -> Measured:
    folder = tmp_path_factory.mktemp("measured")
    layerbench, run = command_line(folder), folder / "run"
    quick = ("--kernels", "numpy", "--filter", "second", "--max-time", "0.1")
    assert layerbench("run", "--suite", suite, "--nodes", "1", *quick, "--output", run).returncode == 0
    counts = ("--nodes", "1,4", "--network", "gemini", "--ratios", "0.5,2")
    return Measured(run, layerbench("overlap", "--suite", suite, *counts, *QUICK, "--output", run))


def test_counts_and_ratios_are_measured_drawn_and_written(
    measured: Measured, suite: Path, layerbench: Layerbench
) -> None:
    out, done = measured
    assert done.returncode == 0, done.stderr
    found = read(out / "overlap.json")
    steps = [row for row in found.rows if row.workload == "training step"]
    assert [(row.nodes, row.ranks, row.batch) for row in steps] == [(1, 1, 6), (4, 4, 6)]
    assert next(row.placement for row in steps) == "measured"
    assert all(row.identical for row in steps)
    assert steps[0].communication_seconds < steps[0].compute_seconds
    if steps[1].placement == "emulated":
        assert steps[1].network == "gemini"
        assert steps[1].communication_seconds > steps[1].exposed_communication_seconds > 0
    ratios = [row for row in found.rows if row.workload == "ratio sweep"]
    assert [row.nodes for row in ratios] == [1, 1]
    low, high = (row.ratio for row in ratios)
    assert low is not None
    assert high is not None
    assert low < 1 < high
    for row in ratios:
        assert 1 < row.attainable < 2
        assert len(row.implicit_samples) >= 6
    assert (found.suite, found.device, found.depth) == ("small", "host", 3)
    assert {timeline.mode for timeline in found.timelines} == {"implicit", "explicit"}
    spans = next(each for each in found.timelines if each.mode == "explicit").spans
    assert {"first forward", "second backward_weights", "third backward_data"} <= {span.name for span in spans}
    for name in ("overlap.md", "overlap.csv", "overlap-trace.json", "figures/overlap_timeline.png"):
        assert (out / name).is_file(), name
        assert str(out / name) in done.stdout
    assert "speed-up" in done.stdout
    events = json.loads((out / "overlap-trace.json").read_text())["traceEvents"]
    assert {event["ph"] for event in events} == {"X", "M"}
    assert_one_line(layerbench("overlap", "--suite", suite, "--output", out), "has an overlap.json already")


@pytest.mark.mpi
def test_two_real_ranks_exchange_gradients(suite: Path, tmp_path: Path, layerbench: Layerbench) -> None:
    if len(usable_cores()) < 2:
        pytest.skip("two ranks need two cores")
    done = layerbench(
        "overlap", "--suite", suite, "--nodes", "2", "--spare-cores", "0", "--ratios", "none", "--bucket", "1000",
        *QUICK, "--output", tmp_path / "out",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = read(tmp_path / "out" / "overlap.json")
    assert rows.SHARED in found.notes
    (row,) = found.rows
    assert (row.ranks, row.placement, row.identical) == (2, "measured", True)
    assert row.communication_seconds > 0
    lanes = {span.lane for timeline in found.timelines for span in timeline.spans}
    assert any(lane.startswith("communication") for lane in lanes)


def test_one_mode_alone_has_no_gain_and_its_time_is_kept(suite: Path, tmp_path: Path, layerbench: Layerbench) -> None:
    done = layerbench(
        "overlap", "--suite", suite, "--mode", "explicit", "--ratios", "none", *QUICK, "--output", tmp_path / "out"
    )
    assert done.returncode == 0, done.stderr
    found = read(tmp_path / "out" / "overlap.json")
    assert found.rows == []
    assert [(each.mode, each.nodes, each.batch) for each in found.one_mode] == [("explicit", 1, 6)]


def test_images_of_a_folder_are_what_the_network_is_given(suite: Path, tmp_path: Path, layerbench: Layerbench) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    random = np.random.default_rng(0)
    for index in range(7):
        Image.fromarray(random.integers(0, 256, (20, 30, 3), dtype=np.uint8)).save(photos / f"{index}.png")
    done = layerbench(
        "overlap", "--suite", suite, "--source", photos, "--ratios", "none", *QUICK, "--output", tmp_path / "out"
    )
    assert done.returncode == 0, done.stderr
    found = read(tmp_path / "out" / "overlap.json")
    assert found.source == "images in photos"
    spans = [span for timeline in found.timelines for span in timeline.spans]
    assert {"read", "decode", "cast"} <= {span.name for span in spans}
    done = layerbench("overlap", "--suite", suite, "--source", photos, "--filter", "second,third", "--ratios", "none")
    assert_one_line(done, "images have 3 channels", "second takes 400")


def test_shards_are_what_the_layer_of_their_shape_is_given(suite: Path, tmp_path: Path, layerbench: Layerbench) -> None:
    shards = tmp_path / "shards"
    shards.mkdir()
    for index in range(2):
        np.save(shards / f"{index}.npy", np.random.default_rng(index).standard_normal((9, 3, 8), dtype=np.float32))
    out = tmp_path / "out"
    done = layerbench("overlap", "--suite", suite, "--source", shards, "--ratios", "none", *QUICK, "--output", out)
    assert done.returncode == 0, done.stderr
    assert read(out / "overlap.json").source == "2 shards in shards"


def test_a_run_has_it_in_its_report(measured: Measured, layerbench: Layerbench) -> None:
    run, overlapped = measured
    assert overlapped.returncode == 0, overlapped.stderr
    done = layerbench("report", run, "--no-html")
    assert done.returncode == 0, done.stderr
    told = (run / "report" / "report.md").read_text()
    assert "At 1 node explicit transfer takes" in told
    assert (run / "report" / "figures" / "overlap_gain.png").is_file()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--depth", "0"), ["--depth", "from 1"]),
        (("--mode", "both"), ["--mode", "implicit"]),
        (("--source", "missing"), ["missing", "no such folder"]),
        (("--batch", "1", "--nodes", "4"), ["--batch 1: 4 ranks need a sample each"]),
        (("--output", ""), ["--output", "empty"]),
        (("--filter", ""), ["--filter", "empty"]),
    ],
    ids=" ".join,
)
def test_bad_input_is_one_line(options: tuple[str, ...], words: list[str], suite: Path, layerbench: Layerbench) -> None:
    assert_one_line(layerbench("overlap", "--suite", suite, "--ratios", "none", *options), *words)
