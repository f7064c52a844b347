"""What one job asks of its scheduler."""

from __future__ import annotations

import msgspec


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """One job's nodes and time.

    Attributes
    ----------
    name
        The job's own, which no other has; its files are named after it.
    nodes, ranks_per_node, threads
        Nodes, ranks of each, and threads of each rank (None: as the nodes have cores, which is not known here).
    hardware_threads
        Of each core, those that the scheduler counts as CPUs.
    cores_per_node, gpus_per_node
        What a node has, and the job asks for whole.
    walltime, warning
        Seconds (None: the scheduler's default), and how long before their end the run is asked to stop.
    account, queue
        Empty: the scheduler's default.
    own_log
        The script opens its log itself, because the scheduler cannot.
    """

    name: str
    nodes: int
    ranks_per_node: int
    threads: int | None = None
    hardware_threads: int = 1
    cores_per_node: int | None = None
    gpus_per_node: int = 0
    walltime: int | None = None
    warning: int = 0
    account: str = ""
    queue: str = ""
    own_log: bool = False

    @property
    def log(self) -> str:
        """The file to which the scheduler writes what the job prints, in the folder that it is submitted from."""
        return "/dev/null" if self.own_log else f"{self.name}.log"
