"""Where the profile goes that a calibration writes."""

from __future__ import annotations

import os
from pathlib import Path

from layerbench import files, outputs
from layerbench.errors import StoreError, UsageError
from layerbench.machine import Machine, path_here, to_toml


def target(output: Path | None) -> Path:
    """The file to write, of which it is seen before anything is measured that it can be.

    Parameters
    ----------
    output
        What ``--output`` names; the profile of this machine if None.

    Raises
    ------
    UsageError
        If it is no .toml file, one of a run, or in a folder that is not there.
    StoreError
        If the folder cannot be made or written to.
    """
    if output is None:
        path = path_here()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(
                f"{path.parent} cannot be made: {error.strerror}; name another file with --output"
            ) from error
    else:
        path = output
        outputs.check_file(path)
        # By any other name it could not be given to --machine.
        if path.suffix != ".toml":
            raise UsageError(f"--output {path}: a profile is a .toml file; name one")
        if not path.parent.is_dir():
            raise UsageError(f"--output {path}: there is no folder {path.parent}")
    if not os.access(path.parent, os.W_OK):
        raise StoreError(f"{path.parent} cannot be written to; name another file with --output")
    return path


def write(machine: Machine, path: Path) -> None:
    """Replace the file by a machine's profile.

    Raises
    ------
    StoreError
        If it cannot be written; what was there is left as it was.
    """
    files.replace(path, to_toml(machine).encode())
