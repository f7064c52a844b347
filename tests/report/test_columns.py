from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pytest

from layerbench import processes, store
from layerbench.errors import StoreError, UsageError
from layerbench.layers import FC
from layerbench.records import Record
from layerbench.report import columns, pieces
from layerbench.report.columns import RunColumns
from layerbench.stats import interval
from layerbench.store import StoredRun
from tests.report import synthetic
from tests.report.synthetic import stored
from tests.values import manifest, record


def of(*records: Record) -> RunColumns:
    return columns.of_records(Path("run"), manifest(), records)


def test_a_folder_and_its_records_at_hand_are_the_same(tmp_path: Path) -> None:
    run = synthetic.run(path=tmp_path / "run", change=synthetic.failed("conv3", 4))
    here = columns.of_records(run.path, run.manifest, run.records)
    read = columns.load(stored(run))
    assert read.records.equals(here.records)
    assert read.manifest == run.manifest
    for row, one in enumerate(run.records):
        assert read.samples.of(row).tolist() == one.samples


def test_a_journal_read_in_small_chunks_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = stored(synthetic.run(path=tmp_path / "run"))
    whole = columns.load(run)
    monkeypatch.setattr(store, "CHUNK_BYTES", 777)
    pieces = columns.load(run)
    assert pieces.records.equals(whole.records)
    assert (pieces.samples.values == whole.samples.values).all()


