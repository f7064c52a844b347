"""Reading jobs: from a table of one's own (CSV, JSON), from predicted times, or from a run folder.

A table has a row for each node count that a job may take::

    job,type,nodes,seconds
    a,conv,1,6.5
    a,conv,2,3.4
    b,fc,1,2.0

Columns stand in any order and further ones are ignored. Without a column ``type`` a job's type is its name. Instead of
``seconds`` there may be ``throughput`` and ``work``: work in any unit, throughput in that unit a second. JSON is a list
of objects with these keys. Of predicted times (``layer``, ``part``, ``nodes``, ``seconds``) each layer is a job: its
rows of part ``step``, its type the layer's ``kind`` if that is told, else its name. If they tell the ``batch`` over all
nodes and it differs from count to count, as in weak scaling, all times are made those of the least batch.
"""

from __future__ import annotations

import csv
import io
import json
import math
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from layerbench import store, units
from layerbench.errors import UsageError
from layerbench.schedule import of_run
from layerbench.schedule.jobs import MOST_NODES, Job
from layerbench.suite_format import did_you_mean, printable, shown

STANDARD_INPUT = Path("-")

MAX_FILE_BYTES = 2**29
MAX_NAME_LENGTH = 256

_OWN = ("job", "type", "nodes", "seconds", "throughput", "work")
_PREDICTED = ("layer", "kind", "nodes", "seconds", "throughput", "work", "batch")
"""The columns of a :class:`_Row` as a table of one's own names them, and as predicted times do."""

_EXPECTED = "job, nodes and seconds (or throughput and work), and type if need be"
_A_PLAN = "is a plan, not jobs: name the file or run folder that it was made from"

_HALF = re.compile("[\ud800-\udfff]")
"""What JSON can escape and no file can hold."""

_JSON = re.compile(rb"(?:\xef\xbb\xbf)?\s*[\[{]")


@dataclass(frozen=True)
class Reading:
    """Jobs as they were read.

    Attributes
    ----------
    jobs
        In the order in which their names first stand there; names differ.
    notes
        What is to be known of their times, a sentence each: which counts of a run are emulated.
    """

    jobs: list[Job]
    notes: tuple[str, ...] = ()


class _Row(NamedTuple):
    """What a row tells of one job on one node count, as it stands there; None where it does not tell.

    ``number`` is that of the line or entry, from 1.
    """

    number: int
    job: object
    type: object
    nodes: object
    seconds: object
    throughput: object
    work: object
    batch: object = None


@dataclass(frozen=True)
class _Source:
    """What messages name: a file, and whether its rows are lines or entries."""

    name: str
    row: str

    def wrong(self, problem: str, number: int | None = None) -> UsageError:
        where = "" if number is None else f"{self.row} {number}: "
        return UsageError(f"{self.name}: {where}{problem}")


def read_jobs(path: Path) -> list[Job]:
    """The jobs of a CSV or JSON file, of standard input (``-``), or of a run folder: there a step of each layer type.

    Raises
    ------
    StoreError
        If it is a folder, and no run that can be read.
    UsageError
        If it cannot be read or has no jobs, or a row is wrong: the message names the file and the row.
    """
    return read(path).jobs


def read(path: Path) -> Reading:
    """The same, with what is to be known of the times."""
    name = "standard input" if path == STANDARD_INPUT else printable(str(path))
    try:
        content = None if path != STANDARD_INPUT and path.is_dir() else _content(path)
        is_run = content is None and (path / store.MANIFEST).exists()
    except OSError as error:
        raise UsageError(
            f"{name} cannot be read: {error.strerror or error}; name a CSV or JSON file of jobs, or a run folder"
        ) from error
    if content is not None:
        with store.collector_paused():
            return Reading(_of_content(content, name))
    if not is_run:
        raise UsageError(
            f"{name} is a folder without {store.MANIFEST}, so no run: name a folder that layerbench run wrote, or a "
            "CSV or JSON file of jobs"
        )
    found = of_run.read(path)
    return Reading(of_run.jobs(found), found.notes)


def _content(path: Path) -> bytes:
    """A file's bytes, or one more than is allowed: a device may have no end."""
    if path != STANDARD_INPUT:
        with path.open("rb") as file:
            return file.read(MAX_FILE_BYTES + 1)
    if sys.stdin is None:
        raise OSError("it is closed")
    return sys.stdin.buffer.read(MAX_FILE_BYTES + 1)


