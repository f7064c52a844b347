"""PyTorch's DataLoader over the same files, as its users write it; nothing where PyTorch is not installed."""

from __future__ import annotations

import importlib.util
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

Made = Callable[[list[int], list[int]], Iterator[Any]]
"""Given the cores to spare and all cores, begins a loop over endless batches."""


class Photos:
    """A dataset of images: open, convert, resize, to float, normalise."""

    def __init__(self, files: Sequence[Path], size: int) -> None:
        import torch

        self._files, self._size = files, size
        self._mean, self._std = torch.tensor(MEAN)[:, None, None], torch.tensor(STD)[:, None, None]

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        import torch

        with Image.open(self._files[index]) as image:
            pixels = image.convert("RGB").resize((self._size, self._size), Image.Resampling.BILINEAR)
        array = torch.from_numpy(np.array(pixels)).permute(2, 0, 1).float().div_(255)
        return array.sub_(self._mean).div_(self._std), 0


class Pixels:
    """A dataset of bytes, which are normalised: sample by sample, or a whole batch for a list of indices."""

    def __init__(self, array: np.ndarray) -> None:
        import torch

        self._array = array
        self._mean, self._std = torch.tensor(MEAN)[:, None, None], torch.tensor(STD)[:, None, None]

    def __len__(self) -> int:
        return len(self._array)

    def __getitem__(self, index: Any) -> Any:
        import torch

        return torch.from_numpy(np.array(self._array[index])).float().div_(255).sub_(self._mean).div_(self._std)


def of_images(files: Sequence[Path], size: int, batch: int) -> dict[str, Made]:
    """Loaders of image files, by name."""
    return _loaders(lambda: Photos(files, size), batch, whole=False)


def of_array(array: np.ndarray, batch: int) -> dict[str, Made]:
    """Loaders of an array or memory map: sample by sample, and a batch at once, which is quicker."""
    return _loaders(lambda: Pixels(array), batch, whole=False) | _loaders(lambda: Pixels(array), batch, whole=True)


def _loaders(dataset: Callable[[], Any], batch: int, *, whole: bool) -> dict[str, Made]:
    if importlib.util.find_spec("torch") is None:
        return {}
    made: dict[str, Made] = {}
    for workers in (1, 2):
        for pinned in (True, False):
            name = f"DataLoader, {workers} {'worker' if workers == 1 else 'workers'}"
            name += ", batches at once" if whole else ""
            name += ", on the spare core" if pinned else ", on all cores"

            def begin(
                spare: list[int], cores: list[int], workers: int = workers, pinned: bool = pinned
            ) -> Iterator[Any]:
                return _endless(dataset(), batch, workers, spare if pinned else cores, whole=whole)

            made[name] = begin
    return made


def _endless(dataset: Any, batch: int, workers: int, cores: list[int], *, whole: bool) -> Iterator[Any]:
    import torch
    from torch.utils.data import BatchSampler, DataLoader, RandomSampler

    def start(_: int) -> None:
        os.sched_setaffinity(0, cores)
        torch.set_num_threads(1)

    # It counts the cores of this thread, which are not those of its workers.
    warnings.filterwarnings("ignore", message="This DataLoader will create")
    sampler = RandomSampler(dataset)
    how: dict[str, Any] = {"batch_size": batch, "sampler": sampler, "drop_last": True}
    if whole:
        how = {"batch_size": None, "sampler": BatchSampler(sampler, batch, drop_last=True)}
    loader = DataLoader(
        dataset, num_workers=workers, prefetch_factor=2, persistent_workers=True, worker_init_fn=start, **how
    )
    try:
        while True:
            yield from loader
    finally:
        # The workers would else live until the loader is collected.
        iterator = loader._iterator
        if iterator is not None:
            iterator._shutdown_workers()
