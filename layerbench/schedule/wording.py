"""A plan in words: the sentences and cells that terminal, figure and page share."""

from __future__ import annotations

import math
from collections.abc import Sequence

from layerbench.report.cells import flat, percent
from layerbench.report.describe import plural
from layerbench.schedule.comparison import Row
from layerbench.schedule.plan import Placement, Plan
from layerbench.schedule.spans import HOUR, Unit, significant, unit_of

NEGLIGIBLE = 1e-6
"""A gap that is rounding alone, of the bounds' bisection and of a solver that counts in ticks."""

COMPARED_HEAD = ("policy", "description", "makespan", "to this plan's", "mean completion", "node-hours")
COMPARED_NUMBERS = frozenset({2, 3, 4, 5})

PLACED_NUMBERS = frozenset({2, 3, 4, 5})


def heading(plan: Plan) -> str:
    """``12 jobs on 64 nodes: makespan 3.2 h, at most 2.1 % above the least possible``."""
    jobs = f"{plural(len(plan.placements), 'job')} on {plural(plan.nodes, 'node')}"
    return f"{jobs}: makespan {told(plan, plan.makespan)}{_quality(plan)}"


def _quality(plan: Plan) -> str:
    if plan.lower_bound <= 0:
        return ""
    if _least(plan):
        return ", the least possible"
    return f", at most {gap(plan)} above the least possible"


def _least(plan: Plan) -> bool:
    return plan.proven or plan.gap <= NEGLIGIBLE


def gap(plan: Plan) -> str:
    """How far above the lower bound, in per cent and rounded up, as is said of what is "at most": ``2.1 %``."""
    value = math.ceil(1000 * plan.gap - 1e-6) / 10
    return f"{value:.1f} %" if value < 100 else f"{value:,.0f} %"


def facts(plan: Plan) -> dict[str, str]:
    """What a plan comes to, by what it is called."""
    found = {"makespan": told(plan, plan.makespan)}
    if plan.bounds:
        found["lower bounds on it"] = ", ".join(
            f"{flat(name)} {told(plan, bound)}" for name, bound in plan.bounds.items()
        )
    if plan.lower_bound > 0:
        found["gap"] = "none: no plan is shorter" if _least(plan) else f"{gap(plan)} above the highest bound"
    found |= {
        "utilisation": percent(plan.utilisation, 1),
        "node-hours": node_hours(plan.node_seconds),
        "mean completion": told(plan, plan.mean_completion),
        "policy": flat(plan.policy) + (f", for the least {flat(plan.objective)}" if plan.policy == "best" else ""),
    }
    return found


def node_hours(node_seconds: float) -> str:
    """Node-seconds as node-hours with three significant digits."""
    return significant(node_seconds / HOUR)


def placed_head(unit: Unit) -> tuple[str, ...]:
    """The head of a table of placements."""
    return ("job", "type", "nodes", f"start ({unit.name})", f"end ({unit.name})", "node-hours")


def placed(placement: Placement, unit: Unit) -> tuple[str, ...]:
    """A row of it."""
    return (
        flat(placement.job.name),
        flat(placement.job.type),
        f"{placement.nodes:,}",
        unit.fixed(placement.start),
        unit.fixed(placement.end),
        node_hours(placement.node_seconds),
    )


def in_order(plan: Plan) -> list[Placement]:
    """Placements as they start; those that start together in the jobs' order."""
    return sorted(plan.placements, key=lambda placement: placement.start)


def compared(plan: Plan, rows: Sequence[Row]) -> list[tuple[str, ...]]:
    """The plan and what other schemes would give, as rows of a table."""
    return [_cells(Row.of(plan, "this plan"), plan), *(_cells(row, plan) for row in rows)]


def _cells(row: Row, plan: Plan) -> tuple[str, ...]:
    return (
        flat(row.policy),
        flat(row.description),
        told(plan, row.makespan),
        f"{row.makespan / plan.makespan:.3f}",
        told(plan, row.mean_completion),
        node_hours(row.node_seconds),
    )


def others(plan: Plan, rows: Sequence[Row]) -> str:
    """Other schemes' makespans in a sentence; empty where there are none."""
    if not rows:
        return ""
    shown = [f"{flat(row.policy)} {told(plan, row.makespan)} (×{row.makespan / plan.makespan:.2f})" for row in rows]
    return f"Other schemes take: {', '.join(shown)}"


def unit_of_plan(plan: Plan) -> Unit:
    """The unit in which all durations of a plan are told."""
    return unit_of(plan.makespan)


def told(plan: Plan, seconds: float) -> str:
    """A duration in that unit."""
    return unit_of_plan(plan).told(seconds)
