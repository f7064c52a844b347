"""Starts ranks: the command line of every launcher as a pure function, and what finds the launcher.

Every rank runs ``python -m layerbench.worker ASSIGNMENT`` and takes its cores, its share and its node count from there,
so that a command line only says how many ranks run, and where.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal, TypeAlias, get_args

from layerbench.errors import UnavailableError, UsageError

LauncherName: TypeAlias = Literal["mpiexec", "srun", "aprun", "jsrun", "flux", "none"]
LauncherOption: TypeAlias = Literal["auto", LauncherName]
LAUNCHERS: tuple[str, ...] = get_args(LauncherOption)

IN_ALLOCATION: tuple[LauncherName, ...] = ("srun", "aprun", "jsrun", "flux")
"""Launchers that belong to a batch system, and put ranks on the nodes it gave."""

THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS")
"""What tells the threading libraries that a kernel may load how many threads to start."""

MEND_MPI = "pip install 'layerbench[local]', or load your site's MPI and build mpi4py against it"


@dataclass(frozen=True)
class World:
    """The ranks of one launch: how many, on which hosts (empty for this one), how many on each."""

    ranks: int
    ranks_per_node: int
    hosts: tuple[str, ...] = ()

    @property
    def nodes(self) -> int:
        """Nodes they fill."""
        return -(-self.ranks // self.ranks_per_node)


def worker_command(assignment: Path) -> list[str]:
    """What every rank runs."""
    return [sys.executable, "-m", "layerbench.worker", str(assignment)]


def hydra(program: str, world: World, extra: list[str], command: list[str]) -> list[str]:
    """``mpiexec`` of MPICH and its relatives (Intel MPI, MVAPICH)."""
    where = ["-hosts", ",".join(world.hosts), "-ppn", str(world.ranks_per_node)] if world.hosts else []
    return [program, *extra, *where, "-n", str(world.ranks), *command]


def open_mpi(program: str, world: World, extra: list[str], command: list[str]) -> list[str]:
    """``mpiexec`` of Open MPI; its own binding is turned off because ranks pin themselves."""
    slots = ",".join(f"{host}:{world.ranks_per_node}" for host in world.hosts)
    where = ["--host", slots, "--map-by", f"ppr:{world.ranks_per_node}:node"] if world.hosts else []
    # Open MPI keeps the environment to its own host unless told by name.
    passed = [word for name in sorted(THREAD_VARIABLES) for word in ("-x", name)] if world.hosts else []
    root = ["--allow-run-as-root"] if os.geteuid() == 0 else []
    sharing = [] if world.hosts else ["--oversubscribe"]
    return [program, *root, "--bind-to", "none", *sharing, *where, *passed, *extra, "-n", str(world.ranks), *command]


def srun(world: World, threads: int, extra: list[str], command: list[str]) -> list[str]:
    """Slurm's ``srun``; its own binding is turned off because ranks pin themselves.

    How many CPUs a rank is given is left to the job (``SRUN_CPUS_PER_TASK``) or else is all that the step has: Slurm
    may count hardware threads, of which ``threads`` cores have more.
    """
    where = [f"--nodes={world.nodes}", f"--ntasks={world.ranks}", f"--ntasks-per-node={world.ranks_per_node}"]
    return ["srun", *where, "--cpu-bind=none", *extra, *command]


def aprun(world: World, threads: int, extra: list[str], command: list[str]) -> list[str]:
    """``aprun`` of Cray's ALPS, which refuses more ranks to a node than there are ranks."""
    to_a_node = min(world.ranks, world.ranks_per_node)
    return ["aprun", "-n", str(world.ranks), "-N", str(to_a_node), "-d", str(threads), *extra, *command]


def jsrun(world: World, threads: int, extra: list[str], command: list[str]) -> list[str]:
    """``jsrun`` of LSF's Job Step Manager: a resource set for each rank."""
    sets = ["-n", str(world.ranks), "-r", str(min(world.ranks, world.ranks_per_node)), "-a", "1", "-c", str(threads)]
    return ["jsrun", *sets, *extra, *command]


def flux(world: World, threads: int, extra: list[str], command: list[str]) -> list[str]:
    """``flux run``."""
    return ["flux", "run", "-N", str(world.nodes), "-n", str(world.ranks), "-c", str(threads), *extra, *command]


