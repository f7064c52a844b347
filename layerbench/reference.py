"""DeepBench's published times, and which of our records they may be set beside.

A time is comparable where both sides did the same work: the same operation, shape, precision and pass, on one device,
with the operands in use over and over (DeepBench repeats on the same buffers). What DeepBench lists is told in
``results/deepbench/README.md``, with what is doubtful about it.

A fully connected layer is listed as the matrix products it is made of. DeepBench's ``m``, ``n``, ``k``, ``a_t`` and
``b_t`` mean C = op(A) op(B) with C of m × n, op(A) of m × k, op(B) of k × n, all column-major. Its forward pass is
y = W x, with W (out × in) and x (in × batch) as they lie, so no operand is transposed. Both gradients then follow: they
use the same W and x in the same storage, and must leave theirs in the storage of x and of W.

======================  =====================  ======  ======  ======  =====  =====
pass                    product                m       n       k       a_t    b_t
======================  =====================  ======  ======  ======  =====  =====
``forward``             y = W x                out     batch   in      0      0
``backward_data``       dx = Wᵀ dy             in      batch   out     1      0
``backward_weights``    dW = dy xᵀ             out     in      batch   0      1
======================  =====================  ======  ======  ======  =====  =====

Written the other way about, yᵀ = xᵀ Wᵀ, every product is another entry of the list with the same work. Those are not
matched: one record has one row.
"""

from __future__ import annotations

import importlib.resources
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from layerbench.errors import StoreError, UsageError
from layerbench.layers import FC, LSTM, PASSES, AnyLayer, Conv
from layerbench.records import Part

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("device", "stage", "precision", "op", "pass", "params", "time_ms", "algorithm")
"""Of the file, in order. All are words but ``time_ms``, which is in milliseconds."""

MATCHED = ("layer", "part", "nodes", "device", "stage", "time_seconds", "precision", "algorithm")

_NEEDED = ("layer", "part", "nodes", "ranks", "batch", "dtype")
_AS_DEEPBENCH = {"status": "ok", "placement": "measured", "cache": "hot"}
"""What a record must be besides, where its column is there."""


def published() -> pd.DataFrame:
    """The times DeepBench's authors published: a row for each.

    Columns are those of the file, with ``time_seconds`` in place of ``time_ms``; words are categories.
    """
    return _shipped().copy()


def devices() -> tuple[str, ...]:
    """Names of the devices there are times of, in alphabetical order."""
    return tuple(sorted(_shipped()["device"].cat.categories, key=str.casefold))


def specs(device: str, stage: str) -> dict[str, str]:
    """What DeepBench's authors said of a device's host, chip and libraries, in their words; empty where nothing is."""
    file = importlib.resources.files("layerbench.deepbench") / "published_specs.json"
    told: dict[str, str] = json.loads(file.read_text(encoding="utf-8")).get(f"{device}/{stage}", {})
    return {name: " ".join(value.split()) for name, value in told.items() if value.strip(" -")}


@cache
def _shipped() -> pd.DataFrame:
    file = importlib.resources.files("layerbench.deepbench") / "published_times.csv"
    with file.open("rb") as content:
        return _read(content)


def read(path: Path) -> pd.DataFrame:
    """Times from another file of the same columns, as :func:`published` has them.

    Raises
    ------
    StoreError
        If it cannot be read, or is no such file.
    """
    try:
        with path.open("rb") as content:
            return _read(content)
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        problem = " ".join(str(error).split())
        raise StoreError(f"{path} is no table of DeepBench times ({problem}): expected {','.join(COLUMNS)}") from error


def _read(content: IO[bytes]) -> pd.DataFrame:
    import pandas as pd

    frame = pd.read_csv(content, dtype=str, usecols=list(COLUMNS), keep_default_na=False)[list(COLUMNS)]
    # Python's float is exact to the last bit; the parser's own is not in every pandas.
    seconds = [float(milliseconds) / 1e3 for milliseconds in frame["time_ms"]]
    words = dict.fromkeys((name for name in COLUMNS if name != "time_ms"), "category")
    return frame.astype(words).assign(time_ms=seconds).rename(columns={"time_ms": "time_seconds"})


