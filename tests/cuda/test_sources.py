"""The CUDA sources: that they are found, compile for every architecture, and do on a processor what they say."""

from __future__ import annotations

import ctypes
import re
import shutil
import subprocess
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from layerbench.cuda import probes, sources

ARCHITECTURES = ("sm_80", "sm_90", "compute_80")


def entries(source: str) -> list[str]:
    return re.findall(r'extern "C" __global__ void (\w+)\(', sources.text(source))


def test_every_source_is_listed_with_its_kernels() -> None:
    beside = {path.stem for path in (Path(__file__).parents[2] / "kernels").glob("*.cu")}
    assert set(sources.KERNELS) <= beside
    for source, kernels in sources.KERNELS.items():
        assert entries(source) == list(kernels)


def test_operations_are_counted_as_they_are_written() -> None:
    text = sources.text("fma")
    sums, unrolled = (int(re.search(rf"constexpr int {name} = (\d+);", text)[1]) for name in ("SUMS", "UNROLLED"))  # type: ignore[index]
    assert 2 * sums * unrolled == probes.OPERATIONS_OF_ROUND


@pytest.mark.cuda_libraries
@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("source", sources.KERNELS)
def test_a_source_compiles_without_a_warning(source: str, architecture: str) -> None:
    nvrtc = pytest.importorskip(
        "cuda.bindings.nvrtc", reason="cuda-bindings is not installed: pip install cuda-bindings nvidia-cuda-nvrtc"
    )

    def asked(result: tuple[Any, ...]) -> Any:
        assert int(result[0]) == 0, result[0]
        return result[1] if len(result) > 1 else None

    program = asked(nvrtc.nvrtcCreateProgram(sources.text(source).encode(), source.encode(), 0, None, None))
    options = [f"--gpu-architecture={architecture}".encode(), *(option.encode() for option in sources.OPTIONS)]
    (status,) = nvrtc.nvrtcCompileProgram(program, len(options), options)
    log = b" " * asked(nvrtc.nvrtcGetProgramLogSize(program))
    asked(nvrtc.nvrtcGetProgramLog(program, log))
    assert log.strip(b"\0 \n").decode() == ""
    assert int(status) == 0
    ptx = b" " * asked(nvrtc.nvrtcGetPTXSize(program))
    asked(nvrtc.nvrtcGetPTX(program, ptx))
    assert re.findall(r"\.entry (\w+)\(", ptx.decode()) == list(sources.KERNELS[source])
    if architecture.startswith("sm_"):
        assert asked(nvrtc.nvrtcGetCUBINSize(program)) > 0


SHIM = r"""
#include <cmath>
#include <unistd.h>
#define __global__
#define __device__ static
struct dim { unsigned int x; };
static dim gridDim, blockDim, blockIdx, threadIdx;
struct float4 { float x, y, z, w; };
struct uint4 { unsigned int x, y, z, w; };
static inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
extern "C" void at(unsigned int grid, unsigned int block, unsigned int b, unsigned int t)
{ gridDim.x = grid; blockDim.x = block; blockIdx.x = b; threadIdx.x = t; }

extern "C" { unsigned int special_smid = 0; long long special_globaltimer = 0, special_clock64 = 0, asleep = 0; }
static inline long long clock64() { return special_clock64; }
static inline void __nanosleep(unsigned int) { special_globaltimer += asleep; usleep(10); }
static inline void __threadfence_system() {}
static inline int atomicExch(int* at, int value) { int old = *at; *at = value; return old; }
static inline int atomicCAS(int* at, int compare, int value)
{ int old = *at; if (old == compare) { *at = value; } return old; }
using std::fma;
"""
"""What the sources need of CUDA, for one thread at a time; special registers and clocks are variables of a test."""

REGISTER = re.compile(r'asm volatile\("mov\.u\d\d %0, %%(\w+);" : "=[lr]"\((\w+)\)\);')


@pytest.fixture
def on_the_processor(tmp_path: Path) -> Any:
    """Compile a source for the processor and run a kernel of it, thread after thread."""
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("no g++")

    def compiled(source: str) -> Any:
        file, library = tmp_path / f"{source}.cpp", tmp_path / f"{source}.so"
        file.write_text(SHIM + REGISTER.sub(r"\2 = special_\1;", sources.text(source)))
        subprocess.run(
            [compiler, "-std=c++17", "-O1", "-shared", "-fPIC", "-Wno-unknown-pragmas", "-o", library, file],
            check=True,
            capture_output=True,
            timeout=120,
        )
        loaded = ctypes.CDLL(str(library))

        def run(name: str, grid: int, block: int, *arguments: Any) -> None:
            for b in range(grid):
                for t in range(block):
                    loaded.at(grid, block, b, t)
                    loaded[name](
                        *(a.ctypes.data_as(ctypes.c_void_p) if isinstance(a, np.ndarray) else a for a in arguments)
                    )

        run.library = loaded  # type: ignore[attr-defined]
        return run

    return compiled


