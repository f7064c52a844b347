"""Jobs at random: with curves that scale, that do not, that rise again, that have gaps or a single count."""

from __future__ import annotations

import math
import random

from hypothesis import strategies as st

from layerbench.schedule.jobs import Job


@st.composite
def curves(draw: st.DrawFn, most: int) -> list[tuple[int, float]]:
    """Any counts from 1 to ``most``, and any times."""
    counts = draw(st.lists(st.integers(1, most), min_size=1, max_size=5, unique=True))
    times = st.floats(0.01, 100.0, allow_nan=False) | st.sampled_from([1.0, 2.0, 3.0, 4.0])
    return [(count, draw(times)) for count in counts]


@st.composite
def workloads(draw: st.DrawFn, jobs: int = 8, nodes: int = 8) -> tuple[list[Job], int]:
    """Some jobs, and nodes enough for each."""
    most = draw(st.integers(1, nodes))
    number = draw(st.integers(1, jobs))
    return [Job.of(f"job {i}", f"type {i % 3}", draw(curves(most))) for i in range(number)], most


def realistic(seed: int, jobs: int, nodes: int) -> list[Job]:
    """Jobs as measurements give them: power laws, Amdahl's law, a term for communication, superlinear, noisy."""
    source = random.Random(seed)
    made = []
    for number in range(jobs):
        kind = source.choice(["conv", "fc", "lstm", "amdahl", "superlinear"])
        work, serial = math.exp(source.uniform(2, 6)), source.uniform(0.0, 0.4)
        laws = {
            "conv": lambda n, _: 1 / n + 0.002 * math.log2(n),
            "fc": lambda n, s: 1 / n + s * (n - 1) / n,
            "lstm": lambda n, s: (1 - s) / n + s / n**0.3 + 0.01 * math.log2(n),
            "amdahl": lambda n, s: s + (1 - s) / n,
            "superlinear": lambda n, _: n**-1.05 if n <= 8 else 8**-1.05 * (8 / n) ** 0.6,
        }
        counts = [2**i for i in range(nodes.bit_length()) if 2**i <= nodes]
        curve = [(n, work * laws[kind](n, serial) * source.uniform(0.95, 1.05)) for n in counts]
        made.append(Job.of(f"{kind} {number}", kind, curve))
    return made
