from __future__ import annotations

import csv
import io
import json
import math
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from layerbench.errors import UsageError
from layerbench.schedule import read as reading
from layerbench.schedule.jobs import LONGEST, SHORTEST, Job
from layerbench.schedule.read import read_jobs

TABLE = "job,type,nodes,seconds\na,conv,1,6.5\na,conv,4,2\nb,fc,2,3e-1\n"
JOBS = [Job("a", "conv", (1, 4), (6.5, 2.0)), Job("b", "fc", (2,), (0.3,))]
ENTRIES = [
    {"job": "a", "type": "conv", "nodes": 1, "seconds": 6.5},
    {"job": "a", "type": "conv", "nodes": 4, "seconds": 2},
    {"job": "b", "type": "fc", "nodes": 2, "seconds": 0.3},
]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "jobs.txt"


def jobs(file: Path, content: str | bytes | object) -> list[Job]:
    if not isinstance(content, str | bytes):
        content = json.dumps(content)
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_jobs(file)


def mistake(file: Path, content: str | bytes | object) -> str:
    with pytest.raises(UsageError) as caught:
        jobs(file, content)
    message = str(caught.value)
    assert message.isprintable(), message
    assert len(message) < 600
    assert message.startswith(str(file)), message
    return message.removeprefix(str(file)).removeprefix(": ")


@pytest.mark.parametrize(
    "content",
    [
        TABLE,
        TABLE.replace("\n", "\r\n"),
        TABLE.removesuffix("\n"),
        "\ufeff" + TABLE,
        "\n\n" + TABLE.replace("\n", "\n\n") + ",,,\n \n",
        TABLE.replace(",", " , "),
        '"job", "type" ,"nodes","seconds"'.replace('" ,', '",') + "\n" + TABLE.partition("\n")[2],
        "seconds,remark,nodes,job,type\n6.5,x,1,a,conv\n2,,4,a,conv\n.3,,2,b,fc\n",
        "job,type,nodes,seconds\nb,fc,2.0,+0.3\na,conv,4,2\na,conv,1,6.5\n",
        ENTRIES,
        " \n\t" + json.dumps(ENTRIES, indent=4),
        "\ufeff" + json.dumps(ENTRIES),
        [{**entry, "more": {"of": "this"}} for entry in reversed(ENTRIES)],
        [{name: str(value) for name, value in entry.items()} for entry in ENTRIES],
    ],
)
def test_tables_are_read_however_they_are_written(file: Path, content: object) -> None:
    assert sorted(jobs(file, content), key=lambda job: job.name) == JOBS


def test_jobs_stand_in_the_order_of_their_first_rows(file: Path) -> None:
    found = jobs(file, "job,nodes,seconds\nz,1,1\na,1,1\nz,2,1\nm,1,1\n")
    assert [job.name for job in found] == ["z", "a", "m"]


def test_without_a_type_the_name_is_the_type(file: Path) -> None:
    assert jobs(file, "nodes,seconds,job\n1,2,a\n") == [Job("a", "a", (1,), (2.0,))]
    assert jobs(file, [{"job": 17, "nodes": 1, "seconds": 2}]) == [Job("17", "17", (1,), (2.0,))]


def test_gaps_and_curves_that_rise_are_fine(file: Path) -> None:
    assert jobs(file, "job,nodes,seconds\na,1000000000,9\na,3,1\na,7,5\n") == [
        Job("a", "a", (3, 7, 10**9), (1.0, 5.0, 9.0))
    ]


def test_a_name_may_have_a_comma_and_control_characters(file: Path) -> None:
    assert [job.name for job in jobs(file, 'job,nodes,seconds\n"a, \x1b[1mb\n\u2028c",1,2\n')] == [
        "a, \x1b[1mb\n\u2028c"
    ]


@pytest.mark.parametrize(
    "content",
    [
        "job,nodes,throughput,work\na,1,4,10\na,2,8,10\n",
        "job,nodes,seconds,throughput,work\na,1,,4,10\na,2,1.25,,\n",
        [{"job": "a", "nodes": 1, "throughput": 4, "work": 10}, {"job": "a", "nodes": 2, "seconds": 1.25}],
        [{"job": "a", "nodes": n, "seconds": None, "throughput": 4 * n, "work": 10} for n in (1, 2)],
    ],
)
def test_work_over_throughput_is_time(file: Path, content: object) -> None:
    assert jobs(file, content) == [Job("a", "a", (1, 2), (2.5, 1.25))]


def test_seconds_that_are_told_are_not_computed(file: Path) -> None:
    assert jobs(file, "job,nodes,seconds,throughput,work\na,1,3,4,10\n")[0].seconds == (3.0,)


