"""DeepBench's table of times, in the very columns in which its published ones are read.

A row is a pass on one rank of a shape that DeepBench can express, see :mod:`layerbench.reference`. ``device`` is the
processor's model, ``time_ms`` the median. Each pass was verified and timed in training, so ``stage`` is ``training``.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from typing import TYPE_CHECKING

from layerbench import reference, stats
from layerbench.errors import UsageError
from layerbench.export.exported import Exported

if TYPE_CHECKING:
    from layerbench.layers import AnyLayer
    from layerbench.records import Manifest, Record
    from layerbench.report.tables import Run


def convert(run: Run) -> Exported:
    """The passes on one rank; a run of which DeepBench has no word gives the header alone.

    Raises
    ------
    UsageError
        If nothing in it has a time: every record failed, was skipped, or has no samples.
    """
    if not any(record.status == "ok" and record.samples for record in run.records):
        untimed = Counter(record.status if record.status != "ok" else "without samples" for record in run.records)
        told = Exported([], untimed).remark(len(run.records))
        raise UsageError(f"{run.path} has no time for DeepBench's table: {told}")
    layers = {layer.name: layer for layer in run.manifest.layers}
    left_out: Counter[str] = Counter()
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(reference.COLUMNS)
    for record in run.records:
        reason, listed = _listing(record, layers.get(record.layer))
        if listed is None:
            left_out[reason] += 1
        else:
            op, params, pass_ = listed
            milliseconds = stats.median(record.samples) * 1e3
            device = _device(record, run.manifest)
            writer.writerow((device, "training", record.dtype, op, pass_, params, milliseconds, record.algorithm))
    return Exported([text.getvalue().encode()], left_out)


def _listing(record: Record, layer: AnyLayer | None) -> tuple[str, tuple[str, str, str] | None]:
    """Why a record is left out, and if it is not, its ``op``, ``params`` and ``pass``."""
    if record.status != "ok":
        return record.status, None
    if record.ranks != 1:
        return "on several ranks", None
    if record.part in ("communication", "step"):
        return "of communication and steps, which DeepBench does not have", None
    if record.placement == "emulated":
        return "emulated", None
    if not record.samples:
        return "without samples", None
    if record.cache != "hot":
        return "with a cold cache, where DeepBench's is hot", None
    if layer is None:
        return "of layers that the manifest does not have", None
    listed = reference.params_of(layer, record.batch, record.part)
    objection = reference.objection(layer)
    if listed is None or objection:
        return f"of {objection or 'shapes that DeepBench has no words for'}", None
    op, params = listed
    return "", (op, params, reference.pass_of(op, record.part))


def _device(record: Record, manifest: Manifest) -> str:
    if record.device != "host":
        return record.device
    return str(manifest.environment.get("cpu_model") or "processor unknown")
