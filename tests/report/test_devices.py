"""What devices told beside times, as a report has it."""

from __future__ import annotations

import msgspec

from layerbench.conditions import Conditions
from layerbench.records import Record
from layerbench.report import devices, markdown, tables
from layerbench.store import StoredRun
from tests.report import synthetic

TOLD = Conditions(
    core_clock=1.755e9,
    memory_clock=2.619e9,
    temperature=61.0,
    power=512.3,
    throttle_reasons=["sw_power_cap"],
    usual_core_clock=1.98e9,
)


def run_with(**changes: object) -> StoredRun:
    """A run whose forward passes on one node have these fields."""
    run = synthetic.run()

    def changed(record: Record) -> Record:
        fits = record.part == "forward" and record.nodes == 1
        return msgspec.structs.replace(record, **changes) if fits else record

    return StoredRun(run.path, run.manifest, [changed(record) for record in run.records])


def test_nothing_is_said_where_no_device_told_anything() -> None:
    of_run = tables.of_run(synthetic.run())
    assert devices.rows(of_run, 100) == []
    assert f"## {devices.TITLE}" not in markdown.markdown(of_run, of_run.records.iloc[:0])


def test_a_row_for_each_pass_with_units_and_the_launch_of_short_ones_only() -> None:
    run = run_with(conditions=[TOLD], energy_joules=0.5, launch_seconds=7e-6, samples=[2e-5] * 9, throttled=True)
    found = devices.rows(tables.of_run(run), 100)
    assert [row[1] for row in found] == [layer.name for layer in run.manifest.layers]
    macs = next(record.macs for record in run.records if record.layer == found[0][1] and record.part == "forward")
    value, unit = found[0][7].split()
    scale = {"J": 1.0, "mJ": 1e-3, "kJ": 1e3, "MJ": 1e6}[unit]
    assert abs(float(value) * scale / (0.5e9 / macs) - 1) < 0.01
    told = found[0][2:7] + found[0][8:]
    assert told == ["forward", "1", "20 µs", "7 µs", "500 mJ", "1.75 GHz", "512 W", "61", "▽, sw_power_cap"]
    long = devices.rows(tables.of_run(run_with(launch_seconds=7e-6, samples=[2e-3] * 9)), 100)
    assert {row[5] for row in long} == {"–"}


def test_markdown_has_the_table() -> None:
    of_run = tables.of_run(run_with(conditions=[TOLD], energy_joules=3e-4))
    lines = markdown.markdown(of_run, of_run.records.iloc[:0]).splitlines()
    assert f"## {devices.TITLE}" in lines
    assert devices.EXPLAINED in lines
    assert sum("300 µJ" in line for line in lines) == len(of_run.manifest.layers)
