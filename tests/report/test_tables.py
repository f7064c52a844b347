import math

import msgspec
import pytest

from layerbench import suite
from layerbench.records import Record
from layerbench.report import tables
from layerbench.stats import interval, median, sum_of
from layerbench.store import StoredRun
from tests.report import synthetic


def step_median(run: StoredRun, layer: str, nodes: int) -> float:
    return next(median(r.samples) for r in run.records if r.key == (layer, "step", nodes))


def test_one_row_for_each_record_with_statistics_of_its_samples() -> None:
    run = synthetic.run()
    frame = tables.records_frame(run)
    assert len(frame) == len(run.records) == 9 * 5 * 4
    assert set(Record.__struct_fields__) - {"samples"} <= set(frame.columns)
    for row, record in zip(tables.row_tuples(frame), run.records, strict=True):
        assert (row.layer, row.part, row.nodes) == record.key
        assert row.sample_count == len(record.samples)
        if record.samples:
            expected = interval(record.samples)
            assert (row.median, row.ci_low, row.ci_high) == expected[:3]
        if record.part == "forward":
            assert row.flops == pytest.approx(2 * record.macs / row.median)
            assert row.macs_per_byte == pytest.approx(record.macs / record.bytes)


def test_a_computed_time_has_no_interval() -> None:
    frame = tables.records_frame(synthetic.run())
    computed = frame[(frame["part"] == "communication") & (frame["nodes"] == 8)]
    assert (computed["median"] == computed["modelled_seconds"]).all()
    assert (computed["median"] > 0).all()
    assert computed["ci_low"].isna().all()
    assert (computed["ci_method"] == "none").all()
    assert computed["flops"].isna().all()


def test_a_failed_record_has_no_time() -> None:
    frame = tables.records_frame(synthetic.run(change=synthetic.failed("conv3", 4)))
    failed = frame[frame["status"] == "failed"]
    assert len(failed) == 5
    assert failed[["median", "ci_low", "ci_high", "flops"]].isna().all().all()


def test_frames_of_no_records_are_empty_and_have_all_columns() -> None:
    run = synthetic.run(change=lambda record: None)
    computed = tables.compute(run)
    assert len(computed.records) == 0
    assert {"layer", "median", "flops"} <= set(computed.records.columns)
    assert not computed.layer_types["complete"].any()
    assert computed.base_nodes is None


def test_a_types_time_is_the_sum_of_its_layers() -> None:
    run = synthetic.run()
    types = tables.layer_types(run).set_index(["kind", "nodes"])
    assert list(dict.fromkeys(types.index.get_level_values("kind"))) == ["conv", "fc", "lstm"]
    for kind, layers in (("conv", ["conv1", "conv2", "conv3", "conv4", "conv5"]), ("fc", ["fc6", "fc7", "fc8"])):
        for nodes in (1, 2, 4, 8):
            row = types.loc[(kind, nodes)]
            records = [r for r in run.records if r.part == "step" and r.layer in layers and r.nodes == nodes]
            expected = sum_of([interval(r.samples) for r in records])
            assert (row["seconds"], row["ci_low"], row["ci_high"]) == pytest.approx(expected[:3])
            assert row["layers"] == len(layers)
            assert row["complete"]


def test_strong_scaling_speed_up() -> None:
    run = synthetic.run()
    types = tables.layer_types(run).set_index(["kind", "nodes"])
    base = step_median(run, "lstm", 1)
    for nodes in (2, 4, 8):
        row = types.loc[("lstm", nodes)]
        assert row["speedup"] == pytest.approx(base / step_median(run, "lstm", nodes))
        assert row["efficiency"] == pytest.approx(row["speedup"] / nodes)
        assert row["speedup_low"] < row["speedup"] < row["speedup_high"]
        assert row["ideal"] == nodes
    assert tuple(types.loc[("lstm", 1), ["speedup", "speedup_low", "speedup_high"]]) == (1, 1, 1)


def test_weak_scaling_speed_up_is_scaled() -> None:
    run = synthetic.run(scaling="weak")
    types = tables.layer_types(run).set_index(["kind", "nodes"])
    base, at_8 = step_median(run, "lstm", 1), step_median(run, "lstm", 8)
    row = types.loc[("lstm", 8)]
    assert row["speedup"] == pytest.approx(8 * base / at_8)
    assert row["efficiency"] == pytest.approx(base / at_8)
    assert row["batch"] == 8 * 16


