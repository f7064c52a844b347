"""What became of jobs that arrived over time, drawn: nodes in use by type, and jobs that wait."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from layerbench.report.cells import flat, percent
from layerbench.report.describe import plural
from layerbench.report.marks import INK
from layerbench.report.style import OVERVIEW, Format, rendered, styled
from layerbench.schedule import looks
from layerbench.schedule.jobs import Job
from layerbench.schedule.outcome import Outcome
from layerbench.schedule.plan import Placement
from layerbench.schedule.spans import Unit, unit_of

if TYPE_CHECKING:
    import numpy as np

DPI = 150
STEPS = 300
"""Of the time axis; a trace with more events is drawn as means over each step."""


def draw(outcome: Outcome) -> Any:
    """A figure of one outcome: above the nodes in use, stacked by type, below the jobs that wait.

    Up to eight types look as in a plan's chart.
    """
    from matplotlib.figure import Figure

    with styled(OVERVIEW):
        figure: Any = Figure(figsize=(10, 5.6), dpi=DPI, facecolor="white")
        panels = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1.3))
        figure.subplots_adjust(left=0.08, right=0.82, top=0.89, bottom=0.1, hspace=0.12)
        edges = _edges(outcome)
        unit = unit_of(float(edges[-1] - edges[0]))
        _nodes(panels[0], outcome, edges, unit)
        _queue(panels[1], outcome, edges, unit)
        panels[0].set_title(_title(outcome))
        panels[1].set_xlim(0, unit.value(float(edges[-1] - edges[0])))
        step = float(edges[1] - edges[0])
        means = f"; means over {unit_of(step).told(step)}" if len(edges) == STEPS + 1 else ""
        panels[1].set_xlabel(f"time since the first arrival ({unit.name}{means})")
        figure.align_ylabels(panels)
    return figure


def rendered_as(figure: Any, kind: Format) -> bytes:
    """The figure as a file's contents."""
    return rendered(figure, kind, OVERVIEW, DPI)


def _title(outcome: Outcome) -> str:
    wrong = f", planned with times up to {percent(outcome.noise)} wrong" if outcome.noise else ""
    mean, p99 = (unit_of(value).told(value) for value in (outcome.mean_completion, outcome.p99_completion))
    return (
        f"{flat(outcome.policy)}: {plural(len(outcome.jobs), 'job')} on {plural(outcome.nodes, 'node')}{wrong}\n"
        f"complete {mean} after arrival on average, 99 % within {p99}"
    )


def _edges(outcome: Outcome) -> np.ndarray:
    """Ends of the steps: the events themselves, or equal parts of the time where these are too many."""
    import numpy as np

    times = {job.arrival.at for job in outcome.jobs} | {job.end for job in outcome.jobs}
    times |= {at for job in outcome.jobs for at, _ in job.history}
    if len(times) == 1:
        times.add(max(times) + 1.0)
    if len(times) <= STEPS:
        return np.array(sorted(times))
    return np.linspace(min(times), max(times), STEPS + 1)


def _means(spans: Sequence[tuple[float, float, int]], edges: np.ndarray) -> np.ndarray:
    """Mean over each step of how much there is, of (from, to, how much)."""
    import numpy as np

    if not spans:
        return np.zeros(len(edges) - 1)
    begin, end, amount = np.array(spans, np.float64).T
    times = np.concatenate([begin, end])
    change = np.concatenate([amount, -amount])
    order = np.argsort(times, kind="stable")
    times, level = times[order], np.cumsum(change[order])
    area = np.concatenate([[0.0], np.cumsum(level[:-1] * np.diff(times))])
    mean = np.diff(np.interp(edges, times, area)) / np.diff(edges)
    # The sum of many numbers leaves a rest of rounding where there is nothing.
    found: np.ndarray = np.maximum(mean, 0.0)
    return found


def _nodes(axes: Any, outcome: Outcome, edges: np.ndarray, unit: Unit) -> None:
    groups = _groups(outcome)
    place = looks.group_of(groups)
    spans: list[list[tuple[float, float, int]]] = [[] for _ in groups]
    for job in outcome.jobs:
        spans[place[job.arrival.type]].extend(job.spans())
    time = (edges - edges[0]) / unit.seconds
    base = 0.0 * edges[:-1]
    for group, of_group in zip(groups, spans, strict=True):
        top = base + _means(of_group, edges)
        axes.fill_between(
            time,
            [*base, base[-1]],
            [*top, top[-1]],
            step="post",
            facecolor=group.look.tint,
            edgecolor=group.look.colour,
            hatch=group.look.hatch,
            linewidth=0.0,
            label=_label(group.label),
        ).set_gid(f"nodes:{group.label}")
        base = top
    axes.axhline(outcome.nodes, color=INK, linewidth=1.2, linestyle="--", label=f"all {outcome.nodes:,} nodes")
    axes.set_ylim(0, outcome.nodes * 1.08)
    axes.set_ylabel("nodes in use")
    axes.figure.legend(
        *axes.get_legend_handles_labels(),
        loc="upper left",
        bbox_to_anchor=(0.83, 0.9),
        frameon=False,
        fontsize=9,
        handleheight=1.4,
        title=f"{percent(outcome.utilisation)} of the nodes'\ntime in use",
        title_fontsize=9,
        alignment="left",
    )


def _label(name: str) -> str:
    # The library leaves out what begins with an underscore.
    return f"\u200b{name}" if name.startswith("_") else name


def _groups(outcome: Outcome) -> list[looks.Group]:
    """Types that look different each; where there are more, those with the least node-seconds are one."""
    area: dict[str, float] = {}
    for job in outcome.jobs:
        area[job.arrival.type] = area.get(job.arrival.type, 0.0) + job.node_seconds
    largest = sorted(area, key=lambda type_: (-area[type_], type_))
    shown = largest if len(largest) <= len(looks.LOOKS) else largest[: len(looks.LOOKS) - 1]
    # One placement stands for all of a type's.
    found = looks.groups([Placement(Job(type_, type_, (1,), (1.0,)), 1, 0.0) for type_ in shown])
    if rest := frozenset(largest[len(shown) :]):
        found.append(looks.Group(rest, f"{len(rest):,} other types", "", looks.REST))
    return found


def _queue(axes: Any, outcome: Outcome, edges: np.ndarray, unit: Unit) -> None:
    from matplotlib.ticker import MaxNLocator

    waits = [(job.arrival.at, job.start, 1) for job in outcome.jobs if job.start > job.arrival.at]
    length = _means(waits, edges)
    time = (edges - edges[0]) / unit.seconds
    axes.fill_between(time, 0, [*length, length[-1]], step="post", color=INK, alpha=0.25, linewidth=0)
    axes.step(time, [*length, length[-1]], where="post", color=INK, linewidth=1.0)
    axes.set_ylim(0, max(1.0, float(length.max()) * 1.08))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=4, integer=True))
    axes.set_ylabel("jobs waiting")
