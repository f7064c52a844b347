"""Whether both modes compute the same, bit for bit."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from layerbench.collectives import Ranks
from layerbench.overlap.loops import Loop
from layerbench.overlap_records import MODES, Mode
from layerbench.training_step import TrainingStep

STEPS = 3
"""That are compared: the slots of a short pipeline are in use for the second time by then."""


ACTIVATIONS = "activations of "


class Compared(NamedTuple):
    """What a comparison of both modes found.

    Attributes
    ----------
    identical
        Whether activations and gradients are the same, bit for bit, in every step on every rank.
    difference
        The largest relative difference: ‖explicit - implicit‖ / ‖implicit‖ in the last step, which is kept, and of the
        norms of what differs in steps before. Infinite where one of them is not finite.
    what
        What differs.
    told
        What a reader should know of it; empty if they are identical.
    """

    identical: bool
    difference: float = 0.0
    what: str = ""
    told: str = ""


class _Seen(NamedTuple):
    """What is kept of an array of every step."""

    checksum: int
    norm: float


def compare(
    make: Callable[[Mode], Loop], step: TrainingStep, ranks: Ranks, progress: Callable[[str], None] = lambda _: None
) -> Compared:
    """Take some steps in both modes, from the same first batch.

    Parameters
    ----------
    make
        Makes a loop of a mode.
    step
        What they compute; activations and gradients are looked at after every step.
    ranks
        All of which compare.
    progress
        Told of every step: long ones must not look as if nothing went on.

    Returns
    -------
    Compared
        The same on every rank.
    """
    seen: dict[Mode, list[dict[str, _Seen]]] = {}
    kept: dict[Mode, dict[str, np.ndarray]] = {}
    for mode in MODES:
        loop = make(mode)
        try:
            seen[mode] = []
            for _ in range(STEPS):
                progress("comparing both modes")
                loop.step()
                results = _results(step)
                seen[mode].append({name: _seen(array) for name, array in results.items()})
            kept[mode] = {name: array.copy() for name, array in results.items()}
        finally:
            loop.close()
    mine: dict[str, float] = {}
    for one, other in zip(seen["implicit"], seen["explicit"], strict=True):
        for name in one:
            if one[name].checksum != other[name].checksum:
                # That little differs in the last step does not excuse what did before.
                mine[name] = max(mine.get(name, 0.0), _relative(other[name].norm - one[name].norm, one[name].norm))
    mine = {
        name: max(before, _difference(kept["implicit"][name], kept["explicit"][name])) for name, before in mine.items()
    }
    of_all = [found for of_rank in ranks.all_gather(mine) for found in of_rank.items()]
    if not of_all:
        return Compared(identical=True)
    what, difference = max(of_all, key=lambda found: found[1])
    told = f"With overlap {what} differ by {difference:.1g} of themselves: "
    if ranks.size > 1 and not any(name.startswith(ACTIVATIONS) for name, _ in of_all):
        told += "the MPI library adds up in another order where a message is of another size"
    else:
        # Activations are not summed over ranks, nor is anything on one rank.
        told += "no more than rounding may, but no exchange is the reason"
    return Compared(False, difference, what, told)


def _seen(array: np.ndarray) -> _Seen:
    flat = np.ascontiguousarray(array).ravel()
    return _Seen(zlib.crc32(flat.view(np.uint8).data), float(np.linalg.norm(flat.astype(np.float64))))


def _results(step: TrainingStep) -> dict[str, np.ndarray]:
    """Activations, and gradients as they are after the exchange."""
    results = {f"{ACTIVATIONS}{name}": _on_host(array) for name, array in step.activations().items()}
    gradients = {f"gradients of layer {index}": _on_host(array) for index, array in enumerate(step.gradients)}
    return results | gradients


def _on_host(array: Any) -> np.ndarray:
    if isinstance(array, np.ndarray):
        return array
    found: np.ndarray = array.get()
    return found


def _difference(one: np.ndarray, other: np.ndarray) -> float:
    first, second = one.astype(np.float64).ravel(), other.astype(np.float64).ravel()
    with np.errstate(invalid="ignore"):
        distance = float(np.linalg.norm(second - first))
    return _relative(distance, float(np.linalg.norm(first)))


def _relative(distance: float, norm: float) -> float:
    """A distance over a norm, if that is not 0; never NaN, which is not larger than any limit."""
    if not (math.isfinite(distance) and math.isfinite(norm)):
        return math.inf
    return abs(distance) / norm if norm else abs(distance)
