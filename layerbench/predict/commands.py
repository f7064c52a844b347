"""The command ``predict``: parse, delegate, print. Nothing heavy is imported before it needs it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from layerbench.guard import one_line
from layerbench.options import DTYPES, LAYOUTS

if TYPE_CHECKING:
    from layerbench.layers import DType
    from layerbench.records import LayoutOption, Scaling

FORMATS = ("table", "json", "csv", "schedule")
FOLDER = "predict"


@click.command(name="predict")
@click.option("--suite", help="A suite's name, or the path of a .toml file.  [default: the run's]")
@click.option(
    "--machine",
    help="A machine's name, or the path of a .toml file.  [default: the run's own, or this-machine]",
)
@click.option("--nodes", required=True, help="Node counts, such as 1,2,4 or 1,2,...,4096 (doublings).")
@click.option(
    "--from",
    "from_run",
    type=click.Path(path_type=Path),
    help="A run folder, to calibrate on its measured counts.",
)
@click.option("--batch", type=int, help="Samples over all nodes; with weak scaling, of one node.  [default: the run's]")
@click.option("--scaling", type=click.Choice(["strong", "weak"]), help="[default: the run's, or strong]")
@click.option(
    "--layout",
    type=click.Choice(LAYOUTS),
    help="data splits the batch, model the outputs; best chooses for each layer and count.  [default: the run's, or "
    "data]",
)
@click.option(
    "--overlap",
    type=float,
    default=0.0,
    show_default=True,
    help="Part of what communication can hide behind that it does: 0 as run measures, to 1.",
)
@click.option(
    "--efficiency",
    type=float,
    help="Part of the roofline that kernels reach which were not measured.  [default: as published devices do]",
)
@click.option("--dtype", type=click.Choice(DTYPES), help="[default: the run's, or fp32]")
@click.option("--ranks-per-node", type=int, help="[default: the run's, or the machine's]")
@click.option("--filter", "filter_", help="Layers to predict, such as 'conv*,lstm'.  [default: all]")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the replicas that intervals are had from.")
@click.option("--all", "layers", is_flag=True, help="Print each layer too.")
@click.option(
    "--format",
    "format_",
    type=click.Choice(FORMATS),
    default="table",
    show_default=True,
    help="schedule: job curves for layerbench schedule.",
)
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    help=f"Folder for figure and data.  [default: {FOLDER}; none for other formats than table]",
)
@click.option("--quiet", is_flag=True, help="Print errors only.")
@one_line
def predict_command(
    suite: str | None,
    machine: str | None,
    nodes: str,
    from_run: Path | None,
    batch: int | None,
    scaling: Scaling | None,
    layout: LayoutOption | None,
    overlap: float,
    efficiency: float | None,
    dtype: DType | None,
    ranks_per_node: int | None,
    filter_: str | None,
    seed: int,
    layers: bool,
    format_: str,
    output: Path | None,
    quiet: bool,
) -> None:
    """Predict a training step on node counts that were not measured, with 90 % intervals.

    Times come from a run (--from), or from the machine's figures alone. Prints when communication takes over, which
    count is best, and draws what was measured beside what is predicted.
    """
    from layerbench import outputs
    from layerbench.console import console
    from layerbench.errors import UsageError
    from layerbench.predict import nodes as counts
    from layerbench.predict import question as questions
    from layerbench.predict import text, write
    from layerbench.predict.prediction import predict

    if filter_ is not None and not filter_.strip():
        raise UsageError("--filter must name layers, such as 'conv*,lstm', and is empty")
    folder = output if output is not None or format_ != "table" else Path(FOLDER)
    if folder is not None:
        # Before the work that would be for nothing.
        outputs.check_folder(folder, [from_run] if from_run is not None else [], write.FILES, what="prediction")
    question = questions.asked(
        nodes=counts.parse(nodes),
        suite_name=suite,
        machine_name=machine,
        from_run=from_run,
        batch=batch,
        scaling=scaling,
        layout=layout,
        overlap=overlap,
        efficiency=efficiency,
        dtype=dtype,
        ranks_per_node=ranks_per_node,
        filter_=filter_ or "",
        seed=seed,
    )
    found = predict(question, each_layer=layers)
    if not quiet:
        if format_ == "table":
            text.print_prediction(found, console(), layers=layers)
        else:
            formats = {"json": write.as_json, "csv": write.as_csv, "schedule": write.as_curves}
            click.echo(formats[format_](found), nl=False)
    if folder is not None:
        written = write.write(found, folder)
        if not quiet:
            click.echo("\n".join(map(str, written)), err=format_ != "table")
