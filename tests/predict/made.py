"""A machine, a law of kernel times and runs made by it, of which every truth is known."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np

from layerbench import hockney, suite
from layerbench.layers import PASSES, AnyLayer, DType, Pass
from layerbench.machine import Figure, Link, Machine, exact
from layerbench.partition import exchanges
from layerbench.predict.layer_times import passes_in_step
from layerbench.predict.question import Question, Run
from layerbench.predict.shard import largest
from layerbench.predict.work import Ceilings, Computed, kind_of, seconds
from layerbench.records import Layout, Manifest, Operation, Part, Record, Roofline, Scaling
from layerbench.stats import interval
from tests.report.synthetic import options

PEAK, BANDWIDTH, LAUNCH = 2e11, 2e10, 2e-6
ALPHA, BETA = 2e-6, 1 / 4e9

LAYERS = suite.load("alexnet").layers


class Told(NamedTuple):
    """An estimate of a kernel's time."""

    seconds: float
    log_sigma: float


def half_of_roofline(
    layer: Computed, pass_: Pass, batch: int, dtype: DType, peak_flops: float, bytes_per_second: float
) -> Told:
    """A stand-in for published devices: every kernel at half of its roofline."""
    roofline = max(2 * layer.macs(batch) / peak_flops, layer.bytes(batch, dtype) / bytes_per_second)
    return Told(2 * roofline, 0.3)


def cost(machine: Machine, operation: Operation, nodes: int, size: int, ranks_per_node: int | None = None) -> float:
    """A collective by the formulas, over all ranks alike."""
    assert machine.between is not None
    link = machine.between
    return hockney.seconds(operation, nodes * (ranks_per_node or 1), size, link.alpha.value, link.beta.value)


def machine(**changes: object) -> Machine:
    """A machine of the figures above."""
    made = Machine(
        name="made",
        nodes=1024,
        peak={"fp32": exact(PEAK)},
        bandwidth=exact(BANDWIDTH),
        launch=exact(LAUNCH),
        between=Link(alpha=exact(ALPHA), beta=Figure(value=BETA, low=BETA, high=BETA)),
    )
    return msgspec.structs.replace(made, **changes)


