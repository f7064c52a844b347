from __future__ import annotations

from pathlib import Path

import pytest

from layerbench import store
from layerbench.errors import StoreError


@pytest.mark.parametrize("size", [1, 100, 777, 10**9])
@pytest.mark.parametrize("ending", [b"", b"\n"])
def test_a_journal_is_divided_at_the_ends_of_lines(tmp_path: Path, size: int, ending: bytes) -> None:
    lines = [b"x" * length for length in (5, 300, 0, 40, 1000, 1)]
    text = b"\n".join(lines) + ending
    (tmp_path / store.RECORDS).write_bytes(text)
    found = store.ranges(tmp_path, size)
    assert b"".join(text[start:stop] for start, stop in found) == text
    assert all(text[start:stop].endswith(b"\n") for start, stop in found[:-1])
    assert all(stop - start >= size for start, stop in found[:-1])


def test_an_empty_journal_has_no_parts(tmp_path: Path) -> None:
    (tmp_path / store.RECORDS).touch()
    assert store.ranges(tmp_path, 10) == []
    with pytest.raises(StoreError, match=r"has no records\.jsonl"):
        store.ranges(tmp_path / "none", 10)
