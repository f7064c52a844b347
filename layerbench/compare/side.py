"""One side of a comparison: a run, or repetitions of one run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from layerbench import store
from layerbench.errors import StoreError, UsageError
from layerbench.records import Manifest, Options
from layerbench.store import StoredRun

BASE = "BASE"
NEW = "NEW"

_MAY_DIFFER = {"timeout"}
"""Options that do not change what is measured."""


@dataclass(frozen=True)
class Side:
    """Runs of the same options and layers, in order of their start.

    Attributes
    ----------
    name
        ``BASE`` or ``NEW``.
    runs
        At least one.
    warnings
        What the user should know of their folders.
    """

    name: str
    runs: Sequence[StoredRun]
    warnings: Sequence[str]

    @property
    def manifest(self) -> Manifest:
        """The first run's; options and layers are the same in all."""
        return self.runs[0].manifest


def load(name: str, paths: Path | str | Sequence[Path | str]) -> Side:
    """Read a side's runs.

    Parameters
    ----------
    name
        ``BASE`` or ``NEW``.
    paths
        A run folder, a folder of run folders, or several of these.

    Raises
    ------
    StoreError
        If a path is neither, or cannot be read.
    UsageError
        If the runs differ in their options or layers.
    """
    named = [paths] if isinstance(paths, Path | str) else list(paths)
    folders = [folder for path in named for folder in _run_folders(name, Path(path))]
    if not folders:
        raise UsageError(f"{name} must be at least one run folder, and none was named")
    warnings = []
    runs = []
    for folder in folders:
        busy = store.being_written(folder)
        run = store.load(folder)
        runs.append(run)
        warnings += run.warnings + _state(run, busy)
    runs.sort(key=lambda run: (run.manifest.start, run.path.name))
    for run in runs[1:]:
        _check_alike(name, runs[0], run)
    return Side(name, runs, warnings)


def in_turns(base: Side, new: Side) -> bool:
    """Whether each run of BASE and the run of NEW with its number were taken in succession, in either order.

    A run more on one side does not matter; what drifts, does so for both sides then.
    """
    starts = [[run.manifest.start for run in side.runs] for side in (base, new)]
    turns = list(zip(*starts, strict=False))
    return abs(len(starts[0]) - len(starts[1])) <= 1 and all(
        max(turn) <= min(following) for turn, following in pairwise(turns)
    )


def _run_folders(name: str, path: Path) -> list[Path]:
    if (path / store.MANIFEST).exists():
        return [path]
    try:
        found = store.run_folders(path)
    except FileNotFoundError as error:
        raise StoreError(f"{name} {path} does not exist: name a run folder, or a folder of run folders") from error
    except OSError as error:
        raise StoreError(f"{name} {path} cannot be read: {error.strerror}") from error
    if not found:
        raise StoreError(f"{name} {path} is neither a run folder nor a folder of run folders: no {store.MANIFEST}")
    return found


def _state(run: StoredRun, busy: bool) -> list[str]:
    outcome = run.manifest.outcome
    if busy:
        return [f"{run.path} is being written: this is what it held when it was read"]
    if outcome in ("running", "interrupted") or outcome.startswith("ended"):
        return [f"{run.path} was cut short: what it has is compared"]
    return []


def _check_alike(name: str, first: StoredRun, other: StoredRun) -> None:
    one, two = first.manifest, other.manifest
    differ = [
        f"{option} {getattr(one.options, option)} and {getattr(two.options, option)}"
        for option in Options.__struct_fields__
        if option not in _MAY_DIFFER and getattr(one.options, option) != getattr(two.options, option)
    ]
    if one.layers != two.layers:
        differ.append("their layers")
    if differ:
        raise UsageError(
            f"{name} must be repetitions of one run, and {first.path} and {other.path} differ in "
            f"{'; '.join(differ)}: name one of them, or a folder of runs that are alike"
        )
