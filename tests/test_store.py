"""The run folder: what is written is read again, and nothing that goes wrong takes a whole record with it."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from layerbench import store
from layerbench.errors import JournalError, StoreError
from layerbench.layers import DTYPES
from layerbench.records import PARTS, SCHEMA_VERSION, Record
from tests.values import manifest, options, record


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run folder without records."""
    path = tmp_path / "run"
    store.create(path, manifest())
    return path


def append(run: Path, *records: Record) -> None:
    with store.Journal(run) as journal:
        journal.append(records)


def numbered(count: int) -> list[Record]:
    return [record(nodes=nodes) for nodes in range(1, count + 1)]


def one_line(error: BaseException) -> str:
    text = str(error)
    assert text
    assert "\n" not in text
    return text


SECONDS = st.floats(min_value=0, max_value=1e6)
COUNTS = st.integers(min_value=0, max_value=2**63)  # beyond 53 bits: a float on the way would lose some
RECORDS = st.builds(
    Record,
    layer=st.text(),
    kind=st.sampled_from(["conv", "fc", "lstm"]),
    part=st.sampled_from(PARTS),
    nodes=st.integers(1, 10**6),
    ranks=st.integers(1, 10**6),
    threads_per_rank=st.integers(1, 1024),
    batch=st.integers(1, 2**63),
    local_batch=COUNTS,
    dtype=st.sampled_from(DTYPES),
    kernels=st.text(),
    algorithm=st.text(),
    workspace_bytes=COUNTS,
    placement=st.sampled_from(["measured", "emulated"]),
    samples=st.lists(SECONDS, max_size=20),
    modelled_seconds=st.none() | SECONDS,
    rank_medians=st.lists(SECONDS, max_size=4),
    ci_method=st.sampled_from(["order-statistics", "range", "none"]),
    noisy=st.booleans(),
    verified=st.none() | st.booleans(),
    relative_error=st.none() | SECONDS,
    macs=COUNTS,
    bytes=COUNTS,
    status=st.sampled_from(["ok", "failed", "skipped"]),
    reason=st.text(),
)


@settings(max_examples=50, deadline=None)
@given(records=st.lists(RECORDS, max_size=5, unique_by=lambda r: r.key))
def test_records_come_back_as_they_were(records: list[Record], tmp_path_factory: pytest.TempPathFactory) -> None:
    run = tmp_path_factory.mktemp("run")
    store.create(run, manifest())
    append(run, *records)
    loaded = store.load(run)
    assert loaded.records == records
    assert loaded.warnings == []


def test_manifest_comes_back_and_can_be_replaced(run: Path) -> None:
    assert store.load(run).manifest == manifest()
    ended = manifest(outcome="complete", end="2024-01-01T00:00:00+00:00")
    store.write_manifest(run, ended)
    assert store.load(run).manifest == ended
    assert sorted(path.name for path in run.iterdir()) == ["launches", "records.jsonl", "run.json"]


def test_a_record_is_one_line_and_on_disk_when_append_returns(run: Path) -> None:
    with store.Journal(run) as journal:
        journal.append([record(reason="two\nlines")])
        assert (run / store.RECORDS).read_bytes().count(b"\n") == 1
        assert store.load(run).records == [record(reason="two\nlines")]


def test_of_two_records_with_one_key_the_later_counts(run: Path) -> None:
    append(run, record(status="failed", reason="rank died"), record(part="step"), record(samples=[2.0]))
    assert store.load(run).records == [record(samples=[2.0]), record(part="step")]


@pytest.mark.parametrize("status", ["failed", "skipped"])
def test_what_failed_later_does_not_undo_what_was_measured(run: Path, status: str) -> None:
    failed = record(status=status, reason="rank died")
    append(run, failed, record(status=status, reason="no memory"))
    assert store.load(run).records == [record(status=status, reason="no memory")]
    append(run, record(), failed)
    assert store.load(run).records == [record()]
    append(run, record(samples=[2.0]), failed)
    assert store.load(run).records == [record(samples=[2.0])]


def test_a_torn_last_line_costs_that_record_alone(run: Path) -> None:
    append(run, *numbered(3))
    whole = (run / store.RECORDS).read_bytes()
    (run / store.RECORDS).write_bytes(whole[:-40])
    loaded = store.load(run)
    assert loaded.records == numbered(2)
    assert len(loaded.warnings) == 1
    assert f"{run / store.RECORDS}: line 3 is cut off" in loaded.warnings[0]


def test_a_damaged_line_inside_is_named_and_skipped(run: Path) -> None:
    append(run, *numbered(1))
    with (run / store.RECORDS).open("ab") as file:
        file.write(b'{"layer": 3}\n\xff\xfe\n\n')
    append(run, record(nodes=2))
    loaded = store.load(run)
    assert loaded.records == numbered(2)
    assert len(loaded.warnings) == 2, "an empty line is no damage"
    for number, warning in enumerate(loaded.warnings, start=2):
        assert f"line {number} is not a record" in warning


