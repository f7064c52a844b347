"""Google Benchmark's JSON, for the tools that compare and track such files.

A record is a benchmark, named ``layer/part/nodes:N``. Its samples are what ``--benchmark_repetitions`` would have
given: an entry of ``run_type`` ``iteration`` for each, whose ``iterations`` are the repetitions within the sample, and
after them, where there are two or more, the aggregates ``mean``, ``median``, ``stddev`` and ``cv``.

* What was emulated has ``/emulated`` at the end of its name, because tools show the name and little else, and says in
  its ``label`` what was computed. A time that was computed has one entry and no aggregates.
* ``cpu_time`` is required by the format's readers and was not measured: it is 0 everywhere, and ``context`` says so.
  To repeat ``real_time`` there would claim that the processor was busy throughout, which nobody knows of a
  communication, nor of what a GPU does.
* ``threads`` are those of all ranks together.
* What failed has ``error_occurred`` and ``error_message``; what was skipped has ``skipped`` and ``skip_message``.
* ``cv`` is left out where the mean is 0, as of communication on one rank: the format would want a NaN.
"""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from layerbench import stats
from layerbench.export.exported import Exported, document

if TYPE_CHECKING:
    from layerbench.records import Manifest, Record
    from layerbench.report.tables import Run

NANOSECONDS = 1e9

_CACHE = re.compile(r"L(\d)([di]?)")
_CACHE_TYPES = {"d": "Data", "i": "Instruction", "": "Unified"}


def convert(run: Run) -> Exported:
    """A run as Google Benchmark would have written it; nothing is left out."""
    return Exported(document("context", _context(run.manifest), "benchmarks", _entries(run)))


def _context(manifest: Manifest) -> dict[str, Any]:
    """What the format wants to know of the machine; 0 and empty where the run does not know it."""
    known = manifest.environment
    matched = [(_CACHE.fullmatch(name), size) for name, size in (known.get("caches") or {}).items()]
    load = known.get("load_average")
    return {
        "date": manifest.start,
        "host_name": known.get("hostname") or "",
        "executable": "layerbench",
        "num_cpus": known.get("usable_core_count") or 0,
        "mhz_per_cpu": round((known.get("frequency") or 0) / 1e6),
        "cpu_scaling_enabled": known.get("frequency_governor") not in (None, "performance"),
        "caches": [
            {"type": _CACHE_TYPES[match[2]], "level": int(match[1]), "size": size, "num_sharing": 0}
            for match, size in matched
            if match
        ],
        "load_avg": [] if load is None else [load],
        "library_version": str(known.get("layerbench") or ""),
        "library_build_type": "release",
        "json_schema_version": 1,
        "cpu_model": known.get("cpu_model") or "",
        "suite": manifest.suite,
        "command": manifest.command,
        "cpu_time": "not measured, written as 0",
    }


def _entries(run: Run) -> Iterator[dict[str, Any]]:
    families: dict[tuple[str, str], int] = {}
    instances: dict[tuple[str, str], int] = {}
    for record in run.records:
        family = record.layer, record.part
        index = instances[family] = instances.get(family, -1) + 1
        common = {
            "family_index": families.setdefault(family, len(families)),
            "per_family_instance_index": index,
            "run_name": _name(record),
        }
        yield from _of_record(record, common)


def _name(record: Record) -> str:
    emulated = "/emulated" if record.placement == "emulated" else ""
    return f"{record.layer}/{record.part}/nodes:{record.nodes}{emulated}"


def _of_record(record: Record, common: dict[str, Any]) -> Iterator[dict[str, Any]]:
    seconds = record.samples
    if record.status == "ok" and not seconds and record.modelled_seconds is not None:
        seconds = [record.modelled_seconds]
    if record.status != "ok" or not seconds:
        yield {**_entry(record, common, [], 0, 0.0), **_trouble(record)}
        return
    for index, value in enumerate(seconds):
        yield _entry(record, common, seconds, index, value * NANOSECONDS)
    if len(seconds) > 1:
        yield from _aggregates(record, common, [value * NANOSECONDS for value in seconds])


def _entry(
    record: Record, common: dict[str, Any], seconds: list[float], index: int, real_time: float
) -> dict[str, Any]:
    return {
        "name": common["run_name"],
        **common,
        "run_type": "iteration",
        "repetitions": max(1, len(seconds)),
        "repetition_index": index,
        "threads": _threads(record),
        "iterations": record.inner if seconds else 0,
        **_times(real_time),
        **_label(record),
    }


def _aggregates(record: Record, common: dict[str, Any], values: list[float]) -> Iterator[dict[str, Any]]:
    """Of times in ns; ``iterations`` is then the number of repetitions, and ``cv`` a ratio whatever its time unit."""
    mean, deviation = math.fsum(values) / len(values), statistics.stdev(values)
    figures = {"mean": mean, "median": stats.median(values), "stddev": deviation}
    if mean:
        figures["cv"] = deviation / mean
    for name, value in figures.items():
        yield {
            "name": f"{common['run_name']}_{name}",
            **common,
            "run_type": "aggregate",
            "repetitions": len(values),
            "threads": _threads(record),
            "aggregate_name": name,
            "aggregate_unit": "percentage" if name == "cv" else "time",
            "iterations": len(values),
            **_times(value),
            **_label(record),
        }


def _threads(record: Record) -> int:
    return record.ranks * record.threads_per_rank


def _times(real_time: float) -> dict[str, Any]:
    return {"real_time": real_time, "cpu_time": 0.0, "time_unit": "ns"}


def _trouble(record: Record) -> dict[str, Any]:
    if record.status == "skipped":
        return {"skipped": True, "skip_message": record.reason}
    return {"error_occurred": True, "error_message": record.reason or "no time was recorded"}


def _label(record: Record) -> dict[str, str]:
    computed = "time" if not record.samples else "communication"
    words = [
        f"emulated, {computed} computed by network {record.network}" if record.modelled_seconds is not None else "",
        "emulated" if record.placement == "emulated" and record.modelled_seconds is None else "",
        "noisy" if record.noisy else "",
        "throttled" if record.throttled else "",
        record.algorithm,
    ]
    label = "; ".join(word for word in words if word)
    return {"label": label} if label else {}
