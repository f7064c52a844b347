"""What a step is asked to do, and what it leaves behind: figures in a file, whatever becomes of the process."""

from __future__ import annotations

import contextlib
import faulthandler
import json
import re
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

FIGURES = "figures"
LOGS = "logs"
RUNS = "runs"

KERNELS_VARIABLE = "LAYERBENCH_GPU_KERNELS"
CHOICES_VARIABLE = "LAYERBENCH_GPU_CHOICES"
"""What the kernel file of :mod:`tests.gpu.remembered` stands for, and the folder in which it keeps what was chosen."""

REMEMBERED = Path(__file__).with_name("remembered.py")
"""The kernel file that all steps run, so that algorithms are searched for once."""

PROGRESS_INTERVAL = 1.0
"""Seconds between two lines that only say that work goes on."""


@dataclass(frozen=True)
class Job:
    """One step's part of what was asked for; ``seconds`` is what it may take.

    A layer that makes no progress for ``patience`` seconds is given up.
    """

    out: str
    name: str
    seconds: float
    suite: str = "alexnet"
    batch: int = 128
    dtype: str = "fp32"
    dtypes: list[str] = field(default_factory=list)
    kernels: str = "cudnn"
    peers: list[str] = field(default_factory=list)
    max_time: float = 0.5
    patience: float = 30.0

    @property
    def folder(self) -> Path:
        return Path(self.out)

    @property
    def figures(self) -> Path:
        return self.folder / FIGURES / f"{self.name}.json"

    def encoded(self) -> str:
        return json.dumps(asdict(self))


def given() -> Job:
    """The job on the command line of a step's process."""
    return Job(**json.loads(sys.argv[1]))


def write(path: Path, figures: Any) -> None:
    """Put figures in a file at once, so that a reader sees the old ones or the new ones."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".part")
    beside.write_text(json.dumps(figures, indent=1) + "\n")
    beside.replace(path)


def read(path: Path) -> Any:
    """Figures of a file; None where there is none, or none that can be read."""
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return None


def say(what: str) -> None:
    """A line in the step's log: the last one is told where the step does not end well."""
    print(what, flush=True)


class Once:
    """Layers of a step, of which none that took its process down is tried again.

    Attributes
    ----------
    lost
        Why a layer is not tried, by its name.
    """

    def __init__(self, job: Job) -> None:
        self._job = job
        self._begin = time.monotonic()
        self._doing = job.figures.with_suffix(".doing")
        self._lost = job.figures.with_suffix(".lost")
        self.lost: dict[str, str] = read(self._lost) or {}
        was = read(self._doing)
        if was is not None:
            self.lost[was["layer"]] = f"ended its process, or got no further ({was['what']})"
            write(self._lost, self.lost)
            self._doing.unlink()

    @property
    def left(self) -> float:
        """Seconds that are left of the step's."""
        return self._job.seconds - (time.monotonic() - self._begin)

    @contextlib.contextmanager
    def trying(self, layer: str, what: str) -> Iterator[Callable[[str], None]]:
        """While a layer is tried: what ends the process now, or gets no further for too long, is its fault.

        Gives a function to be told of progress.
        """
        say(f"{layer}, {what}")
        write(self._doing, {"layer": layer, "what": what})
        stacks = self._job.folder / LOGS / f"{self._job.name}.stacks"
        stacks.parent.mkdir(parents=True, exist_ok=True)
        with stacks.open("a") as file:

            def wait() -> None:
                # By a thread that needs no lock of Python's: a library may hang with it.
                faulthandler.dump_traceback_later(self._job.patience, exit=True, file=file)

            stage, last = "", time.monotonic()

            def progress(now: str) -> None:
                nonlocal stage, last
                if (named := re.sub(r"\d+ samples$", "", now)) != stage or time.monotonic() - last > PROGRESS_INTERVAL:
                    stage, last = named, time.monotonic()
                    say(f"{what}: {now}")
                    wait()

            wait()
            try:
                yield progress
            finally:
                faulthandler.cancel_dump_traceback_later()
                self._doing.unlink()
        if not stacks.stat().st_size:
            stacks.unlink()


def unfinished(job: Job) -> bool:
    """Whether a step's process ended while it tried a layer."""
    return job.figures.with_suffix(".doing").exists()
