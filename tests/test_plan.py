"""From options to launches: which counts are measured, and what is refused before anything starts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from layerbench import plan
from layerbench.errors import UnavailableError, UsageError
from layerbench.launch import World
from tests.values import options


@pytest.mark.parametrize(
    ("text", "counts"),
    [("1,2,4,8", [1, 2, 4, 8]), ("8,1,2", [1, 2, 8]), (" 2 , 2,1", [1, 2]), ("007", [7]), ("999999999", [999_999_999])],
)
def test_node_counts_are_sorted_and_each_once(text: str, counts: list[int]) -> None:
    assert plan.parse_nodes(text) == counts


@pytest.mark.parametrize(
    ("text", "entry"),
    [
        ("0", "'0'"),
        ("1,,2", "''"),
        ("a", "'a'"),
        ("1,2x", "'2x'"),
        ("-1", "'-1'"),
        ("1.5", "'1.5'"),
        ("", "''"),
        ("1 2", "'1 2'"),
        ("1,2,", "''"),
        ("+1", "'+1'"),
        ("1e3", "'1e3'"),
        ("٣", "'٣'"),  # a digit, but no ASCII one
        ("1" * 5000, "11111"),  # longer than Python converts
    ],
)
def test_what_is_no_node_count_is_named(text: str, entry: str) -> None:
    with pytest.raises(UsageError) as caught:
        plan.parse_nodes(text)
    said = str(caught.value)
    assert said.startswith("--nodes ")
    assert f"{entry}" in said
    assert "whole number of at least 1" in said
    assert "\n" not in said


@given(st.text(alphabet="0123456789, -+.x\n\t", max_size=12) | st.text(max_size=8))
def test_node_counts_are_read_or_refused_in_one_line(text: str) -> None:
    said = ""
    counts: list[int] = []
    try:
        counts = plan.parse_nodes(text)
    except UsageError as error:
        said = str(error)
    if counts:
        assert counts == sorted({int(entry) for entry in text.split(",")})
        assert counts[0] >= 1
    else:
        assert len(said.splitlines()) == 1


@pytest.mark.parametrize(
    ("nodes", "ranks_per_node", "cores", "hosts", "threads"),
    [
        ([1, 2, 4, 8], 1, 2, 0, 1),  # two ranks fit, one core each
        ([1, 2, 4, 8], 1, 8, 0, 1),
        ([1, 2, 4], 1, 16, 0, 4),
        ([1], 1, 16, 0, 16),
        ([1, 2], 2, 16, 0, 4),
        ([1, 3], 1, 8, 0, 2),
        ([16], 1, 8, 0, 1),  # none fits: all will be emulated
        ([1, 2, 4], 2, 8, 4, 4),  # several hosts: cores of one over its ranks
        ([1, 2, 4], 16, 8, 4, 1),
    ],
)
def test_default_threads(nodes: list[int], ranks_per_node: int, cores: int, hosts: int, threads: int) -> None:
    assert plan.default_threads(nodes, ranks_per_node, cores, hosts) == threads


def test_default_threads_leave_room_to_measure_the_network_of_emulated_counts() -> None:
    threads = plan.default_threads([1, 64], 1, 8, 0)
    assert threads == 4
    assert plan.calibration_world(options(nodes=[1, 64], threads_per_rank=threads), 8) == World(2, 2)


@given(
    nodes=st.lists(st.integers(1, 64), min_size=1, max_size=6),
    ranks_per_node=st.integers(1, 8),
    cores=st.integers(1, 128),
)
def test_default_threads_squeeze_out_no_count_that_fits(nodes: list[int], ranks_per_node: int, cores: int) -> None:
    threads = plan.default_threads(nodes, ranks_per_node, cores, 0)
    assert 1 <= threads <= cores
    asked = options(nodes=sorted(set(nodes)), ranks_per_node=ranks_per_node, threads_per_rank=threads)
    for count in plan.counts(asked, cores):
        assert (count.placement == "measured") == (count.ranks <= cores)


@given(
    nodes=st.lists(st.integers(1, 64), min_size=1, max_size=6, unique=True),
    ranks_per_node=st.integers(1, 8),
    cores=st.integers(1, 64),
    threads=st.integers(1, 64),
)
def test_counts_beyond_the_slots_are_emulated_and_no_others(
    nodes: list[int], ranks_per_node: int, cores: int, threads: int
) -> None:
    threads = min(threads, cores)
    planned = plan.counts(options(nodes=nodes, ranks_per_node=ranks_per_node, threads_per_rank=threads), cores)
    assert [count.nodes for count in planned] == nodes
    for count in planned:
        assert count.ranks == count.nodes * ranks_per_node
        if count.ranks * threads <= cores:
            assert (count.placement, count.world) == ("measured", World(count.ranks, ranks_per_node))
        else:
            assert (count.placement, count.world) == ("emulated", World(1, 1))
    assert plan.needs_network(planned) == any(n * ranks_per_node * threads > cores for n in nodes)


def test_oversubscribed_counts_are_measured() -> None:
    planned = plan.counts(options(nodes=[1, 2, 4], threads_per_rank=8, oversubscribe=True), 2)
    assert [(count.placement, count.world.ranks) for count in planned] == [
        ("measured", 1),
        ("measured", 2),
        ("measured", 4),
    ]
    assert not plan.needs_network(planned)


def test_without_a_launcher_one_rank_is_measured_and_more_are_emulated() -> None:
    planned = plan.counts(options(nodes=[1, 2], launcher="none", oversubscribe=True), 8)
    assert [count.placement for count in planned] == ["measured", "emulated"]


def test_hosts_are_the_slots_where_they_are_named() -> None:
    planned = plan.counts(options(nodes=[1, 2, 4], ranks_per_node=2, hosts=["a", "b"]), 2)
    assert [(count.placement, count.world) for count in planned] == [
        ("measured", World(2, 2, ("a",))),
        ("measured", World(4, 2, ("a", "b"))),
        ("emulated", World(1, 1, ("a",))),
    ]


def test_impossible_counts_are_refused() -> None:
    with pytest.raises(UsageError, match="--nodes 1000001: more than 1000000 ranks"):
        plan.counts(options(nodes=[1, 1_000_001]), 2)
    with pytest.raises(UsageError, match="--threads-per-rank 3: this machine lets layerbench use 2 cores"):
        plan.counts(options(threads_per_rank=3), 2)


def test_the_network_is_measured_between_two_hosts_or_on_this_one() -> None:
    assert plan.calibration_world(options(hosts=["a", "b", "c"]), 1) == World(2, 1, ("a", "b"))
    assert plan.calibration_world(options(hosts=["a"]), 1) == World(2, 2, ("a",))
    assert plan.calibration_world(options(), 2) == World(2, 2)
    assert plan.calibration_world(options(threads_per_rank=2, oversubscribe=True), 2) == World(2, 2)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"launcher": "none"}, "no MPI launcher is used here"),
        ({"threads_per_rank": 2}, "two ranks of 2 threads do not fit 2 cores"),
    ],
)
def test_where_two_ranks_cannot_be_had_a_network_must_be_named(changes: dict[str, object], words: str) -> None:
    with pytest.raises(UnavailableError) as caught:
        plan.calibration_world(options(**changes), 2)
    assert words in str(caught.value)
    assert "--network NAME" in str(caught.value)
