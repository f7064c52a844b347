"""Whether both modes compute the same, bit for bit."""

from __future__ import annotations

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


class Compared(NamedTuple):
    """What a comparison of both modes found.

    Attributes
    ----------
    identical
        Whether activations and gradients are the same, bit for bit, in every step on every rank.
    difference
        The largest relative difference, ‖explicit - implicit‖ / ‖implicit‖, of those that were kept: the last step's.
    what
        What differs.
    told
        What a reader should know of it; empty if they are identical.
    """

    identical: bool
    difference: float = 0.0
    what: str = ""
    told: str = ""


def compare(make: Callable[[Mode], Loop], step: TrainingStep, ranks: Ranks) -> Compared:
    """Take some steps in both modes, from the same first batch.

    Parameters
    ----------
    make
        Makes a loop of a mode.
    step
        What they compute; activations and gradients are looked at after every step.
    ranks
        All of which compare.

    Returns
    -------
    Compared
        The same on every rank.
    """
    seen: dict[Mode, list[dict[str, int]]] = {}
    kept: dict[Mode, dict[str, np.ndarray]] = {}
    for mode in MODES:
        loop = make(mode)
        try:
            seen[mode] = []
            for _ in range(STEPS):
                loop.step()
                results = _results(step)
                seen[mode].append(
                    {
                        name: zlib.crc32(np.ascontiguousarray(array).view(np.uint8).data)
                        for name, array in results.items()
                    }
                )
            kept[mode] = {name: array.copy() for name, array in results.items()}
        finally:
            loop.close()
    differing = {
        name
        for one, other in zip(seen["implicit"], seen["explicit"], strict=True)
        for name in one
        if one[name] != other[name]
    }
    mine = {name: _difference(kept["implicit"][name], kept["explicit"][name]) for name in sorted(differing)}
    # That no number differs in the last step does not excuse that one did before.
    of_all = [found for of_rank in ranks.all_gather(mine) for found in of_rank.items()]
    if not of_all:
        return Compared(identical=True)
    what, difference = max(of_all, key=lambda found: found[1])
    told = (
        f"With overlap {what} differ by {difference:.1g} of themselves: the MPI library adds up in another order where "
        "a message is of another size"
    )
    return Compared(False, difference, what, told)


def _results(step: TrainingStep) -> dict[str, np.ndarray]:
    """Activations, and gradients as they are after the exchange."""
    results = {f"activations of {name}": _on_host(array) for name, array in step.activations().items()}
    gradients = {f"gradients of layer {index}": _on_host(array) for index, array in enumerate(step.gradients)}
    return results | gradients


def _on_host(array: Any) -> np.ndarray:
    if isinstance(array, np.ndarray):
        return array
    found: np.ndarray = array.get()
    return found


def _difference(one: np.ndarray, other: np.ndarray) -> float:
    first, second = one.astype(np.float64).ravel(), other.astype(np.float64).ravel()
    norm = float(np.linalg.norm(first))
    return float(np.linalg.norm(second - first)) / norm if norm else float(np.linalg.norm(second))
