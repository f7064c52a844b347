"""The format of a suite file: TOML to :class:`Suite`, every mistake told in one line.

A suite file looks like this::

    name = "two-layers"                    # optional: the file's name
    description = "A filter and a matrix"  # optional
    batch = 64                             # optional: the global batch if --batch is not given; 128

    [[layer]]
    kind = "conv"
    name = "conv1"
    input = 224                            # pixels: one number, or [height, width]
    in_channels = 3
    out_channels = 96
    filter = [11, 11]
    stride = 4                             # optional: 1
    padding = 2                            # optional: 0, on each side
    dilation = 1                           # optional: 1
    groups = 1                             # optional: 1
    backward_data_in_step = false          # optional: true; false for a network's first layer

    [[layer]]
    kind = "fc"
    name = "fc2"
    in_features = 9216
    out_features = 4096

A layer of kind ``lstm`` has ``input_size``, ``hidden_size`` and ``time_steps``. The classes of
:mod:`layerbench.layers` tell what the fields mean: a field there is a field here. Names are of letters, digits,
``.``, ``_``, ``+`` and ``-``, because they become parts of file names and of ``--filter`` patterns; they differ
within a suite.
"""

from __future__ import annotations

import difflib
import re
import tomllib
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from layerbench import units
from layerbench.errors import LayerError, SuiteError
from layerbench.layers import KINDS, AnyLayer, Pair

DEFAULT_BATCH = 128

MAX_SIZE = 2**31 - 1
"""Largest size in any one dimension: what kernel libraries hold in a 32-bit integer."""

MAX_FILE_BYTES = 2**20
_MAX_NAME_LENGTH = 64
_NAME = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._+-]{{0,{_MAX_NAME_LENGTH - 1}}}")
_LEAST = {"padding": 0}

_GAP = re.compile(r"[^\S\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000]+")
"""White space without the spaces of a width of their own, and those at which no line breaks."""


class Suite(msgspec.Struct, frozen=True, kw_only=True):
    """The layers of a network.

    Attributes
    ----------
    name, description
        As the file gives them; the name is the file's own if it gives none.
    batch
        Global batch if none is asked for.
    layers
        In the file's order; their names differ.
    source
        Where it was read from, as messages name it.
    """

    name: str
    description: str
    batch: int
    layers: tuple[AnyLayer, ...]
    source: str