def params_of(layer: AnyLayer, batch: int, part: Part = "forward") -> tuple[str, str] | None:
    """Under which ``op`` and ``params`` DeepBench lists a layer.

    That a shape is listed does not make its times comparable: see :func:`objection`.

    Returns
    -------
    tuple of (str, str) or None
        None where DeepBench has no words for it: what is no pass, dilated or grouped convolutions, and an LSTM whose
        input is not as wide as its state. The shape itself need not be among those that were published. Only of a
        fully connected layer do the params depend on the pass.
    """
    if part not in PASSES:
        return None
    if isinstance(layer, FC):
        out, into = layer.out_features, layer.in_features
        m, n, k, a_t, b_t = {
            "forward": (out, batch, into, 0, 0),
            "backward_data": (into, batch, out, 1, 0),
            "backward_weights": (out, into, batch, 0, 1),
        }[part]
        return "gemm", _spelled(m=m, n=n, k=k, a_t=a_t, b_t=b_t)
    if isinstance(layer, LSTM):
        if layer.input_size != layer.hidden_size:
            return None
        return "rnn", _spelled(hidden=layer.hidden_size, batch=batch, timesteps=layer.time_steps, cell="lstm")
    if layer.dilation != (1, 1) or layer.groups != 1:
        return None
    return "conv", _conv_params(layer, batch)


def _conv_params(layer: Conv, batch: int) -> str:
    """DeepBench puts the width first where ours is (height, width)."""
    height, width = layer.input
    return _spelled(
        w=width,
        h=height,
        c=layer.in_channels,
        n=batch,
        k=layer.out_channels,
        filter_w=layer.filter[1],
        filter_h=layer.filter[0],
        pad_w=layer.padding[1],
        pad_h=layer.padding[0],
        stride_w=layer.stride[1],
        stride_h=layer.stride[0],
    )


def _spelled(**params: int | str) -> str:
    return ";".join(f"{name}={value}" for name, value in params.items())


def objection(layer: AnyLayer) -> str | None:
    """Why no time of DeepBench's may be set beside a layer's; None where one may.

    DeepBench's recurrent layers leave out the product of the input with its weights. Ours have it, and where input and
    state are equally wide it is half of the work: whatever the shape, the two times are of different operations.
    """
    if isinstance(layer, LSTM):
        return "recurrent layers, whose product with the input DeepBench leaves out"
    if isinstance(layer, Conv) and layer.dilation != (1, 1):
        return "dilated convolutions, which DeepBench does not have"
    if isinstance(layer, Conv) and layer.groups != 1:
        return "grouped convolutions, which DeepBench does not have"
    return None


def pass_of(op: str, part: Part) -> str:
    """What DeepBench's column ``pass`` says: a matrix product is one operation, whichever pass it serves."""
    return "forward" if op == "gemm" else part


