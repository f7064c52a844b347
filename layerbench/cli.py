"""The commands: parse, delegate, print. Nothing heavy is imported before a command needs it."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from layerbench import __version__
from layerbench.batch.commands import (
    cancel_command,
    collect_command,
    jobs_command,
    submit_command,
    systems_command,
)
from layerbench.batch.shell import argument
from layerbench.calibrate.commands import calibrate_command
from layerbench.collective_bench.commands import collectives_command
from layerbench.console import console
from layerbench.guard import OneLineGroup, one_line, signals_raise
from layerbench.kernel_times.commands import kernel_times_command
from layerbench.options import COLLECTIVES, DTYPES, LAYOUTS, Size, launching
from layerbench.overlap.commands import overlap_command
from layerbench.predict.commands import predict_command
from layerbench.schedule.commands import schedule_command, simulate_command

if TYPE_CHECKING:
    from layerbench.listener import Listener

SOME_FAILED = 1
NOTHING_RAN = 3

COMPARISONS = ("table", "markdown", "json", "html")
EXPORTS = ("csv", "parquet", "json", "google-benchmark", "extra-p", "deepbench")


@click.group(
    cls=OneLineGroup,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.version_option(__version__, prog_name="layerbench")
@click.pass_context
def main(context: click.Context) -> None:
    """Times deep learning's layers across nodes, with numbers that hold."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


main.add_command(calibrate_command)
main.add_command(predict_command)
main.add_command(kernel_times_command)
main.add_command(overlap_command)
main.add_command(collectives_command)
main.add_command(schedule_command)
main.add_command(simulate_command)


@main.command(name="run")
@click.option("--suite", default="alexnet", show_default=True, help="A suite's name, or the path of a .toml file.")
@click.option("--nodes", default="1", show_default=True, help="Node counts, such as 1,2,4,8.")
@click.option(
    "--batch",
    type=int,
    help="Samples over all nodes; with weak scaling, of one node.  [default: the suite's]",
)
@click.option("--scaling", type=click.Choice(["strong", "weak"]), default="strong", show_default=True)
@click.option(
    "--layout",
    type=click.Choice(LAYOUTS),
    default="data",
    show_default=True,
    help="What ranks split: the batch, a layer's outputs, or what the cost model finds quicker, layer by layer.",
)
@click.option("--dtype", type=click.Choice(DTYPES), default="fp32", show_default=True)
@click.option(
    "--kernels",
    default="auto",
    show_default=True,
    help="A kernel library's name, or a .py file that has one.",
)
@click.option("--threads-per-rank", type=int, help="Equal at every count.  [default: cores / largest count that fits]")
@click.option("--ranks-per-node", type=int, default=1, show_default=True, help="MPI ranks of each node.")
@click.option("--filter", "filter_", help="Layers to time, such as 'conv*,lstm'.  [default: all]")
@click.option(
    "--rel-error",
    type=float,
    default=0.01,
    show_default=True,
    help="Stop when the median is known this well.",
)
@click.option(
    "--max-time",
    type=float,
    default=5.0,
    show_default=True,
    help="... or after this many seconds of sampling.",
)
@click.option("--max-samples", type=int, default=10_000, show_default=True, help="... or this many samples.")
@click.option("--cache", type=click.Choice(["hot", "cold"]), default="hot", show_default=True)
@click.option("--oversubscribe", is_flag=True, help="Run more ranks than cores for real, instead of emulating them.")
@click.option(
    "--workspace",
    type=Size(),
    default="4GiB",
    show_default=True,
    help="The most scratch memory that an algorithm may use.",
)
@click.option("--cuda-graph", is_flag=True, help="On a GPU: time calls by replaying them from a CUDA graph.")
@click.option(
    "--collectives",
    type=click.Choice(COLLECTIVES),
    default="auto",
    show_default=True,
    help="On GPUs: what exchanges their memory; staged goes through the host's.",
)
@click.option(
    "--network",
    default="this-machine",
    show_default=True,
    help="Model for emulated counts: measured here, a name, or a .toml file.",
)
@launching
@click.option("--seed", type=int, default=0, show_default=True, help="Of the operands' random values.")
@click.option("--output", help="The run folder.  [default: a new one in runs/]")
@click.option("--resume", is_flag=True, help="Complete the run in --output: measure what is missing or failed.")
@click.option("--quiet", is_flag=True, help="Print errors only.")
@one_line
def run_command(**options: Any) -> None:
    """Time a suite's layers at several node counts.

    Exit codes: 0 all ok, 1 some records failed, 2 wrong use, 3 nothing could run.
    """
    from layerbench import api
    from layerbench.plan import parse_nodes

    quiet = options.pop("quiet")
    nodes = parse_nodes(options.pop("nodes"))
    with signals_raise(), _listener(quiet) as listener:
        run = api.run(
            nodes=nodes,
            filter=_filter(options.pop("filter_")),
            command=api.quoted(sys.argv),
            listener=listener,
            **options,
        )
    if not quiet:
        from layerbench.report import print_summary

        print_summary(run, console())
        click.echo(f"records: {run.path}/records.jsonl; draw them with: layerbench report {argument(run.path)}")
    if all(record.status == "skipped" for record in run.records):
        click.echo("layerbench: nothing could run: every layer was skipped", err=True)
        sys.exit(NOTHING_RAN)
    if run.failed:
        click.echo(f"layerbench: {len(run.failed)} of {len(run.records)} records failed", err=True)
        sys.exit(SOME_FAILED)


