"""The command ``kernel-times``: parse, delegate, print. Nothing heavy is imported before it needs it."""

from __future__ import annotations

from pathlib import Path

import click

from layerbench.guard import one_line

FORMATS = ("table", "json", "csv")


@click.command(name="kernel-times")
@click.argument("times", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "--devices",
    type=click.Path(path_type=Path),
    help="Peaks and bandwidths of devices in TOML.  [default: those of the published devices]",
)
@click.option("--device", "names", multiple=True, help="Which to predict; may be given several times.  [default: all]")
@click.option("--only-these", is_flag=True, help="Learn from the devices of TIMES alone, not the published ones.")
@click.option("--folds", type=int, default=5, show_default=True, help="In how many parts shapes are left out.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the parts; the same gives the same.")
@click.option("--format", "format_", type=click.Choice(FORMATS), default="table", show_default=True)
@click.option("--output", type=click.Path(path_type=Path), help="Write into a file instead.")
@one_line
def kernel_times_command(
    times: tuple[Path, ...],
    devices: Path | None,
    names: tuple[str, ...],
    only_these: bool,
    folds: int,
    seed: int,
    format_: str,
    output: Path | None,
) -> None:
    """Predict kernel times of devices from their peak and bandwidth alone, and check them.

    TIMES are CSV files of the columns of results/deepbench/published_times.csv; without any, it is that file. Each of
    their devices is left out in turn and predicted from all others, and once more with a part of the shapes left out
    as well. What counts is training in fp32: conv, gemm and rnn.

    The file of --devices has a table for each device that is not among the published ones, such as

    \b
    [V100]
    peak_flops = 15.7e12
    bytes_per_second = 900e9
    source = "data sheet"
    """
    import io

    from layerbench.console import LOG_WIDTH, console
    from layerbench.errors import UsageError
    from layerbench.files import replace
    from layerbench.kernel_times import text
    from layerbench.kernel_times.check import check
    from layerbench.outputs import check_file

    if output is not None:
        # Before minutes of work that would be for nothing.
        check_file(output)
        for path in (*times, *([devices] if devices is not None else [])):
            if output.exists() and path.exists() and output.samefile(path):
                raise UsageError(f"--output {output} is read and would be lost: name another file")
    found = check(times, devices, names, only_these=only_these, folds=folds, seed=seed)
    for note in found.notes:
        click.echo(note, err=True)
    if format_ == "table" and output is None:
        text.print_checked(found.checked, found.tables, found.devices, console())
        return
    if format_ == "table":
        from rich.console import Console

        page = io.StringIO()
        text.print_checked(
            found.checked, found.tables, found.devices, Console(file=page, width=LOG_WIDTH, force_terminal=False)
        )
        document = page.getvalue()
    else:
        document = (text.as_json if format_ == "json" else text.as_csv)(found.checked)
    if output is None:
        click.echo(document, nl=False)
    else:
        replace(output, document.encode())
