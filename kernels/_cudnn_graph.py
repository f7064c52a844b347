"""Convolutions as graphs of cuDNN, and the plans it offers for them. Nothing here needs a GPU.

A graph is defined for a :class:`Place`: a handle, or the properties of a GPU that need not be there. cuDNN's heuristics
then offer plans: an engine with its knobs. A plan's name holds them all by cuDNN's numbers (``eng67_k2=18_k27=8``). The
front end has names for most knobs and can be asked for a plan by these; it drops the others, so a plan that has some
can only be found again among what the heuristics offer.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias, get_args

from layerbench.errors import KernelError
from layerbench.layers import Conv, DType, Pass, Shape

from ._cudnn_errors import one_line, planning
from ._cudnn_load import load

Layout: TypeAlias = Literal["NCHW", "NHWC"]
LAYOUTS: tuple[Layout, ...] = get_args(Layout)

Place: TypeAlias = Mapping[str, Any]
"""For what GPU a graph is planned: ``handle``, or ``device_property`` where there is none."""

Operand: TypeAlias = Literal["src", "weights", "dst"]
"""A tensor's place in the convolution, whether it holds the values or, in a backward pass, their gradient."""

UIDS: dict[Operand, int] = {"src": 1, "weights": 2, "dst": 3}
"""The operands' numbers in every graph."""

RESULT: dict[Pass, Operand] = {"forward": "dst", "backward_data": "src", "backward_weights": "weights"}

DATA_TYPES: dict[DType, str] = {"fp64": "DOUBLE", "fp32": "FLOAT", "tf32": "FLOAT", "bf16": "BFLOAT16", "fp16": "HALF"}
"""cuDNN's names of what is in memory; products are summed in FLOAT, of fp64 in DOUBLE."""

MODES = ("A", "B", "FALLBACK")
"""Whose offers are tried: two heuristics, and the engines that do every shape."""

_ROUGHER = ("DOWN_CONVERT_INPUTS", "REDUCED_PRECISION_REDUCTION")
DESELECTED: dict[DType, tuple[str, ...]] = {
    "fp64": _ROUGHER,
    # Tensor cores take float32 as tf32, whatever the environment says.
    "fp32": ("TENSOR_CORE", *_ROUGHER),
    "tf32": _ROUGHER,
    "bf16": _ROUGHER,
    "fp16": _ROUGHER,
}
"""Numerical notes of the plans that compute less precisely than the dtype says."""

_FULL_NAME = re.compile(r"(eng\d+)((?:_k\d+=-?\d+)*)")
_DESELECTED = "Deselecting"
"""Begins what the front end says of a plan that a note excludes."""


@dataclass(frozen=True)
class Problem:
    """One pass of a convolution, with all its operands in one layout."""

    layer: Conv
    batch: int
    dtype: DType
    pass_: Pass
    layout: Layout

    @property
    def shapes(self) -> dict[Operand, Shape]:
        """Canonical shapes."""
        return {
            "src": self.layer.input_shape(self.batch),
            "weights": self.layer.weight_shapes["weights"],
            "dst": self.layer.output_shape(self.batch),
        }

    @property
    def label(self) -> str:
        return f"{self.layer.name} {self.pass_} {self.layout}"


@dataclass(frozen=True)
class Plan:
    """An engine and its knobs.

    Attributes
    ----------
    name
        Engine and knobs as cuDNN writes them.
    engine
        Its number.
    knobs
        Those the front end has names for, by these.
    layout
        Of the operands.
    """

    name: str
    engine: int
    knobs: dict[str, int]
    layout: Layout

    @property
    def named(self) -> bool:
        """Whether the front end has names for all knobs, so that it makes the same plan of any shape."""
        return len(self.knobs) == self.name.count("=")

    @property
    def algorithm(self) -> str:
        """As it is recorded: ``eng67 NHWC k2=18 k27=8``."""
        engine, *knobs = self.name.split("_")
        return " ".join([engine, self.layout, *knobs])

    @property
    def settings(self) -> dict[str, Any]:
        return {"layout": self.layout, "engine": self.engine, "knobs": self.knobs, "plan": self.name}

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Plan:
        return cls(settings["plan"], settings["engine"], dict(settings["knobs"]), settings["layout"])


@dataclass(frozen=True)
class Built:
    """A plan that can be executed: of all the graph holds, the one at ``index``."""

    graph: Any
    index: int
    workspace_bytes: int


def strides(shape: Shape, layout: Layout) -> list[int]:
    """Strides in elements of a tensor of canonical shape (four sizes) whose memory is laid out so."""
    _, channels, rows, columns = shape
    if layout == "NCHW":
        return [channels * rows * columns, rows * columns, columns, 1]
    return [channels * rows * columns, 1, columns * channels, channels]


def define(problem: Problem, place: Place) -> Any:
    """A graph of the pass, with no plans yet.

    Raises
    ------
    KernelError
        If cuDNN has no such operation.
    """
    with planning(problem.label):
        cudnn = load()
        stored = getattr(cudnn.data_type, DATA_TYPES[problem.dtype])
        summed = cudnn.data_type.DOUBLE if problem.dtype == "fp64" else cudnn.data_type.FLOAT
        graph = cudnn.pygraph(
            io_data_type=stored, intermediate_data_type=summed, compute_data_type=summed, **dict(place)
        )
        tensors = {
            name: graph.tensor(
                name=name,
                dim=list(shape),
                stride=strides(shape, problem.layout),
                data_type=stored,
                uid=UIDS[name],
            )
            for name, shape in problem.shapes.items()
            if name != RESULT[problem.pass_]
        }
        layer = problem.layer
        window = {
            "padding": list(layer.padding),
            "stride": list(layer.stride),
            "dilation": list(layer.dilation),
            "compute_data_type": summed,
        }
        match problem.pass_:
            case "forward":
                result = graph.conv_fprop(image=tensors["src"], weight=tensors["weights"], **window)
            case "backward_data":
                result = graph.conv_dgrad(loss=tensors["dst"], filter=tensors["weights"], **window)
            case "backward_weights":
                result = graph.conv_wgrad(image=tensors["src"], loss=tensors["dst"], **window)
        name = RESULT[problem.pass_]
        shape = problem.shapes[name]
        result.set_output(True).set_data_type(stored).set_uid(UIDS[name])
        result.set_dim(list(shape)).set_stride(strides(shape, problem.layout))
        graph.validate()
        graph.build_operation_graph()
    return graph


