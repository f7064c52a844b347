"""What may be asked for, and what is made of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from layerbench import plan
from layerbench.allocation import Place
from layerbench.errors import UsageError
from layerbench.overlap import question as questions
from layerbench.overlap.question import Question

USUAL: dict[str, Any] = {
    "suite": "alexnet",
    "nodes": "1,2",
    "modes": "implicit,explicit",
    "source": "synthetic",
    "depth": 3,
    "bucket": 25 * 2**20,
    "ratios": "default",
    "workers": None,
    "spare_cores": None,
    "batch": None,
    "scaling": "strong",
    "dtype": "fp32",
    "kernels": "auto",
    "threads_per_rank": None,
    "ranks_per_node": 1,
    "filter_": "",
    "rel_error": 0.01,
    "max_time": 20.0,
    "oversubscribe": False,
    "network": "this-machine",
    "launcher": "none",
    "hosts": "",
    "launcher_args": "",
    "timeout": 120.0,
    "seed": 0,
}


def asked(**changes: Any) -> Question:
    return questions.asked(**(USUAL | changes))


def with_cores(monkeypatch: pytest.MonkeyPatch, cores: int) -> None:
    monkeypatch.setattr("layerbench.allocation.choose", lambda launcher, hosts: Place("none", cores=cores))


def test_one_core_of_each_rank_is_spared_where_there_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    with_cores(monkeypatch, 8)
    found = asked(nodes="1,2")
    assert (found.options.threads_per_rank, found.task.spare_cores, found.task.workers) == (3, 1, 1)
    assert found.placed.threads_per_rank == 4


def test_counts_of_more_ranks_than_devices_are_emulated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("layerbench.allocation.choose", lambda launcher, hosts: Place("mpiexec", cores=16))
    monkeypatch.setenv("DEVICES", "2")
    found = asked(nodes="1,2,4", filter_="fc*", kernels=str(Path(__file__).parents[1] / "on_devices.py"))
    placements = {count.nodes: count.placement for count in plan.counts(found.placed, found.cores)}
    assert placements == {1: "measured", 2: "measured", 4: "emulated"}


def test_on_two_cores_one_computes_and_one_is_spared(monkeypatch: pytest.MonkeyPatch) -> None:
    with_cores(monkeypatch, 2)
    found = asked(nodes="1,2,4,8")
    assert (found.options.threads_per_rank, found.task.spare_cores) == (1, 1)


def test_on_one_core_none_is_spared(monkeypatch: pytest.MonkeyPatch) -> None:
    with_cores(monkeypatch, 1)
    found = asked(nodes="1")
    assert (found.options.threads_per_rank, found.task.spare_cores, found.task.workers) == (1, 0, 1)


def test_threads_that_are_asked_for_are_those_that_compute(monkeypatch: pytest.MonkeyPatch) -> None:
    with_cores(monkeypatch, 8)
    found = asked(nodes="1", threads_per_rank=4, spare_cores=2)
    assert (found.options.threads_per_rank, found.task.spare_cores, found.placed.threads_per_rank) == (4, 2, 6)


def test_modes_are_told_in_their_order_each_once() -> None:
    assert asked(modes=" explicit , implicit,explicit").task.modes == ["implicit", "explicit"]
    assert asked(modes="explicit").task.modes == ["explicit"]
    assert asked(modes="explicit", ratios="1,2").task.ratios == []


def test_ratios_are_sorted_each_once() -> None:
    assert asked(ratios="2,.5, 1.0,2").task.ratios == [0.5, 1.0, 2.0]
    assert asked(ratios="none").task.ratios == []
    assert asked(ratios="default").task.ratios == sorted(questions.RATIOS)


def test_a_folder_is_told_by_its_whole_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (4, 4)).save(tmp_path / "photos" / "one.png")
    monkeypatch.chdir(tmp_path)
    assert asked(source="photos").task.source == str(tmp_path / "photos")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"modes": "both"}, "--mode 'both': expected implicit, explicit or both with a comma"),
        ({"modes": "explict"}, "did you mean 'explicit'?"),
        ({"modes": ""}, "--mode '': expected"),
        ({"source": "nowhere"}, "there is no such folder; expected synthetic or a folder of data"),
        ({"source": "no\nwhere"}, "there is no such folder"),
        ({"source": "no\0where"}, "there is no such folder"),
        ({"depth": 0}, "--depth must be a whole number from 1 to 1024, not 0"),
        ({"workers": 0}, "--workers must be a whole number from 1"),
        ({"bucket": 0}, "--bucket must be a whole number from 1"),
        ({"spare_cores": -1}, "--spare-cores must be a whole number of at least 0, not -1"),
        ({"spare_cores": 10**6}, "of which one must compute"),
        ({"threads_per_rank": 10**6}, "--threads-per-rank 1000000 with --spare-cores"),
        ({"ratios": "1,two"}, "--ratios '1,two': expected numbers from 0.01 to 100"),
        ({"ratios": "0"}, "expected numbers from 0.01 to 100"),
        ({"ratios": "nan"}, "expected numbers from 0.01 to 100"),
        ({"batch": 0}, "--batch must be a whole number"),
        ({"nodes": "1,x"}, "--nodes '1,x'"),
        ({"suite": "alexnett"}, "no such suite"),
        ({"filter_": "none*"}, "matches no layer"),
        ({"dtype": "int4"}, "--dtype int4: unknown"),
        ({"rel_error": 2.0}, "--rel-error must lie between 0 and 1"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(UsageError) as caught:
        asked(**changes)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_folder_of_nothing_that_can_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="has no images") as caught:
        asked(source=str(tmp_path))
    assert "\n" not in str(caught.value)
