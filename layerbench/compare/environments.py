"""What differs between two sides besides their times: what forbids a comparison, and what is told beside it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from layerbench.compare.side import BASE, NEW, Side
from layerbench.records import Options, used_machines
from layerbench.store import StoredRun
from layerbench.suite_format import flat

HARDWARE = (
    *("cpu_model", "architecture", "sockets", "physical_cores", "logical_cores", "usable_core_count", "caches"),
    *("simultaneous_multithreading", "frequency_governor", "turbo", "virtual_machine", "gpus"),
)
"""Facts of the machine and its settings that no difference of times may be read without."""

WORK = (
    *("scaling", "layout", "dtype", "kernels", "threads_per_rank", "ranks_per_node", "cache", "batch"),
    "oversubscribe",
)
"""Options that say what is computed, and on how much of the machine."""

SOFTWARE = (
    *("hostname", "libraries", "library_variables", "blas", "python", "kernel_release", "distribution", "tools"),
    *("nvidia_driver", "layerbench", "git_commit", "git_dirty", "transparent_hugepages", "container"),
    *("memory_total", "frequency_max"),
)
"""Facts that are usually the very thing under test, or explain a difference."""

_NOT_COMPARED = (*WORK, "nodes", "hosts", "allocated", "timeout")
_OTHER_OPTIONS = tuple(name for name in Options.__struct_fields__ if name not in _NOT_COMPARED)


def that_matter(base: Side, new: Side) -> list[str]:
    """Differences of hardware, its settings and what was computed, each with both values; empty if there are none.

    A fact that could not be read on a side is no difference.
    """
    found = [line for name in HARDWARE for line in _difference(name, base, new, _fact(name))]
    found += [line for name in WORK for line in _difference(name, base, new, _option(name))]
    return found + _difference("number of hosts", base, new, lambda run: used_machines(run.manifest.options) or 1)


def to_be_told(base: Side, new: Side) -> list[str]:
    """Differences of software and host, facts that could not be read, and runs of one side that differ."""
    found = _difference("suite", base, new, lambda run: run.manifest.suite)
    found += [line for name in SOFTWARE for line in _difference(name, base, new, _fact(name))]
    found += [line for name in _OTHER_OPTIONS for line in _difference(name, base, new, _option(name))]
    for side in (base, new):
        varied = [name for name in HARDWARE if len(_values(side, _fact(name))) > 1]
        if varied:
            found.append(f"runs of {side.name} differ among themselves: {', '.join(varied)}")
    unread = [[name for name in HARDWARE if not _values(side, _fact(name))] for side in (base, new)]
    alike = unread[0] == unread[1]
    where = [(f"{BASE} and {NEW}", unread[0])] if alike else list(zip((BASE, NEW), unread, strict=True))
    return found + [f"not known in {sides}, so not compared: {', '.join(names)}" for sides, names in where if names]


def _fact(name: str) -> Callable[[StoredRun], Any]:
    return lambda run: run.manifest.environment.get(name)


def _option(name: str) -> Callable[[StoredRun], Any]:
    return lambda run: getattr(run.manifest.options, name)


def _values(side: Side, read: Callable[[StoredRun], Any]) -> list[Any]:
    """The distinct values of a side's runs, without those that could not be read."""
    found = {msgspec.json.encode(value, order="sorted"): value for value in map(read, side.runs) if value is not None}
    return [found[key] for key in sorted(found)]


def _difference(name: str, base: Side, new: Side, read: Callable[[StoredRun], Any]) -> list[str]:
    were, are = _values(base, read), _values(new, read)
    if were == are or not were or not are:
        return []
    if len(were) == len(are) == 1 and isinstance(were[0], dict) and isinstance(are[0], dict):
        keys = [key for key in sorted({*were[0], *are[0]}) if were[0].get(key) != are[0].get(key)]
        return [against(f"{name} {key}", [were[0].get(key)], [are[0].get(key)]) for key in keys]
    return [against(name, were, are)]


def against(name: str, base: Sequence[Any], new: Sequence[Any]) -> str:
    """A difference in words, on one line: ``batch: 8 in BASE, 16 in NEW``."""
    return f"{name}: {_told(base)} in {BASE}, {_told(new)} in {NEW}"


def _told(values: Sequence[Any]) -> str:
    return " or ".join(flat("none" if value in (None, "", [], {}) else value) for value in values)
