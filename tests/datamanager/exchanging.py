"""What the programs that real ranks run have in common: ``mpiexec -n N python exchanging_WHAT.py NAME ARGUMENTS``.

The programs import it first, because it says how many threads MPI is to serve.
"""

from __future__ import annotations

import itertools
import sys
from typing import Any

import numpy as np

if "serialized" in sys.argv:
    import mpi4py

    mpi4py.rc.thread_level = "serialized"

import pytest
from mpi4py import MPI

from layerbench.errors import LayerbenchError

world = MPI.COMM_WORLD
rank, ranks = world.Get_rank(), world.Get_size()

WAYS = tuple(itertools.product(("iallreduce", "persistent", "ordered"), ("calls", "thread")))

SHAPES = ((300,), (7,), (0,), (2, 3, 5), (1,), None, (641,), (1500,), (3,), (257,), (64,))
"""Packed, alone, empty, missing, fewer elements than ranks; the seventh is of double precision."""

SMALL: dict[str, Any] = {"bucket_bytes": 4096, "first_bytes": 512}


def made(dtype: str = "f4", other: str = "f8") -> list[Any]:
    return [
        None if shape is None else np.zeros(shape, other if index in (1, 6) else dtype)
        for index, shape in enumerate(SHAPES)
    ]


def fill(gradients: list[Any], rng: np.random.Generator, whole: bool) -> None:
    for gradient in gradients:
        if gradient is not None:
            gradient[...] = rng.integers(-1000, 1000, gradient.shape) if whole else rng.standard_normal(gradient.shape)


def copied(to: list[Any], of: list[Any]) -> None:
    for here, there in zip(to, of, strict=True):
        if here is not None:
            here[...] = there


def same(ones: list[Any], others: list[Any]) -> bool:
    return all(one is None or one.tobytes() == other.tobytes() for one, other in zip(ones, others, strict=True))


def raised(action: Any) -> LayerbenchError:
    with pytest.raises(LayerbenchError) as found:
        action()
    assert "\n" not in str(found.value)
    return found.value
