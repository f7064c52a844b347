"""A word of bash is read as the text it was made from."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from layerbench.batch.shell import argument, commented, quoted

TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)


@settings(deadline=None, max_examples=30)
@given(st.lists(TEXTS, min_size=1, max_size=30))
def test_bash_reads_what_was_written_and_it_stays_on_one_line(texts: list[str]) -> None:
    words = [quoted(text) for text in texts]
    assert not any("\n" in word or "\r" in word for word in words)
    script = f"printf '%s\\0' {' '.join(words)}"
    done = subprocess.run(["bash"], input=script.encode(), capture_output=True, check=True)
    assert done.stdout == b"".join(text.encode() + b"\0" for text in texts)
    assert done.stderr == b""


def test_a_null_character_is_refused() -> None:
    with pytest.raises(ValueError, match="null"):
        quoted("a\0b")


@pytest.mark.parametrize(
    ("path", "typed"),
    [("run", "run"), ("-foo", "./-foo"), ("a b", "'a b'"), ("-a b", "'./-a b'"), ("a\nb", "$'a\\012b'")],
)
def test_a_path_can_be_typed_behind_a_command(path: str, typed: str) -> None:
    assert argument(Path(path)) == typed


@given(TEXTS)
def test_a_comment_stays_a_comment(text: str) -> None:
    assert len(f"# {commented(text)}".splitlines()) == 1
