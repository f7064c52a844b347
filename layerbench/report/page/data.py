"""The records that the page's table and strip plot hold, as columns that stay small."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from layerbench import units
from layerbench.report.page import words
from layerbench.report.tables import Tables

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

TABLE_BYTES = 1_600_000
"""Of the records that the page holds: more would make a file that nobody sends."""

ROW_BYTES = 110
"""Of a record without its words, which are held once."""

SAMPLES = 120_000
"""Samples of all records together; a sample is some six bytes."""

OF_A_RECORD = 200
"""Samples that a record may keep however many records there are; more are thinned evenly."""

DIGITS = 5
"""Significant digits of a sample."""

_WORDS = ("run", "layer", "kind", "part", "placement", "algorithm", "status", "reason", "ci_method", "dtype")
_FLAGS = ("noisy", "throttled", "oversubscribed", "in_step")


def payload(tables: Tables) -> dict[str, Any]:
    """What ``page.js`` reads.

    Returns
    -------
    dict
        ``total`` and ``rows``: how many records there are and are held; ``words``: for each column of words the
        distinct ones; ``columns``: for each column its values, those of words as indices; ``samples``: see
        :func:`samples`. Seconds are rounded to six significant digits, other figures to as many as are shown.
    """
    import numpy as np

    frame = tables.records
    chosen = kept(frame)
    rows = frame.iloc[chosen]
    held: dict[str, list[str]] = {}
    columns: dict[str, Any] = {}
    for name in _WORDS:
        codes, distinct = _coded(rows[name])
        held[name], columns[name] = distinct, codes.tolist()
    for name in _FLAGS:
        columns[name] = rows[name].astype("int8").tolist()
    for name in ("nodes", "ranks", "local_batch", "sample_count"):
        columns[name] = rows[name].tolist()
    seconds = {name: rows[name].to_numpy(np.float64) for name in ("median", "ci_low", "ci_high")}
    for name, values in seconds.items():
        columns[name] = _listed(values, 6)
    columns["gflops"] = _listed(rows["flops"].to_numpy(np.float64) / 1e9, 3)
    columns["macs_per_byte"] = _listed(rows["macs_per_byte"].to_numpy(np.float64), 3)
    columns["percent_of_roofline"] = _listed(100 * rows["fraction_of_roofline"].to_numpy(np.float64), 3)
    ends = list(zip(*(values.tolist() for values in seconds.values()), strict=True))
    columns["time_text"] = ["" if math.isnan(median) else units.seconds(median) for median, _, _ in ends]
    columns["interval_text"] = [words.interval(*of_row) for of_row in ends]
    return {
        "total": len(frame),
        "rows": len(rows),
        "words": held,
        "columns": columns,
        "samples": samples(tables, chosen),
        "letters": list(words.letters(tables).values()),
    }


def kept(frame: pd.DataFrame, most: int = TABLE_BYTES) -> np.ndarray:
    """Places of the records that are held, in order.

    Where there are more than ``most`` bytes of them, what needs attention comes first.
    """
    import numpy as np

    order = _by_attention(frame)[: most // ROW_BYTES]
    cost = np.full(len(order), ROW_BYTES)
    for name in ("layer", "algorithm", "reason"):
        words_ = frame[name].cat
        codes = words_.codes.to_numpy()[order]
        lengths = np.array([len(word) for word in words_.categories], np.int64)
        _, first = np.unique(codes, return_index=True)
        cost[first] += lengths[codes[first]]
    return np.sort(order[np.cumsum(cost) <= most])


def _by_attention(frame: pd.DataFrame) -> np.ndarray:
    """Failed, skipped, throttled, noisy, and then all others, each in order."""
    import numpy as np

    status = frame["status"]
    marks = [status == "failed", status == "skipped", frame["throttled"], frame["noisy"]]
    urgent = [mark.to_numpy(np.bool_) for mark in marks]
    return np.argsort(np.select(urgent, [0, 1, 2, 3], 4), kind="stable")


def _coded(column: pd.Series[Any]) -> tuple[np.ndarray, list[str]]:
    """Places in a list of distinct words, and that list, without words that do not occur."""
    import pandas as pd

    codes, distinct = pd.factorize(column.astype("str"))
    return codes, [words.visible(str(word)) for word in distinct]


def _rounded(values: np.ndarray, digits: int) -> np.ndarray:
    """To significant digits."""
    import numpy as np

    with np.errstate(divide="ignore", invalid="ignore"):
        power = np.floor(np.log10(np.abs(values)))
    power = np.where(np.isfinite(power), power, 0.0)
    scale = 10.0 ** (digits - 1 - power)
    return np.round(values * scale) / scale


def _listed(values: np.ndarray, digits: int) -> list[float | int | None]:
    """Numbers as JSON has them: whole ones without a point, and nothing for what is not known."""
    return [
        None if math.isnan(value) else int(value) if value.is_integer() and abs(value) < 2**53 else value
        for value in _rounded(values, digits).tolist()
    ]


def samples(tables: Tables, chosen: np.ndarray) -> list[list[int] | None]:
    """The samples of each chosen record.

    Returns
    -------
    list
        For each record a power of ten and its samples in that unit, as whole numbers of five digits:
        ``[-7, 24871, ...]`` begins with 2.4871 ms. None where it has none, or where the page has no room for them:
        that of what needs attention is kept first.
    """
    import numpy as np

    values, counts = _raw(tables)
    most = _most_each(counts[chosen])
    needs = _by_attention(tables.records.iloc[chosen])
    room = np.minimum(counts[chosen], most)[needs]
    fits = needs[np.cumsum(room) <= SAMPLES]
    held: list[list[int] | None] = [None] * len(chosen)
    for place in fits.tolist():
        raw = values(int(chosen[place]))
        if len(raw):
            thin = raw if len(raw) <= most else raw[np.arange(most) * len(raw) // most]
            power = int(np.floor(np.log10(thin.max()))) - DIGITS + 1 if thin.max() > 0 else 0
            held[place] = [power, *np.round(thin / 10.0**power).astype(np.int64).tolist()]
    return held


def _most_each(counts: np.ndarray) -> int:
    """How many samples a record may keep so that all have room, but no fewer than a histogram needs."""
    import numpy as np

    low, high = OF_A_RECORD, max(OF_A_RECORD, int(counts.max(initial=0)))
    while low < high:
        middle = (low + high + 1) // 2
        if np.minimum(counts, middle).sum() <= SAMPLES:
            low = middle
        else:
            high = middle - 1
    return low


def _raw(tables: Tables) -> Any:
    """Samples by place in ``tables.records``, and how many each has."""
    import numpy as np

    runs = list(tables.runs.values())
    ends = np.cumsum([len(run.records) for run in runs])
    counts = np.concatenate([run.samples.counts for run in runs])

    def of(place: int) -> np.ndarray:
        run = int(np.searchsorted(ends, place, side="right"))
        return runs[run].samples.of(place - int(ends[run] - len(runs[run].records)))

    return of, counts
