"""Whether what was asked of an exchange of gradients can be done, and is the same on all ranks."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from layerbench.collectives import MPIRanks
from layerbench.errors import UsageError
from layerbench.suite_format import did_you_mean, printable, shown


def refuse_unknown(name: str, value: object, known: Sequence[str]) -> None:
    """Raise a UsageError unless an option has one of the values that are known."""
    if value not in known:
        hint = did_you_mean(value, known)
        raise UsageError(f"{name}: expected one of {', '.join(known)}, not {printable(shown(value))}{hint}")


def refuse_no_communicator(communicator: Any) -> None:
    """Raise a UsageError unless it is a communicator that this rank is part of, or None."""
    if communicator is None:
        return
    expected = "communicator: expected one of mpi4py, such as MPI.COMM_WORLD, or None for a rank alone"
    needed = ("Get_size", "Get_rank", "Dup")
    if isinstance(communicator, type) or not all(callable(getattr(communicator, name, None)) for name in needed):
        raise UsageError(f"{expected}, not {printable(shown(communicator))}")
    if not communicator:
        raise UsageError(f"{expected}, not a null one: this rank is no part of it")


def method_for(gradients: Sequence[Any], method: str, methods: Sequence[str]) -> str:
    """The method to use for these gradients, of those that are known: first ``auto``, then what that is on the host.

    Raises
    ------
    UsageError
        If it is unknown, or for memory of another kind.
    """
    refuse_unknown("method", method, methods)
    present = [(index, gradient) for index, gradient in enumerate(gradients) if gradient is not None]
    on_device = [hasattr(gradient, "__cuda_array_interface__") for _, gradient in present]
    if len(set(on_device)) > 1:
        other = present[on_device.index(not on_device[0])][0]
        raise UsageError(f"gradients {present[0][0]} and {other}: one is on the host, the other on a device")
    where = "on a device" if any(on_device) else "on the host"
    if method == "auto":
        return "nccl" if any(on_device) else methods[1]
    if present and (method == "nccl") != any(on_device):
        needed = "on a device" if method == "nccl" else "on the host"
        raise UsageError(f'method="{method}" is for gradients {needed}, and these are {where}; use method="auto"')
    return method


def refuse_whole_numbers(gradients: Sequence[Any]) -> None:
    """Raise a UsageError if some gradients cannot be divided."""
    for index, gradient in enumerate(gradients):
        if gradient is not None and gradient.dtype.kind in "biu":
            raise UsageError(f"gradient {index}: average=True needs fractions, and {gradient.dtype} has none")


def refuse_differences(ranks: MPIRanks, gradients: Sequence[Any], options: dict[str, object]) -> None:
    """All ranks have to exchange the same; else MPI would mix them up, or wait for ever.

    Raises
    ------
    UsageError
        If they do not, on every rank, naming the first that differs from rank 0.
    """
    mine = {"the number of gradients": str(len(gradients))}
    mine |= {
        f"gradient {index}": "nothing" if gradient is None else f"{gradient.size} elements of {gradient.dtype}"
        for index, gradient in enumerate(gradients)
    }
    mine |= {name: str(value) for name, value in options.items()}
    digests = ranks.all_gather(hashlib.sha256(repr(mine).encode()).hexdigest())
    if len(set(digests)) == 1:
        return
    first = ranks.broadcast(mine)
    # The number of gradients is looked at first, so that what follows is there on both ranks.
    differing = next((what for what in mine if mine[what] != first.get(what)), "")
    told = f"{differing} is {mine[differing]}, of rank 0 {first[differing]}" if differing else ""
    for rank, difference in enumerate(ranks.all_gather(told)):
        if difference:
            raise UsageError(f"rank {rank}: {difference}; all ranks have to exchange the same")
