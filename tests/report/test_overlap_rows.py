from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import msgspec
import pandas as pd
import pytest

from layerbench.overlap_records import OVERLAP, Overlap
from layerbench.report import overlap_rows
from layerbench.report.frame_csv import csv
from layerbench.report.overlap_rows import Measured
from tests.report import overlapped


def test_a_folder_has_what_its_file_says(tmp_path: Path) -> None:
    assert overlap_rows.of_folder(tmp_path) is None
    (tmp_path / OVERLAP).write_bytes(msgspec.json.encode(overlapped.marked()))
    assert overlap_rows.of_folder(tmp_path) == overlapped.marked()


@pytest.mark.parametrize("contents", [b"", b"\xff\xfe", b"[" * 100_000, b'{"rows": 1}', b'["\xff"]'])
def test_a_damaged_file_is_as_none(tmp_path: Path, contents: bytes) -> None:
    (tmp_path / OVERLAP).write_bytes(contents)
    assert overlap_rows.of_folder(tmp_path) is None


def test_what_cannot_be_read_or_named_is_as_none(tmp_path: Path) -> None:
    (tmp_path / OVERLAP).mkdir()
    assert overlap_rows.of_folder(tmp_path) is None
    assert overlap_rows.of_folder(Path("no\0name")) is None


def test_steps_come_by_nodes_and_the_sweep_by_ratio() -> None:
    rows = [*reversed(overlapped.steps()), *reversed(overlapped.sweep((0.0, 0.5, 2.0)))]
    measured = Measured("", "", overlapped.overlap(rows))
    assert [row.nodes for row in measured.steps] == [1, 2, 4, 8]
    assert [row.ratio for row in measured.sweep] == [0.5, 2.0], "nothing is at 0 of a log axis"
    every = overlap_rows.of_workload(measured.overlap, "ratio sweep")
    assert [row.ratio for row in every] == [0.0, 0.5, 2.0]


def test_a_frame_has_a_row_for_each_row_and_numbers_as_they_are() -> None:
    found = overlapped.overlap()
    frame = overlap_rows.frame([found])
    assert len(frame) == len(found.rows)
    assert list(frame["workload"].unique()) == ["training step", "ratio sweep"]
    row, first = found.rows[0], frame.iloc[0]
    for name in ("speedup", "speedup_low", "eta", "implicit_seconds", "explicit_high", "exposed_transfer_seconds"):
        assert first[name] == getattr(row, name)
    assert first["implicit_samples_per_second"] == row.batch / row.implicit_seconds
    assert first["explicit_samples_per_second"] == row.batch / row.explicit_seconds
    assert list(frame["identical"][:4]) == [True, True, pd.NA, pd.NA]


def test_what_is_not_known_is_empty_and_types_do_not_depend_on_it() -> None:
    frame = overlap_rows.frame([Overlap(rows=[overlapped.MINIMAL])])
    assert math.isnan(frame["ratio"].iloc[0])
    assert frame["identical"].isna().all()
    full, empty = overlap_rows.frame([overlapped.overlap()]), overlap_rows.frame([])
    assert list(frame.dtypes) == list(full.dtypes) == list(empty.dtypes)
    assert len(pd.concat([frame, empty, full])) == 1 + len(full)


def test_counts_that_are_too_large_for_a_column_are_kept_as_numbers() -> None:
    changes: dict[str, Any] = {"nodes": 2**64 - 1}
    row = msgspec.structs.replace(overlapped.MINIMAL, **changes)
    assert overlap_rows.frame([Overlap(rows=[row])])["nodes"].iloc[0] == float(2**64 - 1)


def test_the_frame_as_csv() -> None:
    head, first, *_ = csv(overlap_rows.frame([overlapped.overlap()])).decode().splitlines()
    cells = dict(zip(json.loads(f"[{head}]"), first.split(","), strict=True))
    assert cells["workload"] == '"training step"'
    assert cells["nodes"] == "1"
    assert cells["identical"] == "true"
    assert float(cells["speedup"]) == overlapped.steps()[0].speedup


def test_what_several_cores_can_gain_is_beside_the_curve() -> None:
    (row,) = overlapped.sweep((3.0,))
    assert not overlap_rows.beside_the_curve(row)
    assert overlap_rows.beside_the_curve(msgspec.structs.replace(row, attainable=4 / 1.5))
    assert not overlap_rows.beside_the_curve(overlapped.MINIMAL)
