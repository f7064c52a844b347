"""Where the commands print: a terminal, or a file or log that stands in for one."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

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
