from __future__ import annotations

import io
import re

import msgspec
import pytest
from rich.console import Console

from layerbench import units
from layerbench.records import Record
from layerbench.report import columns, tables, text
from layerbench.report.columns import row_tuples
from layerbench.store import StoredRun
from tests.report import synthetic


def printed(run: StoredRun, width: int = 100) -> str:
    out = io.StringIO()
    text.print_summary(run, Console(file=out, width=width))
    return out.getvalue()


def test_terminal_table() -> None:
    run = synthetic.run()
    out = printed(run)
    assert "alexnet: a training step on 1, 2, 4 and 8 nodes" in out
    lines = [line for line in out.splitlines() if re.match(r"(conv|fc|lstm)? +\d", line)]
    assert len(lines) == 12
    assert [("○" in line) for line in lines] == [False, False, True, True] * 3
    types = tables.of_run(run).layer_types
    for line, row in zip(lines, row_tuples(types), strict=True):
        assert units.seconds(row.seconds) in line
        assert "±" in line
        assert f"{row.speedup:.3g}" in line
    assert "○ emulated (4 and 8 nodes)" in out


def test_terminal_names_failures_and_skips() -> None:
    def change(record: Record) -> Record:
        if record.nodes == 8:
            return msgspec.structs.replace(record, status="skipped", reason="a batch of 4", samples=[])
        return synthetic.failed("conv3", 4, "wrong result [/bold]")(record)

    out = printed(synthetic.run(change=change))
    assert "failed: 5 of 180 records" in out
    assert "  conv3 on 4 nodes: wrong result [/bold]" in out
    assert "skipped: 45 of 180 records" in out
    assert "  and 3 more" in out
    assert "incomplete" in out


@pytest.mark.parametrize("width", [40, 80, 200])
def test_terminal_of_a_run_without_records(width: int) -> None:
    out = printed(synthetic.run(change=lambda record: None, nodes=[1]), width)
    assert "not measured yet" in out


def test_terminal_says_what_is_noisy_and_what_waits() -> None:
    def change(record: Record) -> Record:
        return msgspec.structs.replace(record, noisy=record.layer == "fc7" and record.nodes == 2)

    out = printed(synthetic.run(change=change))
    assert "noisy: 5 of 180 records, whose 95 % interval did not shrink to ±1 %: fc7" in out
    assert "measured communication includes waiting for the slowest rank" in out


def test_terminal_names_each_of_several_runs() -> None:
    runs = [
        columns.of_records(run.path, run.manifest, run.records)
        for run in (synthetic.run(nodes=[1]), synthetic.run(nodes=[1], batch=32))
    ]
    out = io.StringIO()
    text.print_tables(tables.compute(runs), Console(file=out, width=100))
    assert re.findall(r"^(batch \d+): alexnet: a training step on 1 node$", out.getvalue(), re.MULTILINE) == [
        "batch 16",
        "batch 32",
    ]
