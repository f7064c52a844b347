"""Starts ranks at each node count, and puts together what they found."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from layerbench import environment, files
from layerbench.assignment import Findings
from layerbench.collective_bench import journal
from layerbench.collective_bench.question import Question
from layerbench.collective_records import COLLECTIVES_JSON, Measured, Row
from layerbench.errors import LayerbenchError, MeasurementError
from layerbench.launches import found_by_ranks, launch_folder
from layerbench.plan import Count
from layerbench.records import Launch
from layerbench.suite_format import printable

OFTEN = 2.0
"""Seconds between two looks at what ranks have measured."""

RUNNING, DONE = "running", "ok"

Progress = Callable[[str], None]


@dataclass
class Benchmark:
    """What was found so far; written while ranks measure and however they end, so that nothing is lost.

    Attributes
    ----------
    question
        What is measured.
    folder
        Where ``collectives.json`` is written.
    command
        The command line to record.
    stage, progress
        Told what begins, and what is being done.
    failures
        Why node counts were not measured to their end.
    """

    question: Question
    folder: Path
    command: str
    stage: Progress
    progress: Progress
    failures: list[str] = field(default_factory=list)

    def run(self) -> Measured:
        """Measure every node count.

        Raises
        ------
        LayerbenchError
            If nothing at all could be measured, or what was cannot be written.
        """
        found = self._blank()
        first: LayerbenchError | None = None
        with launch_folder("collectives", self.question.options, self.folder) as name:
            for count in self.question.counts:
                self.stage(f"{count.words}, {count.ranks} ranks")
                folder = Path(name) / f"nodes-{count.nodes}"
                folder.mkdir()
                found, error = self._launch(found, count, folder)
                if error is not None:
                    first = first or error
                    self.failures.append(f"{count.words}: {' '.join(str(error).split())}")
        if first is not None and not found.rows:
            raise first
        return found

    def _blank(self) -> Measured:
        options = self.question.options
        return Measured(
            rows=[],
            command=self.command,
            dtype=options.dtype,
            kernels=options.kernels,
            ranks_per_node=options.ranks_per_node,
            threads_per_rank=options.threads_per_rank,
            notes=list(self.question.notes),
            environment=environment.capture(),
        )

    def _launch(self, before: Measured, count: Count, folder: Path) -> tuple[Measured, LayerbenchError | None]:
        """Measure a node count, and keep what is known of it from time to time, and in the end whatever that is."""
        launch = Launch(
            purpose="collectives",
            nodes=count.nodes,
            ranks=count.ranks,
            placement="measured",
            start=_now(),
            outcome=RUNNING,
        )
        looked, seen = time.monotonic(), 0

        def progress(what: str) -> None:
            nonlocal looked, seen
            self.progress(what)
            if time.monotonic() - looked >= OFTEN and journal.size(folder) > seen:
                seen = journal.size(folder)
                self._kept(before, launch, journal.read(folder))
                looked = time.monotonic()

        error: LayerbenchError | None = None
        findings: Findings | None = None
        outcome = "interrupted"
        try:
            findings = found_by_ranks(
                "collectives",
                self.question.options,
                count.world,
                folder,
                progress,
                nodes=count.nodes,
                oversubscribed=count.oversubscribed,
                collectives=self.question.task,
            )
            outcome = DONE
        except LayerbenchError as failure:
            error = failure if journal.size(folder) else _on_hosts(failure, count.world.hosts)
            outcome = printable(" ".join(str(error).split()))
        finally:
            ended = msgspec.structs.replace(launch, end=_now(), outcome=outcome, **_place(findings))
            told = findings.collectives.notes if findings is not None and findings.collectives is not None else []
            notes = list(dict.fromkeys([*before.notes, *map(printable, told)]))
            rows = journal.read(folder)
            found = msgspec.structs.replace(before, notes=notes)
            if rows or error is not None:
                found = self._kept(found, ended, rows)
        return found, error

    def _kept(self, before: Measured, launch: Launch, rows: list[Row]) -> Measured:
        """What was known before, with what is known of a launch, once it is written."""
        found = msgspec.structs.replace(before, rows=[*before.rows, *rows], launches=[*before.launches, launch])
        if found.rows:
            files.replace(self.folder / COLLECTIVES_JSON, msgspec.json.format(msgspec.json.encode(found), indent=1))
        return found


def _on_hosts(failure: LayerbenchError, hosts: Sequence[str]) -> LayerbenchError:
    """Why ranks that measured nothing failed, with their hosts: the launcher may not name them."""
    if not hosts or not isinstance(failure, MeasurementError):
        return failure
    return type(failure)(
        f"{failure}; the hosts were {', '.join(hosts)}: see that each is reached by that name, as by `ssh {hosts[0]}`"
    )


def _place(found: Findings | None) -> dict[str, object]:
    """Where the ranks of a launch sat, as far as they said."""
    if found is None:
        return {}
    return {"mpi": found.mpi, "hosts": found.hosts, "pinned_cores": found.pinned_cores, "devices": found.devices}


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
