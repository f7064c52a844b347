"""The README's first command in a clone of its own, into which everything is installed anew."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
@pytest.mark.mpi
def test_make_run_works_in_a_clean_clone(tmp_path: Path) -> None:
    """The README's first command where nothing is there yet; a small batch, because the full job takes minutes."""
    if shutil.which("make") is None or not (ROOT / ".git").exists():
        pytest.skip("needs make and a git checkout")
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "--quiet", ROOT, clone], check=True)
    # Of this environment nothing is passed on but what finds programs and packages.
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "VIRTUAL_ENV"))}
    command = ["make", "run", "BATCH=2", "NODES=1,2,4", "MAX_TIME=0.1", f"PYTHON={sys.executable}"]
    done = subprocess.run(command, cwd=clone, env=kept, capture_output=True, text=True, check=False, timeout=280)
    assert done.returncode == 0, done.stderr
    assert re.search(r"^runs/alexnet-\d+-\d+/report/figure\.png$", done.stdout, re.MULTILINE)
