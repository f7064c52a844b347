"""The command ``calibrate``: parse, delegate, print. Nothing heavy is imported before it needs it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from layerbench.console import console, staged
from layerbench.guard import one_line, signals_raise
from layerbench.options import launching


@click.command(name="calibrate")
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    help="A .toml file, which is replaced.  [default: the profile this-machine]",
)
@click.option("--dtype", "dtypes", help="Whose peak is measured, such as fp32,fp64.  [default: all a kernel can do]")
@click.option("--kernels", default="auto", show_default=True, help="A kernel library's name, or a .py file.")
@click.option("--threads-per-rank", type=int, default=1, show_default=True, help="Threads of each rank.")
@click.option("--ranks", type=int, help="Most ranks that exchange.  [default: cores / threads, or one a host]")
@click.option("--ranks-per-node", type=int, default=1, show_default=True, help="With --hosts: ranks of each.")
@click.option("--oversubscribe", is_flag=True, help="Allow more threads than there are cores.")
@click.option("--max-time", type=float, default=0.3, show_default=True, help="Seconds of sampling of each measurement.")
@launching
@click.option("--seed", type=int, default=0, show_default=True, help="Of the operands' random values.")
@click.option("--quiet", is_flag=True, help="Print errors only.")
@one_line
def calibrate_command(output: Path | None, quiet: bool, **asked: Any) -> None:
    """Measure this machine, and write what it can do as a profile, from which predict predicts.

    Peak, bandwidth, launch and some layers on one rank; messages and collectives over all ranks there are.
    """
    from layerbench.calibrate import plan, profile, text
    from layerbench.calibrate.calibration import calibrate

    path = profile.target(output)
    planned = plan.request(**asked)
    with signals_raise("no profile was written"), staged(quiet) as (stage, progress):
        found = calibrate(planned, path, stage, progress)
    profile.write(found.machine, path)
    if not quiet:
        text.print_machine(found.machine, console())
        click.echo(f"\nprofile: {path}")
    for note in found.notes:
        click.echo(f"layerbench: {note}", err=True)
