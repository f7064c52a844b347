"""A program for ranks: the training step of a small network with and without overlap, batch by batch, bit for bit.

    python stepping.py STEPS METHOD PROGRESS

At depths of 1 to 4 in turn; every stage, every gradient and every call between passes is delayed at random.
"""

from __future__ import annotations

import random
import sys
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from mpi4py import MPI

from layerbench.collectives import MPIRanks
from layerbench.datamanager import Arrays, BlockingExchange, DataManager, GradientExchange, Normalise
from layerbench.datamanager.sequential import batches
from layerbench.datamanager.source import Piece, Source, Stage
from layerbench.layers import FC, Conv
from layerbench.timeline import Timeline
from layerbench.training import prepare_step
from layerbench.training_step import TrainingStep

BATCH = 3
LAYERS = (
    Conv(
        name="conv1", input=(9, 9), in_channels=3, out_channels=4, filter=(3, 3), padding=(1, 1),
        backward_data_in_step=False,
    ),
    Conv(name="conv2", input=(9, 9), in_channels=4, out_channels=5, filter=(3, 3), padding=(0, 0)),
    FC(name="fc3", in_features=5 * 4 * 4, out_features=30),
    FC(name="fc4", in_features=30, out_features=7),
)  # fmt: skip
BUCKET, FIRST = 2000, 900
"""Bytes, so that some gradients share a bucket and others have their own."""

LONGEST = 3e-4
"""Seconds of a delay."""


class Dawdling:
    """A source whose stages, and whose plan, take longer or shorter by chance."""

    def __init__(self, source: Source, seed: int) -> None:
        self._source = source
        self._random = random.Random(seed)
        self.fields, self.batch_size, self.batches = source.fields, source.batch_size, source.batches
        read = Stage("read", lambda value, out: (self.dawdle(), value)[1], workers=2)
        slow = [replace(stage, run=self._slowed(stage), workers=2) for stage in source.stages]
        self.stages: Sequence[Stage] = [read, *slow]

    def dawdle(self) -> None:
        if self._random.random() < 0.3:
            time.sleep(self._random.random() * LONGEST)

    def _slowed(self, stage: Stage) -> Callable[..., Any]:
        def run(value: Any, out: Any) -> Any:
            # What was there before must not be taken for what is to come.
            for array in out:
                array.fill(-1e30)
            self.dawdle()
            found = stage.run(value, out)
            self.dawdle()
            return found

        return run

    def plan(self) -> Iterator[Sequence[Piece]]:
        for pieces in self._source.plan():
            self.dawdle()
            yield pieces

    def close(self) -> None:
        self._source.close()


def source(rank: int, ranks: int, steps: int) -> Arrays:
    """Images of bytes: other ones in every batch, and on every rank."""
    pixels = np.random.default_rng(rank).integers(0, 256, (steps * BATCH, 3, 9, 9), dtype=np.uint8)
    return Arrays(pixels, batch_size=BATCH, dtypes=[np.float32], normalise=[Normalise(0.5, 0.25, divisor=255)])


def seen(step: TrainingStep) -> list[int]:
    """Checksums of activations and gradients."""
    arrays = [*step.activations().values(), *step.gradients]
    return [zlib.crc32(np.ascontiguousarray(array).view(np.uint8).data) for array in arrays]


def main(steps: int, method: str, progress: str) -> None:
    world = MPI.COMM_WORLD
    ranks = MPIRanks(world)
    communicator = world if ranks.size > 1 else None
    blocking = "ordered" if method == "ordered" else "auto"
    with prepare_step(LAYERS, BATCH, ranks, kernels_name="auto", seed=3) as step:
        implicit = []
        with BlockingExchange(step.gradients, communicator, method=blocking) as exchange:
            for arrays in batches(source(ranks.rank, ranks.size, steps)):
                step.forward(arrays)
                step.backward(exchange.ready, exchange.progress)
                exchange.wait()
                implicit.append(seen(step))
        assert len({tuple(each) for each in implicit}) == steps, "every batch gives other numbers"
        for depth in (1, 2, 3, 4):
            chance = random.Random(100 * depth + ranks.rank)
            timeline = Timeline()

            def pause(chance: random.Random = chance) -> None:
                if chance.random() < 0.1:
                    time.sleep(chance.random() * LONGEST)

            slow = Dawdling(source(ranks.rank, ranks.size, steps), depth)
            with (
                GradientExchange(
                    step.gradients, communicator, bucket_bytes=BUCKET, first_bytes=FIRST, method=method,
                    progress=progress, timeline=timeline,
                ) as explicit,
                DataManager(slow, depth=depth, timeline=timeline) as manager,
            ):  # fmt: skip

                def ready(index: int, explicit: GradientExchange = explicit, pause: Callable[[], None] = pause) -> None:
                    pause()
                    explicit.ready(index)

                def between(explicit: GradientExchange = explicit, pause: Callable[[], None] = pause) -> None:
                    pause()
                    explicit.progress()

                found = []
                for batch in manager:
                    step.forward(batch)
                    step.backward(ready, between)
                    explicit.wait()
                    found.append(seen(step))
            differing = [step for step, (one, other) in enumerate(zip(found, implicit, strict=True)) if one != other]
            assert not differing, f"depth {depth}: steps {differing[:10]} differ"
    print("done", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3])
