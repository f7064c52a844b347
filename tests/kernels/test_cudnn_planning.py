"""cuDNN's real planner, for GPUs that are only described: all that happens up to execution."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.cuda_libraries, pytest.mark.slow]

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


def libraries() -> list[Path]:
    """Folders with NVIDIA's libraries of the environment's wheels."""
    spec = importlib.util.find_spec("nvidia")
    found = [
        folder for root in (spec.submodule_search_locations or [] if spec else []) for folder in Path(root).iterdir()
    ]
    return [folder / "lib" for folder in found if (folder / "lib").is_dir()]


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a driver that has no device."""
    if importlib.util.find_spec("cudnn") is None:
        pytest.skip("nvidia-cudnn-frontend is not installed")
    if not any(list(folder.glob("libcudnn.so.9")) for folder in libraries()):
        pytest.skip("no wheel of cuDNN 9 is installed")
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler")
    folder = tmp_path_factory.mktemp("driver")
    command = [compiler, "-shared", "-fPIC", "-Wall", "-Wextra", "-Werror", "-o", folder / "libcuda.so.1"]
    subprocess.run([*command, HERE / "null_driver.c"], check=True, timeout=60)
    return folder


def planned(driver: Path, gpu: str, dtype: str) -> tuple[list[dict[str, Any]], str]:
    """What the program tells of every pass, and what it and the libraries complain of."""
    path = os.pathsep.join(map(str, [driver, *libraries()]))
    command = [sys.executable, "-m", "tests.kernels.cudnn_planning", gpu, dtype]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, "LD_LIBRARY_PATH": path},
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads(line) for line in done.stdout.splitlines()], done.stderr


@pytest.mark.parametrize(
    # tf32 and fp16 on an H100, and bf16 on an A100, are planned alike; each of these takes up to a minute.
    ("gpu", "dtype"),
    [("H100", "fp64"), ("H100", "fp32"), ("H100", "bf16"), ("A100", "tf32")],
)
def test_every_pass_of_every_layer_has_plans_that_can_be_made_again(driver: Path, gpu: str, dtype: str) -> None:
    rows, complaints = planned(driver, gpu, dtype)
    assert "Could not load symbol" not in complaints
    assert len(rows) == 8 * 3 * 2, "layers, passes, layouts"
    for row in rows:
        assert row["plans"] == row["distinct"] == len(row["workspaces"]) >= 1
        assert row["algorithm"].startswith("eng")
        assert row["algorithm"].split()[1] == row["layout"]
        assert sum(row["small"].values()) == row["picked"]
    assert any(0 in row["workspaces"] for row in rows)
    # A plan for a batch of two must be rare to miss: all of the batch would have to be verified.
    assert sum(row["small"]["same"] for row in rows) >= 0.8 * sum(row["picked"] for row in rows)
    told = [set(row["notes"]) for row in rows if row["notes"] is not None]
    assert not any({"DOWN_CONVERT_INPUTS", "REDUCED_PRECISION_REDUCTION"} & notes for notes in told)
    share = sum("TENSOR_CORE" in notes for notes in told) / len(told)
    assert share == 0 if dtype in {"fp32", "fp64"} else share > 0.8
