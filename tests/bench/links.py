"""Hosts on links of a known rate: what the fit makes of it, and where communication takes over from computation.

Two or more hosts in network namespaces, one rank each, need root (see ``tests/netns.py``).

* The bandwidth that ``layerbench calibrate`` finds, against the link's: the rate less TCP's and Ethernet's framing.
* Collectives at more ranks than the fit has seen: fitted to two hosts, measured on three and four. The ranks share this
  machine's cores, so the link is slow enough for computation not to matter.
* The batch at which communication takes half of the step on two hosts: predicted from that calibration and a run on
  one host alone, against the one measured.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from layerbench import machine, store
from layerbench.collective_times import link_seconds
from layerbench.machine import Link, Machine
from layerbench.stats import median
from tests.netns import OVER_TCP, hosts

RATES = {"100mbit": 12.5e6, "200mbit": 25e6, "1gbit": 125e6}
"""As ``tc`` has them, and in bytes a second."""

FRAMING = 1448 / 1538
"""TCP's payload of what goes over an Ethernet link."""

CROSSING = "200mbit"
CROSSINGS = {"256k": "conv3,conv4,conv5,lstm", "32k": "lstm"}
"""By what the link passes at once after a pause: 256 kB is half of the LSTM's gradient, and no rate tells of it."""

BATCHES = (4, 8, 16, 32, 64, 128, 256)

RANKS = "100mbit"
MOST_HOSTS = 4


