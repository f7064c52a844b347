"""Hardware threads are told from cores."""

from __future__ import annotations

from pathlib import Path

from layerbench.topology import one_of_each_core


def machine(root: Path, siblings: dict[int, str]) -> Path:
    for processor, text in siblings.items():
        folder = root / f"cpu{processor}" / "topology"
        folder.mkdir(parents=True)
        (folder / "thread_siblings_list").write_text(text + "\n")
    return root


def test_the_second_thread_of_a_core_is_left_out(tmp_path: Path) -> None:
    neighbours = machine(tmp_path / "a", {0: "0-1", 1: "0-1", 2: "2-3", 3: "2-3"})
    assert one_of_each_core(range(4), neighbours) == [0, 2]
    far = machine(tmp_path / "b", {0: "0,2", 1: "1,3", 2: "0,2", 3: "1,3"})
    assert one_of_each_core(range(4), far) == [0, 1]


def test_a_core_whose_first_thread_is_not_ours_still_counts(tmp_path: Path) -> None:
    assert one_of_each_core([1, 3], machine(tmp_path, {1: "0-1", 3: "2-3"})) == [1, 3]


def test_without_topology_every_processor_is_a_core(tmp_path: Path) -> None:
    assert one_of_each_core([3, 1], tmp_path) == [1, 3]