@pytest.mark.parametrize("count", [1, 5, 24, 25, 100])
def test_a_flush_reads_and_writes_every_line(on_the_processor: Any, count: int) -> None:
    values = np.arange(4 * (count + 1), dtype=np.uint32).reshape(-1, 4)
    before = values.copy()
    on_the_processor("flush")("flush", 3, 8, values, ctypes.c_longlong(count))
    assert (values[:count] == before[:count] + 1).all()
    assert (values[count] == before[count]).all(), "nothing beyond"


def test_the_triad_and_what_it_is_filled_with(on_the_processor: Any) -> None:
    run, count = on_the_processor("triad"), 101
    a, b, c = np.zeros((3, count + 1, 4), np.float32)
    for array in (b, c):
        run("fill", 2, 16, array, ctypes.c_longlong(count))
    assert ((b[:count] >= 1) & (b[:count] < 2)).all()
    assert len(np.unique(b[:count])) > 0.99 * 4 * count, "no two values are alike"
    run("triad", 3, 8, a, b, c, ctypes.c_float(0.5), ctypes.c_longlong(count))
    np.testing.assert_allclose(a[:count], b[:count] + np.float32(0.5) * c[:count], rtol=1e-6)
    assert (a[count] == 0).all()
    out = np.zeros(1, np.float32)
    run("read_only", 3, 8, b, out, ctypes.c_longlong(count))
    assert out[0] == 0


def test_reading_alone_reads_everything(on_the_processor: Any) -> None:
    run, count = on_the_processor("triad"), 50
    for lane in (0, 199):
        values, out = np.zeros((count, 4), np.float32), np.zeros(1, np.float32)
        values.reshape(-1)[lane] = -1
        run("read_only", 3, 8, values, out, ctypes.c_longlong(count))
        assert out[0] == -1


@pytest.mark.parametrize(
    ("name", "type_", "of"), [("fma_fp32", np.float32, ctypes.c_float), ("fma_fp64", np.float64, ctypes.c_double)]
)
def test_multiply_adds_approach_what_they_must(on_the_processor: Any, name: str, type_: type, of: Any) -> None:
    out = np.zeros(1, type_)
    run = on_the_processor("fma")
    run(name, 1, 2, out, of(0.5), of(1), 10)
    assert out[0] == 0, "nothing is written"
    run(name, 1, 1, out, of(0.5), of(-1), 10)
    assert out[0] == pytest.approx(16 * -2)


def test_a_held_stream_goes_on_when_its_turn_is_released(on_the_processor: Any) -> None:
    run = on_the_processor("blocking")
    ctypes.c_longlong.in_dll(run.library, "asleep").value = 1
    flags = np.zeros(2, np.int32)
    released, gave_up = flags[:1], flags[1:]
    patience = ctypes.c_longlong(10**9)

    def hold(turn: int) -> threading.Thread:
        thread = threading.Thread(target=run, args=("hold", 1, 1, released, gave_up, turn, patience))
        thread.start()
        return thread

    for turn in (1, 2):
        held = hold(turn)
        held.join(0.05)
        assert held.is_alive(), "an earlier turn releases nothing"
        released[0] = turn
        held.join(10)
        assert not held.is_alive()
    released[0] = 5
    hold(3).join(10)
    assert gave_up[0] == 0, "what is released later is released too"


def test_a_held_stream_gives_up_and_says_in_which_turn(on_the_processor: Any) -> None:
    run = on_the_processor("blocking")
    ctypes.c_longlong.in_dll(run.library, "asleep").value = 1_000
    flags = np.zeros(2, np.int32)
    run("hold", 1, 1, flags[:1], flags[1:], 7, ctypes.c_longlong(100_000))
    assert flags.tolist() == [0, 7]
    assert ctypes.c_longlong.in_dll(run.library, "special_globaltimer").value == 101_000


def test_cycles_are_those_of_a_multiprocessor_that_was_met_twice(on_the_processor: Any) -> None:
    run, count = on_the_processor("clock"), ctypes.c_uint(3)
    met, begun, sums = np.zeros(3, np.int32), np.zeros((3, 2), np.int64), np.zeros((3, 2), np.int64)

    def meet(name: str, turn: int, where: int, cycles: int, nanoseconds: int) -> None:
        ctypes.c_uint.in_dll(run.library, "special_smid").value = where
        ctypes.c_longlong.in_dll(run.library, "special_clock64").value = cycles
        ctypes.c_longlong.in_dll(run.library, "special_globaltimer").value = nanoseconds
        arguments = (met, begun, sums, count) if name == "end_cycles" else (met, begun, count)
        run(name, 1, 1, turn, *arguments)

    for where, cycles in ((0, 100), (0, 105), (1, 7), (9, 1)):
        meet("begin_cycles", 1, where, cycles, 50)
    for where, cycles in ((0, 300), (0, 310), (2, 7), (9, 2)):
        meet("end_cycles", 1, where, cycles, 90)
    assert sums.tolist() == [[200, 40], [0, 0], [0, 0]]
    meet("begin_cycles", 2, 0, 1_000, 100)
    meet("end_cycles", 2, 0, 1_010, 102)
    meet("end_cycles", 2, 1, 1_010, 102)
    assert sums.tolist() == [[210, 42], [0, 0], [0, 0]], "a stretch that began in another turn has no end in this one"
