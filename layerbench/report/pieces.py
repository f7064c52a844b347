"""From records to columns, piece by piece: what is taken apart in one process is put together in another."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from layerbench.records import Record

if TYPE_CHECKING:
    import numpy as np

_LISTS = ("samples", "rank_medians", "conditions")

_WORDS = (
    *("layer", "kind", "part", "layout", "dtype", "kernels", "algorithm", "device", "cache"),
    *("placement", "network", "ci_method", "status", "reason", "throttle_reasons"),
)
"""Fields with few distinct values among many records."""

_CONDITIONS = ("core_clock", "memory_clock", "temperature", "power")
"""Of the conditions after the samples, which are those under load."""

_FLOATS = ("modelled_seconds", "relative_error", "energy_joules", "launch_seconds", *_CONDITIONS)
_MAYBE_TRUE, _MAYBE_WHOLE = ("verified",), ("bytes_weights_reread", "slowest_rank")
"""Fields of which a value may not be known."""

_NOT_KNOWN = -(2**63)
"""Among whole numbers, until they are a column."""

FIELDS = tuple(name for name in Record.__struct_fields__ if name not in _LISTS)
_FROM_LISTS = ("slowest_rank", *_CONDITIONS, "throttle_reasons")
"""Columns that lists of a record are summed up in."""


@dataclass(frozen=True)
class Piece:
    """Columns of some records.

    Attributes
    ----------
    columns
        By field without its lists, and what stands for those. Words and truth values are codes; of what is not known,
        -1, NaN or the least whole number.
    words
        What a field's codes mean.
    values, counts
        All samples, and how many each record has.
    """

    columns: dict[str, np.ndarray]
    words: dict[str, list[str]]
    values: np.ndarray
    counts: np.ndarray


def taken_apart(batches: Iterable[Sequence[Record]]) -> Piece:
    """Records, some hundred at a time, which then stay in the processor's cache."""
    builder = _Builder()
    for batch in batches:
        builder.add(batch)
    return builder.finish()


def together(pieces: Sequence[Piece]) -> tuple[dict[str, Any], np.ndarray, np.ndarray]:
    """The columns of all pieces as a frame has them, their samples, and how many of them each record has."""
    import numpy as np

    # An empty piece does not know the types of all columns.
    pieces = [piece for piece in pieces if len(piece.counts)] or pieces[:1]
    words: dict[str, list[str]] = {}
    for name in _WORDS:
        words[name] = list(dict.fromkeys(chain.from_iterable(piece.words[name] for piece in pieces)))
    columns = {}
    for name in (*FIELDS, *_FROM_LISTS):
        parts = [piece.columns[name] for piece in pieces]
        if name in _WORDS and len(pieces) > 1:
            code = {word: number for number, word in enumerate(words[name])}
            recoded = [np.array([code[word] for word in piece.words[name]], np.int32) for piece in pieces]
            parts = [codes[part] for codes, part in zip(recoded, parts, strict=True)]
        columns[name] = _column(name, _one(parts), words.get(name, []))
    return columns, _one([piece.values for piece in pieces]), _one([piece.counts for piece in pieces])


def _one(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """Arrays one behind the other; one by itself is not copied."""
    import numpy as np

    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)


def _column(name: str, values: np.ndarray, words: Sequence[str]) -> Any:
    import numpy as np
    import pandas as pd

    if name in _WORDS:
        return pd.Categorical.from_codes(values, categories=pd.Index(list(words), dtype="str"))
    if name in _MAYBE_TRUE:
        return pd.arrays.BooleanArray(values == 1, values < 0)
    if name in _MAYBE_WHOLE:
        unknown = values == _NOT_KNOWN
        return (
            pd.arrays.IntegerArray(values, unknown) if values.dtype == np.int64 else np.where(unknown, np.nan, values)
        )
    return values


class _Builder:
    """Columns of the batches so far."""

    def __init__(self) -> None:
        self._codes: dict[str, dict[str, int]] = {name: {} for name in _WORDS}
        self._parts: dict[str, list[np.ndarray]] = {name: [] for name in (*FIELDS, *_FROM_LISTS)}
        self._values: list[np.ndarray] = []
        self._counts: list[np.ndarray] = []

    def add(self, batch: Sequence[Record]) -> None:
        import numpy as np

        if not batch:
            return

        for name, column in zip(FIELDS, zip(*map(attrgetter(*FIELDS), batch), strict=True), strict=True):
            self._parts[name].append(self._array(name, column))
        medians = [record.rank_medians for record in batch]
        slowest = [of_ranks.index(max(of_ranks)) if len(of_ranks) > 1 else None for of_ranks in medians]
        self._parts["slowest_rank"].append(self._array("slowest_rank", slowest))
        last = [record.conditions[-1] if record.conditions else None for record in batch]
        for name in _CONDITIONS:
            self._parts[name].append(
                self._array(name, [None if each is None else getattr(each, name) for each in last])
            )
        reasons = [", ".join(each.throttle_reasons) if each else "" for each in last]
        self._parts["throttle_reasons"].append(self._array("throttle_reasons", reasons))
        lists = [record.samples for record in batch]
        counts = np.fromiter(map(len, lists), np.int64, len(lists))
        self._counts.append(counts)
        self._values.append(np.fromiter(chain.from_iterable(lists), np.float64, int(counts.sum())))

    def _array(self, name: str, column: Sequence[Any]) -> np.ndarray:
        """A column's values, words and truth values as codes, what is not known as NaN, -1 or :data:`_NOT_KNOWN`."""
        import numpy as np

        if name in _WORDS:
            codes = self._codes[name]
            for word in dict.fromkeys(column):
                codes.setdefault(word, len(codes))
            return np.fromiter(map(codes.__getitem__, column), np.int32, len(column))
        if name in _MAYBE_TRUE:
            return np.array([-1 if value is None else value for value in column], np.int8)
        if name in _FLOATS:
            return np.array(column, np.float64)
        if name in _MAYBE_WHOLE:
            column = [_NOT_KNOWN if value is None else value for value in column]
        try:
            return np.array(column, np.bool_ if column and isinstance(column[0], bool) else np.int64)
        except OverflowError:
            # Whole numbers too large for 64 bits, which no real layer reaches.
            return np.array(column, np.float64)

    def finish(self) -> Piece:
        words = {name: list(codes) for name, codes in self._codes.items()}
        if not self._counts:
            return self._nothing(words)
        columns = {}
        for name, parts in self._parts.items():
            columns[name] = _one(parts)
            parts.clear()
        return Piece(columns, words, _one(self._values), _one(self._counts))

    def _nothing(self, words: dict[str, list[str]]) -> Piece:
        """Empty columns of the right types."""
        import numpy as np

        columns = {name: self._array(name, []) for name in self._parts}
        return Piece(columns, words, np.array([], np.float64), np.array([], np.int64))
