"""A prediction as data: JSON, CSV, job curves, and the files of a folder."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from layerbench import files, outputs
from layerbench.errors import StoreError
from layerbench.predict import figure
from layerbench.predict.answers import same_work
from layerbench.predict.prediction import ALL, Prediction, Row

PREDICTED_JSON, PREDICTED_CSV = "predicted.json", "predicted.csv"
PICTURE_PNG, PICTURE_SVG = "prediction.png", "prediction.svg"

FILES = (PREDICTED_JSON, PREDICTED_CSV, PICTURE_PNG, PICTURE_SVG)
"""All that is written into a folder."""

CURVE_COLUMNS = ("job", "type", "nodes", "seconds")


def as_json(found: Prediction) -> bytes:
    """A list of rows, one a line: ``layer``, ``part``, ``nodes``, ``seconds``, ``low``, ``high``, and what they are."""
    rows = ",\n".join(json.dumps(row._asdict(), allow_nan=False) for row in found.rows)
    return f"[\n{rows}\n]\n".encode()


def as_csv(found: Prediction) -> bytes:
    """The same as a table."""
    return _csv(Row._fields, (map(_cell, row) for row in found.rows))


def as_curves(found: Prediction) -> bytes:
    """Job curves, as ``layerbench schedule`` reads them: a job for each layer type, whose work is one training step.

    All times are of the same work, the batch that was asked for: in weak scaling, where n nodes do n times the work, a
    step's time is divided by n.
    """
    import numpy as np

    question = found.question
    rows = []
    for kind in found.kinds:
        if kind == ALL:
            continue  # a job of its layers twice
        of_kind = found.of_kind(kind)
        work = same_work(question.nodes, np.array([row.seconds for row in of_kind]), question.scaling)
        rows += [(kind, kind, row.nodes, float(value)) for row, value in zip(of_kind, work, strict=True)]
    return _csv(CURVE_COLUMNS, rows)


def write(found: Prediction, folder: Path) -> list[Path]:
    """Write a prediction into a folder.

    Parameters
    ----------
    folder
        Where to; made if it is not there.

    Returns
    -------
    list of Path
        The files that were written.

    Raises
    ------
    UsageError
        If the folder is a run's own, or a file.
    StoreError
        If a file cannot be written; an earlier prediction there is left whole.
    """
    run = found.question.run
    outputs.check_folder(folder, [run.path] if run is not None else [], FILES, what="prediction")
    try:
        return files.all_or_none(folder, lambda draft: _drafted(draft, found))
    except OSError as error:
        raise StoreError(
            f"the prediction cannot be written to {folder}: {error.strerror or error}; name another folder with "
            "--output"
        ) from error


def _drafted(draft: Path, found: Prediction) -> list[str]:
    drawn = figure.draw(found)
    contents = {
        PREDICTED_JSON: as_json(found),
        PREDICTED_CSV: as_csv(found),
        PICTURE_PNG: figure.rendered(drawn, "png"),
        PICTURE_SVG: figure.rendered(drawn, "svg"),
    }
    for name, content in contents.items():
        (draft / name).write_bytes(content)
    return list(contents)


def _csv(head: Sequence[str], rows: Iterable[Iterable[Any]]) -> bytes:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(head)
    writer.writerows(rows)
    return out.getvalue().encode()


def _cell(value: Any) -> Any:
    """Truth values as JSON has them."""
    return str(value).lower() if isinstance(value, bool) else value
