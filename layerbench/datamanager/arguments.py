"""What a data manager is asked for, checked: each mistake is one line."""

from __future__ import annotations

import math
import os
import re
import threading
from collections import Counter
from collections.abc import Collection, Iterable, Mapping

import numpy as np

from layerbench.datamanager.device import Device
from layerbench.datamanager.source import Source
from layerbench.errors import UsageError
from layerbench.suite_format import did_you_mean, shown

TIMEOUT = 60.0
"""Seconds that a batch may take unless others are asked for."""

_OF_A_SOURCE = ("fields", "batch_size", "batches", "stages", "plan", "close")
_CUDA = re.compile(r"cuda(?::(\d{1,4}))?")


def check_source(source: Source) -> None:
    """Refuse a source that could not be run: one without fields, stages, or room for a sample.

    Raises
    ------
    UsageError
        Says what is wrong with it.
    """
    if missing := [name for name in _OF_A_SOURCE if not hasattr(source, name)]:
        kind = type(source).__name__
        raise UsageError(
            f"expected a source, such as Arrays, ImageFolder, Shards or Batches, not {shown(kind)}, which has no "
            f"{missing[0]}; Batches makes one of whatever can be iterated"
        )
    if not _is_count(source.batch_size):
        raise UsageError(f"a source's batch_size is a whole number of at least 1, not {shown(source.batch_size)}")
    if source.batches is not None and not _is_count(source.batches, least=0):
        raise UsageError(f"a source's batches is a whole number or None, not {shown(source.batches)}")
    for what, named in (("fields", source.fields), ("stages", source.stages)):
        if not named:
            raise UsageError(f"a source has {what}, at least one; this one has none")
        name, times = Counter(one.name for one in named).most_common(1)[0]
        if times > 1:
            raise UsageError(f"the {what} of a source have different names; {times} of this one are {shown(name)}")
    for field in source.fields:
        if field.dtype.hasobject:
            raise UsageError(f"field {shown(field.name)} has dtype object: a batch is made of numbers")


def check_depth(depth: object) -> int:
    """Slots: at least one.

    Raises
    ------
    UsageError
        If it is no whole number, or none.
    """
    if not isinstance(depth, int | np.integer) or not _is_count(depth):
        raise UsageError(f"depth is the number of slots, a whole number of at least 1, not {shown(depth)}")
    return int(depth)


def check_timeout(timeout: float | None) -> float | None:
    """Seconds, no more than a thread can wait for; None for ever.

    Raises
    ------
    UsageError
        If it is not positive.
    """
    if timeout is None:
        return None
    if isinstance(timeout, bool) or not isinstance(timeout, int | float) or math.isnan(timeout) or timeout <= 0:
        raise UsageError(f"timeout is a positive number of seconds, or None to wait for ever, not {shown(timeout)}")
    return min(float(timeout), threading.TIMEOUT_MAX)


def threads_of(source: Source, workers: Mapping[str, int] | int | None) -> dict[str, int]:
    """Workers of each stage, by its name: those asked for, or the stage's own.

    Raises
    ------
    UsageError
        If a count is less than one, or a stage is not the source's.
    """
    stages = {stage.name: stage.workers for stage in source.stages}
    if isinstance(workers, Mapping):
        for name in workers:
            if name not in stages:
                raise UsageError(
                    f"workers: this source has no stage {shown(name)}{did_you_mean(name, stages)}; it has "
                    + ", ".join(stages)
                )
        stages |= workers
    elif workers is not None:
        stages = dict.fromkeys(stages, workers)
    for name, count in stages.items():
        if not _is_count(count):
            raise UsageError(f"workers of {name} are a whole number of at least 1, not {shown(count)}")
    return stages


def check_cores(cores: Collection[int] | None) -> frozenset[int] | None:
    """Cores that threads of this process can be kept to.

    Raises
    ------
    UsageError
        If one is not this machine's, or not this process's to use.
    """
    if cores is None:
        return None
    if not hasattr(os, "sched_setaffinity"):
        raise UsageError("cores: this system keeps no thread to cores; leave it None")
    if not isinstance(cores, Iterable):
        raise UsageError(f"cores are numbers of cores, such as [0, 1], not {shown(cores)}")
    asked = frozenset(cores)
    if not asked or not all(_is_count(core, least=0) for core in asked):
        raise UsageError(f"cores are numbers of cores, at least one, not {shown(sorted(asked, key=str))}")
    got: list[frozenset[int]] = []

    def try_them() -> None:
        """In a thread of its own, so that the caller's stays where it is."""
        try:
            os.sched_setaffinity(0, asked)
        except (OSError, OverflowError, ValueError):
            got.append(frozenset())
        else:
            got.append(frozenset(os.sched_getaffinity(0)))

    thread = threading.Thread(target=try_them)
    thread.start()
    thread.join()
    if missing := sorted(asked - got[0]):
        raise UsageError(f"cores: this process cannot use {shown(missing)} of {shown(sorted(asked))}")
    return asked


def device_for(device: Device | str | None) -> Device:
    """The device that was asked for.

    Raises
    ------
    UsageError
        If there is no such kind of device.
    UnavailableError
        If it is not here.
    """
    if device is None or device == "host":
        from layerbench.datamanager.host import Host

        return Host()
    if isinstance(device, str):
        if (found := _CUDA.fullmatch(device)) is None:
            raise UsageError(f"device {shown(device)} is not known: it is 'host', 'cuda' or 'cuda:N'")
        from layerbench.datamanager.cuda import Cuda

        return Cuda(None if found[1] is None else int(found[1]))
    if not isinstance(device, Device):
        raise UsageError(f"device is 'host', 'cuda', 'cuda:N' or a Device, not {shown(type(device).__name__)}")
    return device


def _is_count(value: object, least: int = 1) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool) and bool(value >= least)
