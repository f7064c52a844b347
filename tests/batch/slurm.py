"""A real Slurm on this machine: one controller and several nodes, all of them daemons of this process's own.

    python -m tests.batch.slurm 2 sbatch --wait job.sh

runs a command with such a cluster (as root), and takes the cluster down again.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "scontrol")
CPUS = 16
GPUS = 4
PATIENCE = 30.0

CONFIGURATION = """\
ClusterName=tested
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
SlurmctldPidFile={folder}/slurmctld.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdPidFile={folder}/%n.pid
SlurmdLogFile={folder}/%n.log
SlurmdSpoolDir={folder}/spool-%n
StateSaveLocation={folder}/state
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_min_interval=0,batch_sched_delay=0
SlurmdParameters=config_overrides
ReturnToService=2
KillWait=5
MinJobAge=300
GresTypes=gpu
{nodes}
PartitionName=gpuA100x4 Nodes={names} Default=YES MaxTime=01:00:00 State=UP
"""


@dataclass(frozen=True)
class Cluster:
    """A running cluster: its folder, its nodes, and the variables by which commands find it."""

    folder: Path
    nodes: list[str]
    environment: dict[str, str]

    def do(self, *command: str) -> str:
        """Run a command to its end and return what it printed."""
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout

    def start_controller(self) -> None:
        self.do("slurmctld", "-f", self.environment["SLURM_CONF"])

    def stop_controller(self) -> None:
        _stop(self.folder / "slurmctld.pid")

    def wait_until_up(self) -> None:
        """Wait until every node can take a job."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            told = subprocess.run(
                ["sinfo", "--noheader", "-N", "--states=idle", "--format=%N"],
                env=self.environment,
                capture_output=True,
                text=True,
                check=False,
            ).stdout
            if set(told.split()) == set(self.nodes):
                return
            time.sleep(0.1)
        logs = "\n".join(path.read_text()[-1500:] for path in self.folder.glob("*.log"))
        raise AssertionError(f"Slurm did not come up:\n{logs}")


def why_not() -> str:
    """Why there can be no cluster here; empty if there can."""
    if os.geteuid() != 0:
        return "a real Slurm needs root"
    missing = [program for program in PROGRAMS if shutil.which(program, path=_path()) is None]
    return f"{missing[0]} is missing: apt-get install slurm-wlm munge" if missing else ""


def _path() -> str:
    return f"{os.environ['PATH']}:/usr/sbin:/sbin"


@contextlib.contextmanager
def cluster(number: int, folder: Path) -> Iterator[Cluster]:
    """Bring up a cluster of some nodes, each with pretend cores and GPUs.

    The test is skipped, with the reason, where it cannot be had.
    """
    if reason := why_not():
        pytest.skip(reason)
    names = [f"n{i}" for i in range(1, number + 1)]
    ports = _free_ports(number + 1)
    for sub in ("state", "munge", *(f"spool-{name}" for name in names)):
        (folder / sub).mkdir()
    (folder / "munge").chmod(0o700)
    key = folder / "munge" / "key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o600)
    host = socket.gethostname().partition(".")[0]
    lines = [
        f"NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs={CPUS} Boards=1 SocketsPerBoard=1 "
        f"CoresPerSocket={CPUS} ThreadsPerCore=1 RealMemory=2000 Gres=gpu:{GPUS} Features=gpu,scratch State=UNKNOWN"
        for name, port in zip(names, ports[1:], strict=True)
    ]
    (folder / "slurm.conf").write_text(
        CONFIGURATION.format(host=host, port=ports[0], folder=folder, nodes="\n".join(lines), names=f"n[1-{number}]")
    )
    for number_ in range(GPUS):
        # A device, or CUDA_VISIBLE_DEVICES stays empty; the null device will do.
        os.mknod(folder / f"gpu{number_}", 0o020666, os.makedev(1, 3))
    (folder / "gres.conf").write_text(f"Name=gpu File={folder}/gpu[0-{GPUS - 1}]\n")
    variables = {**os.environ, "PATH": _path(), "SLURM_CONF": str(folder / "slurm.conf")}
    made = Cluster(folder, names, variables)
    try:
        made.do(
            "munged",
            "--force",
            f"--key-file={key}",
            f"--socket={folder}/munge.socket",
            f"--pid-file={folder}/munged.pid",
            f"--log-file={folder}/munged.log",
            f"--seed-file={folder}/munge/seed",
        )
        made.start_controller()
        for name in names:
            made.do("slurmd", "-f", variables["SLURM_CONF"], "-N", name)
        made.wait_until_up()
        yield made
    finally:
        if (folder / "slurmctld.pid").exists():
            subprocess.run(["scancel", "--user=root"], env=variables, check=False, capture_output=True, timeout=60)
        for name in [*names, "slurmctld", "munged"]:
            _stop(folder / f"{name}.pid")


def _free_ports(number: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(number)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def _stop(pid_file: Path) -> None:
    """End the daemon of a file, and wait for it."""
    try:
        pid = int(pid_file.read_text())
    except (OSError, ValueError):
        return
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + PATIENCE
        while _runs(pid):
            if time.monotonic() > deadline:
                os.kill(pid, signal.SIGKILL)
                return
            time.sleep(0.05)


def _runs(pid: int) -> bool:
    """Whether a process is there and has not ended: of a daemon, the system may be slow in taking note."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def main(arguments: list[str]) -> int:
    number, *command = arguments
    with tempfile.TemporaryDirectory() as folder, cluster(int(number), Path(folder)) as made:
        return subprocess.run(command, env=made.environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
