"""From what was asked for to what will be launched: slots, threads, and which counts are measured or emulated."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from layerbench.allocation import Place
from layerbench.errors import UnavailableError, UsageError
from layerbench.launch import MEND_MPI, World
from layerbench.network import HERE
from layerbench.records import Options, Placement

MAX_RANKS = 1_000_000
"""More ranks than any machine has: a typing mistake, said before a list of that length is made."""


@dataclass(frozen=True)
class Count:
    """One node count of a sweep: how many ranks it is about, and which of them run, on enough cores or not."""

    nodes: int
    ranks: int
    placement: Placement
    world: World
    oversubscribed: bool = False

    @property
    def words(self) -> str:
        """``1 node``, ``2 nodes``."""
        return f"{self.nodes} {'node' if self.nodes == 1 else 'nodes'}"


def parse_nodes(text: str) -> list[int]:
    """Node counts of ``--nodes``: whole numbers of at least 1 separated by commas, sorted, each once.

    Raises
    ------
    UsageError
        Naming the first entry that is none.
    """
    counts = set()
    for entry in text.split(","):
        if not re.fullmatch(r"\s*[0-9]{1,9}\s*", entry) or int(entry) < 1:
            raise UsageError(
                f"--nodes {text!r}: {entry.strip()!r} is not a whole number of at least 1 and at most "
                "999999999; give counts such as 1,2,4,8"
            )
        counts.add(int(entry))
    return sorted(counts)


def default_threads(nodes: Sequence[int], ranks_per_node: int, cores: int, machines: int) -> int:
    """Threads of each rank if none were asked for: equal at every count, and no count that fits is squeezed out.

    Cores over the ranks of the largest count that fits one rank to a core; with a machine for every node, cores over
    the ranks of one. Where a count does not fit, two ranks do: the network it is emulated with is measured between
    them.
    """
    ranks_per_node = max(1, ranks_per_node)  # a count of 0 is refused with every other number that is out of range
    if machines:
        return max(1, cores // ranks_per_node)
    fitting = [count * ranks_per_node for count in nodes if count * ranks_per_node <= cores]
    if not fitting:
        return 1
    room = max(fitting) if len(fitting) == len(nodes) else max(2, *fitting)
    return max(1, cores // room)


def room(place: Place, counts: Sequence[int], ranks_per_node: int, threads: int | None) -> tuple[int, int]:
    """Cores of a machine that ranks run on, and threads of each rank, as asked for or of an equal share of them.

    Raises
    ------
    UsageError
        If nothing says how many cores there are.
    """
    if place.cores is None:
        if threads is None:
            raise UsageError(
                f"--threads-per-rank is missing: nothing says how many cores the nodes have that {place.launcher} "
                "starts ranks on"
            )
        return max(1, threads) * max(1, ranks_per_node), threads
    machines = place.allocated or len(place.hosts)
    default = default_threads(counts, ranks_per_node, place.cores, machines)
    return place.cores, default if threads is None else threads


def counts(options: Options, cores: int) -> list[Count]:
    """Every node count with its placement; ``cores`` are those of one machine.

    Raises
    ------
    UsageError
        If there are more ranks than any machine has, or one rank needs more threads than there are cores.
    """
    if max(options.nodes) * options.ranks_per_node > MAX_RANKS:
        raise UsageError(f"--nodes {max(options.nodes)}: more than {MAX_RANKS} ranks are refused as a typing mistake")
    if options.threads_per_rank > cores and not options.oversubscribe:
        where = "a node of this allocation has" if options.allocated else "this machine lets layerbench use"
        raise UsageError(
            f"--threads-per-rank {options.threads_per_rank}: {where} {cores} cores; give at most {cores}, or "
            "--oversubscribe"
        )
    slots = cores // options.threads_per_rank
    if options.devices:
        slots = min(slots, options.devices)

    def count(nodes: int) -> Count:
        ranks = nodes * options.ranks_per_node
        fits = nodes <= options.machines if options.machines else ranks <= slots or options.oversubscribe
        fits = fits and (options.launcher != "none" or ranks == 1)
        if fits:
            world = World(ranks, options.ranks_per_node, tuple(options.hosts[:nodes]))
            here = options.ranks_per_node if options.machines else ranks
            return Count(nodes, ranks, "measured", world, oversubscribed=here > slots)
        return Count(nodes, ranks, "emulated", World(1, 1, tuple(options.hosts[:1])))

    return [count(nodes) for nodes in options.nodes]


def needs_network(planned: Sequence[Count]) -> bool:
    """Whether any count's communication will be computed."""
    return any(count.placement == "emulated" for count in planned)


def calibration_world(options: Options, cores: int) -> World:
    """The two ranks between which the network is measured: on two hosts if there are several, else on this one.

    Raises
    ------
    UnavailableError
        If two real ranks cannot be had here, so that a network must be named.
    """
    instead = f"name the network instead: --network NAME or a .toml file ({HERE} needs two real ranks)"
    if options.launcher == "none":
        raise UnavailableError(
            f"counts of more than one rank are emulated, because no MPI launcher is used here, and {instead}; "
            f"for real ranks use --launcher mpiexec ({MEND_MPI})"
        )
    if options.machines >= 2:
        return World(2, 1, tuple(options.hosts[:2]))
    if options.machines or 2 * options.threads_per_rank <= cores or options.oversubscribe:
        return World(2, 2, tuple(options.hosts))
    raise UnavailableError(
        f"two ranks of {options.threads_per_rank} threads do not fit {cores} cores, so this machine's network cannot "
        f"be measured: use fewer threads, or {instead}"
    )
