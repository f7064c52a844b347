from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest

from layerbench import store
from layerbench.errors import StoreError, UsageError
from layerbench.layers import FC, LSTM, Conv
from layerbench.records import Record
from layerbench.report import columns
from layerbench.report.layer_types import layer_types
from layerbench.schedule import of_run
from layerbench.schedule.jobs import Job
from layerbench.schedule.of_run import WHOLE_SUITE, Curve, job_of_steps
from layerbench.schedule.read import read, read_jobs
from layerbench.stats import median
from tests.report import synthetic
from tests.report.synthetic import stored

LAYERS = (
    LSTM(name="lstm", input_size=8, hidden_size=8, time_steps=2),
    Conv(name="conv1", input=(8, 8), in_channels=3, out_channels=4, filter=(3, 3)),
    Conv(name="conv2", input=(8, 8), in_channels=4, out_channels=4, filter=(3, 3)),
    FC(name="fc", in_features=64, out_features=8),
)


def none_of(layer: str, nodes: int) -> Callable[[Record], Record | None]:
    """Leaves a layer out at one count."""
    return lambda record: None if (record.layer, record.nodes) == (layer, nodes) else record


def made(path: Path, **options: object) -> Path:
    return stored(synthetic.run(path / "run", layers=LAYERS, samples=5, **options))


def step(folder: Path, layer: str, nodes: int) -> float:
    """Seconds of a layer's step, from its record by hand."""
    (record,) = (one for one in store.load(folder).records if one.key == (layer, "step", nodes))
    return median(record.samples)


def test_a_types_time_is_the_sum_of_its_layers_steps(tmp_path: Path) -> None:
    folder = made(tmp_path, nodes=(1, 2), measured=2)
    found = of_run.curves(folder)
    assert list(found) == ["conv", "fc", "lstm", WHOLE_SUITE]
    for place, nodes in enumerate((1, 2)):
        conv = step(folder, "conv1", nodes) + step(folder, "conv2", nodes)
        assert found["conv"].seconds[place] == pytest.approx(conv)
        assert found["fc"].seconds[place] == pytest.approx(step(folder, "fc", nodes))
        whole = conv + step(folder, "fc", nodes) + step(folder, "lstm", nodes)
        assert found[WHOLE_SUITE].seconds[place] == pytest.approx(whole)


def test_curves_are_those_of_the_report(tmp_path: Path) -> None:
    folder = made(tmp_path)
    types = layer_types(columns.load(folder))
    for kind in ("conv", "fc", "lstm"):
        rows = types[types["kind"] == kind]
        curve = of_run.curves(folder)[kind]
        assert curve.nodes == tuple(rows["nodes"])
        assert curve.seconds == pytest.approx(tuple(rows["seconds"]))
        assert curve.placement == tuple(rows["placement"])


def test_emulated_counts_are_told(tmp_path: Path) -> None:
    folder = made(tmp_path, measured=2)
    found = of_run.read(folder)
    for curve in found.curves.values():
        assert curve.placement == ("measured", "measured", "emulated", "emulated")
        assert curve.emulated == (4, 8)
    assert found.notes == ("Times of conv, fc and lstm on 4 and 8 nodes are emulated, not measured.",)


def test_what_is_measured_needs_no_note(tmp_path: Path) -> None:
    assert of_run.read(made(tmp_path, measured=8)).notes == ()


def test_a_type_is_left_out_where_a_layer_is_missing(tmp_path: Path) -> None:
    found = of_run.curves(made(tmp_path, change=none_of("conv2", 2)))
    assert found["conv"].nodes == (1, 4, 8)
    assert found["fc"].nodes == (1, 2, 4, 8)
    assert found[WHOLE_SUITE].nodes == (1, 4, 8)


def test_a_type_that_is_nowhere_complete_is_no_job(tmp_path: Path) -> None:
    folder = made(tmp_path, change=lambda record: None if record.layer == "conv1" else record)
    assert list(of_run.curves(folder)) == ["fc", "lstm"]
    assert [job.name for job in read_jobs(folder)] == ["fc", "lstm"]


def test_a_run_without_any_complete_type_is_refused(tmp_path: Path) -> None:
    folder = made(tmp_path, change=lambda record: record if record.part == "forward" else None)
    with pytest.raises(UsageError, match=r"no layer type that is complete .* --resume"):
        of_run.curves(folder)


def test_weak_scaling_is_brought_to_equal_work(tmp_path: Path) -> None:
    folder = made(tmp_path, nodes=(1, 2, 4), measured=4, scaling="weak")
    found = of_run.read(folder)
    assert found.curves["fc"].seconds == pytest.approx([step(folder, "fc", nodes) / nodes for nodes in (1, 2, 4)])
    assert found.notes == (
        "The run scales weakly: its times on n nodes are divided by n, so that all are of the same work.",
    )


def test_the_jobs_of_a_run_are_its_types(tmp_path: Path) -> None:
    folder = made(tmp_path)
    found = of_run.curves(folder)
    told = read(folder)
    assert [(job.name, job.type) for job in told.jobs] == [(kind, kind) for kind in ("conv", "fc", "lstm")]
    for job in told.jobs:
        assert (job.nodes, job.seconds) == (found[job.type].nodes, found[job.type].seconds)
    assert told.notes == of_run.read(folder).notes != ()


def test_a_damaged_journal_is_told(tmp_path: Path) -> None:
    folder = made(tmp_path, measured=8)
    with (folder / store.RECORDS).open("ab") as file:
        file.write(b"no record\n")
    (note,) = read(folder).notes
    assert "is not a record" in note


def test_a_job_of_many_steps_takes_so_many_times_as_long() -> None:
    curve = Curve((1, 4), (2.0, 0.75), ("measured", "emulated"))
    assert job_of_steps("a", "conv", curve, 1000) == Job("a", "conv", (1, 4), (2000.0, 750.0))


@pytest.mark.parametrize("steps", [0, -1, math.nan, math.inf, 1e308])
def test_a_job_needs_a_number_of_steps(steps: float) -> None:
    with pytest.raises(UsageError, match="positive"):
        job_of_steps("a", "conv", Curve((1,), (20.0,), ("measured",)), steps)


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"is a folder without run\.json, so no run: name a folder that layerbench"):
        read_jobs(tmp_path)
    with pytest.raises(StoreError, match="is not a run folder"):
        of_run.curves(tmp_path)


def test_a_damaged_run_is_refused(tmp_path: Path) -> None:
    folder = made(tmp_path)
    (folder / store.MANIFEST).write_text("{}")
    with pytest.raises(StoreError, match="is damaged"):
        read_jobs(folder)
