"""From a layer to its records: counts are exact, and the ranks' gradients add up."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from layerbench.layers import FC, LSTM, Conv
from layerbench.partition import shares
from layerbench.records import Layout, Network, Placement
from layerbench.suite import memory_needed
from layerbench.task import Task, blank, share_memory
from tests.values import options

OPTIONS = options(nodes=[1, 4], batch=10)
NETWORK = Network(name="this-machine", alpha=1e-6, beta=1e-9)


def task(ranks: int, placement: Placement = "measured") -> Task:
    return Task(OPTIONS, ranks, ranks, placement, NETWORK if placement == "emulated" else None)


def test_uneven_shards_are_counted_exactly() -> None:
    layer = FC(name="fc", in_features=6, out_features=5)
    by = {record.part: record for record in blank(task(4), layer)}
    forward = by["forward"]
    assert (forward.batch, forward.local_batch) == (10, 3)
    assert forward.macs == 10 * 6 * 5
    assert forward.bytes == 4 * (10 * 6 + 10 * 5 + 4 * 6 * 5), "every rank reads all weights"
    assert by["communication"].bytes == 4 * 6 * 5
    assert by["communication"].macs == 0
    assert by["step"].macs == 3 * forward.macs


def test_a_first_layer_has_no_backward_data_in_its_step() -> None:
    layer = Conv(name="conv", input=(8, 8), in_channels=3, out_channels=4, filter=(3, 3), backward_data_in_step=False)
    by = {record.part: record for record in blank(task(1), layer)}
    assert not by["backward_data"].in_step
    assert by["backward_data"].macs == by["forward"].macs
    assert by["step"].macs == 2 * by["forward"].macs
    assert by["communication"].bytes == 0


def test_recurrent_layers_have_both_byte_counts() -> None:
    layer = LSTM(name="lstm", input_size=4, hidden_size=4, time_steps=5)
    by = {record.part: record for record in blank(task(1), layer)}
    assert by["forward"].bytes_weights_reread == layer.bytes_weights_reread(10)
    assert by["step"].bytes_weights_reread == 3 * layer.bytes_weights_reread(10)


def test_emulated_records_name_their_network() -> None:
    layer = FC(name="fc", in_features=6, out_features=5)
    assert {record.network for record in blank(task(4, "emulated"), layer)} == {"this-machine"}
    assert {record.network for record in blank(task(4), layer)} == {""}


def model_task(ranks: int, layout: str = "model", **layouts: Layout) -> Task:
    return Task(options(nodes=[ranks], batch=10, layout=layout), ranks, ranks, "measured", None, layouts=layouts)


def test_split_outputs_are_counted_share_by_share() -> None:
    layer = FC(name="fc", in_features=6, out_features=5)
    by = {record.part: record for record in blank(model_task(2), layer)}
    forward = by["forward"]
    assert forward.layout == "model"
    assert (forward.batch, forward.local_batch) == (10, 10), "every rank has all samples"
    assert forward.macs == 10 * 6 * 5
    assert forward.bytes == 4 * (2 * 10 * 6 + 10 * 5 + 6 * 5), "every rank reads the input, and its own weights"
    assert by["communication"].bytes == 4 * (10 * 5 + 10 * 6)


def test_units_of_an_lstm_count_the_states_of_all_that_they_read() -> None:
    layer = LSTM(name="lstm", input_size=3, hidden_size=4, time_steps=5)
    by = {record.part: record for record in blank(model_task(2), layer)}
    weights = 4 * 4 * (3 + 4)
    own = 5 * 10 * (3 + 2)
    assert by["forward"].kind == "lstm"
    assert by["forward"].bytes == 4 * (weights + 2 * (own + 5 * 10 * 2))
    assert by["forward"].macs == layer.macs(10)
    state, steps = 4 * 10 * 4, 5
    assert by["communication"].bytes == steps * state + (steps - 1) * state + 4 * 5 * 10 * 3


def test_a_layer_has_the_layout_that_was_chosen_for_it() -> None:
    one, two = (FC(name=name, in_features=6, out_features=5) for name in ("one", "two"))
    task = model_task(2, "best", two="model")
    assert (task.layout(one), task.layout(two)) == ("data", "model")
    assert [share.samples.batch for share in task.shares(one)] == [5, 5]
    assert [share.outputs.batch for share in task.shares(two)] == [3, 2]
    assert (task.splits_outputs(one), task.splits_outputs(two)) == (False, True)
    assert not model_task(1).splits_outputs(one)


def test_memory_counts_what_is_gathered_and_what_a_share_is_cut_from() -> None:
    wide = FC(name="wide", in_features=4, out_features=4000)
    (share, _) = shares(wide, 10, 2, "model")
    assert share.layer is not None
    assert share_memory(wide, share, 2, "model", options()) == memory_needed(share.layer, 10, "fp32") + 4 * 10 * 4000
    tall = FC(name="tall", in_features=4000, out_features=100)
    last = shares(tall, 1, 100, "model")[-1]
    assert last.layer is not None
    assert share_memory(tall, last, 100, "model", options()) == tall.bytes(1) + last.layer.bytes(1)
    (of_data, _) = shares(wide, 10, 2, "data")
    assert share_memory(wide, of_data, 2, "data", options()) == memory_needed(wide, 5, "fp32")


GRADIENT = """
import sys
import numpy as np
from layerbench import verify
from layerbench.collectives import MPIRanks
from layerbench.kernel import Budget, Job
from layerbench.registry import named
from layerbench.layers import FC, LSTM, Conv
from layerbench.partition import split

