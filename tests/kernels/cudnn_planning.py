"""A program: cuDNN's real plans for GPUs that are not here. Prints what it finds as JSON, one line for each pass.

It runs in a process of its own, because the driver that it needs (``null_driver.c``) must be there from the start.
"""

from __future__ import annotations

import importlib
import itertools
import json
import math
import sys
from dataclasses import replace

from layerbench.errors import KernelError
from layerbench.layers import PASSES, Conv, DType
from layerbench.suite import load

graphs = importlib.import_module("layerbench.kernels._cudnn_graph")
cudnn = importlib.import_module("layerbench.kernels._cudnn_load").load()

H100 = {
    "deviceName": "NVIDIA H100 80GB HBM3",
    "deviceVer": 900,
    "multiProcessorCount": 132,
    "smClockRateKHz": 1980000,
    "memClockRateKHz": 2619000,
    "memoryBusWidth": 5120,
    "l2CacheSize": 52428800,
    "totalGlobalMem": 85899345920,
    "maxSharedMemoryPerBlock": 49152,
    "maxSharedMemoryPerBlockOptin": 232448,
    "reservedSharedMemoryPerBlock": 1024,
    "oversizedSharedMemoryPerBlock": 0,
    "maxGridSize": [2147483647, 65535, 65535],
    "maxBlockSize": [1024, 1024, 64],
    "maxThreadsPerBlock": 1024,
    "maxThreadsPerSM": 2048,
    "maxCtasPerSM": 32,
    "maxRegistersPerSM": 65536,
    "regsPerBlock": 65536,
    "warpSize": 32,
    "driverVer": 13020,
    "supportCoopLaunch": 1,
    "isTccDriver": 0,
    "pciDeviceId": 0,
    "cudaDeviceId": 0,
    "smCountOrigin": 0,
    "greenCtxId": 0,
}
A100 = {
    **H100,
    "deviceName": "NVIDIA A100-SXM4-80GB",
    "deviceVer": 800,
    "multiProcessorCount": 108,
    "smClockRateKHz": 1410000,
    "memClockRateKHz": 1593000,
    "l2CacheSize": 41943040,
    "maxSharedMemoryPerBlockOptin": 166912,
}

ODD = [
    Conv(name="grouped", input=(14, 14), in_channels=64, out_channels=128, filter=(3, 3), padding=(1, 1), groups=4),
    Conv(name="dilated", input=(19, 23), in_channels=32, out_channels=48, filter=(3, 3), dilation=(2, 3)),
    Conv(
        name="uneven",
        input=(30, 17),
        in_channels=24,
        out_channels=40,
        filter=(5, 2),
        stride=(3, 1),
        padding=(2, 0),
    ),
]


PICKED = 2
"""Plans of each pass that are made again."""


def found(place: dict[str, object], problem: graphs.Problem) -> dict[str, object]:
    """What cuDNN offers for a pass, and what becomes of it."""
    offered = list(graphs.offered(problem, place))
    plans = [plan for plan, _, _ in offered]
    workspaces = [graphs.build(problem, graph, index).workspace_bytes for _, graph, index in offered]
    picked = plans[:: max(1, math.ceil(len(plans) / PICKED))]
    small = {"same": 0, "refused": 0}
    for plan in picked:
        again = graphs.rebuilt(problem, place, graphs.Plan.of(json.loads(json.dumps(plan.settings))))
        assert again.graph.get_plan_name_at_index(again.index) == plan.name
        assert again.workspace_bytes == workspaces[plans.index(plan)]
        try:
            fewer = graphs.rebuilt(replace(problem, batch=2), place, plan)
        except KernelError:
            small["refused"] += 1
        else:
            assert fewer.graph.get_plan_name_at_index(fewer.index) == plan.name
            small["same"] += 1
    return {
        "plans": len(plans),
        "distinct": len({plan.name for plan in plans}),
        "named": sum(plan.named for plan in plans),
        "workspaces": workspaces,
        "algorithm": plans[0].algorithm,
        "picked": len(picked),
        "small": small,
        "notes": graphs.notes_of(problem, place, plans[0]) if problem.layout == "NHWC" else None,
    }


def main(gpu: str, dtypes: list[DType]) -> None:
    described = cudnn.create_device_properties(json.dumps({"H100": H100, "A100": A100}[gpu]))
    convolutions = [layer for layer in load("alexnet").layers if isinstance(layer, Conv)]
    layers = [(layer, 128) for layer in convolutions] + [(layer, 5) for layer in ODD]
    for (layer, batch), dtype, pass_, layout in itertools.product(layers, dtypes, PASSES, graphs.LAYOUTS):
        problem = graphs.Problem(layer, batch, dtype, pass_, layout)
        told = {"layer": layer.name, "dtype": dtype, "pass": pass_, "layout": layout}
        print(json.dumps(told | found({"device_property": described}, problem)))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2].split(","))