@dataclass
class World:
    """Kernels and a network that follow a law.

    Attributes
    ----------
    class_spread, layer_spread
        Standard deviations of the logs of what a class, and a layer of it, reach of peak, bandwidth and launch.
    own
        Standard deviation of what each size deviates by itself, in log seconds.
    noise
        The same of each sample.
    network_factor, waiting
        What exchanges take over the formulas, and what part of the passes is waited besides.
    """

    seed: int = 0
    class_spread: float = 0.2
    layer_spread: float = 0.1
    own: float = 0.02
    noise: float = 0.02
    network_factor: float = 1.0
    waiting: float = 0.0
    known: dict[object, np.ndarray] = field(default_factory=dict)

    def _drawn(self, spread: float, size: int, *name: object) -> np.ndarray:
        if name not in self.known:
            generator = np.random.default_rng([self.seed, len(self.known)])
            self.known[name] = spread * generator.standard_normal(size)
        return self.known[name]

    def seconds(self, layer: AnyLayer, computed: Computed, pass_: Pass, batch: int) -> float:
        """The true time of a pass."""
        at_ceilings = seconds(computed, pass_, [batch], "fp32", Ceilings(PEAK, BANDWIDTH, LAUNCH))[:, 0]
        reached = self._drawn(self.class_spread, 3, kind_of(computed), pass_)
        reached = reached + self._drawn(self.layer_spread, 3, layer.name, pass_)
        own = self._drawn(self.own, 1, layer.name, pass_, computed.macs(batch))
        return float(at_ceilings @ np.exp(np.array([0.3, 0.2, 1.0]) + reached)) * math.exp(own[0])

    def exchange(self, layer: AnyLayer, layout: Layout, batch: int, ranks: int) -> float:
        """The true time of a step's exchanges."""
        found = exchanges(layer, batch, ranks, layout, "fp32")
        return self.network_factor * sum(
            one.times * hockney.seconds(one.operation, ranks, one.size, ALPHA, BETA) for one in found
        )

    def step(self, layer: AnyLayer, layout: Layout, batch: int, nodes: int) -> dict[Part, float]:
        """The true times of all parts of a step."""
        share = largest(layer, layout, nodes, 1, batch, "strong")
        parts: dict[Part, float] = {
            pass_: self.seconds(layer, share.computed, pass_, share.local_batch) for pass_ in PASSES
        }
        passes = sum(parts[pass_] for pass_ in passes_in_step(layer))
        exchange = self.exchange(layer, layout, batch, share.ranks)
        waiting = self.waiting * passes if share.ranks > 1 else 0.0
        parts["communication"], parts["step"] = exchange + waiting, passes + exchange
        return parts

    def records(
        self,
        nodes: Sequence[int],
        measured: int,
        batch: int = 64,
        layers: Sequence[AnyLayer] = LAYERS,
        layout: Layout = "data",
        samples: int = 15,
    ) -> list[Record]:
        """Records of a run, measured up to a count and emulated beyond."""
        generator = np.random.default_rng([self.seed, 99])
        return [
            record
            for layer in layers
            for count in nodes
            for record in self._records(layer, count, batch, layout, samples, generator, real=count <= measured)
        ]

    def _records(
        self,
        layer: AnyLayer,
        nodes: int,
        batch: int,
        layout: Layout,
        samples: int,
        generator: np.random.Generator,
        *,
        real: bool,
    ) -> list[Record]:
        share = largest(layer, layout, nodes, 1, batch, "strong")
        truth = self.step(layer, layout, batch, nodes)
        drawn: dict[Part, np.ndarray] = {
            pass_: truth[pass_] * np.exp(self.noise * generator.standard_normal(samples)) for pass_ in PASSES
        }
        passes = np.sum([drawn[pass_] for pass_ in passes_in_step(layer)], axis=0)
        # An emulated count's exchange was computed, here by a network that is quite another.
        charged = np.full(samples, truth["communication"] if real else 1.0)
        drawn["communication"] = charged
        drawn["step"] = passes + (self.exchange(layer, layout, batch, share.ranks) if real else 1.0)
        return [
            Record(
                layer=layer.name,
                kind=layer.kind,
                part=part,
                nodes=nodes,
                ranks=nodes,
                threads_per_rank=1,
                layout=layout,
                batch=batch,
                local_batch=share.local_batch,
                dtype="fp32",
                kernels="made",
                in_step=part != "backward_data" or layer.backward_data_in_step,
                placement="measured" if real else "emulated",
                samples=[] if part == "communication" and not real else [float(value) for value in values],
                modelled_seconds=1.0 if part in ("communication", "step") and not real else None,
                ci_method=interval(values.tolist()).method,
            )
            for part, values in drawn.items()
        ]


def manifest(
    nodes: Sequence[int],
    batch: int = 64,
    layers: Sequence[AnyLayer] = LAYERS,
    scaling: Scaling = "strong",
    **changes: object,
) -> Manifest:
    """The manifest of a run of these layers on the machine above."""
    return Manifest(
        command="layerbench run --suite alexnet",
        suite="alexnet",
        suite_source="suites/alexnet.toml",
        layers=list(layers),
        options=options(nodes, batch, scaling, **changes),
        environment={},
        roofline=Roofline(device="host", dtype="fp32", threads=1, flops=PEAK, bandwidth=BANDWIDTH),
        outcome="complete",
    )


def question(
    nodes: Sequence[int] = (1, 2, 4, 8),
    records: Sequence[Record] | None = None,
    batch: int = 64,
    layers: Sequence[AnyLayer] = LAYERS,
    change: Callable[[Manifest], Manifest] = lambda manifest: manifest,
    **changes: object,
) -> Question:
    """A question about the machine above, with records to calibrate on if there are any."""
    counts = sorted({record.nodes for record in records}) if records else []
    run = None if records is None else Run(Path("runs/made"), change(manifest(counts, batch, layers)), records)
    given: dict[str, object] = {
        "suite": "alexnet",
        "layers": tuple(layers),
        "machine": machine(),
        "nodes": tuple(nodes),
        "batch": batch,
        "run": run,
        "collective": cost,
        "estimator": half_of_roofline,
        **changes,
    }
    return Question(**given)  # type: ignore[arg-type]
