"""The run folder: ``run.json`` and ``records.jsonl``; crash-safe to write, forgiving to read.

A record is one line, flushed and synced to disk as it is measured. A line that was cut off (power, a kill, a full disk)
costs that record alone: reading skips it with a warning, resuming moves it aside.
"""

from __future__ import annotations

import contextlib
import fcntl
import gc
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

import msgspec

from layerbench.errors import JournalError, StoreError, UsageError
from layerbench.layers import KINDS
from layerbench.records import OLDEST_VERSION, SCHEMA_VERSION, Manifest, Record
from layerbench.suite_format import printable

MANIFEST = "run.json"
RECORDS = "records.jsonl"
LAUNCHES = "launches"
BATCH = "batch"
"""Jobs that were submitted to measure a run: their scripts, logs and exit codes."""

TORN = "records.torn"

CHUNK_BYTES = 2**18
"""Of a journal that are read at a time: what is decoded of them then stays in the processor's cache."""


@dataclass(frozen=True)
class StoredRun:
    """A run as it was read: of two records with one key the later one, or the one that did not fail."""

    path: Path
    manifest: Manifest
    records: list[Record]
    warnings: list[str] = field(default_factory=list)


def create(path: Path, manifest: Manifest) -> None:
    """Make a run folder and write its manifest.

    Raises
    ------
    StoreError
        If the folder holds a run already, or cannot be written.
    """
    try:
        if (path / MANIFEST).exists() or ((path / RECORDS).exists() and (path / RECORDS).stat().st_size):
            raise StoreError(f"{path} already holds a run: add --resume to complete it, or name another --output")
        if path.is_dir() and any(entry.name not in _BEFORE_A_RUN for entry in path.iterdir()):
            raise StoreError(f"{path} is not empty and holds no run: name an --output that is new or empty")
        (path / LAUNCHES).mkdir(parents=True, exist_ok=True)
        (path / RECORDS).touch()
    except OSError as error:
        raise StoreError(f"{path} cannot be made a run folder: {_cause(error)}; name another --output") from error
    write_manifest(path, manifest)


_BEFORE_A_RUN = (BATCH, LAUNCHES, RECORDS)
"""What a submission leaves, or a start that was killed before it had written the manifest."""


