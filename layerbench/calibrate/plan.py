"""From what was asked for to which ranks are started."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from layerbench import allocation, launch, option_checks, registry
from layerbench.calibrate.probes import LAYERS
from layerbench.errors import UnavailableError, UsageError
from layerbench.launch import MEND_MPI, World
from layerbench.layers import DTYPES, DType
from layerbench.records import Options
from layerbench.suite_format import did_you_mean, printable

MOST = 2**31 - 1

REL_ERROR = 0.01


@dataclass(frozen=True)
class Plan:
    """Which ranks a calibration starts.

    Attributes
    ----------
    options
        How they measure; ``hosts`` and ``ranks_per_node`` are those that were asked for.
    asked
        The dtypes whose peak was asked for; none stands for all that a kernel can do.
    between, within
        The ranks of nodes, and of one node, that exchange; None where there are none.
    no_network
        Why ``between`` is None.
    sharing
        How many ranks share the memory of one machine.
    crowded
        Whether ranks have fewer cores than threads, so that what they take to exchange shows that as well.
    """

    options: Options
    asked: tuple[DType, ...]
    between: World | None
    within: World | None
    no_network: str
    sharing: int
    crowded: bool = False


def plan(options: Options, asked: Sequence[DType], ranks: int | None, cores: int) -> Plan:
    """Decide which ranks are started.

    Without hosts, every rank that fits this machine stands for a node. With hosts there is one rank on each, and the
    ranks of a node are measured apart on the first.

    Parameters
    ----------
    options
        As of a run, its launcher chosen.
    asked
        Dtypes; none for all.
    ranks
        How many exchange at most; all that there are if None.
    cores
        That this machine lets layerbench use.

    Raises
    ------
    UsageError
        If there are fewer cores or hosts than were asked for.
    """
    threads, hosts, each = options.threads_per_rank, tuple(options.hosts), options.ranks_per_node
    machines, named = options.machines, "hosts" if options.hosts else "nodes"
    if threads > cores and not options.oversubscribe:
        raise UsageError(
            f"--threads-per-rank {threads}: this machine lets layerbench use {cores} cores; give at most {cores}, or "
            "--oversubscribe"
        )
    if each > 1 and not machines:
        raise UsageError(
            f"--ranks-per-node {each} needs --hosts: without them, every rank on this machine stands for a node"
        )
    slots = max(1, cores // threads)
    fitting = f"{_ranks(slots)} of {threads} {'thread' if threads == 1 else 'threads'} fit {cores} cores"
    if each > slots and not options.oversubscribe:
        raise UsageError(f"--ranks-per-node {each}: {fitting}; give at most {slots}, or --oversubscribe")
    there = machines or slots
    if ranks is not None and ranks > there and (machines or not options.oversubscribe):
        of_what = f"one rank on each of {there} {named}" if machines else fitting
        more = f"{'name more with --hosts' if hosts else 'ask for more nodes'}" if machines else "or --oversubscribe"
        raise UsageError(f"--ranks {ranks}: {of_what}; give at most {there}, {more}")
    most = there if ranks is None else ranks
    no_network = ""
    if options.launcher == "none":
        no_network = f"no MPI launcher is used here; for real ranks: {MEND_MPI}"
    elif most < 2:
        one = "one host was named" if hosts else "the allocation has one node" if machines else fitting
        no_network = "one rank was asked for" if ranks is not None else one
    sharing = each if machines else most
    return Plan(
        options=options,
        asked=tuple(asked),
        between=None if no_network else World(most, 1 if machines else most, hosts[:most]),
        within=World(each, each, hosts[:1]) if each > 1 and options.launcher != "none" else None,
        no_network=no_network,
        sharing=sharing,
        crowded=sharing * threads > cores,
    )


def _ranks(number: int) -> str:
    return "one rank" if number == 1 else f"{number} ranks"


def request(
    *,
    dtypes: str | None,
    kernels: str,
    threads_per_rank: int,
    ranks: int | None,
    ranks_per_node: int,
    oversubscribe: bool,
    max_time: float,
    launcher: str,
    hosts: str,
    launcher_args: str,
    timeout: float,
    seed: int,
) -> Plan:
    """Check what the command line asks for; every argument is as its option has it.

    Raises
    ------
    UsageError
        If a value is out of its range, or there are fewer cores or hosts than it needs.
    UnavailableError
        If the launcher cannot be had, or no kernel can do any of the dtypes.
    """
    whole = {
        "--threads-per-rank": threads_per_rank,
        "--ranks-per-node": ranks_per_node,
        "--ranks": 1 if ranks is None else ranks,
    }
    for option, value in whole.items():
        if not 1 <= value <= MOST:
            raise UsageError(f"{option} must be a whole number from 1 to {MOST}, not {value}")
    for option, seconds in {"--max-time": max_time, "--timeout": timeout}.items():
        if not 0 < seconds < float("inf"):
            raise UsageError(f"{option} must be a number of seconds above 0, not {seconds:g}")
    if not 0 <= seed < 2**63:
        raise UsageError(f"--seed must be a whole number from 0 to 2^63 - 1, not {seed}")
    asked = _dtypes(dtypes)
    place = allocation.choose(launcher, hosts)
    launch.split_arguments(launcher_args)
    options = option_checks.complete(
        place,
        kernels,
        nodes=[1],
        dtype="fp32",
        threads_per_rank=threads_per_rank,
        ranks_per_node=ranks_per_node,
        rel_error=REL_ERROR,
        max_time=max_time,
        oversubscribe=oversubscribe,
        launcher_args=launcher_args,
        timeout=timeout,
        seed=seed,
    )
    if not options.allocated:  # a job's script need not run on one of the nodes that its ranks run on
        _check_kernels(options, asked)
    cores = threads_per_rank * ranks_per_node if place.cores is None else place.cores
    return plan(options, asked, ranks, cores)


def _dtypes(text: str | None) -> list[DType]:
    """Dtypes separated by commas, each once; none of None."""
    found: list[DType] = []
    for word in text.split(",") if text is not None else []:
        dtype = next((each for each in DTYPES if each == word.strip()), None)
        if dtype is None:
            hint = did_you_mean(word.strip(), DTYPES)
            raise UsageError(f"--dtype {printable(text or '')!r}: expected some of {', '.join(DTYPES)}{hint}")
        if dtype not in found:
            found.append(dtype)
    return found


def _check_kernels(options: Options, asked: Sequence[DType]) -> None:
    """Refuse dtypes none of which any kernel can do; of several the others are measured."""
    reason: UnavailableError | None = None
    for dtype in asked or DTYPES:
        for layer in LAYERS:
            try:
                registry.find(options.kernels, layer, dtype)
            except UnavailableError as error:
                reason = reason or error
            else:
                return
    if reason is not None:
        raise reason
