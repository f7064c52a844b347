import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from layerbench.errors import UsageError
from layerbench.export import export
from layerbench.store import StoredRun
from tests.export import awkward
from tests.report import synthetic
from tests.values import manifest, record

EXTRAP = Path(__file__).resolve().parents[2] / ".venv" / "extrap"

READ_BACK = """
import json, sys
from extrap.fileio.file_reader.jsonlines_file_reader import read_jsonlines_file
experiment = read_jsonlines_file(sys.argv[1])
told = {
    "parameters": [parameter.name for parameter in experiment.parameters],
    "callpaths": [path.name for path in experiment.callpaths],
    "tree": {child.name: [part.name for part in child.childs] for child in experiment.call_tree.childs},
    "points": {
        f"{path.name}|{metric.name}": {
            int(one.coordinate[0]): [float(one.median), float(one.mean), one.repetitions] for one in measured
        }
        for (path, metric), measured in experiment.measurements.items()
    },
}
print(json.dumps(told))
"""


def read_back(run: StoredRun, folder: Path) -> Any:
    """What Extra-P itself makes of the export, in a process of its own that has its libraries."""
    if not EXTRAP.is_dir():
        pytest.skip("Extra-P is not there: make .venv/.extrap")
    path = folder / "run.jsonl"
    path.write_bytes(export(run, "extra-p").read())
    done = subprocess.run(
        [sys.executable, "-c", READ_BACK, path],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={**os.environ, "PYTHONPATH": str(EXTRAP)},
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def lines_of(run: StoredRun) -> list[dict[str, Any]]:
    return [json.loads(line) for line in export(run, "extra-p").read().splitlines()]


def test_extra_p_reads_every_measured_sample(tmp_path: Path) -> None:
    run = synthetic.run(nodes=(1, 2, 4), measured=4)
    told = read_back(run, tmp_path)
    assert told["parameters"] == ["nodes"]
    assert len(told["callpaths"]) == 9 * 5
    assert told["tree"]["lstm"] == ["forward", "backward_data", "backward_weights", "communication", "step"]
    for one in run.records:
        median, mean, repetitions = told["points"][f"{one.layer}->{one.part}|time"][str(one.nodes)]
        assert median == pytest.approx(statistics.median(one.samples))
        assert mean == pytest.approx(statistics.mean(one.samples))
        assert repetitions == len(one.samples)


def test_extra_p_reads_awkward_names(tmp_path: Path) -> None:
    told = read_back(awkward.run(nodes=(1,)), tmp_path)
    assert list(told["tree"]) == [awkward.NAME.replace("->", "→"), "dense", "state"]


def test_extra_p_reads_what_is_left_of_a_run_with_failures(tmp_path: Path) -> None:
    run = awkward.run()
    told = read_back(run, tmp_path)
    assert list(told["tree"]) == [awkward.NAME.replace("->", "→"), "state"]
    assert {tuple(points) for points in told["points"].values()} == {("1", "2")}


def test_what_is_left_out_is_counted() -> None:
    run = awkward.run()
    exported = export(run, "extra-p")
    assert exported.left_out == {
        "emulated": 3 * 5 * 2,
        "failed": 1,
        "skipped": 4,
        "of parts that lack a node count which others have": 5,
    }
    measured = {(line["callpath"], line["params"]["nodes"]) for line in lines_of(run)}
    assert len(measured) == len(run.records) - exported.left_out.total()


def test_a_line_is_ascii_and_has_a_value_in_seconds() -> None:
    run = awkward.run()
    lines = lines_of(run)
    assert export(run, "extra-p").read().isascii()
    assert list(lines[0]) == ["params", "callpath", "metric", "value"]
    assert [line["value"] for line in lines[:7]] == run.records[0].samples
    assert {line["metric"] for line in lines} == {"time"}


def test_a_record_without_samples_is_not_called_emulated() -> None:
    run = StoredRun(Path("x"), manifest(), [record(), record(part="step", samples=[])])
    assert export(run, "extra-p").left_out == {"without samples": 1}


def test_nothing_measured_is_refused_with_what_there_was() -> None:
    run = synthetic.run(nodes=(4, 8), measured=2)
    with pytest.raises(UsageError, match="nothing for Extra-P to model: 90 of 90 records are left out: 90 emulated"):
        export(run, "extra-p")
