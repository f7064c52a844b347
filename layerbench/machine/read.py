"""The format of a machine profile: TOML to :class:`Machine`, every mistake told in one line.

A profile looks like this::

    description = "Twelve nodes of one GPU each"    # optional
    source = "data sheets"                          # optional
    device = "cuda"                                 # optional: host
    nodes = 12                                      # optional: unknown
    ranks_per_node = 1                              # optional: 1
    memory_bytes = 6e9                              # optional: unknown
    caches = [49152, 1572864]                       # optional: unknown
    launch_seconds = 1e-5
    bytes_per_second = { value = 250e9, source = "data sheet" }

    [peak_flops]
    fp32 = { value = 3.95e12, low = 3.1e12, high = 3.95e12, source = "measured" }
    fp64 = 1.31e12

    [between]
    alpha_seconds = 1.4e-6
    bytes_per_second = 6e9
    source = "data sheet"

All figures are of one rank. A figure is a number, or a table of ``value``, the 90 % interval ``low`` and ``high``, and
``source``. ``[within]`` is as ``[between]`` and says what joins the ranks of a node; a profile of a machine without a
network has no ``[between]``, and may say why with ``no_network``. Calibration adds what it measured: ``sweep`` and
``fit`` in either of the two, and ``kernel``. The classes of :mod:`layerbench.machine.figures` tell what they mean.
"""

from __future__ import annotations

import tomllib
from typing import Any, get_args

import msgspec

from layerbench.errors import LayerError, UsageError
from layerbench.layers import DTYPES, PASSES, AnyLayer
from layerbench.machine.entries import Entries, Range
from layerbench.machine.figures import Exchanged, Fit, KernelPoint, Link, Machine, rate_of
from layerbench.records import Operation
from layerbench.suite_format import MAX_FILE_BYTES, printable, shown
from layerbench.units import size

OPERATIONS: tuple[Operation, ...] = get_args(Operation)

NEVER = "never"
"""Stands for a crossover that there is none of."""

_MACHINE = (
    "description",
    "source",
    "device",
    "nodes",
    "ranks_per_node",
    "memory_bytes",
    "caches",
    "launch_seconds",
    "bytes_per_second",
    "peak_flops",
    "between",
    "no_network",
    "within",
    "kernel",
)


DEVICES = ("host", "cuda")

PEAK = Range(1e6, 1e21, "FLOP/s (19.5 TFLOP/s is 19.5e12)")
RATE = Range(1e3, 1e18, "bytes a second (900 GB/s is 900e9)")
MOMENT = Range(1e-12, 1.0, "seconds (2 µs is 2e-6)")
"""Of any machine: what is further out was given in another unit."""


def parse(content: bytes, name: str, where: str) -> Machine:
    """Read a machine from a profile's content.

    Parameters
    ----------
    content
        Of the TOML file.
    name
        The machine's.
    where
        The file's name for messages.

    Raises
    ------
    UsageError
        If the content has a mistake.
    """
    if len(content) > MAX_FILE_BYTES:
        raise UsageError(f"{where}: is larger than {size(MAX_FILE_BYTES)}; expected a machine profile in TOML")
    try:
        document = tomllib.loads(content.decode("utf-8-sig"))
    except RecursionError:
        raise UsageError(f"{where}: is nested too deeply; expected a machine profile in TOML") from None
    except ValueError as error:  # not only TOML's own: text that is not UTF-8, an integer too long to convert
        raise UsageError(f"{where}: is not valid TOML: {printable(str(error))}") from None
    entries = Entries(document, where, "a machine profile", _MACHINE)
    peaks = entries.table("peak_flops", DTYPES)
    if peaks is None or not peaks.values:
        raise UsageError(f"{where}: peak_flops: is missing; expected FLOP/s by dtype, such as fp32 = 4e12")
    between, within = entries.table("between", _LINK), entries.table("within", _LINK)
    return Machine(
        name=name,
        description=entries.text("description"),
        source=entries.text("source"),
        device=entries.one_of("device", DEVICES) if "device" in document else "host",
        nodes=entries.whole("nodes") if "nodes" in document else None,
        ranks_per_node=entries.whole("ranks_per_node") if "ranks_per_node" in document else 1,
        peak={dtype: peaks.figure(dtype, PEAK) for dtype in DTYPES if dtype in peaks.values},
        bandwidth=entries.figure("bytes_per_second", RATE),
        memory_bytes=entries.number("memory_bytes") if "memory_bytes" in document else None,
        caches=_caches(entries),
        launch=entries.figure("launch_seconds", MOMENT),
        between=None if between is None else _link(between),
        no_network=entries.text("no_network"),
        within=None if within is None else _link(within),
        kernels=[_kernel(each) for each in entries.tables("kernel", _KERNEL)],
    )


