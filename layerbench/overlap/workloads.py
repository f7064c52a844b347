"""What is computed, and where its batches come from."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from layerbench.datamanager import Arrays, ImageFolder, Normalise, Shards
from layerbench.datamanager.host import Host
from layerbench.datamanager.images import IMAGENET_MEAN, IMAGENET_STD
from layerbench.datamanager.source import Field, Source
from layerbench.device import Run
from layerbench.errors import UsageError
from layerbench.overlap_records import OverlapTask
from layerbench.suite_format import printable
from layerbench.training_step import TrainingStep

SYNTHETIC = "synthetic"
"""What a source is called that is no folder."""

POOL_BATCHES = 4
"""Batches of which a synthetic source has the samples, so that one batch's are not found in a cache by the next."""

POOL_BYTES = 2**30
"""More than that it takes only for two batches."""

IMAGE_CHANNELS = 3

SHARD_SUFFIXES = (".npy", ".npz")

IN_A_ROW = 10
"""Calls that tell together how long one takes."""


class Training:
    """A suite's training step on the batches of a source; see ``loops.Work``.

    Parameters
    ----------
    step
        What is computed.
    feeds
        For each of the step's fields, which array of a batch it is given, or an array that it is given in every step.
    """

    def __init__(self, step: TrainingStep, feeds: Sequence[int | Any]) -> None:
        self._step = step
        self._feeds = [feed if isinstance(feed, int) else _beside(step.gradients[0], feed) for feed in feeds]
        self.gradients = step.gradients

    def run(self, arrays: Sequence[Any], ready: Callable[[int], None], between: Run, number: int = -1) -> None:
        """One step; see ``loops.Work``."""
        fed = [arrays[feed] if isinstance(feed, int) else feed for feed in self._feeds]
        self._step.forward(fed, number)
        between()
        self._step.backward(ready, between)
        self._step.device.synchronize()

    def synchronize(self) -> None:
        """Wait for the device."""
        self._step.device.synchronize()


class Repeated:
    """A call that is repeated; see ``loops.Work``."""

    gradients: Sequence[Any] = ()

    def __init__(self, run: Run, times: int, synchronize: Run) -> None:
        self._run = run
        self.times = times
        self._synchronize = synchronize

    def run(self, arrays: Sequence[Any], ready: Callable[[int], None], between: Run, number: int = -1) -> None:
        """So many calls; the batch is not looked at."""
        for _ in range(self.times):
            self._run()
        self._synchronize()

    def synchronize(self) -> None:
        """Wait for the device."""
        self._synchronize()


def _beside(gradient: Any, array: np.ndarray) -> Any:
    """An array of the host, brought to the memory that a gradient lies in."""
    if isinstance(gradient, np.ndarray):
        return array
    there: Any = np.empty_like(gradient, shape=array.shape, dtype=array.dtype)
    there.set(array)
    return there