BATCH = 7
ranks = MPIRanks()
kernel = named(sys.argv[1])
for layer in (
    Conv(name="c", input=(9, 7), in_channels=6, out_channels=8, filter=(3, 2), stride=(2, 1), padding=(1, 1), groups=2),
    FC(name="f", in_features=33, out_features=17),
    LSTM(name="l", input_size=12, hidden_size=16, time_steps=6),
):
    shard = split(BATCH, ranks.size)[ranks.rank]
    mine = verify.tensors(layer, "fp32", 3, shard.start, shard.stop)
    job = Job(layer, shard.batch, "fp32")
    choices = ranks.broadcast(kernel.search(job, mine, Budget()) if ranks.rank == 0 else None)
    prepared = kernel.prepare(job, mine, choices)
    for pass_ in ("forward", "backward_data", "backward_weights"):
        prepared.run[pass_]()
    ranks.all_reduce(prepared.gradient)()
    summed = prepared.results("backward_weights")

    whole = verify.tensors(layer, "fp32", 3, 0, BATCH)
    alone = kernel.prepare(Job(layer, BATCH, "fp32"), whole, choices)
    for pass_ in ("forward", "backward_data", "backward_weights"):
        alone.run[pass_]()
    for name, expected in alone.results("backward_weights").items():
        error = np.linalg.norm(summed[name] - expected) / np.linalg.norm(expected)
        assert error < 1e-6, (layer.name, name, error)
        if shard.batch < BATCH:
            own = kernel.prepare(job, mine, choices)
            own.run["backward_weights"]()
            part = own.results("backward_weights")[name]
            assert np.linalg.norm(part - expected) / np.linalg.norm(expected) > 1e-2, "a shard is not the whole"
print("equal")
"""


@pytest.mark.mpi
@pytest.mark.parametrize("kernel", ["numpy", "onednn", "pytorch"])
def test_all_reduced_gradient_is_the_gradient_of_the_whole_batch(kernel: str, mpiexec: str, tmp_path: Path) -> None:
    from layerbench.registry import named

    availability = named(kernel).availability()
    if not availability.ok:
        pytest.skip(f"{kernel}: {availability.reason}")
    script = tmp_path / "gradient.py"
    script.write_text(GRADIENT)
    done = subprocess.run(
        [mpiexec, "-n", "2", sys.executable, str(script), kernel], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("equal") == 2, "both ranks came to their end"
