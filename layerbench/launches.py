"""Starts the ranks of a calibration and reads what they found."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from layerbench.assignment import Assignment, Findings, Progressed, findings_path
from layerbench.errors import MeasurementError
from layerbench.launch import World, command_line, rank_environment
from layerbench.layers import DType
from layerbench.records import Options, Purpose
from layerbench.supervise import Ending, supervise

Progress = Callable[[str], None]


def found_by_ranks(
    purpose: Purpose, options: Options, world: World, folder: Path, progress: Progress, dtypes: Sequence[DType] = ()
) -> Findings:
    """Start ranks, follow them to their end, and return what they found.

    Parameters
    ----------
    purpose, dtypes
        What they are to measure; see :class:`layerbench.assignment.Assignment`.
    options, world
        How they measure, and which ranks run.
    folder
        For what they are told, what they find, and their log; of several launches a folder each.
    progress
        Told what is being done.

    Raises
    ------
    MeasurementError
        If they could not be started, failed, or did not say what they found.
    """
    assignment = folder / f"{purpose}.json"
    told = Assignment(
        purpose=purpose,
        run_folder=str(folder),
        options=options,
        nodes=world.ranks // world.ranks_per_node,
        ranks=world.ranks,
        world=world.ranks,
        placement="measured",
        dtypes=list(dtypes),
    )
    assignment.write_bytes(msgspec.json.encode(told))
    ending = supervise(
        command_line(options.launcher, world, options.threads_per_rank, options.launcher_args, assignment),
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


def _told(ending: Ending) -> str:
    """Why a launch failed, with the line of its log that says the most: the last of ours, or else the last."""
    lines = ending.tail.splitlines()
    ours = [line for line in lines if line.startswith("layerbench: ")]
    last = (ours or lines or [""])[-1].removeprefix("layerbench: ")
    reason = ending.journal_failed or ending.reason
    return f"{reason}: {last}" if last else reason
