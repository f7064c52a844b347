"""Where ranks can be started: the nodes that a batch system has given this process, or this machine alone.

What a batch system gave is read from the variables it sets for the processes of a job.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from layerbench import environment
from layerbench.errors import UnavailableError, UsageError
from layerbench.launch import IN_ALLOCATION, LAUNCHERS, MEND_MPI, LauncherName, have_mpi, read_hosts

ANSWER_TIMEOUT = 20.0
"""Seconds that a batch system's own program may take to say what it gave."""


@dataclass(frozen=True)
class Allocation:
    """The nodes of a job.

    Attributes
    ----------
    scheduler, job
        Who gave them, and for which job.
    launcher
        What starts ranks on them.
    nodes
        How many there are.
    cores
        Of each node, as the scheduler counts them; None if it does not say.
    hosts
        Their names, where the scheduler tells them.
    """

    scheduler: str
    job: str
    launcher: LauncherName
    nodes: int
    cores: int | None = None
    hosts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Place:
    """Where a sweep's ranks are started, as its options will have it.

    Attributes
    ----------
    launcher
        What starts them.
    allocated
        Nodes that it may use; 0 where it starts ranks on hosts by name or on this machine.
    hosts
        Names of hosts; none where the launcher knows them, or ranks run here.
    cores
        Of each node; None if nobody says.
    told
        What the user should know of how this was found; empty if it was as asked for.
    """

    launcher: LauncherName
    allocated: int = 0
    hosts: tuple[str, ...] = ()
    cores: int | None = None
    told: str = ""


def find(variables: Mapping[str, str] = os.environ) -> Allocation | None:
    """The allocation that this process is in; None if it is in none."""
    for look in (_slurm, _lsf, _flux, _pbs):
        if (found := look(variables)) is not None:
            return found
    return None


def choose(launcher: str, hosts: str) -> Place:
    """Where ranks are started, by what was asked for and where this process is.

    Parameters
    ----------
    launcher
        ``auto`` takes the launcher of the allocation that this process is in; in none, ``mpiexec`` where it and mpi4py
        are there, else ``none``.
    hosts
        As ``--hosts`` has them; empty for those of the allocation, or this machine.

    Raises
    ------
    UsageError
        If the launcher is unknown, its batch system gave nothing, or it cannot be told of hosts.
    UnavailableError
        If the launcher cannot be had.
    """
    if launcher not in LAUNCHERS:
        raise UsageError(f"--launcher {launcher}: unknown; known are {', '.join(LAUNCHERS)}")
    named = read_hosts(hosts) if hosts else ()
    if launcher == "none":
        return Place("none", hosts=named, cores=_here())
    allocation = find()
    if launcher in IN_ALLOCATION:
        if named:
            raise UsageError(f"--hosts: {launcher} puts ranks on the nodes of its allocation; use --launcher mpiexec")
        return _within(allocation, launcher)
    if launcher == "auto" and allocation is not None and not named and _can_start(allocation):
        told = f"{_described(allocation)}: ranks are started by {allocation.launcher}"
        if allocation.launcher != "mpiexec":
            return replace(_within(allocation, allocation.launcher), told=told)
        return replace(_by_mpiexec(allocation, named), told=told)
    if launcher == "mpiexec" and not have_mpi():
        raise UnavailableError(f"--launcher mpiexec: mpiexec or mpi4py is missing: {MEND_MPI}")
    place = _by_mpiexec(allocation, named) if have_mpi() else Place("none", hosts=named, cores=_here())
    if launcher == "auto" and allocation is not None and not named:
        missing = f"{allocation.launcher} is missing, so ranks are started by {place.launcher}"
        return replace(place, told=f"{_described(allocation)}: {missing}")
    return place


def _here() -> int:
    return len(environment.usable_cores())


def _described(allocation: Allocation) -> str:
    nodes = "one node" if allocation.nodes == 1 else f"{allocation.nodes} nodes"
    return f"in {allocation.scheduler}'s job {allocation.job} of {nodes}"


def _can_start(allocation: Allocation) -> bool:
    return have_mpi() if allocation.launcher == "mpiexec" else shutil.which(allocation.launcher) is not None


_OWNERS = {"srun": "Slurm", "aprun": "ALPS", "jsrun": "LSF", "flux": "Flux"}


def _within(allocation: Allocation | None, launcher: str) -> Place:
    """Ranks started by a batch system's own launcher."""
    owner = _OWNERS[launcher]
    if shutil.which(launcher) is None:
        raise UnavailableError(f"--launcher {launcher}: there is no {launcher} on PATH; it belongs to {owner}")
    if allocation is None or allocation.launcher != launcher:
        where = f"this is {_described(allocation)}" if allocation is not None else "this is no job"
        raise UsageError(
            f"--launcher {launcher}: works within an allocation of {owner}, and {where}; ask for one, or let "
            "layerbench submit do so"
        )
    return Place(allocation.launcher, allocated=allocation.nodes, cores=allocation.cores)