main.add_command(submit_command(run_command))
main.add_command(jobs_command)
main.add_command(collect_command)
main.add_command(cancel_command)
main.add_command(systems_command)


def _filter(pattern: str | None) -> str:
    """The pattern of ``--filter``: an empty one is a variable that was not set, and would run everything."""
    from layerbench.errors import UsageError

    if pattern is not None and not pattern.strip():
        raise UsageError("--filter must name layers, such as 'conv*,lstm', and is empty")
    return pattern or ""


@contextlib.contextmanager
def _listener(quiet: bool) -> Iterator[Listener]:
    from layerbench.listener import Listener
    from layerbench.terminal import Bar, Lines

    terminal = console(stderr=True)
    if quiet:
        yield Listener()
    elif terminal.is_terminal:
        with Bar(terminal) as bar:
            yield bar
    else:
        yield Lines(terminal)


@main.command(name="report")
@click.argument("runs", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "--output", type=click.Path(path_type=Path), help="Where to write.  [default: RUN/report; of several, report]"
)
@click.option("--html/--no-html", default=None, help="Make the page report.html.  [default: if it can be made]")
@click.option(
    "--against",
    multiple=True,
    metavar="deepbench:DEVICE",
    help="Set the run beside the published times of this device, such as deepbench:V100; may be repeated.  "
    "[default: any device, where shapes match]",
)
@click.option("--quiet", is_flag=True, help="Print errors only.")
@one_line
def report_command(
    runs: tuple[Path, ...], output: Path | None, html: bool | None, against: tuple[str, ...], quiet: bool
) -> None:
    """Draw and tabulate runs, all in one report: the newest in runs/ if none is named."""
    from layerbench import api
    from layerbench.report import page_left_out, report

    def warn(line: str) -> None:
        click.echo(f"layerbench: {line}", err=True)

    with signals_raise("no report was written"):
        shown = None if quiet else console()
        written = report(runs or [api.newest()], output, shown, html=html, against=against, warn=warn)
    if not quiet:
        for path in written:
            click.echo(path)
        if html is None and (why := page_left_out()):
            warn(why)


