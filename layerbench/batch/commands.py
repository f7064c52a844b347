"""The commands ``submit``, ``jobs``, ``collect``, ``cancel`` and ``systems``: parse, delegate, print."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

import click

from layerbench.console import console
from layerbench.guard import one_line, signals_raise
from layerbench.launch import LAUNCHERS

FORMATS = ("table", "json")

OF_SUBMIT = ("launcher", "hosts", "output", "resume", "quiet")
"""Options of ``run`` that ``submit`` sets itself, or has in its own words."""

APART = ("nodes", "suite", "filter_", "launcher_args", "ranks_per_node", "threads_per_rank")
"""Options of ``run`` that are more than passed on."""

KEPT = "what was submitted is kept: see layerbench jobs"


class Seconds(click.FloatRange):
    """A number of seconds, which ``nan`` and ``inf`` are not."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """As the base class, for finite numbers."""
        seconds = super().convert(value, param, ctx)
        if not math.isfinite(seconds):
            self.fail(f"{value!r} is no number of seconds.", param, ctx)
        return seconds


def _timeout(command: Any) -> Any:
    return click.option(
        "--scheduler-timeout",
        type=Seconds(min=0, min_open=True),
        default=60.0,
        show_default=True,
        help="Seconds that the scheduler may take to answer.",
    )(command)


def submit_command(run: click.Command) -> click.Command:
    """The command ``submit``, which has the options of ``run`` too, but for those that it sets itself."""
    shared = [param for param in run.params if param.name not in OF_SUBMIT]

    @click.command(name="submit")
    @click.option("--system", default="", help="A system's name, or the path of a .toml file: see layerbench systems.")
    @click.option("--walltime", default="", help="hours:minutes:seconds.  [default: the system's]")
    @click.option("--account", default="", help="Who pays.")
    @click.option("--queue", default="", help="Queue, partition or quality of service.  [default: the system's]")
    @click.option(
        "--array/--one-allocation",
        default=None,
        help="A job for each count, or one for all that asks for the largest.  [default: --one-allocation]",
    )
    @click.option("--launcher", type=click.Choice(LAUNCHERS), help="[default: the system's]")
    @click.option(
        "--cores-per-node", type=click.IntRange(1, 2**20), help="Cores of a node, where the system does not say."
    )
    @click.option("--name", default="", help="What jobs' names begin with.  [default: lb-SUITE]")
    @click.option(
        "--output", help="The run folder, on a file system that all nodes share.  [default: a new one in runs/]"
    )
    @click.option(
        "--resume", type=click.Path(path_type=Path), help="Submit the jobs of this run again that did not end well."
    )
    @click.option("--dry-run", is_flag=True, help="Print what would be submitted, and touch nothing.")
    @_timeout
    @click.pass_context
    @one_line
    def submit(context: click.Context, **options: Any) -> None:
        """Run a suite on a batch system: write a job script, and submit it.

        Takes the options of layerbench run. The job measures one count after another in one allocation of the largest,
        or with --array in a job for each: these are separate jobs, because a scheduler's own array has jobs of one size
        only. A job that was killed is gone on with by --resume RUN, or by the same command with --output RUN.

        Exit codes: 0 submitted, 2 wrong use, or the scheduler is missing, refused or did not answer.
        """
        from layerbench.batch import front

        given = {
            name for name in options if context.get_parameter_source(name) is not click.core.ParameterSource.DEFAULT
        }
        passed = [
            _words(param, options[param.name]) for param in shared if param.name in given and param.name not in APART
        ]
        with signals_raise(KEPT):
            front.submit(
                options,
                given,
                [words for words in passed if words],
                of_run={str(param.name) for param in shared},
                say=click.echo,
                warn=_warn,
            )

    submit.params += shared
    return submit


def _words(param: click.Parameter, value: Any) -> list[str]:
    """An option as it is typed; nothing for a flag that is not set."""
    if isinstance(param, click.Option) and param.is_flag:
        return [param.opts[0]] if value else []
    return [param.opts[0], str(value)]


def _warn(line: str) -> None:
    click.echo(f"layerbench: {line}", err=True)


@click.command(name="jobs")
@click.argument("jobs", nargs=-1)
@click.option("--format", "format_", type=click.Choice(FORMATS), default="table", show_default=True)
@_timeout
@one_line
def jobs_command(jobs: tuple[str, ...], format_: str, scheduler_timeout: float) -> None:
    """List what was submitted from here, its state, and where its results are.

    Looks into runs/ and at what was submitted to folders elsewhere; or at JOBS alone: run folders, names or ids. What
    to do about a job that did not end well is said for a week, and then where it is named.
    """
    import json

    from layerbench.batch import front, tables

    with signals_raise(KEPT):
        seen = front.look_at(jobs, scheduler_timeout, _warn)
        rows = tables.of_jobs(seen)
    if format_ == "json":
        click.echo(json.dumps(rows, indent=2))
        return
    if not rows:
        click.echo("nothing was submitted from here: see layerbench submit --help")
        return
    console().print(tables.jobs_table(rows))
    for row in rows:
        if row["note"] and (jobs or tables.is_news(row)):
            click.echo(f"{row['name']}: {row['note']}")


@click.command(name="collect")
@click.argument("job", required=False)
@click.option("--no-wait", is_flag=True, help="Collect what there is, without waiting for the rest.")
@click.option("--timeout", type=Seconds(min=0), help="Seconds to wait at most.  [default: for ever]")
@click.option(
    "--poll",
    type=Seconds(min=0.05),
    default=2.0,
    show_default=True,
    help="Seconds between two questions to the scheduler, at first; more while nothing changes.",
)
@click.option(
    "--lag",
    type=Seconds(min=0),
    default=30.0,
    show_default=True,
    help="Seconds that a job's files may take until they are seen here.",
)
@click.option("--quiet", is_flag=True, help="Print errors only.")
@_timeout
@one_line
def collect_command(
    job: str | None,
    no_wait: bool,
    timeout: float | None,
    poll: float,
    lag: float,
    quiet: bool,
    scheduler_timeout: float,
) -> None:
    """Wait for a job's end, and make one run of what it measured; of the newest if none is named.

    JOB is a run folder, a job's name or its id; of an array all jobs are collected.

    Exit codes: that of the worst job (see layerbench run; 124 and 143: stopped before it was complete), 2 wrong use,
    4 some are not over.
    """
    from layerbench.batch import front
    from layerbench.batch.collect import NOT_OVER, collect
    from layerbench.batch.verdict import OVER
    from layerbench.suite_format import printable

    def say(line: str) -> None:
        if not quiet:
            click.echo(line, err=True)

    run = front.run_of(job)
    with signals_raise("the jobs go on; collect them later"):
        collected = collect(
            run,
            say,
            waits=not no_wait,
            timeout=timeout,
            interval=poll,
            lag=lag,
            answer_timeout=scheduler_timeout,
        )
    for note in collected.notes:
        _warn(note)
    if not collected.readable and not quiet:
        click.echo(f"{printable(str(run))}: nothing was measured{' yet' if collected.exit_code == NOT_OVER else ''}")
    elif not quiet:
        from layerbench import api, store
        from layerbench.batch.shell import argument
        from layerbench.report import print_summary

        loaded = api.load(run)
        if not loaded.records:
            click.echo(f"{printable(str(run))}: nothing was measured")
        else:
            print_summary(loaded, console())
            kept = printable(str(run / store.RECORDS))
            click.echo(f"records: {kept}; draw them with: layerbench report {argument(run)}")
    followed = not no_wait and not quiet
    for name, verdict in collected.verdicts.items():
        if verdict.outcome == "done":
            continue
        told = [verdict.note] if followed and verdict.outcome in OVER else [verdict.outcome, verdict.note]
        if any(told):
            _warn(": ".join([name, *filter(None, told)]))
    sys.exit(collected.exit_code)


@click.command(name="cancel")
@click.argument("jobs", nargs=-1, required=True)
@click.option(
    "--forget", is_flag=True, help="Drop jobs whose ids are not known, as if never submitted; nothing is cancelled."
)
@_timeout
@one_line
def cancel_command(jobs: tuple[str, ...], forget: bool, scheduler_timeout: float) -> None:
    """End jobs that wait or run; JOBS are run folders, names or ids. What was measured is kept.

    Exit codes: 0 all are over or have been told to end, 2 wrong use, or some may go on: all others have been told.
    """
    from layerbench.batch import submission
    from layerbench.batch.cancel import cancel, drop
    from layerbench.errors import SchedulerError

    failed: list[str] = []
    with signals_raise(KEPT):
        for run, names in submission.choose(jobs):
            if forget:
                drop(run, names, click.echo, scheduler_timeout)
                continue
            try:
                cancel(run, names, click.echo, scheduler_timeout)
            except SchedulerError as error:
                failed.append(str(error))
    if failed:
        raise SchedulerError("; ".join(dict.fromkeys(failed)))


@click.command(name="systems")
@click.argument("system", required=False)
@click.option("--format", "format_", type=click.Choice(FORMATS), default="table", show_default=True)
@one_line
def systems_command(system: str | None, format_: str) -> None:
    """List the systems that can be submitted to, or show (and so check) one."""
    import json

    from layerbench.batch import system as systems
    from layerbench.batch import tables

    if system is None:
        rows = tables.of_systems([*systems.names(), *systems.own_names()])
        told: Any = rows if format_ == "json" else tables.systems_table(rows)
    else:
        shown = systems.load(system)
        told = tables.of_system(shown) if format_ == "json" else tables.system_table(shown)
    if format_ == "json":
        click.echo(json.dumps(told, indent=2))
    else:
        console().print(told)
