"""What any run may be asked for, wherever it will take place."""

from __future__ import annotations

from layerbench import launch, registry
from layerbench import network as networks
from layerbench.errors import UsageError
from layerbench.layers import DTYPES
from layerbench.records import COLLECTIVES, LAYOUT_OPTIONS, Options


def check(options: Options) -> None:
    """See that a run could be asked for this, wherever it will take place.

    Raises
    ------
    UsageError
        If a number is out of its range, or a name means nothing; named as on the command line.
    """
    launch.split_arguments(options.launcher_args)
    registry.check_name(options.kernels)
    if options.network != networks.HERE:
        networks.load(options.network)
    whole = {
        "--batch": options.batch,
        "--ranks-per-node": options.ranks_per_node,
        "--threads-per-rank": options.threads_per_rank,
        "--max-samples": options.max_samples,
        "--nodes": min(options.nodes, default=0),
    }
    for option, value in whole.items():
        if not 1 <= value < 2**31:
            raise UsageError(f"{option} must be a whole number from 1 to {2**31 - 1}, not {value}")
    for option, seconds in {"--max-time": options.max_time, "--timeout": options.timeout}.items():
        if not 0 < seconds < float("inf"):
            raise UsageError(f"{option} must be a number of seconds above 0, not {seconds:g}")
    if not 0 < options.rel_error < 1:
        raise UsageError(f"--rel-error must lie between 0 and 1 (0.01 is 1 %), not {options.rel_error:g}")
    if options.layout not in LAYOUT_OPTIONS:
        raise UsageError(f"--layout {options.layout}: unknown; known are {', '.join(LAYOUT_OPTIONS)}")
    if options.collectives not in COLLECTIVES:
        raise UsageError(f"--collectives {options.collectives}: unknown; known are {', '.join(COLLECTIVES)}")
    if not 0 <= options.workspace < 2**63:
        raise UsageError(f"--workspace must be a number of bytes from 0, such as 4GiB, not {options.workspace}")
    if options.dtype not in DTYPES:
        raise UsageError(f"--dtype {options.dtype}: unknown; known are {', '.join(DTYPES)}")
    if not 0 <= options.seed < 2**63:
        raise UsageError(f"--seed must be a whole number from 0 to 2^63 - 1, not {options.seed}")
