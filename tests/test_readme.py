"""The README works as written: every command is run, every file is made, in order, in one empty folder."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"

BLOCK = re.compile(r"(?:^`([\w./-]+)`:\n\n)?^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks() -> list[tuple[str, str, str]]:
    """(file name or "", language, text) of every fenced block."""
    return [(match[1] or "", match[2], match[3]) for match in BLOCK.finditer(README.read_text())]


def test_it_opens_with_the_two_commands_and_then_the_picture() -> None:
    text = README.read_text()
    first = blocks()[0]
    assert [line.split("#")[0].strip() for line in first[2].splitlines()] == ["make run", "make test"]
    assert text.index("make test") < text.index("![") < text.index("## Use")


def test_every_link_leads_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", README.read_text()):
        assert (ROOT / target).exists(), target


def test_its_pictures_are_there() -> None:
    pictures = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", README.read_text())
    assert pictures
    for picture in pictures:
        assert (ROOT / picture).read_bytes().startswith(b"\x89PNG")


def test_every_make_target_it_names_is_there() -> None:
    targets = set(re.findall(r"\bmake (\w+)", README.read_text()))
    assert {"run", "test", "bench"} <= targets
    for target in targets:
        done = subprocess.run(["make", "--dry-run", target], cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.mpi
def test_every_command_works_as_written(tmp_path: Path) -> None:
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    ran = []
    for name, language, text in blocks():
        if name:
            (tmp_path / name).write_text(text)
        elif language == "sh":
            for line in text.splitlines():
                if line.startswith("make "):
                    continue
                done = subprocess.run(
                    ["bash", "-euc", line], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
                )
                assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
                ran.append(line)
        elif language == "python":
            done = subprocess.run(
                [sys.executable, "-c", text], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, done.stderr
    assert len(ran) >= 8


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
