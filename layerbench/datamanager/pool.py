"""A few things that are kept open, of many that are used in turn."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Hashable, Iterator
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class _Entry(Generic[Value]):
    def __init__(self, value: Value) -> None:
        self.value = value
        self.users = 0


class Pool(Generic[Key, Value]):
    """Opens what is asked for and closes what was not used for longest, when there are more than ``limit``.

    What is in use stays open, whatever the limit.

    Parameters
    ----------
    limit
        How many are kept open.
    open_one, close_one
        How one is opened, given its key, and closed.
    """

    def __init__(self, limit: int, open_one: Callable[[Key], Value], close_one: Callable[[Value], object]) -> None:
        self._most = self._limit = limit
        self._open_one = open_one
        self._close_one = close_one
        self._entries: dict[Key, _Entry[Value]] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """How many are open."""
        return len(self._entries)

    @contextlib.contextmanager
    def use(self, key: Key) -> Iterator[Value]:
        """One of them, open until the block has ended. Several threads may use it at once."""
        with self._lock:
            entry = self._entries.pop(key, None) or _Entry(self._open_one(key))
            self._entries[key] = entry
            entry.users += 1
            self._close_surplus()
        try:
            yield entry.value
        finally:
            with self._lock:
                entry.users -= 1
                self._close_surplus()

    def reopen(self) -> None:
        """Keep some open again, after :meth:`close`."""
        with self._lock:
            self._limit = self._most

    def close(self) -> None:
        """Close all; what is in use, when its users have ended."""
        with self._lock:
            self._limit = 0
            self._close_surplus()

    def _close_surplus(self) -> None:
        for key, entry in list(self._entries.items()) if len(self._entries) > self._limit else ():
            if not entry.users:
                del self._entries[key]
                self._close_one(entry.value)
                if len(self._entries) <= self._limit:
                    return
