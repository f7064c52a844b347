"""How a command ends: errors as one line and an exit code, signals as an exception, click's own complaints alike."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import sys
from collections.abc import Callable, Iterator
from functools import wraps
from pathlib import Path
from typing import Any, NoReturn

import click

from layerbench.errors import LayerbenchError, UsageError

DEFECT = 1
"""Exit code of what should not have happened."""

_OUTPUT_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EBADF}
"""What writing to a full or broken standard output ends with."""


class _Interruption(BaseException):
    """A signal asked to stop. No error: whoever catches errors must not catch this."""

    def __init__(self, number: int, kept: str) -> None:
        self.number = number
        self.kept = kept


def one_line(command: Callable[..., Any]) -> Callable[..., Any]:
    """Errors as one line on standard error and their exit code; a traceback for defects only."""

    @wraps(command)
    def guarded(*arguments: Any, **options: Any) -> Any:
        if sys.stdout is None:
            # Started with its output closed: what would be printed is not wanted.
            sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115  # for the rest of the process
        try:
            result = command(*arguments, **options)
            sys.stdout.flush()
            return result
        except LayerbenchError as error:
            click.echo(f"layerbench: {error}", err=True)
            sys.exit(error.exit_code)
        except _Interruption as error:
            click.echo(f"layerbench: stopped by {signal.Signals(error.number).name}; {error.kept}", err=True)
            sys.exit(128 + error.number)
        except BrokenPipeError:
            # Whoever read our output has closed it (`| head`); Python's own complaint at exit is silenced too.
            sys.stdout = None
            sys.exit(0)
        except (click.ClickException, click.Abort):
            raise
        except OSError as error:
            # What is written to files has errors of its own, with their names.
            if error.filename is not None or error.errno not in _OUTPUT_ERRORS:
                _defect(error)
            click.echo(f"layerbench: standard output cannot be written: {error.strerror}", err=True)
            sys.stdout = None
            sys.exit(UsageError.exit_code)
        except Exception as error:
            _defect(error)

    return guarded


def _defect(error: Exception) -> NoReturn:
    """End with a line on what should not have happened, or with the traceback where that is asked for."""
    if os.environ.get("LAYERBENCH_DEBUG"):
        raise error
    click.echo(
        f"layerbench: a defect of layerbench itself: {type(error).__name__}: {error}; "
        "please report it with the traceback that LAYERBENCH_DEBUG=1 shows",
        err=True,
    )
    sys.exit(DEFECT)


@contextlib.contextmanager
def signals_raise(kept: str = "what was measured is kept, and --resume completes it") -> Iterator[None]:
    """Turn Ctrl-C and SIGTERM into an exception, so that what was started is ended on the way out.

    ``kept`` tells what has become of the command's work.
    """

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def raise_(number: int, _: object) -> None:
        # A second signal must not break off the ending of what was started.
        for other in numbers:
            signal.signal(other, signal.SIG_IGN)
        raise _Interruption(number, kept)

    # What is ignored stays so: nohup is how a run outlives its terminal.
    heeded = [number for number in numbers if signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, raise_) for number in heeded}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class OneLineGroup(click.Group):
    """A group whose own complaints (an unknown option, a value of the wrong type) are one line too."""

    def main(self, *arguments: Any, standalone_mode: bool = True, **options: Any) -> Any:
        options["standalone_mode"] = False
        if not standalone_mode:
            return super().main(*arguments, **options)
        try:
            sys.exit(super().main(*arguments, **options) or 0)
        except click.ClickException as error:
            click.echo(f"layerbench: {' '.join(error.format_message().split())} (see --help)", err=True)
            sys.exit(error.exit_code)
        except click.Abort:
            sys.exit(128 + signal.SIGINT)
