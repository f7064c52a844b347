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

from layerbench import registry, verify
from layerbench.datamanager import Arrays, DataManager, ImageFolder, Normalise, Shards
from layerbench.datamanager.sequential import batches
from layerbench.datamanager.source import Source
from layerbench.device import Run
from layerbench.kernel import Budget, Job
from layerbench.layers import FC
from layerbench.stats import Interval, interval, ratio_of
from tests.bench import torch_loader
from tests.bench.torch_loader import MEAN, STD

IMAGES = 512
BATCH = 32
SIZE = 224
ROUNDS = 6
SECONDS = 1.0
"""Of each way in a round."""

DEPTH = 3
PLAIN = "plain loop"
OURS = {
    "data manager, 1 worker a stage, on the spare core": 1,
    "data manager, 2 workers a stage, on all cores": 2,
}
MANAGED = "data manager"

WIDTHS = (128, 256, 512, 1024, 2048, 4096)
"""Of the layers whose matrix products are the computation."""

CALLS = 10
"""Products that a computation has at least: kernels of a step are called one after another, not one in all."""

AIM = "aims: 1.0 of the best peer everywhere, 1.2 on the image folder; η 0.95 where both stages take equally long"

Way = Callable[[], Iterator[Any]]
"""Begins a loop over endless batches."""


def measure() -> tuple[dict[str, Any], str]:
    """Seconds of a batch in every way, on each kind of files, without computation and with as much as transfer."""
    cores = sorted(os.sched_getaffinity(0))
    spare = cores[1:2] or cores
    os.sched_setaffinity(0, cores[:1])
    rows: list[dict[str, Any]] = []
    try:
        with tempfile.TemporaryDirectory() as folder:
            for kind, (source, peers) in _kinds(Path(folder)).items():
                transfer = _transfer(source)
                product, each = _product(transfer / CALLS)
                for computation, times in (("reads the batch", 0), ("as long as transfer", round(transfer / each))):
                    ways: dict[str, Way] = {PLAIN: partial(_plain, source)}
                    ways |= {
                        name: partial(_managed, source, workers, spare if workers == 1 else cores)
                        for name, workers in OURS.items()
                    }
                    ways |= {name: partial(made, spare, cores) for name, made in peers.items()}
                    rows.append(_row(kind, computation, ways, product, times))
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


def _managed(source: Callable[[], Source], workers: int, cores: list[int]) -> Iterator[Any]:
    with DataManager(source(), depth=DEPTH, workers=workers, cores=cores) as manager:
        yield from manager


def _product(wanted: float) -> tuple[Run, float]:
    """The matrix product that lasts most nearly so many seconds, and how many it lasts."""
    found = []
    for width in WIDTHS:
        layer = FC(name="work", in_features=width, out_features=width)
        kernel = registry.find("auto", layer, "fp32")
        job = Job(layer, 64, "fp32")
        operands = verify.tensors(layer, "fp32", 0, 0, 64)
        run = kernel.prepare(job, operands, kernel.search(job, operands, Budget())).run["forward"]
        taken = []
        for _ in range(30):
            begin = time.perf_counter()
            run()
            taken.append(time.perf_counter() - begin)
        found.append((run, interval(taken).median))
    return min(found, key=lambda each: abs(each[1] - wanted))


def _transfer(source: Callable[[], Source]) -> float:
    """Seconds that a batch takes in a plain loop."""
    made = _plain(source)
    next(made)
    taken = []
    for _ in range(9):
        begin = time.perf_counter()
        next(made)
        taken.append(time.perf_counter() - begin)
    made.close()  # type: ignore[attr-defined]
    return interval(taken).median


