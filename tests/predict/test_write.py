from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from layerbench.errors import UsageError
from layerbench.predict import write
from layerbench.predict.prediction import Prediction, predict
from layerbench.schedule.read import read_jobs
from tests.predict.made import World, question

COLUMNS = ["layer", "part", "nodes", "seconds", "low", "high", "kind", "layout", "extrapolated", "idle_ranks", "batch"]


@pytest.fixture(scope="module")
def found() -> Prediction:
    return predict(question((1, 2, 4, 64, 128), World().records((1, 2), 2)))


def test_json_is_a_list_of_rows_with_what_they_are(found: Prediction) -> None:
    rows = json.loads(write.as_json(found))
    assert len(rows) == len(found.rows)
    assert list(rows[0]) == COLUMNS
    first = found.rows[0]
    assert rows[0] == {"extrapolated": False, **first._asdict()}
    assert any(row["extrapolated"] for row in rows)


def test_csv_has_the_same_columns(found: Prediction) -> None:
    rows = list(csv.DictReader(io.StringIO(write.as_csv(found).decode())))
    assert list(rows[0]) == COLUMNS
    assert [float(row["seconds"]) for row in rows] == [row.seconds for row in found.rows]
    assert {row["extrapolated"] for row in rows} == {"true", "false"}


def test_the_scheduler_reads_json_and_csv_as_a_job_for_each_layer(found: Prediction, tmp_path: Path) -> None:
    steps = {(row.layer, row.nodes): row.seconds for row in found.steps()}
    for name, content in (("predicted.json", write.as_json(found)), ("predicted.csv", write.as_csv(found))):
        (tmp_path / name).write_bytes(content)
        jobs = read_jobs(tmp_path / name)
        assert {job.name: job.type for job in jobs} == {layer.name: layer.kind for layer in found.question.layers}
        assert {
            (job.name, count): taken for job in jobs for count, taken in zip(job.nodes, job.seconds, strict=True)
        } == steps


def test_the_scheduler_reads_curves_as_a_job_for_each_layer_type(found: Prediction, tmp_path: Path) -> None:
    path = tmp_path / "curves.csv"
    path.write_bytes(write.as_curves(found))
    assert path.read_text().splitlines()[0] == "job,type,nodes,seconds"
    jobs = {job.name: job for job in read_jobs(path)}
    assert list(jobs) == ["conv", "fc", "lstm"]
    assert jobs["fc"].seconds == tuple(row.seconds for row in found.of_kind("fc"))


def test_curves_of_weak_scaling_are_of_the_same_work(tmp_path: Path) -> None:
    weak = predict(question((1, 4), scaling="weak"))
    path = tmp_path / "curves.csv"
    path.write_bytes(write.as_curves(weak))
    for job in read_jobs(path):
        one, four = (row.seconds for row in weak.of_kind(job.type))
        assert job.seconds == pytest.approx((one, four / 4))


def test_a_folder_has_the_data_and_the_picture(found: Prediction, tmp_path: Path) -> None:
    written = write.write(found, tmp_path / "out")
    assert [path.name for path in written] == list(write.FILES)
    assert all(path.stat().st_size > 1000 for path in written)
    assert written[0].read_bytes() == write.as_json(found)


def test_the_same_prediction_gives_the_same_files(found: Prediction, tmp_path: Path) -> None:
    one, other = (write.write(found, tmp_path / name) for name in ("one", "other"))
    assert [path.read_bytes() for path in one] == [path.read_bytes() for path in other]


def test_the_folder_of_a_run_is_not_written_into(found: Prediction, tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(UsageError, match="folder of a run"):
        write.write(found, tmp_path)