def _by_mpiexec(allocation: Allocation | None, named: tuple[str, ...]) -> Place:
    """Ranks started by ``mpiexec``: on hosts by name, else on those of the allocation, else here."""
    if named or allocation is None or allocation.nodes == 1 or not allocation.hosts:
        return Place("mpiexec", hosts=named, cores=_here())
    # This process is on one of them, as a rule, and its cores can be counted.
    return Place("mpiexec", hosts=allocation.hosts, cores=min(allocation.cores or _here(), _here()))


def _slurm(variables: Mapping[str, str]) -> Allocation | None:
    job = variables.get("SLURM_JOB_ID", "")
    nodes = _number(variables.get("SLURM_JOB_NUM_NODES", variables.get("SLURM_NNODES", "")))
    if not job or nodes is None:
        return None
    names = _answer(["scontrol", "show", "hostnames", variables.get("SLURM_JOB_NODELIST", "")]).split()
    # Of nodes that differ, "16(x3),8" has the counts of all; the least is what every one has.
    counts = [int(count) for count in re.findall(r"(?:^|,)([0-9]+)", variables.get("SLURM_JOB_CPUS_PER_NODE", ""))]
    cores = min(counts, default=None)
    if cores is not None and "SLURMD_NODENAME" in variables:
        # On a node of the job its cores can be counted, where Slurm may count hardware threads.
        cores = min(cores, _here())
    return Allocation("Slurm", job, "srun", nodes, cores, tuple(names) if len(names) == nodes else ())


def _lsf(variables: Mapping[str, str]) -> Allocation | None:
    job = variables.get("LSB_JOBID", "")
    words = variables.get("LSB_MCPU_HOSTS", "").split()
    slots = {host: _number(count) or 0 for host, count in zip(words[::2], words[1::2], strict=False)}
    if not job or not slots:
        return None
    if shutil.which("jsrun") is None:
        return Allocation("LSF", job, "mpiexec", len(slots), min(slots.values()) or None, tuple(slots))
    # Where jsrun starts ranks, the first host runs the script alone, with one slot.
    first = next(iter(slots))
    if len(slots) > 1 and slots[first] == 1:
        del slots[first]
    return Allocation("LSF", job, "jsrun", len(slots), min(slots.values()) or None, tuple(slots))


def _flux(variables: Mapping[str, str]) -> Allocation | None:
    if "FLUX_URI" not in variables:
        return None
    nodes = _number(_answer(["flux", "getattr", "size"]))
    if nodes is None:
        return None
    total = _number(_answer(["flux", "resource", "list", "-n", "-s", "up", "-o", "{ncores}"]))
    job = _answer(["flux", "getattr", "jobid"]).strip() or "of its own"
    return Allocation("Flux", job, "flux", nodes, None if total is None else max(1, total // nodes))


def _pbs(variables: Mapping[str, str]) -> Allocation | None:
    """Torque, OpenPBS and PBS Pro, and ALPS, which starts ranks within their jobs."""
    job = variables.get("PBS_JOBID", "")
    hosts: list[str] = []
    with contextlib.suppress(OSError, UnicodeDecodeError):
        hosts = Path(variables.get("PBS_NODEFILE", "")).read_text().split()
    # OpenPBS may leave the first of these unset, and a node's file need not be readable on another host.
    nodes = _number(variables.get("PBS_NUM_NODES", "")) or len(set(hosts))
    if not job or not nodes:
        return None
    cores = _number(variables.get("PBS_NUM_PPN", "")) or _number(variables.get("NCPUS", ""))
    names = tuple(dict.fromkeys(hosts))
    if shutil.which("aprun") is not None:
        each = min((hosts.count(name) for name in names), default=0)
        return Allocation("ALPS", job, "aprun", nodes, cores or (each if each > 1 else None), names)
    return Allocation("PBS", job, "mpiexec", nodes, cores, names)


def _number(text: str) -> int | None:
    return int(text) if re.fullmatch(r"\s*[0-9]{1,9}\s*", text) and int(text) > 0 else None


def _answer(command: Sequence[str]) -> str:
    """What a program prints; nothing if it fails."""
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        done = subprocess.run(command, capture_output=True, text=True, timeout=ANSWER_TIMEOUT, check=False)
        return done.stdout if done.returncode == 0 else ""
    return ""
