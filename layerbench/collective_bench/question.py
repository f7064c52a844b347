"""From what was asked for to what will be launched."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from layerbench import allocation, option_checks, plan
from layerbench.collective_bench import sizes as parsing
from layerbench.collective_bench.pattern import STORED
from layerbench.collective_records import CollectiveTask
from layerbench.device import Host
from layerbench.errors import UnavailableError, UsageError
from layerbench.launch import MEND_MPI
from layerbench.layers import DType
from layerbench.plan import Count
from layerbench.records import COLLECTIVE_OPERATIONS, COLLECTIVES, Collective, Collectives, Options
from layerbench.suite_format import did_you_mean, printable

MAX_SAMPLES = 2_000
"""Of each row: more say nothing new, and all of them are kept."""

ADDED: tuple[Collective, ...] = ("all_reduce", "reduce_scatter")
"""Operations that add up, which MPI cannot in half precision."""

MOST_HOSTS = 8
"""Names that an error has at most."""

Word = TypeVar("Word", bound=str)


@dataclass(frozen=True)
class Question:
    """What is to be measured.

    Attributes
    ----------
    options
        As of a run.
    task
        Operations, libraries and sizes.
    counts
        Node counts, all of which run.
    notes
        Why what was asked for is left out or becomes something else, a sentence each.
    told
        How it was found where ranks are started; empty if that was as asked for.
    """

    options: Options
    task: CollectiveTask
    counts: tuple[Count, ...]
    notes: tuple[str, ...]
    told: str


def asked(
    *,
    op: str,
    sizes: str,
    nodes: str,
    dtype: DType,
    ranks_per_node: int,
    threads_per_rank: int | None,
    kernels: str,
    collectives: str,
    rel_error: float,
    max_time: float,
    oversubscribe: bool,
    launcher: str,
    hosts: str,
    launcher_args: str,
    timeout: float,
) -> Question:
    """Check what the command line asks for; every argument is as its option has it.

    Raises
    ------
    UsageError
        If a value is out of its range or names nothing, or there is no room for so many ranks.
    UnavailableError
        If the launcher cannot be had.
    """
    operations = _operations(op)
    methods = _words("--collectives", collectives, COLLECTIVES)
    bytes_ = parsing.parse(sizes)
    if dtype not in STORED:
        raise UsageError(f"--dtype {dtype}: expected what memory holds and ranks add up: {', '.join(STORED)}")
    if launcher == "none":
        raise UsageError(
            "--launcher none: an exchange needs several ranks and a launcher that starts them; use --launcher mpiexec "
            "or leave it out"
        )
    place = allocation.choose(launcher, hosts)
    counts = plan.parse_nodes(nodes)
    cores, threads = plan.room(place, counts, ranks_per_node, threads_per_rank)
    options = option_checks.complete(
        place,
        kernels,
        nodes=counts,
        dtype=dtype,
        threads_per_rank=threads,
        ranks_per_node=ranks_per_node,
        rel_error=rel_error,
        max_time=max_time,
        max_samples=MAX_SAMPLES,
        oversubscribe=oversubscribe,
        launcher_args=launcher_args,
        timeout=timeout,
    )
    option_checks.check(options)
    if not (place.allocated or place.hosts or options.devices):
        methods = _of_host(methods)
        _check_adds(operations, dtype)
    task = CollectiveTask(operations=operations, methods=methods, sizes=bytes_)
    runs, notes = _counts(options, cores)
    ranks = [count.ranks for count in runs]
    rounding = parsing.rounding(operations, bytes_, ranks, np.dtype(STORED[dtype]).itemsize)
    return Question(options, task, runs, (*notes, *rounding), place.told)


def _operations(text: str) -> list[Collective]:
    """Operations separated by commas, written with hyphens, or ``all``."""
    words = {word.strip() for word in text.split(",")}
    if words == {"all"}:
        return list(COLLECTIVE_OPERATIONS)
    if "all" in words:
        raise UsageError(f"--op {printable(text)!r}: all stands alone, as it is every operation; leave out the others")
    known = {operation.replace("_", "-"): operation for operation in COLLECTIVE_OPERATIONS}
    return [known[word] for word in _words("--op", text, (*known,), "all")]


def _words(option: str, text: str, known: tuple[Word, ...], *more: str) -> list[Word]:
    """Known words separated by commas, in the order in which they are known, each once."""
    words = [word.strip() for word in text.split(",")]
    for word in words:
        if word not in known:
            hint = did_you_mean(word, known)
            expected = ", ".join([*known, *more])
            raise UsageError(f"{option} {printable(text)!r}: expected {expected}, or several with commas{hint}")
    return [word for word in known if word in words]


def _of_host(methods: list[Collectives]) -> list[Collectives]:
    """What exchanges memory of the host: MPI, whether it is named or not.

    Raises
    ------
    UsageError
        If another was asked for.
    """
    for method in methods:
        Host().connect(None, method, "fp32")
    return ["mpi"]


def _check_adds(operations: list[Collective], dtype: DType) -> None:
    if dtype in {"fp16", "bf16"} and (adding := [op.replace("_", "-") for op in operations if op in ADDED]):
        raise UsageError(
            f"--dtype {dtype}: MPI cannot add it, so {' and '.join(adding)} cannot be had on the processor; use fp32 "
            "or fp64, or operations that only move"
        )


def _counts(options: Options, cores: int) -> tuple[tuple[Count, ...], tuple[str, ...]]:
    """The node counts that exchange anything, and which do not."""
    planned = plan.counts(options, cores)
    several = [count for count in planned if count.ranks > 1]
    if not several:
        raise UsageError(
            "--nodes 1: one rank has nobody to exchange with; give more nodes, or more with --ranks-per-node"
        )
    if options.launcher == "none":
        raise UnavailableError(f"several ranks need an MPI launcher, and there is none here: {MEND_MPI}")
    for count in several:
        if count.placement == "emulated":
            raise UsageError(_too_many(options, count, cores))
    notes = [
        f"1 rank has nobody to exchange with: --nodes {count.nodes} is left out"
        for count in planned
        if count.ranks == 1
    ]
    return tuple(several), tuple(notes)


def _too_many(options: Options, count: Count, cores: int) -> str:
    """Why a count cannot run."""
    if options.machines:
        there = "there is 1 node" if options.machines == 1 else f"there are {options.machines} nodes"
        named = f" ({_listed(options.hosts)})" if options.hosts else ""
        more = "name more with --hosts, or give" if options.hosts else "give"
        least = f"at most {options.machines}"
        if options.machines == 1:
            least = "--nodes 1" if options.ranks_per_node > 1 else "--nodes 1 with --ranks-per-node 2 or more"
        return f"--nodes {count.nodes}: {there}{named}, and an exchange cannot be emulated; {more} {least}"
    slots = cores // options.threads_per_rank
    what = f"{cores} {'core' if cores == 1 else 'cores'}, {options.threads_per_rank} to a rank"
    if options.devices and options.devices < slots:
        what = f"{options.devices} {'device' if options.devices == 1 else 'devices'}"
    return (
        f"--nodes {count.nodes}: {count.ranks} ranks do not fit {what}, and an exchange cannot be emulated; give "
        "fewer, or --oversubscribe"
    )


def _listed(hosts: Sequence[str]) -> str:
    """Names of hosts, the first of very many."""
    shown = hosts if len(hosts) <= MOST_HOSTS else [*hosts[: MOST_HOSTS - 1], f"and {len(hosts) - MOST_HOSTS + 1} more"]
    return printable(", ".join(shown))
