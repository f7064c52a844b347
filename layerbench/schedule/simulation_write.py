"""The files of a simulation: its figures as numbers, its jobs, and a picture of each policy."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

from layerbench import files, outputs
from layerbench.errors import StoreError
from layerbench.schedule.outcome import Outcome
from layerbench.schedule.simulate import POLICIES

if TYPE_CHECKING:
    from layerbench.report.style import Format

OUTCOME, JOBS = "outcome.json", "jobs.csv"

_KINDS: tuple[Format, ...] = ("png", "svg")


def write_outcomes(
    outcomes: Mapping[str, Outcome],
    folder: Path,
    wrong: Mapping[str, Outcome] | None = None,
    inputs: Sequence[Path] = (),
) -> list[Path]:
    """Write outcomes of one trace into a folder, all files or none.

    Parameters
    ----------
    outcomes, wrong
        By policy, planned with the right curves and with wrong ones.
    folder
        Is made if there is none.
    inputs
        What was read: a trace, curves, a run. None of it is overwritten.

    Returns
    -------
    list of Path
        ``outcome.json``: a list of objects as :meth:`Outcome.as_json` has them; ``jobs.csv``: the rows of
        :meth:`Outcome.rows`; ``simulation-POLICY.png`` and ``.svg`` for each policy, with ``-wrong`` where the curves
        were.

    Raises
    ------
    UsageError
        If the folder is a run's own or a file, or an input would be overwritten; nothing is written then.
    StoreError
        If a file cannot be written; what was there is left as it was.
    """
    each = {**outcomes, **{f"{name}-wrong": outcome for name, outcome in (wrong or {}).items()}}
    pictures = [_picture(name, kind) for name in each for kind in _KINDS]
    outputs.check_folder(folder, inputs, [OUTCOME, JOBS, *pictures], what="simulation")
    try:
        written = files.all_or_none(folder, lambda draft: _drafted(draft, each))
        for policy in POLICIES:
            for name, kind in product((policy, f"{policy}-wrong"), _KINDS):
                # What an earlier simulation had and this one has not would be taken for this one's.
                if (stale := folder / _picture(name, kind)) not in written:
                    stale.unlink(missing_ok=True)
        return written
    except OSError as error:
        raise StoreError(
            f"the simulation cannot be written to {folder}: {error.strerror or error}; name another folder with "
            "--output"
        ) from error


def _drafted(draft: Path, each: Mapping[str, Outcome]) -> list[str]:
    from layerbench.schedule.simulation_figure import draw, rendered_as

    told = [outcome.as_json() for outcome in each.values()]
    (draft / OUTCOME).write_text(json.dumps(told, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    (draft / JOBS).write_bytes(_csv([row for outcome in each.values() for row in outcome.rows()]).encode())
    names = [OUTCOME, JOBS]
    for name, outcome in each.items():
        figure = draw(outcome)
        for kind in _KINDS:
            names.append(_picture(name, kind))
            (draft / names[-1]).write_bytes(rendered_as(figure, kind))
    return names


def _picture(policy: str, kind: Format) -> str:
    return f"simulation-{policy}.{kind}"


def _csv(rows: list[dict[str, object]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
