"""Which ranks a calibration starts, and what is refused before anything is measured."""

from __future__ import annotations

from typing import Any

import pytest

from layerbench.calibrate import plan as planning
from layerbench.calibrate.plan import Plan, plan, request
from layerbench.errors import UnavailableError, UsageError
from layerbench.launch import World
from tests.values import options


def planned(*, ranks: int | None = None, cores: int = 8, **changes: Any) -> Plan:
    return plan(options(**changes), [], ranks, cores)


def test_without_hosts_every_rank_that_fits_stands_for_a_node() -> None:
    found = planned(threads_per_rank=2)
    assert found.between == World(4, 4)
    assert found.within is None
    assert found.sharing == 4


def test_with_hosts_one_rank_on_each_exchanges_and_those_of_a_node_apart() -> None:
    found = planned(hosts=["a", "b", "c"], ranks_per_node=4)
    assert found.between == World(3, 1, ("a", "b", "c"))
    assert found.within == World(4, 4, ("a",))
    assert found.sharing == 4


def test_fewer_ranks_may_be_asked_for() -> None:
    assert planned(ranks=3).between == World(3, 3)
    assert planned(ranks=2, hosts=["a", "b", "c"]).between == World(2, 1, ("a", "b"))


def test_more_ranks_than_cores_need_oversubscribe() -> None:
    found = planned(ranks=9, oversubscribe=True)
    assert found.between == World(9, 9)
    assert found.crowded


@pytest.mark.parametrize(
    ("asked", "crowded"),
    [
        ({}, False),
        ({"ranks": 4, "threads_per_rank": 2}, False),
        ({"ranks": 5, "threads_per_rank": 2, "oversubscribe": True}, True),
        ({"hosts": ["a", "b"], "ranks_per_node": 8}, False),
        ({"hosts": ["a", "b"], "ranks_per_node": 9, "oversubscribe": True}, True),
        ({"hosts": ["a", "b"], "threads_per_rank": 9, "oversubscribe": True}, True),
    ],
)
def test_more_threads_than_cores_are_known(asked: dict[str, Any], crowded: bool) -> None:
    assert planned(**asked).crowded == crowded


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ({"launcher": "none"}, "no MPI launcher"),
        ({"cores": 1}, "one rank of 1 thread fit 1 cores"),
        ({"threads_per_rank": 5}, "one rank of 5 threads fit 8 cores"),
        ({"ranks": 1}, "one rank was asked for"),
        ({"hosts": ["a"]}, "one host was named"),
    ],
)
def test_where_two_ranks_cannot_be_had_there_is_no_network_and_the_plan_says_why(
    asked: dict[str, Any], why: str
) -> None:
    found = planned(**asked)
    assert found.between is None
    assert why in found.no_network


def test_the_ranks_of_one_host_are_measured_without_a_second_host() -> None:
    found = planned(hosts=["a"], ranks_per_node=2)
    assert found.between is None
    assert found.within == World(2, 2, ("a",))


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"threads_per_rank": 9}, ["--threads-per-rank 9", "8 cores", "--oversubscribe"]),
        ({"ranks_per_node": 2}, ["--ranks-per-node 2", "--hosts"]),
        ({"ranks_per_node": 9, "hosts": ["a"]}, ["--ranks-per-node 9", "at most 8"]),
        ({"ranks": 9}, ["--ranks 9", "8 ranks of 1 thread fit 8 cores", "--oversubscribe"]),
        ({"ranks": 3, "hosts": ["a", "b"]}, ["--ranks 3", "2 hosts", "--hosts"]),
        ({"ranks": 3, "hosts": ["a", "b"], "oversubscribe": True}, ["--ranks 3", "2 hosts"]),
    ],
)
def test_more_than_there_is_is_refused_in_one_line(asked: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(UsageError) as caught:
        planned(**asked)
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


ASKED: dict[str, Any] = {
    "dtypes": None,
    "kernels": "numpy",
    "threads_per_rank": 1,
    "ranks": None,
    "ranks_per_node": 1,
    "oversubscribe": False,
    "max_time": 0.3,
    "launcher": "none",
    "hosts": "",
    "launcher_args": "",
    "timeout": 120.0,
    "seed": 0,
}


def test_what_was_asked_for_is_what_the_ranks_are_told() -> None:
    found = request(**{**ASKED, "dtypes": "fp64, fp32,fp64", "seed": 7, "max_time": 0.1})
    assert found.asked == ("fp64", "fp32")
    assert (found.options.seed, found.options.max_time, found.options.kernels) == (7, 0.1, "numpy")
    assert request(**ASKED).asked == ()


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"threads_per_rank": 0}, ["--threads-per-rank", "1", "0"]),
        ({"ranks": 0}, ["--ranks", "not 0"]),
        ({"ranks_per_node": -1}, ["--ranks-per-node", "-1"]),
        ({"max_time": float("nan")}, ["--max-time", "nan"]),
        ({"timeout": 0.0}, ["--timeout", "not 0"]),
        ({"seed": -1}, ["--seed", "-1"]),
        ({"dtypes": "fp32,fp46"}, ["--dtype", "fp64", "did you mean"]),
        ({"dtypes": ""}, ["--dtype", "fp64"]),
        ({"kernels": "numpi"}, ["--kernels numpi", "numpy"]),
        ({"hosts": "-a"}, ["--hosts", "-a"]),
        ({"launcher_args": "'"}, ["--launcher-args"]),
    ],
)
def test_a_value_that_makes_no_sense_is_refused_in_one_line(changed: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(UsageError) as caught:
        request(**{**ASKED, **changed})
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


def test_dtypes_that_no_kernel_can_do_are_refused_and_one_among_others_is_not() -> None:
    with pytest.raises(UnavailableError, match="int8"):
        request(**{**ASKED, "dtypes": "int8,bf16"})
    assert request(**{**ASKED, "dtypes": "int8,fp64"}).asked == ("int8", "fp64")
    assert planning.DTYPES[0] == "fp64", "without any asked for, the first that a kernel can do is enough"
