"""What came of leaving devices out: tables for a terminal, rows for programs."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from layerbench import units
from layerbench.console import plain_table, print_table, say
from layerbench.kernel_times.devices import Device
from layerbench.kernel_times.evaluate import Checked, Told, nearest, summary
from layerbench.kernel_times.times import Table
from layerbench.suite_format import printable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table as Grid

AIMS = {"conv": (0.12, 0.25), "gemm": (0.16, 0.25), "rnn": (0.16, 0.25)}
"""Median errors to reach with the device left out, and with the shapes left out too."""

KINDS = {"conv": "convolution", "gemm": "matrix product", "rnn": "recurrent layer"}

COLUMNS = (
    "device",
    "op",
    "pass",
    "params",
    "seconds",
    "predicted",
    "low",
    "high",
    "shape_left_out",
    "shape_left_out_low",
    "shape_left_out_high",
    "plain",
)
"""Of a row: all times in seconds."""


def rows(checked: Sequence[Checked]) -> Iterator[dict[str, Any]]:
    """A row of :data:`COLUMNS` for each time; None where there is no prediction."""
    for each in checked:
        row = each.row
        shape = each.shape_left_out
        values: tuple[Any, ...] = (
            *(row.device, each.op, row.pass_, row.params, row.seconds),
            *_three(each.device_left_out),
            *(_three(shape) if shape is not None else (None, None, None)),
            each.plain,
        )
        yield dict(zip(COLUMNS, values, strict=True))


def _three(told: Told) -> tuple[float, float, float]:
    return told.seconds, told.low, told.high


def as_json(checked: Sequence[Checked]) -> str:
    """A list of objects, one for each time."""
    return json.dumps(list(rows(checked)), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def as_csv(checked: Sequence[Checked]) -> str:
    """A line for each time, below their names."""
    import csv
    import io

    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows(checked))
    return text.getvalue()


def print_checked(
    checked: Sequence[Checked], tables: Mapping[str, Table], devices: Mapping[str, Device], console: Console
) -> None:
    """Print the median errors by operation, and by device."""
    names = list(dict.fromkeys(each.row.device for each in checked))
    known = {device.name for table in tables.values() for device in table.devices}
    say(
        console,
        f"{_plural(len(checked), 'kernel time')} of {_plural(len(names), 'device')}, each predicted from its peak and "
        f"bandwidth and {_plural(len(known) - 1, 'other device')}",
        style="bold",
    )
    say(console, "Median of |predicted / true - 1| over all times:")
    head = ("operation", "times", "device\nleft out", "\naim", "shapes\ntoo", "\naim", "\nplain", "in 90 %\nintervals")
    print_table(console, _grid(head, [_of_operation(op, checked) for op in tables if _of(checked, op)], wrapped=set()))
    say(console, "")
    say(console, "Of each device, left out / plain:", style="bold")
    of_device = ("device", "peak, bandwidth", "nearest", *tables)
    lines = [_of_device(name, checked, tables, devices) for name in names]
    if len(lines) > 1:
        lines.append(("mean", "", "", *(_mean(op, checked) for op in tables)))
    print_table(console, _grid(of_device, lines, wrapped={0, 1, 2}))
    say(console, "")
    say(console, "shapes too: the times of this shape on the other devices were not seen either, a part at a time")
    say(console, "plain: the roofline times the median over the other devices of time over roofline at this shape")
    say(console, "nearest: the device nearest in peak and bandwidth, and the factor that it is away")


def _of(checked: Sequence[Checked], op: str, device: str | None = None) -> list[Checked]:
    return [each for each in checked if each.op == op and device in (None, each.row.device)]


def _of_operation(op: str, checked: Sequence[Checked]) -> tuple[str, ...]:
    found = summary(_of(checked, op))
    aims = [f"≤ {100 * aim:.0f} %" for aim in AIMS[op]]
    return (
        KINDS[op],
        f"{found.times:,}",
        _percent(found.device_left_out),
        aims[0],
        _percent(found.shape_left_out),
        aims[1],
        _percent(found.plain),
        f"{_percent(found.held, 0)}, {_percent(found.held_shape, 0)}",
    )


def _of_device(
    name: str, checked: Sequence[Checked], tables: Mapping[str, Table], devices: Mapping[str, Device]
) -> tuple[str, ...]:
    device = devices[name]
    near = min(filter(None, (nearest(table, name) for table in tables.values())), key=lambda found: found[1])
    found = [summary(_of(checked, op, name)) for op in tables]
    return (
        printable(name),
        f"{units.rate(device.peak_flops, 'FLOP/s')}, {units.rate(device.bytes_per_second, 'B/s')}",
        f"{printable(near[0])} × {math.exp(near[1]):.2f}",
        *(_pair(each.device_left_out, each.plain) for each in found),
    )


def _mean(op: str, checked: Sequence[Checked]) -> str:
    """Over devices that were given the operation, each counting alike."""
    of_op = _of(checked, op)
    found = [summary(_of(of_op, op, name)) for name in dict.fromkeys(each.row.device for each in of_op)]
    plain = [each.plain for each in found if not math.isnan(each.plain)]
    return _pair(*(sum(each) / len(each) if each else math.nan for each in ([e.device_left_out for e in found], plain)))


def _pair(error: float, plain: float) -> str:
    return "-" if math.isnan(error) else f"{100 * error:.1f} / {_percent(plain)}"


def _percent(value: float, digits: int = 1) -> str:
    return "-" if math.isnan(value) else f"{100 * value:.{digits}f} %"


def _plural(count: int, noun: str) -> str:
    return f"{count:,} {noun}" + "s" * (count != 1)


def _grid(head: Sequence[str], lines: Sequence[Sequence[str]], wrapped: set[int]) -> Grid:
    """The first column, and those that may be wrapped where there is little room, are words; the others are numbers."""
    return plain_table(head, lines, left={0, *wrapped}, wrapped=wrapped)
