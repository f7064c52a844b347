"""Shard files that make no batch are refused in one line, which names the file."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from layerbench.datamanager.shard_files import Raw
from layerbench.datamanager.shards import Shards
from layerbench.errors import UsageError


def cut(path: Path, count: int) -> None:
    path.write_bytes(path.read_bytes()[:-count])


def test_a_shard_that_is_cut_off_is_refused_with_its_sizes(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((4, 15), np.uint8))
    cut(tmp_path / "a.npy", 10)
    with pytest.raises(UsageError, match=r"a.npy: is cut off: expected 188 bytes by its header, found 178$"):
        Shards(tmp_path / "a.npy", 2)
    np.zeros((4, 15), np.uint8).tofile(tmp_path / "a.raw")
    cut(tmp_path / "a.raw", 10)
    with pytest.raises(UsageError, match=r"a.raw: has 50 bytes, 5 more than 3 samples of 15 bytes"):
        Shards(tmp_path / "a.raw", 2, raw=Raw("u1", (3, 5)))
    np.savez(tmp_path / "a.npz", a=np.zeros((4, 15), np.uint8))
    cut(tmp_path / "a.npz", 10)
    with pytest.raises(UsageError, match=r"a.npz: cannot be read: File is not a zip file$"):
        Shards(tmp_path / "a.npz", 2)


def test_a_member_that_is_shorter_than_its_header_says_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((4, 15), np.uint8))
    contents = (tmp_path / "a.npy").read_bytes()
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        with zipfile.ZipFile(tmp_path / "a.npz", "w", method) as archive:
            archive.writestr("a.npy", contents[:-10])
        with pytest.raises(UsageError, match=r"a.npz \(a\): is cut off: expected 188 bytes by its header, found 178$"):
            Shards(tmp_path / "a.npz", 2)


def mixed_shapes(folder: Path) -> None:
    np.save(folder / "0.npy", np.zeros((2, 3), np.uint8))
    np.save(folder / "1.npy", np.zeros((2, 3), np.uint8))
    np.save(folder / "2.npy", np.zeros((2, 4), np.uint8))
    np.save(folder / "3.npy", np.zeros((2, 5), np.uint8))


def mixed_dtypes(folder: Path) -> None:
    np.savez(folder / "0.npz", a=np.zeros((2, 3), np.uint8))
    np.savez(folder / "1.npz", a=np.zeros((2, 3), np.float32))


def mixed_members(folder: Path) -> None:
    np.savez(folder / "0.npz", a=np.zeros(2))
    np.savez(folder / "1.npz", b=np.zeros(2))


def mixed_kinds(folder: Path) -> None:
    np.savez(folder / "0.npz", a=np.zeros(2))
    np.save(folder / "1.npy", np.zeros(2))


def mixed_lengths(folder: Path) -> None:
    np.savez(folder / "0.npz", a=np.zeros(2), b=np.zeros(3))


def pickled(folder: Path) -> None:
    np.save(folder / "0.npy", np.array([{}, {}]), allow_pickle=True)


def fortran(folder: Path) -> None:
    np.save(folder / "0.npy", np.asfortranarray(np.zeros((4, 3))))


def scalar(folder: Path) -> None:
    np.save(folder / "0.npy", np.float32(3))


def texts(folder: Path) -> None:
    np.save(folder / "0.npy", np.array(["a", "b"]))


def nothing_in_a_sample(folder: Path) -> None:
    np.save(folder / "0.npy", np.zeros((3, 0)))


def no_array(folder: Path) -> None:
    (folder / "0.npy").write_bytes(b"hello, this is no array at all")


def no_header(folder: Path) -> None:
    (folder / "0.npy").write_bytes(b"\x93NUMPY\x01\x00\x76\x00{'descr': ")


def empty_file(folder: Path) -> None:
    (folder / "0.npy").touch()


def empty_archive(folder: Path) -> None:
    zipfile.ZipFile(folder / "0.npz", "w").close()


def nothing(folder: Path) -> None:
    (folder / "readme.txt").touch()


def all_empty(folder: Path) -> None:
    np.save(folder / "0.npy", np.zeros((0, 3)))


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (mixed_shapes, "2.npy: has samples of shape (4,) and uint8, and 0.npy of (3,) and uint8: mixed sizes"),
        (mixed_dtypes, "1.npz (a): has samples of shape (3,) and float32, and 0.npz of (3,) and uint8: mixed sizes"),
        (mixed_members, "1.npz: has no 'a'; it has b"),
        (mixed_kinds, "1.npy: has no 'a'; it has one array without a name"),
        (mixed_lengths, "0.npz (b): has 3 samples and a has 2; they must be equally many"),
        (pickled, "0.npy: holds pickled Python objects, which are not loaded"),
        (fortran, "0.npy: is in Fortran order"),
        (scalar, "0.npy: is a single number; expected an array whose first axis is samples"),
        (texts, "0.npy: holds <U1; expected numbers"),
        (nothing_in_a_sample, "0.npy: a sample of shape (0,) has no bytes"),
        (no_array, "0.npy: is no .npy array, or its header is damaged: "),
        (no_header, "0.npy: is no .npy array, or its header is damaged: "),
        (empty_file, "0.npy: is no .npy array, or its header is damaged: "),
        (empty_archive, "0.npz: has no arrays"),
        (nothing, "the folder has no .npy or .npz files"),
        (all_empty, "set: 0 samples do not fill one batch of 2: ask for a smaller batch"),
    ],
)
def test_what_makes_no_batch_is_refused_in_one_line(tmp_path: Path, make: Any, told: str) -> None:
    (tmp_path / "set").mkdir()
    make(tmp_path / "set")
    with pytest.raises(UsageError) as error:
        Shards(tmp_path / "set", 2)
    assert told in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("shards", "options", "told"),
    [
        ("gone", {}, "gone: no such file or folder, and as a pattern it fits none; expected .npy or .npz files"),
        ("gone-*.npy", {}, "gone-*.npy: no such file or folder"),
        ([], {}, "expected at least one shard file, and the list of them is empty"),
        (["gone.npy"], {}, "gone.npy: cannot be read: No such file or directory"),
        ("a\0b", {}, "a\\x00b: "),
        (["/dev/null"], {}, "/dev/null: is not a file; expected a shard"),
        ("set", {"names": "images"}, "names must be a list of different names, not 'images'"),
        ("set", {"names": ["images", "images"]}, "names must be a list of different names"),
        ("set", {"names": ["masks"]}, "0.npz: has no 'masks'; it has images, labels"),
        ("set", {"dtypes": ["f4"]}, "dtypes must be a sequence of 2, one for each field of a batch"),
        ("set", {"batch_size": 5}, "set: 4 samples do not fill one batch of 5"),
    ],
)
def test_wrong_options_are_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shards: Any, options: dict[str, Any], told: str
) -> None:
    (tmp_path / "set").mkdir()
    for number in range(2):
        np.savez(tmp_path / "set" / f"{number}.npz", images=np.zeros((2, 3)), labels=np.zeros(2))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError) as error:
        Shards(shards, **({"batch_size": 2} | options))
    assert told in str(error.value)
    assert "\n" not in str(error.value)


def test_one_array_has_one_name(tmp_path: Path) -> None:
    np.save(tmp_path / "0.npy", np.zeros(2))
    with pytest.raises(UsageError, match="has one array, and names are 2: a, b"):
        Shards(tmp_path, 2, names=["a", "b"])


@pytest.mark.parametrize(
    ("dtype", "shape", "told"),
    [
        ("floaty", (2,), "raw: expected a dtype such as 'float32', not 'floaty'"),
        ("u1", (0,), "raw: a sample's shape must be of whole numbers of at least 1"),
        ("u1", (2.5,), "raw: a sample's shape must be of whole numbers of at least 1"),
    ],
)
def test_a_raw_sample_that_cannot_be_is_refused(dtype: str, shape: Any, told: str) -> None:
    with pytest.raises(UsageError, match=told.replace("(", r"\(")):
        Raw(dtype, shape)


@pytest.mark.parametrize("wrong", [3, [3], None])
def test_shards_are_paths(wrong: Any) -> None:
    with pytest.raises(UsageError, match=r"^shards must be a path, a pattern or a list of paths, not "):
        Shards(wrong, 4)


def test_shards_with_and_without_members_do_not_mix(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((3, 2)))
    np.savez(tmp_path / "b.npz", x=np.zeros((3, 2)))
    told = r"b\.npz: lacks one array without a name, as .*a\.npy has; it has x$"
    with pytest.raises(UsageError, match=told):
        Shards(tmp_path, 2)
