"""``make gpu-check``: its steps on a processor, what becomes of steps that crash or hang, and how aims are judged."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from layerbench import store
from layerbench.layers import FC, LSTM, Conv
from tests.gpu import aims, marked, place, plan, process

ROOT = Path(__file__).parents[1]

TROUBLE = """
import os, sys, time
from layerbench import registry

STEP = os.path.basename(sys.argv[0])

class Trouble:
    preference = None
    name = "trouble"

    def __init__(self):
        self._numpy = registry.named("numpy")

    def __getattr__(self, name):
        return getattr(self._numpy, name)

    def prepare(self, job, tensors, choices):
        if job.layer.name == "fc" and STEP == "sweeps.py":
            print("about to go down", flush=True)
            os._exit(7)
        if job.layer.name == "lstm" and STEP == "peers.py":
            time.sleep(1000)
        return self._numpy.prepare(job, tensors, choices)

KERNEL = Trouble()
"""
"""Takes its process down with one layer in one step, and hangs with another in another."""


def checked(out: Path, *arguments: str | Path, timeout: float = 200) -> subprocess.CompletedProcess[str]:
    """Run the program; it must end by itself."""
    return subprocess.run(
        [sys.executable, ROOT / "tests/gpu", "--out", out, *map(str, arguments)],
        cwd=out.parent,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


@pytest.mark.slow
def test_steps_that_crash_or_hang_are_told_and_the_rest_goes_on(small_suite: Path, tmp_path: Path) -> None:
    kernel = tmp_path / "trouble.py"
    kernel.write_text(TROUBLE)
    out, archive = tmp_path / "out", tmp_path / "out.tar.gz"
    small = ("--suite", small_suite, "--batch", "4", "--max-time", "0.05", "--dtypes", "fp32", "--minutes", "4")
    steps = ("--steps", "environment,layers-*,peers-*,independent", "--patience", "20")
    done = checked(out, "--kernels", kernel, "--peers", "numpy", *small, *steps, "--archive", archive)
    assert done.returncode == 0, done.stderr
    found = json.loads((out / "table.json").read_text())
    by_name = {step["name"]: step for step in found["steps"]}
    assert {name: step["status"] for name, step in by_name.items()} == dict.fromkeys(by_name, "ok")
    assert list(by_name) == ["environment", "layers-fp32", "peers-fp32", "independent"]
    assert by_name["layers-fp32"]["attempts"] == 2
    assert by_name["peers-fp32"]["attempts"] == 2
    assert by_name["peers-fp32"]["seconds"] > 20

    rows = found["figures"]["layers-fp32"]["rows"]
    of_layers = {(row["layer"], row["way"]): row for row in rows}
    assert set(of_layers) == {(layer, way) for layer in ("conv", "fc", "lstm") for way in ("hot", "cold")}
    for (layer, way), row in of_layers.items():
        if layer == "fc":
            assert (row["status"], row["seconds"]) == ("failed", None)
            assert row["reason"] == "ended its process, or got no further (hot)"
        else:
            assert row["status"] == "ok", row["reason"]
            median, low, high = row["seconds"]
            assert 0 < low <= median <= high, way
    assert "graph" in found["figures"]["layers-fp32"]["ways"]["graph hot"]["reason"]
    assert found["figures"]["layers-fp32"]["roofline"]["flops"] > 0

    # The run folders are such as any command reads.
    run = store.load(out / "runs/fp32-hot")
    assert not run.warnings
    assert run.manifest.outcome == "complete"
    assert run.manifest.roofline is not None
    assert len(run.records) == 15
    assert {record.kernels for record in run.records if record.layer == "conv" and record.macs} == {"trouble"}

    peers = found["figures"]["peers-fp32"]
    assert [(row["layer"], row["pass"]) for row in peers["rows"]] == [
        (layer, pass_) for layer in ("conv", "fc") for pass_ in aims.PASSES
    ]
    for row in peers["rows"]:
        assert row["ratio"]["numpy"][0] == pytest.approx(row["seconds"]["numpy"][0] / row["seconds"]["ours"][0])
    assert peers["left_out"] == ["lstm: ended its process, or got no further (peers)"]

    other = found["figures"]["independent"]
    assert other["harness"] == "the host clock around a loop"
    assert {(row["layer"], row["pass"]) for row in other["rows"]} == {
        *(("conv", "forward"), ("conv", "backward_weights"), ("fc", "forward"), ("fc", "backward_weights")),
        *(("lstm", "forward"), ("lstm", "backward_data")),
    }

    text = (out / "table.md").read_text()
    assert text == done.stdout[done.stdout.index("# GPU check") :].rstrip("\n") + "\n"
    assert (
        "- fc failed (hot, cold; forward, backward_data, backward_weights): ended its process, or got no further (hot)"
        in text
    )
    assert "about to go down" in (out / "logs/layers-fp32.log").read_text()
    assert (
        "time.sleep" in (out / "logs/peers-fp32.stacks").read_text()
        or "prepare" in (out / "logs/peers-fp32.stacks").read_text()
    )
    for name in ("doctor.txt", "environment.json", "nvidia-smi.txt", "packages.txt"):
        assert (out / name).stat().st_size, name
    with tarfile.open(archive) as packed:
        assert {"out/table.json", "out/runs/fp32-hot/records.jsonl"} <= set(packed.getnames())


@pytest.mark.slow
@pytest.mark.mpi
def test_equal_runs_nodes_and_tests(small_suite: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    small = ("--suite", small_suite, "--batch", "8", "--max-time", "0.05", "--dtypes", "fp32", "--minutes", "3")
    done = checked(out, "--kernels", "numpy", "--peers", "numpy", *small, "--steps", "alike,nodes")
    assert done.returncode == 0, done.stderr
    figures = json.loads((out / "table.json").read_text())["figures"]
    assert figures["alike"]["runs"] == ["runs/fp32-alike-1", "runs/fp32-alike"]
    assert len(figures["alike"]["rows"]) == 12
    of_nodes = {row["nodes"]: row for row in figures["nodes"]["rows"]}
    assert list(of_nodes) == [1, 2, 4, 8]
    assert of_nodes[1]["placement"] == "measured"
    assert of_nodes[8]["placement"] == "emulated" or (os.cpu_count() or 1) >= 8
    assert all(row["layers"] == 3 and row["seconds"] > 0 for row in of_nodes.values())
    assert (out / "runs/fp32-nodes/report").is_dir()


def test_a_step_that_does_not_end_is_ended_with_all_it_started(tmp_path: Path) -> None:
    log = tmp_path / "log"
    child = (
        "import subprocess; begun = subprocess.Popen(['sleep', '300']); open('begun', 'w').write(str(begun.pid));"
        "print('waiting', flush=True); begun.wait()"
    )
    begin = time.monotonic()
    outcome = process.run("step", [sys.executable, "-c", child], os.environ, tmp_path, log, 3.0)
    assert time.monotonic() - begin < 30
    assert (outcome.status, outcome.said) == ("out of time", "ended after 3 s: waiting")
    begun = Path(f"/proc/{(tmp_path / 'begun').read_text()}/stat")
    # Whoever adopted it may not have looked at its end yet.
    assert not begun.exists() or begun.read_text().rsplit(")", 1)[1].split()[0] == "Z"


@pytest.mark.parametrize(
    ("code", "status", "said"),
    [
        ("print('fine')", "ok", ""),
        ("import sys; print('bad\\n\\n'); sys.exit(3)", "failed", "exit code 3: bad"),
        ("import os; os.kill(os.getpid(), 11)", "failed", "ended by SIGSEGV: it said nothing"),
    ],
)
def test_how_a_step_ended_is_told_with_its_last_line(tmp_path: Path, code: str, status: str, said: str) -> None:
    outcome = process.run("step", [sys.executable, "-c", code], os.environ, tmp_path, tmp_path / "log", 60)
    assert (outcome.status, outcome.said) == (status, said)


def test_what_matters_most_comes_first() -> None:
    names = [step.name for step in plan.steps(["bf16", "fp32", "fp16"], ["*"])]
    assert names == [
        *("environment", "tests", "layers-bf16", "peers-bf16", "independent", "layers-fp32", "peers-fp32"),
        *("alike", "nodes", "layers-fp16", "peers-fp16"),
    ]
    assert [step.name for step in plan.steps(["fp32"], ["peers-*", "tests"])] == ["tests", "peers-fp32"]
    with pytest.raises(ValueError, match="'peer' fits no step; there are environment, tests"):
        plan.steps(["fp32"], ["peer"])


def test_no_step_takes_the_time_of_all_that_follow() -> None:
    steps = plan.steps(["bf16", "fp32", "fp16", "tf32"], ["*"])
    left = 540.0
    for number in range(len(steps)):
        seconds = plan.limit(steps[number:], left)
        assert plan.LEAST_SECONDS <= seconds <= left, steps[number]
        left -= seconds
    assert left >= 0
    assert plan.limit(steps[-1:], 4.0) == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--steps", "nothing"), "--steps: 'nothing' fits no step"),
        (("--dtypes", ","), "--dtypes names none"),
        (("--out", ""), "--out must name a folder"),
    ],
)
def test_wrong_use_is_one_line(tmp_path: Path, arguments: Sequence[str], words: str) -> None:
    done = checked(tmp_path / "out", *arguments)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert words in done.stderr


def test_a_folder_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/kept").write_text("kept")
    done = checked(tmp_path / "out")
    assert done.returncode == 2
    assert "is not empty" in done.stderr
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["kept"]


def test_checkout_laid_out_by_links_can_be_imported(tmp_path: Path) -> None:
    place.lay_out(tmp_path / "laid")
    code = (
        "import layerbench.kernels, layerbench.suites, layerbench.deepbench; from layerbench import registry, suite;"
        "print(layerbench.__file__); registry.named('numpy'); suite.load('alexnet')"
    )
    variables = dict(os.environ) | {"PYTHONPATH": str(tmp_path / "laid"), "PYTHONSAFEPATH": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).parent.parent == tmp_path / "laid"


def test_without_wheels_nothing_is_installed(tmp_path: Path) -> None:
    variables = place.environment(tmp_path / "site", os.environ, wheels=tmp_path / "none")
    assert not (tmp_path / "site").exists() or [path.name for path in (tmp_path / "site").iterdir()] == ["checkout"]
    assert str(ROOT) in variables["PYTHONPATH"].split(os.pathsep)


def test_wheels_that_cannot_be_installed_are_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "broken-1.0-py3-none-any.whl").write_text("no wheel")
    with pytest.raises(RuntimeError, match=r"the wheels cannot be installed: .*broken"):
        place.environment(tmp_path / "site", os.environ, wheels=tmp_path)


def test_tests_are_counted_from_their_results(tmp_path: Path) -> None:
    results = tmp_path / "tests.xml"
    results.write_text(
        '<testsuites><testsuite><testcase classname="a" name="one"/>'
        '<testcase classname="a" name="two"><failure message="it is\nwrong"/></testcase>'
        '<testcase classname="a" name="three"><error message="collection failure">'
        "in a.py:1\nE   No module b\n</error></testcase>"
        '<testcase classname="a" name="four"><skipped message="no GPU"/></testcase></testsuite></testsuites>'
    )
    found = marked.counted(results)
    assert found["counts"] == {"passed": 1, "failed": 2, "skipped": 1}
    assert found["bad"] == ["a::two: it is wrong", "a::three: collection failure No module b"]
    assert found["skipped"] == ["no GPU"]
    assert marked.counted(tmp_path / "none")["bad"][0].startswith("no results")


def test_choices_are_searched_for_once_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from layerbench import registry, verify
    from layerbench.kernel import Budget, Job

    monkeypatch.setenv("LAYERBENCH_GPU_KERNELS", "numpy")
    monkeypatch.setenv("LAYERBENCH_GPU_CHOICES", str(tmp_path / "choices"))
    layer = FC(name="fc", in_features=8, out_features=4)
    numpy = registry.named("numpy")
    searched: list[str] = []
    search = type(numpy).search

    def counted(self: Any, job: Job, *others: Any) -> Any:
        searched.append(job.layer.name)
        return search(self, job, *others)

    monkeypatch.setattr(type(numpy), "search", counted)
    job, tensors = Job(layer, 2, "fp32"), verify.tensors(layer, "fp32", 0, 0, 2)
    found = []
    for _ in range(2):
        kernel = registry.find(str(ROOT / "tests/gpu/remembered.py"), layer, "fp32")
        assert kernel.name == "numpy"
        found.append(kernel.search(job, tensors, Budget()))
        assert all(check.ok for check in verify.verify(kernel, job, tensors, found[-1]).values())
    assert found[0] == found[1]
    assert searched == ["fc"]
    kernel.search(Job(layer, 1, "fp32"), verify.tensors(layer, "fp32", 0, 0, 1), Budget())
    assert searched == ["fc", "fc"]


def test_companions_serve_what_a_library_does_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from layerbench import registry

    first = tmp_path / "first.py"
    first.write_text(
        "from layerbench import registry\n"
        "class First:\n"
        "    name, preference, companions = 'first', None, ('numpy',)\n"
        "    def __getattr__(self, name): return getattr(registry.named('numpy'), name)\n"
        "    def supports(self, layer, dtype): return None if layer.kind == 'conv' else 'does convolutions'\n"
        "KERNEL = First()\n"
    )
    monkeypatch.setenv("LAYERBENCH_GPU_KERNELS", str(first))
    monkeypatch.setenv("LAYERBENCH_GPU_CHOICES", str(tmp_path / "choices"))
    path = str(ROOT / "tests/gpu/remembered.py")
    conv = Conv(name="conv", input=(8, 8), in_channels=1, out_channels=1, filter=(3, 3))
    lstm = LSTM(name="lstm", input_size=4, hidden_size=4, time_steps=2)
    assert registry.find(path, conv, "fp32").name == "first"
    assert registry.find(path, lstm, "fp32").name == "numpy"
    refusal = registry.named(path).supports(lstm, "int8")
    assert refusal is not None
    assert refusal.startswith("first: does convolutions; numpy: ")
