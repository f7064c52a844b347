"""cuDNN's errors as ours, in one line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from layerbench.cuda import library
from layerbench.errors import KernelError, LayerbenchError

LONGEST = 300
"""Characters of cuDNN's own words: it repeats the text of a failed call at every level it passes."""


def one_line(error: BaseException) -> str:
    """An error's text without line breaks, cut where it gets long; its type where it has none."""
    text = " ".join(str(error).split())
    if not text:
        return type(error).__name__
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."


@contextmanager
def planning(what: str) -> Iterator[None]:
    """Errors of cuDNN's planning, which touches no GPU, as :class:`layerbench.errors.KernelError`.

    The front end raises types of its own and of Python's for the same: which they are differs between versions.
    """
    try:
        yield
    except LayerbenchError:
        raise
    except Exception as error:
        raise KernelError(f"{what}: cuDNN refused it: {one_line(error)}") from error


@contextmanager
def running(what: str) -> Iterator[None]:
    """Errors of what runs on the GPU or allocates there, as ours.

    Raises
    ------
    OutOfMemoryError
        If its memory does not suffice.
    KernelError
        If cuDNN or CUDA refused a call.
    MeasurementError
        If the GPU is lost.
    """
    with planning(what), library.refusals(what):
        yield
