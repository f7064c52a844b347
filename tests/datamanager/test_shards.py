"""Shard files of every kind give the samples that are in them, bit for bit."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from layerbench.datamanager import shards as shards_module
from layerbench.datamanager.casting import Normalise
from layerbench.datamanager.order import Order
from layerbench.datamanager.sequential import batches
from layerbench.datamanager.shard_files import Raw
from layerbench.datamanager.shards import OPEN_FILES, Shards
from layerbench.errors import DataError

RANDOM = np.random.default_rng(0)
SHAPE = (3, 5)


def write(folder: Path, kind: str, lengths: Sequence[int], dtype: str = "uint8") -> tuple[np.ndarray, np.ndarray]:
    """Shards of so many samples each; returns all of the samples, and their labels."""
    values = RANDOM.integers(0, 100, (sum(lengths), *SHAPE)).astype(dtype)
    labels = np.arange(sum(lengths))
    folder.mkdir(exist_ok=True)
    start = 0
    for number, length in enumerate(lengths):
        part, named = values[start : start + length], labels[start : start + length]
        start += length
        path = folder / f"{number:03}.{kind.split(maxsplit=1)[0]}"
        match kind:
            case "raw":
                part.tofile(path)
            case "npy":
                np.save(path, part)
            case "npz":
                np.savez(path, images=part, labels=named)
            case "npz compressed":
                np.savez_compressed(path, images=part, labels=named)
    return values, labels


def open_shards(folder: Path, kind: str, batch_size: int, **options: Any) -> Shards:
    raw = Raw("uint8", SHAPE) if kind == "raw" else None
    return Shards(folder, batch_size, raw=raw, **options)


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def read(source: Shards) -> list[tuple[np.ndarray, ...]]:
    found = [tuple(array.copy() for array in batch) for batch in batches(source)]
    source.close()
    return found


KINDS = ["raw", "npy", "npz", "npz compressed"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("delivered", [None, "float32"])
def test_batches_cross_shards(tmp_path: Path, kind: str, delivered: str | None) -> None:
    values, labels = write(tmp_path / "set", kind, (7, 0, 1, 12, 3))
    fields = 2 if kind.startswith("npz") else 1
    source = open_shards(tmp_path / "set", kind, 4, dtypes=[delivered, None][:fields], drop_last=False, epochs=2)
    assert [stage.name for stage in source.stages] == (["read", "cast"] if delivered else ["read"])
    assert source.batches == 12
    found = read(source)
    for epoch in (found[:6], found[6:]):
        np.testing.assert_array_equal(np.concatenate([batch[0] for batch in epoch]), values.astype(delivered or "u1"))
        if fields == 2:
            np.testing.assert_array_equal(np.concatenate([batch[1] for batch in epoch]), labels)
    assert found[0][0].dtype == np.dtype(delivered or "u1")


@pytest.mark.parametrize("kind", KINDS)
def test_a_random_order_is_the_orders_own(tmp_path: Path, kind: str) -> None:
    lengths = (7, 0, 1, 12, 3)
    values, labels = write(tmp_path / "set", kind, lengths)
    groups = (7, 1, 12, 3) if kind == "npz compressed" else None
    order = [np.asarray(batch) for batch in Order(23, 5, shuffle=3, epochs=2, groups=groups)]
    found = read(open_shards(tmp_path / "set", kind, 5, shuffle=3, epochs=2))
    for batch, samples in zip(found, order, strict=True):
        np.testing.assert_array_equal(batch[0], values[samples])
        if kind.startswith("npz"):
            np.testing.assert_array_equal(batch[1], labels[samples])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30, deadline=None)
@given(
    lengths=st.lists(st.integers(0, 12), min_size=1, max_size=6),
    kind=st.sampled_from(KINDS),
    batch_size=st.integers(1, 4),
    ranks=st.integers(1, 3),
    shuffle=st.none() | st.just(1),
)
def test_ranks_read_each_sample_once(
    tmp_path: Path, lengths: list[int], kind: str, batch_size: int, ranks: int, shuffle: int | None
) -> None:
    folder = tmp_path / f"set{len(list(tmp_path.iterdir()))}"
    values, _ = write(folder, kind, lengths)
    if len(values) < ranks:
        return
    found = [
        read(open_shards(folder, kind, batch_size, rank=rank, ranks=ranks, shuffle=shuffle, drop_last=False))
        for rank in range(ranks)
    ]
    assert len({len(each) for each in found}) == 1
    taken = np.concatenate([batch[0] for each in found for batch in each])
    whole = len(values) - len(values) % (ranks * batch_size)
    if len(values) - whole >= ranks:
        whole = len(values)
    assert len(taken) == whole
    if whole == len(values):
        assert sorted(map(bytes, taken)) == sorted(map(bytes, values))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shuffle", [None, 2])
def test_pieces_may_be_read_in_any_order(tmp_path: Path, kind: str, shuffle: int | None, monkeypatch: Any) -> None:
    monkeypatch.setattr(shards_module, "BLOCK_BYTES", 40)
    values, _ = write(tmp_path / "set", kind, (30, 30, 30))
    source = open_shards(tmp_path / "set", kind, 9, shuffle=shuffle)
    groups = (30, 30, 30) if kind == "npz compressed" else None
    order = [np.asarray(batch) for batch in Order(90, 9, shuffle=shuffle, groups=groups)]
    plan = [pieces[0] for pieces in source.plan()]
    for number in RANDOM.permutation(len(plan)):
        out = tuple(np.empty((9, *field.shape), field.dtype) for field in source.fields)
        source.stages[0].run(plan[number].item, out)
        np.testing.assert_array_equal(out[0], values[order[number]])
    source.close()


def test_normalised_samples_are_what_numpy_computes(tmp_path: Path) -> None:
    values, _ = write(tmp_path / "set", "npy", (4, 5), dtype=">u2")
    how = Normalise((1, 2, 3), (4, 5, 6), divisor=10)
    source = Shards(tmp_path / "set", 9, dtypes=["float32"], normalise=[how])
    factor, offset = how.factors(source.fields[0])
    ((found,),) = read(source)
    np.testing.assert_array_equal(found, values.astype(np.float32) * factor + offset)


def test_samples_larger_than_delivered_are_converted_too(tmp_path: Path) -> None:
    values, _ = write(tmp_path / "set", "npy", (4, 5), dtype="float64")
    ((found,),) = read(Shards(tmp_path / "set", 9, dtypes=["float32"], names=["pixels"]))
    np.testing.assert_array_equal(found, values.astype(np.float32))


def test_large_batches_are_of_several_pieces_that_name_their_shards(tmp_path: Path) -> None:
    for name in ("a.npy", "b.npy"):
        np.save(tmp_path / name, np.zeros((6, 2**20), np.uint8))
    source = Shards(tmp_path, 12)
    (pieces,) = source.plan()
    assert [piece.origin for piece in pieces] == [
        "a.npy (samples 0 to 1)",
        "a.npy (samples 2 to 3)",
        "a.npy (samples 4 to 5)",
        "b.npy (samples 0 to 1)",
        "b.npy (samples 2 to 3)",
        "b.npy (samples 4 to 5)",
    ]
    source.close()
    crossing = Shards(tmp_path, 8, epochs=None)
    assert [piece.origin for piece in next(iter(crossing.plan()))][-1] == "b.npy (samples 0 to 1)"
    crossing.close()


def test_compressed_members_are_decompressed_once_an_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "set", "npz compressed", (40, 40, 40))
    monkeypatch.setattr(shards_module, "BLOCK_BYTES", 64)
    opened = []
    original = zipfile.ZipFile.open

    def noted(archive: zipfile.ZipFile, name: Any, *rest: Any, **named: Any) -> Any:
        opened.append((archive.filename, str(name)))
        return original(archive, name, *rest, **named)

    for shuffle in (None, 1):
        source = open_shards(tmp_path / "set", "npz compressed", 7, shuffle=shuffle)
        opened.clear()
        with monkeypatch.context() as patch:
            patch.setattr(zipfile.ZipFile, "open", noted)
            read(source)
        assert len(opened) == len(set(opened)) == 6


def test_few_files_are_open_of_however_many(tmp_path: Path) -> None:
    for kind in ("npy", "npz compressed"):
        write(tmp_path / kind, kind, [2] * 60)
        before = open_files()
        source = open_shards(tmp_path / kind, kind, 8, shuffle=0)
        most = 0
        for _ in batches(source):
            most = max(most, open_files() - before)
        assert 0 < most <= OPEN_FILES
        source.close()
        assert open_files() == before


def test_folders_patterns_files_and_lists_name_shards(tmp_path: Path) -> None:
    values, _ = write(tmp_path / "set", "npy", (2, 3, 4))
    (tmp_path / "set" / "about.txt").write_text("a description")
    (tmp_path / "set" / ".hidden.npy").write_text("not a shard")
    for named, expected in (
        (tmp_path / "set", values),
        (str(tmp_path / "set" / "*[02].npy"), np.concatenate([values[:2], values[5:]])),
        (tmp_path / "set" / "001.npy", values[2:5]),
        ([tmp_path / "set" / "002.npy", str(tmp_path / "set" / "000.npy")], np.concatenate([values[5:], values[:2]])),
    ):
        ((found,),) = read(Shards(named, len(expected)))
        np.testing.assert_array_equal(found, expected)


def test_members_are_chosen_by_name(tmp_path: Path) -> None:
    values, labels = write(tmp_path / "set", "npz", (3, 3))
    source = Shards(tmp_path / "set", 6, names=["labels", "images"])
    assert [field.name for field in source.fields] == ["labels", "images"]
    ((found_labels, found),) = read(source)
    np.testing.assert_array_equal(found_labels, labels)
    np.testing.assert_array_equal(found, values)
    assert [field.name for field in Shards(tmp_path / "set", 6, names=["images"]).fields] == ["images"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_shard_that_is_cut_off_later_is_an_error_with_its_name(tmp_path: Path, kind: str) -> None:
    write(tmp_path / "set", kind, (4, 4))
    source = open_shards(tmp_path / "set", kind, 4)
    path = tmp_path / "set" / f"001.{kind.split(maxsplit=1)[0]}"
    path.write_bytes(path.read_bytes()[:30] if "compressed" not in kind else b"PK")
    with pytest.raises(DataError, match=r"^read of 001.np?[zy]?.* \(samples 0 to 3\) \(batch 1\): |^read of 001.raw"):
        read(source)
    source.close()


def test_damaged_contents_are_an_error_with_their_name(tmp_path: Path) -> None:
    write(tmp_path / "set", "npz compressed", (400,))
    path = tmp_path / "set" / "000.npz"
    contents = bytearray(path.read_bytes())
    contents[1000:1500] = bytes(500)
    path.write_bytes(contents)
    source = Shards(path, 400)
    with pytest.raises(DataError, match=r"^read of 000.npz \(samples 0 to 399\) \(batch 0\): ") as error:
        read(source)
    assert "\n" not in str(error.value)
    source.close()
