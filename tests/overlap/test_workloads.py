"""What is computed, and on how many cores its batches are made."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from layerbench.overlap.workloads import Training, lanes, repetitions, shared_cores
from layerbench.overlap_records import OverlapTask


@pytest.mark.parametrize(
    ("workers", "stages", "spare", "shared", "expected"),
    [
        *((1, 1, 1, 0, 1), (1, 3, 2, 0, 2), (1, 3, 8, 0, 3), (4, 1, 2, 0, 2), (2, 1, 8, 0, 2), (1, 3, 0, 0, 1)),
        *((1, 3, 0, 2, 2), (1, 3, 0, 8, 3), (1, 3, 2, 8, 2)),
    ],
)
def test_transfer_is_spread_over_workers_of_all_stages(
    workers: int, stages: int, spare: int, shared: int, expected: int
) -> None:
    task = OverlapTask(modes=[], source="synthetic", depth=3, bucket_bytes=1, workers=workers, spare_cores=spare)
    assert lanes(task, stages, shared) == expected


@pytest.mark.parametrize(
    ("cores", "device", "expected"), [([], "host", 2), ([3], "host", 0), ([], "cuda:0", 0), ([3], "cuda:0", 0)]
)
def test_cores_are_shared_where_none_is_to_spare_and_the_processor_computes(
    cores: list[int], device: str, expected: int
) -> None:
    assert shared_cores(cores, 2, device) == expected


class Elsewhere:
    """An array that is not in the host's memory, as far as NumPy's functions are used with it."""

    def __init__(self, values: np.ndarray) -> None:
        self.values = values

    def __array_function__(self, function: Any, types: Any, arguments: Any, options: Any) -> Elsewhere:
        assert function is np.empty_like
        return Elsewhere(np.empty(options["shape"], options["dtype"]))

    def set(self, array: np.ndarray) -> None:
        self.values[...] = array


@pytest.mark.parametrize("there", [False, True])
def test_what_is_fed_in_every_step_lies_where_the_gradients_do(there: bool) -> None:
    gradient = np.zeros(3, np.float16)
    seen: list[Any] = []
    step: Any = SimpleNamespace(
        gradients=(Elsewhere(gradient) if there else gradient,),
        forward=lambda arrays, number: seen.extend(arrays),
        backward=lambda ready, between: None,
        device=SimpleNamespace(synchronize=lambda: None),
    )
    constant = np.arange(6, dtype=np.float32).reshape(2, 3)
    Training(step, [0, constant]).run(["batch"], lambda index: None, lambda: None)
    batch, fed = seen
    assert batch == "batch"
    assert isinstance(fed, Elsewhere if there else np.ndarray)
    assert ((fed.values if there else fed) == constant).all()


def test_calls_that_are_only_queued_are_repeated_as_often_as_they_fit_in_a_row() -> None:
    done = [0.0]

    def run() -> None:
        done[0] = max(done[0], time.perf_counter()) + 1e-3

    def synchronize() -> None:
        # To be woken takes a while by itself.
        time.sleep(max(0.0, done[0] - time.perf_counter()) + 4e-3)

    assert 50 <= repetitions(run, 0.1, synchronize) <= 100
