"""What a command writes may not take the place of a run: those of its input, and any other."""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterable
from pathlib import Path

from layerbench.errors import UsageError
from layerbench.store import BATCH, LAUNCHES, MANIFEST, RECORDS, TORN

_OF_A_RUN = (MANIFEST, RECORDS, TORN)


def check_file(path: Path, runs: Iterable[Path] = ()) -> None:
    """See that a file which is to be replaced is none that a run is made of, by whatever way it is named.

    Parameters
    ----------
    path
        What ``--output`` names.
    runs
        Folders of the runs that are read; a file of another run is known by its name and folder.

    Raises
    ------
    UsageError
        If it is a file of a run, or a folder.
    """
    if _mode(path, stat.S_ISDIR):
        raise UsageError(f"--output {path} is a folder: name a file")
    target = _resolved(path)
    of_runs = [run / name for run in runs for name in _OF_A_RUN]
    named = target.name in _OF_A_RUN and _is_run(target.parent)
    launched = target.parent.name in (LAUNCHES, BATCH) and _is_run(target.parent.parent)
    if named or launched or any(_same(target, file) for file in of_runs):
        raise UsageError(f"--output {path} is a file of a run, which would be lost: name another file")


def check_folder(path: Path, inputs: Iterable[Path] = (), names: Iterable[str] = (), *, what: str = "report") -> None:
    """See that a folder which is to be written into is not a run's own, nor a file, and that no input would be lost.

    Parameters
    ----------
    path
        What ``--output`` names.
    inputs
        Runs and files that are read.
    names
        Files that are written there, or removed.
    what
        What is written, in a word that follows ``a``.

    Raises
    ------
    UsageError
        If it is, or one would be.
    """
    inputs = list(inputs)
    if _mode(path, lambda mode: not stat.S_ISDIR(mode)):
        raise UsageError(f"--output {path} is a file: name a folder")
    if _is_run(path) or any(_same(path, one) for one in inputs):
        raise UsageError(
            f"--output {path} is the folder of a run, among whose files a {what} would be: name another, such as "
            f"{path / what}"
        )
    for name in names:
        if any(_same(path / name, one) for one in inputs):
            raise UsageError(f"--output {path} has {name}, which is read and would be lost: name another folder")


def _is_run(folder: Path) -> bool:
    return any(_mode(folder / name, stat.S_ISREG) for name in (MANIFEST, RECORDS))


def _mode(path: Path, holds: Callable[[int], bool]) -> bool:
    """Whether something is there of which this holds; of what cannot be looked at whoever writes there says so."""
    try:
        return holds(path.stat().st_mode)
    except (OSError, ValueError):
        return False


def _resolved(path: Path) -> Path:
    try:
        return path.resolve()
    except (OSError, RuntimeError, ValueError):
        # Links that lead in a circle, a null character.
        return path


def _same(one: Path, other: Path) -> bool:
    """Whether two names are of one file or folder, which need not exist."""
    try:
        return one.samefile(other)
    except (OSError, ValueError):
        return _resolved(one) == _resolved(other)
