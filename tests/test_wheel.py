"""The wheel, installed in an environment of its own, runs the main job from another folder."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def _do(*command: str | Path, cwd: Path) -> str:
    done = subprocess.run(list(map(str, command)), cwd=cwd, capture_output=True, text=True, check=False, timeout=280)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.mark.slow
@pytest.mark.mpi
def test_wheel_runs_the_main_job_elsewhere(tmp_path: Path) -> None:
    _do(sys.executable, "-m", "build", "--wheel", "--outdir", tmp_path, ROOT, cwd=tmp_path)
    (wheel,) = tmp_path.glob("layerbench-*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    for folder, package in (("layerbench", "layerbench"), ("kernels", "layerbench/kernels")):
        for path in (ROOT / folder).rglob("*.py"):
            assert f"{package}/{path.relative_to(ROOT / folder)}" in names
    for path in (ROOT / "suites").glob("*.toml"):
        assert f"layerbench/suites/{path.name}" in names
    for path in (ROOT / "results" / "deepbench").glob("*.*"):
        assert f"layerbench/deepbench/{path.name}" in names
    assert not [name for name in names if name.startswith(("kernels/", "suites/", "tests/", "results/"))]

    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    _do(sys.executable, "-m", "venv", tmp_path / "venv", cwd=elsewhere)
    scripts = tmp_path / "venv" / "bin"
    _do(scripts / "python", "-m", "pip", "install", "--quiet", f"{wheel}[local]", cwd=elsewhere)
    job = ("--suite", "alexnet", "--nodes", "1,2,4,8", "--batch", "16", "--filter", "fc8,lstm", "--max-time", "0.2")
    _do(scripts / "layerbench", "run", *job, "--output", "run", cwd=elsewhere)
    told = _do(scripts / "layerbench", "report", "run", cwd=elsewhere)
    for name in ("figure.png", "figure.svg", "report.md"):
        assert (elsewhere / "run" / "report" / name).stat().st_size > 500
        assert name in told
