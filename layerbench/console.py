"""Where the commands print: a terminal, or a file or log that stands in for one."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

LOG_WIDTH = 120
"""Columns of what is printed where there is no terminal."""


def console(*, stderr: bool = False) -> Console:
    """Standard output, or standard error, for tables and progress."""
    from rich.console import Console

    class Terminal(Console):
        def on_broken_pipe(self) -> None:
            # Whoever watched has closed their end; what is being measured goes on without them.
            self.quiet = True

    made = Terminal(stderr=stderr)
    if not made.is_terminal:
        # A file or a log has room for whole headings.
        made.width = max(made.width, LOG_WIDTH)
    return made


def say(console: Console, line: str, style: str = "") -> None:
    """Print a line as it stands: nothing in it is markup, and only a terminal breaks it."""
    console.print(line, style=style, markup=False, highlight=False, soft_wrap=True)


def plain_table(
    head: Sequence[str], rows: Iterable[Sequence[str]], *, left: Collection[int], wrapped: Collection[int]
) -> Table:
    """A table without lines.

    Parameters
    ----------
    head
        What stands above each column.
    left
        Columns of words; the others are of numbers, which stand at the right.
    wrapped
        Columns that may be broken where there is little room.
    """
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for index, name in enumerate(head):
        table.add_column(
            Text(name),
            justify="left" if index in left else "right",
            no_wrap=index not in wrapped,
            overflow="fold",
        )
    for row in rows:
        table.add_row(*map(Text, row))
    return table


def print_table(console: Console, table: Table) -> None:
    """Print a table, in a log as wide as it is: a log has no width, and what is given to it must not be cut to one."""
    if not console.is_terminal:
        console.width = max(console.width, console.measure(table, options=console.options.update(width=10_000)).maximum)
    console.print(table)


_Told = Callable[[str], None]


@contextlib.contextmanager
def staged(quiet: bool) -> Iterator[tuple[_Told, _Told]]:
    """Who is told what begins, and what is being done: lines in a log, one line that changes on a terminal."""
    terminal = console(stderr=True)

    def say(line: str) -> None:
        terminal.print(line, markup=False, emoji=False, highlight=False, soft_wrap=True)

    if quiet:
        yield (lambda _: None), (lambda _: None)
    elif not terminal.is_terminal:
        yield say, (lambda _: None)
    else:
        from rich.text import Text

        with terminal.status("starting") as status:
            yield say, lambda what: status.update(Text(what, no_wrap=True, overflow="ellipsis"))
