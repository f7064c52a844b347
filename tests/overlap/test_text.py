from __future__ import annotations

import io

import msgspec
import pytest
from rich.console import Console

from layerbench.overlap.text import ROWS_SHOWN, print_overlap
from layerbench.overlap_records import Overlap
from layerbench.report.cells import flat
from tests.report import overlapped


def printed(overlap: Overlap, width: int = 80, *, terminal: bool = True) -> list[str]:
    out = io.StringIO()
    print_overlap(overlap, Console(file=out, width=width, force_terminal=terminal, color_system=None))
    return [line.rstrip() for line in out.getvalue().splitlines()]


def test_what_was_gained_stands_in_80_columns() -> None:
    lines = printed(overlapped.marked())
    assert lines[0] == "alexnet: a training step without and with overlap on 1, 2, 4 and 8 nodes"
    assert "    2  208 ms ± 0.85 %  121 ms ± 1.3 %  1.71 (1.68–1.76) of 1.83  0.92  ~‡" in lines
    assert "    2   30.5 ms   780 µs          64 ms  7.02 ms  308 → 528        yes" in lines
    assert "  0.4     28 ms   21.9 ms   1.28 (1.10–1.60) of 1.40   0.76            no  ~" in lines
    assert "    1     40 ms   25.4 ms   1.57 (1.54–1.61) of 2.00   0.73           yes  ○" in lines
    assert lines[-1] == "Two ranks share two cores: communication has no core of its own."
    assert any(line.startswith("≠ NOT identical (1 node; ratio 2.5)") for line in lines)


WIDE = [
    msgspec.structs.replace(
        row,
        nodes=1024,
        implicit_seconds=0.8888,
        implicit_low=0.8111,
        implicit_high=0.9111,
        explicit_seconds=0.4444,
        explicit_low=0.4111,
        explicit_high=0.4999,
        speedup=11.11,
        speedup_low=10.99,
        speedup_high=12.22,
        attainable=1.5999,
        eta=-10.11,
        noisy=True,
    )
    for row in (overlapped.steps()[1], overlapped.sweep()[0])
]
"""Every number as long as it gets."""


@pytest.mark.parametrize("case", [*overlapped.CASES, "wide"])
def test_no_cell_is_cut_in_80_columns(case: str) -> None:
    overlap = overlapped.overlap(WIDE) if case == "wide" else overlapped.CASES[case]()
    narrow, wide = printed(overlap, 80), printed(overlap, 300)
    assert [line.split() for line in narrow] == [line.split() for line in wide]


def test_in_a_log_it_is_the_same() -> None:
    assert printed(overlapped.marked(), 80, terminal=False) == printed(overlapped.marked())


def test_whether_the_gain_can_be_reached_is_told_by_ratio() -> None:
    rows = [line.split() for line in printed(overlapped.overlap(overlapped.sweep((0.5, 0.6, 1.0, 1.6, 2.0))))]
    reached = {row[0]: row[-1] for row in rows if row and row[-1] in ("yes", "no")}
    assert reached == {"0.5": "no", "0.6": "yes", "1": "yes", "1.6": "yes", "2": "no"}


def test_sweeps_of_several_counts_have_a_table_each() -> None:
    lines = printed(overlapped.CASES["sweep of several counts"]())
    assert [line for line in lines if line.startswith("Gain by")] == [
        f"Gain by the ratio of transfer to computation on {where}" for where in ("1 node", "2 nodes", "4 nodes")
    ]


def test_one_mode_and_nothing() -> None:
    lines = printed(overlapped.CASES["one mode"]())
    assert "    2  explicit  100 ms ± 10 %      4 ms          20 ms        640  ○" in lines
    assert printed(Overlap(rows=[])) == ["Work without and with overlap", "nothing was measured"]


def test_of_many_rows_the_first_are_printed_and_it_is_said() -> None:
    lines = printed(overlapped.overlap(overlapped.steps(range(1, ROWS_SHOWN + 6))))
    assert "... 5 more in overlap.json" in lines


def test_names_steer_no_terminal() -> None:
    text = "\n".join(printed(overlapped.hostile()))
    assert "\x1b" not in text
    assert "\r" not in text
    assert flat(overlapped.HOSTILE) in text
