"""Layers split by outputs over real ranks: what these have together is what one rank computes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from layerbench.registry import named

pytestmark = pytest.mark.mpi

SPLIT = """
import sys
import numpy as np
from layerbench import step, verify
from layerbench.collectives import MPIRanks
from layerbench.kernel import Budget, Job
from layerbench.registry import named
from layerbench.layers import FC, LSTM, PASSES, Conv
from layerbench.partition import exchanges, shares
from layerbench.slices import of_share, whole
from layerbench.split import Rank, search_split

BATCH = 5
ranks = MPIRanks()
kernel = named(sys.argv[1])
once = Budget(runs=1)
for layer in (
    Conv(name="c", input=(9, 7), in_channels=6, out_channels=11, filter=(3, 2), stride=(2, 1), padding=(1, 1)),
    Conv(name="g", input=(9, 7), in_channels=8, out_channels=12, filter=(3, 2), padding=(1, 0), groups=4),
    FC(name="f", in_features=33, out_features=17),
    LSTM(name="l", input_size=12, hidden_size=16, time_steps=6),
):
    tensors = lambda samples: verify.tensors(layer, "fp32", 3, 0, samples)
    every = [
        Rank(Job(share.layer, BATCH, "fp32", first_unit=share.outputs.start), share)
        for share in shares(layer, BATCH, ranks.size, "model")
    ]
    own = of_share(layer, every[0].share, tensors(BATCH))
    choices = ranks.broadcast(search_split(kernel, layer, every, own, tensors, once) if ranks.rank == 0 else None)
    mine = every[ranks.rank]
    prepared = kernel.prepare(mine.job, of_share(layer, mine.share, tensors(BATCH)), choices[mine.size])
    prepared.poison()
    pieces = step.segments(layer, mine.share, "model", ranks.size, prepared)
    calls, exchanged = step.calls(layer, pieces, PASSES, ranks.all_gather(step.elements(pieces)), ranks)
    for call in calls * 2:
        call.run()
    told = exchanges(layer, BATCH, ranks.size, "model", "fp32")
    assert [each.operation for each in exchanged] == [each.operation for each in told for _ in range(each.times)]
    assert all(found.bytes >= each.size for found, each in zip(exchanged, [e for e in told for _ in range(e.times)]))

    job = Job(layer, BATCH, "fp32")
    alone = kernel.prepare(job, tensors(BATCH), kernel.search(job, tensors(BATCH), once))
    for pass_ in PASSES:
        alone.run[pass_]()
    for pass_ in PASSES:
        found = whole(layer, pass_, ranks.all_gather(prepared.results(pass_)))
        for name, expected in alone.results(pass_).items():
            assert found[name].shape == expected.shape, (layer.name, name)
            error = np.linalg.norm(found[name] - expected) / np.linalg.norm(expected)
            assert error < kernel.error_limit("fp32", choices[every[0].size][pass_]), (layer.name, name, error)
            own = prepared.results(pass_)[name]
            assert own.shape != expected.shape or np.array_equal(own, found[name]), (layer.name, name)
print("equal")
"""


@pytest.mark.parametrize("ranks", [2, 3])
@pytest.mark.parametrize("kernel", ["numpy", "onednn"])
def test_ranks_together_have_what_one_computes(kernel: str, ranks: int, mpiexec: str, tmp_path: Path) -> None:
    availability = named(kernel).availability()
    if not availability.ok:
        pytest.skip(f"{kernel}: {availability.reason}")
    script = tmp_path / "split.py"
    script.write_text(SPLIT)
    done = subprocess.run(
        [mpiexec, "-n", str(ranks), sys.executable, str(script), kernel],
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("equal") == ranks, "every rank came to its end"
