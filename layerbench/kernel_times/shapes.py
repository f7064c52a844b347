"""What a kernel has to do, by its shape: multiply-accumulates, traffic, and what its efficiency may depend on.

An operation is spelled as DeepBench spells it (see ``results/deepbench/README.md``). Its *roofline* is the greater of
two times, that of the arithmetic at peak and that of the compulsory traffic at full bandwidth (Williams, Waterman and
Patterson, Roofline, 2009).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from layerbench.errors import UsageError
from layerbench.layers import Pass
from layerbench.suite_format import printable, shown

OPS = ("conv", "gemm", "rnn")
"""Operations whose times are predicted."""

CELLS = {"vanilla": 1, "gru": 3, "lstm": 4}
"""Products of the state with a matrix in a time step, by recurrent cell."""

FEATURES = {
    "conv": (
        "macs",
        "intensity",
        "batch",
        "in_channels",
        "out_channels",
        "pixels",
        "filter",
        "stride",
        "padded",
        "3x3",
    ),
    "gemm": ("macs", "intensity", "m", "n", "k", "a_t", "b_t"),
    "rnn": ("macs", "intensity", "hidden", "batch", "time_steps", "gates"),
}
"""Names of :attr:`Shape.features`, by operation. Counts are natural logarithms; the MACs of a recurrent layer are those
of a time step. ``3x3``: 1 for three-by-three filters of stride 1, which have an algorithm of their own (Lavin and Gray,
Fast Algorithms for Convolutional Neural Networks, 2016)."""

_PARAMS = {
    "conv": ("w", "h", "c", "n", "k", "filter_w", "filter_h", "pad_w", "pad_h", "stride_w", "stride_h"),
    "gemm": ("m", "n", "k", "a_t", "b_t"),
    "rnn": ("hidden", "batch", "timesteps"),
}
_MAY_BE_ZERO = {"pad_w", "pad_h", "a_t", "b_t"}
_PARAM = re.compile(r"([a-z_]{1,20})=([a-z]{1,20}|[0-9]{1,12})")


@dataclass(frozen=True)
class Shape:
    """One pass of one operation.

    Attributes
    ----------
    op, pass_
        As DeepBench names them.
    macs
        Multiply-accumulates.
    elements
        Numbers read and written: each operand and result once. What a recurrent layer's time steps read again, the
        weights, counts at each of them, but not in ``backward_weights``, which is one product over all steps.
    features
        Of :data:`FEATURES`.
    """

    op: str
    pass_: str
    macs: float
    elements: float
    features: tuple[float, ...]

    def roofline(self, peak_flops: float, bytes_per_second: float, itemsize: int = 4) -> float:
        """Seconds that it takes at least, of operands of ``itemsize`` bytes."""
        return max(2 * self.macs / peak_flops, self.elements * itemsize / bytes_per_second)


def parse(op: str, pass_: str, params: str, where: str) -> Shape:
    """A shape as a table of times spells it; ``where`` names the row in messages.

    Raises
    ------
    UsageError
        If the spelling is not DeepBench's.
    """
    found = [_PARAM.fullmatch(part) for part in params.split(";")]
    values = {match[1]: match[2] for match in found if match}
    expected = {*_PARAMS[op], "cell"} if op == "rnn" else {*_PARAMS[op]}
    cell = values.get("cell", "")
    numbers = {name: int(value) for name, value in values.items() if name != "cell" and value.isdecimal()}
    whole = len(values) == len(found) and expected == set(values) and len(numbers) == len(_PARAMS[op])
    possible = all(value >= (0 if name in _MAY_BE_ZERO else 1) for name, value in numbers.items())
    if not whole or not possible or (op == "rnn" and cell not in CELLS):
        named = ";".join(f"{name}=..." for name in (*_PARAMS[op], *(["cell"] if op == "rnn" else [])))
        raise UsageError(f"{where}: params {printable(shown(params))} are not those of {op}; expected {named}")
    if op == "gemm":
        return gemm(pass_, **numbers)
    if op == "rnn":
        hidden, batch, steps = (numbers[name] for name in _PARAMS["rnn"])
        return recurrent(pass_, hidden, hidden, batch, steps, CELLS[cell])
    return _conv_as_spelled(pass_, numbers, where)


def _conv_as_spelled(pass_: str, numbers: Mapping[str, int], where: str) -> Shape:
    output = []
    for axis in ("h", "w"):
        padded = numbers[axis] + 2 * numbers[f"pad_{axis}"]
        if padded < numbers[f"filter_{axis}"]:
            raise UsageError(f"{where}: filter_{axis}={numbers[f'filter_{axis}']} does not fit {padded} padded pixels")
        output.append((padded - numbers[f"filter_{axis}"]) // numbers[f"stride_{axis}"] + 1)
    return conv(
        pass_,
        batch=numbers["n"],
        channels=(numbers["c"], numbers["k"]),
        pixels=(numbers["h"] * numbers["w"], output[0] * output[1]),
        filter_=(numbers["filter_h"], numbers["filter_w"]),
        stride=(numbers["stride_h"], numbers["stride_w"]),
        padded=numbers["pad_h"] + numbers["pad_w"] > 0,
    )


def gemm(pass_: str, m: int, n: int, k: int, a_t: int, b_t: int) -> Shape:
    """C = op(A) op(B), with C of m × n, op(A) of m × k and op(B) of k × n."""
    macs, elements = m * n * k, m * n + m * k + k * n
    sizes = (math.log(m), math.log(n), math.log(k))
    features = (math.log(macs), math.log(macs / elements), *sizes, float(a_t), float(b_t))
    return Shape("gemm", pass_, macs, elements, features)


def conv(
    pass_: str,
    batch: int,
    channels: tuple[int, int],
    pixels: tuple[int, int],
    filter_: tuple[int, int],
    stride: tuple[int, int],
    padded: bool,
    groups: int = 1,
) -> Shape:
    """A convolution; channels and pixels are those of (input, output), ``channels`` of all groups together."""
    into, out = channels[0] // groups, channels[1] // groups
    area = filter_[0] * filter_[1]
    weights = groups * into * out * area
    macs = batch * weights * pixels[1]
    elements = batch * groups * (into * pixels[0] + out * pixels[1]) + weights
    counts = (batch, into, out, pixels[1], area, stride[0] * stride[1])
    features = (
        math.log(macs),
        math.log(macs / elements),
        *map(math.log, counts),
        float(padded),
        float(filter_ == (3, 3) and stride == (1, 1)),
    )
    return Shape("conv", pass_, macs, elements, features)


def recurrent(pass_: str | Pass, units: int, hidden: int, batch: int, steps: int, gates: int) -> Shape:
    """The products of a recurrent layer's state: ``units`` units that read the states of ``hidden``, at every step."""
    weights = gates * units * hidden
    states = batch * (hidden + gates * units)
    macs = steps * batch * weights
    elements = weights + steps * states if pass_ == "backward_weights" else steps * (weights + states)
    # Of a layer that has all its units, the mean is the layer's width.
    sizes = (math.sqrt(units * hidden), batch, steps, gates)
    features = (math.log(macs / steps), math.log(macs / elements), *map(math.log, sizes))
    return Shape("rnn", pass_, macs, elements, features)
