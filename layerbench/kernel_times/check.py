"""From the files that a user names to the checked times of their devices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from layerbench.errors import UsageError
from layerbench.kernel_times import devices, times
from layerbench.kernel_times.devices import Device
from layerbench.kernel_times.evaluate import Checked, evaluate
from layerbench.kernel_times.times import Table
from layerbench.suite_format import did_you_mean, printable


@dataclass(frozen=True)
class Check:
    """Checked times, with the tables they were predicted from, and all devices by name."""

    checked: list[Checked]
    tables: dict[str, Table]
    devices: dict[str, Device]
    notes: tuple[str, ...]


def check(
    files: Sequence[Path],
    devices_file: Path | None,
    names: Sequence[str],
    *,
    only_these: bool,
    folds: int,
    seed: int,
) -> Check:
    """Leave out each device of some files, or of the published times.

    Parameters
    ----------
    files
        Tables of times; none for the published ones.
    devices_file
        Peaks and bandwidths; they take the place of the shipped ones of the same names.
    names
        Of the devices to predict; none for all of the files.
    only_these
        Whether to learn from the files' devices alone.
    folds, seed
        As of :func:`layerbench.kernel_times.evaluate.evaluate`.

    Raises
    ------
    UsageError
        If a file cannot be read or has a mistake, a device is not known, or nothing is left to learn from.
    """
    if folds < 2:
        raise UsageError(f"--folds must be at least 2, not {folds}")
    if seed < 0:
        raise UsageError(f"--seed must be at least 0, not {seed}")
    if only_these and not files:
        raise UsageError("--only-these: name the files whose devices alone are learnt from")
    known = devices.shipped() | (devices.read(devices_file) if devices_file is not None else {})
    own = [times.read(path) for path in files]
    # Later files take the place of earlier ones, and any of the published times.
    frames = own if only_these else [*times.published(), *own]
    tables = times.tables(frames, known)
    there = list(dict.fromkeys(name for frame in own or frames for name in times.counted(frame)))
    asked = _asked(names, there)
    checked = evaluate(tables, asked, folds, seed)
    if not checked:
        raise UsageError(
            f"nothing to learn from: no device but {', '.join(map(printable, asked))} has times of the same operations"
        )
    return Check(checked, tables, known, _notes(checked, tables, asked))


def _asked(names: Sequence[str], there: Sequence[str]) -> list[str]:
    for name in names:
        if name not in there:
            raise UsageError(
                f"--device {printable(name)}: has no times here{did_you_mean(name, there)}; there are those of "
                f"{', '.join(map(printable, there))}"
            )
    return list(dict.fromkeys(names)) or list(there)


def _notes(checked: Sequence[Checked], tables: dict[str, Table], asked: Sequence[str]) -> tuple[str, ...]:
    """What could not be predicted."""
    notes = []
    for op, table in tables.items():
        had = {row.device for row in table.rows} & set(asked)
        for name in sorted(had - {each.row.device for each in checked if each.op == op}):
            notes.append(f"{printable(name)}: {op} cannot be predicted, since no other device has times of it")
    return tuple(notes)
