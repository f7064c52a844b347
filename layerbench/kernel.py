"""The contract of ``kernels/``; :mod:`layerbench.registry` finds what is in it.

A kernel library is one file. It defines one class that satisfies :class:`Kernel` and ends with
``KERNEL = ThatClass()``; nothing else in layerbench names it. Importing the file must be cheap and must not need the
library: the library is loaded by the first method that uses it, and :meth:`Kernel.availability` says why it cannot.

The life of a layer within a kernel::

    kernel.supports(layer, dtype)                       can it, and if not why
    choices = kernel.search(job, tensors, budget)       rank 0: which algorithm is fastest, for each pass
    prepared = kernel.prepare(job, tensors, choices)    every rank: allocate and convert, with rank 0's choices
    prepared.run["forward"]()                           timed: no allocation, no conversion
    prepared.results("forward")                         what it computed, in canonical layout
    prepared.gradient                                   the buffer that the ranks all-reduce

All ranks use the same choices, so that they lay out their weight gradients alike and may add them element by element.

A kernel may also serve the model layout, in which ranks split a layer's outputs; ``splits_outputs = True`` says so. It
is then given layers that have a share of the outputs, and what it prepares says where the results are that ranks
exchange: it satisfies :class:`PreparedSlice`, or, of an LSTM, whose share is a :class:`layerbench.layers.SplitLSTM` and
whose passes are cut where ranks exchange its state, :class:`PreparedUnits`.

It may serve networks, whose layers compute on each other's results: ``links_layers = True``, :class:`PreparedLinked`.

It may run on devices of which a machine has several, and each rank one: :class:`OnDevices`. And it may name other
libraries of the same device that do what it does not: ``companions = ("other",)``; they are tried after it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias

import msgspec
import numpy as np

from layerbench.device import Device, Run
from layerbench.layers import AnyLayer, DType, Pass, SplitLSTM

RankLayer: TypeAlias = AnyLayer | SplitLSTM
"""What a rank has of a layer: all of it, a narrower layer of its kind, or some of an LSTM's units."""

Tensors = Mapping[str, np.ndarray]
"""Operands by name, canonical layout, in the job's dtype: ``src``, the layer's weights by their names, ``diff_dst``."""


@dataclass(frozen=True)
class Availability:
    """Whether a kernel library can be used here.

    ``reason`` says why not, ``remedy`` is the command that would mend it, ``version`` is the library's own.
    """

    ok: bool
    version: str = ""
    reason: str = ""
    remedy: str = ""


@dataclass(frozen=True)
class Job:
    """One rank's share of one layer: the shape a kernel prepares.

    ``first_unit`` is where the units of a :class:`layerbench.layers.SplitLSTM` begin among those of the whole layer.
    """

    layer: RankLayer
    batch: int
    dtype: DType
    threads: int = 1
    first_unit: int = 0


@dataclass(frozen=True)
class Budget:
    """What a search may spend.

    Attributes
    ----------
    workspace
        The largest scratch memory an algorithm may use, in bytes.
    runs
        How often a candidate that is still in the race is timed; the least time counts.
    patience
        A candidate whose first run takes this many times the best candidate's time is not run again.
    progress
        Called now and then with a word on what is being tried, so that a watchdog sees life.
    """

    workspace: int = 4 * 2**30
    runs: int = 3
    patience: float = 1.5
    progress: Callable[[str], None] = lambda _: None


class Choice(msgspec.Struct, frozen=True):
    """An algorithm chosen for one pass; travels from rank 0 to the others as JSON.

    Attributes
    ----------
    algorithm
        Its name as the library has it, with the layouts where these were searched too.
    settings
        What the kernel needs to prepare the same algorithm again.
    workspace_bytes
        Scratch memory it uses beside its operands.
    tried
        How many candidates were timed.
    """

    algorithm: str
    settings: dict[str, Any] = {}
    workspace_bytes: int = 0
    tried: int = 1


Choices = Mapping[Pass, Choice]


class Prepared(Protocol):
    """A layer ready to run: every buffer allocated, every operand in the layout its algorithm wants."""

    @property
    def run(self) -> Mapping[Pass, Run]:
        """The timed calls. Each may be called any number of times, in any order: ``forward`` has run once already."""
        ...

    @property
    def gradient(self) -> Any:
        """The weight gradient as the kernel lays it out.

        One contiguous one-dimensional array that shares the memory ``run["backward_weights"]`` writes, of a type that
        mpi4py takes (NumPy, CuPy).
        """
        ...

    def poison(self) -> None:
        """Fill every result of every pass with NaN."""
        ...

    def results(self, pass_: Pass) -> dict[str, np.ndarray]:
        """What a pass last computed, as new arrays in canonical layout: ``dst``, ``diff_src``, or ``diff_`` and a
        weight's name for each weight."""
        ...


