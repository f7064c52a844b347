import os
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from layerbench.errors import StoreError, UsageError
from layerbench.files import replace


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
