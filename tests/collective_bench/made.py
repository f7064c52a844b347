"""Rows as a launch may find them."""

from __future__ import annotations

from typing import Any

from layerbench.collective_records import Measured, Row


def row(**changes: Any) -> Row:
    """An all-reduce of 1 KiB over two ranks that takes 2 µs, but for what is given."""
    given: dict[str, Any] = {
        "operation": "all_reduce", "bytes": 1024, "nodes": 2, "ranks": 2, "dtype": "fp32", "collectives": "mpi",
        "library": "MPI of a test", "call": "MPI_Allreduce in place", "in_place": True,
        "samples": [1e-6, 2e-6, 2e-6, 2e-6, 2e-6, 2e-6, 3e-6], "quickest_rank_samples": [1e-6] * 7,
    }  # fmt: skip
    return Row(**(given | changes))


def measured(*rows: Row, **changes: Any) -> Measured:
    return Measured(rows=list(rows), **changes)
