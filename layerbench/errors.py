"""Every error layerbench raises on purpose.

* LayerbenchError: the base; the command line prints its one line and leaves with its ``exit_code``
    * UsageError: what was asked for is wrong; exit code 2
        * LayerError: a layer's shape is impossible
        * SuiteError: a suite file has a mistake
        * StoreError: a run folder cannot be read, written or resumed
        * SchedulerError: a batch system is missing, or refused what was asked of it
            * NoAnswerError: it did not answer, or nothing that can be understood; asked again, it may
    * UnavailableError: nothing that could run was found; exit code 3
    * MeasurementError: a measurement failed; exit code 1
        * KernelError: a kernel library refused or failed
        * OutOfMemoryError: a shape does not fit
        * VerificationError: a kernel's output is wrong
        * LaunchError: ranks could not start, or died
        * JournalError: a measured record could not be written
        * DataError: a batch could not be made: a source or a stage failed, ended early, or hangs

A message is one line and says what was expected, what came, and what to do.
"""

from __future__ import annotations


class LayerbenchError(Exception):
    """Base of all errors layerbench raises on purpose."""

    exit_code = 1


class UsageError(LayerbenchError):
    """What the user asked for is wrong."""

    exit_code = 2


class LayerError(UsageError):
    """A layer's shape is impossible.

    Parameters
    ----------
    field
        The offending field, as it is spelled in a suite file.
    problem
        What was expected and what came.
    """

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field
        self.problem = problem


class SuiteError(UsageError):
    """A suite file has a mistake."""


class StoreError(UsageError):
    """A run folder cannot be read, written or resumed."""


class SchedulerError(UsageError):
    """A batch system is missing, or refused what was asked of it."""


class NoAnswerError(SchedulerError):
    """A batch system did not answer, or nothing that can be understood; asked again, it may."""


class UnavailableError(LayerbenchError):
    """Nothing that could run was found."""

    exit_code = 3


class MeasurementError(LayerbenchError):
    """A measurement failed; what was measured before it is kept."""


class KernelError(MeasurementError):
    """A kernel library refused a shape or failed at run time."""


class OutOfMemoryError(MeasurementError):
    """A shape needs more memory than there is."""


class VerificationError(MeasurementError):
    """A kernel's output differs from the float64 reference by more than its limit."""


class LaunchError(MeasurementError):
    """Ranks could not be started, died, or stopped making progress."""


class JournalError(MeasurementError):
    """A measured record could not be written."""


class DataError(MeasurementError):
    """A batch could not be made: a source or a stage failed, ended early, or hangs."""
