"""What is to be predicted: which layers, on which machine, split how over which counts, and from what evidence."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from layerbench import machine as machines
from layerbench import store, suite
from layerbench.errors import UsageError
from layerbench.layers import AnyLayer, DType
from layerbench.machine import Machine
from layerbench.plan import MAX_RANKS
from layerbench.records import LayoutOption, Manifest, Record, Scaling
from layerbench.report.describe import node_counts
from layerbench.suite_format import printable, shown

if TYPE_CHECKING:
    from layerbench.predict.network_times import Collective
    from layerbench.predict.published import Estimator

SAME_MACHINE = 1.5
"""By which factor the peak of a run's ranks may differ from that of the machine it was made on, as a profile has it."""

LARGEST = 2**31 - 1
"""Of a batch, as elsewhere, and of the ranks of a node."""

LEAST_EFFICIENCY = 1e-6
"""Part of the roofline below which no kernel is."""


@dataclass(frozen=True)
class Run:
    """The run that times are calibrated on."""

    path: Path
    manifest: Manifest
    records: Sequence[Record]
    warnings: Sequence[str] = ()


@dataclass(frozen=True)
class Question:
    """What is to be predicted.

    Attributes
    ----------
    suite, layers
        The suite's name, and those of its layers that are meant.
    machine
        Where.
    nodes
        Node counts, ascending.
    batch, scaling
        Samples over all nodes; with weak scaling, of one node.
    layout, overlap
        How layers are split, and which part of what can be hidden is hidden, from 0 to 1.
    seed
        Of the replicas that intervals are had from.
    run
        Whose measured counts times are calibrated on; None for a machine's figures alone.
    carried_from
        Where the run was made, if that is another machine: what its kernels reach of its ceilings is carried over to
        this machine's, and its exchanges tell nothing. None where the run was made on this machine.
    efficiency
        Part of the roofline that kernels reach of which nothing was measured; None for what published devices say, or
        what is usual on a processor.
    collective, estimator
        The cost of a collective, and what published devices say of a kernel; None for layerbench's own.
    """

    suite: str
    layers: tuple[AnyLayer, ...]
    machine: Machine
    nodes: tuple[int, ...]
    batch: int
    scaling: Scaling = "strong"
    layout: LayoutOption = "data"
    overlap: float = 0.0
    dtype: DType = "fp32"
    ranks_per_node: int = 1
    seed: int = 0
    run: Run | None = None
    carried_from: Machine | None = None
    efficiency: float | None = None
    collective: Collective | None = field(default=None, repr=False)
    estimator: Estimator | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if not 0 <= self.overlap <= 1:  # also NaN
            raise UsageError(f"--overlap {self.overlap:g}: expected a number from 0 (nothing is hidden) to 1")
        if self.efficiency is not None and not LEAST_EFFICIENCY <= self.efficiency <= 1:
            raise UsageError(
                f"--efficiency {self.efficiency:g}: expected a part of the roofline, from {LEAST_EFFICIENCY:f} to 1"
            )
        for option, value in (("--batch", self.batch), ("--ranks-per-node", self.ranks_per_node)):
            if not 1 <= value <= LARGEST:
                raise UsageError(f"{option} {value}: expected a whole number from 1 to {LARGEST}")
        if (ranks := max(self.nodes, default=0) * self.ranks_per_node) > MAX_RANKS:
            raise UsageError(
                f"--ranks-per-node {self.ranks_per_node}: more than {MAX_RANKS} ranks, here {ranks}, are refused as a "
                "typing mistake"
            )
        if self.seed < 0:
            raise UsageError(f"--seed {self.seed}: expected a whole number of at least 0")
        if self.dtype not in self.machine.peak:
            known = ", ".join(self.machine.peak) or "none"
            raise UsageError(f"--dtype {self.dtype}: machine {self.machine.name} has no peak for it, but for {known}")


