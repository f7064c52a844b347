from __future__ import annotations

import time
from collections import Counter
from dataclasses import replace

import msgspec
import pytest

from layerbench.errors import UsageError
from layerbench.layers import LSTM, PASSES
from layerbench.machine import Exchanged, KernelPoint, Link, exact
from layerbench.predict.draws import Draws, interval
from layerbench.predict.layer_times import Place
from layerbench.predict.prediction import ALL, Prediction, model_of, predict
from layerbench.predict.shard import largest
from layerbench.records import PARTS, Record
from tests.predict.made import ALPHA, BETA, LAYERS, World, machine, manifest, question

CONV, FC, RECURRENT = LAYERS[2], LAYERS[5], LAYERS[8]


def step(found: Prediction, layer: str, nodes: int) -> float:
    return next(row.seconds for row in found.steps() if (row.layer, row.nodes) == (layer, nodes))


@pytest.fixture(scope="module")
def calibrated() -> Prediction:
    records = World(3).records((1, 2, 4), 2)
    return predict(question((1, 2, 4, 8, 16, 64, 128), records))


def test_every_part_of_every_layer_at_every_count_has_a_row(calibrated: Prediction) -> None:
    asked = calibrated.question
    keys = Counter((row.layer, row.part, row.nodes) for row in calibrated.rows)
    assert set(keys) == {(layer.name, part, count) for layer in asked.layers for part in PARTS for count in asked.nodes}
    assert set(keys.values()) == {1}
    assert all(0 <= row.low <= row.seconds <= row.high for row in calibrated.rows)


def test_a_step_is_its_passes_and_what_is_exchanged(calibrated: Prediction) -> None:
    world = World(3)
    for layer in LAYERS:
        for count in (1, 2, 4, 8):
            there = {row.part: row for row in calibrated.rows if (row.layer, row.nodes) == (layer.name, count)}
            passes = sum(
                there[pass_].seconds for pass_ in PASSES if pass_ != "backward_data" or layer.backward_data_in_step
            )
            exchange = there["step"].seconds - passes
            assert exchange == pytest.approx(world.exchange(layer, "data", 64, count), rel=0.2, abs=0.01 * passes)
            assert exchange <= there["communication"].seconds + 1e-12


