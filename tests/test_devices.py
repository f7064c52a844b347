"""Every rank has a device that it sees and no other rank has, if that can be."""

from __future__ import annotations

import itertools
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from layerbench.devices import assign
from layerbench.errors import LaunchError


def on_one(*seen: str, oversubscribe: bool = False) -> list[str]:
    """Devices of ranks of one machine; what each sees is a word, a device a letter."""
    return assign(["a"] * len(seen), seen, oversubscribe=oversubscribe)


def test_ranks_that_see_the_same_are_dealt_it_in_rank_order() -> None:
    assert on_one("wxyz", "wxyz", "wxyz") == ["w", "x", "y"]
    assert on_one("zyx", "zyx", "zyx") == ["z", "y", "x"]


def test_ranks_with_devices_of_their_own_keep_them() -> None:
    assert on_one("y", "x", "w") == ["y", "x", "w"]
    assert on_one("yz", "wx") == ["y", "w"]


def test_a_launcher_that_turns_the_order_gives_each_rank_its_first() -> None:
    assert on_one("wxy", "xyw", "ywx") == ["w", "x", "y"]


def test_a_rank_that_could_go_elsewhere_makes_room() -> None:
    assert on_one("wx", "w") == ["x", "w"]
    assert on_one("wx", "xy", "w", "yz") == ["x", "y", "w", "z"]
    # Every rank before the last must move.
    assert on_one("wx", "xy", "yz", "w") == ["x", "y", "z", "w"]


def test_machines_have_devices_of_their_own_even_if_they_are_called_alike() -> None:
    assert assign(["a", "b", "a", "b"], ["wx"] * 4, oversubscribe=False) == ["w", "w", "x", "x"]


def test_no_ranks_have_no_devices() -> None:
    assert assign([], [], oversubscribe=False) == []


def test_more_ranks_than_devices_are_refused() -> None:
    with pytest.raises(LaunchError) as caught:
        on_one("wx", "wx", "wx", "wx", "wx")
    assert str(caught.value) == (
        "5 ranks share the 2 devices of one machine: that would time oversubscription; "
        "use fewer ranks, more hosts, or --oversubscribe"
    )


def test_one_crowded_machine_is_refused_beside_a_roomy_one() -> None:
    with pytest.raises(LaunchError, match=r"^2 ranks share the 1 device of one machine: "):
        assign(["a", "b", "b"], ["wxyz", "w", "w"], oversubscribe=False)


def test_ranks_that_see_too_little_are_told_apart_from_the_others() -> None:
    with pytest.raises(LaunchError) as caught:
        on_one("w", "wxyz", "x", "wx", "w")
    assert str(caught.value) == (
        "4 ranks share the 2 devices of one machine (ranks 0, 2, 3, 4; they do not see its other 2): that would time "
        "oversubscription; let them see more (CUDA_VISIBLE_DEVICES, the launcher's binding), use fewer ranks, more "
        "hosts, or --oversubscribe"
    )


@pytest.mark.parametrize("oversubscribe", [False, True])
def test_a_rank_that_sees_none_is_named(oversubscribe: bool) -> None:
    with pytest.raises(LaunchError, match=r"^rank 1 sees no device.*CUDA_VISIBLE_DEVICES"):
        on_one("w", "", "x", oversubscribe=oversubscribe)


def test_oversubscribed_devices_are_dealt_round_robin() -> None:
    assert on_one("wx", "wx", "wx", "wx", "wx", oversubscribe=True) == ["w", "x", "w", "x", "w"]
    assert on_one("w", "w", "w", oversubscribe=True) == ["w", "w", "w"]
    assert on_one("w", "w", "wx", oversubscribe=True) == ["w", "w", "x"]


@st.composite
def worlds(draw: st.DrawFn) -> tuple[list[str], list[list[str]]]:
    """Ranks of up to two machines that see any of up to five devices, in any order."""
    ranks = draw(st.integers(1, 6))
    machines = draw(st.lists(st.sampled_from("ab"), min_size=ranks, max_size=ranks))
    some = st.lists(st.sampled_from("vwxyz"), min_size=1, max_size=3, unique=True)
    return machines, draw(st.lists(some, min_size=ranks, max_size=ranks))


def least_share(machines: list[str], seen: list[list[str]]) -> int:
    """By how many ranks the device most shared is shared, at best: all ways are tried."""
    ways = itertools.product(*seen)
    return min(max(Counter(zip(machines, way, strict=True)).values()) for way in ways)


@given(worlds())
def test_devices_are_shared_only_if_they_must_be_and_then_as_little_as_can_be(
    world: tuple[list[str], list[list[str]]],
) -> None:
    machines, seen = world
    shared = assign(machines, seen, oversubscribe=True)
    assert all(device in devices for device, devices in zip(shared, seen, strict=True))
    least = least_share(machines, seen)
    try:
        alone = assign(machines, seen, oversubscribe=False)
    except LaunchError:
        assert least > 1
    else:
        assert least == 1
        assert alone == shared
    for machine in set(machines):
        of_it = [rank for rank, there in enumerate(machines) if there == machine]
        most = max(Counter(shared[rank] for rank in of_it).values())
        assert most == least_share([machine] * len(of_it), [seen[rank] for rank in of_it])


@given(worlds())
def test_ranks_that_all_have_their_first_choice_get_it(world: tuple[list[str], list[list[str]]]) -> None:
    machines, seen = world
    first = [devices[0] for devices in seen]
    if max(Counter(zip(machines, first, strict=True)).values()) == 1:
        assert assign(machines, seen, oversubscribe=False) == first
