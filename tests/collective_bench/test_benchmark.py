"""What is kept of launches that fail, are stopped, or cannot be written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from layerbench.collective_bench import benchmark as benchmarks
from layerbench.collective_bench import journal, write
from layerbench.collective_bench.benchmark import Benchmark
from layerbench.collective_records import COLLECTIVES_JSON, Collected, read
from layerbench.errors import JournalError, LayerbenchError, MeasurementError, StoreError, UnavailableError
from layerbench.launch import World
from layerbench.plan import Count
from tests.collective_bench.made import row
from tests.collective_bench.test_question import asked

Ending = BaseException | None


def benchmark(folder: Path, monkeypatch: pytest.MonkeyPatch, endings: list[Ending], rows: int = 1) -> Benchmark:
    """Of as many node counts as endings, each launch of which writes so many rows before it ends so."""
    left = list(endings)

    def found_by_ranks(
        _purpose: str, _options: Any, world: Any, launch: Path, progress: Callable[[str], None], **told: Any
    ) -> SimpleNamespace:
        for size in range(rows):
            progress(f"size {size}")
            journal.append(launch, row(bytes=4 * (size + 1), nodes=told["nodes"], ranks=world.ranks))
        progress("next")
        ending = left.pop(0)
        if ending is not None:
            raise ending
        found = Collected(notes=["as said"])
        return SimpleNamespace(collectives=found, mpi="MPI", hosts=["a"], pinned_cores=[[0]], devices=[])

    monkeypatch.setattr(benchmarks, "found_by_ranks", found_by_ranks)
    nodes = ",".join(str(count) for count in range(2, len(endings) + 2))
    question = asked(nodes=nodes, oversubscribe=True, threads_per_rank=1)
    return Benchmark(question, folder, "layerbench collectives", lambda _: None, lambda _: None)


def test_rows_and_launches_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = benchmark(tmp_path, monkeypatch, [None, None]).run()
    assert [each.nodes for each in found.rows] == [2, 3]
    assert [(each.nodes, each.outcome, each.mpi, each.hosts) for each in found.launches] == [
        (2, "ok", "MPI", ["a"]),
        (3, "ok", "MPI", ["a"]),
    ]
    assert found.notes == ["as said"]
    assert read(tmp_path / COLLECTIVES_JSON) == found
    assert found.environment["cpu_count" if "cpu_count" in found.environment else "architecture"]


def test_where_named_hosts_measured_nothing_they_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def started_on_hosts(ending: LayerbenchError, rows: int) -> Benchmark:
        started = benchmark(tmp_path, monkeypatch, [ending], rows)
        question = replace(started.question, counts=(Count(2, 2, "measured", World(2, 1, ("a", "nohost"))),))
        return replace(started, question=question)

    with pytest.raises(MeasurementError, match=r"exit code 255; the hosts were a, nohost: .* `ssh a`"):
        started_on_hosts(MeasurementError("exit code 255"), rows=0).run()
    with pytest.raises(UnavailableError, match=r"no mpiexec$"):
        started_on_hosts(UnavailableError("no mpiexec"), rows=0).run()
    later = started_on_hosts(MeasurementError("exit code 255"), rows=1)
    later.run()
    assert later.failures == ["2 nodes: exit code 255"]


def test_a_launch_that_fails_keeps_its_rows_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing = benchmark(tmp_path, monkeypatch, [MeasurementError("rank 0\ndied"), None])
    found = failing.run()
    assert [each.nodes for each in found.rows] == [2, 3]
    assert failing.failures == ["2 nodes: rank 0 died"]
    assert [each.outcome for each in read(tmp_path / COLLECTIVES_JSON).launches] == ["rank 0 died", "ok"]


def test_where_nothing_can_be_measured_the_first_reason_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(LayerbenchError, match="first"):
        benchmark(tmp_path, monkeypatch, [MeasurementError("first"), MeasurementError("second")], rows=0).run()
    assert list(tmp_path.iterdir()) == []


def test_an_interruption_leaves_what_was_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(KeyboardInterrupt):
        benchmark(tmp_path, monkeypatch, [None, KeyboardInterrupt()], rows=3).run()
    found = read(tmp_path / COLLECTIVES_JSON)
    assert [each.nodes for each in found.rows] == [2, 2, 2, 3, 3, 3]
    assert [each.outcome for each in found.launches] == ["ok", "interrupted"]
    assert [path.name for path in tmp_path.iterdir()] == [COLLECTIVES_JSON]


def test_rows_are_kept_while_ranks_still_measure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmarks, "OFTEN", 0.0)
    seen: list[int] = []
    watched = benchmark(tmp_path, monkeypatch, [None], rows=3)

    def look(_: str) -> None:
        path = tmp_path / COLLECTIVES_JSON
        seen.append(len(read(path).rows) if path.exists() else 0)

    watched.progress = look
    watched.run()
    assert seen == [0, 0, 1, 2], "one behind: each row is kept when the next thing is said"
    assert read(tmp_path / COLLECTIVES_JSON).launches[0].outcome == "ok"


def test_what_cannot_be_written_ends_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StoreError, match="cannot be written"):
        benchmark(tmp_path / "missing", monkeypatch, [None, AssertionError("nothing is measured after that")]).run()


def test_a_row_that_was_cut_off_is_none(tmp_path: Path) -> None:
    journal.append(tmp_path, row())
    with (tmp_path / journal.ROWS).open("ab") as file:
        file.write(b'{"operation":"all_r')
    assert journal.read(tmp_path) == [row()]
    assert journal.read(tmp_path / "nowhere") == []
    with pytest.raises(JournalError, match="cannot be written"):
        journal.append(tmp_path / "nowhere", row())


def test_an_output_folder_that_nothing_was_written_into_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("given/deep", None):
        with write.output_folder(name) as folder:
            assert folder.is_dir()
    assert list(tmp_path.iterdir()) == []
