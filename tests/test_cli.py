"""The command line: bad input gets one clear line and exit code 2, whatever it is."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from layerbench import store
from tests.conftest import Layerbench, assert_one_line

RESULTS = Path(__file__).resolve().parents[1] / "results" / "alexnet-2-cores"

BAD_OPTIONS = [
    (("--nodes", "0"), ["--nodes", "whole number of at least 1"]),
    (("--nodes", "1,,2"), ["--nodes", "''"]),
    (("--nodes", "a"), ["'a'"]),
    (("--nodes", "-1"), ["'-1'"]),
    (("--nodes", "999999999"), ["999999999", "typing mistake"]),
    (("--batch", "0"), ["--batch", "from 1"]),
    (("--batch", "2000000000"), ["memory"]),
    (("--threads-per-rank", "0"), ["--threads-per-rank", "from 1"]),
    (("--threads-per-rank", "4096"), ["--threads-per-rank 4096", "cores"]),
    (("--ranks-per-node", "0"), ["--ranks-per-node", "from 1"]),
    (("--rel-error", "0"), ["--rel-error", "between 0 and 1"]),
    (("--rel-error", "nan"), ["--rel-error", "between 0 and 1"]),
    (("--max-time", "-1"), ["--max-time", "above 0"]),
    (("--timeout", "inf"), ["--timeout", "above 0"]),
    (("--kernels", "mystery"), ["mystery", "onednn", "numpy"]),
    (("--kernels", "missing.py"), ["missing.py", "no such"]),
    (("--filter", "dense*"), ["dense*", "fc"]),
    (("--network", "token-ring"), ["token-ring", "gemini"]),
    (("--network", "missing.toml"), ["missing.toml"]),
    (("--hosts", "a b,c"), ["--hosts", "not a host name"]),
    (("--launcher-args", "'open"), ["--launcher-args", "quotation"]),
    (("--seed", "-1"), ["--seed", "from 0"]),
    (("--suite", "alexnett"), ["alexnett", "alexnet"]),
    (("--suite", "missing.toml"), ["missing.toml"]),
    (("--resume",), ["--resume", "--output"]),
    (("--resume", "--output", "nowhere"), ["nowhere"]),
    (("--output", ""), ["--output", "empty"]),
    (("--filter", ""), ["--filter", "empty"]),
    (("--nodes", "1,10000000000"), ["10000000000", "at most 999999999"]),
]


@pytest.mark.parametrize(("options", "words"), BAD_OPTIONS, ids=[" ".join(options) for options, _ in BAD_OPTIONS])
def test_bad_option(options: tuple[str, ...], words: list[str], layerbench: Layerbench) -> None:
    assert_one_line(layerbench("run", *options), *words)


@pytest.mark.parametrize("option", ["--scaling", "--dtype", "--cache", "--launcher"])
def test_unknown_choice_is_refused_with_the_choices(option: str, layerbench: Layerbench) -> None:
    assert_one_line(layerbench("run", option, "nonsense"), option, "nonsense", "is not one of")


@pytest.mark.parametrize("arguments", [("rum",), ("run", "--nods", "1"), ("run", "--batch", "1e3"), ("doctor", "x")])
def test_what_cannot_be_parsed_is_one_line_too(arguments: tuple[str, ...], layerbench: Layerbench) -> None:
    assert_one_line(layerbench(*arguments), arguments[-2] if arguments[0] == "run" else arguments[-1])


def test_without_a_command_it_shows_its_help(layerbench: Layerbench) -> None:
    done = layerbench()
    assert done.returncode == 0
    assert done.stdout == layerbench("--help").stdout


def test_a_dtype_no_kernel_can_do_says_why_of_each(small_suite: Path, layerbench: Layerbench) -> None:
    done = layerbench("run", "--suite", small_suite, "--dtype", "int8")
    assert_one_line(done, "int8", "numpy:", code=3)


def test_no_network_to_be_had_is_said_before_anything_is_made(
    tmp_path: Path, small_suite: Path, layerbench: Layerbench
) -> None:
    options = ("--nodes", "1,2", "--launcher", "none", "--kernels", "numpy", "--output", tmp_path / "run")
    assert_one_line(layerbench("run", "--suite", small_suite, *options), "--network NAME", code=3)
    assert not (tmp_path / "run").exists()
    named = layerbench("run", "--suite", small_suite, *options, "--max-time", "0.1", "--network", "gemini")
    assert named.returncode == 0, named.stderr
    by = {record.key: record for record in store.load(tmp_path / "run").records}
    assert by["fc", "step", 2].network == "gemini"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written(tmp_path: Path, small_suite: Path, layerbench: Layerbench) -> None:
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    assert_one_line(layerbench("run", "--suite", small_suite, "--output", locked / "run"), "Permission denied")


def test_an_output_below_a_file_is_refused(tmp_path: Path, small_suite: Path, layerbench: Layerbench) -> None:
    (tmp_path / "file").write_text("")
    done = layerbench("run", "--suite", small_suite, "--output", tmp_path / "file" / "run")
    assert_one_line(done, "cannot be made a run folder", "--output")


def test_a_folder_with_something_else_in_it_is_left_alone(
    tmp_path: Path, small_suite: Path, layerbench: Layerbench
) -> None:
    done = layerbench("run", "--suite", small_suite, "--output", small_suite.parent)
    assert_one_line(done, "is not empty and holds no run")
    assert [path.name for path in tmp_path.iterdir()] == ["small.toml"]


def test_report_of_what_is_no_run(tmp_path: Path, layerbench: Layerbench) -> None:
    assert_one_line(layerbench("report", tmp_path / "nothing"), "nothing does not exist: name a run folder")
    assert_one_line(layerbench("report"), "no run in runs/")
    (tmp_path / "run.json").write_text('{"schema_version": 99}')
    (tmp_path / "records.jsonl").write_text("")
    assert_one_line(layerbench("report", tmp_path), "schema version 99")


def test_suites_as_json_is_a_list_of_layers(layerbench: Layerbench) -> None:
    done = layerbench("suites", "alexnet", "--format", "json")
    assert done.returncode == 0, done.stderr
    layers = json.loads(done.stdout)
    assert [layer["name"] for layer in layers] == [f"conv{i}" for i in range(1, 6)] + ["fc6", "fc7", "fc8", "lstm"]
    conv2 = layers[1]
    assert conv2["weights"] == 614400
    listing = layerbench("suites")
    assert listing.returncode == 0
    assert "alexnet-2012" in listing.stdout


def test_suites_checks_a_file(tmp_path: Path, layerbench: Layerbench) -> None:
    path = tmp_path / "typo.toml"
    path.write_text('batch = 1\n[[layer]]\nkind = "fc"\nname = "fc"\nin_feature = 3\nout_features = 4\n')
    assert_one_line(layerbench("suites", path), "typo.toml", "in_feature", "in_features")


def test_doctor_says_what_can_run(layerbench: Layerbench) -> None:
    done = layerbench("doctor")
    assert done.returncode == 0, done.stderr
    assert "numpy" in done.stdout
    assert "Traceback" not in done.stderr


def test_quiet_prints_nothing(tmp_path: Path, small_suite: Path, layerbench: Layerbench) -> None:
    quick = ("--filter", "fc", "--max-time", "0.1", "--kernels", "numpy", "--quiet")
    done = layerbench("run", "--suite", small_suite, "--output", tmp_path / "run", *quick)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_plain_lines_without_a_terminal(tmp_path: Path, small_suite: Path, layerbench: Layerbench) -> None:
    quick = ("--filter", "fc", "--max-time", "0.1", "--kernels", "numpy")
    done = layerbench("run", "--suite", small_suite, "--output", tmp_path / "run", *quick)
    assert done.returncode == 0
    assert "\x1b" not in done.stderr + done.stdout
    assert re.search(r"^\d:\d\d   fc: 5 ok", done.stderr, re.MULTILINE)


def test_layers_without_a_kernel_are_skipped_where_others_have_one(
    tmp_path: Path, small_suite: Path, layerbench: Layerbench
) -> None:
    kernel = tmp_path / "only_fc.py"
    kernel.write_text(
        "import importlib\n"
        "class OnlyFC(type(importlib.import_module('layerbench.kernels.reference').KERNEL)):\n"
        "    name = 'only_fc'\n"
        "    preference = None\n"
        "    def supports(self, layer, dtype):\n"
        "        return None if layer.kind == 'fc' else 'does fully connected layers only'\n"
        "KERNEL = OnlyFC()\n"
    )
    run = tmp_path / "run"
    done = layerbench("run", "--suite", small_suite, "--kernels", kernel, "--max-time", "0.1", "--output", run)
    assert done.returncode == 0, done.stderr
    by = {record.key: record for record in store.load(run).records}
    assert by["fc", "step", 1].status == "ok"
    assert by["conv", "step", 1].status == "skipped"
    assert "fully connected layers only" in by["conv", "step", 1].reason


def test_all_skipped_is_nothing_could_run(tmp_path: Path, small_suite: Path, layerbench: Layerbench) -> None:
    options = ("--batch", "1", "--nodes", "2", "--threads-per-rank", "1", "--filter", "fc", "--kernels", "numpy")
    done = layerbench("run", "--suite", small_suite, "--output", tmp_path / "run", *options)
    assert done.returncode == 3
    assert "nothing could run" in done.stderr


@pytest.mark.parametrize("command", ["suites alexnet", "suites alexnet --format json"])
def test_a_closed_pipe_is_no_error(command: str) -> None:
    # The reader closes its end at once, and the writer starts after that; bash waits for both.
    script = f"(sleep 0.3; exec {sys.executable} -m layerbench {command}) | exec <&-; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_sweep_outlives_who_watched_it(tmp_path: Path, small_suite: Path) -> None:
    job = f"run --suite {small_suite} --filter fc,lstm --kernels numpy --max-time 0.1 --output {tmp_path / 'run'}"
    script = f"(sleep 0.3; exec {sys.executable} -m layerbench {job}) 2>&1 | exec <&-"
    subprocess.run(["bash", "-c", script], check=False, capture_output=True)
    assert len(store.load(tmp_path / "run").records) == 10


@pytest.mark.parametrize(
    "command", [("suites",), ("compare", RESULTS, RESULTS), ("export", RESULTS, "--format", "csv")]
)
def test_a_full_output_is_one_line(command: tuple[str | Path, ...]) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "layerbench", *map(str, command)],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert_one_line(done, "standard output cannot be written", "No space left")


def test_a_closed_output_is_no_defect() -> None:
    done = subprocess.run(
        ["bash", "-c", f"{sys.executable} -m layerbench export {RESULTS} --format csv >&-"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