PREDICTED = [
    {"layer": layer, "kind": kind, "part": part, "nodes": nodes, "seconds": seconds / nodes, "low": 0, "high": 9}
    for layer, kind in (("conv1", "conv"), ("fc6", "fc"))
    for part, seconds in (("forward", 1.0), ("step", 4.0), ("communication", math.nan))
    for nodes in (1, 2)
]


def test_predicted_steps_are_jobs(file: Path) -> None:
    expected = [Job("conv1", "conv", (1, 2), (4.0, 2.0)), Job("fc6", "fc", (1, 2), (4.0, 2.0))]
    assert jobs(file, PREDICTED) == expected
    text = io.StringIO()
    writer = csv.DictWriter(text, list(PREDICTED[0]))
    writer.writeheader()
    writer.writerows(PREDICTED)
    assert jobs(file, text.getvalue()) == expected


def test_predicted_layers_without_a_kind_are_their_own_type(file: Path) -> None:
    rows = [{name: value for name, value in row.items() if name != "kind"} for row in PREDICTED]
    assert [(job.name, job.type) for job in jobs(file, rows)] == [("conv1", "conv1"), ("fc6", "fc6")]


def test_predictions_without_a_step_are_no_jobs(file: Path) -> None:
    message = mistake(file, [row for row in PREDICTED if row["part"] != "step"])
    assert "no jobs" in message
    assert "of part step" in message


@pytest.mark.parametrize("content", [TABLE, ENTRIES])
def test_standard_input_is_read(monkeypatch: pytest.MonkeyPatch, content: object) -> None:
    text = content if isinstance(content, str) else json.dumps(content)
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(text.encode())))
    assert read_jobs(Path("-")) == JOBS


@pytest.mark.parametrize("stdin", [None, SimpleNamespace(buffer=io.BytesIO(b""))])
def test_standard_input_without_jobs_is_refused(monkeypatch: pytest.MonkeyPatch, stdin: object) -> None:
    monkeypatch.setattr(sys, "stdin", stdin)
    with pytest.raises(UsageError, match=r"^standard input(: is empty| cannot be read: it is closed)"):
        read_jobs(Path("-"))


NOTHING = {"": "is empty", "\n \n": "is empty", "job,nodes,seconds\n": "has no jobs", "[]": "has no jobs"}


@pytest.mark.parametrize("content", NOTHING)
def test_no_jobs_are_refused(file: Path, content: str) -> None:
    message = mistake(file, content)
    assert message.startswith(NOTHING[content])
    assert "expected" in message


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ("type,seconds", "job, nodes are missing"),
        ("job,type,seconds", "nodes is missing"),
        ("job,nodes", "seconds is missing"),
        ("job,nodes,work", "throughput is missing"),
        ("job,nodes,throughput", "work is missing"),
        ("job,nodes,second", "seconds is missing (did you mean 'second'?)"),
        ("layer,part,nodes", "seconds is missing"),
        ("job,nodes,seconds,nodes", "has the column nodes twice"),
        ("job;type;nodes;seconds", "separated by ';': separate them by commas"),
        ("job\ttype\tnodes\tseconds", "separated by tabs: separate them by commas"),
        ("a,conv,1,6.5", "job, nodes, seconds are missing"),
        ("job,type,nodes,start,end", "is a plan, not jobs"),
    ],
)
def test_a_header_that_lacks_something_is_refused(file: Path, header: str, words: str) -> None:
    message = mistake(file, f"{header}\n{header}\n")
    assert words in message
    assert message.startswith("line 1: ") or "plan" in words


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("b,fc,2", "expected 4 cells, as the header has, not 3"),
        ("b", "not 1"),
        ("b,fc,2,1,5", "not 5: separate cells by commas, and put text with a comma in double quotes"),
        (",fc,2,1", "job: expected its name, and it is missing"),
        ("  ,fc,2,1", "job: expected its name, and it is missing"),
        ("b,,2,1", "job b: type: expected a word (or no type in any row), and it is missing"),
        (f"{'b' * 257},fc,2,1", "job: expected its name, of whole characters and at most 256, not 'bbb"),
        ("b,fc,,1", "job b: nodes: expected a whole number from 1 to 1,000,000,000, and it is missing"),
        *((f"b,fc,{bad},1", f"job b: nodes: expected a whole number from 1 to 1,000,000,000, not '{bad}'") for bad in (
            "0", "-1", "1.5", "two", "1_0", "0x10", "1000000001", "1e10", "nan", "inf", "9" * 50
        )),
        ("b,fc,2,", "job b: seconds: expected a positive, finite number (or throughput and work), and it is missing"),
        *((f"b,fc,2,{bad}", f"job b: seconds: expected a positive, finite number (or throughput and work), not '{bad}'")
          for bad in ("0", "-1", "nan", "NaN", "inf", "-Infinity", "1e999", "fast", "1_0", "3 s", "1e-999")),
        ("a,fc,2,1", "job a: its type is 'fc' here and 'conv' in line 2: give it one type"),
        ("a,conv,4,2", "job a: its time on 4 nodes is in line 3 already"),
        ("a,conv,1.0,6.5", "job a: its time on 1 nodes is in line 2 already"),
        ('b,fc,2,"1', "is not CSV: unexpected end of data; mend the quotes"),
        ('b,"f"c,2,1', "is not CSV: "),
        ("b,fc,2," + "x" * 140_000, "is not CSV: field larger than field limit"),
        ("\x1b[31mb,fc,0,1", r"job \x1b[31mb: nodes: "),
    ],
    ids=lambda text: text[:30],
)  # fmt: skip
def test_a_bad_row_is_told_by_its_line(file: Path, row: str, words: str) -> None:
    start = "job,type,nodes,seconds\na,conv,1,6.5\na,conv,4,2\n"
    message = mistake(file, f"{start}{row}\nc,fc,1,2\n")
    assert message.startswith("line 4: ")
    assert words in message


