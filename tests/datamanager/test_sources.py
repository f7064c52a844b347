"""What a source gives through the data manager, with several workers and delays, is what the plain loop gives."""

from __future__ import annotations

import dataclasses
import io
import random
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from layerbench.datamanager import pieces, shards
from layerbench.datamanager.arrays import Arrays
from layerbench.datamanager.images import ImageFolder
from layerbench.datamanager.iterables import Batches
from layerbench.datamanager.manager import DataManager
from layerbench.datamanager.sequential import batches
from layerbench.datamanager.shard_files import Raw
from layerbench.datamanager.shards import Shards
from layerbench.datamanager.source import Out, Source, Stage

SAMPLES, SHAPE = 240, (3, 11, 9)
VALUES = np.random.default_rng(0).integers(0, 255, (SAMPLES, *SHAPE)).astype(np.uint8)
LABELS = np.arange(SAMPLES)


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that small batches are of several pieces too."""
    monkeypatch.setattr(pieces, "PIECE_BYTES", 8_000)
    monkeypatch.setattr(shards, "BLOCK_BYTES", 5_000)


def generated() -> Iterator[tuple[np.ndarray, np.ndarray]]:
    values = np.empty((20, *SHAPE), np.float32)
    for start in range(0, SAMPLES, 20):
        values[...] = VALUES[start : start + 20]
        yield values, LABELS[start : start + 20]


def of_arrays(folder: Path, shuffle: int | None) -> Source:
    return Arrays(VALUES, LABELS, batch_size=32, dtypes=["f4", None], shuffle=shuffle, epochs=2)


def of_memory_maps(folder: Path, shuffle: int | None) -> Source:
    np.save(folder / "values.npy", VALUES)
    mapped = np.load(folder / "values.npy", mmap_mode="r")
    return Arrays(mapped, LABELS, batch_size=32, dtypes=["f4", None], shuffle=shuffle, epochs=2)


def of_raw_shards(folder: Path, shuffle: int | None) -> Source:
    for number in range(4):
        VALUES[60 * number : 60 * number + 60].tofile(folder / f"{number}.bin")
    return Shards(folder, 32, raw=Raw("u1", SHAPE), dtypes=["f4"], shuffle=shuffle, epochs=2)


def of_archives(save: Callable[..., None]) -> Callable[[Path, int | None], Source]:
    def make(folder: Path, shuffle: int | None) -> Source:
        for number in range(4):
            part = slice(60 * number, 60 * number + 60)
            save(folder / f"{number}.npz", values=VALUES[part], labels=LABELS[part])
        return Shards(folder, 32, dtypes=["f4", None], shuffle=shuffle, epochs=2)

    return make


def of_images(folder: Path, shuffle: int | None) -> Source:
    for number in range(40):
        Image.fromarray(VALUES[number].transpose(1, 2, 0)).save(folder / f"{number:02}.png")
    (folder / "07.png").write_bytes(b"damaged")
    return ImageFolder(folder, (8, 10), 8, policy="skip", shuffle=shuffle, epochs=2)


def of_an_iterable(folder: Path, shuffle: int | None) -> Source:
    return Batches(generated())


SOURCES = {
    "arrays": of_arrays,
    "memory maps": of_memory_maps,
    "raw shards": of_raw_shards,
    "stored archives": of_archives(np.savez),
    "compressed archives": of_archives(np.savez_compressed),
    "images": of_images,
    "an iterable": of_an_iterable,
}


def delayed(stage: Stage) -> Stage:
    def run(item: Any, out: Out) -> Any:
        time.sleep(random.random() * 5e-4)
        result = stage.run(item, out)
        time.sleep(random.random() * 5e-4)
        return result

    return dataclasses.replace(stage, run=run)


@pytest.mark.parametrize("name", SOURCES)
@pytest.mark.parametrize("shuffle", [None, 3])
@pytest.mark.parametrize(("depth", "workers"), [(1, 1), (3, 3)])
def test_batches_are_the_plain_loops(tmp_path: Path, name: str, shuffle: int | None, depth: int, workers: int) -> None:
    source = SOURCES[name](tmp_path, shuffle)
    expected = [tuple(array.copy() for array in batch) for batch in batches(source)]
    source.close()
    again = SOURCES[name](tmp_path, shuffle)
    again.stages = [delayed(stage) for stage in again.stages]
    # An iterable that fills the same array again wants the one worker that it asks for.
    with DataManager(again, depth=depth, workers=None if name == "an iterable" else workers) as manager:
        found = [tuple(array.copy() for array in batch) for batch in manager]
    assert len(found) == len(expected) > 0
    for some, wanted in zip(found, expected, strict=True):
        assert [array.tobytes() for array in some] == [array.tobytes() for array in wanted]
    assert [skipped.origin for skipped in manager.skipped] == (["07.png"] if name == "images" else [])
    assert manager.skips == (2 if name == "images" else 0)


@pytest.mark.parametrize("name", [name for name in SOURCES if name != "an iterable"])
def test_a_source_serves_one_data_manager_after_another(tmp_path: Path, name: str) -> None:
    source = SOURCES[name](tmp_path, 3)
    found = []
    for _ in range(2):
        with DataManager(source, workers=2) as manager:
            found.append([array.tobytes() for batch in manager for array in batch])
    assert found[1] == found[0]
    assert found[0]


def test_shards_stay_open_for_a_second_data_manager_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []

    class Counted(io.FileIO):
        def __init__(self, path: Path) -> None:
            opened.append(path.name)
            super().__init__(path)

    monkeypatch.setattr(shards.io, "FileIO", Counted)
    source = of_raw_shards(tmp_path, 3)
    for _ in range(2):
        opened.clear()
        with DataManager(source) as manager:
            assert len(list(manager)) == 14
        assert sorted(opened) == ["0.bin", "1.bin", "2.bin", "3.bin"]


def test_pillow_warns_of_nothing_for_a_second_data_manager_either(tmp_path: Path) -> None:
    def warn() -> None:
        warnings.warn_explicit("odd", UserWarning, "Image.py", 1, module="PIL.Image")

    source = of_images(tmp_path, None)
    source.close()
    with DataManager(source) as manager:
        for _ in manager:
            warn()
    with pytest.raises(UserWarning, match="odd"):
        warn()
