"""Pretend hosts on this machine: network namespaces with their own addresses, joined by links of a known rate.

    python -m tests.netns 2 1gbit layerbench run --hosts HOSTS --launcher-args LAUNCHER --nodes 1,2 ...

runs a command on the first of two such hosts (as root), with HOSTS and LAUNCHER replaced by what reaches both.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

PREFIX = f"lb{os.getpid() % 100000}"
"""Names of this process's namespaces, so that two test runs on one machine do not meet."""

RSH = """#!/usr/bin/env bash
# Stands in for ssh: [options] ADDRESS COMMAND... runs the command in the namespace of that address.
while [[ $1 == -* ]]; do shift; done
namespace={prefix}h${{1##*.}}; shift
exec ip netns exec "$namespace" bash -c "$*"
"""


# All hosts share one kernel and so one host name: without these, MPICH would use shared memory between them.
OVER_TCP = {"MPIR_CVAR_NOLOCAL": "1", "UCX_TLS": "tcp,self"}


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True)


@contextlib.contextmanager
def hosts(number: int, rate: str, folder: Path, burst: str = "256k") -> Iterator[tuple[list[str], Path, list[str]]]:
    """Hosts that reach each other over links of a limited rate.

    Parameters
    ----------
    burst
        Bytes that a link passes at once after a pause, before its rate holds, as ``tc`` has them.

    Yields
    ------
    tuple
        Their addresses, a program that stands in for ssh, and the command that enters the first host. The test is
        skipped, with the reason, where namespaces cannot be made.
    """
    if os.geteuid() != 0 or shutil.which("ip") is None or shutil.which("tc") is None:
        pytest.skip("hosts in network namespaces need root and iproute2")
    addresses = [f"10.77.0.{i}" for i in range(1, number + 1)]
    names = [f"{PREFIX}h{i}" for i in range(1, number + 1)]
    switch = f"{PREFIX}sw"
    try:
        try:
            _run("ip", "netns", "add", switch)
        except subprocess.CalledProcessError as error:
            pytest.skip(f"network namespaces cannot be made: {error.stderr.strip()}")
        _run("ip", "-n", switch, "link", "add", "br0", "type", "bridge")
        _run("ip", "-n", switch, "link", "set", "br0", "up")
        for i, (name, address) in enumerate(zip(names, addresses, strict=True)):
            _run("ip", "netns", "add", name)
            _run("ip", "link", "add", "eth0", "netns", name, "type", "veth", "peer", "name", f"p{i}", "netns", switch)
            _run("ip", "-n", switch, "link", "set", f"p{i}", "master", "br0", "up")
            _run("ip", "-n", name, "link", "set", "lo", "up")
            _run("ip", "-n", name, "addr", "add", f"{address}/24", "dev", "eth0")
            _run("ip", "-n", name, "link", "set", "eth0", "up")
            # A token bucket.
            shape = ["tbf", "rate", rate, "burst", burst, "latency", "50ms"]
            _run("ip", "netns", "exec", name, "tc", "qdisc", "add", "dev", "eth0", "root", *shape)
        rsh = folder / "rsh"
        rsh.write_text(RSH.format(prefix=PREFIX))
        rsh.chmod(0o755)
        yield addresses, rsh, ["ip", "netns", "exec", names[0]]
    finally:
        for name in [*names, switch]:
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)


def main(arguments: list[str]) -> int:
    number, rate, *command = arguments
    with tempfile.TemporaryDirectory() as folder, hosts(int(number), rate, Path(folder)) as (addresses, rsh, enter):
        words = {"HOSTS": ",".join(addresses), "LAUNCHER": f"-launcher ssh -launcher-exec {rsh}"}
        reached = [words.get(word, word) for word in command]
        return subprocess.run([*enter, *reached], env={**os.environ, **OVER_TCP}, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
