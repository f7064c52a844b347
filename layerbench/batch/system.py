"""A system: what its scheduler, launcher and nodes want of a job. Written as TOML, by name or by path."""

from __future__ import annotations

import os
from importlib import resources
from pathlib import Path
from typing import Literal, TypeAlias

import msgspec

from layerbench.errors import UsageError
from layerbench.launch import LauncherOption
from layerbench.suite_format import MAX_FILE_BYTES, did_you_mean, printable

SchedulerName: TypeAlias = Literal["slurm", "torque", "openpbs", "lsf", "flux", "local"]
GPURequest: TypeAlias = Literal["default", "gres", "none"]
QueueOption: TypeAlias = Literal["partition", "qos"]


class System(msgspec.Struct, frozen=True, kw_only=True):
    """A system, as its file has it; ``name`` is the file's own.

    Attributes
    ----------
    description
        One line.
    scheduler, launcher, launcher_args
        What takes jobs; what starts ranks within one, and with which further arguments. These stand last before the
        command that each rank runs, so that they may end with ``--``.
    nodes
        How many the system has; None if that is not known.
    cores_per_node, gpus_per_node, ranks_per_node, threads
        Of a node, what it has and how many ranks share it; of a rank, its threads (None: an equal share of the cores).
    hardware_threads
        Of each core, those that Slurm counts as CPUs.
    feature, memory, exclusive
        A property that nodes must have, the memory a job wants of each in the scheduler's words, and whether no other
        job may be on them.
    gpu_request
        How GPUs are asked for: in the scheduler's ``default`` way, Slurm's older ``gres``, or not at all (``none``:
        they come with the node).
    queue, queue_option
        Queue if none is asked for; with Slurm, whether it is a ``partition`` or a ``qos``.
    account_required, walltime_required
        Whether the scheduler refuses jobs without.
    walltime_default, walltime_most, queue_walltime_most
        As ``hours:minutes:seconds``; the last by queue.
    queue_gpus_per_node
        By queue, where its nodes have more GPUs or fewer.
    modules_init, modules
        What defines ``module`` where a job does not have it, and modules to load.
    environment
        Variables to set; quoted, so that they are what they say.
    setup, setup_shared_gpu, setup_private_gpu
        Lines of shell before the run: always, and where several ranks share a GPU or none do.
    python, wrapper
        The Python that has layerbench (empty: the one that submits), and what it is entered by. Ranks are entered by it
        too where the batch system's own launcher starts them; mpiexec starts them from within.
    directives
        More of them, without the scheduler's prefix, and none that say what ``layerbench submit`` says itself.
    """

    name: str = ""
    description: str = ""
    scheduler: SchedulerName
    launcher: LauncherOption
    launcher_args: str = ""
    nodes: int | None = None
    cores_per_node: int | None = None
    gpus_per_node: int = 0
    ranks_per_node: int = 1
    threads: int | None = None
    hardware_threads: int = 1
    feature: str = ""
    memory: str = ""
    exclusive: bool = True
    gpu_request: GPURequest = "default"
    queue: str = ""
    queue_option: QueueOption = "partition"
    account_required: bool = False
    walltime_required: bool = False
    walltime_default: str = ""
    walltime_most: str = ""
    queue_walltime_most: dict[str, str] = {}
    queue_gpus_per_node: dict[str, int] = {}
    modules_init: str = ""
    modules: list[str] = []
    environment: dict[str, str] = {}
    setup: list[str] = []
    setup_shared_gpu: list[str] = []
    setup_private_gpu: list[str] = []
    python: str = ""
    wrapper: str = ""
    directives: list[str] = []

    def gpus_of(self, queue: str) -> int:
        """GPUs of a node of a queue."""
        return self.queue_gpus_per_node.get(queue, self.gpus_per_node)


def names() -> list[str]:
    """Names of the systems that ship with layerbench, sorted."""
    files = resources.files("layerbench.systems").iterdir()
    return sorted(file.name.removesuffix(".toml") for file in files if file.name.endswith(".toml"))


def own_folder() -> Path:
    """Where a user's own systems are."""
    base = os.environ.get("XDG_CONFIG_HOME", "")
    # The standard has a path that is not absolute ignored.
    return (Path(base) if base.startswith("/") else Path.home() / ".config") / "layerbench" / "systems"


def own_names() -> list[str]:
    """Names of the user's own systems, sorted."""
    return sorted(path.stem for path in own_folder().glob("*.toml"))


def load(name_or_path: str) -> System:
    """A system by name, shipped or the user's own, or from a TOML file.

    Raises
    ------
    UsageError
        If there is none of that name, two have it, or the file has a mistake.
    """
    from layerbench.batch.system_format import parse

    shown = printable(name_or_path)
    shipped, own = names(), own_names()
    if "/" in name_or_path or name_or_path.endswith(".toml"):
        path = Path(name_or_path)
        return parse(_read(path, f"--system {shown}"), path.stem, shown)
    if name_or_path in shipped and name_or_path in own:
        raise UsageError(
            f"--system {shown}: layerbench ships one of this name and {own_folder() / shown}.toml is another: rename "
            "yours, or name it by its path"
        )
    if name_or_path in own:
        path = own_folder() / f"{name_or_path}.toml"
        return parse(_read(path, f"--system {shown}"), name_or_path, str(path))
    if name_or_path in shipped:
        text = resources.files("layerbench.systems").joinpath(f"{name_or_path}.toml").read_bytes()
        return parse(text, name_or_path, f"systems/{name_or_path}.toml")
    known = [*shipped, *own]
    raise UsageError(
        f"--system {shown}: unknown{did_you_mean(name_or_path, known)}; known are {', '.join(known)}, or the path of "
        f"a .toml file; your own are looked for in {own_folder()}"
    )


def check_launcher(scheduler: SchedulerName, launcher: str, where: str) -> None:
    """See that a launcher works within a scheduler's jobs.

    Raises
    ------
    UsageError
        If it belongs to another.
    """
    from layerbench.batch.schedulers.registry import SCHEDULERS

    fitting = (*SCHEDULERS[scheduler].LAUNCHERS, "auto", "none")
    if launcher not in fitting:
        raise UsageError(f"{where} {launcher}: does not work in a job of {scheduler}; {', '.join(fitting)} do")


def _read(path: Path, where: str) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MAX_FILE_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: a null character in the path
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise UsageError(f"{where}: cannot be read: {reason}") from error