def test_a_journal_read_by_several_processes_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = stored(synthetic.run(path=tmp_path / "run", change=synthetic.failed("conv3", 4)))
    whole = columns.load(run)
    monkeypatch.setattr(columns, "PIECE_BYTES", (run / store.RECORDS).stat().st_size // 5)
    monkeypatch.setattr(processes, "cores", lambda: 2)
    done = []

    def in_processes(tasks: list[Any]) -> list[Any]:
        done.append(len(tasks))
        return processes.in_processes(tasks)

    monkeypatch.setattr(columns, "in_processes", in_processes)
    pieces = columns.load(run)
    assert done == [5]
    pd.testing.assert_frame_equal(pieces.records, whole.records)
    assert (pieces.samples.values == whole.samples.values).all()
    assert (pieces.samples.counts == whole.samples.counts).all()
    assert pieces.warnings == whole.warnings == []


@pytest.mark.parametrize("ending", [b"", b"\n", b"\n\n\n"])
def test_what_is_wrong_in_a_later_piece_is_told_with_its_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: bytes
) -> None:
    run = stored(synthetic.run(path=tmp_path / "run"))
    journal = run / store.RECORDS
    lines = journal.read_bytes().split(b"\n")
    lines[-9] = b'{"layer": 3}'
    journal.write_bytes(b"\n".join(lines).rstrip() + ending)
    whole = columns.load(run)
    assert len(whole.warnings) == 1
    assert f"line {len(lines) - 8} is not a record" in whole.warnings[0]
    monkeypatch.setattr(columns, "PIECE_BYTES", journal.stat().st_size // 5)
    pieces = columns.load(run)
    assert pieces.warnings == whole.warnings
    pd.testing.assert_frame_equal(pieces.records, whole.records)


def test_a_piece_without_records_changes_no_type() -> None:
    made = pieces.taken_apart([[record()]])
    for parts in ([made, pieces.taken_apart([])], [pieces.taken_apart([]), made], [made, pieces.taken_apart([[]])]):
        alone, together = pieces.together([made]), pieces.together(parts)
        assert {name: column.dtype for name, column in alone[0].items()} == {
            name: column.dtype for name, column in together[0].items()
        }


def test_numbers_beyond_64_bits_are_floating_point() -> None:
    run = of(record(bytes_weights_reread=2**70, macs=2**80), record(part="step", bytes_weights_reread=None))
    reread = run.records["bytes_weights_reread"]
    assert reread[0] == 2.0**70
    assert np.isnan(reread[1])
    assert run.records["macs"][0] == 2.0**80


def test_words_are_kept_once() -> None:
    frame = of(*(record(part=part, nodes=n) for n in (1, 2) for part in ("forward", "step"))).records
    assert list(frame["part"].cat.categories) == ["forward", "step"]
    assert frame["layer"].cat.categories.dtype == "str"


def test_of_two_records_with_one_key_the_later_counts_where_the_first_stood() -> None:
    run = of(
        record(samples=[1.0] * 6),
        record(part="step", samples=[5.0] * 6),
        record(samples=[2.0] * 7),
    )
    assert list(run.records["median"]) == [2.0, 5.0]
    assert run.samples.of(0).tolist() == [2.0] * 7
    assert run.samples.of(1).tolist() == [5.0] * 6


def test_what_failed_later_does_not_undo_what_was_measured() -> None:
    failed = record(status="failed", reason="died", samples=[])
    assert list(of(record(samples=[1.0] * 6), failed).records["status"]) == ["ok"]
    assert list(of(failed, record(samples=[1.0] * 6), failed).records["median"]) == [1.0]
    assert list(of(failed, msgspec.structs.replace(failed, reason="again")).records["reason"]) == ["again"]


def test_it_agrees_with_the_store_on_which_records_count(tmp_path: Path) -> None:
    generator = np.random.default_rng(3)
    made = [
        record(
            layer=f"l{generator.integers(3)}",
            nodes=int(generator.integers(1, 3)),
            status=str(generator.choice(["ok", "failed", "skipped"])),
            samples=[float(place)] * 6,
        )
        for place in range(60)
    ]
    path = stored(StoredRun(tmp_path / "run", manifest(), made))
    frame, loaded = columns.load(path), store.load(path).records
    assert [tuple(row) for row in frame.records[["layer", "part", "nodes"]].astype(object).to_numpy()] == [
        one.key for one in loaded
    ]
    assert [frame.samples.of(row)[0] for row in range(len(loaded))] == [one.samples[0] for one in loaded]


def test_statistics_are_those_of_one_record_at_a_time() -> None:
    generator = np.random.default_rng(5)
    made = [record(layer=f"l{count}", samples=generator.lognormal(size=count).tolist()) for count in range(1, 60)]
    frame = of(*made).records
    for row, one in zip(columns.row_tuples(frame), made, strict=True):
        assert (row.median, row.ci_low, row.ci_high) == interval(one.samples)[:3]


def test_the_slowest_rank_is_named() -> None:
    frame = of(record(rank_medians=[1.0, 3.0, 2.0]), record(part="step", rank_medians=[1.0])).records
    assert frame["slowest_rank"].tolist()[0] == 1
    assert frame["slowest_rank"].isna().tolist() == [False, True]


def test_counts_beyond_64_bits_do_not_stop_a_report() -> None:
    assert of(record(macs=2**70)).records["macs"].tolist() == [2.0**70]


def test_a_torn_line_and_a_cut_run_are_told(tmp_path: Path) -> None:
    run = synthetic.run(path=tmp_path / "run")
    stored(StoredRun(run.path, msgspec.structs.replace(run.manifest, outcome="running"), run.records))
    with (run.path / store.RECORDS).open("a") as file:
        file.write('{"layer": "conv')
    read = columns.load(run.path)
    assert len(read.records) == len(run.records)
    torn, cut = read.warnings
    assert "line 181 is cut off and is not counted" in torn
    assert "was cut short" in cut
    assert "--resume" in cut


def test_a_run_that_is_being_written_is_read_as_far_as_it_is(tmp_path: Path) -> None:
    run = synthetic.run(path=tmp_path / "run")
    stored(StoredRun(run.path, msgspec.structs.replace(run.manifest, outcome="running"), run.records[:7]))
    with (run.path / store.RECORDS).open("a") as file:
        file.write('{"layer": "conv')
    # Locks belong to an open file, so this process can stand for another one.
    held = os.open(run.path / store.RECORDS, os.O_RDWR)
    fcntl.flock(held, fcntl.LOCK_EX)
    try:
        read = columns.load(run.path)
    finally:
        os.close(held)
    assert len(read.records) == 7
    (told,) = read.warnings
    assert "is being written" in told


def test_damage_is_told_while_a_run_is_being_written(tmp_path: Path) -> None:
    run = synthetic.run(path=tmp_path / "run")
    stored(run)
    with (run.path / store.RECORDS).open("a") as file:
        file.write('{"x": 1}\n{"layer": "conv')
    held = os.open(run.path / store.RECORDS, os.O_RDWR)
    fcntl.flock(held, fcntl.LOCK_EX)
    try:
        damaged, busy = columns.load(run.path).warnings
    finally:
        os.close(held)
    assert "line 181 is not a record" in damaged
    assert "is being written" in busy


def test_a_run_without_one_readable_line_is_refused_with_what_is_wrong(tmp_path: Path) -> None:
    store.create(tmp_path / "run", manifest())
    (tmp_path / "run" / store.RECORDS).write_text('{"x": 1}\n[]\n')
    with pytest.raises(UsageError, match=r"has no records to report \(.*line 1 is not a record.*\): complete it"):
        columns.load(tmp_path / "run")


@pytest.mark.parametrize("seconds", [0.0, -1e-3])
def test_nothing_is_computed_in_no_time(seconds: float) -> None:
    parts = ("forward", "step", "communication")
    frame = of(*(record(part=part, samples=[seconds] * 6) for part in parts)).records
    assert frame["median"].isna().tolist() == [True, True, seconds < 0]


def test_a_run_of_the_first_schema_is_read(tmp_path: Path) -> None:
    run = synthetic.run(path=tmp_path / "run")
    stored(run)
    name = run.path / store.MANIFEST
    old = msgspec.json.decode(name.read_bytes())
    old["schema_version"] = 1
    del old["roofline"], old["layouts"], old["options"]["layout"]
    name.write_bytes(msgspec.json.encode(old))
    lines = [msgspec.json.decode(line) for line in (run.path / store.RECORDS).read_bytes().splitlines()]
    for line in lines:
        del line["throttled"], line["layout"]
    (run.path / store.RECORDS).write_bytes(b"".join(msgspec.json.encode(line) + b"\n" for line in lines))
    read = columns.load(run.path)
    assert len(read.records) == len(run.records)
    assert not read.records["throttled"].any()
    assert read.manifest.roofline is None
    assert read.manifest.options.layout == "data"
    assert set(read.records["layout"]) == {"data"}


def test_layers_of_an_unknown_kind_are_named(tmp_path: Path) -> None:
    run = synthetic.run(path=tmp_path / "run")
    stored(run)
    name = run.path / store.MANIFEST
    newer = msgspec.json.decode(name.read_bytes())
    newer["layers"][0] = {"kind": "attention", "name": "a", "heads": 8}
    name.write_bytes(msgspec.json.encode(newer))
    with pytest.raises(StoreError, match=r"layers of a kind unknown here \('attention'\)") as raised:
        columns.load(run.path)
    assert "\n" not in str(raised.value)


def test_an_empty_run_is_refused(tmp_path: Path) -> None:
    store.create(tmp_path / "run", manifest())
    with pytest.raises(UsageError, match=r"has no records to report: .* --resume$"):
        columns.load(tmp_path / "run")


def test_a_rank_that_has_some_of_the_outputs_computes_that_part() -> None:
    layer = FC(name="fc", in_features=4, out_features=5)
    made = [record(layout="model", ranks=ranks, nodes=ranks, macs=1000, samples=[1e-6] * 6) for ranks in (1, 2, 3)]
    frame = columns.of_records(Path("run"), manifest(layers=[layer]), made).records
    assert frame["flops"].tolist() == pytest.approx([2e9] * 3)
    # Of five outputs the largest share is all, three, and two.
    assert frame["flops_per_rank"].tolist() == pytest.approx([2e9, 2e9 * 3 / 5, 2e9 * 2 / 5])
