"""Runs a scheduler's commands, and tells apart what is missing, what does not answer and what answers."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

from layerbench.batch.status import Answer
from layerbench.errors import NoAnswerError, SchedulerError

TIMEOUT = 60.0
"""Seconds that a scheduler may take to answer, if nothing else was asked for."""


def ask(
    command: Sequence[str], *, timeout: float = TIMEOUT, folder: Path | None = None, script: Path | None = None
) -> Answer:
    """Run a command to its end.

    Parameters
    ----------
    timeout
        Seconds.
    folder
        Where to; here by default.
    script
        The file that is its standard input; none by default.

    Raises
    ------
    SchedulerError
        If it is not there or cannot be started.
    NoAnswerError
        If it takes too long.
    """
    program = command[0]
    try:
        with (script or Path("/dev/null")).open("rb") as source:
            done = subprocess.run(
                command,
                cwd=folder,
                stdin=source,
                capture_output=True,
                timeout=timeout,
                check=False,
                # Ctrl-C ends us, not a submission half way.
                start_new_session=True,
            )
    except FileNotFoundError as error:
        if folder is not None and not folder.is_dir():
            raise SchedulerError(f"{folder} is not there any more, in which {program} was to be run") from error
        raise SchedulerError(
            f"{program} was not found: log in to a machine of that system, load what has {program} there, or name "
            "another --system"
        ) from error
    except subprocess.TimeoutExpired as error:
        raise NoAnswerError(f"{program} did not answer within {timeout:g} s") from error
    except OSError as error:
        raise SchedulerError(f"{program} cannot be started: {error.strerror or error}") from error
    return Answer(done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"))