_OF_BATCH_SYSTEMS = {"srun": srun, "aprun": aprun, "jsrun": jsrun, "flux": flux}


def command_line(launcher: str, world: World, threads: int, arguments: str, assignment: Path) -> list[str]:
    """The whole command that starts a launch.

    Parameters
    ----------
    launcher
        One of :data:`LAUNCHERS`, but not ``auto``; ``none`` can start one rank only.
    world
        Which ranks to start.
    threads
        Of each rank.
    arguments
        More arguments for the launcher, quoted as for a shell. They stand last before what each rank runs, so that
        they may end in a program that ranks are wrapped in.
    assignment
        The file that tells the ranks what to do.

    Raises
    ------
    UnavailableError
        If there is no such launcher here.
    """
    command = worker_command(assignment)
    if launcher == "none":
        return command
    extra = split_arguments(arguments)
    if launcher in _OF_BATCH_SYSTEMS:
        return _OF_BATCH_SYSTEMS[launcher](world, threads, extra, command)
    program = find_mpiexec()
    if program is None:
        raise UnavailableError(f"no mpiexec was found: {MEND_MPI}")
    build = open_mpi if flavour(program) == "open-mpi" else hydra
    return build(program, world, extra, command)


def split_arguments(arguments: str) -> list[str]:
    """Arguments of ``--launcher-args``, split as a shell would.

    Raises
    ------
    UsageError
        If a quotation is not closed.
    """
    try:
        return shlex.split(arguments)
    except ValueError as error:
        raise UsageError(f"--launcher-args {arguments!r}: {error}") from error


def find_mpiexec() -> str | None:
    """The ``mpiexec`` of the MPI that mpi4py loads: this Python environment's own, else the first on PATH."""
    own = Path(sys.executable).parent / "mpiexec"
    if own.exists():
        return str(own)
    return shutil.which("mpiexec") or shutil.which("mpirun")


@cache
def flavour(program: str) -> Literal["hydra", "open-mpi"]:
    """Whose ``mpiexec`` it is, by what it says of its version; unknown ones are taken for MPICH's."""
    try:
        told = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=20, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return "hydra"
    return "open-mpi" if re.search(r"open-?\s?mpi|prrte|openrte", told, re.IGNORECASE) else "hydra"


def have_mpi() -> bool:
    """Whether an ``mpiexec`` and mpi4py are here."""
    return find_mpiexec() is not None and importlib.util.find_spec("mpi4py") is not None


def rank_environment(threads: int, hosts: Sequence[str], base: Mapping[str, str]) -> dict[str, str]:
    """Environment of a launch and so of every rank: its thread count for every threading library a kernel may load.

    ``OMP_PROC_BIND`` is left alone: a rank pins itself before any of these start, and they inherit its cores.
    """
    # Where no hosts are named, MPICH's mpiexec would take those of a batch job that it finds itself in.
    here = {} if hosts or "HYDRA_HOST_FILE" in base else {"HYDRA_LAUNCHER": "fork", "HYDRA_RMK": "user"}
    return {
        **here,
        **base,
        **dict.fromkeys(THREAD_VARIABLES, str(threads)),
        "OMP_DYNAMIC": "FALSE",
        "PYTHONUNBUFFERED": "1",
    }


def read_hosts(text: str) -> tuple[str, ...]:
    """Hosts of ``--hosts``: names separated by commas, or a file with one to a line.

    A line's first word is the host; what follows a colon or a space (slots) and comments are ignored. A host listed
    several times counts once.

    Raises
    ------
    UsageError
        If no host is named, or one of them is none.
    """
    names = text.split(",")
    if _is_file(Path(text)):
        try:
            lines = [line.partition("#")[0].strip() for line in Path(text).read_text().splitlines()]
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"--hosts {text!r}: cannot be read: {error}") from error
        names = [re.split(r"[:\s]", line)[0] for line in lines if line]
    hosts = tuple(dict.fromkeys(name.strip() for name in names if name.strip()))
    # Never a leading hyphen: a launcher passes names on to ssh, which would take such a one for an option.
    bad = [host for host in hosts if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._\-]*", host)]
    if not hosts or bad:
        what = f"{bad[0]!r} is not a host name" if bad else "names no host"
        raise UsageError(f"--hosts {text!r}: {what}; give a,b,c or a file with one host to a line")
    return hosts


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a list of hosts may be longer than any file name
        return False
