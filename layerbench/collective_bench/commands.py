"""The command ``collectives``: parse, delegate, print. Nothing heavy is imported before it needs it."""

from __future__ import annotations

import contextlib
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from layerbench.console import console, staged
from layerbench.guard import one_line, signals_raise
from layerbench.options import launching

SOME_FAILED = 1
NOTHING_RAN = 3

STORED_DTYPES = ("fp64", "fp32", "bf16", "fp16")
"""What memory holds and ranks add up; see :data:`layerbench.collective_bench.pattern.STORED`."""


@click.command(name="collectives")
@click.option(
    "--op",
    default="all-reduce",
    show_default=True,
    help="all-reduce, all-gather, reduce-scatter, broadcast, all-to-all, several with commas, or all of them: all.",
)
@click.option(
    "--sizes",
    default="4B..1GB",
    show_default=True,
    help="Sizes with commas, such as 1000,4KiB,1MB (k is 1000, Ki 1024), or FIRST..LAST: FIRST doubled until LAST, and "
    "LAST itself.",
)
@click.option("--nodes", required=True, help="Node counts, such as 2,4,8.")
@click.option("--dtype", type=click.Choice(STORED_DTYPES), default="fp32", show_default=True)
@click.option("--ranks-per-node", type=int, default=1, show_default=True, help="MPI ranks of each node.")
@click.option("--threads-per-rank", type=int, help="Cores of each rank.  [default: cores / largest count that fits]")
@click.option(
    "--kernels",
    default="auto",
    show_default=True,
    help="Whose memory is exchanged: that of the device that this kernel library runs on.",
)
@click.option(
    "--collectives",
    default="auto",
    show_default=True,
    help="On GPUs: auto, nccl, mpi, staged, or several with commas, side by side.",
)
@click.option("--rel-error", type=float, default=0.01, show_default=True, help="Stop when a median is known this well.")
@click.option("--max-time", type=float, default=1.0, show_default=True, help="... or after so many seconds of a size.")
@click.option("--oversubscribe", is_flag=True, help="Run more ranks than there are cores or devices.")
@launching
@click.option("--output", help="Folder for collectives.json, .csv and the figure.  [default: a new one in runs/]")
@click.option("--quiet", is_flag=True, help="Print errors only.")
@one_line
def collectives_command(output: str | None, quiet: bool, **asked: Any) -> None:
    """Time what ranks exchange, by operation, size, node count and library.

    Prints time, algbw and busbw as nccl-tests defines them, of results that every rank has checked. A size is that of
    the vector of a rank for all-reduce and broadcast, and of the whole, a block of which each rank has, for all-gather,
    reduce-scatter and all-to-all; it is rounded up to whole elements and to equal blocks.

    Exit codes: 0 all ok, 1 some results were wrong or node counts failed, 2 wrong use, 3 nothing could run.
    """
    from layerbench.collective_bench import question as questions
    from layerbench.collective_bench import text, write
    from layerbench.collective_bench.benchmark import Benchmark

    question = questions.asked(**asked)
    with write.output_folder(output) as folder:
        kept = f"what was measured is in {folder}, if there was anything"
        # Within the first: a second signal does not break off what is done after the first one.
        with signals_raise(kept), _drawn_if_stopped(folder), staged(quiet) as (stage, progress):
            if question.told:
                stage(question.told)
            benchmark = Benchmark(question, folder, shlex.join(["layerbench", *sys.argv[1:]]), stage, progress)
            found = benchmark.run()
        written = write.drawn(found, folder)
    if not quiet:
        text.print_measured(found, console())
        click.echo("")
        for path in written:
            click.echo(path)
    wrong = [row for row in found.rows if row.status == "failed"]
    for failure in benchmark.failures:
        click.echo(f"layerbench: {failure}", err=True)
    if wrong:
        told = f"{text.title(wrong[0])}, {wrong[0].bytes} bytes: {wrong[0].reason}"
        click.echo(f"layerbench: {len(wrong)} of {len(found.rows)} rows failed; the first: {told}", err=True)
    if found.rows and all(row.status == "skipped" for row in found.rows):
        click.echo(f"layerbench: nothing could run: {found.rows[0].reason}", err=True)
        sys.exit(NOTHING_RAN)
    if benchmark.failures or wrong:
        sys.exit(SOME_FAILED)


@contextlib.contextmanager
def _drawn_if_stopped(folder: Path) -> Iterator[None]:
    """Write the table and the figure also of what was measured before a signal, and say how much that is."""
    from layerbench.collective_bench import write
    from layerbench.collective_records import COLLECTIVES_JSON, read
    from layerbench.errors import LayerbenchError

    try:
        yield
    except Exception:
        raise
    except BaseException:
        path = folder / COLLECTIVES_JSON
        told = "nothing had been measured yet"
        try:
            if path.exists():
                found = read(path)
                names = ", ".join(each.name for each in write.drawn(found, folder))
                rows = len(found.rows)
                told = f"{rows} {'row was' if rows == 1 else 'rows were'} measured, and {names} written"
        except LayerbenchError as error:
            told = f"{error}"
        click.echo(f"layerbench: {told}", err=True)
        raise
