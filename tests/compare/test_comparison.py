"""Run folders in, a comparison or one clear line out."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import msgspec
import pytest

from layerbench import store
from layerbench.compare import Comparison, compare, failing, kinds
from layerbench.errors import StoreError, UsageError
from layerbench.records import Record
from layerbench.store import Journal, StoredRun
from tests.compare import made
from tests.report import synthetic


def folders(tmp_path: Path, base: StoredRun, new: StoredRun) -> tuple[Path, Path]:
    return made.write(tmp_path / "base", [base]), made.write(tmp_path / "new", [new])


def with_options(run: StoredRun, **changes: Any) -> StoredRun:
    options = msgspec.structs.replace(run.manifest.options, **changes)
    return StoredRun(run.path, msgspec.structs.replace(run.manifest, options=options), run.records)


def with_environment(run: StoredRun, **changes: Any) -> StoredRun:
    environment = {**run.manifest.environment, **changes}
    return StoredRun(run.path, msgspec.structs.replace(run.manifest, environment=environment), run.records)


def test_two_runs(tmp_path: Path) -> None:
    slowed = made.run(2, factor=lambda record: 2.0 if record.layer == "fc7" else 1.0)
    found = compare(*folders(tmp_path, made.run(1), slowed))
    assert len(found.rows) == 81
    assert {row.layer for row in found.rows if row.verdict == "slower"} == {"fc7"}
    assert [found.count(kind) for kind in ("slower", "faster", "unclear", "missing")] == [9, 0, 0, 0]
    assert [(row.layer, row.part, row.nodes) for row in found.rows] == [
        record.key for record in made.TRUTH.records if record.samples[0] > 0
    ]
    assert {record.reason for record in found.untested} == {"no time passes"}
    for row, record in zip(found.rows, [r for r in made.run(1).records if r.samples[0] > 0], strict=True):
        middle = sorted(record.samples)[9:11]
        assert row.base_seconds == pytest.approx(sum(middle) / 2)
        assert row.new_seconds == pytest.approx(row.base_seconds * row.ratio)


def test_geometric_means_by_part(tmp_path: Path) -> None:
    found = compare(*folders(tmp_path, made.run(1), made.run(2)))
    means = found.geometric_means()
    assert list(means) == ["forward", "backward_data", "backward_weights", "communication", "step"]
    ratios = [row.ratio for row in found.rows if row.part == "communication"]
    assert means["communication"] == (pytest.approx(math.prod(ratios) ** (1 / 9)), 9)


def test_folders_of_repetitions_are_paired_in_order_of_start(tmp_path: Path) -> None:
    drift = [1.0, 1.3, 1.7, 2.2]
    base = [made.run(2 * i, noise=1e-3, factor=lambda record, by=by: by) for i, by in enumerate(drift)]
    new = [made.run(2 * i + 1, noise=1e-3, factor=lambda record, by=by: 1.1 * by) for i, by in enumerate(drift)]
    written = made.write(tmp_path / "base", base[::-1]), made.write(tmp_path / "new", new)
    found = compare(*written)
    assert [path.name for path in found.base] == ["4", "3", "2", "1"]
    assert {row.verdict for row in found.rows} == {"slower"}
    assert all(row.high is not None and row.high < 1.12 for row in found.rows)
    by_name = compare([tmp_path / "base" / str(i) for i in (4, 3, 2, 1)], str(tmp_path / "new"))
    assert by_name.rows == found.rows


def started(run: StoredRun, second: int) -> StoredRun:
    manifest = msgspec.structs.replace(run.manifest, start=f"2026-01-02T03:04:{second:02d}+00:00")
    return StoredRun(run.path, manifest, run.records)


@pytest.mark.parametrize(
    ("base", "new", "turns"),
    [
        ([0, 2, 4], [1, 3, 5], True),
        ([1, 2, 5], [0, 3, 4], True),
        ([0, 2, 4], [1, 3], True),
        ([1, 3], [0, 2, 4], True),
        ([0], [1, 2, 3], True),
        ([0, 1, 2], [3, 4, 5], False),
        ([0, 1, 4], [2, 3, 5], False),
        ([0, 1, 2, 3], [4, 5], False),
    ],
    ids=str,
)
def test_runs_are_paired_only_where_they_were_taken_in_turns(
    tmp_path: Path, base: list[int], new: list[int], turns: bool
) -> None:
    paths = []
    for name, seconds in (("base", base), ("new", new)):
        # The machine becomes slower by 2 % from run to run.
        runs = [started(made.run(10 + s, factor=lambda record, by=1.02**s: by), s) for s in seconds]
        paths.append(made.write(tmp_path / name, runs))
    found = compare(*paths)
    told = any("not taken in turns: drift" in note for note in found.notes)
    assert told == (not turns)
    if len(base) == len(new) and len({two - one for one, two in zip(base, new, strict=True)}) == 1:
        widths = [row.high / row.low for row in found.rows if row.high and row.low]
        assert (sorted(widths)[40] > 1.06) == (not turns)


def test_repetitions_must_be_alike(tmp_path: Path) -> None:
    path = made.write(tmp_path / "base", [made.run(1), with_options(made.run(2), batch=8)])
    new = made.write(tmp_path / "new", [made.run(3)])
    with pytest.raises(UsageError, match=r"^BASE must be repetitions of one run.*batch 16 and 8"):
        compare(path, new)
    other = StoredRun(path, msgspec.structs.replace(made.TRUTH.manifest, layers=made.TRUTH.manifest.layers[:3]), [])
    path = made.write(tmp_path / "layers", [made.run(1), other])
    with pytest.raises(UsageError, match=r"^NEW must be .* differ in their layers"):
        compare(new, path)
    made.write(tmp_path / "timeouts", [made.run(1), with_options(made.run(2), timeout=9.0)])
    assert len(compare(tmp_path / "timeouts", new).base) == 2


def test_what_is_no_run(tmp_path: Path) -> None:
    run = made.write(tmp_path / "run", [made.run(1)])
    with pytest.raises(StoreError, match=r"NEW .*nothing does not exist: name a run folder"):
        compare(run, tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(StoreError, match="neither a run folder nor a folder of run folders"):
        compare(tmp_path / "empty", run)
    with pytest.raises(UsageError, match="BASE must be at least one run folder"):
        compare([], run)
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "run.json").write_text("{")
    with pytest.raises(StoreError, match="is damaged"):
        compare(run, tmp_path / "damaged")


@pytest.mark.parametrize("threshold", [0.0, 1.0, -0.1, math.nan, math.inf])
def test_a_threshold_out_of_range(tmp_path: Path, threshold: float) -> None:
    with pytest.raises(UsageError, match="--threshold must be above 0 and below 1"):
        compare(tmp_path, tmp_path, threshold=threshold)


def test_other_hardware_is_refused_or_forced(tmp_path: Path) -> None:
    other = with_environment(made.run(2), cpu_model="another", libraries={"numpy": "9"}, usable_core_count=4)
    written = folders(tmp_path, made.run(1), other)
    with pytest.raises(UsageError) as refused:
        compare(*written)
    message = str(refused.value)
    assert "cpu_model: AMD EPYC 7R13 Processor in BASE, another in NEW" in message
    assert "usable_core_count: 2 in BASE, 4 in NEW" in message
    assert "--force" in message
    assert "numpy" not in message
    found = compare(*written, force=True)
    assert len(found.forced) == 2
    assert "libraries numpy: 2.4.6 in BASE, 9 in NEW" in found.notes
    assert len(found.rows) == 81


def test_force_is_not_offered_where_nothing_would_match(tmp_path: Path) -> None:
    one, other = (synthetic.run(path=Path(), nodes=[1], batch=batch) for batch in (8, 16))
    with pytest.raises(UsageError, match="batch: 8 in BASE, 16 in NEW") as refused:
        compare(*folders(tmp_path, one, other))
    assert "--force" not in str(refused.value)


def test_other_kernels_are_refused_also_where_auto_chose_them(tmp_path: Path) -> None:
    chosen = [
        msgspec.structs.replace(record, kernels="numpy") if record.layer == "lstm" else record
        for record in made.run(2).records
    ]
    written = folders(tmp_path, made.run(1), StoredRun(Path(), made.run(2).manifest, chosen))
    with pytest.raises(UsageError, match=r"kernels: onednn in BASE, numpy in NEW \(9 of 81 records\)"):
        compare(*written)
    assert len(compare(*written, force=True).rows) == 81


def test_nothing_in_common_says_what_the_nearest_differ_in(tmp_path: Path) -> None:
    other = synthetic.run(nodes=(1, 2), measured=2, batch=32)
    written = folders(tmp_path, made.run(1), other)
    with pytest.raises(UsageError, match="batch: 16 in BASE, 32 in NEW"):
        compare(*written)
    with pytest.raises(
        UsageError,
        match=r"no record in common.*batch 16 in BASE, 32 in NEW; local batch .*; that is so of 45 of the 180 records",
    ):
        compare(*written, force=True)
    nothing = made.write(tmp_path / "nothing", [StoredRun(Path(), made.TRUTH.manifest, [])])
    for sides in ((nothing, nothing), (written[0], nothing), (nothing, written[0])):
        with pytest.raises(UsageError, match=r"nothing.* has no records to compare: complete it with layerbench run, "):
            compare(*sides)


def test_the_nearest_on_one_node_is_in_the_singular(tmp_path: Path) -> None:
    one = [record for record in made.TRUTH.records if record.nodes == 1]
    two = [record for record in made.TRUTH.records if record.nodes == 2]
    written = folders(tmp_path, *(StoredRun(Path(), made.TRUTH.manifest, records) for records in (one, two)))
    with pytest.raises(
        UsageError,
        match=r" on 1 node is only in BASE: NEW has no such node count; that is so of \d+ of the 90 records",
    ):
        compare(*written)


@pytest.mark.parametrize("side", ["BASE", "NEW"])
def test_records_that_cannot_be_read_are_what_is_wrong(tmp_path: Path, side: str) -> None:
    base, new = folders(tmp_path, made.run(1), made.run(2))
    damaged = base if side == "BASE" else new
    (damaged / store.RECORDS).write_text('{"x": 1}\nnothing\n')
    with pytest.raises(
        UsageError, match=rf"^{damaged} has no records to compare \(.*line 1 is not a record"
    ) as refused:
        compare(base, new)
    assert "no such layer" not in str(refused.value)


def test_runs_that_are_not_whole_are_compared_with_a_warning(tmp_path: Path) -> None:
    part = made.run(2)
    manifest = msgspec.structs.replace(part.manifest, outcome="running")
    base, new = folders(tmp_path, made.run(1), StoredRun(Path(), manifest, part.records[:45]))
    found = compare(base, new)
    assert len(found.rows) == 36
    assert found.count("missing") == 45
    assert found.warnings == [f"{new} was cut short: what it has is compared"]
    with Journal(new) as journal:
        journal.lock()
        assert compare(base, new).warnings == [f"{new} is being written: this is what it held when it was read"]
    with (new / store.RECORDS).open("a") as file:
        file.write('{"layer": "fc')
    assert "cut off" in compare(base, new).warnings[0]


def test_failures_of_new_are_missing(tmp_path: Path) -> None:
    fail = synthetic.failed("conv3", 2)
    new = made.run(2)
    records: list[Record | None] = [fail(record) for record in new.records]
    found = compare(*folders(tmp_path, made.run(1), StoredRun(Path(), new.manifest, [r for r in records if r])))
    assert found.count("missing") == 5
    assert failing(found, ["slower", "missing"]) == "5 missing"
    assert failing(found, ["slower", "faster"]) == ""


def test_words_of_fail_on() -> None:
    assert kinds(None) == []
    assert kinds("slower, missing") == ["slower", "missing"]
    for wrong in ("", "slow", "slower,,missing", "same"):
        with pytest.raises(UsageError, match="none of slower, faster, unclear, missing"):
            kinds(wrong)


def test_a_comparison_is_a_value(tmp_path: Path) -> None:
    found = compare(*folders(tmp_path, made.run(1), made.run(2)))
    assert isinstance(found, Comparison)
    with pytest.raises(AttributeError):
        found.threshold = 1.0  # type: ignore[misc]
