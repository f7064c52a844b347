"""What became of jobs under several policies, on the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from layerbench import units
from layerbench.report.cells import flat, percent
from layerbench.report.describe import plural
from layerbench.schedule.outcome import Outcome
from layerbench.schedule.spans import HOUR, significant, unit_of

if TYPE_CHECKING:
    from rich.console import Console


def print_outcomes(
    outcomes: Mapping[str, Outcome], console: Console, wrong: Mapping[str, Outcome] | None = None
) -> None:
    """Print policies side by side, least mean completion first.

    Parameters
    ----------
    outcomes
        Of one trace, by policy, planned with the right curves; or with wrong ones, if that is all there is.
    console
        Where to.
    wrong
        Of the same trace, planned with wrong curves: a second table sets the two side by side.
    """
    first = next(iter(outcomes.values()))
    _say(console, _heading(first), style="bold")
    by_mean = sorted(outcomes, key=lambda name: outcomes[name].mean_completion)
    shown = [outcomes[name] for name in by_mean]
    columns = {
        "policy": by_mean,
        "mean": _durations([outcome.mean_completion for outcome in shown]),
        "p99": _durations([outcome.p99_completion for outcome in shown]),
        "wait": _durations([outcome.mean_wait for outcome in shown]),
        "slowdown": [f"{outcome.bounded_slowdown:,.2f}" for outcome in shown],
        "node-hours": [significant(outcome.node_seconds / HOUR) for outcome in shown],
        "utilisation": [percent(outcome.utilisation) for outcome in shown],
        "makespan": _durations([outcome.makespan for outcome in shown]),
    }
    if any(outcome.reallotments for outcome in shown):
        columns["re-allotments"] = [f"{outcome.reallotments:,}" for outcome in shown]
    console.print(_table(list(columns.items())))
    for name in by_mean:
        _say(console, f"{name}: {outcomes[name].description}")
    _say(
        console,
        "mean, p99: end less arrival; slowdown: that over the job's fastest time on these nodes, or over "
        f"{units.seconds(first.tau)} where that is more; at least 1",
    )
    if wrong:
        console.print()
        _print_wrong(outcomes, wrong, by_mean, console)


def _heading(outcome: Outcome) -> str:
    told = f"{plural(len(outcome.jobs), 'job')} on {plural(outcome.nodes, 'node')}"
    if outcome.elastic_cost is not None:
        told += f", elastic at {units.seconds(outcome.elastic_cost)} a re-allotment"
    return told + (f", planned with times up to {percent(outcome.noise)} wrong" if outcome.noise else "")


def _print_wrong(
    right: Mapping[str, Outcome], wrong: Mapping[str, Outcome], order: list[str], console: Console
) -> None:
    shown = [name for name in order if name in wrong]
    noise = max((wrong[name].noise for name in shown), default=0.0)
    _say(console, f"planned with the right curves, and with times up to {percent(noise)} wrong", style="bold")
    columns = [("policy", shown)]
    for label, value in (("mean", _mean_of), ("p99", _p99_of)):
        rights, wrongs = ([value(outcomes[name]) for name in shown] for outcomes in (right, wrong))
        told = _durations([*rights, *wrongs])
        columns += [(f"{label} right", told[: len(shown)]), ("wrong", told[len(shown) :])]
        columns += [("change", [f"{100 * (two / one - 1):+.1f} %" for one, two in zip(rights, wrongs, strict=True)])]
    console.print(_table(columns))


def _mean_of(outcome: Outcome) -> float:
    return outcome.mean_completion


def _p99_of(outcome: Outcome) -> float:
    return outcome.p99_completion


def _table(columns: Sequence[tuple[str, Sequence[str]]]) -> Any:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for name, _ in columns:
        table.add_column(name, justify="left" if name == "policy" else "right", no_wrap=True)
    for row in zip(*(cells for _, cells in columns), strict=True):
        table.add_row(*(Text(flat(cell)) for cell in row))
    return table


def _durations(values: Sequence[float]) -> list[str]:
    """Durations in the unit of the shortest that is not none, so that they can be compared."""
    unit = unit_of(min((value for value in values if value > 0), default=0.0))
    return [unit.told(value) for value in values]


def _say(console: Console, line: str, style: str = "") -> None:
    console.print(flat(line), style=style, markup=False, highlight=False, soft_wrap=True)