def write_manifest(path: Path, manifest: Manifest) -> None:
    """Replace ``run.json`` whole: a reader sees the old one or the new one, never a part.

    Raises
    ------
    StoreError
        If it cannot be written; the old one is left as it was.
    """
    target, draft = path / MANIFEST, path / (MANIFEST + ".new")
    try:
        with draft.open("wb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(manifest), indent=2))
            file.flush()
            os.fsync(file.fileno())
        draft.replace(target)
    except OSError as error:
        with contextlib.suppress(OSError):
            draft.unlink()
        raise StoreError(f"{target} cannot be written: {_cause(error)}") from error


class Journal:
    """Appends records to a run folder; whole lines only."""

    def __init__(self, path: Path) -> None:
        self._name = path / RECORDS
        try:
            self._file = os.open(self._name, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
        except OSError as error:
            raise JournalError(f"{self._name} cannot be opened: {_cause(error)}") from error

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        os.close(self._file)

    def lock(self) -> None:
        """Keep the run folder for this process, until the journal is closed.

        Raises
        ------
        StoreError
            If another process has it.
        """
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StoreError(f"{self._name.parent} is being written by another layerbench: wait for it") from error
        except OSError:
            # A file system without locks; two runs in one folder are then the user's to avoid.
            return

    @property
    def size(self) -> int:
        """Bytes written so far, by whomever."""
        return os.fstat(self._file).st_size

    def since(self, start: int) -> list[Record]:
        """Records written after the journal had ``start`` bytes; what is not a whole record is left out."""
        decoder = msgspec.json.Decoder(Record)
        found = []
        for line in os.pread(self._file, max(0, self.size - start), start).split(b"\n"):
            with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError):
                found.append(decoder.decode(line))
        return found

    def append(self, records: Iterable[Record]) -> None:
        """Write records and wait until they are on disk.

        Raises
        ------
        JournalError
            If they cannot be written (a full disk). What was written before stays whole.
        """
        line = b"".join(msgspec.json.encode(record) + b"\n" for record in records)
        end = os.fstat(self._file).st_size
        try:
            if end and os.pread(self._file, 1, end - 1) != b"\n":
                # A rank of an earlier launch died while it wrote: its torn line must not take this one with it.
                line = b"\n" + line
            written = 0
            while written < len(line):
                written += os.write(self._file, line[written:])
            os.fsync(self._file)
        except OSError as error:
            os.ftruncate(self._file, end)
            raise JournalError(
                f"{self._name} cannot be written: {_cause(error)}; every record before it is safe: "
                f"make room, then run the same command with --output {self._name.parent} --resume"
            ) from error


def load(path: Path | str) -> StoredRun:
    """Read a run folder.

    Raises
    ------
    StoreError
        If there is none, it cannot be read, or a newer layerbench wrote it.
    """
    path = Path(path)
    manifest = load_manifest(path)
    warnings: list[str] = []
    latest: dict[tuple[str, str, int], Record] = {}
    with collector_paused():
        for batch in batches(path, warnings):
            for record in batch:
                # What failed when a layer was measured again does not undo what had been measured.
                if record.status == "ok" or latest.get(record.key, record).status != "ok":
                    latest[record.key] = record
    return StoredRun(path, manifest, list(latest.values()), warnings)


def ranges(path: Path, size: int) -> list[tuple[int, int]]:
    """Where a journal can be divided: from byte to byte, at the ends of lines, each ``size`` or little more.

    Raises
    ------
    StoreError
        If the journal cannot be read.
    """
    name = path / RECORDS
    found, start = [], 0
    try:
        with name.open("rb") as file:
            end = os.fstat(file.fileno()).st_size
            while start < end:
                file.seek(min(start + size, end))
                file.readline()
                found.append((start, min(file.tell(), end)))
                start = found[-1][1]
    except OSError as error:
        raise _unreadable(name, error) from error
    return found


def batches(path: Path, warnings: list[str], start: int = 0, stop: int | None = None) -> Iterator[list[Record]]:
    """The records of a run folder as they stand in its journal, some hundreds at a time.

    Read is from byte ``start``, where a line begins, to ``stop`` or the end. A line that is no record is left out and
    told in ``warnings``, its number counted from there. What became of several records with one key is the reader's
    affair: see :class:`StoredRun`.

    Raises
    ------
    StoreError
        If the journal cannot be read.
    """
    name = path / RECORDS
    decoder = msgspec.json.Decoder(Record)
    before, torn = 0, b""
    try:
        with name.open("rb") as file:
            file.seek(start)
            left = sys.maxsize if stop is None else stop - start
            while chunk := file.read(min(CHUNK_BYTES, left)):
                left -= len(chunk)
                whole, newline, torn = (torn + chunk).rpartition(b"\n")
                if newline:
                    yield _decoded(decoder, whole, name, before, warnings)
                    before += whole.count(b"\n") + 1
    except OSError as error:
        raise _unreadable(name, error) from error
    if torn.strip():
        try:
            yield [decoder.decode(torn)]
        except (msgspec.DecodeError, UnicodeDecodeError):
            warnings.append(f"{name}: line {before + 1} is cut off and is not counted")


def _decoded(
    decoder: msgspec.json.Decoder[Record], lines: bytes, name: Path, before: int, warnings: list[str]
) -> list[Record]:
    with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError):
        return decoder.decode_lines(lines)
    found = []
    for number, line in enumerate(lines.split(b"\n"), start=before + 1):
        if not line.strip():
            continue
        try:
            found.append(decoder.decode(line))
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            warnings.append(f"{name}: line {number} is not a record ({error}) and is not counted")
    return found


def being_written(path: Path) -> bool:
    """Whether a layerbench is writing to a run folder now."""
    try:
        with (path / RECORDS).open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        # A file system without locks, or no journal: nobody can tell.
        return False
    return False