def _of_content(content: bytes, name: str) -> list[Job]:
    if len(content) > MAX_FILE_BYTES:
        raise UsageError(f"{name} is larger than {units.size(MAX_FILE_BYTES)}: leave out all columns but {_EXPECTED}")
    if _JSON.match(content):
        source = _Source(name, "entry")
        return _jobs(_json_rows(_text(content, name), source), source)
    source = _Source(name, "line")
    return _jobs(_csv_rows(content, source), source)


def _text(content: bytes, name: str) -> str:
    """What a file says.

    Raises
    ------
    UsageError
        If it is no text.
    """
    if b"\0" in content:
        line = content.count(b"\n", 0, content.index(b"\0")) + 1
        raise UsageError(f"{name}: line {line}: is not text (byte 0x00); expected a CSV or JSON file of jobs, in UTF-8")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line, byte = content.count(b"\n", 0, error.start) + 1, content[error.start]
        raise UsageError(
            f"{name}: line {line}: is not UTF-8 (byte 0x{byte:02x}); expected a CSV or JSON file of jobs, in UTF-8"
        ) from None


def _csv_rows(content: bytes, source: _Source) -> Iterator[_Row]:
    # Decoded twice, but the text of a large file is never held whole beside its rows.
    _text(content, source.name)
    decoded = io.TextIOWrapper(io.BytesIO(content), "utf-8-sig", newline="")
    lines = csv.reader(decoded, strict=True, skipinitialspace=True)
    filled = ((lines.line_num, cells) for cells in lines if any(map(str.strip, cells)))
    line = 0
    try:
        line, cells = next(filled, (1, []))
        header = [cell.strip() for cell in cells]
        columns = _columns(header)
        _check_header(header, columns, source, line)
        places = [header.index(column) if column in header else None for column in columns]
        part = header.index("part") if columns is _PREDICTED else None
        for line, cells in filled:
            if len(cells) != len(header):
                raise source.wrong(
                    f"expected {len(header)} cells, as the header has, not {len(cells)}: separate cells by commas, and "
                    "put text with a comma in double quotes",
                    line,
                )
            if part is None or cells[part].strip() == "step":
                yield _Row(line, *(None if place is None else cells[place].strip() for place in places))
    except csv.Error as error:
        # A quote that is not closed reaches to the end: where its row begins is what helps.
        raise source.wrong(f"is not CSV: {printable(str(error))}; mend the quotes", line + 1) from None


def _columns(names: Sequence[str] | dict[str, Any]) -> tuple[str, ...]:
    return _PREDICTED if "job" not in names and "layer" in names and "part" in names else _OWN


def _check_header(header: list[str], columns: tuple[str, ...], source: _Source, line: int) -> None:
    """Refuse a header from which no curve can be had."""
    if not header:
        raise source.wrong(f"is empty; expected the columns {_EXPECTED}, and a row for each count a job may take")
    if twice := [name for name, times in Counter(header).items() if times > 1 and name in columns]:
        raise source.wrong(f"has the column {twice[0]} twice: leave one out", line)
    missing = [name for name in (columns[0], "nodes") if name not in header]
    if "seconds" not in header and not {"throughput", "work"} <= set(header):
        if {"start", "end"} <= set(header):
            raise source.wrong(_A_PLAN)
        given = [name for name in ("throughput", "work") if name in header]
        missing += [name for name in ("throughput", "work") if name not in header] if given else ["seconds"]
    if not missing:
        return
    if len(header) == 1 and (other := next((mark for mark in ";\t|" if mark in header[0]), None)):
        mark = "tabs" if other == "\t" else repr(other)
        raise source.wrong(f"its columns are separated by {mark}: separate them by commas", line)
    hint = did_you_mean(missing[0], header)
    raise source.wrong(
        f"expected a header with the columns {_EXPECTED}; {', '.join(missing)} "
        f"{'is' if len(missing) == 1 else 'are'} missing{hint}",
        line,
    )


def _json_rows(text: str, source: _Source) -> Iterator[_Row]:
    try:
        document = json.loads(text, object_pairs_hook=_object)
    except RecursionError:
        raise source.wrong("is nested too deeply; expected a list of objects") from None
    except ValueError as error:  # JSONDecodeError, and integers of thousands of digits
        raise source.wrong(f"is not valid JSON: {printable(str(error))}; expected a list of objects") from None
    if isinstance(document, dict):
        raise source.wrong(_why_no_list(document))
    columns = _columns(document[0]) if document and isinstance(document[0], dict) else _OWN
    for number, entry in enumerate(document, start=1):
        if not isinstance(entry, dict):
            raise source.wrong(f"expected an object with the keys {_EXPECTED}, not {shown(entry)}", number)
        if columns is _OWN or entry.get("part") == "step":
            yield _Row(number, *map(entry.get, columns))


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(key for key, times in Counter(key for key, _ in pairs).items() if times > 1)
        raise ValueError(f"an object has the key {shown(twice)} twice")
    return found


