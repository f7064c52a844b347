import math
from itertools import pairwise
from pathlib import Path

import pytest

from layerbench.errors import UsageError
from layerbench.schedule import trace
from layerbench.schedule.jobs import Job
from layerbench.schedule.trace import Arrival
from tests.schedule.arrived import arrivals, curve, like_alexnet


def written(folder: Path, text: str | bytes) -> Path:
    path = folder / "trace.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_rows_are_read_in_order_of_arrival(tmp_path: Path) -> None:
    found = trace.read(written(tmp_path, "arrival,type,work\n5,conv,2\n0.5,fc,1e1\n"))
    assert found == [Arrival("fc#2", "fc", 0.5, 10.0), Arrival("conv#1", "conv", 5.0, 2.0)]


def test_columns_in_any_order_with_names_blanks_and_a_mark(tmp_path: Path) -> None:
    text = "\ufeffwork, job ,type, user, arrival\r\n 2 , mine, conv ,x, 3\r\n"
    assert trace.read(written(tmp_path, text)) == [Arrival("mine", "conv", 3.0, 2.0)]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "missing: arrival, type, work"),
        ("arrival,work\n1,2\n", "missing: type"),
        ("arrival;type;work\n1;conv;2\n", "missing: arrival, type, work"),
        ("arrival,type,work\n", "has no arrivals"),
        ("arrival,type,work\n1,conv\n", "line 2: work is missing"),
        ("arrival,type,work\n1,,2\n", "line 2: type is missing"),
        ("arrival,type,work\n1,conv,2\n-1,conv,2\n", "line 3: arrival must be 0 s or later, not -1.0"),
        ("arrival,type,work\nnan,conv,2\n", "line 2: arrival must be finite, not 'nan'"),
        ("arrival,type,work\nsoon,conv,2\n", "line 2: arrival must be a number, not 'soon'"),
        ("arrival,type,work\n1,conv,0\n", "line 2: work must be positive, not 0.0"),
        ("arrival,type,work\n1,conv,inf\n", "line 2: work must be finite"),
        ("arrival,type,work,job\n1,conv,1,a\n2,conv,1,a\n", "two jobs are called a"),
        (b"arrival,type,work\n1,\xff,2\n", "is not UTF-8"),
        (b"\x00\x01\x02", "missing: arrival, type, work"),
        ('arrival,type,work\n1,"' + "x" * 200_000 + '",1\n', "is not CSV"),
    ],
)
def test_a_mistake_is_told_in_one_line(tmp_path: Path, text: str | bytes, told: str) -> None:
    with pytest.raises(UsageError) as raised:
        trace.read(written(tmp_path, text))
    assert told in str(raised.value)
    assert str(raised.value).isprintable()
    assert "trace.csv" in str(raised.value)