def matches(
    records: pd.DataFrame | Mapping[str, Sequence[Any]],
    layers: Sequence[AnyLayer],
    times: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """The published times of exactly what records measured.

    Parameters
    ----------
    records
        A run's records as a frame, or as columns: ``layer``, ``part``, ``nodes``, ``ranks``, ``batch``, ``dtype``, and
        if there are, ``status``, ``placement``, ``cache``. What counts is a pass on one rank, and only what is
        ``ok``, ``measured`` and ``hot``.
    layers
        The manifest's, which have the shapes.
    times
        What to look in; by default :func:`published`.

    Returns
    -------
    pandas.DataFrame
        A row for each record and time of the same shape, precision and pass, in the records' order: ``layer``,
        ``part``, ``nodes`` of the record; ``device``, ``stage``, ``time_seconds``, ``precision``, ``algorithm`` of the
        time. A shape that a device was given twice has two rows.

    Raises
    ------
    UsageError
        If a column is missing.
    """
    import pandas as pd

    if missing := [name for name in _NEEDED if name not in records]:
        raise UsageError(f"records need the columns {', '.join(_NEEDED)}: {', '.join(missing)} missing")
    there = [*_NEEDED, *(name for name in _AS_DEEPBENCH if name in records)]
    columns = {name: pd.Series(pd.Series(records[name]).array) for name in there}
    comparable = (columns["ranks"] == 1) & columns["part"].isin(PASSES)
    for name, value in _AS_DEEPBENCH.items():
        if name in columns:
            comparable &= columns[name] == value
    searched = published() if times is None else times
    sizes = _sizes(searched)
    shapes = {layer.name: layer for layer in layers if objection(layer) is None and _near(layer, sizes)}
    comparable &= columns["layer"].isin(list(shapes))
    wanted = []
    names = ("layer", "part", "nodes", "batch", "dtype")
    for name, part, nodes, batch, dtype in zip(*(columns[each][comparable] for each in names), strict=True):
        if listed := params_of(shapes[name], batch, part):
            op, params = listed
            wanted.append((name, part, nodes, dtype, op, pass_of(op, part), params))
    key = ["precision", "op", "pass", "params"]
    found = pd.DataFrame(wanted, columns=["layer", "part", "nodes", *key]).astype(
        {"nodes": "int64", **dict.fromkeys(("layer", "part", *key), "str")}
    )
    searched = searched.astype({name: "str" for name in searched if name != "time_seconds"})
    return found.merge(searched, how="inner", on=key)[list(MATCHED)]


NOT_PUBLISHED = {
    "shape": "shape not published",
    "precision": "precision not published of this shape",
    "pass": "pass not published of this shape and precision",
}
"""Why a kernel has no published time, from what it lacks first."""


def missing(kernels: Iterable[tuple[AnyLayer, Part, int, str]], times: pd.DataFrame) -> list[str]:
    """Why a table of times holds none of each kernel.

    Parameters
    ----------
    kernels
        (layer, pass, batch, dtype) of each.
    times
        What to look in, such as the rows of one device of :func:`published`.

    Returns
    -------
    list of str
        For each kernel its :func:`objection`, or the first of :data:`NOT_PUBLISHED` that applies; empty where there is
        a time, which :func:`matches` then finds. A fully connected layer's shape is published where any of its three
        products is.
    """
    sizes, published_as = _sizes(times), set[tuple[str, ...]]()
    names = ("op", "params", "precision", "pass")
    for op, params, *rest in zip(*(times[name].astype("str") for name in names), strict=True):
        # All that may be asked of a shape: whether it is there, in a precision, and of a pass in that.
        published_as |= {(op, params, *rest[:length]) for length in range(3)}
    found = []
    for layer, part, batch, dtype in kernels:
        if told := objection(layer):
            found.append(told)
        elif not _near(layer, sizes):
            found.append(NOT_PUBLISHED["shape"])
        else:
            found.append(_lacking(layer, part, batch, dtype, published_as))
    return found


def _lacking(layer: AnyLayer, part: Part, batch: int, dtype: str, published_as: set[tuple[str, ...]]) -> str:
    """What of one kernel is not among (op, params), (op, params, precision) and (op, params, precision, pass)."""
    every = dict.fromkeys(listed for pass_ in PASSES if (listed := params_of(layer, batch, pass_)))
    if not any(listed in published_as for listed in every):
        return NOT_PUBLISHED["shape"]
    if not any((*listed, dtype) in published_as for listed in every):
        return NOT_PUBLISHED["precision"]
    own = params_of(layer, batch, part)
    there = own is not None and (*own, dtype, pass_of(own[0], part)) in published_as
    return "" if there else NOT_PUBLISHED["pass"]


def _sizes(times: pd.DataFrame) -> frozenset[int]:
    """Every number in the params of a table of times."""
    spelled = set(times["params"].astype("str"))
    return frozenset(int(number) for params in spelled for number in re.findall(r"=(\d+)", params))


def _near(layer: AnyLayer, sizes: frozenset[int]) -> bool:
    """Whether a layer may be listed at all: among a hundred thousand layers spelling each out would take seconds."""
    if isinstance(layer, FC):
        return {layer.in_features, layer.out_features} <= sizes
    return not isinstance(layer, Conv) or {layer.in_channels, layer.out_channels, *layer.input, *layer.filter} <= sizes
