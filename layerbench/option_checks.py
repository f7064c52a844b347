"""What any run may be asked for, wherever it will take place."""

from __future__ import annotations

from typing import Any

from layerbench import launch, registry
from layerbench import network as networks
from layerbench.allocation import Place
from layerbench.errors import UsageError
from layerbench.layers import DTYPES
from layerbench.records import COLLECTIVES, LAYOUT_OPTIONS, Options

MAX_SAMPLES = 10_000
"""Of one measurement, where no other limit was asked for."""

_UNASKED: dict[str, Any] = {
    "batch": 1,
    "scaling": "strong",
    "filter": "",
    "max_samples": MAX_SAMPLES,
    "cache": "hot",
    "network": networks.HERE,
    "seed": 0,
}
"""Options that only some commands have."""


def complete(place: Place, kernels: str, **asked: Any) -> Options:
    """Options as they were asked for, with what follows from where ranks are started and from the kernels.

    Parameters
    ----------
    place
        Where ranks are started: their launcher and hosts.
    kernels
        As ``--kernels`` has it.
    **asked
        All other options that were asked for; those a command does not have may be left out.

    Raises
    ------
    UsageError
        If there are no such kernels, or they cannot be used on this machine and ranks run on it.
    """
    kernels = registry.resolved(kernels)
    devices = 0
    if not (place.allocated or place.hosts):
        registry.check_available(kernels)
        placing = registry.on_devices(kernels)
        devices = len(placing.devices()) if placing is not None else 0
    return Options(
        **{
            **_UNASKED,
            **asked,
            "kernels": kernels,
            "devices": devices,
            "launcher": place.launcher,
            "hosts": list(place.hosts),
            "allocated": place.allocated,
        }
    )


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
