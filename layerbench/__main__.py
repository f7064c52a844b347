"""``python -m layerbench``: the same as the command ``layerbench``."""

from layerbench.cli import main

main(prog_name="layerbench")
