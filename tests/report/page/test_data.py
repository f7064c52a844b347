from typing import Any

import msgspec
import numpy as np
import pytest

from layerbench import units
from layerbench.records import Record
from layerbench.report.page import data, words
from layerbench.report.tables import Tables
from tests.report import synthetic
from tests.report.page import made


def values(payload: dict[str, Any], name: str) -> list[Any]:
    column = payload["columns"][name]
    return [payload["words"][name][code] for code in column] if name in payload["words"] else column


def raw(held: list[int]) -> np.ndarray:
    return np.array(held[1:]) * 10.0 ** held[0]


@pytest.mark.parametrize("several", [False, True])
def test_every_record_with_its_figures(several: bool) -> None:
    tables = made.of(synthetic.run(), synthetic.run(batch=32)) if several else made.every_mark()
    payload = data.payload(tables)
    frame = tables.records
    assert payload["total"] == payload["rows"] == len(frame)
    for name in ("run", "layer", "kind", "part", "placement", "status", "reason", "nodes", "local_batch"):
        assert values(payload, name) == frame[name].tolist()
    for name in ("noisy", "throttled"):
        assert [bool(flag) for flag in values(payload, name)] == frame[name].tolist()
    for name in ("median", "ci_low", "ci_high"):
        held = np.array([np.nan if value is None else value for value in values(payload, name)])
        np.testing.assert_allclose(held, frame[name], rtol=1e-5)
    fractions = np.array([np.nan if v is None else v / 100 for v in values(payload, "percent_of_roofline")])
    np.testing.assert_allclose(fractions, frame["fraction_of_roofline"], rtol=6e-3)
    times = [units.seconds(median) if median == median else "" for median in frame["median"]]
    assert values(payload, "time_text") == times
    ends = zip(frame["median"], frame["ci_low"], frame["ci_high"], strict=True)
    assert values(payload, "interval_text") == [words.interval(*of_row) for of_row in ends]
    msgspec.json.encode(payload)


def test_samples_are_those_of_their_row() -> None:
    first, second = synthetic.run(samples=7), synthetic.run(batch=32, samples=9)
    payload = data.payload(made.of(first, second))
    for record, held in zip([*first.records, *second.records], payload["samples"], strict=True):
        assert (held is None) == (not record.samples)
        if held is not None:
            np.testing.assert_allclose(raw(held), record.samples, rtol=1e-4)


def test_samples_of_nothing_are_zeros() -> None:
    def change(record: Record) -> Record:
        return msgspec.structs.replace(record, samples=[0.0] * 6) if record.part == "communication" else record

    payload = data.payload(made.ordinary(nodes=(1,), change=change))
    assert [0, 0, 0, 0, 0, 0, 0] in payload["samples"]


def rows_of(tables: Tables, most: int) -> list[tuple[str, str, int]]:
    chosen = tables.records.iloc[data.kept(tables.records, most)]
    return list(zip(chosen["layer"], chosen["part"], chosen["nodes"], strict=True))


def test_what_needs_attention_is_held_first() -> None:
    tables = made.every_mark()
    frame = tables.records
    order = [
        frame["status"] == "failed",
        frame["status"] == "skipped",
        (frame["status"] == "ok") & frame["throttled"],
        (frame["status"] == "ok") & ~frame["throttled"] & frame["noisy"],
    ]
    sizes = [int(which.sum()) for which in order]
    assert min(sizes) > 0
    for count in range(1, 5):
        # A row more than these, for the words, which are held once.
        rows = rows_of(tables, (sum(sizes[:count]) + 1) * data.ROW_BYTES)
        first = [frame.index[which] for which in order[:count]]
        expected = sorted(place for places in first for place in places)
        kept = [(frame["layer"][p], frame["part"][p], frame["nodes"][p]) for p in expected]
        assert len(set(kept) - set(rows)) <= 1
        assert len(set(rows) - set(kept)) <= 1
    everything = rows_of(tables, 10**9)
    assert everything == list(zip(frame["layer"], frame["part"], frame["nodes"], strict=True))


def test_long_words_take_the_room_of_records() -> None:
    short = made.ordinary()
    reasons = made.ordinary(change=lambda r: made.without(r, reason=f"{r.key}" + 5000 * "x"))
    most = 200 * data.ROW_BYTES
    assert len(data.kept(short.records, most)) == 180
    assert len(data.kept(reasons.records, most)) == 4


def test_many_samples_are_thinned_evenly(monkeypatch: pytest.MonkeyPatch) -> None:
    tables = made.ordinary(nodes=(1,), samples=1000)
    monkeypatch.setattr(data, "SAMPLES", 45 * 300)
    payload = data.payload(tables)
    assert {len(held) - 1 for held in payload["samples"]} == {300}
    every = tables.run.samples.of(0)
    held = raw(payload["samples"][0])
    np.testing.assert_allclose(held, every[np.arange(300) * 1000 // 300], rtol=1e-4)
    assert payload["columns"]["sample_count"][0] == 1000


def test_where_there_is_no_room_for_samples_those_that_need_attention_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    def change(record: Record) -> Record:
        return msgspec.structs.replace(record, noisy=record.layer == "lstm")

    tables = made.ordinary(nodes=(2,), samples=300, change=change)
    monkeypatch.setattr(data, "SAMPLES", 5 * data.OF_A_RECORD)
    payload = data.payload(tables)
    held = [layer for layer, of in zip(values(payload, "layer"), payload["samples"], strict=True) if of is not None]
    assert held == ["lstm"] * 5


def test_no_records_at_all() -> None:
    payload = data.payload(made.ordinary(change=lambda record: None))
    assert (payload["total"], payload["rows"], payload["samples"]) == (0, 0, [])
