"""Collects: waits for jobs, and makes one run of what they measured."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path

import msgspec

from layerbench import store
from layerbench.batch import submission as submissions
from layerbench.batch.execute import TIMEOUT
from layerbench.batch.follow import Look, look, wait
from layerbench.batch.merge import merge
from layerbench.batch.verdict import OVER, Verdict
from layerbench.errors import StoreError

NOT_OVER = 4
"""Exit code where some job is still to come."""


class Collected(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a run's jobs: by name, the exit code of the worst, and whether there is a run to read."""

    verdicts: dict[str, Verdict]
    exit_code: int
    readable: bool
    notes: list[str]


def collect(
    run: Path,
    say: Callable[[str], None],
    *,
    waits: bool = True,
    timeout: float | None = None,
    interval: float = 2.0,
    lag: float = 30.0,
    answer_timeout: float = TIMEOUT,
) -> Collected:
    """Wait for a run's jobs and merge what they measured; see :func:`layerbench.batch.follow.wait` for the rest.

    Raises
    ------
    StoreError
        If the run was not submitted, or its parts cannot be merged.
    """
    submission = submissions.load(run)
    names = [job.name for job in submission.latest()]
    if waits:
        seen = wait(run, names, say, timeout=timeout, interval=interval, lag=lag, answer_timeout=answer_timeout)
    else:
        seen = look(run, names, answer_timeout)
    notes = [f"the scheduler does not answer: {seen.silence}"] if seen.silence else []
    left_out = [nodes for nodes in submission.parts() if nodes not in [job.nodes for job in submission.latest()]]
    for nodes in left_out:
        counts = ",".join(map(str, nodes))
        notes.append(
            f"nothing was submitted for {counts} nodes; go on with: layerbench submit --resume {shlex.quote(str(run))}"
        )
    if submission.array:
        try:
            notes += merge(run, [Path(job.run) for job in submission.latest()], submission.command)
        except StoreError:
            if _all_done(seen) or (run / store.MANIFEST).exists():
                raise
    readable = (run / store.MANIFEST).exists()
    if _all_done(seen) and not readable:
        raise StoreError(
            f"the jobs ended well and {run} holds no run: it is another folder where they ran; name an --output that "
            "all nodes share"
        )
    worst = max((code_of(verdict) for verdict in seen.verdicts.values()), default=0)
    return Collected(verdicts=seen.verdicts, exit_code=max(worst, int(bool(left_out))), readable=readable, notes=notes)


def _all_done(seen: Look) -> bool:
    return all(verdict.outcome == "done" for verdict in seen.verdicts.values())


def code_of(verdict: Verdict) -> int:
    """A job's exit code, or that it is still to come."""
    if verdict.outcome not in OVER:
        return NOT_OVER
    return 0 if verdict.outcome == "done" else verdict.exit_code or 1
