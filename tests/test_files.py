import os
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from layerbench.errors import StoreError, UsageError
from layerbench.files import all_or_none, replace


def test_a_file_is_replaced_and_nothing_else_is_left(tmp_path: Path) -> None:
    path = tmp_path / "run.csv"
    for contents in (b"first, and longer", [b"sec", b"ond"]):
        replace(path, contents)
        assert path.read_bytes() == b"".join([contents] if isinstance(contents, bytes) else contents)
    assert list(tmp_path.iterdir()) == [path]


def test_a_reader_of_the_old_file_keeps_it_whole(tmp_path: Path) -> None:
    path = tmp_path / "run.csv"
    replace(path, [b"first"])
    with path.open("rb") as reader:
        replace(path, [b"second"])
        assert reader.read() == b"first"


def test_a_link_stays_and_what_it_leads_to_is_replaced(tmp_path: Path) -> None:
    link, target = tmp_path / "link", tmp_path / "target"
    link.symlink_to(target)
    for contents in (b"first", b"second"):
        replace(link, [contents])
        assert link.is_symlink()
        assert target.read_bytes() == contents


def test_links_in_a_circle_are_told_in_one_line(tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(link)
    with pytest.raises(StoreError, match=r"link cannot be written: .*; name another file"):
        replace(link, b"")


def test_a_pipe_is_written_to_and_stays(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append(path.read_bytes()))
    reader.start()
    replace(path, [b"contents"])
    reader.join(timeout=10)
    assert got == [b"contents"]
    assert stat.S_ISFIFO(path.stat().st_mode)


def test_a_device_stays_one() -> None:
    replace(Path("/dev/null"), [b"contents"])
    assert Path("/dev/null").is_char_device()


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"is a folder: name a file$"):
        replace(tmp_path, [b""])


@pytest.mark.parametrize("name", ["missing/run.csv", "a" * 300, "nul\0"])
def test_what_cannot_be_written_is_told_in_one_line(tmp_path: Path, name: str) -> None:
    with pytest.raises(StoreError, match=r"cannot be written: .*; name another file with --output$") as raised:
        replace(tmp_path / name, [b""])
    assert "\n" not in str(raised.value)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "run.csv"
    replace(path, [b"first"])

    def until_full() -> Iterator[bytes]:
        yield b"sec"
        raise OSError(28, "No space left on device")

    with pytest.raises(StoreError, match="No space left on device"):
        replace(path, until_full())
    assert path.read_bytes() == b"first"
    assert list(tmp_path.iterdir()) == [path]


def making(**contents: str) -> Callable[[Path], list[str]]:
    """Writes files of these names and contents; an underscore in a name stands for a folder's bound."""

    def make(draft: Path) -> list[str]:
        names = [name.replace("_", "/") for name in contents]
        for name, text in zip(names, contents.values(), strict=True):
            (draft / name).parent.mkdir(exist_ok=True)
            (draft / name).write_text(text)
        return names

    return make


def tree(folder: Path) -> dict[str, str | None]:
    """Everything below a folder, with what is in each file."""
    return {str(path.relative_to(folder)): path.read_text() if path.is_file() else None for path in folder.rglob("*")}


def test_all_files_are_put_in_their_places_and_told_in_order(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "out"
    written = all_or_none(folder, making(b="1", figures_a="2", a="3"))
    assert written == [folder / "b", folder / "figures" / "a", folder / "a"]
    assert tree(folder) == {"b": "1", "a": "3", "figures": None, "figures/a": "2"}
    (folder / "mine").write_text("kept")
    all_or_none(folder, making(b="4", figures_a="5"))
    assert tree(folder) == {"b": "4", "a": "3", "figures": None, "figures/a": "5", "mine": "kept"}


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_what_fails_in_the_middle_leaves_the_old_files_whole_and_no_draft(tmp_path: Path, error: BaseException) -> None:
    all_or_none(tmp_path, making(a="old", figures_a="old"))
    before = tree(tmp_path)

    def until_full(draft: Path) -> list[str]:
        making(a="new", figures_b="new")(draft)
        assert len(list(tmp_path.iterdir())) == 3
        raise error

    with pytest.raises(type(error)) as raised:
        all_or_none(tmp_path, until_full)
    assert raised.value is error
    assert tree(tmp_path) == before


@pytest.mark.parametrize("taken", ["b", "figures/a"])
def test_a_folder_where_a_file_is_to_be_leaves_all_as_it_was(tmp_path: Path, taken: str) -> None:
    (tmp_path / "a").write_text("old")
    (tmp_path / taken).mkdir(parents=True)
    before = tree(tmp_path)
    with pytest.raises(IsADirectoryError, match=f"{taken} is a folder there"):
        all_or_none(tmp_path, making(a="new", b="new", figures_a="new"))
    assert tree(tmp_path) == before


def test_a_file_where_a_folder_is_to_be_leaves_all_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("old")
    (tmp_path / "figures").write_text("mine")
    with pytest.raises(FileExistsError):
        all_or_none(tmp_path, making(a="new", figures_a="new"))
    with pytest.raises(OSError, match="Not a directory"):
        all_or_none(tmp_path / "a", making(a="new"))
    assert tree(tmp_path) == {"a": "old", "figures": "mine"}
