"""Machines that several tests need."""

from __future__ import annotations

from layerbench.layers import FC, LSTM, AnyLayer, Conv
from layerbench.machine import Exchanged, Figure, Fit, KernelPoint, Link, Machine, exact
from layerbench.records import Operation

LAYERS: tuple[AnyLayer, ...] = (
    Conv(name="conv", input=(13, 9), in_channels=4, out_channels=8, filter=(3, 3), groups=2),
    FC(name="fc", in_features=10, out_features=20, backward_data_in_step=False),
    LSTM(name="lstm", input_size=3, hidden_size=5, time_steps=7),
)


def exchanged(operation: Operation, ranks: int, size: int, seconds: float) -> Exchanged:
    """A measured exchange, known to a tenth."""
    return Exchanged(
        operation=operation, ranks=ranks, bytes=size, seconds=seconds, low=0.9 * seconds, high=1.1 * seconds
    )


def link(alpha: float = 1e-3, bytes_per_second: float = 1e6) -> Link:
    """A link of nominal figures: a millisecond a message and a megabyte a second, for sums by hand."""
    return Link(alpha=exact(alpha), beta=exact(1 / bytes_per_second), source="made")


MACHINE = Machine(
    name="made",
    description="One that has everything",
    source="a test",
    device="cuda",
    nodes=12,
    ranks_per_node=2,
    peak={"fp64": exact(1e12), "fp32": Figure(value=4e12, low=3.5e12, high=4.1e12, source='data "sheet" \\ 1')},
    bandwidth=Figure(value=250e9, low=240e9, high=250e9),
    memory_bytes=6e9,
    caches=[49152, 1572864],
    launch=exact(1e-5, "an estimate"),
    between=Link(
        alpha=Figure(value=2e-6, low=1e-6, high=3e-6),
        beta=Figure(value=1 / 6e9, low=1 / 8e9, high=1 / 5e9),
        source="measured over 4 ranks",
        sweeps=[exchanged("all_reduce", 2, 4, 1e-6), exchanged("point_to_point", 2, 2**28, 0.1)],
        fits=[
            Fit(
                operation="all_reduce",
                alpha=exact(2e-6),
                beta=Figure(value=1 / 5e9, low=1 / 6e9, high=1 / 4e9),
                crossover={2: None, 4: 65536},
                residual=0.07,
            ),
            Fit(operation="point_to_point", alpha=exact(1e-6), beta=exact(1 / 7e9)),
        ],
    ),
    within=link(1e-6, 300e9),
    kernels=[
        KernelPoint(layer=layer, pass_="backward_data", batch=16, dtype="fp32", seconds=2e-3, low=1e-3, high=3e-3)
        for layer in LAYERS
    ],
)
