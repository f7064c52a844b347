"""Plain values of the result schema that several tests need; every field can be replaced."""

from __future__ import annotations

from typing import Any

import msgspec

from layerbench.layers import FC
from layerbench.records import Manifest, Options, Record

OPTIONS = Options(
    nodes=[1, 2],
    batch=8,
    scaling="strong",
    dtype="fp32",
    kernels="numpy",
    threads_per_rank=1,
    ranks_per_node=1,
    filter="",
    rel_error=0.01,
    max_time=5.0,
    max_samples=10_000,
    cache="hot",
    oversubscribe=False,
    network="this-machine",
    launcher="mpiexec",
    launcher_args="",
    hosts=[],
    timeout=120.0,
    seed=0,
)

LAYER = FC(name="fc", in_features=4, out_features=2)

MANIFEST = Manifest(
    command="layerbench run --suite small",
    suite="small",
    suite_source="small.toml",
    layers=[LAYER],
    options=OPTIONS,
    environment={"cpu_model": "a processor", "usable_core_count": 2},
)

RECORD = Record(
    layer="fc",
    kind="fc",
    part="forward",
    nodes=1,
    ranks=1,
    threads_per_rank=1,
    batch=8,
    local_batch=8,
    dtype="fp32",
    kernels="numpy",
    samples=[1e-3, 1.1e-3],
)


def options(**changes: Any) -> Options:
    """The options above, some of them replaced."""
    return msgspec.structs.replace(OPTIONS, **changes)


def manifest(**changes: Any) -> Manifest:
    """The manifest above, some of it replaced."""
    return msgspec.structs.replace(MANIFEST, **changes)


def record(**changes: Any) -> Record:
    """The record above, some of it replaced."""
    return msgspec.structs.replace(RECORD, **changes)


HEEDING = """
import signal
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
"""
"""Before a program's own: what a script starts in the background, or nohup, would be deaf to these signals."""
