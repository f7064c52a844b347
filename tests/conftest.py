"""What several tests share: a small suite, the command line as a user calls it, a browser, why a tier is skipped."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from layerbench.launch import find_mpiexec
from tests.browsed import Opened, opened

SMALL_SUITE = """
description = "three layers, each a few milliseconds"
batch = 8

[[layer]]
kind = "conv"
name = "conv"
input = 14
in_channels = 16
out_channels = 32
filter = 3
padding = 1

[[layer]]
kind = "fc"
name = "fc"
in_features = 256
out_features = 128

[[layer]]
kind = "lstm"
name = "lstm"
input_size = 32
hidden_size = 32
time_steps = 8
"""

QUICK = ("--kernels", "numpy", "--max-time", "0.2", "--batch", "8")
"""Options of a run that takes no longer than it must."""

CHROMIUM = "chromium"

Layerbench = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def small_suite(tmp_path: Path) -> Path:
    """A suite file that runs in seconds."""
    path = tmp_path / "small.toml"
    path.write_text(SMALL_SUITE)
    return path


def command_line(folder: Path) -> Layerbench:
    """What runs the command line in a folder and returns what it printed."""

    def run(*arguments: str | Path, cwd: Path = folder, timeout: float = 240) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "layerbench", *map(str, arguments)],
            cwd=cwd,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    return run


@pytest.fixture
def layerbench(tmp_path: Path) -> Layerbench:
    """Run the command line in an empty folder and return what it printed."""
    return command_line(tmp_path)


def assert_one_line(done: subprocess.CompletedProcess[str], *words: str, code: int = 2) -> None:
    """The command failed with one clear line on standard error that has these words, and no traceback."""
    assert done.returncode == code, done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("layerbench: ")]
    assert len(lines) == 1, done.stderr
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in lines[0]


@pytest.fixture
def mpiexec() -> str:
    """The launcher of the MPI that mpi4py loads."""
    program = find_mpiexec()
    if program is None:
        pytest.skip("no mpiexec: pip install 'layerbench[local]'")
    return program


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """A real browser, started once."""
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="playwright is not installed: pip install playwright"
    )
    for needed in ("jinja2", "plotly"):
        pytest.importorskip(needed, reason=f"{needed} is not installed: pip install 'layerbench[html]'")
    program = shutil.which(CHROMIUM)
    if program is None:
        pytest.skip("no Chromium: apt-get install chromium")
    with playwright.sync_playwright() as started:
        running = started.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield running
        running.close()


@pytest.fixture(scope="session")
def open_html(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Opened]]:
    """Open a page of these contents, offline; it stays open until all tests are done."""
    contexts = []
    folder = tmp_path_factory.mktemp("pages")

    def open_(contents: bytes, *, width: int = 1280, scheme: str = "light", **options: Any) -> Opened:
        file = folder / f"{len(contexts)}.html"
        file.write_bytes(contents)
        contexts.append(
            browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True, **options)
        )
        return opened(contexts[-1], file)

    yield open_
    for context in contexts:
        context.close()


def until(holds: Callable[[], bool], what: str, patience: float = 60) -> None:
    """Wait for something that must come about."""
    deadline = time.monotonic() + patience
    while not holds():
        assert time.monotonic() < deadline, f"in vain: {what}"
        time.sleep(0.1)
