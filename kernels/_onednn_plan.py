"""Problems for oneDNN, the plans that solve them, and their rebuilding from what is recorded of them.

A problem is one primitive with its operands' sizes. A plan is one implementation of it with the layout of every
operand. A plan is plain data: found by a search on one rank, it is rebuilt on others, at other batch sizes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from layerbench.device import Run
from layerbench.errors import KernelError

from ._dnnl import ARG_SCRATCHPAD, Desc, Dims, DnnlError, Memory, Pointer, Primitive, PrimitiveDesc, reorder

OPAQUE = "any"
"""How a layout is recorded that only oneDNN can name; asking for any layout brings it back."""


@dataclass(frozen=True)
class Operand:
    """One tensor of a primitive.

    Attributes
    ----------
    name
        The canonical tensor it holds.
    argument
        The primitive's execution argument.
    sizes
        Its sizes as the primitive counts them; the canonical tensor reshaped, or transposed.
    transposed
        Whether the primitive sees the canonical matrix's transpose.
    """

    name: str
    argument: int
    sizes: Dims
    transposed: bool = False

    def view(self, canonical: np.ndarray) -> np.ndarray:
        """The canonical array's memory as the primitive counts it."""
        return canonical.T if self.transposed else canonical.reshape(self.sizes)


@dataclass(frozen=True)
class Problem:
    """A primitive to be solved.

    Attributes
    ----------
    operation
        Its name in an algorithm's name; unique among the problems of a pass.
    operands
        Its tensors, the result last.
    create
        All implementations for given descriptors, in the order of ``operands``.
    requests
        Combinations of layouts worth asking for, in the order of ``operands``.
    """

    operation: str
    operands: tuple[Operand, ...]
    create: Callable[[Sequence[Desc]], list[PrimitiveDesc]]
    requests: tuple[tuple[str, ...], ...]

    @property
    def result(self) -> Operand:
        return self.operands[-1]


class Plan(msgspec.Struct, frozen=True):
    """One implementation of a problem: what is recorded of it."""

    operation: str
    implementation: str
    layouts: tuple[str, ...]

    @property
    def algorithm(self) -> str:
        """Its name in records: ``convolution brgconv:avx512_core acdb,Acdb48a->acdb``."""
        return f"{self.operation} {self.implementation} {','.join(self.layouts[:-1])}->{self.layouts[-1]}"

    @property
    def settings(self) -> dict[str, Any]:
        """What a ``Choice`` keeps of it, as it comes back from JSON."""
        return {"operation": self.operation, "implementation": self.implementation, "layouts": list(self.layouts)}

    @property
    def is_reference(self) -> bool:
        """Whether it is one of the slow loops that oneDNN keeps for shapes nothing else does."""
        return self.implementation.startswith("ref")


def _solutions(problem: Problem, request: tuple[str, ...]) -> list[tuple[Plan, PrimitiveDesc]]:
    try:
        descs = [Desc.of_layout(o.sizes, layout) for o, layout in zip(problem.operands, request, strict=True)]
    except DnnlError:
        return []
    found = []
    for pd in problem.create(descs):
        layouts = tuple(pd.desc(operand.argument).layout or OPAQUE for operand in problem.operands)
        found.append((Plan(problem.operation, pd.implementation, layouts), pd))
    return found


def offered(problem: Problem) -> dict[Plan, PrimitiveDesc]:
    """Every distinct plan among the implementations oneDNN offers for the layouts worth asking for."""
    found: dict[Plan, PrimitiveDesc] = {}
    for request in problem.requests:
        for plan, pd in _solutions(problem, request):
            found.setdefault(plan, pd)
    return found


def rebuild(problem: Problem, plan: Plan) -> PrimitiveDesc:
    """The plan's implementation for this problem, whose batch may differ from the one it was found for.

    The result's layout is kept, since ranks add their weight gradients element by element; where the implementation
    insists on another layout of an input at this batch, it gets it.

    Raises
    ------
    KernelError
        If oneDNN does not offer the implementation here.
    """
    for request in (plan.layouts, *problem.requests):
        for found, pd in _solutions(problem, request):
            if found.implementation == plan.implementation and found.layouts[-1] == plan.layouts[-1]:
                return pd
    sizes = ", ".join(f"{o.name} {'x'.join(map(str, o.sizes))}" for o in problem.operands)
    raise KernelError(
        f"oneDNN does not offer {plan.algorithm} for {sizes}; search again for this batch, "
        "or choose another with --kernels"
    )


Copy = Callable[[np.ndarray], None]
"""Copies between a memory and a canonical array, which may be another one every time."""


def filling(operand: Operand, memory: Memory) -> Copy:
    """Fills a memory from a canonical float32 array."""
    return _copying(operand, memory, into_memory=True)


def reading(operand: Operand, memory: Memory) -> Copy:
    """Copies a memory into a canonical float32 array."""
    return _copying(operand, memory, into_memory=False)


def _copying(operand: Operand, memory: Memory, *, into_memory: bool) -> Copy:
    by_rows = "abcdefghijkl"[: len(operand.sizes)]
    array = Pointer(Desc.of_layout(operand.sizes, by_rows[::-1] if operand.transposed else by_rows))
    copy = reorder(array, memory) if into_memory else reorder(memory, array)
    elements = math.prod(operand.sizes)

    def run(canonical: np.ndarray) -> None:
        # The library is given an address, and would read or write whatever is there.
        if canonical.size != elements or canonical.dtype != np.float32 or not canonical.flags.c_contiguous:
            raise KernelError(
                f"oneDNN: {operand.name} is a contiguous float32 array of {elements} elements, and {canonical.dtype} "
                f"with sizes {canonical.shape} and strides {canonical.strides} came"
            )
        array.to(canonical)
        copy()

    return run


def filled(operand: Operand, desc: Desc, canonical: np.ndarray) -> Memory:
    """A new memory in the layout of ``desc`` that holds a canonical tensor."""
    memory = Memory(desc)
    filling(operand, memory)(np.ascontiguousarray(canonical, dtype=np.float32))
    return memory


def canonical(operand: Operand, memory: Memory, shape: Dims) -> np.ndarray:
    """A new canonical array with what a memory holds."""
    result = np.empty(shape, dtype=np.float32)
    reading(operand, memory)(result)
    return result


def bind(problem: Problem, pd: PrimitiveDesc, memories: Mapping[str, Memory], scratchpad: Memory | None = None) -> Run:
    """The timed call of a plan on memories by operand name.

    ``scratchpad`` may be shared by calls that do not overlap; it is allocated where it is not given.
    """
    arguments = {operand.argument: memories[operand.name] for operand in problem.operands}
    arguments[ARG_SCRATCHPAD] = scratchpad or Memory(pd.scratchpad)
    return Primitive(pd).bind(arguments)
