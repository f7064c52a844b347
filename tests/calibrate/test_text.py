"""What is printed of a calibration."""

from __future__ import annotations

import io

import msgspec
from rich.console import Console

from layerbench.calibrate.text import print_machine
from layerbench.layers import FC, PASSES
from layerbench.machine import KernelPoint, Machine
from tests.machine.made import MACHINE


def printed(machine: Machine, width: int = 200) -> list[str]:
    out = io.StringIO()
    print_machine(machine, Console(file=out, width=width))
    return out.getvalue().splitlines()


def row(lines: list[str], begin: str) -> str:
    (found,) = [" ".join(line.split()) for line in lines if line.startswith(begin)]
    return found


def test_every_figure_has_its_interval() -> None:
    lines = printed(MACHINE)
    assert lines[0] == "made: One that has everything"
    assert row(lines, "peak fp32") == "peak fp32 4 TFLOP/s -12% +2%"
    assert row(lines, "bandwidth") == "bandwidth 250 GB/s -4% +0%"
    assert row(lines, "caches") == "caches 49.2 kB, 1.57 MB"
    wanted = "all-reduce 2 2 µs +0% +0% 5 GB/s -20% +20% 7% 65.5 kB (4)"
    assert row(lines, "all-reduce") == wanted
    assert row(lines, "point-to-point") == "point-to-point 2 1 µs +0% +0% 7 GB/s +0% +0% - -"


def test_layers_are_told_as_what_they_reach_of_the_roofline() -> None:
    # 2 x 16 x 2e8 FLOP at 4 TFLOP/s take 1.6 ms; weights of 800 MB at 250 GB/s 3.2 ms.
    layer = FC(name="wide", in_features=20_000, out_features=10_000)
    moved = layer.bytes(16, "fp32") / 250e9
    points = [
        KernelPoint(layer=layer, pass_=pass_, batch=16, dtype="fp32", seconds=2 * moved, low=moved, high=3 * moved)
        for pass_ in PASSES[:2]
    ]
    assert row(printed(msgspec.structs.replace(MACHINE, kernels=points)), "wide") == "wide 16 50% 50% -"


def test_a_machine_without_a_network_says_so_and_one_without_caches_too() -> None:
    lines = printed(msgspec.structs.replace(MACHINE, between=None, within=None, no_network="one core", caches=[]))
    assert "no network: one core" in lines
    assert "Between nodes" not in lines
    assert row(lines, "caches") == "caches unknown"


def test_a_log_is_not_cut_to_a_width() -> None:
    lines = printed(MACHINE, width=40)
    assert "65.5 kB (4)" in row(lines, "all-reduce")