@pytest.mark.parametrize("field", ["nodes", "ranks", "threads_per_rank", "batch"])
def test_a_record_of_fewer_than_one_is_named_and_skipped(run: Path, field: str) -> None:
    append(run, record(nodes=1), record(**{field: 0}), record(nodes=2))
    loaded = store.load(run)
    assert loaded.records == numbered(2)
    (warning,) = loaded.warnings
    assert f"line 2 is not a record (Expected `int` >= 1 - at `$.{field}`)" in warning


def test_a_torn_last_line_is_set_aside_before_resuming(run: Path) -> None:
    append(run, *numbered(2))
    whole = (run / store.RECORDS).read_bytes()
    (run / store.RECORDS).write_bytes(whole + b'{"layer":"to')
    note = store.set_aside_torn_tail(run)
    assert note is not None
    assert "was cut off" in note
    assert (run / store.TORN).read_bytes() == b'{"layer":"to\n'
    assert (run / store.RECORDS).read_bytes() == whole
    assert store.set_aside_torn_tail(run) is None, "a mended file needs no mending"


def test_set_aside_keeps_every_torn_line(run: Path) -> None:
    for torn in (b"first", b"second"):
        with (run / store.RECORDS).open("ab") as file:
            file.write(torn)
        store.set_aside_torn_tail(run)
    assert (run / store.TORN).read_bytes() == b"first\nsecond\n"
    assert (run / store.RECORDS).read_bytes() == b""


def test_appending_after_a_torn_line_does_not_lose_the_new_record(run: Path) -> None:
    append(run, *numbered(1))
    with (run / store.RECORDS).open("ab") as file:
        file.write(b'{"layer":"to')
    append(run, record(nodes=2))
    loaded = store.load(run)
    assert loaded.records == numbered(2)
    assert len(loaded.warnings) == 1


def test_two_writers_in_turn_share_a_journal(run: Path) -> None:
    with store.Journal(run) as sweep, store.Journal(run) as worker:
        sweep.append([record(nodes=1)])
        worker.append([record(nodes=2)])
        sweep.append([record(nodes=3)])
    assert store.load(run).records == numbered(3)


def test_one_journal_at_a_time_has_the_lock(run: Path) -> None:
    with store.Journal(run) as first, store.Journal(run) as second:
        first.lock()
        with pytest.raises(StoreError, match="is being written by another layerbench") as caught:
            second.lock()
        assert str(run) in one_line(caught.value)
        second.append(numbered(1))
    with store.Journal(run) as third:
        third.lock()
    assert store.load(run).records == numbered(1), "writing needs no lock"


def test_what_was_written_since_is_read_again_whoever_wrote_it(run: Path) -> None:
    append(run, *numbered(1))
    with store.Journal(run) as sweep, store.Journal(run) as worker:
        start = sweep.size
        assert sweep.since(start) == []
        worker.append(numbered(3)[1:])
        with (run / store.RECORDS).open("ab") as file:
            file.write(b'\xff\n{"layer":"to')
        assert sweep.since(start) == numbered(3)[1:], "only what is whole"
        assert sweep.since(0) == numbered(3)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b'{"schema_version": 999}', ["999", f"to {SCHEMA_VERSION}"]),
        (b'{"schema_version": "new"}', ["damaged"]),
        (b'{"command": "x"}', ["damaged", "schema_version"]),
        (b'{"schema_ver', ["damaged"]),
        (b"", ["damaged"]),
        (b"\xff\xfe", ["damaged"]),
        (b"[]", ["damaged"]),
        (b'{"schema_version": 1}', ["damaged", "command"]),
        (msgspec.json.encode(manifest(layers=[])), ["damaged", "`$.layers`"]),
        (msgspec.json.encode(manifest(options=options(nodes=[]))), ["damaged", "`$.options.nodes`"]),
        (msgspec.json.encode(manifest(options=options(nodes=[1, 0]))), ["damaged", "`$.options.nodes[1]`"]),
        (msgspec.json.encode(manifest(options=options(batch=0))), ["damaged", "`$.options.batch`"]),
    ],
)
def test_a_manifest_that_cannot_be_read_is_said_in_one_line(run: Path, text: bytes, words: list[str]) -> None:
    (run / store.MANIFEST).write_bytes(text)
    with pytest.raises(StoreError) as caught:
        store.load(run)
    said = one_line(caught.value)
    assert str(run / store.MANIFEST) in said
    for word in words:
        assert word in said


def test_a_folder_that_holds_a_run_is_refused_and_left_as_it_is(run: Path) -> None:
    append(run, *numbered(2))
    with pytest.raises(StoreError, match="already holds a run") as caught:
        store.create(run, manifest(suite="other"))
    assert "--resume" in one_line(caught.value)
    assert store.load(run).manifest == manifest()
    assert store.load(run).records == numbered(2)


