"""What is asked for, and what is refused before anything is started."""

from __future__ import annotations

from typing import Any

import pytest

from layerbench.allocation import Place
from layerbench.collective_bench import question as questions
from layerbench.collective_bench.question import Question
from layerbench.errors import UnavailableError, UsageError

GIVEN: dict[str, Any] = {
    "op": "all-reduce", "sizes": "4..64", "nodes": "2", "dtype": "fp32", "ranks_per_node": 1, "threads_per_rank": None,
    "kernels": "numpy", "collectives": "auto", "rel_error": 0.01, "max_time": 0.5, "oversubscribe": False,
    "launcher": "auto", "hosts": "", "launcher_args": "", "timeout": 120.0,
}  # fmt: skip


@pytest.fixture
def four_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(questions.allocation, "choose", lambda *_: Place("mpiexec", cores=4))


def asked(**changes: Any) -> Question:
    return questions.asked(**(GIVEN | changes))


@pytest.mark.usefixtures("four_cores")
def test_operations_come_in_one_order_each_once() -> None:
    assert asked(op="broadcast,all-reduce, broadcast").task.operations == ["all_reduce", "broadcast"]
    assert len(asked(op="all").task.operations) == len(asked(op=" all,all").task.operations) == 5


@pytest.mark.usefixtures("four_cores")
def test_counts_are_measured_and_a_rank_alone_is_left_out() -> None:
    question = asked(nodes="1,2,4")
    assert [(count.nodes, count.placement) for count in question.counts] == [(2, "measured"), (4, "measured")]
    assert question.notes == ("1 rank has nobody to exchange with: --nodes 1 is left out",)
    assert question.options.threads_per_rank == 1
    assert [count.ranks for count in asked(nodes="1", ranks_per_node=2).counts] == [2]


@pytest.mark.usefixtures("four_cores")
def test_memory_of_the_host_is_exchanged_by_mpi_however_that_is_named() -> None:
    for named in ("auto", "mpi", "auto,mpi"):
        assert asked(collectives=named).task.methods == ["mpi"]


@pytest.mark.usefixtures("four_cores")
def test_more_ranks_than_cores_run_only_if_asked_to() -> None:
    with pytest.raises(UsageError, match=r"--nodes 8: 8 ranks do not fit 4 cores, 2 to a rank, and .* --oversub"):
        asked(nodes="2,8")
    with pytest.raises(UsageError, match="--nodes 4: 4 ranks do not fit 4 cores, 2 to a rank"):
        asked(nodes="4", threads_per_rank=2)
    (crowded,) = asked(nodes="8", oversubscribe=True).counts
    assert crowded.oversubscribed


def test_more_nodes_than_there_are_hosts_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(questions.allocation, "choose", lambda *_: Place("mpiexec", hosts=("a", "b"), cores=4))
    with pytest.raises(UsageError, match=r"--nodes 3: there are 2 nodes \(a, b\), and .* --hosts, or give at most 2"):
        asked(nodes="3")


@pytest.mark.parametrize(
    ("place", "words"),
    [
        (
            Place("mpiexec", hosts=("nohost",), cores=4),
            r"there is 1 node \(nohost\), .*; name more with --hosts, or give",
        ),
        (Place("srun", allocated=1, cores=4), "there is 1 node, .*; give --nodes 1 with --ranks-per-node 2 or more"),
        (Place("srun", allocated=3, cores=4), "there are 3 nodes, .*; give at most 3"),
        (Place("mpiexec", hosts=tuple(f"n{i}" for i in range(20)), cores=4), r"\(n0, .*, n6, and 13 more\)"),
    ],
    ids=["one host", "one node", "nodes", "many hosts"],
)
def test_too_few_nodes_are_named_with_what_to_do(place: Place, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(questions.allocation, "choose", lambda *_: place)
    with pytest.raises(UsageError, match=words):
        asked(nodes="24")


@pytest.mark.usefixtures("four_cores")
def test_sizes_that_are_rounded_are_told() -> None:
    (told,) = asked(sizes="3,5,8").notes
    assert told == "Sizes are rounded up to whole elements of 4 B. all-reduce: 3 B became 4 B, 5 B became 8 B."
    assert "elements of 8 B" in asked(sizes="4..64", dtype="fp64").notes[0]
    assert asked(sizes="4..64").notes == ()


@pytest.mark.usefixtures("four_cores")
def test_no_launcher_at_all_is_wrong_use() -> None:
    with pytest.raises(UsageError, match="--launcher none: an exchange needs several ranks and a launcher"):
        asked(launcher="none")


def test_where_no_launcher_is_used_nothing_can_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(questions.allocation, "choose", lambda *_: Place("none", cores=4))
    with pytest.raises(UnavailableError, match="MPI launcher"):
        asked()


@pytest.mark.usefixtures("four_cores")
@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"op": "allreduce"}, "--op 'allreduce': expected all-reduce, all-gather, .* all, .*did you mean 'all-reduce'"),
        ({"op": ""}, "--op ''"),
        ({"op": "all,broadcast"}, "--op 'all,broadcast': all stands alone"),
        ({"collectives": "nccl"}, "--collectives nccl is for kernels of a GPU"),
        ({"collectives": "gloo"}, "--collectives 'gloo': expected auto, nccl, mpi, staged"),
        ({"sizes": "0"}, "--sizes"),
        ({"nodes": "1"}, "--nodes 1: one rank has nobody"),
        ({"nodes": "0"}, "--nodes"),
        ({"dtype": "int8"}, "--dtype int8: expected .*fp64, fp32, fp16, bf16"),
        ({"dtype": "bf16", "op": "all-reduce,broadcast"}, "--dtype bf16: MPI cannot add it, so all-reduce cannot"),
        ({"kernels": "nothing"}, "--kernels nothing"),
        ({"max_time": 0.0}, "--max-time"),
        ({"rel_error": 2.0}, "--rel-error"),
        ({"ranks_per_node": 0}, "--ranks-per-node"),
    ],
    ids=str,
)
def test_what_makes_no_sense_is_refused_by_its_option(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words) as found:
        asked(**changes)
    assert "\n" not in str(found.value)


@pytest.mark.usefixtures("four_cores")
def test_halves_are_moved() -> None:
    assert asked(dtype="fp16", op="broadcast,all-to-all,all-gather").options.dtype == "fp16"
