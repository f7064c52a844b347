"""Layers each of whose passes is one primitive: convolution and fully connected."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Literal

import msgspec
import numpy as np

from layerbench.device import Run
from layerbench.kernel import Budget, Choice, Choices, Job, Tensors
from layerbench.layers import FC, PASSES, Conv, Pass, Shape

from . import _onednn_conv, _onednn_fc
from ._dnnl import Memory
from ._onednn_plan import Copy, Plan, Problem, bind, filling, reading, rebuild
from ._onednn_race import race

_NAN = np.float32(np.nan)


def _problems(layer: Conv | FC, batch: int, pass_: Pass) -> list[Problem]:
    if isinstance(layer, Conv):
        return _onednn_conv.problems(layer, batch, pass_)
    return _onednn_fc.problems(layer, batch, pass_)


def search(layer: Conv | FC, job: Job, tensors: Tensors, budget: Budget) -> dict[Pass, Choice]:
    """The fastest plan for each pass."""
    # A convolution's samples are independent and run one after another, so a few tell how fast the rest will be.
    # A thread wants a sample of its own.
    few = min(job.batch, job.threads)
    two_rounds = isinstance(layer, Conv) and job.batch > 2 * few
    choices: dict[Pass, Choice] = {}
    for pass_ in PASSES:
        small = _problems(layer, few, pass_) if two_rounds else ()
        label = f"{layer.name} {pass_}"
        winner = race(_problems(layer, job.batch, pass_), tensors.get, budget, label, small)
        choices[pass_] = Choice(
            algorithm=winner.plan.algorithm,
            settings=winner.plan.settings,
            workspace_bytes=winner.workspace_bytes,
            tried=winner.tried,
        )
    return choices


class PreparedLayer:
    """Convolution or fully connected layer with each pass bound to its memories; see ``kernel.Prepared``."""

    def __init__(self, layer: Conv | FC, job: Job, tensors: Tensors, choices: Choices) -> None:
        self._shapes: dict[str, Shape] = {
            "dst": layer.output_shape(job.batch),
            "diff_src": layer.input_shape(job.batch),
            "diff_weights": layer.weight_shapes["weights"],
        }
        self._fill: defaultdict[str, list[Copy]] = defaultdict(list)
        self._read: dict[str, Copy] = {}
        self._results: dict[Pass, tuple[str, Memory]] = {}
        self.run: Mapping[Pass, Run] = {
            pass_: self._bound(layer, job, tensors, pass_, msgspec.convert(choices[pass_].settings, Plan))
            for pass_ in PASSES
        }
        self.gradient = self._results["backward_weights"][1].buffer
        self.buffers: Mapping[Pass, np.ndarray] = {pass_: memory.buffer for pass_, (_, memory) in self._results.items()}
        self.run["forward"]()

    def _bound(self, layer: Conv | FC, job: Job, tensors: Tensors, pass_: Pass, plan: Plan) -> Run:
        (problem,) = [p for p in _problems(layer, job.batch, pass_) if p.operation == plan.operation]
        pd = rebuild(problem, plan)
        memories = {operand.name: Memory(pd.desc(operand.argument)) for operand in problem.operands}
        for operand in problem.operands[:-1]:
            fill = filling(operand, memories[operand.name])
            fill(np.ascontiguousarray(tensors[operand.name], dtype=np.float32))
            self._fill[operand.name].append(fill)
        result = problem.result
        self._results[pass_] = result.name, memories[result.name]
        self._read[result.name] = reading(result, memories[result.name])
        return bind(problem, pd, memories)

    def put(self, operand: Literal["src", "diff_dst"], array: np.ndarray) -> None:
        for fill in self._fill[operand]:
            fill(array)

    def take(self, result: Literal["dst", "diff_src"], out: np.ndarray) -> None:
        self._read[result](out)

    def poison(self) -> None:
        for _, memory in self._results.values():
            memory.buffer.fill(_NAN)

    def results(self, pass_: Pass) -> dict[str, np.ndarray]:
        name, _ = self._results[pass_]
        found = np.empty(self._shapes[name], dtype=np.float32)
        self._read[name](found)
        return {name: found}