def test_records_without_a_manifest_are_not_written_over(run: Path) -> None:
    append(run, *numbered(2))
    (run / store.MANIFEST).unlink()
    before = (run / store.RECORDS).read_bytes()
    with pytest.raises(StoreError, match="already holds a run"):
        store.create(run, manifest())
    assert (run / store.RECORDS).read_bytes() == before


def test_a_file_where_the_folder_should_be_is_refused(tmp_path: Path) -> None:
    taken = tmp_path / "taken"
    taken.write_text("a letter")
    for path in (taken, taken / "run"):
        with pytest.raises(StoreError, match="cannot be made a run folder") as caught:
            store.create(path, manifest())
        assert str(path) in one_line(caught.value)
    assert taken.read_text() == "a letter"


def test_a_name_too_long_for_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot be made a run folder: File name too long"):
        store.create(tmp_path / ("x" * 300), manifest())


def mount(*arguments: str | Path) -> None:
    done = subprocess.run(["mount", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"a tmpfs cannot be mounted so here: {done.stderr.strip()}")


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Path]:
    """A tmpfs of 64 KiB."""
    if os.geteuid() != 0:
        pytest.skip("mounting a tmpfs needs root")
    point = tmp_path / "tiny"
    point.mkdir()
    mount("-t", "tmpfs", "-o", "size=64k", "tmpfs", point)
    yield point
    subprocess.run(["umount", point], check=True)


def fill(folder: Path) -> None:
    """Take all space there is."""
    with contextlib.suppress(OSError), (folder / "ballast").open("wb", buffering=0) as file:
        while file.write(bytes(4096)):
            pass


@pytest.mark.root
def test_a_full_disk_costs_no_record_that_was_written(mounted: Path) -> None:
    run = mounted / "run"
    store.create(run, manifest())
    ballast = mounted / "ballast"
    ballast.write_bytes(bytes(16384))
    big = [record(nodes=nodes, samples=[1e-3 * nodes] * 300) for nodes in range(1, 1000)]
    written: list[Record] = []

    def until_full(journal: store.Journal) -> None:
        for each in big:
            journal.append([each])
            written.append(each)

    with store.Journal(run) as journal:
        with pytest.raises(JournalError) as caught:
            until_full(journal)
        said = one_line(caught.value)
        assert f"{run / store.RECORDS} cannot be written: No space left on device" in said
        assert "--resume" in said
        assert (run / store.RECORDS).read_bytes().endswith(b"}\n"), "cut back to whole lines"
        assert len(written) > 3
        assert store.load(run).records == written
        assert store.load(run).warnings == []

        ballast.unlink()
        journal.append([record(part="step")])
    assert store.load(run).records == [*written, record(part="step")], "the journal goes on where there is room"


@pytest.mark.root
def test_a_group_of_records_that_does_not_fit_is_written_not_at_all(mounted: Path) -> None:
    run = mounted / "run"
    store.create(run, manifest())
    append(run, *numbered(1))
    many = [record(nodes=nodes, samples=[1e-3] * 300) for nodes in range(2, 1000)]
    with pytest.raises(JournalError):
        append(run, *many)
    assert store.load(run).records == numbered(1)
    append(run, record(nodes=2))
    assert store.load(run).records == numbered(2)


@pytest.mark.root
def test_a_full_disk_leaves_the_old_manifest(mounted: Path) -> None:
    run = mounted / "run"
    store.create(run, manifest())
    fill(mounted)
    with pytest.raises(StoreError, match="No space left on device") as caught:
        store.write_manifest(run, manifest(outcome="complete" * 5000))
    one_line(caught.value)
    assert store.load(run).manifest == manifest()
    assert not list(run.glob("*.new"))


@pytest.mark.root
def test_a_folder_that_cannot_be_written_is_said_in_one_line(mounted: Path) -> None:
    run = mounted / "run"
    store.create(run, manifest())
    append(run, *numbered(1))
    with (run / store.RECORDS).open("ab") as file:
        file.write(b"torn")
    mount("-o", "remount,ro", mounted)
    attempts: list[tuple[type[Exception], Any]] = [
        (StoreError, lambda: store.create(mounted / "other", manifest())),
        (StoreError, lambda: store.write_manifest(run, manifest())),
        (StoreError, lambda: store.set_aside_torn_tail(run)),
        (JournalError, lambda: store.Journal(run)),
    ]
    for kind, attempt in attempts:
        with pytest.raises(kind, match="Read-only file system") as caught:
            attempt()
        one_line(caught.value)
    assert store.load(run).records == numbered(1), "reading needs no writing"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_said_in_one_line(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    with pytest.raises(StoreError, match="Permission denied") as caught:
        store.create(closed / "run", manifest())
    one_line(caught.value)


def test_the_manifest_says_its_schema_version_first_of_all(run: Path) -> None:
    stored = msgspec.json.decode((run / store.MANIFEST).read_bytes())
    assert next(iter(stored.items())) == ("schema_version", SCHEMA_VERSION)
