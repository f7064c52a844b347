"""Options that several commands have, each told once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from layerbench.launch import LAUNCHERS

DTYPES = ("fp64", "fp32", "tf32", "bf16", "fp16", "int8")
LAYOUTS = ("data", "model", "best")
COLLECTIVES = ("auto", "nccl", "mpi", "staged")


class Size(click.ParamType[int]):
    """A number of bytes as people write it: ``4GiB``."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        from layerbench.units import bytes_of

        try:
            return bytes_of(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


_Command = Callable[..., Any]


def launching(command: _Command) -> _Command:
    """How ranks are started, and for how long they may stand still."""
    for option in (
        click.option(
            "--timeout",
            type=float,
            default=120.0,
            show_default=True,
            help="Seconds without progress before a launch is ended.",
        ),
        click.option("--launcher-args", default="", help="More arguments for the launcher, as one string."),
        click.option("--hosts", default="", help="Hosts to run on: a,b,c or a file with one to a line."),
        click.option(
            "--launcher",
            type=click.Choice(LAUNCHERS),
            default="auto",
            show_default=True,
            help="What starts ranks; auto takes that of the batch job it is in, else mpiexec.",
        ),
    ):
        command = option(command)
    return command
