"""A machine as the TOML text of a profile, which :func:`layerbench.machine.read.parse` reads again."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

import msgspec

from layerbench.layers import DTYPES
from layerbench.machine.figures import Exchanged, Figure, Fit, KernelPoint, Link, Machine, rate_of
from layerbench.machine.read import NEVER


def to_toml(machine: Machine) -> str:
    """A profile of a machine, without its name, which is the file's."""
    entries: dict[str, object] = {"description": machine.description, "source": machine.source}
    entries |= {"device": machine.device, "nodes": machine.nodes, "ranks_per_node": machine.ranks_per_node}
    entries |= {"memory_bytes": machine.memory_bytes, "caches": machine.caches, "no_network": machine.no_network}
    entries |= {"launch_seconds": _figure(machine.launch), "bytes_per_second": _figure(machine.bandwidth)}
    peaks: dict[str, object] = {dtype: _figure(machine.peak[dtype]) for dtype in DTYPES if dtype in machine.peak}
    blocks = [_lines(entries), _table("peak_flops", peaks)]
    for name, link in (("between", machine.between), ("within", machine.within)):
        if link is not None:
            blocks.append(_link(name, link))
    blocks += [_table("kernel", _kernel(point), array=True) for point in machine.kernels]
    return "\n".join(blocks)


def _link(name: str, link: Link) -> str:
    head = {
        "source": link.source,
        "alpha_seconds": _figure(link.alpha),
        "bytes_per_second": _rate(link.beta),
    }
    text = _table(name, head)
    for entry, tables in (("fit", map(_fit, link.fits)), ("sweep", map(_exchanged, link.sweeps))):
        if rows := list(tables):
            text += f"{entry} = [\n" + "".join(f"    {_value(row)},\n" for row in rows) + "]\n"
    return text


def _fit(fit: Fit) -> dict[str, object]:
    return {
        "operation": fit.operation,
        "alpha_seconds": _figure(fit.alpha),
        "bytes_per_second": _rate(fit.beta),
        "residual": fit.residual,
        "crossover_bytes": {str(ranks): NEVER if size is None else size for ranks, size in fit.crossover.items()},
    }


def _exchanged(point: Exchanged) -> dict[str, object]:
    return {
        "operation": point.operation,
        "ranks": point.ranks,
        "bytes": point.bytes,
        "seconds": point.seconds,
        "low": point.low,
        "high": point.high,
    }


def _kernel(point: KernelPoint) -> dict[str, object]:
    return {
        "layer": msgspec.to_builtins(point.layer),
        "pass": point.pass_,
        "batch": point.batch,
        "dtype": point.dtype,
        "seconds": point.seconds,
        "low": point.low,
        "high": point.high,
    }


def _figure(figure: Figure) -> object:
    """A number where there is no more to say."""
    told: dict[str, object] = {"value": figure.value}
    if (figure.low, figure.high) != (figure.value, figure.value):
        told |= {"low": figure.low, "high": figure.high}
    if figure.source:
        told["source"] = figure.source
    return told if len(told) > 1 else figure.value


def _rate(beta: Figure) -> object:
    """Bytes a second for seconds a byte, in the fewest digits that give the same when they are read."""
    rate = rate_of(beta)
    value, low, high = (
        _shortest(*pair) for pair in ((rate.value, beta.value), (rate.low, beta.high), (rate.high, beta.low))
    )
    return _figure(Figure(value=value, low=low, high=high, source=rate.source))


def _shortest(rate: float, beta: float) -> float:
    for digits in range(1, 17):
        rounded = float(f"{rate:.{digits}g}")
        if 1 / rounded == beta:
            return rounded
    return rate


def _table(name: str, entries: Mapping[str, object], *, array: bool = False) -> str:
    return (f"[[{name}]]\n" if array else f"[{name}]\n") + _lines(entries)


def _lines(entries: Mapping[str, object]) -> str:
    return "".join(f"{name} = {_value(value)}\n" for name, value in entries.items() if not _nothing(value))


def _nothing(value: object) -> bool:
    """Whether an entry is left out: reading gives the same without it."""
    return value is None or value == "" or value in ([], {})


def _value(value: object) -> str:
    match value:
        case bool():
            return str(value).lower()
        case int():
            return repr(value)
        case float():
            return repr(float(value))  # of NumPy's own floats too
        case str():
            # A JSON string is one of TOML's, but for the one control character that JSON leaves as it is.
            return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
        case Mapping():
            inside = _joined(f"{name} = {_value(each)}" for name, each in value.items() if not _nothing(each))
            return f"{{ {inside} }}"
        case list() | tuple():
            return f"[{_joined(map(_value, value))}]"
    raise TypeError(f"a profile holds no {type(value).__name__}")


def _joined(parts: Iterable[str]) -> str:
    return ", ".join(parts)