def _planned(problem: Problem, place: Place) -> tuple[Any, dict[str, int]]:
    """A graph with all that the heuristics offer, and the plans' indices by name, the best guess first."""
    graph = define(problem, place)
    with planning(problem.label):
        modes = load().heur_mode
        graph.create_execution_plans([getattr(modes, mode) for mode in MODES])
        names = {index: graph.get_plan_name_at_index(index) for index in range(graph.get_execution_plan_count())}
    # The front end has engines of its own, whose names are other words, and asks for them to be built otherwise.
    return graph, {name: index for index, name in reversed(names.items()) if _FULL_NAME.fullmatch(name)}


def _plan(problem: Problem, graph: Any, index: int, name: str) -> Plan:
    engine, knobs = graph.get_engine_and_knobs_at_index(index)
    known = {knob.name: int(value) for knob, value in knobs.items() if knob.name != "NOT_SET"}
    return Plan(name, int(engine), known, problem.layout)


def offered(problem: Problem, place: Place) -> Iterator[tuple[Plan, Any, int]]:
    """Plans for a pass that compute as precisely as its dtype says, with their graph and their index there.

    None of them is built. One that the front end cannot name is offered where the heuristics offer it for a sample more
    and for a sample less too: ranks whose shares differ by one must be able to find it.

    Raises
    ------
    KernelError
        If cuDNN cannot do it at all.
    """
    graph, indices = _planned(problem, place)
    excluded = _excluded(problem, place, DESELECTED[problem.dtype])
    everywhere: set[str] | None = None
    for name, index in sorted(indices.items(), key=lambda item: item[1]):
        if name in excluded:
            continue
        with planning(problem.label):
            plan = _plan(problem, graph, index, name)
        if not plan.named:
            everywhere = _names_beside(problem, place) if everywhere is None else everywhere
            if name not in everywhere:
                continue
        yield plan, graph, index


def _excluded(problem: Problem, place: Place, notes: tuple[str, ...]) -> set[str]:
    """Names of the offered plans that have one of the numerical notes."""
    graph, indices = _planned(problem, place)
    return {name for name, index in indices.items() if _has_note(problem, graph, index, notes)}


def _has_note(problem: Problem, graph: Any, index: int, notes: Sequence[str]) -> bool:
    """Whether a plan has one of the numerical notes; the graph is of no use afterwards.

    The front end does not tell a plan's notes; but once a note is deselected it refuses to build the plans that have
    it, in words of its own. A workspace that no plan fits keeps it from building the others.
    """
    with planning(problem.label):
        members = load().numerical_note
        graph.deselect_numeric_notes([getattr(members, note) for note in notes])
        graph.deselect_workspace_greater_than(-1)
    try:
        graph.build_plan_at_index(index)
    except Exception as error:
        return _DESELECTED in one_line(error)
    return False


def _names_beside(problem: Problem, place: Place) -> set[str]:
    """Names of plans that are offered for a sample more and for a sample less."""
    batches = [batch for batch in (problem.batch - 1, problem.batch + 1) if batch > 0]
    return set.intersection(*(set(_planned(replace(problem, batch=batch), place)[1]) for batch in batches))


def _found(problem: Problem, place: Place, plan: Plan) -> tuple[Any, int]:
    """A graph that holds the plan, not built, and the plan's index there."""
    if plan.named:
        graph = define(problem, place)
        with planning(f"{problem.label} {plan.name}"):
            knobs = load().knob_type
            graph.create_execution_plan(plan.engine, {getattr(knobs, name): n for name, n in plan.knobs.items()})
            index = int(graph.get_execution_plan_count()) - 1
            if graph.get_plan_name_at_index(index) == plan.name:
                return graph, index
    graph, indices = _planned(problem, place)
    if plan.name not in indices:
        raise KernelError(f"{problem.label}: cuDNN does not offer {plan.name} for a batch of {problem.batch}")
    return graph, indices[plan.name]


def build(problem: Problem, graph: Any, index: int) -> Built:
    """Build the plan at that index.

    Raises
    ------
    KernelError
        If cuDNN cannot.
    """
    with planning(problem.label):
        graph.build_plan_at_index(index)
        return Built(graph, index, int(graph.get_workspace_size_plan_at_index(index)))


def rebuilt(problem: Problem, place: Place, plan: Plan) -> Built:
    """The same plan again, maybe for another batch.

    Raises
    ------
    KernelError
        If cuDNN does not offer it for this shape, or cannot build it.
    """
    return build(problem, *_found(problem, place, plan))


def notes_of(problem: Problem, place: Place, plan: Plan) -> list[str]:
    """The numerical notes of a plan, by cuDNN's names: ``TENSOR_CORE``, ``WINOGRAD``, ``FFT``, ..."""
    with planning(problem.label):
        every = list(load().numerical_note.__members__)
    return [note for note in every if _has_note(problem, *_found(problem, place, plan), (note,))]
