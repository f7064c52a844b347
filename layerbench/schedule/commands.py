"""The commands ``schedule`` and ``simulate``: parse, delegate, print. Nothing heavy is imported before one needs it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from layerbench.guard import one_line

if TYPE_CHECKING:
    from layerbench.schedule.solve import Objective, Policy

OBJECTIVES = ("makespan", "mean-completion", "node-hours", "deadline")
POLICIES = ("best", "uniform", "fastest", "efficient", "marginal", "fifo", "exact")
ONLINE = ("best", "uniform", "marginal", "fastest", "fifo")
FOLDER = "schedule"
POISSON = "poisson"


@click.command(name="schedule")
@click.argument("jobs", type=click.Path(path_type=Path, allow_dash=True))
@click.option("--nodes", type=int, required=True, help="How many nodes there are.")
@click.option(
    "--objective",
    type=click.Choice(OBJECTIVES),
    default="makespan",
    show_default=True,
    help="What is to be small; deadline: the node-hours of a plan that ends by --deadline.",
)
@click.option("--deadline", type=float, help="Seconds, for --objective deadline.")
@click.option(
    "--policy",
    type=click.Choice(POLICIES),
    default="best",
    show_default=True,
    help="best searches; exact proves, for few jobs (extra schedule); the others are what it is compared with.",
)
@click.option("--seconds", type=float, default=2.0, show_default=True, help="How long to search.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the search; the same finds the same plan.")
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    default=FOLDER,
    show_default=True,
    help="Folder for the plan and its pictures.",
)
@click.option("--html/--no-html", default=None, help="Whether to write schedule.html.  [default: where it can be made]")
@click.option("--quiet", is_flag=True, help="Print errors only.")
@one_line
def schedule_command(
    jobs: Path,
    nodes: int,
    objective: Objective,
    deadline: float | None,
    policy: Policy,
    seconds: float,
    seed: int,
    output: Path,
    html: bool | None,
    quiet: bool,
) -> None:
    """Choose how many nodes each job gets, and when it starts.

    JOBS is a CSV file with the columns job, type, nodes, seconds (or throughput and work for seconds), a row for each
    count that a job may take; the same as JSON; or a run folder, whose layer types are the jobs. - is standard input.
    """
    from dataclasses import replace

    from layerbench import outputs
    from layerbench.console import console
    from layerbench.schedule import read, solve, text, write

    # Before a search that would be for nothing.
    outputs.check_folder(output, _files([jobs]), write.FILES, what="schedule")
    found = read.read(jobs)
    plan = solve.solve(found.jobs, nodes, objective, policy, seconds, seed, deadline)
    plan = replace(plan, notes=(*found.notes, *plan.notes))
    rows = solve.others(found.jobs, nodes, policy, objective, deadline)
    if not quiet:
        text.print_plan(plan, rows, console())
    written = write.write(plan, rows, output, html, inputs=_files([jobs]))
    if not quiet:
        click.echo("\n".join(str(path) for path in written))
        if html is None and (left_out := write.page_left_out()):
            click.echo(left_out, err=True)


@click.command(name="simulate")
@click.argument("trace")
@click.option("--curves", type=click.Path(path_type=Path, allow_dash=True), required=True, help="JOBS, as of schedule.")
@click.option("--nodes", type=int, required=True, help="How many nodes there are.")
@click.option("--policy", default=",".join(ONLINE), show_default=True, help="One or several, side by side.")
@click.option(
    "--elastic", type=float, help="Seconds that a running job loses when its count changes.  [default: never]"
)
@click.option("--noise", type=float, default=0.0, show_default=True, help="Plan with curves wrong by up to this: 0.2.")
@click.option(
    "--load", type=float, default=0.8, show_default=True, help="Of poisson: the nodes' time that is asked for."
)
@click.option("--arrivals", type=int, default=1000, show_default=True, help="Of poisson: how many.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of arrivals and noise.")
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    default="simulation",
    show_default=True,
    help="Folder for figures, jobs and pictures.",
)
@click.option("--quiet", is_flag=True, help="Print errors only.")
@one_line
def simulate_command(
    trace: str,
    curves: Path,
    nodes: int,
    policy: str,
    elastic: float | None,
    noise: float,
    load: float,
    arrivals: int,
    seed: int,
    output: Path,
    quiet: bool,
) -> None:
    """Let jobs arrive over time, and see what becomes of them under several policies.

    TRACE is a CSV file with the columns arrival (seconds), type, work (how many times the type's curve), or the word
    poisson for arrivals at random. At each arrival and finish the waiting jobs are planned anew, with backfill.
    """
    from layerbench import outputs
    from layerbench.console import console
    from layerbench.schedule import read, simulation_text, simulation_write
    from layerbench.schedule import trace as traces
    from layerbench.schedule.simulate import simulate

    asked = _policies(policy)
    inputs = _files([curves] if trace == POISSON else [curves, Path(trace)])
    outputs.check_folder(output, inputs, what="simulation")
    found = read.read(curves)
    by_type = traces.curves_of(found.jobs)
    if trace == POISSON:
        rate = traces.rate_for_load(by_type, nodes, load)
        arrived = traces.poisson(list(by_type), arrivals, rate, seed)
    else:
        arrived = traces.read(Path(trace))
    outcomes = {name: simulate(arrived, by_type, nodes, name, elastic, seed=seed) for name in asked}
    wrong = {name: simulate(arrived, by_type, nodes, name, elastic, noise, seed) for name in asked} if noise else None
    if not quiet:
        simulation_text.print_outcomes(outcomes, console(), wrong)
        for note in found.notes:
            click.echo(note)
    written = simulation_write.write_outcomes(outcomes, output, wrong, inputs=inputs)
    if not quiet:
        click.echo("\n".join(map(str, written)))


def _files(paths: list[Path]) -> list[Path]:
    """Those that are no standard input."""
    return [path for path in paths if str(path) != "-"]


def _policies(text: str) -> list[str]:
    """Names separated by commas, each once."""
    from layerbench.errors import UsageError

    asked = [name.strip() for name in text.split(",")]
    for name in asked:
        if name not in ONLINE:
            raise UsageError(f"--policy {name}: unknown; known are {', '.join(ONLINE)}, separated by commas")
        if asked.count(name) > 1:
            raise UsageError(f"--policy {text}: {name} is named twice")
    return asked
