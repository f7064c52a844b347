"""The run folder: ``run.json`` and ``records.jsonl``; crash-safe to write, forgiving to read.

A record is one line, flushed and synced to disk as it is measured. A line that was cut off (power, a kill, a full disk)
costs that record alone: reading skips it with a warning, resuming moves it aside.
"""

from __future__ import annotations

import contextlib
import fcntl
import gc
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

import msgspec

from layerbench.errors import JournalError, StoreError
from layerbench.records import SCHEMA_VERSION, Manifest, Record

MANIFEST = "run.json"
RECORDS = "records.jsonl"
LAUNCHES = "launches"
TORN = "records.torn"


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
        if (path / MANIFEST).exists() or (path / RECORDS).exists():
            raise StoreError(f"{path} already holds a run: add --resume to complete it, or name another --output")
        if path.is_dir() and any(path.iterdir()):
            raise StoreError(f"{path} is not empty and holds no run: name an --output that is new or empty")
        (path / LAUNCHES).mkdir(parents=True, exist_ok=True)
        (path / RECORDS).touch()
    except OSError as error:
        raise StoreError(f"{path} cannot be made a run folder: {_cause(error)}; name another --output") from error
    write_manifest(path, manifest)


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
    manifest = _load_manifest(path / MANIFEST)
    try:
        text = (path / RECORDS).read_bytes()
    except OSError as error:
        raise StoreError(f"{path / RECORDS} cannot be read: {_cause(error)}") from error
    with collector_paused():
        return _records(path, manifest, text)


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


def _records(path: Path, manifest: Manifest, text: bytes) -> StoredRun:
    decoder = msgspec.json.Decoder(Record)
    latest: dict[tuple[str, str, int], Record] = {}
    warnings = []
    lines = text.split(b"\n")
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            record = decoder.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            kind = "is cut off" if number == len(lines) else f"is not a record ({error})"
            warnings.append(f"{path / RECORDS}: line {number} {kind} and is not counted")
            continue
        # What failed when a layer was measured again does not undo what had been measured.
        if record.status == "ok" or latest.get(record.key, record).status != "ok":
            latest[record.key] = record
    return StoredRun(path, manifest, list(latest.values()), warnings)


def _load_manifest(path: Path) -> Manifest:
    class Version(msgspec.Struct):
        schema_version: int

    try:
        text = path.read_bytes()
    except FileNotFoundError as error:
        raise StoreError(f"{path.parent} is not a run folder: it has no {MANIFEST}") from error
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {_cause(error)}") from error
    try:
        version = msgspec.json.decode(text, type=Version).schema_version
        if version != SCHEMA_VERSION:
            raise StoreError(
                f"{path} has schema version {version}, this layerbench reads {SCHEMA_VERSION}: "
                "read it with the layerbench that wrote it, or a newer one"
            )
        return msgspec.json.decode(text, type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise StoreError(f"{path} is damaged: {error}") from error


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
