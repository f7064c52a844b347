"""The data manager against what one would use instead: a plain loop, and PyTorch's DataLoader with workers.

The same files and the same computation, on two cores: one computes, one is to spare. Ways take turns, round after
round, so that whatever else the machine does meets all of them. Where PyTorch is not installed its figures are missing.
"""

from __future__ import annotations

import gc
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from PIL import Image

from layerbench import kernel as kernels
from layerbench import verify
from layerbench.datamanager import Arrays, DataManager, ImageFolder, Normalise, Shards
from layerbench.datamanager.sequential import batches
from layerbench.datamanager.source import Source
from layerbench.device import Run
from layerbench.kernel import Budget, Job
from layerbench.layers import FC
from layerbench.stats import Interval, interval, ratio_of
from tests.bench import torch_loader

IMAGES = 512
BATCH = 32
SIZE = 224
ROUNDS = 7
SECONDS = 1.5
"""Of each way in a round."""

DEPTH = 3
PLAIN, OURS = "plain loop", "data manager"
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
AIM = "aims: 1.0 of the best peer everywhere, 1.2 on the image folder; η 0.95 where both stages take equally long"

Way = Callable[[], Iterator[Any]]
"""Begins a loop over endless batches."""


def measure() -> tuple[dict[str, Any], str]:
    """Seconds of a batch in every way, on each kind of files, without computation and with as much as transfer."""
    cores = sorted(os.sched_getaffinity(0))
    spare = cores[1:2] or cores
    os.sched_setaffinity(0, cores[:1])
    rows: list[dict[str, Any]] = []
    product = _product()
    try:
        with tempfile.TemporaryDirectory() as folder:
            for kind, sources in _kinds(Path(folder)).items():
                source, peers = sources
                transfer = _seconds_of(source)
                for ratio, times in (("none", 0), ("equal", max(1, round(transfer / _seconds(product))))):
                    ways: dict[str, Way] = {PLAIN: partial(_plain, source), OURS: partial(_managed, source, spare)}
                    ways |= {name: partial(made, spare, cores) for name, made in peers.items()}
                    rows.append(_row(kind, ratio, ways, product, times))
        figures = {"rows": rows, "overhead_seconds": _overhead(spare), "peak": _peak(spare), "batch": BATCH}
    finally:
        os.sched_setaffinity(0, cores)
    return figures, _table(figures)


def _kinds(folder: Path) -> dict[str, tuple[Callable[[], Source], dict[str, Any]]]:
    """For each kind of files how our source is made, and the peers."""
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (IMAGES, 3, SIZE, SIZE), dtype=np.uint8)
    np.save(folder / "pixels.npy", pixels)
    photos = folder / "photos" / "all"
    photos.mkdir(parents=True)
    for index in range(IMAGES):
        # Smooth patches under some noise: photographs compress like this, pure noise does not.
        coarse = Image.fromarray(random.integers(0, 256, (12, 16, 3), dtype=np.uint8)).resize((500, 375), Image.BICUBIC)
        noisy = np.asarray(coarse, np.int16) + random.integers(-12, 13, (375, 500, 3), dtype=np.int16)
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(photos / f"{index:04}.jpg", quality=90)
    normalise = [Normalise(MEAN, STD, divisor=255)]
    common: dict[str, Any] = {"batch_size": BATCH, "shuffle": 0, "epochs": None}
    as_floats: dict[str, Any] = {"dtypes": [np.float32], "normalise": normalise}
    return {
        "bytes in memory": (lambda: Arrays(pixels, **common, **as_floats), torch_loader.of_array(pixels, BATCH)),
        "one .npy file": (
            lambda: Shards([folder / "pixels.npy"], **common, **as_floats),
            torch_loader.of_array(np.load(folder / "pixels.npy", mmap_mode="r"), BATCH),
        ),
        "folder of JPEGs, 500 x 375": (
            lambda: ImageFolder(folder / "photos", SIZE, mean=MEAN, std=STD, **common),
            torch_loader.of_images(sorted(photos.iterdir()), SIZE, BATCH),
        ),
    }


def _plain(source: Callable[[], Source]) -> Iterator[Any]:
    with closing(source()) as opened:
        yield from batches(opened)


def _managed(source: Callable[[], Source], spare: list[int]) -> Iterator[Any]:
    with DataManager(source(), depth=DEPTH, workers=1, cores=spare) as manager:
        yield from manager


def _product() -> Run:
    """A matrix product of some tenths of a millisecond."""
    layer = FC(name="work", in_features=512, out_features=512)
    found = kernels.find("auto", layer, "fp32")
    job = Job(layer, 64, "fp32")
    operands = verify.tensors(layer, "fp32", 0, 0, 64)
    return found.prepare(job, operands, found.search(job, operands, Budget())).run["forward"]


def _seconds(run: Run) -> float:
    taken = []
    for _ in range(200):
        begin = time.perf_counter()
        run()
        taken.append(time.perf_counter() - begin)
    return interval(taken).median