def test_lines_are_counted_as_an_editor_counts_them(file: Path) -> None:
    assert mistake(file, '\n\njob,nodes,seconds\r\n"a\nb",1,2\r\n\r\nc,0,1\r\n').startswith("line 7: job c: nodes")


@pytest.mark.parametrize(
    ("throughput", "work", "words"),
    [
        ("0", "1", "throughput: expected a positive, finite number, not '0'"),
        ("-2", "1", "throughput: "),
        ("nan", "1", "throughput: "),
        ("", "1", "throughput: expected a positive, finite number, and it is missing"),
        ("1", "0", "work: expected a positive, finite number, not '0'"),
        ("1", "-3", "work: "),
        ("1", "inf", "work: "),
        ("1", "", "work: expected a positive, finite number, and it is missing"),
        ("1e-200", "1e200", "work / throughput: expected positive, finite seconds, not inf"),
        ("1e200", "1e-200", "work / throughput: expected positive, finite seconds, not 0"),
    ],
)
def test_bad_work_or_throughput_is_refused(file: Path, throughput: str, work: str, words: str) -> None:
    message = mistake(file, f"job,nodes,throughput,work\na,1,{throughput},{work}\n")
    assert message.startswith(f"line 2: job a: {words}")
    numbers = {"throughput": throughput, "work": work}
    message = mistake(file, [{"job": "a", "nodes": 1, **numbers}])
    assert message.startswith(f"entry 1: job a: {words}")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"job": None}, "job: expected its name, and it is missing"),
        ({"job": ""}, "job: expected its name, and it is missing"),
        ({"job": ["a"]}, "job: expected its name, not ['a']"),
        ({"job": True}, "job: expected its name, not true"),
        ({"job": "\ud800"}, r"job: expected its name, of whole characters and at most 256, not '\ud800'"),
        ({"job": 10**400}, "job: expected its name, of whole characters"),
        ({"type": 1.5}, "job b: type: expected a word (or no type in any row), not 1.5"),
        *(({"nodes": bad}, "job b: nodes: expected a whole number") for bad in (
            0, -1, 2.5, True, None, [2], {}, "two", 10**9 + 1, 10**400, math.nan
        )),
        *(({"seconds": bad}, "job b: seconds: expected a positive, finite number") for bad in (
            0, -1, True, None, [2], {}, "fast", 10**400, math.nan, math.inf, -math.inf
        )),
        ({"job": "a", "type": "conv", "nodes": 4}, "job a: its time on 4 nodes is in entry 2 already"),
        ({"job": "a"}, "job a: its type is 'fc' here and 'conv' in entry 1"),
    ],
    ids=str,
)  # fmt: skip
def test_a_bad_entry_is_told_by_its_number(file: Path, change: dict[str, object], words: str) -> None:
    message = mistake(file, [*ENTRIES[:2], ENTRIES[2] | change])
    assert message.startswith(f"entry 3: {words}")