def _caches(entries: Entries) -> list[int]:
    sizes = entries.values.get("caches", [])
    whole = isinstance(sizes, list) and all(type(each) is int and each > 0 for each in sizes)
    if not whole or sizes != sorted(sizes):
        raise UsageError(f"{entries.where}: caches: expected bytes of each level, smallest first, not {shown(sizes)}")
    return list(sizes)


_LINK = ("alpha_seconds", "bytes_per_second", "source", "sweep", "fit")


def _link(entries: Entries) -> Link:
    return Link(
        alpha=entries.figure("alpha_seconds", MOMENT),
        beta=rate_of(entries.figure("bytes_per_second", RATE)),
        source=entries.text("source"),
        sweeps=[_exchanged(each) for each in entries.tables("sweep", _SWEEP)],
        fits=[_fit(each) for each in entries.tables("fit", _FIT)],
    )


_SWEEP = ("operation", "ranks", "bytes", "seconds", "low", "high")


def _exchanged(entries: Entries) -> Exchanged:
    operation, ranks = entries.one_of("operation", OPERATIONS), entries.whole("ranks", 2)
    seconds = entries.measured("seconds")
    return Exchanged(
        operation=operation,
        ranks=ranks,
        bytes=entries.whole("bytes"),
        seconds=seconds.value,
        low=seconds.low,
        high=seconds.high,
    )


_FIT = ("operation", "alpha_seconds", "bytes_per_second", "crossover_bytes", "residual")


def _fit(entries: Entries) -> Fit:
    return Fit(
        operation=entries.one_of("operation", OPERATIONS),
        alpha=entries.figure("alpha_seconds"),
        beta=rate_of(entries.figure("bytes_per_second")),
        crossover=_crossover(entries),
        residual=entries.number("residual", 0.0) if "residual" in entries.values else None,
    )


def _crossover(entries: Entries) -> dict[int, int | None]:
    found: dict[int, int | None] = {}
    table: Any = entries.values.get("crossover_bytes", {})
    for ranks, size_ in table.items() if isinstance(table, dict) else [("", table)]:
        if not (ranks.isascii() and ranks.isdigit() and len(ranks) < 10) or not (
            size_ == NEVER or (type(size_) is int and size_ >= 0)
        ):
            raise UsageError(
                f"{entries.where}: crossover_bytes: expected bytes, or {NEVER!r}, by number of ranks, such as "
                f"{{ 4 = 65536 }}, not {shown(size_)} for {shown(ranks)}"
            )
        found[int(ranks)] = None if size_ == NEVER else size_
    return found


_KERNEL = ("layer", "pass", "batch", "dtype", "seconds", "low", "high")


def _kernel(entries: Entries) -> KernelPoint:
    layer = _layer(entries)
    seconds = entries.measured("seconds")
    return KernelPoint(
        layer=layer,
        pass_=entries.one_of("pass", PASSES),
        batch=entries.whole("batch"),
        dtype=entries.one_of("dtype", DTYPES),
        seconds=seconds.value,
        low=seconds.low,
        high=seconds.high,
    )


def _layer(entries: Entries) -> AnyLayer:
    try:
        layer: AnyLayer = msgspec.convert(entries.values.get("layer"), AnyLayer)
    except (msgspec.ValidationError, LayerError) as error:
        raise UsageError(f"{entries.where}: layer: {printable(str(error))}") from None
    return layer
