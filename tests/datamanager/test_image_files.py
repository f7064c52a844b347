"""Which images a folder has: classes, order, links, and folders that have none."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from layerbench.datamanager.images import ImageFolder
from layerbench.datamanager.sequential import batches
from layerbench.errors import UsageError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes of three images each, one of them deeper."""
    for name in ("cat/1.png", "cat/2.JPG", "cat/more/3.png", "dog/1.png", "dog/2.png", "dog/3.bmp"):
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (6, 5)).save(path)
        (path.parent / "notes.txt").write_text("not an image")
    return tmp_path / "images"


def test_images_of_the_folder_itself_have_no_classes(folder: Path) -> None:
    source = ImageFolder(folder / "dog", 4, 3)
    ((_, labels),) = batches(source)
    assert source.classes == ()
    assert labels.tolist() == [0, 0, 0]
    source.close()


def test_a_sub_folder_without_images_is_a_class_all_the_same(folder: Path) -> None:
    (folder / "bear").mkdir()
    source = ImageFolder(folder, 4, 6)
    ((_, labels),) = batches(source)
    assert source.classes == ("bear", "cat", "dog")
    assert labels.tolist() == [1, 1, 1, 2, 2, 2]
    source.close()


def test_links_are_followed_but_not_in_circles(folder: Path) -> None:
    (folder / "dog" / "around").symlink_to(folder, target_is_directory=True)
    (folder / "also").symlink_to(folder / "cat" / "more", target_is_directory=True)
    source = ImageFolder(folder, 4, 1)
    origins = [pieces[0].origin for pieces in source.plan()]
    assert origins[0] == "also/3.png"
    assert len(origins) < 30
    source.close()


def test_a_strange_name_is_told_on_one_line(tmp_path: Path) -> None:
    (tmp_path / "a\nb\x1b[31m.png").write_bytes(b"")
    source = ImageFolder(tmp_path, 8, 1)
    ((piece,),) = source.plan()
    assert piece.origin == r"a\nb\x1b[31m.png"
    source.close()


def test_a_seed_shuffles_and_ranks_share_the_images(folder: Path) -> None:
    def origins(rank: int) -> Sequence[str]:
        source = ImageFolder(folder, 4, 1, rank=rank, ranks=2, shuffle=5, epochs=2)
        source.close()
        return [pieces[0].origin for pieces in source.plan()]

    read = [origins(0), origins(1)]
    assert sorted(read[0][:3] + read[1][:3]) == sorted(read[0][3:] + read[1][3:])
    assert len(set(read[0][:3] + read[1][:3])) == 6
    assert read == [origins(0), origins(1)]


def empty(folder: Path) -> Path:
    (folder / "nothing" / "below").mkdir(parents=True)
    (folder / "nothing" / "below" / "readme.txt").touch()
    return folder / "nothing"


def mixed(folder: Path) -> Path:
    (folder / "0.png").touch()
    return folder


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (empty, "nothing: has no images (.bmp .gif"),
        (
            lambda folder: folder / "gone",
            "gone: cannot be read: No such file or directory; expected a folder of images",
        ),
        (lambda folder: folder / "dog" / "1.png", "1.png: cannot be read: Not a directory; expected a folder"),
        (lambda folder: Path("a\0b"), "a\\x00b: cannot be read: embedded null byte"),
        (mixed, "images: has images both in itself (0.png) and in sub-folders"),
    ],
)
def test_a_folder_without_images_is_refused_in_one_line(folder: Path, make: Any, told: str) -> None:
    with pytest.raises(UsageError) as error:
        ImageFolder(make(folder), 8, 2)
    assert told in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("size", [None, True, 2.5, "32", (True, 2)])
def test_a_size_that_is_none_is_refused_in_one_line(folder: Path, size: Any) -> None:
    with pytest.raises(UsageError, match=r"^size must be a height and a width of 1 to 32768 pixels, not [^\n]*$"):
        ImageFolder(folder, size, 1)


def test_a_folder_is_a_path() -> None:
    with pytest.raises(UsageError, match=r"^expected the path of a folder of images, not 3$"):
        ImageFolder(3, 8, 1)  # type: ignore[arg-type]