def source_of(
    text: str, fields: Sequence[Field], batch: int, seed: int, rank: int, ranks: int
) -> tuple[Source, list[int | np.ndarray], str]:
    """The source of a rank's batches, endless.

    Parameters
    ----------
    text
        ``synthetic``, or a folder of images or of .npy and .npz shards.
    fields
        What the network takes.
    batch
        Samples of this rank.
    seed
        Of synthetic samples, and of the order of others.
    rank, ranks
        Whose share it is.

    Returns
    -------
    source, feeds, told
        The source; what of its batches, or which constant array, each field is given; and what it is, in words.

    Raises
    ------
    UsageError
        If nothing in the folder is what the network takes.
    """
    if text == SYNTHETIC:
        return synthetic(fields, batch, seed + rank), list(range(len(fields))), "synthetic: bytes and float32 in memory"
    folder = Path(text)
    shards = sorted(path for path in folder.iterdir() if path.suffix in SHARD_SUFFIXES)
    shared: dict[str, Any] = {"batch_size": batch, "rank": rank, "ranks": ranks, "shuffle": seed, "epochs": None}
    source: Source
    if shards:
        wanted = [index for index, field in enumerate(fields) if _of_sample(shards[0]) == field.shape]
        told = f"{len(shards)} {'shard' if len(shards) == 1 else 'shards'} in {printable(folder.name)}"
        there = " x ".join(map(str, _of_sample(shards[0])))
        needed = f"the first, {shards[0].name}, has samples of {there or 'one number'}"
        if wanted:
            source = Shards(shards, **shared, dtypes=[fields[wanted[0]].dtype])
    else:
        wanted = [index for index, field in enumerate(fields) if _is_image(field)]
        told = f"images in {printable(folder.name)}"
        needed = f"images have {IMAGE_CHANNELS} channels"
        if wanted:
            size = fields[wanted[0]].shape[1:]
            source = ImageFolder(folder, size=(size[0], size[1]), **shared)
    if not wanted:
        takes = ", ".join(f"{field.name} takes {' x '.join(map(str, field.shape))}" for field in fields)
        raise UsageError(
            f"--source {printable(text)}: {needed}, and {takes}: choose layers with --filter, or other data"
        )
    constant = [np.random.default_rng(seed).standard_normal((batch, *field.shape)) for field in fields]
    feeds = [
        0 if index == wanted[0] else array.astype(field.dtype)
        for index, (field, array) in enumerate(zip(fields, constant, strict=True))
    ]
    return source, feeds, told


def synthetic(fields: Sequence[Field], batch: int, seed: int) -> Arrays:
    """Samples in memory: bytes where a field is an image, which are normalised; else numbers as the field has them."""
    random = np.random.default_rng(seed)
    sample = sum(math.prod(field.shape) * (1 if _is_image(field) else field.dtype.itemsize) for field in fields)
    batches = POOL_BATCHES if POOL_BATCHES * batch * sample <= POOL_BYTES else 2
    arrays = []
    for field in fields:
        shape = (batches * batch, *field.shape)
        if _is_image(field):
            arrays.append(random.integers(0, 256, shape, dtype=np.uint8))
        else:
            arrays.append(random.standard_normal(shape, dtype=np.float32).astype(field.dtype, copy=False))
    pixels = Normalise(IMAGENET_MEAN, IMAGENET_STD, divisor=255)
    return Arrays(
        *arrays,
        batch_size=batch,
        names=[field.name for field in fields],
        dtypes=[field.dtype for field in fields],
        normalise=[pixels if _is_image(field) else None for field in fields],
        epochs=None,
    )


def _is_image(field: Field) -> bool:
    return len(field.shape) == 3 and field.shape[0] == IMAGE_CHANNELS and field.dtype.kind == "f"


def _of_sample(path: Path) -> tuple[int, ...]:
    """The shape of one sample of a shard."""
    try:
        stored = np.load(path, mmap_mode="r", allow_pickle=False)
        array = stored if isinstance(stored, np.ndarray) else stored[stored.files[0]]
        return tuple(array.shape[1:])
    except (OSError, ValueError, IndexError) as error:
        raise UsageError(f"--source {printable(path.name)}: {' '.join(str(error).split())}") from error


def shared_cores(cores: Sequence[int], threads: int, device: str) -> int:
    """Cores that compute and have to make batches too; 0 where cores are to spare, or the device computes.

    Parameters
    ----------
    cores
        To spare.
    threads
        That compute.
    device
        What kernels run on.
    """
    return 0 if cores or device != Host.name else threads


def lanes(asked: OverlapTask, stages: int = 1, shared: int = 0) -> int:
    """Cores that transfer is spread over: no more than workers of all its stages, nor than are to spare, or shared."""
    return max(1, min(asked.workers * stages, asked.spare_cores or shared))


def repetitions(run: Run, seconds: float, synchronize: Run) -> int:
    """How often a call fits into so many seconds, at least once.

    Some are made in a row, as they will be: where they are only queued, waiting for each would take longer than it.
    """
    run()
    synchronize()
    quickest = math.inf
    for _ in range(5):
        begin = time.perf_counter()
        for _ in range(IN_A_ROW):
            run()
        synchronize()
        quickest = min(quickest, (time.perf_counter() - begin) / IN_A_ROW)
    return max(1, round(seconds / quickest))
