"""Suites: found by name or path, read, and cut to the layers asked for.

The file format is told in :mod:`layerbench.suite_format`.
"""

from __future__ import annotations

import importlib.resources
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from layerbench import units
from layerbench.errors import SuiteError, UsageError
from layerbench.layers import AnyLayer, DType, Layer
from layerbench.suite_format import MAX_FILE_BYTES, Suite, did_you_mean, entry_of, parse, printable, shown

__all__ = ["Suite", "check_memory", "load", "memory_needed", "names", "parse", "select"]


def names() -> list[str]:
    """Names of the built-in suites, sorted."""
    files = importlib.resources.files("layerbench.suites").iterdir()
    return sorted(file.name.removesuffix(".toml") for file in files if file.name.endswith(".toml"))


def load(name_or_path: str | Path) -> Suite:
    """Read a suite.

    Parameters
    ----------
    name_or_path
        Name of a built-in suite, or path of a TOML file.

    Raises
    ------
    SuiteError
        If there is no such suite, or the file has a mistake: one line with file, entry, field, what came and
        what is allowed.
    """
    wanted = str(name_or_path)
    known = names()
    if wanted in known:
        return parse(
            (importlib.resources.files("layerbench.suites") / f"{wanted}.toml").read_bytes(),
            f"suites/{wanted}.toml",
        )
    source = printable(wanted)
    try:
        with Path(wanted).open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        hint = did_you_mean(wanted, known)
        raise SuiteError(
            f"{source}: no such suite or file{hint}; expected {', '.join(known)} or the path of a .toml file"
        ) from None
    except IsADirectoryError:
        raise SuiteError(f"{source}: is a directory; expected a .toml file") from None
    except (OSError, ValueError) as error:  # ValueError: a null character in the path
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise SuiteError(f"{source}: cannot be read: {reason}; expected a readable .toml file") from None
    return parse(content, source)


def select(suite: Suite, pattern: str) -> tuple[AnyLayer, ...]:
    """Layers whose names match one of several shell patterns, in the suite's order.

    Parameters
    ----------
    pattern
        Shell patterns (``conv*``) separated by commas; all layers if it is empty.

    Raises
    ------
    UsageError
        If one of the patterns matches no layer.
    """
    if not pattern.strip():
        return suite.layers
    chosen: set[str] = set()
    for one in (part.strip() for part in pattern.split(",")):
        matching = {layer.name for layer in suite.layers if fnmatchcase(layer.name, one)}
        if not matching:
            known = ", ".join(layer.name for layer in suite.layers)
            raise UsageError(f"--filter {shown(one)}: matches no layer of {suite.name}, which has {known}")
        chosen |= matching
    return tuple(layer for layer in suite.layers if layer.name in chosen)


def memory_needed(layer: Layer, batch: int, dtype: DType) -> int:
    """Least memory in bytes that timing a layer takes.

    A kernel holds input, weights and output and the gradient of each in layouts of its own, and is given
    input, weights and output gradient in the canonical one.
    """
    return layer.operand_bytes(batch, dtype) + layer.bytes(batch, dtype)


def check_memory(
    suite: Suite,
    layers: Sequence[AnyLayer],
    batch: int,
    dtype: DType,
    available_bytes: int,
    *,
    ranks: int = 1,
    needed: Callable[[AnyLayer], int] | None = None,
) -> None:
    """Refuse what cannot fit in memory, before anything is allocated.

    Parameters
    ----------
    suite
        Where the layers come from; the message names file and entry.
    layers
        Those of them that are to be timed, one after another.
    batch
        Samples of one rank.
    available_bytes
        Memory that the ranks of this machine may use together.
    ranks
        Ranks that hold the layer on this machine at a time.
    needed
        Bytes that one rank needs of a layer, if it has not all of it: see :func:`memory_needed`.

    Raises
    ------
    UsageError
        For the first layer that cannot fit.
    """
    for layer in layers:
        of_all = ranks * (memory_needed(layer, batch, dtype) if needed is None else needed(layer))
        if of_all > available_bytes:
            entry = entry_of(suite.layers.index(layer), layer.name)
            on = f" on each of {ranks} ranks" if ranks > 1 else ""
            raise UsageError(
                f"{suite.source}: {entry}: batch {batch}{on} in {dtype} needs {units.size(of_all)} of memory "
                f"({of_all} bytes), and {units.size(available_bytes)} ({available_bytes} bytes) are available; "
                "use a smaller batch or shape"
            )
