from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from layerbench.kernel_times import text
from layerbench.kernel_times.commands import kernel_times_command
from tests.kernel_times import made

DEVICES = made.devices(X=(9, 700), Y=(9.3, 720))
TOML = """
[X]
peak_flops = 9e12
bytes_per_second = 700e9
[Y]
peak_flops = 9.3e12
bytes_per_second = 720e9
source = "data sheet"
"""
PRODUCTS = [f"m={size};n={batch};k={size};a_t=0;b_t=0" for size in (1760, 2048, 2560) for batch in (16, 32, 64, 7000)]


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """Times of two devices that are not among the published ones, and their figures."""
    monkeypatch.chdir(tmp_path)
    toml = tmp_path / "devices.toml"
    toml.write_text(TOML)
    return made.write(tmp_path / "times.csv", made.frame(DEVICES, lambda _, __: 0.3, PRODUCTS)), toml


def run(*arguments: object) -> Result:
    return CliRunner().invoke(kernel_times_command, [str(argument) for argument in arguments])


def test_the_published_devices_are_checked_and_printed() -> None:
    found = run("--device", "M40", "--device", "V100", "--folds", 2)
    assert found.exit_code == 0
    assert "kernel times of 2 devices, each predicted from its peak and bandwidth and 7 other devices" in found.output
    for told in ("convolution", "matrix product", "recurrent layer", "≤ 12 %", "plain", "TitanX × 1.17", "mean"):
        assert told in found.output


def test_devices_of_a_users_file_are_predicted_from_the_published_and_each_other(files: tuple[Path, Path]) -> None:
    times, toml = files
    found = run(times, "--devices", toml, "--format", "json")
    assert found.exit_code == 0, found.output
    rows = json.loads(found.output)
    assert [list(row) for row in rows] == [list(text.COLUMNS)] * 2 * len(PRODUCTS)
    assert {row["device"] for row in rows} == {"X", "Y"}
    for row in rows:
        assert row["low"] < row["predicted"] < row["high"]
        assert row["shape_left_out_low"] < row["shape_left_out"] < row["shape_left_out_high"]
        # The other of the two is so near that it outweighs all published devices.
        assert row["predicted"] == pytest.approx(row["seconds"], rel=0.1)


def test_csv_has_the_same_rows_as_json(files: tuple[Path, Path]) -> None:
    times, toml = files
    options = (times, "--devices", toml, "--device", "X", "--only-these")
    as_csv = list(csv.DictReader(run(*options, "--format", "csv").output.splitlines()))
    as_json = json.loads(run(*options, "--format", "json").output)
    assert [{name: str(value) for name, value in row.items()} for row in as_json] == as_csv


@pytest.mark.parametrize("format_", ["table", "json", "csv"])
def test_a_file_gets_what_would_be_printed(files: tuple[Path, Path], format_: str) -> None:
    times, toml = files
    options = (times, "--devices", toml, "--only-these", "--format", format_)
    told = run(*options, "--output", "found")
    assert (told.exit_code, told.output) == (0, "")
    assert Path("found").read_text() == run(*options).output


def test_a_remeasured_device_is_not_predicted_from_its_published_times(files: tuple[Path, Path]) -> None:
    _, toml = files
    known = made.devices(V100=(15.7, 900))
    errors = []
    for excess in (0.3, 2.3):
        times = made.write(Path("again.csv"), made.frame(known, lambda _, __, excess=excess: excess, PRODUCTS))
        rows = json.loads(run(times, "--devices", toml, "--format", "json").output)
        errors.append([row["predicted"] for row in rows])
    assert errors[0] == errors[1]


def test_the_interval_and_prediction_of_a_lone_device_without_others_cannot_be(files: tuple[Path, Path]) -> None:
    _, toml = files
    times = made.write(Path("one.csv"), made.frame({"X": DEVICES["X"]}, lambda _, __: 0.3, PRODUCTS))
    found = run(times, "--devices", toml, "--only-these")
    assert found.exit_code == 2
    assert "nothing to learn from: no device but X has times of the same operations" in found.output


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["times.csv"], 'no peak and bandwidth of X, Y: add to the file of --devices a table ["X"] with peak_flops'),
        (["none.csv"], "none.csv cannot be read: No such file"),
        (["times.csv", "--devices", "none.toml"], "--devices none.toml cannot be read: No such file"),
        (["times.csv", "--devices", "times.csv"], "--devices times.csv: not TOML"),
        (["devices.toml"], "devices.toml is no table of DeepBench times"),
        (["times.csv", "--devices", "devices.toml", "--device", "V100"], "--device V100: has no times here"),
        (["--device", "v100"], "--device v100: has no times here (did you mean 'V100'?)"),
        (["--folds", "1"], "--folds must be at least 2, not 1"),
        (["--seed", "-1"], "--seed must be at least 0, not -1"),
        (["--only-these"], "--only-these: name the files"),
        (["--output", "."], "--output . is a folder"),
        (["times.csv", "--devices", "devices.toml", "--output", "times.csv"], "is read and would be lost"),
        (["times.csv", "--devices", "devices.toml", "--output", "devices.toml"], "is read and would be lost"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_two(files: tuple[Path, Path], arguments: list[str], told: str) -> None:
    before = [path.read_bytes() for path in files]
    found = run(*arguments)
    assert found.exit_code == 2, found.output
    assert told in found.output
    assert found.output.startswith("layerbench: ")
    assert found.output.count("\n") == 1
    assert [path.read_bytes() for path in files] == before


def test_an_operation_that_cannot_be_predicted_is_said(files: tuple[Path, Path]) -> None:
    times, toml = files
    recurrent = made.frame(
        {"X": DEVICES["X"]}, lambda _, __: 0.3, ["hidden=512;batch=16;timesteps=25;cell=lstm"], "rnn"
    )
    other = made.write(Path("rnn.csv"), recurrent)
    both = Path("both.csv")
    both.write_text(times.read_text() + "".join(other.read_text().splitlines(keepends=True)[1:]))
    found = run(both, "--devices", toml, "--only-these")
    assert found.exit_code == 0
    assert "X: rnn cannot be predicted, since no other device has times of it" in found.output
