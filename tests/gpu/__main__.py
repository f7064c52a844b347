"""``make gpu-check``: all that is to be seen of one GPU in a few minutes, what matters most first.

python tests/gpu --out DIR [--minutes 9] [--kernels cudnn] [--peers pytorch] [--steps 'environment,layers-*,...']

Every step is a process of its own with a time limit. After each of them the folder has all that is known by then:
table.md and table.json, the run folders in runs/, what each step said in logs/.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tarfile
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.gpu import aims, place, plan, process, table
from tests.gpu.job import CHOICES_VARIABLE, FIGURES, KERNELS_VARIABLE, LOGS, Job, read, unfinished, write
from tests.gpu.plan import Step
from tests.gpu.process import Outcome

MOST_ATTEMPTS = 6
"""How often a step is begun: each time without the layers that took its process down before."""

NOTHING_RAN = 3


def main() -> int:
    begin = time.monotonic()
    asked = _asked()
    if not asked.out:
        return _refused("--out must name a folder: make gpu-check OUT=DIR")
    out = Path(asked.out).resolve()
    if out.exists() and any(out.iterdir()):
        return _refused(f"--out {asked.out} is not empty: name a new folder")
    dtypes, peers = _words(asked.dtypes), _words(asked.peers)
    if not dtypes:
        return _refused("--dtypes names none: name some, such as bf16,fp32")
    try:
        steps = plan.steps(dtypes, _words(asked.steps))
    except ValueError as error:
        return _refused(f"--steps: {error}")
    for folder in (FIGURES, LOGS):
        (out / folder).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="layerbench-gpu-") as site:
        try:
            variables = place.environment(Path(site) / "site", os.environ)
        except RuntimeError as error:
            return _refused(str(error))
        variables[KERNELS_VARIABLE] = _path(asked.kernels)
        variables[CHOICES_VARIABLE] = str(out / "choices")
        base = Job(
            out=str(out),
            name="",
            seconds=0.0,
            suite=_path(asked.suite),
            batch=asked.batch,
            dtypes=dtypes,
            kernels=asked.kernels,
            peers=peers,
            max_time=asked.max_time,
            patience=asked.patience,
        )
        outcomes: list[Outcome] = []
        for number, step in enumerate(steps):
            left = 60 * asked.minutes - (time.monotonic() - begin)
            print(f"{step.name}: {left:.0f} s are left", flush=True)
            outcomes.append(_done(base, step, plan.limit(steps[number:], left), variables))
            to_come = [Outcome(each.name, "not reached") for each in steps[number + 1 :]]
            text = _tell(out, [*outcomes, *to_come], dtypes, peers)
            if asked.archive:
                _pack(out, Path(asked.archive))
    print(text)
    return 0 if any(outcome.status == "ok" for outcome in outcomes) else NOTHING_RAN


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tests/gpu", description=__doc__)
    parser.add_argument("--out", required=True, help="folder for all that is found; a new one")
    parser.add_argument("--archive", default="", help="a .tar.gz of that folder, made anew after each step")
    parser.add_argument("--minutes", type=float, default=9.0, help="what all of it may take")
    parser.add_argument("--kernels", default="cudnn", help="a kernel library's name, or a .py file")
    parser.add_argument("--peers", default="pytorch", help="kernel libraries, separated by commas")
    parser.add_argument("--suite", default="alexnet")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--dtypes", default="bf16,fp32,fp16,tf32", help="what matters most first")
    parser.add_argument("--steps", default="*", help="names or patterns, separated by commas")
    parser.add_argument("--max-time", type=float, default=0.5, help="seconds of sampling for a layer in each way")
    parser.add_argument(
        "--patience", type=float, default=Job.patience, help="seconds without progress that end a layer"
    )
    return parser.parse_args()


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _path(name: str) -> str:
    """A file by its whole path, for steps run in another folder."""
    return str(Path(name).resolve()) if Path(name).is_file() else name


def _refused(reason: str) -> int:
    print(f"gpu-check: {' '.join(reason.split())}", file=sys.stderr)
    return 2


def _done(base: Job, step: Step, seconds: float, variables: Mapping[str, str]) -> Outcome:
    """Run a step; where a layer took its process down, again without that layer."""
    if not seconds:
        return Outcome(step.name, "not reached", said="no time was left for it")
    begin = time.monotonic()
    job = replace(base, name=step.name, dtype=step.dtype or base.dtype)
    log = job.folder / LOGS / f"{step.name}.log"
    attempt = 0
    while True:
        attempt += 1
        left = seconds - (time.monotonic() - begin)
        # What the step ends by itself when its time is over, it ends better than a signal does.
        this = replace(job, seconds=max(1.0, 0.9 * left - 2))
        command = [sys.executable, "-m", f"tests.gpu.{step.module}", this.encoded()]
        outcome = process.run(step.name, command, variables, job.folder, log, left)
        again = outcome.status == "failed" and unfinished(job) and attempt < MOST_ATTEMPTS
        if not again or seconds - (time.monotonic() - begin) < plan.LEAST_SECONDS:
            return replace(outcome, seconds=time.monotonic() - begin, attempts=attempt)


def _tell(out: Path, outcomes: list[Outcome], dtypes: list[str], peers: list[str]) -> str:
    """Write the table of what is known by now; returns it."""
    figures: dict[str, Any] = {outcome.name: read(out / FIGURES / f"{outcome.name}.json") for outcome in outcomes}
    judged = aims.judged(figures, dtypes, peers)
    text = table.markdown(outcomes, figures, judged, dtypes, peers)
    (out / "table.md").write_text(text)
    steps = [asdict(outcome) for outcome in outcomes]
    found = [asdict(aim) | {"verdict": aim.verdict} for aim in judged]
    write(out / "table.json", json.loads(json.dumps({"aims": found, "steps": steps, "figures": figures})))
    return text


def _pack(out: Path, archive: Path) -> None:
    """Put all there is in one file; whoever takes it meanwhile has the one before."""
    beside = archive.with_name(f"{archive.name}.part")
    with tarfile.open(beside, "w:gz") as packed:
        packed.add(out, out.name)
    beside.replace(archive)


if __name__ == "__main__":
    sys.exit(main())
