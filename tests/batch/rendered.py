"""Scripts as ``layerbench submit`` makes them, with names and paths that do not change.

    python -m tests.batch.rendered

writes the golden ones anew, to be read before they are kept.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest import mock

import msgspec

from layerbench.batch import asked as asking
from layerbench.batch import submit as submitting
from layerbench.batch.submission import Submission
from layerbench.batch.submit import Planned
from layerbench.batch.system import System, names

GOLDEN = Path(__file__).parent / "golden"
PYTHON = "/home/me/venv/bin/python"
WORKDIR = Path("/home/me/project")
RUN = Path("/scratch/me/runs/first")

CORES = {"openpbs": 16, "torque": 16, "lsf": 42, "flux": 48}
"""Of a node, where the system does not say."""


def submission(system: str | System, **changes: Any) -> Submission:
    """What is submitted by ``--suite alexnet --nodes 1,2,4,8 --walltime 00:30:00 --account ABC123``."""
    name = system if isinstance(system, str) else system.name
    defaults = {
        "system": name,
        "suite": "alexnet",
        "filter": "",
        "nodes": [1, 2, 4, 8],
        "walltime": "00:30:00",
        "account": "ABC123",
        "cores_per_node": CORES.get(name),
        "options": [["--suite", "alexnet"], ["--batch", "128"]],
    }
    asked = asking.Asked(**{**defaults, **changes})
    if isinstance(system, System):
        with mock.patch("layerbench.batch.system.load", return_value=system):
            made = asking.submission(asked)
    else:
        made = asking.submission(asked)
    python = made.system.python or PYTHON
    return msgspec.structs.replace(made, workdir=str(WORKDIR), python=python)


def planned(made: Submission, run: Path = RUN) -> list[Planned]:
    """Its jobs, the random part of their names known."""
    with mock.patch("secrets.token_hex", lambda size: "1a2b3c4d"[: 2 * size]):
        return submitting.plan(run, made, made.parts())


def script(system: str) -> str:
    """The one script of a system."""
    (only,) = planned(submission(system))
    return only.script


if __name__ == "__main__":
    for name in names():
        (GOLDEN / f"{name}.sh").write_text(script(name))
