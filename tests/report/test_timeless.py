"""Runs that follow the schema, but some of whose records say ``ok`` and have no time."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from rich.console import Console

from layerbench.records import Record
from layerbench.report import report
from tests.report import synthetic

WHERE: dict[str, Callable[[Record], bool]] = {
    "everywhere": lambda record: True,
    "one type": lambda record: record.kind == "lstm",
    "communication": lambda record: record.part == "communication",
    "passes": lambda record: record.part not in ("communication", "step"),
}


@pytest.mark.parametrize("samples", [[], [0.0] * 6, [0.0, 0.0, 1e-3, 1e-3, 1e-3, 1e-3]], ids=str)
@pytest.mark.parametrize("where", WHERE)
def test_what_has_no_time_stops_no_report(tmp_path: Path, where: str, samples: list[float]) -> None:
    def change(record: Record) -> Record:
        changed = msgspec.structs.replace(record, samples=samples, modelled_seconds=None)
        return changed if WHERE[where](record) else record

    run = synthetic.run(path=tmp_path / "run", nodes=(1, 2), batch=128, change=change)
    out = io.StringIO()
    written = report([synthetic.stored(run)], console=Console(file=out, width=100))
    assert "alexnet: a training step" in out.getvalue()
    if where == "everywhere" and samples != [0.0, 0.0, 1e-3, 1e-3, 1e-3, 1e-3]:
        assert "incomplete" in out.getvalue()
        assert "figure.png" not in {path.name for path in written}
