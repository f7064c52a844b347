"""The file, the table and the figure."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import msgspec
import pytest
from rich.console import Console

from layerbench.collective_bench import figure, text, write
from layerbench.collective_records import COLLECTIVES_JSON, read
from layerbench.errors import StoreError, UsageError
from layerbench.store import MANIFEST
from tests.collective_bench.made import measured, row

FAILED = row(bytes=2048, samples=[], quickest_rank_samples=[], status="failed", reason="rank 1: wrong result")


def test_statistics_are_computed_from_the_samples() -> None:
    (first, second) = csv.DictReader(io.StringIO(write.as_csv(measured(row(ranks=4), FAILED)).decode()))
    assert tuple(first) == write.COLUMNS
    assert first["operation"] == "all-reduce", "as --op has it"
    assert (float(first["seconds"]), float(first["quickest_rank_seconds"])) == (2e-6, 1e-6)
    assert float(first["algbw"]) == pytest.approx(512e6)
    assert float(first["busbw"]) == pytest.approx(768e6), "2 (n - 1) / n of 4 ranks is 1.5"
    assert (first["samples"], first["in_place"], first["noisy"]) == ("7", "true", "false")
    assert [second[name] for name in ("seconds", "low", "algbw", "busbw")] == [""] * 4
    assert (second["status"], second["reason"]) == ("failed", "rank 1: wrong result")


def test_files_of_what_was_measured(tmp_path: Path) -> None:
    found = measured(row(), row(bytes=4096), row(operation="all_to_all", in_place=False), FAILED)
    written = write.drawn(found, tmp_path)
    assert [path.name for path in written] == [
        COLLECTIVES_JSON, "collectives.csv", "collectives.png", "collectives.svg"
    ]  # fmt: skip
    assert (tmp_path / "collectives.png").read_bytes().startswith(b"\x89PNG")
    assert [path.name for path in write.drawn(measured(FAILED), tmp_path)] == [COLLECTIVES_JSON, "collectives.csv"]


def test_a_line_for_each_count_and_library_and_a_panel_for_each_operation() -> None:
    rows = [
        row(operation=operation, bytes=size, nodes=ranks, ranks=ranks, collectives=method)
        for operation in ("all_reduce", "broadcast", "all_gather")
        for size in (4, 8, 1024)
        for ranks in (2, 4)
        for method in ("nccl", "mpi")
    ]
    drawn = figure.draw(measured(*rows, row(bytes=8, nodes=8, ranks=8, oversubscribed=True, noisy=True)))
    titles = [panel.get_title(loc="left") for panel in drawn.axes]
    assert titles == ["all-reduce, in place", "broadcast, in place", "all-gather, in place"]
    first = {line.get_gid(): line for line in drawn.axes[0].get_lines() if line.get_gid()}
    assert sorted(first) == [f"all_reduce:{n}:{by}" for n in (2, 4) for by in ("mpi", "nccl")] + ["all_reduce:8:mpi"]
    assert first["all_reduce:4:nccl"].get_xdata().tolist() == [4, 8, 1024]
    assert first["all_reduce:4:nccl"].get_ydata()[2] == pytest.approx(768e6)
    looks = {(line.get_color(), line.get_marker()) for line in first.values()}
    assert len(looks) == 5
    assert first["all_reduce:8:mpi"].get_markerfacecolor() == "white"
    assert {(panel.get_xlim(), panel.get_ylim()) for panel in drawn.axes} == {
        (drawn.axes[0].get_xlim(), drawn.axes[0].get_ylim())
    }
    labels = [label.get_text() for label in drawn.legends[0].get_texts()]
    assert labels == ["2 nodes, nccl", "2 nodes, mpi", "4 nodes, nccl", "4 nodes, mpi", "8 nodes, mpi", "noisy"]
    assert figure.rendered(drawn, "svg") == figure.rendered(drawn, "svg")


def test_intervals_are_spoken_of_as_they_are_drawn() -> None:
    """Bars where a marker does not hide them; a single size has one too."""

    def bars_and_caption(*samples: float) -> tuple[int, str]:
        drawn = figure.draw(measured(row(bytes=4, samples=[1e-6] * 7), row(bytes=2**20, samples=list(samples))))
        caption = " ".join(line.get_text() for line in drawn.texts)
        return sum(len(panel.collections) for panel in drawn.axes), caption

    narrow, hidden = bars_and_caption(*[1e-3] * 6, 1.01e-3)
    assert narrow == 0
    assert "Hidden by the markers: 95 %" in hidden
    assert "Bars:" not in hidden
    wide, told = bars_and_caption(1e-4, 1e-4, 1e-3, 1e-3, 1e-3, 1e-2, 1e-2)
    assert wide == 1, "of the row whose interval is wide, and not of the other"
    assert "Bars: 95 %" in told
    assert "Hidden" not in told
    alone = figure.draw(measured(row()))
    assert len(alone.axes[0].collections) == 1


def test_sizes_are_the_same_in_table_and_figure() -> None:
    rows = [row(bytes=4096), row(bytes=8192)]
    labels = [label.get_text() for label in figure.draw(measured(*rows)).axes[0].get_xticklabels()]
    assert labels == ["4 KiB", "8 KiB"]
    assert all(any(line.startswith(label) for line in printed(*rows).splitlines()) for label in labels)


def printed(*rows: object) -> str:
    console = Console(record=True, width=120, file=io.StringIO())
    text.print_measured(measured(*rows), console)  # type: ignore[arg-type]
    return console.export_text()


def test_the_table_has_times_both_bandwidths_and_what_a_size_counts() -> None:
    told = printed(row(ranks=4, nodes=2, noisy=True), FAILED)
    assert "all-reduce on 2 nodes, 4 ranks by mpi, fp32" in told
    assert "size: the vector of each rank; in place; MPI_Allreduce in place; MPI of a test" in told
    line = next(line for line in told.splitlines() if "1 KiB" in line)
    assert line.split("  ")[0] == "1 KiB"
    for word in ("2 µs", "-50.0% +50.0%", "1 µs", "512 MB/s", "768 MB/s", "noisy"):
        assert word in line
    assert "failed: rank 1: wrong result" in told
    assert "--max-time" in told


def test_rows_of_one_table_come_by_size() -> None:
    rows = [row(bytes=8), row(bytes=4, collectives="nccl"), row(bytes=4), row(operation="broadcast"), row(bytes=2**20)]
    assert [[each.bytes for each in group] for group in text.grouped(rows)] == [[4, 8, 2**20], [4], [1024]]


def test_a_file_is_read_and_what_is_none_is_refused(tmp_path: Path) -> None:
    path = tmp_path / COLLECTIVES_JSON
    found = measured(row(), FAILED)
    path.write_bytes(msgspec.json.encode(found))
    assert read(path) == found
    for content, words in (
        (b'{"version": 2, "rows": []}', "version 2, and this layerbench reads version 1"),
        (b'{"rows": []}', "damaged"),
        (b"", "damaged"),
        (b'{"version": 1, "rows": [{"operation": "sum"}]}', "damaged"),
    ):
        path.write_bytes(content)
        with pytest.raises(StoreError, match=words):
            read(path)
    with pytest.raises(StoreError, match="cannot be read"):
        read(tmp_path / "missing")


def test_earlier_results_and_files_are_not_replaced(tmp_path: Path) -> None:
    (tmp_path / COLLECTIVES_JSON).write_text("{}")
    (tmp_path / "file").write_text("")
    for output, words in ((tmp_path, "already"), (tmp_path / "file", "is a file"), ("", "empty")):
        with pytest.raises(UsageError, match=words), write.output_folder(str(output)):
            pass
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / MANIFEST).write_text("{}")
    with (
        pytest.raises(UsageError, match="among whose files a benchmark would be"),
        write.output_folder(str(tmp_path / "run")),
    ):
        pass
    with pytest.raises(StoreError, match="cannot be made"), write.output_folder(str(tmp_path / "file" / "below")):
        pass
