"""The kernels of layerbench as a simulated GPU runs them: what they do, and how long they take.

Sources are the real ones: kernels must be in them, and arguments have the width their parameters declare.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from tests.cuda.simulation import Simulation, Stream

SCALARS = {
    "int": np.int32,
    "unsigned int": np.uint32,
    "long long": np.int64,
    "float": np.float32,
    "double": np.float64,
}


@dataclass
class Op:
    """Work of a stream; ``effect`` is told when it starts and ends."""

    duration: float = 0
    effect: Callable[[float, float], None] = lambda start, end: None
    hold: tuple[int, int, int, int] | None = None
    queued: float = 0


class ndarray:
    def __init__(self, sim: Simulation, memory: np.ndarray) -> None:
        self.sim, self.memory = sim, memory
        self.shape, self.dtype, self.nbytes = memory.shape, memory.dtype, memory.nbytes
        self.data = SimpleNamespace(memset_async=self._memset)

    def __getitem__(self, key: Any) -> ndarray:
        return ndarray(self.sim, self.memory[key])

    def __len__(self) -> int:
        return len(self.memory)

    def get(self) -> np.ndarray:
        self.sim.stream.synchronize()
        return self.memory.copy()

    def _memset(self, value: int, size: int, stream: Stream) -> None:
        assert size == self.nbytes

        def fill(start: float, end: float) -> None:
            self.memory.view(np.uint8)[...] = value

        stream.queue(Op(1000, fill))


class RawModule:
    def __init__(self, sim: Simulation, code: str) -> None:
        self._sim = sim
        self._kernels = {
            name: [_type(parameter) for parameter in parameters.split(",")]
            for name, parameters in re.findall(r'extern "C" __global__ void (\w+)\(([^)]*)\)', code)
        }

    def compile(self) -> None:
        pass

    def get_function(self, name: str) -> Callable[..., None]:
        types, effect = self._kernels[name], KERNELS[name]
        loaded: list[bool] = []

        def launch(grid: tuple[int, ...], block: tuple[int, ...], args: tuple[Any, ...]) -> None:
            assert len(args) == len(types), f"{name} takes {types}"
            for type_, argument in zip(types, args, strict=True):
                fits = (ndarray, np.uint64) if type_ == "pointer" else SCALARS[type_]
                assert isinstance(argument, fits), f"{name}: {argument!r} for {type_}"
            if not loaded:
                self._sim.load()
                loaded.append(True)
            self._sim.stream.queue(effect(self._sim, grid[0], block[0], *args))

        return launch


def _type(parameter: str) -> str:
    return "pointer" if "*" in parameter else parameter.strip().rpartition(" ")[0]


def _hold(sim: Simulation, grid: int, block: int, released: Any, gave_up: Any, turn: Any, patience: Any) -> Op:
    assert grid == block == 1
    return Op(hold=(int(released), int(gave_up), int(turn), int(patience)))


def _now(sim: Simulation, time: float) -> tuple[int, int]:
    """Cycles, and nanoseconds of a clock that steps by a microsecond."""
    return int(time * sim.clock * 1e-9), int(time) // 1000 * 1000


def _begin_cycles(sim: Simulation, grid: int, block: int, turn: Any, met: ndarray, begun: ndarray, count: Any) -> Op:
    assert grid == sim.multiprocessors

    def stamp(start: float, end: float) -> None:
        for one in sim.stamped():
            met.memory[one] = turn
            begun.memory[one] = _now(sim, end)

    return Op(sim.stamp, stamp)


def _end_cycles(
    sim: Simulation, grid: int, block: int, turn: Any, met: ndarray, begun: ndarray, sums: ndarray, count: Any
) -> Op:
    def stamp(start: float, end: float) -> None:
        for one in sim.stamped():
            if met.memory[one] == turn:
                met.memory[one] = -turn
                sums.memory[one] += np.array(_now(sim, start)) - begun.memory[one]

    return Op(sim.stamp, stamp)


def _flush(sim: Simulation, grid: int, block: int, values: ndarray, count: Any) -> Op:
    assert count * 16 == values.nbytes
    return Op(2 * values.nbytes / sim.bytes_per_second * 1e9, lambda start, end: sim.flushed.append(values.nbytes))


def _fill(sim: Simulation, grid: int, block: int, values: ndarray, count: Any) -> Op:
    assert count * 16 == values.nbytes
    return Op(1000, lambda start, end: values.memory.fill(1))


def _triad(sim: Simulation, grid: int, block: int, a: ndarray, b: ndarray, c: ndarray, scale: Any, count: Any) -> Op:
    assert count * 16 == a.nbytes == b.nbytes == c.nbytes
    return Op(3 * a.nbytes / sim.bytes_per_second * 1e9, lambda start, end: None)


def _read_only(sim: Simulation, grid: int, block: int, values: ndarray, out: ndarray, count: Any) -> Op:
    assert count * 16 == values.nbytes
    return Op(values.nbytes / sim.bytes_per_second * 1e9 / 1.25)


def _fma(sim: Simulation, grid: int, block: int, out: ndarray, factor: Any, addend: Any, rounds: Any) -> Op:
    width = out.dtype.itemsize // 4
    return Op(grid * block * int(rounds) * 2 * 16 * 8 * width / sim.flops * 1e9)


KERNELS: dict[str, Callable[..., Op]] = {
    "hold": _hold,
    "begin_cycles": _begin_cycles,
    "end_cycles": _end_cycles,
    "flush": _flush,
    "fill": _fill,
    "triad": _triad,
    "read_only": _read_only,
    "fma_fp32": _fma,
    "fma_fp64": _fma,
}
