"""What a GPU's memory and its arithmetic reach, by kernels that do nothing else."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from layerbench.cuda import library, sources
from layerbench.device import Run
from layerbench.errors import OutOfMemoryError
from layerbench.layers import DType
from layerbench.units import size

ARRAY_BYTES = 2**30
"""The most that each of the three arrays of the bandwidth takes."""

CACHES = 4
"""Each array is larger than so many L2 caches."""

STREAM_REPETITIONS = 20
ARITHMETIC_REPETITIONS = 10

THREADS = 256
BLOCKS_OF_MULTIPROCESSOR = 8
"""2048 threads, the most that a multiprocessor holds."""

VECTOR_BYTES = 16

ROUNDS = 1000
"""About a millisecond of multiply-adds."""

OPERATIONS_OF_ROUND = 2 * 16 * 8
"""Of a thread: two for each of 16 sums, written out 8 times (kernels/fma.cu)."""

Seconds = Callable[[Run], float]
"""Times one call."""


def grid() -> tuple[int]:
    """Blocks that fill the current GPU."""
    return (BLOCKS_OF_MULTIPROCESSOR * library.attribute("MultiProcessorCount"),)


def array_bytes(free: int, cache: int) -> int:
    """Bytes of each of the three arrays, of free memory and the L2 cache in bytes.

    Raises
    ------
    OutOfMemoryError
        If it would not exceed the cache often enough: what it keeps between repetitions would be timed.
    """
    nbytes = min(ARRAY_BYTES, free // 4 // 3) // VECTOR_BYTES * VECTOR_BYTES
    if nbytes <= CACHES * cache:
        raise OutOfMemoryError(
            f"bandwidth needs three arrays that exceed {CACHES} L2 caches of {size(cache)}, and may take "
            f"{size(free // 4)} (a quarter of the GPU's free memory): free {size(12 * CACHES * cache)}"
        )
    return nbytes


def bandwidth(seconds: Seconds, free: int, cache: int) -> list[float]:
    """Bytes a second of ``a = b + s c`` and of reading alone, each of several repetitions.

    By STREAM's convention each array counts once. Reading alone can be the quicker, because memory loses time whenever
    it turns from reading to writing, and a pass that reads weights does little else.

    Raises
    ------
    OutOfMemoryError
        If too little memory is free for arrays that exceed the cache.
    """
    nbytes = array_bytes(free, cache)
    count = nbytes // VECTOR_BYTES
    whole = library.load().empty((3, nbytes // 4), np.float32)
    a, b, c = whole
    out = whole[0, :1]
    blocks, threads = grid(), (THREADS,)
    sources.kernel("triad", "fill")(blocks, threads, (whole, np.int64(3 * count)))
    triad, read = sources.kernel("triad", "triad"), sources.kernel("triad", "read_only")
    of_triad = (a, b, c, np.float32(0.5), np.int64(count))
    of_read = (whole, out, np.int64(3 * count))

    def add() -> None:
        triad(blocks, threads, of_triad)

    def look() -> None:
        read(blocks, threads, of_read)

    return [3 * nbytes / seconds(call) for call in (add, look) for _ in range(STREAM_REPETITIONS)]


def arithmetic(seconds: Seconds, dtype: DType) -> list[float]:
    """FLOP/s of multiply-adds in registers, of several repetitions; empty for types that run on tensor cores."""
    types: dict[DType, type[np.floating]] = {"fp32": np.float32, "fp64": np.float64}
    if dtype not in types:
        return []
    type_ = types[dtype]
    kernel = sources.kernel("fma", f"fma_{dtype}")
    blocks, threads = grid(), (THREADS,)
    operands = (library.load().empty(1, type_), type_(0.5), type_(1.0), np.int32(ROUNDS))
    operations = blocks[0] * THREADS * OPERATIONS_OF_ROUND * ROUNDS

    def multiply_add() -> None:
        kernel(blocks, threads, operands)

    return [operations / seconds(multiply_add) for _ in range(ARITHMETIC_REPETITIONS)]
