"""One layer at one node count: what is left of it when it failed, and how often it is prepared."""

from __future__ import annotations

import gc
import weakref
from types import SimpleNamespace
from typing import Any

import pytest

from layerbench import measure, registry
from layerbench.collectives import OneRank
from layerbench.errors import OutOfMemoryError
from layerbench.layers import FC
from layerbench.partition import shares
from layerbench.task import Task, share_memory
from layerbench.timed import Timed
from tests.values import options

LAYER = FC(name="fc", in_features=6, out_features=5)


class Memory:
    """What a kernel has allocated."""


class TooLarge:
    """A kernel that runs out of memory when it has allocated some."""

    name = "too_large"

    def __init__(self) -> None:
        self.allocated: list[weakref.ref[Memory]] = []
        self._numpy = registry.named("numpy")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._numpy, name)

    def search(self, job: Any, tensors: Any, budget: Any) -> Any:
        memory = Memory()
        self.allocated.append(weakref.ref(memory))
        raise OutOfMemoryError("too large")


def test_what_a_layer_that_failed_had_allocated_is_free_for_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = TooLarge()
    monkeypatch.setattr(registry, "find", lambda *_, **__: kernel)
    gc.disable()
    try:
        records = measure.measure(
            Task(options(nodes=[1], batch=4), 1, 1, "measured", None), LAYER, OneRank(), lambda _: None
        )
        assert {(record.status, record.reason) for record in records} == {("failed", "too large")}
        assert [memory() for memory in kernel.allocated] == [None]
    finally:
        gc.enable()


@pytest.mark.parametrize(("scratch", "expected"), [(0, 10), (10**6, 4)])
def test_sets_of_operands_fit_with_their_scratch_memory(scratch: int, expected: int) -> None:
    task = Task(options(nodes=[1], batch=4, cuda_graph=True, cache="cold"), 1, 1, "measured", None)
    mine = shares(LAYER, 4, 1, "data")
    of_operands = share_memory(LAYER, mine[0], 1, "data", task.options)
    device: Any = SimpleNamespace(rotation=lambda nbytes: 10, free_memory=lambda: 4 * 10**6 + 100 * of_operands)
    assert measure._sets(task, LAYER, mine, device, scratch) == expected


@pytest.mark.parametrize(("repetitions", "calls"), [(1, 3), (3, 3), (4, 6), (220, 222)])
def test_every_set_of_operands_is_used_as_often_and_calls_are_no_more_than_it_takes(
    repetitions: int, calls: int
) -> None:
    task = Task(options(nodes=[1], batch=4), 1, 1, "measured", None)
    assert Timed(task, LAYER, [], [], [], [], 3).calls_of(repetitions) == calls