def asked(
    *,
    nodes: Sequence[int],
    suite_name: str | None = None,
    machine_name: str | None = None,
    from_run: Path | None = None,
    batch: int | None = None,
    scaling: Scaling | None = None,
    layout: LayoutOption | None = None,
    overlap: float = 0.0,
    dtype: DType | None = None,
    ranks_per_node: int | None = None,
    filter_: str = "",
    seed: int = 0,
    efficiency: float | None = None,
) -> Question:
    """What a user asked for, with all that was left open filled in.

    From a run come its suite, batch, scaling, layout, dtype, ranks per node and machine. Without one, the machine is
    ``this-machine``, the batch the suite's, and the ranks of a node the machine's.

    Raises
    ------
    UsageError
        If something cannot be had, or the run is of another suite than is asked for.
    """
    run = None if from_run is None else _run(from_run)
    options = None if run is None else run.manifest.options
    name, layers, usual = _layers(run, suite_name, filter_)
    if run is not None and machine_name is None:
        machine = _with_profile(machines.of_run(run.manifest), run)
    else:
        machine = machines.load(machine_name or machines.HERE)
    elsewhere = None if run is None or machine_name is None else _elsewhere(run, machine)
    dtype = dtype or (options.dtype if options else "fp32")
    return Question(
        suite=name,
        layers=layers,
        machine=machine,
        nodes=tuple(sorted(set(nodes))),
        batch=batch if batch is not None else options.batch if options else usual,
        scaling=scaling or (options.scaling if options else "strong"),
        layout=layout or (options.layout if options else "data"),
        overlap=overlap,
        dtype=dtype,
        ranks_per_node=(
            ranks_per_node
            if ranks_per_node is not None
            else options.ranks_per_node
            if options and elsewhere is None
            else machine.ranks_per_node
        ),
        seed=seed,
        run=run,
        efficiency=efficiency,
        carried_from=elsewhere,
    )


def _with_profile(machine: Machine, run: Run) -> Machine:
    """A run's machine, with the network of its calibrated profile where the run needed to measure none."""
    if machine.between is not None or run.manifest.options.machines:
        return machine
    try:
        profile = machines.load(machines.HERE)
    except UsageError:
        return machine
    if profile.between is None or _elsewhere(run, profile) is not None:
        return machine
    return msgspec.structs.replace(machine, between=profile.between, within=profile.within, no_network="")


def _run(path: Path) -> Run:
    stored = store.load(path)
    # Where ranks share cores, their times show the machine running out, and not what a shard of that size takes.
    shared = sorted({record.nodes for record in stored.records if record.oversubscribed})
    records = [record for record in stored.records if not record.oversubscribed]
    if not any(record.status == "ok" for record in records):
        why = " but those whose ranks shared cores (--oversubscribe)" if shared else ""
        raise UsageError(
            f"{printable(str(path))} has no record that is ok{why}, so nothing to calibrate on: complete it with "
            "layerbench run --resume, or leave --from out"
        )
    warnings = list(map(printable, stored.warnings))
    if shared:
        counts = node_counts(shared)
        warnings.append(f"On {counts} of the run ranks shared cores (--oversubscribe): these times are not used.")
    return Run(path, stored.manifest, records, tuple(warnings))


def _layers(run: Run | None, suite_name: str | None, pattern: str) -> tuple[str, tuple[AnyLayer, ...], int]:
    """Name, layers and usual batch of the suite."""
    if suite_name is None:
        if run is None:
            raise UsageError("name a suite with --suite, or a run with --from, whose suite is then meant")
        manifest = run.manifest
        found = suite.Suite(
            name=manifest.suite,
            description="",
            batch=manifest.options.batch,
            layers=tuple(manifest.layers),
            source=manifest.suite_source,
        )
    else:
        found = suite.load(suite_name)
        if run is not None:
            _check_same_suite(run, found)
    return found.name, suite.select(found, pattern), found.batch


def _check_same_suite(run: Run, asked_for: suite.Suite) -> None:
    """Refuse a run whose layers of the same names are others, or that has none of the suite's."""
    of_run = {layer.name: layer for layer in run.manifest.layers}
    known = {layer.name: layer for layer in asked_for.layers}
    differing = [name for name in of_run if name in known and of_run[name] != known[name]]
    if differing or not set(of_run) & set(known):
        what = f"its {differing[0]} is another layer" if differing else "they have no layer in common"
        raise UsageError(
            f"--from {printable(str(run.path))} is a run of {shown(run.manifest.suite)}, not of "
            f"{shown(asked_for.name)}: {what}; leave --suite out, or name a run of that suite"
        )


def _elsewhere(run: Run, machine: Machine) -> Machine | None:
    """Where a run was made, if it was not on this machine: another device, or another peak.

    Raises
    ------
    UsageError
        If it was made on another device, and has not measured of what peak and bandwidth its kernels reach a part.
    """
    roofline = run.manifest.roofline
    if roofline is None or not roofline.flops or not roofline.bandwidth:
        devices = {record.device for record in run.records if record.status == "ok"}
        if devices - {machine.device}:
            raise UsageError(
                f"--machine {machine.name} is another device ({machine.device}) than {printable(str(run.path))} was "
                f"made on ({', '.join(sorted(devices))}), and that run has no measured peak and bandwidth from which "
                "to carry its times over: name the machine it was made on, or leave --from out"
            )
        return None
    peak = machine.peak.get(roofline.dtype)
    alike = peak is not None and abs(math.log(peak.value / roofline.flops)) <= math.log(SAME_MACHINE)
    return None if alike and machine.device == roofline.device else machines.of_run(run.manifest)
