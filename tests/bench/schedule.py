"""How near plans come to the best possible, what one count for all would cost, and how long planning takes.

The jobs' curves are those measured in ``results/``: each layer type, the whole of AlexNet, and char-rnn's two LSTM
layers; and, where a curve must go on to many nodes, laws with noise.
"""

from __future__ import annotations

import random
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from layerbench.schedule import of_run, trace
from layerbench.schedule.jobs import Job
from layerbench.schedule.of_run import Curve
from layerbench.schedule.simulate import simulate
from layerbench.schedule.solve import others, solve
from tests.schedule.instances import realistic

RUNS = ("results/alexnet-2-cores", "results/two-hosts-gigabit")
SHORTEST, LONGEST = 1_200.0, 7_200.0
"""Seconds of a job on its quickest count, log-uniform."""

ROOM = (1.0, 1.8)
"""Where one long job decides, or where all fit on one node each, every method does equally well. So there are so many
nodes that the jobs' least node-seconds fill them this many times as long as the longest job takes at its quickest."""

FEW, PROOF_SECONDS = 15, 30.0
"""Up to so many jobs the optimum is looked for as well, by CP-SAT."""

INSTANCES = 20
MIX, MIX_NODES = 20, 32
ARRIVALS = 10_000
ONLINE_NODES, LOADS = (16, 64), (0.5, 0.8, 0.95)
PLAIN = ("best", "uniform", "marginal", "fastest", "fifo")
LARGE = ((1_000, 1_024), (10_000, 4_228))


def measure() -> tuple[dict[str, Any], str]:
    """The figures, and their table."""
    quality = [_quality("measured in results/", _measured), _quality("laws with noise", _laws)]
    large = [_large(jobs, nodes) for jobs, nodes in LARGE]
    online = _online()
    mix = _mix()
    figures = {"quality": quality, "large": large, "online": online, "mix": mix}
    return figures, "\n".join(
        [
            _quality_table(quality),
            _large_table(large, online["seconds"]),
            _mix_table(mix),
            _online_table(online["rows"]),
        ]
    )


def types() -> dict[str, Curve]:
    """Job types by name, each with the time of one training step."""
    found: dict[str, Curve] = {}
    for path in RUNS:
        curves = of_run.curves(Path(path))
        where = "" if path == RUNS[0] else " over Ethernet"
        for name in ("conv", "fc", "lstm"):
            found[f"{name}{where}"] = curves[name]
        conv, fc, lstm = (curves[name] for name in ("conv", "fc", "lstm"))
        both = tuple(one + two for one, two in zip(conv.seconds, fc.seconds, strict=True))
        found[f"AlexNet{where}"] = Curve(conv.nodes, both, conv.placement)
        found[f"char-rnn{where}"] = Curve(lstm.nodes, tuple(2 * one for one in lstm.seconds), lstm.placement)
    return found


def mixed(seed: int, jobs: int, curves: dict[str, Curve]) -> list[Job]:
    """Jobs of random types and amounts of work."""
    source = random.Random(seed)
    made = []
    for number in range(jobs):
        name = source.choice(list(curves))
        seconds = SHORTEST * (LONGEST / SHORTEST) ** source.random()
        made.append(of_run.job_of_steps(f"{name} {number}", name, curves[name], seconds / min(curves[name].seconds)))
    return made


def balanced(jobs: Sequence[Job], room: float) -> int:
    """Nodes on which neither the longest job alone nor the jobs' node-seconds alone decide."""
    area = sum(min(n * t for n, t in zip(job.nodes, job.seconds, strict=True)) for job in jobs)
    longest = max(min(job.seconds) for job in jobs)
    return max(2, round(area / (room * longest)))


def _measured(seed: int) -> tuple[list[Job], int]:
    source = random.Random(seed)
    jobs = mixed(seed, source.randint(5, 40), types())
    return jobs, balanced(jobs, source.uniform(*ROOM))