@pytest.mark.parametrize("name", ["nowhere.csv", "", "\0"])
def test_a_file_that_cannot_be_read(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        trace.read(tmp_path / name)


def test_curves_go_by_type_or_by_name_where_types_are_shared() -> None:
    one, two = Job.of("conv1", "conv", [(1, 1.0)]), Job.of("fc6", "fc", [(1, 1.0)])
    assert trace.curves_of([one, two]) == {"conv": one, "fc": two}
    three = Job.of("conv2", "conv", [(1, 2.0)])
    assert trace.curves_of([one, two, three]) == {"conv1": one, "fc6": two, "conv2": three}


@pytest.mark.parametrize(
    ("rows", "nodes", "told"),
    [
        ([], 8, "there are no arrivals"),
        ([("conv", 0.0, 1.0)], 0, "--nodes must be at least 1, not 0"),
        ([("cnov", 0.0, 1.0)], 8, r"no curve for type 'cnov' \(did you mean 'conv'\?\); known: conv, fc, lstm, wide"),
        ([("wide", 0.0, 1.0)], 8, "type wide needs 16 nodes at least and there are 8"),
        ([("conv", -1.0, 1.0)], 8, "arrival must be from 0"),
        ([("conv", math.nan, 1.0)], 8, "arrival must be from 0"),
        ([("conv", 1e13, 1.0)], 8, "arrival must be from 0"),
        ([("conv", 0.0, 0.0)], 8, "work must be positive"),
        ([("conv", 0.0, math.nan)], 8, "work must be positive"),
        ([("conv", 0.0, 1e300)], 8, "work 1e[+]300 makes"),
        ([("conv", 0.0, 5e-324)], 8, ""),
    ],
)
def test_arrivals_that_cannot_run(rows: list[tuple[str, float, float]], nodes: int, told: str) -> None:
    known = like_alexnet() | {"wide": curve("wide", n16=1.0)}
    if not told:
        trace.check(arrivals(*rows), known, nodes)
        return
    with pytest.raises(UsageError, match=told):
        trace.check(arrivals(*rows), known, nodes)


def test_random_arrivals_are_what_they_are_said_to_be() -> None:
    found = trace.poisson(["a", "b"], 20_000, 4.0, seed=3, works=(1.0, 100.0))
    assert found == trace.poisson(["a", "b"], 20_000, 4.0, seed=3, works=(1.0, 100.0))
    assert found != trace.poisson(["a", "b"], 20_000, 4.0, seed=4, works=(1.0, 100.0))
    gaps = [two.at - one.at for one, two in pairwise(found)]
    mean = sum(gaps) / len(gaps)
    assert mean == pytest.approx(0.25, rel=0.03)
    assert sum((gap - mean) ** 2 for gap in gaps) / len(gaps) == pytest.approx(mean**2, rel=0.06)
    assert sum(each.type == "a" for each in found) == pytest.approx(10_000, rel=0.03)
    logs = sorted(math.log10(each.work) for each in found)
    assert 0 <= logs[0] < logs[-1] <= 2
    assert logs[len(logs) // 4] == pytest.approx(0.5, abs=0.03)
    assert len({each.name for each in found}) == len(found)


def test_the_rate_offers_the_load() -> None:
    known, nodes, load = like_alexnet(), 32, 0.6
    rate = trace.rate_for_load(known, nodes, load, (1.0, 10.0))
    found = trace.poisson(sorted(known), 30_000, rate, seed=1, works=(1.0, 10.0))
    area = sum(each.work * min(n * s for n, s in known[each.type].useful(nodes)) for each in found)
    assert area / found[-1].at / nodes == pytest.approx(load, rel=0.03)
    assert trace.rate_for_load(known, nodes, load, (2.0, 2.0)) == pytest.approx(
        load * nodes / 2 / (sum(min(n * s for n, s in each.useful(8)) for each in known.values()) / 3)
    )


@pytest.mark.parametrize(
    "wrong",
    [{"types": []}, {"count": 0}, {"rate": 0.0}, {"rate": math.nan}, {"works": (2.0, 1.0)}, {"works": (0.0, 1.0)}],
)
def test_random_arrivals_refuse_what_is_out_of_range(wrong: dict[str, object]) -> None:
    options: dict[str, object] = {"types": ["a"], "count": 1, "rate": 1.0} | wrong
    with pytest.raises(UsageError):
        trace.poisson(**options)


@pytest.mark.parametrize(
    ("known", "load"), [({}, 0.5), (like_alexnet(), 0.0), (like_alexnet(), math.inf), ({"w": curve("w", n99=1.0)}, 0.5)]
)
def test_no_rate_without_a_load_and_curves(known: dict[str, Job], load: float) -> None:
    with pytest.raises(UsageError):
        trace.rate_for_load(known, 16, load)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("arrival,type,work\n0,conv,1,7\n", "line 2: has more cells than the header"),
        ("arrival,arrival,type,work\n0,1,conv,1\n", "the column arrival stands twice"),
    ],
)
def test_a_table_that_does_not_fit_its_header_is_refused(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "trace.csv"
    path.write_text(text)
    with pytest.raises(UsageError, match=told):
        trace.read(path)