def test_a_law_is_predicted_at_twice_the_range_and_far_beyond(calibrated: Prediction) -> None:
    world = World(3)
    errors = [
        abs(step(calibrated, layer.name, count) / world.step(layer, "data", 64, count)["step"] - 1)
        for layer in LAYERS
        for count in (8, 16, 64)
    ]
    assert sorted(errors)[len(errors) // 2] < 0.03
    assert max(errors) < 0.15


@pytest.mark.parametrize(("own", "noise"), [(0.02, 0.02), (0.04, 0.05)])
def test_intervals_hold_the_truth_about_nine_times_in_ten(own: float, noise: float) -> None:
    held = []
    for seed in range(8):
        world = World(seed, own=own, noise=noise)
        asked = question((8, 16), world.records((1, 2, 4), 2))
        model, _ = model_of(asked, Draws(seed))
        for layer in asked.layers:
            times = model.layer(layer, "data", [Place(count, 64) for count in asked.nodes])
            for column, count in enumerate(asked.nodes):
                truth = world.step(layer, "data", 64, count)
                for pass_ in PASSES:
                    low, high = interval(times.passes[pass_][:, column])
                    held.append(low <= truth[pass_] <= high)
    assert 0.84 <= sum(held) / len(held) <= 0.98


def test_the_same_seed_gives_the_same_intervals() -> None:
    records = World(1).records((1, 2), 2, layers=[FC])
    asked = question((4, 8), records, layers=[FC])
    assert predict(asked).rows == predict(asked).rows
    assert predict(replace(asked, seed=1)).rows != predict(asked).rows


def test_a_prediction_is_quick() -> None:
    records = World(0).records((1, 2, 4, 8), 2)
    begin = time.process_time()
    predict(question(tuple(2**power for power in range(13)), records), each_layer=True)
    # A busy machine may take long for it; the work itself is half a second.
    assert time.process_time() - begin < 6


def test_evidence_of_any_kernel_helps_a_layer_that_was_not_measured() -> None:
    """A run without a layer's records: others of its type and pass tell of it, and that is said."""
    world = World(5)
    records = [record for record in world.records((1, 2), 2) if record.layer != "conv3"]
    found = predict(question((1, 2), records))
    assert found.sources["conv3"] == {"class"}
    assert found.sources["conv2"] == {"layer"}
    assert step(found, "conv3", 2) == pytest.approx(world.step(CONV, "data", 64, 2)["step"], rel=0.35)


def test_kernels_of_a_calibrated_machine_are_evidence() -> None:
    world = World(6)
    points = [
        KernelPoint(layer=FC, pass_=pass_, batch=batch, dtype="fp32", seconds=taken, low=taken, high=taken)
        for pass_ in PASSES
        for batch in (8, 64)
        for taken in [world.seconds(FC, FC, pass_, batch)]
    ]
    found = predict(question((1, 2), machine=machine(kernels=points)))
    assert found.sources["fc6"] == {"layer"}
    assert found.sources["fc7"] == {"class"}
    assert found.sources["conv1"] == {"published"}
    assert step(found, "fc6", 1) == pytest.approx(world.step(FC, "data", 64, 1)["step"], rel=0.05)


def test_published_devices_are_what_is_left_and_their_error_is_told() -> None:
    found = predict(question((1,), layers=[CONV]))
    row = next(row for row in found.rows if row.part == "forward")
    assert row.seconds == pytest.approx(2 * 2 * CONV.macs(64) / 2e11, rel=1e-6)
    assert row.high / row.low == pytest.approx(2.68, rel=0.15)  # exp(2 · 1.645 · 0.3)


def test_a_machines_own_intervals_widen_what_rests_on_it_alone() -> None:
    known = predict(question((1,), layers=[CONV]))
    doubtful = msgspec.structs.replace(exact(2e11), low=1e11, high=4e11)
    unsure = predict(question((1,), layers=[CONV], machine=machine(peak={"fp32": doubtful})))
    assert _width(unsure) > 1.4 * _width(known)


def _width(found: Prediction) -> float:
    row = next(row for row in found.rows if row.part == "forward")
    return row.high / row.low


def test_records_in_another_dtype_tell_nothing() -> None:
    records = [msgspec.structs.replace(record, dtype="fp64") for record in World().records((1, 2), 2)]
    assert predict(question((1, 2), records)).sources["conv1"] == {"published"}


def test_ranks_without_a_sample_are_told_and_the_time_is_that_of_the_others(calibrated: Prediction) -> None:
    beyond = [row for row in calibrated.rows if row.nodes == 128]
    assert {row.idle_ranks for row in beyond} == {64}
    assert {row.idle_ranks for row in calibrated.rows if row.nodes <= 64} == {0}
    assert step(calibrated, "conv3", 128) == pytest.approx(step(calibrated, "conv3", 64))


def test_ranks_without_an_output_are_told_in_the_model_layout() -> None:
    found = predict(question((64, 128, 256), layers=[CONV, RECURRENT], layout="model"))
    assert {(row.layer, row.nodes): row.idle_ranks for row in found.steps()} == {
        ("conv3", 64): 0,
        ("conv3", 128): 0,
        ("conv3", 256): 0,
        ("lstm", 64): 0,
        ("lstm", 128): 0,
        ("lstm", 256): 128,
    }
    assert isinstance(RECURRENT, LSTM)
    assert RECURRENT.hidden_size == 128


def test_what_lies_beyond_eight_times_the_range_is_marked() -> None:
    records = World().records((1, 2), 2, batch=256)
    found = predict(question((1, 2, 16, 17), records, batch=256))
    assert {row.nodes for row in found.rows if row.extrapolated} == {17}
    less = predict(question((1,), records, batch=15))
    assert all(row.extrapolated for row in less.rows)
    enough = predict(question((1,), records, batch=16))
    assert not any(row.extrapolated for row in enough.rows)
    more = predict(question((1,), records, batch=8 * 256 + 1))
    assert all(row.extrapolated for row in more.rows)


def test_where_no_count_was_measured_the_range_is_that_of_the_network() -> None:
    records = [record for record in World().records((4, 8), 1) if record.nodes > 1]
    swept = Exchanged(operation="all_reduce", ranks=2, bytes=1024, seconds=1e-5, low=1e-5, high=1e-5)
    made = machine(between=Link(alpha=exact(ALPHA), beta=exact(BETA), sweeps=[swept]))
    found = predict(question((8, 16, 32), records, machine=made))
    assert {row.nodes for row in found.steps() if row.extrapolated} == {32}


def test_weak_scaling_keeps_a_ranks_work() -> None:
    records = World().records((1, 2), 2, layers=[CONV])
    found = predict(question((1, 2, 8), records, layers=[CONV], scaling="weak"))
    forward = {row.nodes: row.seconds for row in found.rows if row.part == "forward"}
    assert forward[8] == pytest.approx(forward[1], rel=0.05)
    assert found.types[-1].efficiency == pytest.approx(step(found, "conv3", 1) / step(found, "conv3", 8))


def test_overlap_hides_communication_in_part_or_whole() -> None:
    steps = {overlap: predict(question((8,), overlap=overlap)).totals[0].seconds for overlap in (0.0, 0.5, 1.0)}
    assert steps[0.0] > steps[0.5] > steps[1.0]
    assert steps[0.0] - steps[0.5] == pytest.approx(steps[0.5] - steps[1.0], rel=1e-6)
    alone = [predict(question((8,), layers=[FC], overlap=overlap)).totals[0].seconds for overlap in (0.0, 1.0)]
    assert alone[0] == alone[1]


def test_the_best_layouts_are_never_worse_than_one_for_all() -> None:
    for overlap in (0.0, 0.9):
        found = predict(question((1, 2, 8, 64), layout="best", overlap=overlap))
        totals = {(total.layout, total.nodes): total.seconds for total in found.totals}
        for count in (1, 2, 8, 64):
            assert totals["best", count] <= min(totals["data", count], totals["model", count]) * (1 + 1e-9)
    assert {row.layout for row in found.steps()} == {"data", "model"}
    assert {row.layout for row in found.steps() if row.nodes == 1} == {"data"}


def test_a_step_behind_a_change_of_layout_includes_the_change() -> None:
    best = predict(question((8,), layout="best"))
    model = predict(question((8,), layout="model"))
    layouts = {row.layer: row.layout for row in best.steps()}
    assert (layouts["conv5"], layouts["fc6"]) == ("data", "model")
    assert step(best, "fc6", 8) > step(model, "fc6", 8)
    assert step(best, "fc7", 8) == pytest.approx(step(model, "fc7", 8))


def test_the_layout_that_a_run_was_measured_in_is_predicted_as_measured() -> None:
    world = World(7, noise=0.005)
    fc = [layer for layer in LAYERS if layer.kind == "fc"]
    records = world.records((1, 2, 4), 4, layers=fc, layout="model")
    found = predict(question((1, 2, 4, 8), records, layers=fc, layout="model"))
    for layer in fc:
        for count, error in ((1, 0.04), (2, 0.04), (4, 0.04), (8, 0.15)):
            truth = world.step(layer, "model", 64, count)["step"]
            assert step(found, layer.name, count) == pytest.approx(truth, rel=error)


def test_a_run_that_needed_no_network_model_tells_of_its_network() -> None:
    bare = machine(between=None, no_network="all counts were measured")
    world = World(8)
    found = predict(question((1, 2, 4, 8), world.records((1, 2, 4), 4), machine=bare))
    truth = world.step(FC, "data", 64, 8)["step"]
    assert step(found, "fc6", 8) == pytest.approx(truth, rel=0.1)
    with pytest.raises(UsageError, match="all counts were measured"):
        predict(question((1, 2), machine=bare))
    assert predict(question((1,), machine=bare)).rows


def test_a_machine_without_the_dtype_says_which_it_has() -> None:
    with pytest.raises(UsageError, match=r"bf16.*fp32"):
        question((1,), dtype="bf16")


def test_exchanges_at_other_ranks_per_node_are_not_fitted_to() -> None:
    records = World(network_factor=3.0).records((1, 2), 2)
    assert predict(question((2,), records)).factors
    found = predict(question((2,), records, ranks_per_node=2))
    assert found.factors == {}


def test_failed_records_are_no_evidence() -> None:
    def failed(record: Record) -> Record:
        return msgspec.structs.replace(record, status="failed", samples=[], reason="no memory")

    records = [failed(record) if record.layer == "fc6" else record for record in World().records((1, 2), 2)]
    assert predict(question((1, 2), records)).sources["fc6"] == {"class"}


def test_shares_are_the_largest_and_as_many_ranks_work_as_can() -> None:
    share = largest(FC, "data", 3, 2, 16, "strong")
    assert (share.local_batch, share.ranks, share.nodes, share.idle_ranks) == (3, 6, 3, 0)
    alone = largest(FC, "data", 8, 2, 5, "strong")
    assert (alone.local_batch, alone.ranks, alone.nodes, alone.idle_ranks) == (1, 5, 3, 11)
    assert largest(FC, "data", 4, 2, 16, "weak").batch == 64
    narrow = largest(FC, "model", 3, 1, 16, "strong")
    assert (narrow.local_batch, narrow.computed.weights) == (16, 9216 * 1366)


def test_the_manifest_of_the_made_run_is_one_of_the_schema() -> None:
    assert msgspec.json.decode(msgspec.json.encode(manifest((1, 2))), type=type(manifest((1,)))) == manifest((1, 2))


def test_all_layers_together_are_the_sum_of_their_steps_and_of_changes_of_layout() -> None:
    for layout in ("data", "best"):
        found = predict(question(layout=layout))
        assert found.kinds[-1] == ALL
        totals = {total.nodes: total.seconds for total in found.totals if total.layout == layout}
        assert {row.nodes: row.seconds for row in found.of_kind(ALL)} == pytest.approx(totals)
    alone = predict(question(layers=[layer for layer in LAYERS if layer.kind == "fc"]))
    assert alone.kinds == ["fc"], "one type is all there is"


def test_communication_takes_over_at_the_same_count_whatever_counts_are_asked_for() -> None:
    made = machine()
    assert made.between is not None
    slow = msgspec.structs.replace(made, between=msgspec.structs.replace(made.between, beta=exact(100 * BETA)))
    taken = {}
    for nodes in (tuple(range(1, 65)), (1, 64), (1, 2, 4, 32)):
        found = predict(question(nodes, machine=slow, layers=[CONV]))
        taken[nodes] = found.of_types[0].takeover.nodes
    (count,) = set(taken.values())
    assert count is not None
    assert 2 < count < 32


def test_what_was_not_measured_is_nowhere_quicker_than_the_roofline() -> None:
    made = machine()
    for row in predict(question()).rows:
        if row.part in PASSES and row.nodes == 1:
            (layer,) = (layer for layer in LAYERS if layer.name == row.layer)
            assert row.low >= 2 * layer.macs(64) / made.peak["fp32"].value