@dataclass(frozen=True)
class Gather:
    """Every rank's ``mine`` is to be put one after another into ``everyone``.

    Flat, contiguous arrays. Where nothing in the kernel reads the whole, ``everyone`` is None, and the harness has room
    for it.
    """

    mine: Any
    everyone: Any = None


@dataclass(frozen=True)
class Reduce:
    """The flat, contiguous ``buffer`` is to be replaced by its sum over ranks."""

    buffer: Any


@dataclass(frozen=True)
class Segment:
    """A piece of a pass, and what ranks exchange after it; None where they exchange nothing."""

    run: Run
    exchange: Gather | Reduce | None = None


class PreparedSlice(Prepared, Protocol):
    """A convolution or fully connected layer with a share of the outputs."""

    @property
    def buffers(self) -> Mapping[Pass, Any]:
        """Results of ``forward`` and ``backward_data``, as ``gradient`` is that of ``backward_weights``.

        Flat, contiguous arrays that share the memory the pass writes. ``backward_data`` must lay its result out alike
        on all ranks, whatever their outputs: it is added up.
        """
        ...


class PreparedUnits(Prepared, Protocol):
    """Some of an LSTM's units."""

    @property
    def segments(self) -> Mapping[Pass, Sequence[Segment]]:
        """Every pass in pieces, in the order in which they run, with the exchanges between and after them.

        All ranks have as many, with exchanges of the same kinds. ``run`` is the pieces of a pass one after another with
        nothing exchanged: what a rank computes by itself.
        """
        ...


class PreparedLinked(Prepared, Protocol):
    """A layer that takes operands from other layers, and gives them its results.

    Arrays are canonical, contiguous, of the job's dtype, in the memory of the kernel's device, and may be others every
    time; nothing is allocated. After ``put("src")`` comes ``forward`` before the backward passes, and of a recurrent
    layer ``backward_data`` before ``backward_weights``, which reads the gate gradients that it leaves.
    """

    def put(self, operand: Literal["src", "diff_dst"], array: Any) -> None:
        """Replace an operand in every memory from which a pass reads it."""
        ...

    def take(self, result: Literal["dst", "diff_src"], out: Any) -> None:
        """Copy what ``forward`` or ``backward_data`` last computed into ``out``."""
        ...


class Kernel(Protocol):
    """One vendor library's implementation of layers."""

    name: str
    """As it is given to ``--kernels``."""

    preference: int | None
    """Rank among the available ones for ``--kernels auto``, lowest first; None is never chosen by itself."""

    def availability(self) -> Availability:
        """Whether the library can be used here, and if not why; never raises."""
        ...

    def supports(self, layer: RankLayer, dtype: DType) -> str | None:
        """None if all passes of the layer can be done in this dtype, else the reason in one line."""
        ...

    def device(self) -> Device:
        """The device that runs and times this kernel."""
        ...

    def search(self, job: Job, tensors: Tensors, budget: Budget) -> dict[Pass, Choice]:
        """Time the algorithms there are for every pass and choose the fastest within the budget.

        Raises
        ------
        KernelError
            If no algorithm can do it.
        """
        ...

    def prepare(self, job: Job, tensors: Tensors, choices: Choices) -> Prepared:
        """Allocate, convert the operands, and run a training forward once, so that backward passes have its state.

        Raises
        ------
        KernelError
            If a chosen algorithm cannot do this shape.
        """
        ...

    def error_limit(self, dtype: DType, choice: Choice) -> float:
        """Largest relative error, as :mod:`layerbench.verify` measures it, that the chosen algorithm may have."""
        ...


class OnDevices(Kernel, Protocol):
    """A kernel library that runs on one of several devices of a machine."""

    def devices(self) -> list[str]:
        """What identifies each device that this process sees, wherever it is seen from; empty where there is none."""
        ...

    def use(self, device: str) -> None:
        """Run on this device from now on; called before anything is prepared.

        Raises
        ------
        UnavailableError
            If it is not here any more.
        """
        ...


ERROR_LIMITS: dict[DType, float] = {
    "fp64": 1e-12,
    "fp32": 1e-5,
    "tf32": 2e-3,
    "bf16": 2e-2,
    "fp16": 5e-3,
    "int8": 0.0,
}
"""Limits on ‖out - ref‖ / ‖ref‖ for algorithms that sum products directly."""

FAST_ALGORITHM_LIMIT = 1e-3
"""The same for fp32 algorithms that transform their operands (Winograd, FFT)."""
