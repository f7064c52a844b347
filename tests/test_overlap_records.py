"""Which versions of ``overlap.json`` are read."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from layerbench.errors import LayerbenchError
from layerbench.overlap_records import OVERLAP, VERSION, Overlap, read
from tests.report import overlapped


def written(folder: Path, **changes: object) -> Path:
    """A file whose fields are changed; None takes one away."""
    contents = msgspec.to_builtins(overlapped.marked()) | changes
    path = folder / OVERLAP
    path.write_bytes(msgspec.json.encode({name: value for name, value in contents.items() if value is not None}))
    return path


def test_what_was_written_is_read(tmp_path: Path) -> None:
    assert read(written(tmp_path)) == overlapped.marked()


def test_rows_by_themselves_have_no_version(tmp_path: Path) -> None:
    path = tmp_path / OVERLAP
    path.write_bytes(msgspec.json.encode(overlapped.steps()))
    assert read(path) == Overlap(rows=overlapped.steps())


def test_a_newer_version_is_refused_in_one_line_whatever_else_is_in_it(tmp_path: Path) -> None:
    path = written(tmp_path, version=VERSION + 1, rows="of another kind")
    with pytest.raises(LayerbenchError) as error:
        read(path)
    assert str(error.value) == (
        f"{path}: it has version {VERSION + 1}, and this layerbench reads version {VERSION}: use the layerbench that "
        "wrote it, or a newer one"
    )
    # Who tells of files that cannot be read needs to know of no other error.
    assert isinstance(error.value, OSError)


@pytest.mark.parametrize("version", [None, "1", 0, -1, 1.5, True, [1]])
def test_no_version_or_none_that_can_be_understood_is_refused(version: object, tmp_path: Path) -> None:
    with pytest.raises(msgspec.ValidationError, match="version") as error:
        read(written(tmp_path, version=version))
    assert "\n" not in str(error.value)
