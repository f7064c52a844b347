"""What a calibration found, on the terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from layerbench import units
from layerbench.calibrate.calibration import named
from layerbench.console import plain_table, print_table, say
from layerbench.layers import PASSES
from layerbench.machine import Figure, KernelPoint, Link, Machine, rate_of

if TYPE_CHECKING:
    from rich.console import Console


def print_machine(machine: Machine, console: Console) -> None:
    """Print a machine's figures with their 90 % intervals, its links and its kernels."""
    say(console, f"{machine.name}: {machine.description}")
    rows = [(f"peak {dtype}", *_rate(peak, "FLOP/s")) for dtype, peak in machine.peak.items()]
    rows.append(("bandwidth", *_rate(machine.bandwidth, "B/s")))
    rows.append(("launch", *_shown(machine.launch, units.seconds)))
    rows.append(("caches", ", ".join(map(units.size, machine.caches)) or "unknown", ""))
    _print(console, "One rank", ("", "value", "90 % interval"), rows)
    for title, link in (("Between nodes", machine.between), ("Within a node", machine.within)):
        if link is not None:
            # Over two ranks one algorithm is always the quickest, so that there is no crossover.
            some = any(size is not None for fit in link.fits for size in fit.crossover.values())
            head = _EXCHANGED if some else _EXCHANGED[:-1]
            _print(console, title, head, (row[: len(head)] for row in _exchanges(link)))
    if machine.between is None:
        say(console, f"no network: {machine.no_network}")
    _print(console, "Layers on one rank, of the roofline", _TIMED, _kernels(machine))


_EXCHANGED = ("operation", "ranks", "α", "90 %", "1/β", "90 %", "residual", "crossover")


def _exchanges(link: Link) -> Iterable[Sequence[str]]:
    for each in link.fits:
        ranks = sorted({point.ranks for point in link.sweeps if point.operation == each.operation})
        crossovers = [f"{units.size(size)} ({count})" for count, size in each.crossover.items() if size is not None]
        yield (
            named(each),
            ", ".join(map(str, ranks)),
            *_shown(each.alpha, units.seconds),
            *_rate(rate_of(each.beta), "B/s"),
            "-" if each.residual is None else f"{each.residual:.0%}",
            ", ".join(crossovers) or "-",
        )


_TIMED = ("layer", "batch", *(pass_.replace("_", " ") for pass_ in PASSES))


def _kernels(machine: Machine) -> Iterable[Sequence[str]]:
    times = {(point.layer.name, point.batch, point.pass_): point for point in machine.kernels}
    for layer, batch in dict.fromkeys((layer, batch) for layer, batch, _ in sorted(times, key=lambda key: key[:2])):
        of_passes = [times.get((layer, batch, pass_)) for pass_ in PASSES]
        yield layer, str(batch), *("-" if each is None else _efficiency(machine, each) for each in of_passes)


def _efficiency(machine: Machine, point: KernelPoint) -> str:
    flop, moved = 2 * point.layer.macs(point.batch), point.layer.bytes(point.batch, point.dtype)
    least = max(flop / machine.peak[point.dtype].value, moved / machine.bandwidth.value)
    return f"{least / point.seconds:.0%}"


def _rate(figure: Figure, unit: str) -> tuple[str, str]:
    return _shown(figure, lambda value: units.rate(value, unit))


def _shown(figure: Figure, format_: Callable[[float], str]) -> tuple[str, str]:
    """The value, and how far the ends of its interval are from it."""
    return format_(figure.value), f"{figure.low / figure.value - 1:+.0%} {figure.high / figure.value - 1:+.0%}"


def _print(console: Console, title: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    table = plain_table(head, rows, left={0}, wrapped=range(1, len(head)))
    if table.row_count:
        say(console, "")
        say(console, title, style="bold")
        print_table(console, table)
