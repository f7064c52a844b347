import csv
import io
from pathlib import Path

import msgspec
import pytest

from layerbench import reference
from layerbench.errors import UsageError
from layerbench.export import export
from layerbench.records import Record
from layerbench.report.tables import records_frame
from layerbench.store import StoredRun
from tests.export import awkward
from tests.report import synthetic
from tests.values import manifest, record


def rows_of(run: StoredRun) -> list[dict[str, str]]:
    text = export(run, "deepbench").read().decode()
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_a_run_matches_itself_at_ratio_one(tmp_path: Path) -> None:
    run = synthetic.run()
    path = tmp_path / "own.csv"
    path.write_bytes(export(run, "deepbench").read())
    frame = records_frame(run)
    found = reference.matches(frame, run.manifest.layers, reference.read(path))
    # Eight layers that are no LSTM, three passes; conv and fc shapes of the suite all differ.
    assert len(found) == 8 * 3
    own = frame.set_index(["layer", "part", "nodes"])["median"]
    for row in found.itertuples(index=False):
        assert row.time_seconds / own[row.layer, row.part, row.nodes] == pytest.approx(1.0, rel=1e-12)
        assert (row.device, row.stage) == ("AMD EPYC 7R13 Processor", "training")


def test_the_columns_are_those_of_the_published_times() -> None:
    published = Path(__file__).resolve().parents[2] / "results/deepbench/published_times.csv"
    header = export(synthetic.run(), "deepbench").read().splitlines()[0].decode()
    assert header == published.read_text().splitlines()[0]


def test_a_row_says_what_the_record_says() -> None:
    row = next(row for row in rows_of(synthetic.run(batch=128)) if row["params"].startswith("w=224"))
    assert row["params"] == "w=224;h=224;c=3;n=128;k=96;filter_w=11;filter_h=11;pad_w=2;pad_h=2;stride_w=4;stride_h=4"
    assert (row["precision"], row["op"], row["pass"]) == ("fp32", "conv", "forward")
    assert row["algorithm"] == "brgconv:avx2"
    products = [row for row in rows_of(synthetic.run()) if row["op"] == "gemm"]
    assert {row["pass"] for row in products} == {"forward"}
    assert [row["params"][-11:] for row in products[:3]] == ["a_t=0;b_t=0", "a_t=1;b_t=0", "a_t=0;b_t=1"]


def test_times_are_medians_in_milliseconds() -> None:
    run = StoredRun(Path("x"), manifest(), [record(samples=[3e-3, 1e-3, 9e-3])])
    (row,) = rows_of(run)
    assert float(row["time_ms"]) == pytest.approx(3.0)
    assert row["params"] == "m=2;n=8;k=4;a_t=0;b_t=0"


def test_what_is_left_out_is_counted() -> None:
    run = awkward.run()
    exported = export(run, "deepbench")
    assert exported.left_out == {
        "failed": 1,
        "skipped": 4,
        "on several ranks": 3 * 3 * 5 - 5,
        "of communication and steps, which DeepBench does not have": 3 * 2,
        "of recurrent layers, whose product with the input DeepBench leaves out": 3,
    }
    assert len(rows_of(run)) == len(run.records) - exported.left_out.total()


def test_a_cold_cache_and_a_layer_of_another_suite_are_left_out() -> None:
    run = StoredRun(Path("x"), manifest(), [record(cache="cold"), record(layer="another")])
    assert rows_of(run) == []
    assert list(export(run, "deepbench").left_out) == [
        "with a cold cache, where DeepBench's is hot",
        "of layers that the manifest does not have",
    ]


def test_a_record_without_samples_is_not_called_emulated() -> None:
    run = StoredRun(Path("x"), manifest(), [record(), record(part="backward_data", samples=[])])
    assert export(run, "deepbench").left_out == {"without samples": 1}


def test_a_run_of_failures_only_is_refused() -> None:
    failed = [record(status="failed", reason="died", samples=[], part=part) for part in ("forward", "step")]
    with pytest.raises(UsageError, match=r"no time for DeepBench's table: 2 of 2 records are left out: 2 failed$"):
        export(StoredRun(Path("x"), manifest(), failed), "deepbench")


def test_words_of_the_run_do_not_break_the_table(tmp_path: Path) -> None:
    def quoted(one: Record) -> Record:
        return msgspec.structs.replace(one, algorithm='a,"b"\nc')

    made = synthetic.run(nodes=[1], change=quoted)
    machine = {"cpu_model": 'Chip, "fast"\n2'}
    run = StoredRun(made.path, msgspec.structs.replace(made.manifest, environment=machine), made.records)
    path = tmp_path / "own.csv"
    path.write_bytes(export(run, "deepbench").read())
    times = reference.read(path)
    assert set(times["device"]) == {'Chip, "fast"\n2'}
    assert set(times["algorithm"]) == {'a,"b"\nc'}


def test_a_machine_that_does_not_name_its_processor() -> None:
    run = StoredRun(Path("x"), manifest(environment={}), [record()])
    assert rows_of(run)[0]["device"] == "processor unknown"
