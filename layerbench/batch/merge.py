"""Merges the runs of an array's jobs into one: what was measured is added, nothing that is there is taken away.

It may be done again and again, while jobs are still running and after some were submitted again; a crash in between
leaves a run to which the next merge adds what is missing.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path

import msgspec

from layerbench import store
from layerbench.environment import machine_fingerprint
from layerbench.errors import StoreError
from layerbench.records import Manifest, Options, Record
from layerbench.store import Journal, StoredRun

_OWN = ("nodes", "timeout", "hosts", "allocated")
"""Options in which runs that are merged may differ."""


def merge(target: Path, parts: Sequence[Path], command: str, *, whole: bool = True) -> list[str]:
    """Merge runs into one.

    Parameters
    ----------
    target
        The run folder to merge into; made a run if it is none.
    parts
        Run folders of the same suite and options but for node counts; of which none is there yet, none is merged.
    command
        What made them, for the manifest.
    whole
        Whether these are all the parts that there will be. The merged run is complete only if they are, and all of
        them are there and complete.

    Returns
    -------
    list of str
        What the user should know.

    Raises
    ------
    StoreError
        If they cannot be merged, or there is nothing to merge.
    """
    there = [path for path in parts if (path / store.MANIFEST).exists()]
    notes = [f"nothing was measured yet into {path}" for path in parts if path not in there]
    if not there:
        raise StoreError(f"there is nothing to merge into {target} yet: no job has measured anything")
    runs = [store.load(path) for path in there]
    first = runs[0]
    for other in runs[1:]:
        _check(first, other)
        notes += _of_machines(first, other)
    manifest = _manifest([run.manifest for run in runs], command)
    if manifest.outcome == "complete" and not (whole and len(there) == len(parts)):
        manifest = msgspec.structs.replace(manifest, outcome="running", end="")
    if (target / store.MANIFEST).exists():
        _check(StoredRun(target, store.load_manifest(target), []), first)
    else:
        store.create(target, msgspec.structs.replace(manifest, outcome="running", end=""))
    with contextlib.closing(Journal(target)) as journal:
        journal.lock()
        store.set_aside_torn_tail(target)
        have = {record.key: record for record in store.load(target).records}
        new = [record for run in runs for record in run.records if _adds(record, have.get(record.key))]
        if new:
            journal.append(new)
        # Last: a manifest that says complete has all its records.
        store.write_manifest(target, manifest)
    return [*notes, *(warning for run in runs for warning in run.warnings)]


def _adds(record: Record, have: Record | None) -> bool:
    """Whether a record says more than the one that is there: a failure does not undo what was measured."""
    return have is None or (record != have and (record.status == "ok" or have.status != "ok"))


def _check(one: StoredRun, other: StoredRun) -> None:
    a, b = one.manifest, other.manifest
    differences = [] if a.layers == b.layers else ["layers"]
    differences += [
        f"--{name.replace('_', '-')} ({getattr(a.options, name)} and {getattr(b.options, name)})"
        for name in Options.__struct_fields__
        if name not in _OWN and getattr(a.options, name) != getattr(b.options, name)
    ]
    if differences:
        raise StoreError(f"{one.path} and {other.path} cannot be merged, they differ in {', '.join(differences)}")


def _of_machines(one: StoredRun, other: StoredRun) -> list[str]:
    """Differences of hardware, which make of a scaling curve one of two machines."""
    was, is_now = (machine_fingerprint(run.manifest.environment) for run in (one, other))
    differing = [
        f"{name.replace('_', ' ')} {was[name]} and {is_now[name]}" for name in was if was[name] != is_now[name]
    ]
    told = f"{one.path} and {other.path} were measured on different hardware: {', '.join(differing)}"
    return [told] if differing else []


def _manifest(parts: Sequence[Manifest], command: str) -> Manifest:
    first = parts[0]
    # Hosts are those of the largest count: of all others they are in its launches.
    largest = max(parts, key=lambda part: max(part.options.nodes)).options
    counts = sorted({count for part in parts for count in part.options.nodes})
    return msgspec.structs.replace(
        first,
        command=command or first.command,
        options=msgspec.structs.replace(largest, nodes=counts),
        network=next((part.network for part in parts if part.network is not None), None),
        roofline=next((part.roofline for part in parts if part.roofline is not None), None),
        layouts=[choice for part in parts for choice in part.layouts],
        launches=[launch for part in parts for launch in part.launches],
        start=min(part.start for part in parts),
        end=max(part.end for part in parts) if all(part.end for part in parts) else "",
        outcome=next((part.outcome for part in parts if part.outcome != "complete"), "complete"),
    )
