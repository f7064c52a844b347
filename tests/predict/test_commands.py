from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import get_args

import pytest
from click.testing import CliRunner, Result

from layerbench import options
from layerbench.guard import OneLineGroup
from layerbench.layers import DTYPES
from layerbench.predict import prediction
from layerbench.predict.commands import predict_command
from layerbench.records import LayoutOption
from tests.predict.made import half_of_roofline

RUN = Path(__file__).parents[2] / "results" / "alexnet-2-cores"


@pytest.fixture(autouse=True)
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """Published devices take seconds to learn from, and none of this is about them."""
    monkeypatch.setattr(prediction, "estimator", lambda device, efficiency: half_of_roofline)


def called(*arguments: str, folder: Path) -> Result:
    group = OneLineGroup()
    group.add_command(predict_command)
    with contextlib.chdir(folder):
        return CliRunner().invoke(group, ["predict", *arguments])


def refused(*arguments: str, folder: Path) -> str:
    done = called(*arguments, folder=folder)
    assert done.exit_code == 2
    assert done.stderr.startswith("layerbench: ")
    assert done.stderr.count("\n") == 1
    return done.stderr


def test_the_choices_are_those_of_the_records() -> None:
    assert options.DTYPES == DTYPES
    assert get_args(LayoutOption) == options.LAYOUTS


def test_a_run_is_predicted_and_drawn(tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = called("--from", str(RUN), "--nodes", "1,2,...,64", "--output", str(out), folder=tmp_path)
    assert done.exit_code == 0, done.output
    assert "alexnet on the run's machine" in done.output
    assert done.output.splitlines()[-4:] == [
        str(out / name) for name in ("predicted.json", "predicted.csv", "prediction.png", "prediction.svg")
    ]
    assert all((out / name).is_file() for name in ("predicted.json", "prediction.png"))


def test_json_is_all_that_stands_on_standard_output_and_nothing_is_written(tmp_path: Path) -> None:
    arguments = ["--suite", "alexnet", "--machine", "blue-waters-xk7", "--nodes", "8", "--format", "json"]
    done = called(*arguments, folder=tmp_path)
    assert done.exit_code == 0
    assert {row["nodes"] for row in json.loads(done.stdout)} == {8}
    assert not list(tmp_path.rglob("*.png"))


def test_other_formats_are_written_too_where_a_folder_is_named(tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = ["--suite", "alexnet", "--machine", "blue-waters-xk7", "--nodes", "1,2", "--format", "schedule"]
    done = called(*arguments, "--output", str(out), folder=tmp_path)
    assert done.stdout.splitlines()[0] == "job,type,nodes,seconds"
    assert str(out) not in done.stdout
    assert (out / "prediction.svg").is_file()


def test_quiet_prints_nothing(tmp_path: Path) -> None:
    done = called("--from", str(RUN), "--nodes", "1", "--quiet", "--output", str(tmp_path / "o"), folder=tmp_path)
    assert (done.exit_code, done.output) == (0, "")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--nodes", "0", "--from", str(RUN)), "--nodes"),
        (("--nodes", "1,...", "--from", str(RUN)), "dots"),
        (("--nodes", "1", "--from", "nowhere"), "nowhere"),
        (("--nodes", "1", "--suite", "alexnet", "--machine", "nowhere"), "--machine nowhere: unknown"),
        (("--nodes", "1", "--suite", "nosuch", "--machine", "blue-waters-xk7"), "no such suite"),
        (("--nodes", "1", "--from", str(RUN), "--suite", "alexnet-2012"), "is another layer"),
        (("--nodes", "1", "--from", str(RUN), "--overlap", "1.5"), "--overlap 1.5"),
        (("--nodes", "1", "--from", str(RUN), "--overlap", "nan"), "--overlap nan"),
        (("--nodes", "1", "--from", str(RUN), "--batch", "0"), "--batch 0"),
        (("--nodes", "1", "--from", str(RUN), "--filter", ""), "--filter"),
        (("--nodes", "1", "--from", str(RUN), "--layout", "both"), "--layout"),
        (("--nodes", "1", "--from", str(RUN), "--output", str(RUN)), "folder of a run"),
        (("--nodes", "1", "--suite", "alexnet", "--machine", "blue-waters-xk7", "--dtype", "bf16"), "fp32"),
        (("--nodes", "1"), "--suite"),
        ((), "--nodes"),
    ],
)
def test_wrong_use_is_told_in_one_line(arguments: tuple[str, ...], words: str, tmp_path: Path) -> None:
    assert words in refused(*arguments, folder=tmp_path)
