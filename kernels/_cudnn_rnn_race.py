"""The race between cuDNN's ways to compute a recurrent layer.

All passes of a layer are computed in one way, since the reserve space of one algorithm means nothing to another: the
way with the least sum of the passes that are in the step wins. Candidates run whole steps, so that every backward pass
follows the forward that it belongs to.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from layerbench.device import Device, Run
from layerbench.errors import KernelError, MeasurementError, OutOfMemoryError
from layerbench.kernel import Budget, Choice
from layerbench.layers import PASSES, Layer, Pass

from ._cudnn_rnn_plan import Plan

Runs = Mapping[Pass, Run]
Seconds = dict[Pass, float]


def race(
    layer: Layer,
    plans: list[Plan],
    start: Callable[[Plan, Callable[[Mapping[Pass, int]], None]], Runs],
    device: Device,
    budget: Budget,
) -> dict[Pass, Choice]:
    """Time every plan that runs, and choose one.

    Parameters
    ----------
    start
        Makes a plan's calls, which have touched their memory, after giving the bytes of workspace that each pass needs
        to a function that refuses too many. It raises KernelError or OutOfMemoryError where the plan cannot be had, and
        what it allocates is freed with the calls.

    Raises
    ------
    KernelError, OutOfMemoryError
        If none runs, with the first reason.
    """
    times: dict[Plan, Seconds] = {}
    sizes: dict[Plan, Mapping[Pass, int]] = {}
    in_step = [pass_ for pass_ in PASSES if pass_ != "backward_data" or layer.backward_data_in_step]
    refused: MeasurementError | None = None

    def total(seconds: Seconds) -> float:
        return sum(seconds[pass_] for pass_ in in_step)

    def time_plan(plan: Plan) -> Seconds:
        runs = start(plan, partial(_allow, plan, sizes, budget))
        best = _time(runs, device)
        least = min((total(seconds) for seconds in times.values()), default=total(best))
        for _ in range(budget.runs - 1):
            # One that is far behind is not run again; see Budget.patience.
            if total(best) > budget.patience * least:
                break
            best = min(best, _time(runs, device), key=total)
        return best

    for plan in plans:
        budget.progress(plan.name)
        try:
            times[plan] = time_plan(plan)
        except (KernelError, OutOfMemoryError) as error:
            # A new error: the old one's traceback would hold the memory of the plan that failed.
            refused = refused or _none(layer, error)
    if not times:
        assert refused is not None, "there is a plan for every dtype"
        raise refused
    return _choices(min(times, key=lambda plan: total(times[plan])), times, sizes)


def _allow(plan: Plan, sizes: dict[Plan, Mapping[Pass, int]], budget: Budget, needed: Mapping[Pass, int]) -> None:
    most = max(needed.values())
    if most > budget.workspace:
        raise KernelError(f"cuDNN: {plan.name}: needs {most} bytes of workspace, and {budget.workspace} are allowed")
    sizes[plan] = needed


def _time(runs: Runs, device: Device) -> Seconds:
    return dict(zip(PASSES, device.time_parts([runs[pass_] for pass_ in PASSES], 1), strict=True))


def _none(layer: Layer, first: MeasurementError) -> MeasurementError:
    told = f"cudnn_rnn: {layer.name}: no algorithm can do it: {first}"
    return OutOfMemoryError(told) if isinstance(first, OutOfMemoryError) else KernelError(told)


def _choices(
    chosen: Plan, times: Mapping[Plan, Seconds], sizes: Mapping[Plan, Mapping[Pass, int]]
) -> dict[Pass, Choice]:
    """The plan as every pass's choice, each with its own order of all plans that ran, the fastest first."""

    def order(pass_: Pass) -> list[str]:
        return [plan.name for plan in sorted(times, key=lambda plan: times[plan][pass_])]

    return {
        pass_: Choice(
            algorithm=chosen.name,
            settings={**chosen.settings, "fastest_first": order(pass_)},
            workspace_bytes=sizes[chosen][pass_],
            tried=len(times),
        )
        for pass_ in PASSES
    }