def measure() -> tuple[dict[str, Any], str]:
    """All three, and their tables."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        profiles = {rate: _calibrated(folder, 2, rate) for rate in RATES}
        bandwidths = [_bandwidth(rate, profiles[rate]) for rate in RATES]
        more = _more_ranks(profiles[RANKS], _calibrated(folder, MOST_HOSTS, RANKS))
        crossings = [
            row
            for burst, layers in CROSSINGS.items()
            for row in _crossings(folder / burst, folder / f"2-{CROSSING}.toml", burst, layers)
        ]
    figures = {"bandwidth": bandwidths, "more_ranks": more, "crossings": crossings}
    return figures, _table(bandwidths, more, crossings)


def _on(folder: Path, number: int, rate: str, commands: Sequence[Sequence[str]], burst: str = "256k") -> None:
    """Run commands of layerbench on such hosts."""
    with hosts(number, rate, folder, burst) as (addresses, rsh, enter):
        reach = ["--hosts", ",".join(addresses), "--launcher-args", f"-launcher ssh -launcher-exec {rsh}"]
        for command in commands:
            whole = [*enter, sys.executable, "-m", "layerbench", *command, *reach, "--threads-per-rank", "1", "--quiet"]
            subprocess.run(whole, env={**os.environ, **OVER_TCP}, check=True)


def _calibrated(folder: Path, number: int, rate: str) -> Machine:
    path = folder / f"{number}-{rate}.toml"
    oversubscribe = ["--oversubscribe"] if number > len(os.sched_getaffinity(0)) else []
    _on(folder, number, rate, [["calibrate", "--output", str(path), *oversubscribe]])
    return machine.load(str(path))


def _bandwidth(rate: str, profile: Machine) -> dict[str, Any]:
    found = 1 / profile.between.beta.value
    known = RATES[rate] * FRAMING
    return {"rate": rate, "known": known, "found": found, "error": found / known - 1}


def _more_ranks(two: Machine, more: Machine) -> list[dict[str, Any]]:
    """Each collective on three and more hosts, by the fit to two of them."""
    # What was measured at exactly these counts must not help.
    seen = Link(**{name: getattr(two.between, name) for name in two.between.__struct_fields__})
    rows = []
    for point in more.between.sweeps:
        if point.ranks > 2 and point.bytes >= 4**6:
            said = link_seconds(seen, point.operation, point.ranks, point.bytes)
            rows.append(
                {
                    "operation": point.operation,
                    "ranks": point.ranks,
                    "bytes": point.bytes,
                    "measured": point.seconds,
                    "predicted": said,
                    "error": said / point.seconds - 1,
                }
            )
    return rows


def _crossings(folder: Path, profile: Path, burst: str, layers: str) -> list[dict[str, Any]]:
    folder.mkdir()
    common = ["run", "--suite", "alexnet", "--filter", layers, "--max-time", "1"]
    alone = folder / "alone"
    measured = {batch: folder / f"batch-{batch}" for batch in BATCHES}
    # One host stands for all shards: local batches of 64, 16, 4 and 1 are timed on it, and no network is touched.
    commands = [
        [*common, "--nodes", "2,8,32,128", "--batch", "128", "--network", "gigabit-ethernet", "--output", str(alone)],
    ]
    _on(folder, 1, CROSSING, commands)
    _on(
        folder,
        2,
        CROSSING,
        [
            [*common, "--nodes", "2", "--batch", str(batch), "--output", str(path), "--timeout", "300"]
            for batch, path in measured.items()
        ],
        burst,
    )
    shares = {batch: _shares(path) for batch, path in measured.items()}
    predicted = {batch: _predicted_shares(alone, profile, batch) for batch in BATCHES}
    return [
        {
            "layer": layer,
            "burst": burst,
            "measured": _half(BATCHES, [shares[batch][layer] for batch in BATCHES]),
            "predicted": _half(BATCHES, [predicted[batch][layer] for batch in BATCHES]),
            "measured_shares": [shares[batch][layer] for batch in BATCHES],
            "predicted_shares": [predicted[batch][layer] for batch in BATCHES],
        }
        for layer in layers.split(",")
    ]


def _shares(path: Path) -> dict[str, float]:
    by = {(record.layer, record.part): median(record.samples) for record in store.load(path).records if record.samples}
    return {layer: by[layer, "communication"] / by[layer, "step"] for layer, part in by if part == "step"}


def _predicted_shares(alone: Path, profile: Path, batch: int) -> dict[str, float]:
    command = ["predict", "--from", str(alone), "--machine", str(profile), "--nodes", "2", "--batch", str(batch)]
    done = subprocess.run(
        [sys.executable, "-m", "layerbench", *command, "--format", "json"], check=True, capture_output=True, text=True
    )
    by = {(row["layer"], row["part"]): row["seconds"] for row in json.loads(done.stdout)}
    return {layer: by[layer, "communication"] / by[layer, "step"] for layer, part in by if part == "step"}


def _half(batches: Sequence[int], shares: Sequence[float]) -> float | None:
    """The batch at which the share falls through a half, on a logarithmic scale; None if it does not."""
    for low, high, before, after in zip(batches, batches[1:], shares, shares[1:], strict=False):
        if before >= 0.5 > after:
            return low * math.pow(high / low, (before - 0.5) / (before - after))
    return None


def _table(
    bandwidths: Sequence[dict[str, Any]], more: Sequence[dict[str, Any]], crossings: Sequence[dict[str, Any]]
) -> str:
    lines = [
        "| link of | its bandwidth | found by calibrate | error |",
        "|---|---:|---:|---:|",
        *(
            f"| {row['rate']} | {row['known'] / 1e6:.1f} MB/s | {row['found'] / 1e6:.1f} MB/s | {row['error']:+.1%} |"
            for row in bandwidths
        ),
        "",
        "| on more hosts than were fitted | sizes | median error | worst |",
        "|---|---:|---:|---:|",
    ]
    for operation in dict.fromkeys(row["operation"] for row in more):
        for ranks in sorted({row["ranks"] for row in more}):
            errors = [abs(row["error"]) for row in more if (row["operation"], row["ranks"]) == (operation, ranks)]
            if errors:
                named = operation.replace("_", "-")
                lines.append(f"| {named}, {ranks} | {len(errors)} | {median(errors):.1%} | {max(errors):.0%} |")
    lines += [
        "",
        f"| on 2 hosts, {CROSSING}: batch where communication is half of the step | at once | measured | predicted |",
        "|---|---:|---:|---:|",
        *(
            f"| {row['layer']} | {row['burst']}B | {_batch(row['measured'])} | {_batch(row['predicted'])} |"
            for row in crossings
        ),
    ]
    return "\n".join(lines) + "\n"


def _batch(value: float | None) -> str:
    return "none of these" if value is None else f"{value:.0f}"
