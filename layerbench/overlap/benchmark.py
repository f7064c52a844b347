"""Starts ranks at each node count, and puts together what they found."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from layerbench import environment, plan
from layerbench import network as networks
from layerbench.errors import LayerbenchError, StoreError
from layerbench.launch import World
from layerbench.launches import found_by_ranks, launch_folder
from layerbench.overlap.question import Question
from layerbench.overlap_records import OVERLAP, Overlap, Overlapped
from layerbench.plan import Count
from layerbench.records import Network
from layerbench.suite_format import printable

Progress = Callable[[str], None]


@dataclass
class Benchmark:
    """What was found so far; written after every launch, so that nothing is lost.

    Attributes
    ----------
    question
        What is measured.
    folder
        Where ``overlap.json`` is written.
    command
        The command line to record.
    stage, progress
        Told what begins, and what is being done.
    failures
        Why node counts have no row.
    """

    question: Question
    folder: Path
    command: str
    stage: Progress
    progress: Progress
    failures: list[str] = field(default_factory=list)

    def run(self) -> Overlap:
        """Measure every node count, then the sweep of ratios.

        Raises
        ------
        LayerbenchError
            If nothing at all could be measured, or the network of emulated counts is not to be had.
        """
        question = self.question
        planned = plan.counts(question.placed, question.cores)
        found = self._blank()
        first: LayerbenchError | None = None
        with launch_folder("overlap", self.question.options, self.folder) as folder:
            network = self._network(planned, folder)
            for count in planned:
                self.stage(f"{count.words}: {'emulated' if count.placement == 'emulated' else 'measured'}")
                try:
                    more = self._launch(count, network, [], folder)
                except LayerbenchError as error:
                    first = first or error
                    self.failures.append(f"{count.words}: {' '.join(str(error).split())}")
                    continue
                # Outside: what cannot be written ends all, as nothing that is measured later would be kept either.
                found = self._kept(_joined(found, more))
            if question.task.ratios:
                self.stage("ratios of transfer to computation, on one rank")
                alone = Count(1, 1, "measured", World(1, 1, tuple(question.options.hosts[:1])))
                try:
                    more = self._launch(alone, None, question.task.ratios, folder)
                except LayerbenchError as error:
                    first = first or error
                    self.failures.append(f"sweep of ratios: {' '.join(str(error).split())}")
                else:
                    found = self._kept(_joined(found, more))
        if first is not None and not found.rows and not found.one_mode:
            raise first
        if self.failures:
            found = self._kept(msgspec.structs.replace(found, notes=[*found.notes, *map(printable, self.failures)]))
        return found

    def _blank(self) -> Overlap:
        question, task = self.question, self.question.task
        return Overlap(
            rows=[],
            command=self.command,
            suite=question.suite,
            source=task.source,
            dtype=question.options.dtype,
            depth=task.depth,
            workers=task.workers,
            threads_per_rank=question.options.threads_per_rank,
            spare_cores=task.spare_cores,
            bucket_bytes=task.bucket_bytes,
            environment=environment.capture(),
        )

    def _network(self, planned: list[Count], folder: str) -> Network | None:
        options = self.question.options
        if not any(count.placement == "emulated" and count.ranks > 1 for count in planned):
            return None
        if options.network != networks.HERE:
            return networks.load(options.network)
        world = plan.calibration_world(options, self.question.cores)
        self.stage("measuring the network between two ranks")
        return found_by_ranks("network", options, world, self._own(folder, "network"), self.progress).network

    def _launch(self, count: Count, network: Network | None, ratios: list[float], folder: str) -> Overlapped:
        question = self.question
        task = msgspec.structs.replace(question.task, ratios=ratios)
        alone = count.world.ranks == 1 and not question.options.machines
        options = msgspec.structs.replace(question.options, launcher="none") if alone else question.options
        told: dict[str, Any] = {
            "nodes": count.nodes,
            "ranks": count.ranks,
            "placement": count.placement,
            "oversubscribed": count.oversubscribed,
            "layers": list(question.layers),
            "network": network if count.placement == "emulated" else None,
            "overlap": task,
        }
        own = self._own(folder, "ratios" if ratios else f"nodes-{count.nodes}")
        found = found_by_ranks(
            "overlap", options, count.world, own, self.progress, spare_cores=task.spare_cores, **told
        ).overlap
        assert found is not None, "ranks that ended well have found something"
        return found

    def _own(self, folder: str, name: str) -> Path:
        path = Path(folder) / name
        path.mkdir()
        return path

    def _kept(self, found: Overlap) -> Overlap:
        path = self.folder / OVERLAP
        beside = path.with_name(f".{OVERLAP}.new")
        try:
            beside.write_bytes(msgspec.json.format(msgspec.json.encode(found), indent=1))
            beside.replace(path)
        except OSError as error:
            raise StoreError(f"{path} cannot be written: {error.strerror}") from error
        finally:
            with contextlib.suppress(OSError):
                beside.unlink()
        return found


def _joined(found: Overlap, more: Overlapped) -> Overlap:
    return msgspec.structs.replace(
        found,
        rows=[*found.rows, *more.rows],
        one_mode=[*found.one_mode, *more.one_mode],
        timelines=[*found.timelines, *more.timelines],
        notes=list(dict.fromkeys([*found.notes, *more.notes])),
        device=found.device or more.device,
        source=more.source or found.source,
        progress=found.progress or more.progress,
    )