def parse(content: bytes, source: str) -> Suite:
    """Read a suite from a file's content; ``source`` is the file's name for messages.

    Raises
    ------
    SuiteError
        If the content has a mistake.
    """
    if len(content) > MAX_FILE_BYTES:
        raise SuiteError(f"{source}: is larger than {units.size(MAX_FILE_BYTES)}; expected a suite in TOML")
    try:
        document = tomllib.loads(content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        byte = content[error.start]
        raise SuiteError(f"{source}: line {line}: is not UTF-8 (byte 0x{byte:02x}); save it as UTF-8") from None
    except RecursionError:
        raise SuiteError(f"{source}: is nested too deeply; expected a suite in TOML") from None
    except ValueError as error:  # TOMLDecodeError, and integers of thousands of digits
        raise SuiteError(f"{source}: is not valid TOML: {printable(str(error))}") from None
    return _suite(document, source)


def _suite(document: dict[str, Any], source: str) -> Suite:
    _refuse_unknown(document, ("name", "description", "batch", "layer"), f"{source}: ", "a suite")
    if "name" in document:
        name = _name(document["name"], f"{source}: name")
    else:
        name = re.sub(r"[^A-Za-z0-9._+-]+", "-", Path(source).stem).strip("-._+")[:_MAX_NAME_LENGTH] or "suite"
    return Suite(
        name=name,
        description=_description(document.get("description", ""), f"{source}: description"),
        batch=_whole_number(document.get("batch", DEFAULT_BATCH), 1, f"{source}: batch"),
        layers=_layers(document.get("layer", []), source),
        source=source,
    )


def _layers(tables: object, source: str) -> tuple[AnyLayer, ...]:
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise SuiteError(f"{source}: layer: expected one [[layer]] table for each layer, not {shown(tables)}")
    if not tables:
        raise SuiteError(f"{source}: has no layers; expected at least one [[layer]] table")
    layers: dict[str, AnyLayer] = {}
    for index, table in enumerate(tables):
        name = table.get("name")
        entry = f"{source}: {entry_of(index, name)}"
        layer = _layer(table, entry)
        if layer.name in layers:
            first = list(layers).index(layer.name) + 1
            raise SuiteError(f"{entry}: name: {layer.name!r} is the name of layer {first} too; names must differ")
        layers[layer.name] = layer
    return tuple(layers.values())


def entry_of(index: int, name: object) -> str:
    """How messages name a layer: ``layer 3 (conv3)``."""
    return f"layer {index + 1} ({name})" if isinstance(name, str) and _NAME.fullmatch(name) else f"layer {index + 1}"


def _layer(table: dict[str, Any], entry: str) -> AnyLayer:
    if "kind" not in table:
        raise SuiteError(f"{entry}: kind: is missing; expected one of {', '.join(KINDS)}")
    kind = table["kind"]
    if not isinstance(kind, str) or kind not in KINDS:
        hint = did_you_mean(kind, KINDS)
        raise SuiteError(f"{entry}: kind: expected one of {', '.join(KINDS)}, not {shown(kind)}{hint}")
    fields = {field.name: field for field in msgspec.structs.fields(KINDS[kind])}
    _refuse_unknown(table, ("kind", *fields), f"{entry}: ", kind)
    missing = [name for name, field in fields.items() if field.required and name not in table]
    if missing:
        needed = ", ".join(name for name, field in fields.items() if field.required)
        raise SuiteError(f"{entry}: {missing[0]}: is missing; {kind} needs {needed}")
    values = {
        name: _value(table[name], field.type, _LEAST.get(name, 1), f"{entry}: {name}")
        for name, field in fields.items()
        if name in table
    }
    try:
        return KINDS[kind](**values)
    except LayerError as error:
        raise SuiteError(f"{entry}: {error}") from None


def _value(value: object, wanted: Any, least: int, where: str) -> Any:
    """A field's value, of the type its layer class declares."""
    if wanted is str:
        return _name(value, where)
    if wanted is bool:
        if not isinstance(value, bool):
            raise SuiteError(f"{where}: expected true or false, not {shown(value)}")
        return value
    if wanted == Pair:
        if isinstance(value, list):
            if len(value) != 2:
                raise SuiteError(f"{where}: expected one number or [height, width], not {shown(value)}")
            return tuple(_whole_number(part, least, where) for part in value)
        return (_whole_number(value, least, where),) * 2
    return _whole_number(value, least, where)


def _whole_number(value: object, least: int, where: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= MAX_SIZE:
        raise SuiteError(f"{where}: expected a whole number from {least} to {MAX_SIZE}, not {shown(value)}")
    return value


def _name(value: object, where: str) -> str:
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise SuiteError(
            f"{where}: expected up to {_MAX_NAME_LENGTH} letters, digits and . _ + - of which the first is a letter "
            f"or digit, not {shown(value)}"
        )
    return value


def _description(value: object, where: str) -> str:
    """Text on one line; what could steer a terminal or a web page is refused."""
    if isinstance(value, str):
        text = " ".join(value.split())
        if text.isprintable() and not set("<>") & set(text):
            return text
    raise SuiteError(f"{where}: expected text without control characters, < and >, not {shown(value)}")


def _refuse_unknown(table: dict[str, Any], known: Sequence[str], where: str, what: str) -> None:
    for key in table:
        if key not in known:
            hint = did_you_mean(key, known)
            raise SuiteError(f"{where}unknown field {shown(key)}{hint}; {what} has {', '.join(known)}")


def did_you_mean(word: object, known: Iterable[str]) -> str:
    """The known word nearest to a misspelled one, to be added to a message; empty if none is near."""
    close = difflib.get_close_matches(word, list(known), n=1) if isinstance(word, str) else []
    return f" (did you mean {close[0]!r}?)" if close else ""


def shown(value: object) -> str:
    """A value as a person wrote it, short and on one line."""
    match value:
        case bool():
            return str(value).lower()
        case int() if value.bit_length() > 128:
            return f"a number of {value.bit_length()} bits"
        case int() | float() | str():
            text = repr(value)
        case list():
            parts = ("[...]" if isinstance(part, list) else shown(part) for part in value[:4])
            text = "[" + ", ".join(parts) + (", ...]" if len(value) > 4 else "]")
        case dict():
            return "a table"
        case _:
            text = str(value)
    return text if len(text) <= 60 else text[:57] + "..."


def printable(text: str) -> str:
    """Text with its control characters escaped, so that a message stays on one line and steers no terminal."""
    return "".join(letter if is_shown(letter) else repr(letter)[1:-1] for letter in text)


def is_shown(letter: str) -> bool:
    """Whether a character stands as it is in a text: it is a letter, a sign or a space of whatever width.

    Python calls only the plain space printable, but one at which no line breaks steers nothing.
    """
    return letter.isprintable() or unicodedata.category(letter) == "Zs"


def flat(text: object) -> str:
    """Text on one line, each gap of it one space; spaces at which no line may break, and the like, stay as they are."""
    return _GAP.sub(" ", str(text)).strip(" ")
