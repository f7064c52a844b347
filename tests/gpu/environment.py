"""The step that writes down where all this is measured: the GPU as its driver tells it, the software, the doctor."""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
import sys
from pathlib import Path

from layerbench import environment
from tests.gpu.job import Job, given, say, write

SECONDS = 60


def main() -> None:
    job = given()
    facts = environment.capture()
    (job.folder / "environment.json").write_text(json.dumps(facts, indent=1) + "\n")
    packages = sorted({f"{each.name}=={each.version}" for each in importlib.metadata.distributions()}, key=str.lower)
    (job.folder / "packages.txt").write_text("\n".join(packages) + "\n")
    told = {
        "nvidia-smi": _kept(job.folder / "nvidia-smi.txt", ["nvidia-smi", "-q"]),
        "doctor": _kept(job.folder / "doctor.txt", [sys.executable, "-m", "layerbench", "doctor"]),
    }
    write(job.figures, {"gpu": _gpu(), "told": told, "python": sys.version.split()[0], "where": _where(job)})


def _kept(path: Path, command: list[str]) -> str:
    """Keep what a command prints; returns why there is nothing, or empty."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        reason = f"{Path(command[0]).name}: {error}"
        path.write_text(reason + "\n")
        say(reason)
        return reason
    path.write_text(done.stdout + done.stderr)
    return ""


def _gpu() -> str:
    """Name, memory and driver of the GPUs; empty where none is told of."""
    asked = ["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(asked, capture_output=True, text=True, timeout=SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return "; ".join(done.stdout.split("\n")).strip("; ") if done.returncode == 0 else ""


def _where(job: Job) -> str:
    """The kernels that were asked for, and their version or why there is none."""
    from layerbench import registry
    from tests.gpu.job import REMEMBERED

    try:
        available = registry.named(str(REMEMBERED)).availability()
    except Exception as error:
        return f"{job.kernels}: {' '.join(str(error).split())}"
    return f"{job.kernels} {available.version}" if available.ok else f"{job.kernels}: {available.reason}"


if __name__ == "__main__":
    main()