def test_the_smallest_count_is_the_base() -> None:
    run = synthetic.run(nodes=(2, 4, 8))
    computed = tables.compute(run)
    assert computed.base_nodes == 2
    row = computed.layer_types.set_index(["kind", "nodes"]).loc[("lstm", 8)]
    assert row["ideal"] == 4
    assert row["speedup"] == pytest.approx(step_median(run, "lstm", 2) / step_median(run, "lstm", 8))
    assert row["efficiency"] == pytest.approx(row["speedup"] / 4)


def test_communication_share() -> None:
    run = synthetic.run()
    types = tables.layer_types(run).set_index(["kind", "nodes"])
    assert types.loc[("fc", 1), "communication_share"] == 0
    modelled = sum(r.modelled_seconds for r in run.records if (r.kind, r.part, r.nodes) == ("fc", "communication", 8))
    row = types.loc[("fc", 8)]
    assert row["communication_seconds"] == pytest.approx(modelled)
    assert row["communication_share"] == pytest.approx(modelled / row["seconds"])


def test_placement_and_network() -> None:
    types = tables.layer_types(synthetic.run())
    emulated = types["nodes"] > 2
    assert (types.loc[emulated, "placement"] == "emulated").all()
    assert (types.loc[emulated, "network"] == "this-machine").all()
    assert (types.loc[~emulated, "placement"] == "measured").all()
    assert (types.loc[~emulated, "network"] == "").all()


def test_one_emulated_layer_makes_the_sum_emulated() -> None:
    def change(record: Record) -> Record:
        emulated = record.layer == "fc7" and record.nodes == 2
        return msgspec.structs.replace(record, placement="emulated", network="x") if emulated else record

    types = tables.layer_types(synthetic.run(change=change)).set_index(["kind", "nodes"])
    assert types.loc[("fc", 2), "placement"] == "emulated"
    assert types.loc[("conv", 2), "placement"] == "measured"


def leave_out(record: Record) -> Record | None:
    return None if (record.layer, record.nodes) == ("conv3", 4) else record


@pytest.mark.parametrize("how", ["failed", "left out"])
def test_an_incomplete_type_has_no_sum(how: str) -> None:
    run = synthetic.run(change=synthetic.failed("conv3", 4) if how == "failed" else leave_out)
    types = tables.layer_types(run).set_index(["kind", "nodes"])
    row = types.loc[("conv", 4)]
    assert not row["complete"]
    assert row["missing"] == "conv3"
    assert math.isnan(row["seconds"])
    assert math.isnan(row["speedup"])
    assert math.isnan(row["communication_share"])
    assert types.drop(index=("conv", 4))["complete"].all()


def test_a_count_that_was_never_reached_is_there_and_incomplete() -> None:
    run = synthetic.run(change=lambda record: record if record.nodes < 8 else None)
    at_8 = tables.layer_types(run).query("nodes == 8")
    assert len(at_8) == 3
    assert not at_8["complete"].any()
    assert (at_8["placement"] == "").all()


def test_no_speed_up_without_the_base() -> None:
    types = tables.layer_types(synthetic.run(change=synthetic.failed("fc6", 1)))
    fc = types[types["kind"] == "fc"]
    assert fc["speedup"].isna().all()
    assert fc.loc[fc["nodes"] > 1, "seconds"].notna().all()
    assert types.loc[types["kind"] != "fc", "speedup"].notna().all()


def test_noisy_steps_are_marked() -> None:
    def change(record: Record) -> Record:
        return msgspec.structs.replace(record, noisy=record.key == ("fc7", "step", 2))

    types = tables.layer_types(synthetic.run(change=change))
    noisy = types[types["noisy"]]
    assert list(zip(noisy["kind"], noisy["nodes"], strict=True)) == [("fc", 2)]


def test_few_samples_are_told() -> None:
    types = tables.layer_types(synthetic.run(samples=3))
    assert (types["ci_method"] == "range").all()


def test_intensity_is_that_of_the_shapes_at_the_runs_batch() -> None:
    frame = tables.intensity(synthetic.run(batch=128)).set_index("layer")
    assert list(frame.index) == [layer.name for layer in suite.load("alexnet").layers]
    assert frame.loc["conv2", "macs"] == 237895680000
    assert frame.loc["conv2", "macs_per_byte"] == pytest.approx(434.41, abs=0.005)
    assert frame.loc["fc6", "macs_per_byte"] == pytest.approx(30.62, abs=0.005)
    assert frame.loc["lstm", "macs_per_byte"] == pytest.approx(118.52, abs=0.005)
    assert frame.loc["lstm", "macs_per_byte_weights_reread"] == pytest.approx(21.3, abs=0.05)
    assert frame["macs_per_byte_weights_reread"].notna().sum() == 1