def _row(kind: str, computation: str, ways: dict[str, Way], product: Run, times: int) -> dict[str, Any]:
    """Seconds of a batch in every way, and of waiting for it in a plain loop."""
    taken: dict[str, list[float]] = {name: [] for name in ways}
    waited: list[float] = []
    for _ in range(ROUNDS):
        for name, way in ways.items():
            step, wait = _steps(way(), product, times)
            taken[name].append(step)
            if name == PLAIN:
                waited.append(wait)
    found = {name: interval(samples) for name, samples in taken.items()}
    ours = min(OURS, key=lambda name: found[name].median)
    best = min(found.keys() - OURS.keys(), key=lambda name: found[name].median)
    row: dict[str, Any] = {
        "files": kind,
        "computation": computation,
        "seconds": {name: of._asdict() for name, of in found.items()},
        "ours": ours,
        "best_peer": best,
        "over_best_peer": ratio_of(found[best], found[ours])._asdict(),
    }
    if times:
        # What overlap by itself gains: one core computes, and the other prepares.
        spared = next(iter(OURS))
        plain, transfer = found[PLAIN].median, interval(waited).median
        longest = max(transfer, plain - transfer)
        gained = plain - found[spared].median
        row |= {
            "attainable": plain / longest,
            "speedup": plain / found[spared].median,
            "eta": gained / (plain - longest),
        }
    return row


def _steps(loop: Iterator[Any], product: Run, times: int) -> tuple[float, float]:
    """Seconds of a step, and of them waiting for the batch."""
    # The slots that are full at the start are no part of what a loop can keep up.
    for _ in range(DEPTH + 2):
        next(loop)
    count, waited, begin = 0, 0.0, time.perf_counter()
    while time.perf_counter() - begin < SECONDS or count < 2 * DEPTH:
        before = time.perf_counter()
        batch = next(loop)
        waited += time.perf_counter() - before
        # Every computation on a batch reads it.
        np.asarray(batch[0] if isinstance(batch, tuple | list) else batch).max()
        for _ in range(times):
            product()
        count += 1
    seconds = time.perf_counter() - begin
    loop.close()  # type: ignore[attr-defined]
    gc.collect()
    return seconds / count, waited / count


def _overhead(spare: list[int]) -> dict[str, Any]:
    """Seconds that handing over a batch costs, of batches that cost nothing themselves."""
    few = np.zeros((4096, 4), np.float32)
    each: dict[str, list[float]] = {PLAIN: [], MANAGED: []}
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
        f"Batches of {figures['batch']} samples, one core that computes and one to spare: milliseconds a step "
        "(95 % interval).",
        "",
        "| files | computation | plain loop | data manager | best DataLoader | best peer / ours | speed-up of Σ/max "
        "| η |",
        "|---|---|---|---|---|---|---|---|",
    ]
    used: list[str] = []
    for row in figures["rows"]:
        seconds = row["seconds"]
        loaders = {name: of for name, of in seconds.items() if name != PLAIN and name not in OURS}
        best = min(loaders, key=lambda name: loaders[name]["median"]) if loaders else ""
        cells = [
            row["files"],
            row["computation"],
            _told(seconds[PLAIN]),
            f"{_told(seconds[row['ours']])}{_marked(row['ours'], used)}",
            f"{_told(loaders[best])}{_marked(best, used)}" if best else "",
            _ratio(row["over_best_peer"]),
            f"{row['speedup']:.2f} of {row['attainable']:.2f}" if "eta" in row else "",
            f"{row['eta']:.3f}" if "eta" in row else "",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    overhead = {name: of["median"] * 1e6 for name, of in figures["overhead_seconds"].items()}
    peak = figures["peak"]
    lines += [
        "",
        "; ".join(f"{number}: {name}" for number, name in enumerate(used, 1)),
        "",
        "Speed-up and η are of one worker a stage on the spare core, over the plain loop.",
        f"A batch of no size costs {overhead[MANAGED]:.1f} µs through the data manager, {overhead[PLAIN]:.1f} µs in a "
        "plain loop (aim: 50 µs).",
        f"Memory grows by {peak['grown'] / peak['slots']:.3f} of depth times a batch (aim: 1.1).",
        "",
        AIM,
    ]
    return "\n".join(lines) + "\n"


def _marked(name: str, used: list[str]) -> str:
    """A number that stands for a way, told below the table."""
    if name not in used:
        used.append(name)
    return f" [{used.index(name) + 1}]"


def _ratio(of: dict[str, Any]) -> str:
    found = Interval(**of)
    return f"{found.median:.2f} ({found.low:.2f} to {found.high:.2f})"


def _told(of: dict[str, Any]) -> str:
    found = Interval(**of)
    return f"{found.median * 1e3:.2f} ({found.low * 1e3:.2f} to {found.high * 1e3:.2f})"
