"""Which device each rank takes: one of those it sees, and one that no other rank has."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

from layerbench.errors import LaunchError


def assign(machines: Sequence[str], seen: Sequence[Sequence[str]], *, oversubscribe: bool) -> list[str]:
    """A device for every rank.

    Ranks of one machine that see the same devices are dealt them in rank order, those that a launcher has bound to
    devices of their own keep them, and where what they see overlaps each gets one that no other has, if that can be.

    Parameters
    ----------
    machines
        The machine of each rank, as :attr:`layerbench.pinning.Seat.machine` tells it.
    seen
        The identifiers of the devices that each rank sees, in the order in which it would take them. A device has one
        identifier, whichever rank of its machine looks.
    oversubscribe
        Whether ranks may share devices: then they do so as evenly as can be, round robin.

    Returns
    -------
    list of str
        The identifier of each rank's device.

    Raises
    ------
    LaunchError
        If a rank sees no device, or, unless ``oversubscribe``, if there are fewer than ranks that want one.
    """
    for rank, devices in enumerate(seen):
        if not devices:
            raise LaunchError(
                f"rank {rank} sees no device, and every rank needs one: look at CUDA_VISIBLE_DEVICES, and at what "
                "the launcher gives each rank"
            )
    assigned: dict[int, str] = {}
    for machine in dict.fromkeys(machines):
        wanted = {
            rank: tuple(dict.fromkeys(devices))
            for rank, (there, devices) in enumerate(zip(machines, seen, strict=True))
            if there == machine
        }
        for share in itertools.count(1):
            dealt = _deal(wanted, share)
            if isinstance(dealt, dict):
                assigned |= dealt
                break
            if not oversubscribe:
                raise LaunchError(_too_few(wanted, dealt))
    return [assigned[rank] for rank in range(len(seen))]


def _deal(wanted: Mapping[int, Sequence[str]], share: int) -> dict[int, str] | set[str]:
    """A device for every rank, each shared by ``share`` ranks at most: a bipartite matching by augmenting paths.

    Returns
    -------
    dict or set of str
        Each rank's device; or, if there is none, devices that are all taken and that more ranks depend on than they
        can serve (Hall's theorem).
    """
    dealt: dict[int, str] = {}
    for rank in wanted:
        # Breadth first, so that ranks that came before are moved only where they must be.
        found_by: dict[str, int] = {}
        waiting = [rank]
        for asking in waiting:
            new = [device for device in wanted[asking] if device not in found_by]
            found_by |= dict.fromkeys(new, asking)
            users = {device: [other for other, taken in dealt.items() if taken == device] for device in new}
            spare = min(new, key=lambda device: len(users[device]), default=None)
            if spare is not None and len(users[spare]) < share:
                _move_along(dealt, found_by, rank, spare)
                break
            waiting += [other for device in new for other in users[device]]
        else:
            return set(found_by)
    return dealt


def _move_along(dealt: dict[int, str], found_by: Mapping[str, int], rank: int, spare: str) -> None:
    """Give the spare device to the rank that found it, what that one had to the one that found that, up to ``rank``."""
    device = spare
    while (asking := found_by[device]) != rank:
        given, dealt[asking] = dealt[asking], device
        device = given
    dealt[rank] = device


def _too_few(wanted: Mapping[int, Sequence[str]], taken: set[str]) -> str:
    """Why ranks cannot have a device each, of the devices that are short."""
    ranks = [rank for rank, devices in wanted.items() if taken.issuperset(devices)]
    others = {device for devices in wanted.values() for device in devices} - taken
    beyond = ""
    if others:
        beyond = f" (ranks {', '.join(map(str, ranks))}; they do not see its other {len(others)})"
    remedy = "use fewer ranks, more hosts, or --oversubscribe"
    if others:
        remedy = "let them see more (CUDA_VISIBLE_DEVICES, the launcher's binding), " + remedy
    noun = "device" if len(taken) == 1 else "devices"
    return (
        f"{len(ranks)} ranks share the {len(taken)} {noun} of one machine{beyond}: that would time oversubscription; "
        f"{remedy}"
    )
