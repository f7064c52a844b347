from __future__ import annotations

import msgspec
import pytest

from layerbench.overlap_records import Overlap
from layerbench.report import overlap_cells
from tests.report import overlapped


def cells_of(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_a_steps_row_in_words() -> None:
    row = overlapped.steps()[1]
    told = dict(zip(overlap_cells.STEP_HEAD, overlap_cells.step_cells(row), strict=True))
    assert told["nodes"] == "2"
    assert told["implicit"] == "208 ms ± 0.85 %"
    assert told["speed-up"] == "1.71 (1.68 to 1.76)"
    assert told["attainable"] == "1.83"
    assert told["η"] == "0.92"
    assert told["exposed communication"] == "7.02 ms"
    assert (told["samples/s implicit"], told["samples/s explicit"]) == ("308", "528")
    assert (told["placement"], told["identical"]) == ("measured", "yes")


def test_a_row_that_tells_little() -> None:
    told = dict(zip(overlap_cells.SWEEP_HEAD, overlap_cells.sweep_cells(overlapped.MINIMAL), strict=True))
    assert told["ratio"] == "–"
    assert told["implicit"] == "17 ms"
    assert told["speed-up"] == "1.70"
    assert overlap_cells.eta(msgspec.structs.replace(overlapped.MINIMAL, eta=None)) == "–"


@pytest.mark.parametrize(
    ("attainable", "told", "reached"),
    [(1.6, "1.6", "yes"), (1.5999, "1.5999", "no"), (1.66, "1.66", "yes"), (2.0, "2.00", "yes"), (1.0, "1.00", "no")],
)
def test_whether_the_gain_can_be_reached_agrees_with_the_number_told(
    attainable: float, told: str, reached: str
) -> None:
    row = msgspec.structs.replace(overlapped.MINIMAL, attainable=attainable)
    assert overlap_cells.can_be_reached(row) == reached
    assert float(overlap_cells.attainable(row)) == float(told)


@pytest.mark.parametrize(
    ("value", "told"),
    [(1.0, "1.00"), (1.516, "1.52"), (0.031, "0.031"), (11.11, "11.1"), (250.0, "250"), (1e9, "1e+09")],
)
def test_how_many_times(value: float, told: str) -> None:
    assert overlap_cells.times(value) == told


def test_every_sign_is_explained_and_none_that_is_not_there() -> None:
    marked, plain = overlapped.marked().rows, overlapped.overlap(overlapped.sweep()).rows
    signs = {sign for row in marked for sign in overlap_cells.signs(row)}
    lines = overlap_cells.legend(marked)
    assert {line[0] for line in lines} == signs == set("○~‡≠")
    assert "4 and 8 nodes; ratio 1" in lines[0]
    assert "this-machine" in lines[0]
    assert "NOT identical (1 node; ratio 2.5)" in lines[3]
    assert overlap_cells.legend(plain) == ["both modes gave the same activations and gradients, bit for bit"]
    assert overlap_cells.legend([overlapped.MINIMAL]) == [], "nothing is claimed of what was not looked at"
    partly = [overlapped.MINIMAL, *plain[:1]]
    assert overlap_cells.legend(partly)[0].endswith("bit for bit (looked at in 1 of 2 rows)")


def test_what_differs_is_not_called_identical() -> None:
    told = "\n".join(overlap_cells.markdown(overlapped.marked()))
    assert "bit for bit" not in told
    assert "| NO |" in told


def test_markdown_has_both_tables_the_settings_and_the_notes() -> None:
    lines = overlap_cells.markdown(overlapped.overlap())
    assert lines[0].startswith("alexnet, source synthetic, fp32, 3 slots, 2 workers, 1 thread and 1 spare core a rank")
    heads = [cells_of(line) for line in lines if line.startswith("| nodes")]
    assert heads == [list(overlap_cells.STEP_HEAD), list(overlap_cells.SWEEP_HEAD)]
    assert all(len(cells_of(line)) in (13, 9) for line in lines if line.startswith("|"))
    assert "0.6 and 1.67" in "".join(lines)
    assert "- Two ranks share two cores: communication has no core of its own." in lines
    assert overlap_cells.markdown(Overlap(rows=[])) == []


def test_one_mode_by_itself_has_a_table() -> None:
    lines = overlap_cells.markdown(overlapped.overlap([], one_mode=overlapped.ONE_MODE))
    assert "| 2 | explicit | 100 ms ± 10 % | 4 ms | 20 ms | 640 | emulated | ○ |" in lines
    assert any(line.startswith("- ○ emulated (2 nodes)") for line in lines)
    assert any(line.startswith(r"- \~ noisy (1 node)") for line in lines)


def test_names_break_no_table_and_no_line() -> None:
    lines = overlap_cells.markdown(overlapped.hostile())
    assert all("\n" not in line and "\x1b" not in line and "\r" not in line for line in lines)
    assert all("<b>" not in line for line in lines)
    assert len({len(cells_of(line.replace(r"\|", ""))) for line in lines if line.startswith("| ")}) == 2