@pytest.mark.parametrize("missing", ["job", "nodes", "seconds"])
def test_a_missing_key_is_named(file: Path, missing: str) -> None:
    entry = {name: value for name, value in ENTRIES[0].items() if name != missing}
    message = mistake(file, [entry])
    assert f"{missing}: expected" in message
    assert message.endswith("and it is missing")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("[1]", "entry 1: expected an object with the keys job, nodes and seconds (or throughput and work), and type"),
        ('[{"job": "a", "nodes": 1, "seconds": 1}, null]', "entry 2: expected an object"),
        ("{}", "expected a list of objects with the keys job"),
        ("[", "is not valid JSON: Expecting value: line 1 column 2"),
        ('[{"job": "a"} {"job": "b"}]', "is not valid JSON"),
        ("[" * 100_000, "is nested too deeply"),
        (f"[{'9' * 5000}]", "is not valid JSON"),
        ('[{"job": "a", "nodes": 1, "nodes": 2, "seconds": 1}]', "an object has the key 'nodes' twice"),
        ({"nodes": 8, "makespan": 3.0, "lower_bound": 2.0, "gap": 0.5, "jobs": []}, "is a plan, not jobs"),
        ({"schema_version": 2, "layers": []}, "is a part of a run: name the run's folder"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_json_of_another_shape_is_refused(file: Path, content: object, words: str) -> None:
    assert words in mistake(file, content)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"job,nodes,seconds\n\xe4,1,2\n", "line 2: is not UTF-8 (byte 0xe4)"),
        (TABLE.encode("utf-16"), "line 1: is not text (byte 0x00)"),
        (b'[{"job": "\xff"}]', "line 1: is not UTF-8 (byte 0xff)"),
        (b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR", "line 3: is not text (byte 0x00)"),
        (b"\x1f\x8b\x08\x08garbage", "is not UTF-8 (byte 0x8b)"),
        (b"\x01\x02\x03\x1b[2J", "expected a header with the columns"),
    ],
)
def test_what_is_no_text_is_refused(file: Path, content: bytes, words: str) -> None:
    message = mistake(file, content)
    assert words in message
    assert "expected" in message


@given(st.binary(max_size=200) | st.text(alphabet='job,nodesecwrk\n"[]{}:;0123.-\r ', max_size=200).map(str.encode))
@settings(max_examples=300)
def test_garbage_is_refused_or_read_and_never_a_defect(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    file = tmp_path_factory.getbasetemp() / "garbage"
    file.write_bytes(content)
    told = ""
    try:
        found = read_jobs(file)
    except UsageError as error:
        found, told = [], str(error)
    assert bool(found) != bool(told)
    assert told.isprintable()


@pytest.mark.parametrize(("name", "cause"), [("none", "No such file or directory"), ("a" * 5000, "File name too long")])
def test_a_file_that_cannot_be_read_is_refused(name: str, cause: str) -> None:
    with pytest.raises(UsageError, match=rf"^{name} cannot be read: {cause}; name a CSV or JSON file of jobs"):
        read_jobs(Path(name))


def test_a_file_without_end_is_refused(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MAX_FILE_BYTES", 1000)
    with pytest.raises(UsageError, match="/dev/zero is larger than 1 kB: leave out all columns but job, nodes"):
        read_jobs(Path("/dev/zero"))


def test_control_characters_of_a_files_name_are_escaped(tmp_path: Path) -> None:
    file = tmp_path / "a\x1b[2J\n.csv"
    file.write_text("")
    with pytest.raises(UsageError) as caught:
        read_jobs(file)
    assert str(caught.value).isprintable()


NAMES = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zs", "Zl", "Zp"]), min_size=1, max_size=12)
CURVES = st.dictionaries(st.integers(1, 10**9), st.floats(SHORTEST, LONGEST), min_size=1, max_size=5)


@given(st.dictionaries(NAMES, st.tuples(NAMES, CURVES), min_size=1, max_size=5), st.booleans())
def test_what_is_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, made: dict[str, tuple[str, dict[int, float]]], as_json: bool
) -> None:
    file = tmp_path_factory.getbasetemp() / "written"
    rows = [
        {"job": name, "type": type_, "nodes": count, "seconds": seconds}
        for name, (type_, curve) in made.items()
        for count, seconds in curve.items()
    ]
    with file.open("w", newline="", encoding="utf-8") as text:
        if as_json:
            json.dump(rows, text)
        else:
            writer = csv.DictWriter(text, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    assert read_jobs(file) == [Job.of(name, type_, curve.items()) for name, (type_, curve) in made.items()]


def test_many_jobs_are_read_in_seconds(file: Path) -> None:
    remark = "x" * 700
    with file.open("w") as text:
        text.write("job,type,nodes,seconds,remark\n")
        for job in range(10_000):
            text.writelines(f"job{job},conv,{2**count},{1e3 / (count + 1)},{remark}\n" for count in range(13))
    assert file.stat().st_size > 90e6
    start = time.process_time()
    found = read_jobs(file)
    assert time.process_time() - start < 8
    assert len(found) == 10_000
    assert all(len(job.nodes) == 13 for job in found)
    file.unlink()
