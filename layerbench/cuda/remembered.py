"""What is remembered of calls, for as long as there are these calls."""

from __future__ import annotations

import weakref
from typing import Any, Generic, TypeVar

from layerbench.device import Run

T = TypeVar("T")


class Remembered(Generic[T]):
    """A value for each of some calls, told apart by identity: calls that compare equal may work on different memory.

    A call is not kept alive, nor is the memory it holds; nothing is remembered of one that has no weak references.
    """

    def __init__(self) -> None:
        self._values: dict[int, tuple[weakref.ref[Any], T]] = {}

    def get(self, call: Run) -> T | None:
        """What is remembered; None if nothing is."""
        found = self._values.get(id(call))
        return found[1] if found is not None else None

    def put(self, call: Run, value: T) -> None:
        """Remember something in place of what was."""
        values, key = self._values, id(call)
        try:
            # The reference calls back before another call can have the same identity.
            reference = weakref.ref(call, lambda _: values.pop(key, None))
        except TypeError:
            return
        self.forget(call)
        values[key] = (reference, value)

    def forget(self, call: Run) -> None:
        """Remember nothing of a call."""
        self._values.pop(id(call), None)

    def forget_oldest(self) -> None:
        """Remember nothing of the call that was put first."""
        self._values.pop(next(iter(self._values)))

    def __len__(self) -> int:
        return len(self._values)
