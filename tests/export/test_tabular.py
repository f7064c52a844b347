import csv
import io
import json
from typing import Any

import msgspec
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from layerbench.export import export
from layerbench.records import Manifest
from layerbench.report.tables import records_frame
from layerbench.stats import interval
from layerbench.store import StoredRun
from tests.export import awkward

RUN = awkward.run()


def no_constant(name: str) -> None:
    raise AssertionError(f"{name} is no JSON")


def read_json(run: StoredRun) -> Any:
    return json.loads(export(run, "json").read(), parse_constant=no_constant)


def test_csv_has_every_record_and_column() -> None:
    exported = export(RUN, "csv")
    assert not exported.left_out
    rows = list(csv.DictReader(io.StringIO(exported.read().decode(), newline="")))
    assert list(rows[0]) == list(records_frame(RUN).columns)
    assert [(row["layer"], row["part"], int(row["nodes"])) for row in rows] == [record.key for record in RUN.records]
    assert [row["reason"] for row in rows] == [record.reason for record in RUN.records]
    for row, record in zip(rows, RUN.records, strict=True):
        known = interval(record.samples)
        if record.samples:
            assert tuple(float(row[name]) for name in ("median", "ci_low", "ci_high")) == known[:3]
        elif record.status != "ok":
            assert row["median"] == ""


def test_json_has_the_manifest_and_every_record_with_its_samples() -> None:
    told = read_json(RUN)
    assert list(told) == ["manifest", "records"]
    assert msgspec.convert(told["manifest"], Manifest) == RUN.manifest
    for row, record in zip(told["records"], RUN.records, strict=True):
        assert (row["layer"], row["part"], row["nodes"]) == record.key
        assert (row["reason"], row["samples"], row["noisy"]) == (record.reason, record.samples, record.noisy)
        assert row["macs"] == record.macs
        assert row["verified"] is record.verified
        assert row["bytes_weights_reread"] == record.bytes_weights_reread


def test_json_says_null_for_what_is_not_known() -> None:
    failed = next(row for row in read_json(RUN)["records"] if row["status"] == "failed")
    for name in ("median", "ci_low", "ci_high", "flops", "relative_error", "modelled_seconds"):
        assert failed[name] is None
    kinds = {type(value) for row in read_json(RUN)["records"] for value in row.values()}
    assert kinds == {str, int, float, bool, list, type(None)}


def test_json_has_a_record_to_a_line() -> None:
    lines = export(RUN, "json").read().splitlines()
    assert len(lines) == len(RUN.records) + 3
    assert json.loads(lines[2].rstrip(b","))["part"] == "forward"


def test_parquet_keeps_types_samples_and_the_manifest() -> None:
    table = pq.read_table(io.BytesIO(export(RUN, "parquet").read()))
    assert table.column_names == [*records_frame(RUN).columns, "samples"]
    types = {name: table.schema.field(name).type for name in table.column_names}
    assert types["nodes"] == types["macs"] == types["bytes_weights_reread"] == pa.int64()
    assert types["noisy"] == types["verified"] == pa.bool_()
    assert types["median"] == pa.float64()
    assert types["samples"] == pa.list_(pa.float64())
    rows = table.to_pylist()
    for row, record in zip(rows, RUN.records, strict=True):
        assert (row["layer"], row["part"], row["nodes"]) == record.key
        assert (row["samples"], row["reason"], row["verified"]) == (record.samples, record.reason, record.verified)
    assert next(row for row in rows if row["status"] == "failed")["median"] is None
    manifest = table.schema.metadata[b"layerbench.manifest"]
    assert msgspec.json.decode(manifest, type=Manifest) == RUN.manifest


def test_parquet_and_records_frame_agree_in_pandas() -> None:
    frame = pd.read_parquet(io.BytesIO(export(RUN, "parquet").read()))
    expected = records_frame(RUN)
    pd.testing.assert_frame_equal(frame.drop(columns="samples"), expected, check_exact=True, check_categorical=False)


@pytest.mark.parametrize("format_", ["json", "parquet"])
def test_columns_without_any_value_keep_their_type(format_: str) -> None:
    bare = [msgspec.structs.replace(r, samples=[], verified=None, status="failed", reason="x") for r in RUN.records]
    run = StoredRun(RUN.path, RUN.manifest, bare)
    contents = export(run, format_).read()
    if format_ == "parquet":
        schema = pq.read_schema(io.BytesIO(contents))
        assert schema.field("verified").type == pa.bool_()
        assert schema.field("samples").type == pa.list_(pa.float64())
        assert schema.field("median").type == pa.float64()
    else:
        assert all(row["samples"] == [] and row["verified"] is None for row in read_json(run)["records"])
