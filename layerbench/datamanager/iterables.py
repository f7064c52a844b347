"""Batches of whatever can be iterated: a generator, another library's loader."""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from layerbench.datamanager.arguments import TIMEOUT, check_timeout
from layerbench.datamanager.failures import ORIGIN, Doing, failed, hangs
from layerbench.datamanager.source import Field, Out, Piece, Stage
from layerbench.errors import DataError, UsageError
from layerbench.suite_format import flat, printable


class Batches:
    """Batches as an iterable gives them: each item one array, or a tuple or list of arrays, of equally many samples.

    The iterable is asked for an item when a slot is free, and the time that takes is that of the first stage. ``cast``
    copies the item into the slot. With its one worker, the copy is done before the next item is asked for, so that an
    iterable may fill the same arrays again each time; with more workers it must not.

    Parameters
    ----------
    iterable
        What is iterated. An iterator, such as a generator, can be gone through once; it is closed with the source.
    batch_size
        The most samples of a batch; None: as many as the first item has, which is then asked for at once.
    batches
        How many items are taken; the iterable is not asked for more, and to end earlier is an error. None: all.
    fields
        Name, sample shape and dtype of each array; None: as the first item has, which is then asked for at once.

    timeout
        Seconds that an item which is asked for at once may take, None to wait for ever; later ones have the data
        manager's own timeout.

    Raises
    ------
    UsageError
        If nothing can be iterated, the first item is not of arrays, or there is none.
    DataError
        If the iterable fails in the first item, or that is not there in time.
    """

    def __init__(
        self,
        iterable: Iterable[Any],
        batch_size: int | None = None,
        batches: int | None = None,
        fields: Sequence[Field] | None = None,
        timeout: float | None = TIMEOUT,
    ) -> None:
        for name, value in (("batch_size", batch_size), ("batches", batches)):
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise UsageError(f"{name} must be a whole number of at least 1, not {value!r}")
        if not isinstance(iterable, Iterable) and not hasattr(iterable, "__getitem__"):
            raise UsageError(f"expected an iterable of batches, not a {type(iterable).__name__}")
        for field in fields or ():
            if not isinstance(field, Field) or not isinstance(field.dtype, np.dtype):
                raise UsageError(f"fields: expected Field(name, shape, numpy.dtype(...)), not {field!r}")
        patience = check_timeout(timeout)
        self._iterable = iterable
        self._iterator: Iterator[Any] | None = None
        self._once = isinstance(iterable, Iterator)
        self._first: list[tuple[np.ndarray, ...]] = []
        self._gone_through = False
        if fields is None or batch_size is None:
            self._peek(patience)
            first = self._first[0]
            fields = fields or [
                Field(f"array {place}", array.shape[1:], array.dtype.newbyteorder("="))
                for place, array in enumerate(first, start=1)
            ]
            batch_size = batch_size or len(first[0])
        self.fields: Sequence[Field] = fields
        self.batch_size: int = batch_size
        self.batches = batches
        self.stages: Sequence[Stage] = [Stage("cast", self._cast)]

    def _peek(self, patience: float | None) -> None:
        """Take the first item, in a thread of its own: one that never comes must not be waited for without end.

        Raises
        ------
        UsageError
            If it is not of arrays, or there is none.
        DataError
            If the iterable fails, or it is not there in time.
        """
        failures: list[BaseException] = []

        def take() -> None:
            try:
                iterator = iter(self._iterable)
                self._iterator = iterator
                item = next(iterator)
            except BaseException as error:
                failures.append(error)
                return
            try:
                self._first = [_arrays(item, 0)]
            except DataError as error:
                failures.append(UsageError(str(error)))

        began = time.perf_counter_ns()
        thread = threading.Thread(target=take, name="first item", daemon=True)
        thread.start()
        thread.join(patience)
        if thread.is_alive():
            raise hangs(0, patience or 0.0, [Doing(0, *ORIGIN, began)])
        for error in failures:
            if isinstance(error, StopIteration):
                raise UsageError("the iterable gives no batch; expected at least one")
            if isinstance(error, UsageError):
                raise error
            raise failed(0, *ORIGIN, error) from error

    def plan(self) -> Iterator[Sequence[Piece]]:
        """One piece for each item."""
        if self._gone_through:
            if self._once:
                raise UsageError(f"a {type(self._iterable).__name__} can be gone through once; make a new one")
            self._iterator, self._first = None, []
        self._gone_through = True
        return self._pieces()

    def _pieces(self) -> Iterator[Sequence[Piece]]:
        if self._iterator is None:
            self._iterator = iter(self._iterable)
        for number in itertools.count() if self.batches is None else range(self.batches):
            if self._first:
                arrays = self._first.pop()
            elif self._iterator is None:
                return
            else:
                try:
                    item = next(self._iterator)
                except StopIteration:
                    return
                arrays = _arrays(item, number)
            self._check(arrays, number)
            yield (Piece(0, len(arrays[0]), arrays, f"item {number}"),)

    def _check(self, arrays: tuple[np.ndarray, ...], number: int) -> None:
        if len(arrays) != len(self.fields):
            raise DataError(f"item {number} has {len(arrays)} arrays; expected {len(self.fields)} as the others have")
        for field, array in zip(self.fields, arrays, strict=True):
            # The order of bytes is not what an array is of.
            if array.shape[1:] != field.shape or array.dtype.newbyteorder("=") != field.dtype:
                raise DataError(
                    f"item {number}: {field.name} has samples of shape {array.shape[1:]} and {array.dtype}; expected "
                    f"{field.shape} and {field.dtype}"
                )
        if len(arrays[0]) > self.batch_size:
            raise DataError(
                f"item {number} has {len(arrays[0])} samples, and a slot has room for {self.batch_size}: give "
                "batch_size the size of the largest"
            )

    def _cast(self, arrays: tuple[np.ndarray, ...], out: Out) -> None:
        for array, place in zip(arrays, out, strict=True):
            np.copyto(place, array)

    def close(self) -> None:
        """Let go of the iterable; a generator is closed."""
        iterator, self._iterator, self._first = self._iterator, None, []
        self._gone_through = True
        if iterator is None and isinstance(self._iterable, Iterator):
            iterator = self._iterable
        if (close := getattr(iterator, "close", None)) is not None:
            # A generator that hangs in another thread cannot be closed from this one.
            with contextlib.suppress(ValueError):
                close()


def _arrays(item: Any, number: int) -> tuple[np.ndarray, ...]:
    """The arrays of an item.

    Raises
    ------
    DataError
        If it is not of arrays of equally many samples.
    """
    parts = item if isinstance(item, tuple | list) else (item,)
    if not parts:
        raise DataError(f"item {number} is empty; expected at least one array")
    arrays = tuple(_array(part, number) for part in parts)
    lengths = [len(array) for array in arrays]
    if len(set(lengths)) > 1:
        raise DataError(f"item {number} has arrays of {lengths} samples; expected equally many")
    if not lengths[0]:
        raise DataError(f"item {number} has no samples; expected at least one")
    return arrays


def _array(part: Any, number: int) -> np.ndarray:
    if not hasattr(part, "__array__"):
        raise DataError(
            f"item {number} has a {type(part).__name__} in it; expected each item to be an array or a tuple of arrays"
        )
    try:
        array = np.asarray(part)
    except Exception as error:
        raise DataError(f"item {number}: does not become a NumPy array: {printable(flat(error))}") from error
    if array.ndim == 0 or array.dtype.kind not in "biufc":
        raise DataError(
            f"item {number} has an array of shape {array.shape} and {array.dtype}; expected samples of numbers"
        )
    return array