def _seconds_of(source: Callable[[], Source]) -> float:
    made = _plain(source)
    next(made)
    taken = []
    for _ in range(7):
        begin = time.perf_counter()
        next(made)
        taken.append(time.perf_counter() - begin)
    made.close()  # type: ignore[attr-defined]
    return interval(taken).median


def _row(kind: str, ratio: str, ways: dict[str, Way], product: Run, times: int) -> dict[str, Any]:
    """Seconds of a batch in every way, and of the computation by itself."""
    taken: dict[str, list[float]] = {name: [] for name in ways}
    computed: list[float] = []
    for _ in range(ROUNDS):
        computed.append(times * _seconds(product) if times else 0.0)
        for name, way in ways.items():
            loop = way()
            # The slots that are full at the start are no part of what a loop can keep up.
            for _ in range(DEPTH + 2):
                next(loop)
            count, begin = 0, time.perf_counter()
            while time.perf_counter() - begin < SECONDS or count < 2 * DEPTH:
                next(loop)
                for _ in range(times):
                    product()
                count += 1
            taken[name].append((time.perf_counter() - begin) / count)
            loop.close()  # type: ignore[attr-defined]
            gc.collect()
    found = {name: interval(samples) for name, samples in taken.items()}
    peers = {name: of for name, of in found.items() if name != OURS}
    best = min(peers, key=lambda name: peers[name].median)
    row: dict[str, Any] = {
        "files": kind,
        "computation": ratio,
        "seconds": {name: of._asdict() for name, of in found.items()},
        "best_peer": best,
        "over_best_peer": ratio_of(found[best], found[OURS])._asdict(),
    }
    if times:
        plain, ours = found[PLAIN].median, found[OURS].median
        computation = interval(computed).median
        longest = max(computation, plain - computation)
        row |= {"attainable": plain / longest, "speedup": plain / ours, "eta": (plain - ours) / (plain - longest)}
    return row


def _overhead(spare: list[int]) -> dict[str, Any]:
    """Seconds that handing over a batch costs, of batches that cost nothing themselves."""
    few = np.zeros((4096, 4), np.float32)
    each: dict[str, list[float]] = {PLAIN: [], OURS: []}
    for _ in range(ROUNDS):
        for name, samples in each.items():
            source = Arrays(few, batch_size=4, epochs=20)
            loop = iter(batches(source)) if name == PLAIN else iter(DataManager(source, depth=DEPTH, cores=spare))
            begin, count = time.perf_counter(), 0
            for _ in loop:
                count += 1
            samples.append((time.perf_counter() - begin) / count)
    return {name: interval(samples)._asdict() for name, samples in each.items()}


def _peak(spare: list[int]) -> dict[str, int]:
    """Bytes that the process grows by while batches are consumed, and those of depth times a batch."""
    pixels = np.random.default_rng(0).integers(0, 256, (IMAGES, 3, SIZE, SIZE), dtype=np.uint8)
    process = psutil.Process()
    gc.collect()
    before = process.memory_info().rss
    most = 0
    with DataManager(
        Arrays(pixels, batch_size=BATCH, dtypes=[np.float32], normalise=[Normalise(MEAN, STD, divisor=255)], epochs=4),
        depth=DEPTH,
        cores=spare,
    ) as manager:
        for _ in manager:
            most = max(most, process.memory_info().rss - before)
        slots = manager.slots_bytes
    return {"grown": most, "slots": slots}


def _table(figures: dict[str, Any]) -> str:
    lines = [
        f"Batches of {figures['batch']} samples, one core that computes and one to spare: milliseconds a batch "
        "(95 % interval).",
        "",
        "| files | computation | plain loop | data manager | best other | which | best peer / ours | speed-up of Σ/max "
        "| η |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in figures["rows"]:
        others = {name: of for name, of in row["seconds"].items() if name not in (PLAIN, OURS)}
        best = min(others, key=lambda name: others[name]["median"]) if others else ""
        gain = f"{row['speedup']:.2f} of {row['attainable']:.2f} | {row['eta']:.3f}" if "eta" in row else " | "
        cells = [
            row["files"],
            row["computation"],
            _told(row["seconds"][PLAIN]),
            _told(row["seconds"][OURS]),
            _told(others[best]) if best else "",
            best,
            f"{row['over_best_peer']['median']:.2f}",
        ]
        lines.append(f"| {' | '.join(cells)} | {gain} |")
    overhead = {name: of["median"] * 1e6 for name, of in figures["overhead_seconds"].items()}
    peak = figures["peak"]
    lines += [
        "",
        f"A batch of no size costs {overhead[OURS]:.1f} µs through the data manager, {overhead[PLAIN]:.1f} µs in a "
        "plain loop (aim: 50 µs).",
        f"Memory grows by {peak['grown'] / peak['slots']:.3f} of depth times a batch (aim: 1.1).",
        "",
        AIM,
    ]
    return "\n".join(lines) + "\n"


def _told(of: dict[str, Any]) -> str:
    found = Interval(**of)
    return f"{found.median * 1e3:.2f} ({found.low * 1e3:.2f} to {found.high * 1e3:.2f})"
