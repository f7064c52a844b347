"""The command ``overlap``: parse, delegate, print. Nothing heavy is imported before it needs it."""

from __future__ import annotations

import shlex
import sys
from typing import Any

import click

from layerbench.console import console, staged
from layerbench.guard import one_line, signals_raise
from layerbench.options import DTYPES, launching

SOME_FAILED = 1


@click.command(name="overlap")
@click.option("--suite", default="alexnet", show_default=True, help="A suite's name, or the path of a .toml file.")
@click.option("--nodes", default="1", show_default=True, help="Node counts, such as 1,2,4,8.")
@click.option(
    "--mode",
    "modes",
    default="implicit,explicit",
    show_default=True,
    help="implicit: transfer, then compute, then exchange. explicit: all at once. Both give a speed-up.",
)
@click.option(
    "--source",
    default="synthetic",
    show_default=True,
    help="A folder of images or of .npy and .npz files, or synthetic.",
)
@click.option("--depth", type=int, default=3, show_default=True, help="Batches in memory at once.")
@click.option(
    "--bucket", type=int, default=25 * 2**20, show_default=True, help="Bytes of gradients that are exchanged together."
)
@click.option(
    "--ratios",
    default="default",
    show_default=True,
    help="Ratios of transfer to computation that are swept, such as 0.5,1,2, or none.",
)
@click.option("--workers", type=int, help="Threads of each stage of the data manager.  [default: --spare-cores]")
@click.option(
    "--spare-cores",
    type=int,
    help="Cores of each rank that do not compute: transfer and exchange use them.  [default: 1, if a node has enough]",
)
@click.option(
    "--batch", type=int, help="Samples over all nodes; with weak scaling, of one node.  [default: the suite's]"
)
@click.option("--scaling", type=click.Choice(["strong", "weak"]), default="strong", show_default=True)
@click.option("--dtype", type=click.Choice(DTYPES), default="fp32", show_default=True)
@click.option("--kernels", default="auto", show_default=True, help="A kernel library's name, or a .py file.")
@click.option("--threads-per-rank", type=int, help="That compute.  [default: a rank's cores less --spare-cores]")
@click.option("--ranks-per-node", type=int, default=1, show_default=True, help="MPI ranks of each node.")
@click.option("--filter", "filter_", help="Layers of the network, such as 'conv*,fc*'.  [default: all]")
@click.option(
    "--rel-error", type=float, default=0.01, show_default=True, help="Stop when both medians are known this well."
)
@click.option(
    "--max-time", type=float, default=10.0, show_default=True, help="... or after so many seconds of each mode."
)
@click.option("--oversubscribe", is_flag=True, help="Run more ranks than cores for real, instead of emulating them.")
@click.option(
    "--network",
    default="this-machine",
    show_default=True,
    help="Model for emulated counts: measured here, a name, or a .toml file.",
)
@launching
@click.option("--seed", type=int, default=0, show_default=True, help="Of weights, samples and their order.")
@click.option(
    "--output",
    help="Folder for overlap.json and what is drawn; may be a run's.  [default: a new one in runs/]",
)
@click.option("--quiet", is_flag=True, help="Print errors only.")
@one_line
def overlap_command(output: str | None, quiet: bool, filter_: str | None, **asked: Any) -> None:
    """Time a training step with implicit and with explicit transfer and exchange, at several node counts.

    Prints what overlap gains, what it could gain at most, and what is still waited for; and, for a sweep of ratios of
    transfer to computation, where 1.6 times can be reached and where not.

    Exit codes: 0 all ok, 1 some node counts failed, 2 wrong use, 3 nothing could run.
    """
    from layerbench.errors import UsageError
    from layerbench.overlap import question as questions
    from layerbench.overlap import text, write
    from layerbench.overlap.benchmark import Benchmark

    if filter_ is not None and not filter_.strip():
        raise UsageError("--filter must name layers, such as 'conv*,fc*', and is empty")
    question = questions.asked(filter_=filter_ or "", **asked)
    with write.output_folder(output, question.suite) as folder:
        kept = f"node counts that were complete are in {folder}, if there were any"
        with signals_raise(kept), staged(quiet) as (stage, progress):
            benchmark = Benchmark(question, folder, shlex.join(["layerbench", *sys.argv[1:]]), stage, progress)
            found = benchmark.run()
        written = write.drawn(found, folder)
    if not quiet:
        text.print_overlap(found, console())
        click.echo("")
        for path in written:
            click.echo(path)
    for failure in benchmark.failures:
        click.echo(f"layerbench: {failure}", err=True)
    if benchmark.failures:
        sys.exit(SOME_FAILED)
