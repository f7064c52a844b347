from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from layerbench.report import columns, labels
from layerbench.report.columns import RunColumns
from tests.report import synthetic


def run(path: str, cpu: str = "a chip", host: str = "node1", **options: Any) -> RunColumns:
    made = synthetic.run(path=Path(path), nodes=[1], **options)
    environment = {**made.manifest.environment, "cpu_model": cpu, "hostname": host}
    return columns.of_records(made.path, msgspec.structs.replace(made.manifest, environment=environment), made.records)


def test_one_run_is_called_by_its_folder() -> None:
    assert labels.of([run("runs/alexnet-1")]) == ["alexnet-1"]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ([{"batch": 16}, {"batch": 32}], ["batch 16", "batch 32"]),
        ([{"cpu": "one chip"}, {"cpu": "another chip"}], ["one chip", "another chip"]),
        ([{"dtype": "fp32"}, {"dtype": "bf16"}], ["fp32", "bf16"]),
        ([{"host": "a"}, {"host": "b"}], ["a", "b"]),
        ([{}, {"scaling": "weak"}], ["strong scaling", "weak scaling"]),
        ([{}, {"layout": "model"}], ["data layout", "model layout"]),
        (
            [{"dtype": "fp32", "batch": 1}, {"dtype": "bf16", "batch": 1}, {"dtype": "bf16", "batch": 4}],
            ["fp32 · batch 1", "bf16 · batch 1", "bf16 · batch 4"],
        ),
    ],
)
def test_several_are_called_by_what_they_differ_in(changes: list[dict[str, Any]], expected: list[str]) -> None:
    assert labels.of([run(f"runs/{index}", **change) for index, change in enumerate(changes)]) == expected


def test_no_more_is_told_than_tells_them_apart() -> None:
    runs = [run("a", cpu="one", host="x", batch=1), run("b", cpu="two", host="y", batch=2)]
    assert labels.of(runs) == ["one", "two"]


def test_runs_alike_in_all_are_called_by_their_folders() -> None:
    assert labels.of([run("a/first"), run("a/second"), run("b/first")]) == ["first", "second", "first (2)"]


def test_folders_are_added_where_traits_do_not_tell_all_apart() -> None:
    runs = [run("one", dtype="fp32"), run("two", dtype="fp32"), run("three", dtype="bf16")]
    assert labels.of(runs) == ["one · fp32", "two · fp32", "three · bf16"]


def test_a_folder_whose_name_is_no_text_has_a_label_that_is() -> None:
    assert labels.of([run("runs/caf\udce9")]) == ["caf?"]
