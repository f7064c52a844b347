"""Collects: waits for jobs, and makes one run of what they measured."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from layerbench import store
from layerbench.batch import submission as submissions
from layerbench.batch.execute import TIMEOUT
from layerbench.batch.follow import Look, look, wait
from layerbench.batch.merge import merge
from layerbench.batch.shell import argument
from layerbench.batch.verdict import OVER, Verdict
from layerbench.errors import StoreError
from layerbench.suite_format import printable

NOT_OVER = 4
"""Exit code where some job is still to come."""

_MOST = 255
"""What a process can end with."""


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
    latest = submission.latest()
    left_out = [nodes for nodes in submission.parts() if nodes not in [job.nodes for job in latest]]
    for nodes in left_out:
        counts = ",".join(map(str, nodes))
        notes.append(
            f"nothing was submitted for {counts} nodes; go on with: layerbench submit --resume {argument(run)}"
        )
    # Of an array they are where the run folder is now, wherever it was when they were submitted.
    own = {job.name: submissions.folder(run) / Path(job.run).name if submission.array else run for job in latest}
    measured = [name for name, path in own.items() if _holds_run(path)]
    if submission.array and measured:
        notes += merge(run, list(own.values()), submission.command, whole=not left_out)
    lost = [name for name in own if _done(seen, name) and name not in measured]
    if lost:
        told = (
            f"{', '.join(lost)} ended well and {printable(str(own[lost[0]]))} holds no run: it is another folder where "
            "they ran; name an --output that all nodes share"
        )
        if not measured:
            raise StoreError(told)
        notes.append(told)
    worst = worst_of(list(seen.verdicts.values()))
    return Collected(
        verdicts=seen.verdicts,
        exit_code=max(worst, int(bool(left_out or lost))),
        readable=_holds_run(run),
        notes=notes,
    )


def _done(seen: Look, name: str) -> bool:
    return name in seen.verdicts and seen.verdicts[name].outcome == "done"


def _holds_run(path: Path) -> bool:
    with contextlib.suppress(OSError):
        # As where a job's traces are looked for: what network file systems remember may be old.
        list(path.iterdir())
    return (path / store.MANIFEST).exists()


def worst_of(verdicts: Sequence[Verdict]) -> int:
    """The exit code of the worst of some jobs, or that one of them is still to come."""
    if any(verdict.outcome not in OVER for verdict in verdicts):
        return NOT_OVER
    return max((_code(verdict) for verdict in verdicts), default=0)


def _code(verdict: Verdict) -> int:
    if verdict.outcome == "done":
        return 0
    code = verdict.exit_code or 0
    return code if 0 < code <= _MOST else 1
