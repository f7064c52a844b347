"""``layerbench export`` as a user calls it."""

import json
import subprocess
import sys
from pathlib import Path

import msgspec
import pyarrow.parquet as pq
import pytest

from layerbench import cli, store
from layerbench.errors import UsageError
from layerbench.export import FORMATS, export
from layerbench.store import StoredRun
from tests.conftest import Layerbench, assert_one_line
from tests.export import awkward
from tests.report import synthetic


def stored(folder: Path, run: StoredRun) -> Path:
    path = folder / "run"
    store.create(path, run.manifest)
    with store.Journal(path) as journal:
        journal.append(run.records)
    return path


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return stored(tmp_path, awkward.run())


def test_the_command_offers_every_format() -> None:
    assert cli.EXPORTS == FORMATS


@pytest.mark.parametrize("format_", [name for name in FORMATS if name != "parquet"])
def test_text_goes_to_standard_output_or_to_a_file(
    format_: str, run: Path, layerbench: Layerbench, tmp_path: Path
) -> None:
    done = layerbench("export", run, "--format", format_)
    assert done.returncode == 0, done.stderr
    expected = export(store.load(run), format_).read()
    # Text mode translates line ends, and a name has one that it would translate.
    assert done.stdout == expected.decode().replace("\r\n", "\n")
    to_file = layerbench("export", run, "--format", format_, "--output", "out")
    assert (to_file.returncode, to_file.stdout) == (0, "")
    held = 60 - sum(int(line.split()[1]) for line in done.stderr.splitlines())
    assert to_file.stderr == f"{done.stderr}layerbench: wrote {held} records to out\n"
    assert (tmp_path / "out").read_bytes() == expected


def test_what_is_left_out_is_said_in_one_line(run: Path, layerbench: Layerbench) -> None:
    told = layerbench("export", run, "--format", "extra-p").stderr
    assert told == (
        "layerbench: 40 of 60 records are left out: 30 emulated, 5 of parts that lack a node count which others have, "
        "4 skipped, 1 failed\n"
    )
    assert layerbench("export", run, "--format", "csv").stderr == ""


def test_a_torn_journal_is_told(run: Path, layerbench: Layerbench) -> None:
    with (run / store.RECORDS).open("a") as file:
        file.write('{"layer": "conv')
    done = layerbench("export", run, "--format", "json")
    assert "is cut off and is not counted" in done.stderr
    assert len(json.loads(done.stdout)["records"]) == 60


def test_a_run_that_was_cut_short_is_told(layerbench: Layerbench, tmp_path: Path) -> None:
    made = awkward.run()
    cut = StoredRun(made.path, msgspec.structs.replace(made.manifest, outcome="running"), made.records)
    done = layerbench("export", stored(tmp_path, cut), "--format", "csv")
    assert done.returncode == 0
    assert "was cut short" in done.stderr


def test_parquet_wants_a_file(run: Path, layerbench: Layerbench, tmp_path: Path) -> None:
    assert_one_line(layerbench("export", run, "--format", "parquet"), "parquet", "--output")
    assert layerbench("export", run, "--format", "parquet", "--output", "run.parquet").returncode == 0
    assert pq.read_table(tmp_path / "run.parquet").num_rows == 60


def test_wrong_use_is_one_line(run: Path, layerbench: Layerbench, tmp_path: Path) -> None:
    assert_one_line(layerbench("export", run), "--format")
    assert_one_line(layerbench("export", run, "--format", "xml"), "xml", "extra-p")
    assert_one_line(layerbench("export", "nowhere", "--format", "csv"), "nowhere does not exist: name a run folder")
    assert_one_line(layerbench("export", run, "--format", "csv", "--output", tmp_path), "is a folder")
    assert_one_line(layerbench("export", run, "--format", "csv", "--output", "no/such"), "No such file")


def test_no_file_of_a_run_is_replaced(run: Path, layerbench: Layerbench) -> None:
    before = (run / store.RECORDS).read_bytes()
    for output in (run / store.RECORDS, Path("run") / ".." / "run" / store.MANIFEST):
        assert_one_line(
            layerbench("export", run, "--format", "csv", "--output", output), "is a file of a run", "another"
        )
    assert (run / store.RECORDS).read_bytes() == before
    done = layerbench("export", run, "--format", "csv", "--output", run / "records.csv")
    assert (done.returncode, done.stderr) == (0, f"layerbench: wrote 60 records to {run / 'records.csv'}\n")


def test_an_empty_run_is_refused_in_every_format(layerbench: Layerbench, tmp_path: Path) -> None:
    empty = synthetic.run(change=lambda record: None)
    for format_ in FORMATS:
        with pytest.raises(UsageError, match="has no records to export"):
            export(empty, format_)
    done = layerbench("export", stored(tmp_path, empty), "--format", "csv", "--output", "out")
    assert_one_line(done, "has no records to export", "--resume")
    assert not (tmp_path / "out").exists()


def test_a_format_unknown_to_python_callers_too() -> None:
    with pytest.raises(UsageError, match="'xml' is none of csv, parquet"):
        export(synthetic.run(), "xml")


def test_a_full_disk_behind_standard_output_is_one_line(run: Path) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "layerbench", "export", run, "--format", "csv"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert (done.returncode, done.stderr) == (
        2,
        "layerbench: standard output cannot be written: No space left on device\n",
    )


def test_a_closed_pipe_is_quiet(tmp_path: Path) -> None:
    path = stored(tmp_path, synthetic.run(samples=400))
    command = f"{sys.executable} -m layerbench export {path} --format google-benchmark | head -c 10"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, '{"context"', "")
