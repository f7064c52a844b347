"""Each format says the same, and nothing that a run says of itself can break it."""

from __future__ import annotations

import dataclasses
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import msgspec
import pytest
from rich.console import Console

from layerbench.compare import Comparison, compare, page, render, wording
from layerbench.layers import FC
from layerbench.records import Record
from layerbench.store import StoredRun
from tests.compare import made
from tests.report import synthetic

NASTY = "a|b*`<script>alert(1)</script>[/red]&\x1b[31m\nx"


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    path = tmp_path_factory.mktemp("compare")
    truth = synthetic.run(nodes=(1, 2, 4), measured=2, samples=3, spread=0.0)

    def factor(record: Record) -> float:
        return {"fc7": 2.0, "fc8": 0.5, "conv5": 1.3}.get(record.layer, 1.0)

    base = made.run(1, truth=truth)
    new = made.run(2, truth=truth, factor=factor)
    records = [synthetic.failed("conv1", 2, NASTY)(record) for record in new.records]
    records = [
        msgspec.structs.replace(record, algorithm="another") if record and record.layer == "fc7" else record
        for record in records
    ]
    environment = {**new.manifest.environment, "hostname": NASTY, "cpu_model": "other"}
    manifest = msgspec.structs.replace(new.manifest, environment=environment)
    made.write(path / "base", [base])
    made.write(path / "new", [StoredRun(Path(), manifest, [record for record in records if record])])
    return compare(path / "base", path / "new", force=True)


@pytest.fixture(scope="module")
def nasty(tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    path = tmp_path_factory.mktemp("nasty")
    layers = [FC(name=NASTY, in_features=10, out_features=10)]
    truth = synthetic.run(nodes=(1, 2), measured=2, samples=3, spread=0.0, layers=layers)
    made.write(path / "base", [made.run(1, truth=truth)])
    made.write(path / "new", [made.run(2, truth=truth, factor=lambda record: 2.0)])
    return compare(path / "base", path / "new")


def printed(comparison: Comparison, width: int = 80, *, terminal: bool = False, all_rows: bool = False) -> str:
    out = io.StringIO()
    console = Console(file=out, width=width, force_terminal=terminal, color_system=None, legacy_windows=False)
    render.print_table(comparison, console, all_rows=all_rows)
    return out.getvalue()


def verdict_lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.rstrip().endswith(("slower", "faster", "unclear", "= same"))]


def test_the_table_has_what_differs_most_first(found: Comparison) -> None:
    told = printed(found)
    assert told.startswith(wording.heading(found))
    lines = verdict_lines(told)
    different = [row for row in found.rows if row.verdict != "same"]
    assert len(lines) == len(different)
    first = wording.most_different_first(found.rows)[0]
    assert lines[0].startswith(first.layer)
    assert f"{first.ratio:.3f}" in lines[0]
    assert f"{len(found.rows) - len(different)} records same" in told
    assert len(verdict_lines(printed(found, all_rows=True))) == len(found.rows)


def test_the_table_fits_a_terminal_and_is_never_cut_in_a_log(found: Comparison) -> None:
    assert max(len(line) for line in verdict_lines(printed(found, terminal=True))) <= 80
    lines = verdict_lines(printed(found, width=20))
    assert len(lines) == len(verdict_lines(printed(found, width=200)))
    assert not any("…" in line for line in lines)


def test_every_format_says_how_it_was_compared(found: Comparison) -> None:
    for told in (printed(found), render.markdown(found).replace("\\", ""), page.html(found)):
        assert "from the scatter of the ratios" in told or "nothing beyond the noise" in told
        assert (
            "differs, and was compared all the same: cpu_model: AMD EPYC 7R13 Processor in BASE, other in NEW" in told
        )
        assert "hostname: node17 in BASE" in told
        assert "same: no difference shown, and one of 16 % or more excluded" in told
        assert "computed, not measured" in told
        assert "○ emulated" in told
        assert "another algorithm: fc7" in told
        assert "5 missing in NEW" in told


def table_rows(text: str) -> list[list[str]]:
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def test_markdown_is_two_tables_of_equal_rows(found: Comparison) -> None:
    rows = table_rows(render.markdown(found, all_rows=True))
    by_record, by_part = [row for row in rows if len(row) == 9], [row for row in rows if len(row) == 3]
    assert len(by_record) == len(found.rows) + 2
    assert len(by_part) == 5 + 2
    assert len(by_record) + len(by_part) == len(rows)
    assert by_record[0] == list(wording.HEAD)
    assert by_part[2][:1] == ["forward"]
    shorter = table_rows(render.markdown(found))
    assert len(shorter) == len(rows) - found.count("same")


