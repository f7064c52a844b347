"""Starts ranks that are to find something out, and reads what they found."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import msgspec

from layerbench.assignment import Assignment, Findings, Progressed, findings_path
from layerbench.errors import MeasurementError
from layerbench.launch import World, command_line, rank_environment
from layerbench.records import Options, Purpose
from layerbench.supervise import Ending, supervise

Progress = Callable[[str], None]


def found_by_ranks(
    purpose: Purpose,
    options: Options,
    world: World,
    folder: Path,
    progress: Progress,
    *,
    spare_cores: int = 0,
    **more: Any,
) -> Findings:
    """Start ranks, follow them to their end, and return what they found.

    Parameters
    ----------
    purpose, more
        What they are to measure; see :class:`layerbench.assignment.Assignment`.
    options, world
        How they measure, and which ranks run.
    folder
        For what they are told, what they find, and their log; of several launches a folder each.
    progress
        Told what is being done.
    spare_cores
        Cores that each rank has beside those of its threads.

    Raises
    ------
    MeasurementError
        If they could not be started, failed, or did not say what they found.
    """
    assignment = folder / f"{purpose}.json"
    of_world: dict[str, Any] = {
        "nodes": world.ranks // world.ranks_per_node,
        "ranks": world.ranks,
        "placement": "measured",
    }
    told = Assignment(purpose=purpose, run_folder=str(folder), options=options, world=world.ranks, **(of_world | more))
    assignment.write_bytes(msgspec.json.encode(told))
    cores = options.threads_per_rank + spare_cores
    ending = supervise(
        command_line(options.launcher, world, cores, options.launcher_args, assignment),
        rank_environment(options.threads_per_rank, world.hosts, os.environ),
        assignment.with_suffix(".log"),
        options.timeout,
        lambda event: progress(event.what) if isinstance(event, Progressed) else None,
    )
    if not ending.ok:
        raise MeasurementError(_told(ending))
    try:
        return msgspec.json.decode(findings_path(assignment).read_bytes(), type=Findings)
    except (OSError, msgspec.DecodeError) as error:
        raise MeasurementError("the ranks ended without a word on what they found") from error


def launch_folder(purpose: Purpose, options: Options, beside: Path) -> AbstractContextManager[str]:
    """A folder for what ranks are told and find, gone in the end; beside another that all hosts share, if need be."""
    shared = beside.resolve() if options.machines else None
    return tempfile.TemporaryDirectory(prefix=f".layerbench-{purpose}-", dir=shared)


def _told(ending: Ending) -> str:
    """Why a launch failed, with the line of its log that says the most: the last of ours, or else the last."""
    lines = ending.tail.splitlines()
    ours = [line for line in lines if line.startswith("layerbench: ")]
    last = (ours or lines or [""])[-1].removeprefix("layerbench: ")
    reason = ending.journal_failed or ending.reason
    return f"{reason}: {last}" if last else reason
