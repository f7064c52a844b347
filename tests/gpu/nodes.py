"""The step that runs the command itself, on more nodes than there are GPUs, and draws its report."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

from layerbench import store
from layerbench.errors import StoreError
from layerbench.stats import interval
from tests.gpu.job import REMEMBERED, RUNS, Job, given, say, write

COUNTS = (1, 2, 4, 8)

NETWORK = "gemini"
"""Of emulated counts; there is one GPU, so that no network could be measured."""

ERRORS = 2
"""Exit codes from here up say that nothing was measured."""


def main() -> None:
    job = given()
    run = job.folder / RUNS / f"{job.dtype}-nodes"
    resume = ["--resume"] if run.exists() else []
    command = [
        *("run", "--suite", job.suite, "--nodes", ",".join(map(str, COUNTS)), "--batch", str(job.batch)),
        *("--dtype", job.dtype, "--kernels", str(REMEMBERED), "--network", NETWORK, "--max-time", str(job.max_time)),
        *("--output", str(run), *resume),
    ]
    code = _called(command)
    write(job.figures, _figures(job, run))
    if code < ERRORS and _called(["report", str(run), "--no-html"]):
        say("no report of it could be drawn")
    if code >= ERRORS:
        sys.exit(code)


def _called(arguments: list[str]) -> int:
    return subprocess.run([sys.executable, "-m", "layerbench", *arguments], check=False).returncode


def _figures(job: Job, run: Path) -> dict[str, Any]:
    """Of each count, how its steps are timed, and how long all layers take together."""
    rows: list[dict[str, Any]] = []
    try:
        records = store.load(run).records
    except StoreError as error:
        return {"dtype": job.dtype, "run": f"{RUNS}/{run.name}", "rows": rows, "reason": str(error)}
    for nodes in COUNTS:
        steps = [record for record in records if record.nodes == nodes and record.part == "step"]
        timed = [record for record in steps if record.status == "ok"]
        rows.append(
            {
                "nodes": nodes,
                "placement": ", ".join(sorted({record.placement for record in steps})),
                "layers": len(timed),
                "failed": len(steps) - len(timed),
                "seconds": sum(interval(record.samples).median for record in timed) if timed else None,
                "reason": next((record.reason for record in steps if record.status != "ok"), ""),
            }
        )
    return {"dtype": job.dtype, "run": f"{RUNS}/{run.name}", "network": NETWORK, "rows": rows, "reason": ""}


if __name__ == "__main__":
    main()