@contextlib.contextmanager
def collector_paused() -> Iterator[None]:
    """No garbage collection: among many live objects without cycles it is half the time and finds nothing."""
    on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if on:
            gc.enable()


class _Kind(msgspec.Struct):
    kind: str = ""


class _Outline(msgspec.Struct):
    """What is read of a manifest before it is known to be one of ours."""

    schema_version: int
    layers: list[_Kind] = []


def load_manifest(path: Path) -> Manifest:
    """What was run, where and when; one of an older schema as this one has it.

    Raises
    ------
    StoreError
        If there is none, it cannot be read, or a newer layerbench wrote it.
    """
    name = path / MANIFEST
    try:
        text = name.read_bytes()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise _no_run(path) from error
    except OSError as error:
        raise StoreError(f"{name} cannot be read: {_cause(error)}") from error
    newer = "read it with the layerbench that wrote it, or a newer one"
    try:
        outline = msgspec.json.decode(text, type=_Outline)
        if not OLDEST_VERSION <= outline.schema_version <= SCHEMA_VERSION:
            raise StoreError(
                f"{name} has schema version {outline.schema_version}, this layerbench reads {OLDEST_VERSION} to "
                f"{SCHEMA_VERSION}: {newer}"
            )
        if unknown := sorted({layer.kind for layer in outline.layers} - KINDS.keys()):
            raise StoreError(f"{name} has layers of a kind unknown here ({', '.join(map(repr, unknown))}): {newer}")
        manifest = msgspec.json.decode(text, type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise StoreError(
            f"{name} is damaged: {error}; put a sound copy in its place, or run again into another folder"
        ) from error
    return msgspec.structs.replace(manifest, schema_version=SCHEMA_VERSION)


def run_folders(path: Path) -> list[Path]:
    """The runs that a folder holds, by name.

    Raises
    ------
    OSError
        If it is no folder, or cannot be read.
    """
    return sorted(folder for folder in path.iterdir() if (folder / MANIFEST).exists())


def _no_run(path: Path) -> StoreError:
    """Why there is nothing to read in a place, and what to name instead."""
    if not os.path.lexists(path):
        return StoreError(f"{path} does not exist: name a run folder")
    if not path.is_dir():
        return StoreError(f"{path} is not a run folder but a file: name the folder")
    with contextlib.suppress(OSError):
        if inside := run_folders(path):
            return StoreError(f"{path} is not a run but a folder of runs: name a run inside it, such as {inside[0]}")
    return StoreError(f"{path} is not a run folder: it has no {MANIFEST}")


def _unreadable(journal: Path, error: OSError) -> StoreError:
    if isinstance(error, FileNotFoundError):
        return StoreError(
            f"{journal.parent} has no {RECORDS}, in which its records were: put a copy of it there, or run again into "
            "another folder"
        )
    return StoreError(f"{journal} cannot be read: {_cause(error)}")


def without_records(path: Path, purpose: str, warnings: Sequence[str]) -> UsageError:
    """What to tell of a run folder that has nothing to ``report``, say, and what was wrong with its journal."""
    why = f" ({printable(warnings[0])})" if warnings else ""
    return UsageError(
        f"{path} has no records to {purpose}{why}: complete it with layerbench run, its own options, "
        f"--output {path} and --resume"
    )


def set_aside_torn_tail(path: Path) -> str | None:
    """Move a last line without its end to ``records.torn``, so that appending starts on a fresh line.

    Returns
    -------
    str or None
        What was done, for the user; None if the last line is whole.
    """
    name = path / RECORDS
    try:
        text = name.read_bytes()
        tail = text[text.rfind(b"\n") + 1 :]
        if not tail:
            return None
        with (path / TORN).open("ab") as aside:
            aside.write(tail + b"\n")
            os.fsync(aside.fileno())
        os.truncate(name, len(text) - len(tail))
    except OSError as error:
        raise StoreError(f"{name} cannot be mended: {_cause(error)}") from error
    return f"the last line of {name} was cut off; it is now in {path / TORN} and its record is measured again"


def _cause(error: OSError) -> str:
    return error.strerror or str(error)
