"""What is kept of launches that fail, are stopped, or cannot be written."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from layerbench.errors import LayerbenchError, MeasurementError, StoreError
from layerbench.overlap import benchmark as benchmarks
from layerbench.overlap import question as questions
from layerbench.overlap import write
from layerbench.overlap.benchmark import Benchmark
from layerbench.overlap_records import OVERLAP, Overlapped, Row, read

GIVEN: dict[str, Any] = {
    "suite": "alexnet", "modes": "implicit,explicit", "source": "synthetic", "depth": 3, "bucket": 2**20,
    "ratios": "none", "workers": None, "spare_cores": 0, "batch": 4, "scaling": "strong", "dtype": "fp32",
    "kernels": "auto", "threads_per_rank": 1, "ranks_per_node": 1, "filter_": "fc8", "rel_error": 0.01,
    "max_time": 0.5, "oversubscribe": False, "network": "gemini", "launcher": "auto", "hosts": "",
    "launcher_args": "", "timeout": 120.0, "seed": 0,
}  # fmt: skip


def benchmark(folder: Path, monkeypatch: pytest.MonkeyPatch, outcomes: list[BaseException | None]) -> Benchmark:
    """Of as many node counts as outcomes, each of which is an error or a row."""
    left = list(outcomes)

    def found_by_ranks(*_: object, **told: Any) -> SimpleNamespace:
        outcome = left.pop(0)
        if outcome is not None:
            raise outcome
        row = Row(
            nodes=told["nodes"], placement="measured", implicit_seconds=2, explicit_seconds=1, speedup=2, attainable=2,
            eta=1, workload="training step",
        )  # fmt: skip
        return SimpleNamespace(overlap=Overlapped(rows=[row]))

    monkeypatch.setattr(benchmarks, "found_by_ranks", found_by_ranks)
    nodes = ",".join(str(count) for count in range(1, len(outcomes) + 1))
    question = questions.asked(nodes=nodes, **GIVEN)
    return Benchmark(question, folder, "layerbench overlap", lambda _: None, lambda _: None)


def test_a_count_that_fails_is_named_and_others_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    of_two = benchmark(tmp_path, monkeypatch, [MeasurementError("rank 0 died"), None])
    found = of_two.run()
    assert [row.nodes for row in found.rows] == [2]
    assert of_two.failures == ["1 node: rank 0 died"]
    assert read(tmp_path / OVERLAP).notes == of_two.failures


def test_where_nothing_can_be_measured_the_first_reason_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(LayerbenchError, match="first"):
        benchmark(tmp_path, monkeypatch, [MeasurementError("first"), MeasurementError("second")]).run()


def test_an_interruption_leaves_what_was_complete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(KeyboardInterrupt):
        benchmark(tmp_path, monkeypatch, [None, KeyboardInterrupt()]).run()
    assert [row.nodes for row in read(tmp_path / OVERLAP).rows] == [1]
    assert [path.name for path in tmp_path.iterdir()] == [OVERLAP]


class StoppedError(BaseException):
    """What a signal is turned into."""


@pytest.mark.parametrize("asked", ["given/two/deep", None])
def test_an_output_folder_that_nothing_was_written_into_is_gone(
    asked: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    def stopped() -> None:
        with write.output_folder(asked, "alexnet") as folder:
            assert folder.is_dir()
            benchmark(folder, monkeypatch, [StoppedError()]).run()

    with pytest.raises(StoppedError):
        stopped()
    assert list(tmp_path.iterdir()) == []


def test_what_was_there_before_stays_though_it_is_empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there = tmp_path / "there"
    there.mkdir()

    def failing() -> None:
        with write.output_folder(str(there / "new"), "alexnet") as folder:
            benchmark(folder, monkeypatch, [MeasurementError("no")]).run()

    with pytest.raises(MeasurementError):
        failing()
    assert list(there.iterdir()) == []
    with pytest.raises(StoppedError), write.output_folder(str(there), "alexnet"):
        raise StoppedError
    assert there.is_dir()


def test_what_was_written_before_it_was_stopped_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped() -> None:
        with write.output_folder(str(tmp_path / "out"), "alexnet") as folder:
            benchmark(folder, monkeypatch, [None, StoppedError()]).run()

    with pytest.raises(StoppedError):
        stopped()
    assert [row.nodes for row in read(tmp_path / "out" / OVERLAP).rows] == [1]


def test_a_file_that_was_not_completed_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(path: Path, target: Path) -> None:
        raise StoppedError

    monkeypatch.setattr(Path, "replace", stop)
    with pytest.raises(StoppedError):
        benchmark(tmp_path, monkeypatch, [None]).run()
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_written_ends_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StoreError, match="cannot be written"):
        benchmark(tmp_path / "missing", monkeypatch, [None, AssertionError("nothing is measured after that")]).run()
