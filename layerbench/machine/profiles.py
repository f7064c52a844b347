"""Profiles by name: those that ship with layerbench, and the user's own, of which calibration writes one."""

from __future__ import annotations

import os
from importlib import resources
from pathlib import Path

from layerbench.errors import UsageError
from layerbench.machine.figures import Machine
from layerbench.machine.read import parse
from layerbench.suite_format import did_you_mean, printable

HERE = "this-machine"
"""Name of the profile that ``layerbench calibrate`` writes."""

_SUFFIX = ".toml"


def folder() -> Path:
    """Where a user's own profiles are: ``layerbench/machines`` in $XDG_CONFIG_HOME, or in ~/.config."""
    base = Path(os.environ.get("XDG_CONFIG_HOME", ""))
    # One that is not absolute is to be ignored, by the XDG base directory specification.
    return (base if base.is_absolute() else Path.home() / ".config") / "layerbench" / "machines"


def path_here() -> Path:
    """The file of the profile of this machine, which need not exist."""
    return folder() / f"{HERE}{_SUFFIX}"


def built_in() -> list[str]:
    """Names of the profiles that ship with layerbench."""
    package = resources.files("layerbench.machines")
    return sorted(entry.name.removesuffix(_SUFFIX) for entry in package.iterdir() if entry.name.endswith(_SUFFIX))


def names() -> list[str]:
    """Names of all profiles there are: built-in ones first, then the user's, of which ``this-machine`` is one."""
    shipped = built_in()
    try:
        own = sorted(path.stem for path in folder().iterdir() if path.suffix == _SUFFIX)
    except OSError:
        own = []
    return [*shipped, *(name for name in own if name not in shipped)]


def load(name_or_path: str) -> Machine:
    """A machine by name, or from a TOML file.

    Raises
    ------
    UsageError
        If there is none of that name, or the file has a mistake.
    """
    if name_or_path.endswith(_SUFFIX):
        return parse(_contents(Path(name_or_path)), Path(name_or_path).stem, printable(name_or_path))
    if name_or_path in built_in():
        text = resources.files("layerbench.machines").joinpath(f"{name_or_path}{_SUFFIX}").read_bytes()
        return parse(text, name_or_path, f"machine {name_or_path}")
    known = names()
    if name_or_path in known:
        path = folder() / f"{name_or_path}{_SUFFIX}"
        return parse(_contents(path), name_or_path, str(path))
    if name_or_path == HERE:
        raise UsageError(
            f"--machine {HERE}: {path_here()} is not there: run layerbench calibrate, which measures this machine, or "
            f"name one of {', '.join(known)}"
        )
    raise UsageError(
        f"--machine {printable(name_or_path)}: unknown{did_you_mean(name_or_path, [*known, HERE])}; known are "
        f"{', '.join(dict.fromkeys([*known, HERE]))}, or a path to a .toml file"
    )


def _contents(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a null character
        reason = error.strerror if isinstance(error, OSError) else error
        raise UsageError(f"--machine {printable(str(path))}: {reason}") from error