def _why_no_list(document: dict[str, Any]) -> str:
    if "jobs" in document and "makespan" in document:
        return _A_PLAN
    if "schema_version" in document:
        return "is a part of a run: name the run's folder"
    return f"expected a list of objects with the keys {_EXPECTED}, not one object"


def _jobs(rows: Iterable[_Row], source: _Source) -> list[Job]:
    """The jobs of all rows, each in the place of its first."""
    types: dict[str, tuple[str, int]] = {}
    curves: dict[str, dict[int, tuple[float, int]]] = {}
    batches: dict[str, dict[int, float]] = {}
    for row in rows:
        try:
            name, type_, count, seconds = _told(row)
            if not _is_missing(row.batch):
                batches.setdefault(name, {})[count] = _positive(row.batch, "batch")
        except ValueError as error:
            raise source.wrong(str(error), row.number) from None
        known, first = types.setdefault(name, (type_, row.number))
        if known != type_:
            raise source.wrong(
                f"job {printable(name)}: its type is {shown(type_)} here and {shown(known)} in {source.row} {first}: "
                "give it one type, or two jobs two names",
                row.number,
            )
        _, before = curves.setdefault(name, {}).setdefault(count, (seconds, row.number))
        if before != row.number:
            raise source.wrong(
                f"job {printable(name)}: its time on {count} nodes is in {source.row} {before} already: leave one out, "
                "or give two jobs two names",
                row.number,
            )
    if not curves:
        raise source.wrong(
            "has no jobs: expected a row for each node count that a job may take (of predicted times, of part step)"
        )
    return [Job.of(name, types[name][0], _of_one_batch(curve, batches.get(name, {}))) for name, curve in curves.items()]


def _of_one_batch(curve: dict[int, tuple[float, int]], batch: dict[int, float]) -> Iterator[tuple[int, float]]:
    """A curve's counts and seconds, all of the least batch among them if every count tells its own."""
    least = min(batch.values(), default=0.0)
    for count, (seconds, _) in curve.items():
        yield count, seconds * least / batch[count] if len(batch) == len(curve) else seconds


def _told(row: _Row) -> tuple[str, str, int, float]:
    """A row's job, its type, a node count and the seconds on it.

    Raises
    ------
    ValueError
        With what is wrong.
    """
    name = _word(row.job, "job: expected its name")
    try:
        type_ = name if row.type is None else _word(row.type, "type: expected a word (or no type in any row)")
        return name, type_, _count(row.nodes), _seconds(row)
    except ValueError as error:
        raise ValueError(f"job {printable(name)}: {error}") from None


def _word(value: object, expected: str) -> str:
    """A name: text, or in JSON also a whole number."""
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    word = text.strip() if isinstance(text, str) else ""
    if not word:
        raise ValueError(f"{expected}, {_not(value)}")
    if len(word) > MAX_NAME_LENGTH or _HALF.search(word):
        raise ValueError(f"{expected}, of whole characters and at most {MAX_NAME_LENGTH}, not {shown(word)}")
    return word


def _count(value: object) -> int:
    number = _number(value)
    if number is None or not (1 <= number <= MOST_NODES and number.is_integer()):
        raise ValueError(f"nodes: expected a whole number from 1 to {MOST_NODES:,}, {_not(value)}")
    return int(number)


def _seconds(row: _Row) -> float:
    """Its own, or those of its work at its throughput."""
    if not _is_missing(row.seconds) or row.throughput is None or row.work is None:
        return _positive(row.seconds, "seconds", " (or throughput and work)")
    throughput, work = _positive(row.throughput, "throughput"), _positive(row.work, "work")
    seconds = work / throughput
    if not 0 < seconds < math.inf:
        raise ValueError(f"work / throughput: expected positive, finite seconds, not {seconds:g}")
    return seconds


def _positive(value: object, column: str, otherwise: str = "") -> float:
    number = _number(value)
    if number is None or not 0 < number < math.inf:
        raise ValueError(f"{column}: expected a positive, finite number{otherwise}, {_not(value)}")
    return number


def _is_missing(value: object) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def _not(value: object) -> str:
    return "and it is missing" if _is_missing(value) else f"not {shown(value)}"


def _number(value: object) -> float | None:
    """What a cell, or a value of JSON, is as a number; None if it is none."""
    # Python reads 1_000, which nobody else does.
    if isinstance(value, bool) or not isinstance(value, int | float | str) or (isinstance(value, str) and "_" in value):
        return None
    try:
        return float(value)
    except OverflowError:
        return math.inf
    except ValueError:
        return None
