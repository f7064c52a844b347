"""The format of a system's file: TOML to :class:`System`, every mistake told in one line.

What goes into a scheduler's directive is not read by a shell and cannot be quoted, so it may hold no white space,
quotes or control characters. What goes into the script is quoted there, but for lines of shell, which are taken as they
are.
"""

from __future__ import annotations

import re
import shlex
import tomllib
from types import UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

import msgspec

from layerbench.batch import system as systems
from layerbench.batch import walltime
from layerbench.batch.schedulers.registry import SCHEDULERS
from layerbench.batch.system import System
from layerbench.errors import UsageError
from layerbench.suite_format import MAX_FILE_BYTES, did_you_mean, printable, shown

_LEAST = {"gpus_per_node": 0, "queue_gpus_per_node": 0}
_MOST = 10_000_000

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_OF_THE_SCRIPT = ("run", "job")
"""Variables that a job script has itself."""

_DIRECTIVE_WORD = re.compile(r"[^\s\"'`\\$;#]*")
_IN_DIRECTIVES = ("feature", "memory", "queue")

_ONLY_WITH = {
    "memory": ("slurm", "openpbs"),
    "queue_option": ("slurm",),
    "hardware_threads": ("slurm",),
    "feature": ("slurm", "torque", "openpbs", "lsf", "flux"),
}
"""Entries that only some schedulers have a word for."""


def parse(content: bytes, name: str, where: str) -> System:
    """Read a system from a file's content; ``where`` is the file's name for messages.

    Raises
    ------
    UsageError
        If the content has a mistake.
    """
    if len(content) > MAX_FILE_BYTES:
        raise UsageError(f"{where}: is too large to be a system in TOML")
    if not _NAME.fullmatch(name):
        raise UsageError(f"{where}: a system's file is named with letters, digits and . _ + -, not {shown(name)}")
    try:
        table = tomllib.loads(content.decode("utf-8-sig"))
    except RecursionError:
        raise UsageError(f"{where}: is nested too deeply; expected a system in TOML") from None
    except ValueError as error:  # not only TOML's own: text that is not UTF-8, an integer too long to convert
        raise UsageError(f"{where}: is not valid TOML: {printable(str(error))}") from None
    types = {entry: hint for entry, hint in get_type_hints(System).items() if entry in _entries()}
    for entry in table:
        if entry not in types:
            hint = did_you_mean(entry, types)
            raise UsageError(f"{where}: unknown entry {shown(entry)}{hint}; allowed are {', '.join(types)}")
    for entry in ("scheduler", "launcher"):
        if entry not in table:
            raise UsageError(f"{where}: {entry}: is missing; expected one of {', '.join(get_args(types[entry]))}")
    values = {
        entry: _value(value, types[entry], f"{where}: {entry}", _LEAST.get(entry, 1)) for entry, value in table.items()
    }
    system = System(name=name, **values)
    _check(system, table, where)
    return system


def _entries() -> list[str]:
    return [field.name for field in msgspec.structs.fields(System) if field.name != "name"]


def _value(value: object, wanted: Any, where: str, least: int) -> Any:
    """An entry's value, of the type its field declares; ``least`` if that is a number."""
    if get_origin(wanted) is Literal:
        known = get_args(wanted)
        if value not in known:
            hint = did_you_mean(value, known)
            raise UsageError(f"{where}: expected one of {', '.join(known)}, not {shown(value)}{hint}")
        return value
    if isinstance(wanted, UnionType):
        (wanted,) = (one for one in get_args(wanted) if one is not type(None))
    if wanted is bool:
        if not isinstance(value, bool):
            raise UsageError(f"{where}: expected true or false, not {shown(value)}")
        return value
    if wanted is int:
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= _MOST:
            raise UsageError(f"{where}: expected a whole number from {least} to {_MOST}, not {shown(value)}")
        return value
    if wanted is str:
        return _text(value, where)
    if get_origin(wanted) is list:
        if not isinstance(value, list):
            raise UsageError(f"{where}: expected a list of texts, not {shown(value)}")
        return [_text(one, f"{where}: entry {number}") for number, one in enumerate(value, start=1)]
    _, kind = get_args(wanted)
    if not isinstance(value, dict):
        expected = "number" if kind is int else '"text"'
        raise UsageError(f"{where}: expected a table of name = {expected}, not {shown(value)}")
    return {key: _value(one, kind, f"{where}: {printable(key)}", least) for key, one in value.items()}


def _text(value: object, where: str) -> str:
    if not isinstance(value, str) or not value.isprintable():
        raise UsageError(f"{where}: expected text on one line without control characters, not {shown(value)}")
    return value


def _check(system: System, table: dict[str, Any], where: str) -> None:
    """What an entry may hold beyond its type, and what goes with what."""
    for entry in _IN_DIRECTIVES:
        value = getattr(system, entry)
        if not _DIRECTIVE_WORD.fullmatch(value):
            raise UsageError(f"{where}: {entry}: expected one word of a directive, without quotes, not {shown(value)}")
    if system.directives and system.scheduler == "local":
        raise UsageError(f"{where}: directives: jobs of this machine's own have none; expected them with a scheduler")
    for number, line in enumerate(system.directives, start=1):
        if not line.strip():
            raise UsageError(f"{where}: directives: entry {number}: is empty")
        if line.lstrip().startswith("#"):
            raise UsageError(
                f"{where}: directives: entry {number}: expected a directive without its prefix, not {shown(line)}"
            )
        if SCHEDULERS[system.scheduler].OWN_DIRECTIVES.match(line.lstrip()):
            raise UsageError(
                f"{where}: directives: entry {number}: {shown(line)} cannot be here, layerbench submit says this of "
                "each job itself"
            )
    systems.check_launcher(system.scheduler, system.launcher, f"{where}: launcher:")
    for entry, schedulers in _ONLY_WITH.items():
        if entry in table and system.scheduler not in schedulers:
            raise UsageError(
                f"{where}: {entry}: {system.scheduler} has no word for it, {', '.join(schedulers)} have; use directives"
            )
    for entry in ("launcher_args", "wrapper"):
        try:
            shlex.split(getattr(system, entry))
        except ValueError as error:
            raise UsageError(f"{where}: {entry}: {shown(getattr(system, entry))}: {error}") from None
    for variable in system.environment:
        if not _VARIABLE.fullmatch(variable):
            raise UsageError(f"{where}: environment: {shown(variable)} is no variable's name")
        if variable in _OF_THE_SCRIPT:
            raise UsageError(f"{where}: environment: {variable} is a variable of the job script itself; name another")
    times = {"walltime_default": system.walltime_default, "walltime_most": system.walltime_most}
    seconds = {entry: walltime.parse(text, f"{where}: {entry}") for entry, text in times.items() if text}
    for queue, text in system.queue_walltime_most.items():
        walltime.parse(text, f"{where}: queue_walltime_most: {printable(queue)}")
    if seconds.get("walltime_default", 0) > seconds.get("walltime_most", _MOST):
        raise UsageError(f"{where}: walltime_default: is more than walltime_most, {system.walltime_most}")
    if system.cores_per_node is not None and system.ranks_per_node * (system.threads or 1) > system.cores_per_node:
        raise UsageError(
            f"{where}: {system.ranks_per_node} ranks of {system.threads or 1} threads exceed cores_per_node, "
            f"{system.cores_per_node}"
        )
