"""Stored numbers become those that are computed with: converted and normalised into the batch's own memory.

Nothing here takes memory that grows with a batch: NumPy converts through a buffer of a few thousand elements, and what
was read is kept at the end of the very place that it is converted into (:func:`staged`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from layerbench.datamanager.source import Field
from layerbench.errors import UsageError

_BLOCK = 2**14


@dataclass(frozen=True)
class Normalise:
    """What makes values alike in mean and spread: (value / divisor - mean) / std.

    It is computed as value × factor + offset in the delivered dtype, where factor = 1 / (divisor × std) and
    offset = -mean / std are rounded to that dtype from float64.

    Attributes
    ----------
    mean, std
        One number, or one for each channel.
    divisor
        255 where bytes are pixels and mean and std are those of values from 0 to 1.
    axis
        Which axis of a sample the channels are.
    """

    mean: float | Sequence[float]
    std: float | Sequence[float]
    divisor: float = 1.0
    axis: int = 0

    def factors(self, field: Field) -> tuple[np.ndarray, np.ndarray]:
        """Factor and offset for a field, of shapes that broadcast over a sample.

        Raises
        ------
        UsageError
            If the field is not of floating-point numbers, has not as many channels, or a figure is impossible.
        """
        if field.dtype.kind != "f":
            raise UsageError(
                f"{field.name}: normalised values are delivered as floating-point numbers, not {field.dtype}"
            )
        try:
            mean, std = np.asarray(self.mean, np.float64), np.asarray(self.std, np.float64)
        except (TypeError, ValueError):
            raise UsageError(f"{field.name}: mean and std must be numbers, not {self}") from None
        if mean.ndim > 1 or std.ndim > 1 or (mean.ndim and std.ndim and mean.shape != std.shape):
            raise UsageError(f"{field.name}: mean and std must be one number each, or one for each channel")
        if not np.isfinite(mean).all() or not (np.isfinite(std) & (std > 0)).all() or not self.divisor > 0:
            raise UsageError(f"{field.name}: mean must be finite, std and divisor positive, not {self}")
        channels = max(mean.size, std.size)
        shape = [1] * len(field.shape)
        if mean.ndim or std.ndim:
            if not -len(shape) <= self.axis < len(shape) or field.shape[self.axis] != channels:
                raise UsageError(
                    f"{field.name}: mean and std are of {channels} channels, and axis {self.axis} of a sample of shape "
                    f"{field.shape} has not as many"
                )
            shape[self.axis] = channels
        factor, offset = np.broadcast_arrays(1 / (self.divisor * std), -mean / std)
        return factor.astype(field.dtype).reshape(shape), offset.astype(field.dtype).reshape(shape)


class Cast:
    """How one field's stored samples become the delivered ones.

    Parameters
    ----------
    name, shape
        Of the field, and of a sample.
    stored
        What the samples are before.
    delivered
        What they become; None leaves them, in this machine's byte order.
    normalise
        What is done to them then, if anything.

    Raises
    ------
    UsageError
        If that cannot be, or would lose more than precision.
    """

    def __init__(
        self, name: str, shape: tuple[int, ...], stored: np.dtype[Any], delivered: Any, normalise: Normalise | None
    ) -> None:
        if stored.kind not in "biufc":
            raise UsageError(f"{name}: has {_named(stored)}; expected numbers")
        wanted = stored.newbyteorder("=") if delivered is None else dtype_asked(name, delivered)
        if wanted.kind not in "biufc" or not np.can_cast(stored, wanted, "same_kind"):
            raise UsageError(f"{name}: {stored} does not become {_named(wanted)} without losing more than precision")
        if normalise is not None and not isinstance(normalise, Normalise):
            raise UsageError(f"{name}: expected a Normalise or None, not {normalise!r}")
        self.stored = stored
        self.field = Field(name, shape, wanted)
        self._factors = None if normalise is None else normalise.factors(self.field)

    @property
    def is_copy(self) -> bool:
        """Whether the delivered bytes are the stored ones."""
        return self.stored == self.field.dtype and self._factors is None

    def into(self, stored: np.ndarray, out: np.ndarray) -> None:
        """Convert and normalise samples that lie elsewhere than the place they go to."""
        if self._factors is None:
            np.copyto(out, stored, casting="same_kind")
        else:
            factor, offset = self._factors
            np.multiply(stored, factor, out=out, dtype=out.dtype, casting="same_kind")
            np.add(out, offset, out=out)

    def in_place(self, stored: np.ndarray, out: np.ndarray) -> None:
        """Convert and normalise samples that :func:`staged` found a place for."""
        if not np.may_share_memory(stored, out):
            self.into(stored.reshape(out.shape), out)
            return
        if self.stored != out.dtype:
            _converted_in_place(stored.reshape(-1), out.reshape(-1))
        if self._factors is not None:
            factor, offset = self._factors
            np.multiply(out, factor, out=out)
            np.add(out, offset, out=out)


def staged(out: np.ndarray, stored: np.dtype[Any]) -> np.ndarray:
    """Room for samples as they are stored: the end of the place that they go to, or elsewhere if they are larger.

    Converted from the front on, each number is read before its bytes are overwritten, so that a batch that is read and
    then cast takes no memory but its own.

    Returns
    -------
    np.ndarray
        C-contiguous, of the stored dtype and the place's shape.
    """
    if stored.itemsize > out.dtype.itemsize:
        return np.empty(out.shape, stored)
    unused = out.nbytes - out.size * stored.itemsize
    return out.reshape(-1).view(np.uint8)[unused:].view(stored).reshape(out.shape)


def _converted_in_place(stored: np.ndarray, out: np.ndarray) -> None:
    """Convert what lies at the end of ``out`` into all of it.

    A block may be as long as what is written does not reach what is still to be read. Of n numbers that are left, that
    is the part n (1 - stored / delivered bytes): a few blocks do nearly all, and the rest goes through a small copy.
    """
    wide, done = out.itemsize, 0
    while done < out.size:
        left = out.size - done
        block = left * (wide - stored.itemsize) // wide
        if block >= _BLOCK:
            np.copyto(out[done : done + block], stored[done : done + block], casting="same_kind")
        else:
            block = min(_BLOCK, left)
            np.copyto(out[done : done + block], stored[done : done + block].copy(), casting="same_kind")
        done += block


def casts(
    fields: Sequence[tuple[str, tuple[int, ...], np.dtype[Any]]],
    dtypes: Sequence[Any] | None,
    normalise: Sequence[Normalise | None] | None,
) -> list[Cast]:
    """A cast for each field of a source: name, sample shape and stored dtype, and what is asked for, if anything is.

    Raises
    ------
    UsageError
        If there are not as many dtypes or normalisations as fields, or a cast cannot be.
    """
    asked = zip(
        fields, per_field("dtypes", dtypes, len(fields)), per_field("normalise", normalise, len(fields)), strict=True
    )
    return [Cast(name, shape, stored, dtype, how) for (name, shape, stored), dtype, how in asked]


def per_field(option: str, values: Sequence[Any] | None, fields: int) -> Sequence[Any]:
    """One value for each field: what was given for an option, or None for each.

    Raises
    ------
    UsageError
        If there are not as many values.
    """
    if values is None:
        return (None,) * fields
    if isinstance(values, str) or not isinstance(values, Sequence) or len(values) != fields:
        raise UsageError(f"{option} must be a sequence of {fields}, one for each field of a batch, not {values!r}")
    return values


def dtype_asked(name: str, dtype: Any) -> np.dtype[Any]:
    """The dtype that a field is to have.

    Raises
    ------
    UsageError
        If it is none.
    """
    try:
        found: np.dtype[Any] = np.dtype(dtype)
        return found
    except (TypeError, ValueError):
        raise UsageError(f"{name}: expected a dtype such as 'float32', not {dtype!r}") from None


def _named(dtype: np.dtype[Any]) -> str:
    return "Python objects" if dtype.hasobject else str(dtype)
