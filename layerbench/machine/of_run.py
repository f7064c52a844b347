"""The machine that a run was made on, as far as the run measured it."""

from __future__ import annotations

from typing import Any

from layerbench.errors import UsageError
from layerbench.machine.figures import Figure, Machine, ceiling
from layerbench.machine.link import link_of
from layerbench.records import Manifest

LAUNCH = {
    "host": Figure(value=1e-6, low=1e-7, high=1e-5, source="assumed: a run does not measure it"),
    "cuda": Figure(value=5e-6, low=2e-6, high=1e-5, source="assumed: a run does not measure it"),
}
"""Seconds of a kernel that does nothing, by device."""


def of_run(manifest: Manifest) -> Machine:
    """The machine of a run: the ceilings of a rank and the network model that it measured.

    Parameters
    ----------
    manifest
        Of the run. One that needed no network model gives a machine that has none and says why.

    Raises
    ------
    UsageError
        If the run has no peak or no bandwidth.
    """
    roofline, options = manifest.roofline, manifest.options
    if roofline is None or not roofline.flops or not roofline.bandwidth:
        reason = f" ({roofline.reason})" if roofline is not None and roofline.reason else ""
        raise UsageError(
            f"the run of {manifest.suite} has no measured peak and bandwidth of a rank{reason}: name the machine with "
            "--machine, or repeat the run"
        )
    facts = manifest.environment
    network = manifest.network
    return Machine(
        name="the run's machine",
        description=_described(facts, roofline.threads),
        source=f"measured by the run of {manifest.suite}" + (f" at {manifest.start}" if manifest.start else ""),
        device=roofline.device,
        nodes=options.machines or None,
        ranks_per_node=options.ranks_per_node,
        peak={roofline.dtype: ceiling(roofline.flops_samples or [roofline.flops], roofline.flops_source)},
        bandwidth=ceiling(roofline.bandwidth_samples or [roofline.bandwidth], roofline.bandwidth_source),
        caches=data_caches(facts.get("caches")),
        launch=LAUNCH.get(roofline.device, LAUNCH["cuda"]),
        between=link_of(network) if network is not None else None,
        no_network="" if network is not None else "all counts of the run were measured, so it needed no network model",
    )


def _described(facts: dict[str, Any], threads: int) -> str:
    processor = facts.get("cpu_model") or facts.get("architecture") or "unknown processor"
    return f"{processor}, {threads} {'thread' if threads == 1 else 'threads'} a rank"


def data_caches(sizes: object) -> list[int]:
    """Bytes of each cache that holds data, the smallest first, of sizes by name (``L1d``, ``L1i``, ``L2``)."""
    if not isinstance(sizes, dict):
        return []
    return sorted(size for name, size in sizes.items() if not name.endswith("i") and isinstance(size, int) and size > 0)
