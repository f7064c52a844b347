"""What a person sees while a sweep runs: a progress bar on a terminal, plain lines elsewhere, nothing if asked."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from layerbench import units
from layerbench.assignment import Event, Progressed, Recorded
from layerbench.layers import AnyLayer
from layerbench.listener import Listener
from layerbench.plan import Count
from layerbench.records import Network, Roofline

LAYER_OVERHEAD_MACS = 3e8
"""What starting, searching and verifying a layer costs, in MACs: keeps the time left honest where layers are small."""

NETWORK_NAME = "network"


def _weight(layer: AnyLayer, count: Count) -> float:
    return layer.macs(1) * 64 / count.ranks + LAYER_OVERHEAD_MACS


def _plural(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"


def heading(count: Count) -> str:
    """One line on a node count: its ranks and whether they run."""
    how = "measured" if count.placement == "measured" else "emulated on one rank, communication modelled"
    return f"{_plural(count.nodes, 'node')}, {_plural(count.ranks, 'rank')}: {how}"


def network_line(network: Network) -> str:
    """One line on a network model."""
    fit = f", median residual {network.residual:.0%}" if network.residual is not None else ""
    bandwidth = units.rate(1 / network.beta, "B/s") if network.beta else "unlimited"
    return f"network {network.name}: α {units.seconds(network.alpha)}, 1/β {bandwidth}{fit}"


def roofline_line(roofline: Roofline) -> str:
    """One line on the ceilings of a rank, and why one is missing."""
    figures = [
        units.rate(value, unit) for value, unit in ((roofline.flops, "FLOP/s"), (roofline.bandwidth, "B/s")) if value
    ]
    missing = f" ({roofline.reason})" if roofline.reason else ""
    return f"roofline of one rank: {', '.join(figures) or 'unknown'}{missing}"


class Lines(Listener):
    """Plain lines, one for each thing that is finished, for logs and pipes."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._begin = time.monotonic()
        self._heading = ""

    def sweep_started(self, run: Path, planned: Sequence[Count], layers: Sequence[AnyLayer]) -> None:
        self._print(f"run folder {run}")

    def launch_started(self, count: Count, layers: Sequence[AnyLayer]) -> None:
        self._heading = heading(count)
        self._print(self._heading)

    def network_started(self) -> None:
        self._print("measuring the network between two ranks")

    def network_known(self, network: Network) -> None:
        self._print(network_line(network))

    def roofline_known(self, roofline: Roofline) -> None:
        self._print(roofline_line(roofline))

    def event(self, event: Event) -> None:
        if isinstance(event, Recorded):
            self._print(f"  {event.layer}: {recorded(event)}")

    def launch_failed(self, nodes: int, reason: str) -> None:
        self._print(f"{_plural(nodes, 'node')}: failed: {reason}")

    def note(self, text: str) -> None:
        self._print(text)

    def _print(self, text: str) -> None:
        clock = units.clock(time.monotonic() - self._begin)
        self._console.print(f"{clock} {text}", markup=False, emoji=False, highlight=False, soft_wrap=True)


def recorded(event: Recorded) -> str:
    """What became of a layer's parts."""
    told = [
        f"{number} {word}"
        for number, word in (
            (event.ok, "ok"),
            (event.noisy, "noisy"),
            (event.skipped, "skipped"),
            (event.failed, "failed"),
        )
        if number
    ]
    return ", ".join(told) + (f": {event.reason}" if event.reason else "")


class Bar(Listener):
    """A progress bar with the layer being timed and the time left; what went wrong stays above it."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
        )
        self._task = TaskID(0)
        self._count: Count | None = None
        self._weights: dict[str, float] = {}

    def __enter__(self) -> Bar:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def sweep_started(self, run: Path, planned: Sequence[Count], layers: Sequence[AnyLayer]) -> None:
        total = sum(_weight(layer, count) for count in planned for layer in layers)
        self._task = self._progress.add_task("starting", total=total)
        self.note(f"run folder {run}")

    def launch_started(self, count: Count, layers: Sequence[AnyLayer]) -> None:
        self._count = count
        self._weights = {layer.name: _weight(layer, count) for layer in layers}
        self._describe("starting ranks")

    def network_started(self) -> None:
        self._count = None
        self._describe("measuring the network between two ranks")

    def network_known(self, network: Network) -> None:
        self.note(network_line(network))

    def roofline_started(self) -> None:
        self._count = None
        self._describe("measuring the roofline of one rank")

    def roofline_known(self, roofline: Roofline) -> None:
        self.note(roofline_line(roofline))

    def event(self, event: Event) -> None:
        if isinstance(event, Progressed):
            self._describe(event.what)
        elif isinstance(event, Recorded):
            self._progress.advance(self._task, self._weights.pop(event.layer, 0.0))
            if event.failed or event.skipped:
                self.note(f"{event.layer}: {recorded(event)}")

    def launch_failed(self, nodes: int, reason: str) -> None:
        self._progress.advance(self._task, sum(self._weights.values()))
        self._weights = {}
        self.note(f"{_plural(nodes, 'node')}: failed: {reason}")

    def note(self, text: str) -> None:
        self._progress.console.print(text, markup=False, emoji=False, highlight=False, soft_wrap=True)

    def _describe(self, what: str) -> None:
        where = f"{_plural(self._count.nodes, 'node')}: " if self._count else ""
        self._progress.update(self._task, description=f"{where}{what}")
