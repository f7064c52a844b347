"""Stands in for a Python that has layerbench: ``python -m layerbench run OPTIONS``.

It reads the options strictly, starts every count's ranks by the launcher it is told, and writes a run folder as the
real one does. The file ``run`` of the state, in JSON, tells how it is to fare: ``stop_before`` a count it waits to be
told to end, ``exit_code`` is how it ends, ``nothing`` that it writes no run folder.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from layerbench import launch, store
from layerbench.records import PARTS
from tests.batch.fake import core
from tests.values import LAYER, manifest, options, record

PROGRAMS = ("python",)


def _parsed(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    for name in ("suite", "filter", "kernels", "launcher", "launcher-args", "hosts", "output"):
        parser.add_argument(f"--{name}", default="")
    parser.add_argument("--nodes", required=True)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--ranks-per-node", type=int, required=True)
    parser.add_argument("--threads-per-rank", type=int, default=1)
    parser.add_argument("--max-time", type=float, default=5.0)
    parser.add_argument("--resume", action="store_true")
    return parser.parse_args(words)


def launch_line(asked: argparse.Namespace, nodes: int) -> list[str]:
    """How the ranks of one count are started: the launcher's numbers, its further arguments, and then the command."""
    to_a_node = asked.ranks_per_node
    world = launch.World(nodes * to_a_node, to_a_node)
    if asked.launcher != "mpiexec":
        *line, _, _, _, _ = launch.command_line(
            asked.launcher, world, asked.threads_per_rank, asked.launcher_args, Path("assignment")
        )
        return [*line, "true"]
    hosts = launch.read_hosts(asked.hosts)[:nodes]
    world = dataclasses.replace(world, hosts=hosts)
    return launch.hydra("mpiexec", world, launch.split_arguments(asked.launcher_args), ["true"])


def run(words: Sequence[str]) -> int:
    asked = _parsed(words)
    fare = json.loads(core.told("run") or "{}")
    with (core.state() / "runs.jsonl").open("a") as file:
        file.write(json.dumps({"words": list(words), "folder": str(Path.cwd())}) + "\n")
    if fare.get("nothing"):
        return int(fare.get("exit_code", 0))
    path = Path(asked.output)
    counts = [int(count) for count in asked.nodes.split(",")]
    told = manifest(options=options(nodes=counts, batch=asked.batch))
    if asked.resume:
        store.load(path)
    else:
        store.create(path, told)
    have = {one.nodes for one in store.load(path).records}
    for nodes in counts:
        if nodes == fare.get("stop_before"):
            _wait_for_the_end()
        if nodes in have:
            continue
        if asked.launcher not in ("auto", "none"):
            subprocess.run(launch_line(asked, nodes), check=True)
        with store.Journal(path) as journal:
            journal.append([record(part=part, layer=LAYER.name, nodes=nodes, ranks=nodes) for part in PARTS])
    store.write_manifest(path, manifest(options=told.options, outcome="complete", start="a", end="b"))
    return int(fare.get("exit_code", 0))


def _wait_for_the_end() -> NoReturn:
    def end(number: int, _: object) -> None:
        # The signal comes again: a job's whole group gets it, and its script passes it on.
        signal.signal(number, signal.SIG_IGN)
        print("layerbench: stopped by SIGTERM", file=sys.stderr)
        sys.exit(128 + number)

    signal.signal(signal.SIGTERM, end)
    time.sleep(60)
    sys.exit(99)


def main(arguments: Sequence[str]) -> None:
    _, *words = arguments
    assert words[:3] == ["-m", "layerbench", "run"], words
    sys.exit(run(words[3:]))