@main.command(name="export")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--format", "format_", type=click.Choice(EXPORTS), required=True, help="What reads it.")
@click.option(
    "--output", type=click.Path(path_type=Path), help="A file, which is replaced.  [default: standard output]"
)
@one_line
def export_command(run: Path, format_: str, output: Path | None) -> None:
    """Write a run's records for other programs: tables, Google Benchmark, Extra-P, DeepBench."""
    from layerbench import store
    from layerbench.errors import UsageError
    from layerbench.export import BINARY, export, print_bytes
    from layerbench.files import replace
    from layerbench.outputs import check_file
    from layerbench.report.columns import with_state
    from layerbench.report.describe import plural

    if format_ in BINARY and output is None:
        raise UsageError(f"--format {format_} is not text: name a file with --output")
    if output is not None:
        check_file(output, [run])
    busy = store.being_written(run)
    loaded = store.load(run)
    warnings = with_state(run, loaded.manifest, loaded.warnings, busy=busy)
    exported = export(loaded, format_, warnings)
    for warning in [*warnings, exported.remark(len(loaded.records))]:
        if warning:
            click.echo(f"layerbench: {warning}", err=True)
    if output is None:
        print_bytes(exported.chunks)
    else:
        replace(output, exported.chunks)
        held = len(loaded.records) - exported.left_out.total()
        click.echo(f"layerbench: wrote {plural(held, 'record')} to {output}", err=True)


@main.command(name="compare")
@click.argument("base", type=click.Path(path_type=Path))
@click.argument("new", type=click.Path(path_type=Path))
@click.option("--threshold", type=float, default=0.03, show_default=True, help="Least difference that counts.")
@click.option("--fail-on", help="Exit with 1 if any record is: slower, faster, unclear, missing; separated by commas.")
@click.option("--format", "format_", type=click.Choice(COMPARISONS), default="table", show_default=True)
@click.option("--all", "all_rows", is_flag=True, help="List the records that are the same too.")
@click.option("--force", is_flag=True, help="Compare although hardware or options differ.")
@click.option(
    "--output", type=click.Path(path_type=Path), help="A file, which is replaced.  [default: standard output]"
)
@one_line
def compare_command(
    base: Path,
    new: Path,
    threshold: float,
    fail_on: str | None,
    format_: str,
    all_rows: bool,
    force: bool,
    output: Path | None,
) -> None:
    """Say what is slower or faster in run NEW than in run BASE; each may be a folder of repetitions.

    Exit codes: 0 compared, 1 compared and --fail-on applies, 2 wrong use or runs that can't be compared.
    """
    from layerbench.compare import compare, failing, kinds, render
    from layerbench.files import replace
    from layerbench.outputs import check_file

    forbidden = kinds(fail_on)
    comparison = compare(base, new, threshold=threshold, force=force)
    if output is not None:
        check_file(output, [*comparison.base, *comparison.new])
    for warning in render.warnings(comparison, format_):
        click.echo(f"layerbench: {warning}", err=True)
    if output is not None:
        replace(output, render.document(comparison, format_, all_rows=all_rows).encode())
    elif format_ == "table":
        render.print_table(comparison, console(), all_rows=all_rows)
    else:
        click.echo(render.document(comparison, format_, all_rows=all_rows), nl=False)
    if told := failing(comparison, forbidden):
        click.echo(f"layerbench: --fail-on {fail_on}: {told}", err=True)
        sys.exit(SOME_FAILED)


@main.command(name="suites")
@click.argument("suite", required=False)
@click.option("--format", "format_", type=click.Choice(["table", "json"]), default="table", show_default=True)
@click.option("--batch", type=int, help="Samples.  [default: the suite's]")
@click.option("--dtype", type=click.Choice(DTYPES), default="fp32", show_default=True)
@one_line
def suites_command(suite: str | None, format_: str, batch: int | None, dtype: Any) -> None:
    """List the suites, or show (and so check) one: its MACs, bytes and weights."""
    import json

    from layerbench import suite_table
    from layerbench.errors import UsageError
    from layerbench.suite import load

    if batch is not None and not 1 <= batch < 2**31:
        raise UsageError(f"--batch must be a whole number from 1 to {2**31 - 1}, not {batch}")
    if suite is None:
        told = suite_table.listing_json() if format_ == "json" else suite_table.listing()
    else:
        shown = load(suite)
        size = batch or shown.batch
        told = (suite_table.as_json if format_ == "json" else suite_table.as_table)(shown, size, dtype)
    if format_ == "json":
        click.echo(json.dumps(told, indent=2))
    else:
        console().print(told)


@main.command(name="doctor")
@one_line
def doctor_command() -> None:
    """Say what this machine can run, and for all it cannot: why, and what would mend it."""
    from layerbench import doctor

    console().print(doctor.as_table(doctor.examine()))


if __name__ == "__main__":
    main()
