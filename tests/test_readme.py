"""The README works as written: every command is run, every file is made, in order, in one empty folder."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from layerbench.cuda.library import availability

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
    targets = set(re.findall(r"\bmake ([\w-]*\w)", README.read_text()))
    assert {"run", "test", "bench"} <= targets
    for target in targets:
        done = subprocess.run(["make", "--dry-run", target], cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


SHORTER = {"--max-time 1 ": "--max-time 0.1 ", "--max-time 0.5": "--max-time 0.1", "'fc*,lstm'": "'fc8*,lstm'"}
"""What takes the place of options that only say for how long, or of how much, times are taken that nobody looks at."""


def shorter(line: str) -> str:
    for written, tested in SHORTER.items():
        line = line.replace(written, tested)
    return line


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
                    ["bash", "-euc", shorter(line)],
                    cwd=tmp_path,
                    env=environment,
                    capture_output=True,
                    text=True,
                    check=False,
                )
                assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
                ran.append(line)
        elif language == "python":
            done = subprocess.run(
                [sys.executable, "-c", text], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, done.stderr
    assert len(ran) >= 8
    assert all(any(written in line for line in ran) for written in SHORTER)


def test_commands_for_a_gpu_are_understood_and_say_what_is_missing(tmp_path: Path) -> None:
    """Where there is none; where there is one, ``make gpu-check`` runs the like of them."""
    if availability().ok:
        pytest.skip("there is a GPU here")
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    ran = 0
    for line in "".join(text for _, language, text in blocks() if language == "console").splitlines():
        command = line.removeprefix("$ ")
        if not command.startswith("layerbench "):
            continue
        done = subprocess.run(
            ["bash", "-euc", command], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 2, done.stderr
        assert re.fullmatch(r"layerbench: --kernels cudnn cannot be used here: .+\n", done.stderr), done.stderr
        ran += 1
    assert ran >= 3
    assert not list(tmp_path.iterdir())
