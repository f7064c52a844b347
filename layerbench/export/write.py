"""An export's way to standard output."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable

from layerbench.errors import StoreError


def print_bytes(chunks: Iterable[bytes]) -> None:
    """Write to standard output as is: line ends stay what they are.

    Raises
    ------
    StoreError
        If it cannot be written to. That its reader has gone is a BrokenPipeError, as everywhere.
    """
    try:
        sys.stdout.buffer.writelines(chunks)
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        # What is still in the buffer would be tried again at exit, and fail with a complaint of Python's own.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise StoreError(f"standard output cannot be written: {error.strerror or error}") from error