def test_json_is_in_the_order_of_the_records_and_has_what_programs_need(found: Comparison) -> None:
    rows = msgspec.json.decode(render.document(found, "json"))
    assert [(row["layer"], row["part"], row["nodes"]) for row in rows] == [
        (row.layer, row.part, row.nodes) for row in found.rows
    ]
    assert {"layer", "part", "nodes", "ratio", "low", "high", "verdict", "p_value"} <= rows[0].keys()
    assert {"base_seconds", "new_seconds", "base_algorithm", "new_algorithm", "ranks", "batch"} <= rows[0].keys()
    changed = next(row for row in rows if row["layer"] == "fc7" and row["part"] == "forward")
    assert (changed["base_algorithm"], changed["new_algorithm"]) == ("brgconv:avx2", "another")


def test_json_has_null_for_what_is_not_known(tmp_path: Path) -> None:
    base = made.write(tmp_path / "base", [made.run(1, samples=2)])
    new = made.write(tmp_path / "new", [made.run(2)])
    text = render.document(compare(base, new), "json")
    assert "NaN" not in text
    row = msgspec.json.decode(text)[0]
    assert (row["low"], row["high"], row["p_value"], row["verdict"]) == (None, None, None, "unclear")


def test_what_json_has_no_place_for_is_a_warning(found: Comparison) -> None:
    told = render.warnings(found, "json")
    assert any("no verdict: " in line and "computed, not measured" in line for line in told)
    assert any(line.startswith("hostname: ") for line in told)
    assert any(line.startswith("between runs") for line in told)
    assert wording.same(found) in told
    assert all("\n" not in line for line in told)
    assert render.warnings(found, "table") == [line for line in told if line.startswith("differs, and was compared")]


class Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.text: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attributes
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, text: str) -> None:
        self.text.append(text)


def test_the_page_stands_alone(found: Comparison) -> None:
    parsed = Page(page.html(found))
    assert parsed.tags.count("tr") == len(found.rows) + 1 + 5 + 1
    assert not {"script", "link", "img", "iframe"} & set(parsed.tags)
    assert not {"src", "href"} & {name for name, _ in parsed.attributes}
    assert "prefers-color-scheme: dark" in page.html(found)
    header = [text for text in parsed.text if text in wording.HEAD]
    assert header[:3] == ["layer", "verdict", "part"]
    assert page.html(found).count("<td class='slower'>▲ slower</td>") == found.count("slower")
    assert parsed.text.count("▲ slower") == found.count("slower")


def test_nothing_in_a_name_breaks_a_format(nasty: Comparison) -> None:
    name = wording.flat(NASTY)
    assert "\x1b" not in name
    assert name in "".join(Page(page.html(nasty)).text)
    assert {len(row) for row in table_rows(render.markdown(nasty))} == {3, 9}
    assert "<script>" not in re.sub(r"\\[<>]", "", render.markdown(nasty))
    told = printed(nasty)
    assert "\x1b" not in told
    assert name in told
    assert msgspec.json.decode(render.document(nasty, "json"))[0]["layer"] == NASTY


def test_large_ratios_and_small_p_values_are_readable() -> None:
    assert [wording.times(value) for value in (0.12345, 1.0, 12.345, 1234.5)] == ["0.123", "1.000", "12.3", "1,234"]


def test_what_same_excludes_follows_from_the_threshold(found: Comparison) -> None:
    assert "one of 61 % or more excluded" in wording.same(dataclasses.replace(found, threshold=0.1))


def test_few_records_of_single_runs_are_told_to_be_repeated(nasty: Comparison) -> None:
    assert len(nasty.rows) == 9
    told = printed(nasty, width=400)
    assert "not known, as a side has one run and there are fewer than 10 records" in told
    assert "repeat the runs (5 a side in turns) or compare 10 records or more" in told


def test_between_run_terms_are_told(tmp_path: Path) -> None:
    base, new = made.sides(3, repetitions=3, between=0.03)
    repeated = compare(made.write(tmp_path / "a", base.runs), made.write(tmp_path / "b", new.runs))
    assert re.search(r"seen in the repetitions; the standard error of a ratio is 2\.\d %", printed(repeated))
    assert "and 2 repetitions" in printed(repeated)
    single = compare(base_paths(tmp_path / "a", 1), base_paths(tmp_path / "b", 1))
    assert re.search(r"between runs, all parts \(81 records\): [345]\.?\d? %, from the scatter", printed(single))


def base_paths(folder: Path, number: int) -> Path:
    return folder / str(number)
