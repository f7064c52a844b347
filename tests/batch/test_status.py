"""What a scheduler's command said, as it is told: one line that steers no terminal and can be read."""

from __future__ import annotations

import pytest

from layerbench.batch.status import Answer


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (Answer(1, "out", "no such\n queue \n"), "no such queue"),
        (Answer(1, " out\n", "\n"), "out"),
        (Answer(3, "", ""), "nothing, and exit code 3"),
        (Answer(1, "", "\x1b[31mred\x07"), "\\x1b[31mred\\x07"),
        (Answer(1, "", "no caf\u00e9"), "no caf\u00e9"),
        (Answer(1, "<p>" * 1000, ""), f"{('<p>' * 1000)[:400]} ..."),
    ],
)
def test_it(answer: Answer, told: str) -> None:
    assert answer.told == told
