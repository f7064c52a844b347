"""One run of several: nothing that was measured is lost, whatever happens in between."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from layerbench import store
from layerbench.batch.merge import merge
from layerbench.errors import JournalError, StoreError
from layerbench.records import Record
from layerbench.store import Journal
from tests.values import manifest, options, record


def part(folder: Path, nodes: int, *records: Record, **changes: Any) -> Path:
    """A run of one count."""
    path = folder / f"nodes-{nodes}"
    told = manifest(options=options(nodes=[nodes]), **{"start": f"s{nodes}", "end": f"t{nodes}", "outcome": "complete"})
    store.create(path, manifest(**{name: getattr(told, name) for name in told.__struct_fields__} | changes))
    add(path, records or [record(nodes=nodes, ranks=nodes)])
    return path


def add(path: Path, records: Sequence[Record]) -> None:
    with Journal(path) as journal:
        journal.append(records)


def test_records_and_manifests_become_one(tmp_path: Path) -> None:
    target = tmp_path / "run"
    parts = [part(tmp_path, nodes) for nodes in (1, 2, 4)]
    assert merge(target, parts, "layerbench submit") == []
    run = store.load(target)
    assert [one.nodes for one in run.records] == [1, 2, 4]
    told = run.manifest
    assert (told.options.nodes, told.start, told.end, told.outcome) == ([1, 2, 4], "s1", "t4", "complete")
    assert told.command == "layerbench submit"


def test_what_is_still_to_come_is_not_complete(tmp_path: Path) -> None:
    target, first = tmp_path / "run", part(tmp_path, 1)
    merge(target, [first, tmp_path / "nodes-2"], "c")
    assert (store.load_manifest(target).outcome, store.load_manifest(target).end) == ("running", "")
    second = part(tmp_path, 2)
    merge(target, [first, second], "c", whole=False)
    assert store.load_manifest(target).outcome == "running"
    merge(target, [first, second], "c")
    assert (store.load_manifest(target).outcome, store.load_manifest(target).end) == ("complete", "t2")


def test_merging_again_changes_nothing(tmp_path: Path) -> None:
    target, parts = tmp_path / "run", [part(tmp_path, nodes) for nodes in (1, 2)]
    merge(target, parts, "c")
    before = (target / "records.jsonl").read_bytes(), (target / "run.json").read_bytes()
    merge(target, parts, "c")
    assert ((target / "records.jsonl").read_bytes(), (target / "run.json").read_bytes()) == before


def test_what_comes_later_is_added_and_a_failure_undoes_nothing(tmp_path: Path) -> None:
    target = tmp_path / "run"
    first, second = part(tmp_path, 1), tmp_path / "nodes-2"
    notes = merge(target, [first, second], "c")
    assert "nothing was measured yet" in notes[0]
    assert "nodes-2" in notes[0]
    part(tmp_path, 2, record(nodes=2, ranks=2, status="failed", reason="a node died", samples=[]))
    merge(target, [first, second], "c")
    assert [one.status for one in store.load(target).records] == ["ok", "failed"]
    add(second, [record(nodes=2, ranks=2)])
    merge(target, [first, second], "c")
    assert [one.status for one in store.load(target).records] == ["ok", "ok"]
    add(second, [record(nodes=2, ranks=2, status="failed", reason="again", samples=[])])
    merge(target, [first, second], "c")
    assert [one.status for one in store.load(target).records] == ["ok", "ok"]


def test_what_was_measured_there_already_stays(tmp_path: Path) -> None:
    """A part that was lost after it had been merged does not take its records with it."""
    target, parts = tmp_path / "run", [part(tmp_path, nodes) for nodes in (1, 2)]
    merge(target, parts, "c")
    for path in parts[1].iterdir():
        if path.is_file():
            path.unlink()
    assert merge(target, parts, "c")
    assert [one.nodes for one in store.load(target).records] == [1, 2]


@pytest.mark.parametrize("changes", [{"batch": 9}, {"dtype": "fp64"}, {"max_time": 9.0}, {"launcher": "none"}])
def test_other_options_are_refused_by_name(changes: dict[str, Any], tmp_path: Path) -> None:
    parts = [part(tmp_path, 1), part(tmp_path, 2, options=options(nodes=[2], **changes))]
    with pytest.raises(StoreError, match=f"--{next(iter(changes)).replace('_', '-')}"):
        merge(tmp_path / "run", parts, "c")
    assert not (tmp_path / "run").exists()


def test_other_layers_are_refused(tmp_path: Path) -> None:
    from layerbench.layers import FC

    other = FC(name="other", in_features=1, out_features=1)
    with pytest.raises(StoreError, match="layers"):
        merge(tmp_path / "run", [part(tmp_path, 1), part(tmp_path, 2, layers=[other])], "c")


def test_a_run_that_is_there_must_be_of_the_same_kind(tmp_path: Path) -> None:
    target = tmp_path / "run"
    store.create(target, manifest(options=options(batch=99)))
    with pytest.raises(StoreError, match="--batch"):
        merge(target, [part(tmp_path, 1)], "c")


def test_other_hardware_is_told(tmp_path: Path) -> None:
    other = {"cpu_model": "another processor", "usable_core_count": 2}
    notes = merge(tmp_path / "run", [part(tmp_path, 1), part(tmp_path, 2, environment=other)], "c")
    assert "different hardware" in notes[0]
    assert "a processor and another processor" in notes[0]


def test_nothing_to_merge_is_said(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="nothing to merge"):
        merge(tmp_path / "run", [tmp_path / "nodes-1"], "c")
    assert not (tmp_path / "run").exists()


def test_a_crash_in_between_is_mended_by_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target, parts = tmp_path / "run", [part(tmp_path, nodes) for nodes in (1, 2)]

    def full(*_: object) -> None:
        raise JournalError("no space left")

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "append", full)
        with pytest.raises(JournalError):
            merge(target, parts, "c")
    assert store.load(target).records == []
    assert store.load_manifest(target).outcome == "running"
    # And one that was cut off within a line.
    with (target / "records.jsonl").open("ab") as file:
        file.write(b'{"layer": "fc", "ki')
    merge(target, parts, "c")
    assert [one.nodes for one in store.load(target).records] == [1, 2]
    assert store.load_manifest(target).outcome == "complete"


def test_a_part_that_is_not_complete_makes_the_whole_so(tmp_path: Path) -> None:
    parts = [part(tmp_path, 1), part(tmp_path, 2, outcome="interrupted", end="")]
    merge(tmp_path / "run", parts, "c")
    told = store.load_manifest(tmp_path / "run")
    assert (told.outcome, told.end) == ("interrupted", "")
