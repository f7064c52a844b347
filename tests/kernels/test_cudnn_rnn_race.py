"""The race between ways to compute a recurrent layer."""

from __future__ import annotations

import importlib
from typing import Any

import pytest

from layerbench.errors import KernelError, OutOfMemoryError
from layerbench.kernel import Budget
from layerbench.layers import LSTM, PASSES, Pass

plans = importlib.import_module("layerbench.kernels._cudnn_rnn_plan")
races = importlib.import_module("layerbench.kernels._cudnn_rnn_race")

LAYER = LSTM(name="lstm", input_size=5, hidden_size=4, time_steps=6)


class Clock:
    """A device whose calls take the time they say."""

    def __init__(self) -> None:
        self.steps = 0

    def time_parts(self, parts: list[Any], repetitions: int, before_each: Any = None) -> list[float]:
        self.steps += 1
        return [part() for part in parts]


def taking(*seconds: float) -> dict[Pass, Any]:
    return {pass_: lambda of_pass=of_pass: of_pass for pass_, of_pass in zip(PASSES, seconds, strict=True)}


A, B, C, D = (plans.Plan(algorithm, "packed", "fma") for algorithm in plans.ALGORITHMS)


def raced(times: dict[Any, Any], layer: LSTM = LAYER, budget: Budget | None = None) -> tuple[Any, Clock]:
    def start(plan: Any, fits: Any) -> Any:
        found = times[plan]
        if isinstance(found, Exception):
            raise found
        fits({"forward": 30, "backward_data": 20, "backward_weights": 10} if plan != C else dict.fromkeys(PASSES, 900))
        return taking(*found)

    clock = Clock()
    return races.race(layer, list(times), start, clock, budget or Budget(workspace=100)), clock


def test_one_way_wins_for_all_passes_by_the_sum_of_the_step() -> None:
    choices, _ = raced({A: (1, 3, 2), B: (2, 1, 2), D: (5, 5, 1)})
    assert {choice.algorithm for choice in choices.values()} == {B.name}
    assert [plans.plan_of(choices[pass_].settings) for pass_ in PASSES] == [B] * 3
    assert {choice.tried for choice in choices.values()} == {3}
    assert [choices[pass_].workspace_bytes for pass_ in PASSES] == [30, 20, 10]
    fastest = {pass_: choices[pass_].settings["fastest_first"][0] for pass_ in PASSES}
    assert fastest == {"forward": A.name, "backward_data": B.name, "backward_weights": D.name}


def test_a_pass_that_is_not_in_the_step_does_not_count() -> None:
    first = LSTM(name="first", input_size=5, hidden_size=4, time_steps=6, backward_data_in_step=False)
    choices, _ = raced({A: (1, 9, 2), B: (2, 1, 2)}, first)
    assert choices["forward"].algorithm == A.name


def test_what_fails_or_needs_too_much_is_left_out() -> None:
    choices, _ = raced({A: KernelError("no"), B: (2, 1, 2), C: (0, 0, 0), D: OutOfMemoryError("full")})
    assert choices["forward"].algorithm == B.name
    assert choices["forward"].tried == 1


def test_when_none_runs_the_first_reason_is_told() -> None:
    with pytest.raises(KernelError, match=r"cudnn_rnn: lstm: no algorithm can do it: .* needs 900 bytes .* 100 are"):
        raced({C: (1, 1, 1), A: KernelError("other")})
    with pytest.raises(OutOfMemoryError, match="full"):
        raced({A: OutOfMemoryError("full"), B: KernelError("other")})


def test_one_that_is_far_behind_is_run_once() -> None:
    _, clock = raced({A: (1, 1, 1), B: (9, 9, 9)}, budget=Budget(workspace=100, runs=3))
    assert clock.steps == 3 + 1
