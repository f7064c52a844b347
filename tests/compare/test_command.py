"""``layerbench compare`` as a continuous integration calls it."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from layerbench.store import StoredRun
from tests.compare import made
from tests.conftest import Layerbench, assert_one_line


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    slowed = made.run(2, factor=lambda record: 1.5 if record.layer == "fc7" else 1.0)
    return made.write(tmp_path / "base", [made.run(1)]), made.write(tmp_path / "new", [slowed])


def test_exit_codes_of_fail_on(folders: tuple[Path, Path], layerbench: Layerbench) -> None:
    done = layerbench("compare", *folders)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("9 slower, 0 faster, 0 unclear, 72 same of 81 records")
    assert_one_line(layerbench("compare", *folders, "--fail-on", "faster,slower"), "9 slower", code=1)
    assert layerbench("compare", *folders, "--fail-on", "faster,unclear,missing").returncode == 0
    assert layerbench("compare", *folders, "--fail-on", "slower", "--threshold", "0.6").returncode == 0


def test_json_has_standard_output_for_itself(folders: tuple[Path, Path], layerbench: Layerbench) -> None:
    done = layerbench("compare", *folders, "--format", "json")
    assert done.returncode == 0
    rows = json.loads(done.stdout)
    assert len(rows) == 81
    assert "no verdict: " in done.stderr
    assert all(line.startswith("layerbench: ") for line in done.stderr.splitlines())


@pytest.mark.parametrize(("format_", "start"), [("markdown", "### 9 slower"), ("html", "<!doctype html>")])
def test_output_is_a_file(
    folders: tuple[Path, Path], tmp_path: Path, layerbench: Layerbench, format_: str, start: str
) -> None:
    done = layerbench("compare", *folders, "--format", format_, "--output", tmp_path / "told")
    assert (done.returncode, done.stdout) == (0, "")
    assert (tmp_path / "told").read_text().startswith(start)
    assert layerbench("compare", *folders, "--format", format_).stdout == (tmp_path / "told").read_text()


def test_a_table_is_written_too(folders: tuple[Path, Path], tmp_path: Path, layerbench: Layerbench) -> None:
    done = layerbench("compare", *folders, "--all", "--output", tmp_path / "told.txt")
    assert (done.returncode, done.stdout) == (0, "")
    text = (tmp_path / "told.txt").read_text()
    assert text.count("= same") == 72
    assert "\x1b" not in text


BAD = [
    (("--threshold", "0"), ["--threshold", "above 0 and below 1"]),
    (("--threshold", "1.5"), ["--threshold", "1.5"]),
    (("--fail-on", "slow"), ["'slow'", "slower, faster, unclear, missing"]),
    (("--fail-on", ""), ["--fail-on", "''"]),
    (("--format", "xml"), ["xml"]),
    (("--output", "."), ["is a folder"]),
    (("--output", "no/such/file"), ["cannot be written"]),
]


@pytest.mark.parametrize(("options", "words"), BAD, ids=" ".join)
def test_wrong_use_is_one_line(
    folders: tuple[Path, Path], layerbench: Layerbench, options: tuple[str, ...], words: list[str]
) -> None:
    assert_one_line(layerbench("compare", *folders, *options), *words)


def test_other_hardware_is_one_line_and_a_warning_with_force(
    folders: tuple[Path, Path], tmp_path: Path, layerbench: Layerbench
) -> None:
    run = made.run(2)
    manifest = msgspec.structs.replace(run.manifest, environment={"cpu_model": "another", "hostname": "other"})
    other = made.write(tmp_path / "other", [StoredRun(Path(), manifest, run.records)])
    assert_one_line(layerbench("compare", folders[0], other), "cpu_model", "another", "--force")
    forced = layerbench("compare", folders[0], other, "--force")
    assert forced.returncode == 0
    assert "layerbench: differs, and was compared all the same: cpu_model" in forced.stderr
    assert "hostname: node17 in BASE, other in NEW" in forced.stdout


def test_no_file_of_a_run_or_repetition_is_replaced(
    folders: tuple[Path, Path], tmp_path: Path, layerbench: Layerbench
) -> None:
    repeated = made.write(tmp_path / "repeated", [made.run(3), made.run(4)])
    one = sorted(repeated.iterdir())[-1]
    (tmp_path / "link").symlink_to(one / "records.jsonl")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    for output in (folders[0] / "run.json", one / "run.json", tmp_path / "link"):
        told = layerbench("compare", folders[0], repeated, "--format", "json", "--output", output)
        assert_one_line(told, f"--output {output} is a file of a run", "name another file")
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_what_is_no_run_is_one_line(tmp_path: Path, layerbench: Layerbench) -> None:
    assert_one_line(layerbench("compare", tmp_path, tmp_path), "neither a run folder nor a folder of run folders")
    assert_one_line(layerbench("compare", tmp_path), "NEW")