def _laws(seed: int) -> tuple[list[Job], int]:
    source = random.Random(seed)
    nodes = source.choice([8, 16, 32, 64])
    return realistic(1_000 + seed, source.randint(5, 40), nodes), nodes


def _quality(name: str, instance: Any) -> dict[str, Any]:
    rows = []
    for seed in range(INSTANCES):
        jobs, nodes = instance(seed)
        begin = time.perf_counter()
        plan = solve(jobs, nodes)
        seconds = time.perf_counter() - begin
        (uniform,) = [row for row in others(jobs, nodes) if row.policy == "uniform"]
        proof = solve(jobs, nodes, policy="exact", seconds=PROOF_SECONDS) if len(jobs) <= FEW else None
        least = max(plan.lower_bound, proof.lower_bound if proof else 0.0)
        rows.append(
            {
                "jobs": len(jobs),
                "nodes": nodes,
                "ratio": plan.makespan / least,
                "proven": proof is not None and proof.proven,
                "uniform": uniform.makespan / plan.makespan,
                "seconds": seconds,
            }
        )
    return {"curves": name, "rows": rows}


def _quality_table(quality: Sequence[dict[str, Any]]) -> str:
    lines = [
        "| curves | instances | makespan over optimum or bound: mean | worst | one count for all over it: mean | least "
        "| longest search |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for each in quality:
        ratios, uniform = ([row[name] for row in each["rows"]] for name in ("ratio", "uniform"))
        longest = max(row["seconds"] for row in each["rows"])
        proven = sum(row["proven"] for row in each["rows"])
        found = f"{len(ratios)}, optimum of {proven} known | {statistics.mean(ratios):.3f} | {max(ratios):.3f}"
        plain = f"{statistics.mean(uniform):.2f} | {min(uniform):.2f}"
        lines.append(f"| {each['curves']} | {found} | {plain} | {longest:.1f} s |")
    return "\n".join(lines) + "\n"


_COMMAND = """
import sys
sys.path.insert(0, {root!r})
from layerbench.schedule.solve import solve
from tests.schedule.instances import realistic
print(solve(realistic(0, {jobs}, {nodes}), {nodes}).gap)
"""


def _large(jobs: int, nodes: int) -> dict[str, Any]:
    root = str(Path(__file__).parents[2])
    begin = time.perf_counter()
    code = _COMMAND.format(root=root, jobs=jobs, nodes=nodes)
    ended = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    seconds = time.perf_counter() - begin
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    return {"jobs": jobs, "nodes": nodes, "seconds": seconds, "peak": peak, "gap": float(ended.stdout)}


def _online() -> dict[str, Any]:
    """Mean and 99th percentile of completion by policy and load, and how long many arrivals take to simulate."""
    curves = {job.type: job for job in mixed(1, 200, types())}
    rows = []
    for nodes in ONLINE_NODES:
        for load in LOADS:
            rate = trace.rate_for_load(curves, nodes, load)
            arrivals = trace.poisson(list(curves), 2_000, rate, 1)
            asked: dict[str, dict[str, Any]] = {policy: {"policy": policy} for policy in PLAIN}
            asked["best, elastic"] = {"policy": "best", "elastic_cost": 30.0}
            asked["best, wrong curves"] = {"policy": "best", "noise": 0.2}
            for name, options in asked.items():
                outcome = simulate(arrivals, curves, nodes, seed=1, **options)
                told = {"mean": outcome.mean_completion, "p99": outcome.p99_completion}
                rows.append({"nodes": nodes, "load": load, "policy": name, **told})
    seconds = {}
    rate = trace.rate_for_load(curves, 64, 0.8)
    arrivals = trace.poisson(list(curves), ARRIVALS, rate, 0)
    for policy in PLAIN:
        begin = time.perf_counter()
        simulate(arrivals, curves, 64, policy)
        seconds[policy] = time.perf_counter() - begin
    return {"rows": rows, "seconds": seconds}


def _online_table(rows: Sequence[dict[str, Any]]) -> str:
    names = list(dict.fromkeys(row["policy"] for row in rows))
    lines = ["| nodes | load | " + " | ".join(names) + " |", "|---:|---:|" + "---:|" * len(names)]
    for nodes in ONLINE_NODES:
        for load in LOADS:
            some = {row["policy"]: row for row in rows if (row["nodes"], row["load"]) == (nodes, load)}
            told = (f"{_hours(some[name]['mean'])} / {_hours(some[name]['p99'])}" for name in names)
            lines.append(f"| {nodes} | {load:g} | " + " | ".join(told) + " |")
    return "\n".join(lines) + "\n"


def _hours(seconds: float) -> str:
    hours = seconds / 3600
    return f"{hours:,.0f}" if hours >= 100 else f"{hours:.3g}"


def _large_table(large: Sequence[dict[str, Any]], online: dict[str, float]) -> str:
    lines = ["| what | value | aim |", "|---|---:|---:|"]
    aims = ("10 s", "60 s, 2 GB")
    for each, aim in zip(large, aims, strict=True):
        told = f"{each['seconds']:.1f} s, {each['peak'] / 1e9:.2f} GB, {each['gap']:.1%} above the bound"
        lines.append(f"| {each['jobs']:,} jobs on {each['nodes']:,} nodes | {told} | {aim} |")
    slowest = max(online, key=lambda name: online[name])
    lines.append(f"| {ARRIVALS:,} arrivals, slowest policy ({slowest}) | {online[slowest]:.1f} s | 60 s |")
    return "\n".join(lines) + "\n"


def _mix() -> dict[str, Any]:
    """What the plan of a mix gives each type, and what other schemes would take."""
    curves = {name: curve for name, curve in types().items() if "Ethernet" not in name}
    jobs = mixed(0, MIX, curves)
    plan = solve(jobs, MIX_NODES)
    given: dict[str, list[int]] = {name: [] for name in curves}
    for placement in plan.placements:
        given[placement.job.type].append(placement.nodes)
    return {
        "times": {name: dict(zip(curve.nodes, curve.seconds, strict=True)) for name, curve in curves.items()},
        "given": given,
        "makespan": plan.makespan,
        "lower_bound": plan.lower_bound,
        "others": {row.policy: [row.description, row.makespan, row.node_seconds] for row in others(jobs, MIX_NODES)},
        "node_seconds": plan.node_seconds,
    }


def _mix_table(mix: dict[str, Any]) -> str:
    counts = sorted({count for times in mix["times"].values() for count in times})
    lines = [
        "| type | "
        + " | ".join(f"speed-up on {count}" for count in counts[1:])
        + " | jobs | nodes the plan gives them |",
        "|---|" + "---:|" * len(counts) + "---|",
    ]
    for name, times in mix["times"].items():
        given = sorted(mix["given"][name])
        told = ", ".join(f"{given.count(count)} on {count}" for count in sorted(set(given)))
        speedups = " | ".join(f"{times[counts[0]] / times[count]:.2f}" for count in counts[1:])
        lines.append(f"| {name} | {speedups} | {len(given)} | {told} |")
    lines += ["", "| scheme | makespan | over the plan's | node-hours |", "|---|---:|---:|---:|"]
    rows = {"best": ["the plan", mix["makespan"], mix["node_seconds"]], **mix["others"]}
    for name, (description, makespan, used) in rows.items():
        ratio = makespan / mix["makespan"]
        lines.append(f"| {name}: {description} | {makespan / 3600:.2f} h | {ratio:.2f} | {used / 3600:.0f} |")
    lines.append(f"\n{MIX} jobs on {MIX_NODES} nodes; no plan is shorter than {mix['lower_bound'] / 3600:.2f} h.\n")
    return "\n".join(lines)
