import math
from pathlib import Path

import msgspec
import pytest

from layerbench import suite
from layerbench.records import Record, Roofline
from layerbench.report import columns, tables
from layerbench.report.columns import row_tuples
from layerbench.stats import interval, median, sum_of
from layerbench.store import StoredRun
from tests.report import synthetic


def step_median(run: StoredRun, layer: str, nodes: int) -> float:
    return next(median(r.samples) for r in run.records if r.key == (layer, "step", nodes))


def test_one_row_for_each_record_with_statistics_of_its_samples() -> None:
    run = synthetic.run()
    frame = tables.records_frame(run)
    assert len(frame) == len(run.records) == 9 * 5 * 4
    assert set(Record.__struct_fields__) - {"samples", "rank_medians", "conditions"} <= set(frame.columns)
    for row, record in zip(row_tuples(frame), run.records, strict=True):
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
    computed = tables.of_run(run)
    assert len(computed.records) == 0
    assert {"layer", "median", "flops"} <= set(computed.records.columns)
    assert not computed.layer_types["complete"].any()
    assert computed.base_nodes is None


def test_a_types_time_is_the_sum_of_its_layers() -> None:
    run = synthetic.run()
    types = tables.of_run(run).layer_types.set_index(["kind", "nodes"])
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
    types = tables.of_run(run).layer_types.set_index(["kind", "nodes"])
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
    types = tables.of_run(run).layer_types.set_index(["kind", "nodes"])
    base, at_8 = step_median(run, "lstm", 1), step_median(run, "lstm", 8)
    row = types.loc[("lstm", 8)]
    assert row["speedup"] == pytest.approx(8 * base / at_8)
    assert row["efficiency"] == pytest.approx(base / at_8)
    assert row["batch"] == 8 * 16


def test_the_smallest_count_is_the_base() -> None:
    run = synthetic.run(nodes=(2, 4, 8))
    computed = tables.of_run(run)
    assert computed.base_nodes == 2
    row = computed.layer_types.set_index(["kind", "nodes"]).loc[("lstm", 8)]
    assert row["ideal"] == 4
    assert row["speedup"] == pytest.approx(step_median(run, "lstm", 2) / step_median(run, "lstm", 8))
    assert row["efficiency"] == pytest.approx(row["speedup"] / 4)


def test_communication_share() -> None:
    run = synthetic.run()
    types = tables.of_run(run).layer_types.set_index(["kind", "nodes"])
    assert types.loc[("fc", 1), "communication_share"] == 0
    modelled = sum(r.modelled_seconds for r in run.records if (r.kind, r.part, r.nodes) == ("fc", "communication", 8))
    row = types.loc[("fc", 8)]
    assert row["communication_seconds"] == pytest.approx(modelled)
    assert row["communication_share"] == pytest.approx(modelled / row["seconds"])


def test_placement_and_network() -> None:
    types = tables.of_run(synthetic.run()).layer_types
    emulated = types["nodes"] > 2
    assert (types.loc[emulated, "placement"] == "emulated").all()
    assert (types.loc[emulated, "network"] == "this-machine").all()
    assert (types.loc[~emulated, "placement"] == "measured").all()
    assert (types.loc[~emulated, "network"] == "").all()


def test_one_emulated_layer_makes_the_sum_emulated() -> None:
    def change(record: Record) -> Record:
        emulated = record.layer == "fc7" and record.nodes == 2
        return msgspec.structs.replace(record, placement="emulated", network="x") if emulated else record

    types = tables.of_run(synthetic.run(change=change)).layer_types.set_index(["kind", "nodes"])
    assert types.loc[("fc", 2), "placement"] == "emulated"
    assert types.loc[("conv", 2), "placement"] == "measured"


def leave_out(record: Record) -> Record | None:
    return None if (record.layer, record.nodes) == ("conv3", 4) else record


@pytest.mark.parametrize("how", ["failed", "left out"])
def test_an_incomplete_type_has_no_sum(how: str) -> None:
    run = synthetic.run(change=synthetic.failed("conv3", 4) if how == "failed" else leave_out)
    types = tables.of_run(run).layer_types.set_index(["kind", "nodes"])
    row = types.loc[("conv", 4)]
    assert not row["complete"]
    assert row["missing"] == "conv3"
    assert math.isnan(row["seconds"])
    assert math.isnan(row["speedup"])
    assert math.isnan(row["communication_share"])
    assert types.drop(index=("conv", 4))["complete"].all()


def test_a_count_that_was_never_reached_is_there_and_incomplete() -> None:
    run = synthetic.run(change=lambda record: record if record.nodes < 8 else None)
    at_8 = tables.of_run(run).layer_types.query("nodes == 8")
    assert len(at_8) == 3
    assert not at_8["complete"].any()
    assert (at_8["placement"] == "").all()


def test_no_speed_up_without_the_base() -> None:
    types = tables.of_run(synthetic.run(change=synthetic.failed("fc6", 1))).layer_types
    fc = types[types["kind"] == "fc"]
    assert fc["speedup"].isna().all()
    assert fc.loc[fc["nodes"] > 1, "seconds"].notna().all()
    assert types.loc[types["kind"] != "fc", "speedup"].notna().all()


def test_noisy_steps_are_marked() -> None:
    def change(record: Record) -> Record:
        return msgspec.structs.replace(record, noisy=record.key == ("fc7", "step", 2))

    types = tables.of_run(synthetic.run(change=change)).layer_types
    noisy = types[types["noisy"]]
    assert list(zip(noisy["kind"], noisy["nodes"], strict=True)) == [("fc", 2)]


def test_few_samples_are_told() -> None:
    types = tables.of_run(synthetic.run(samples=3)).layer_types
    assert (types["ci_method"] == "range").all()


def test_intensity_is_that_of_the_shapes_at_the_runs_batch() -> None:
    frame = tables.of_run(synthetic.run(batch=128)).layers.set_index("layer")
    assert list(frame.index) == [layer.name for layer in suite.load("alexnet").layers]
    assert frame.loc["conv2", "macs"] == 237895680000
    assert frame.loc["conv2", "macs_per_byte"] == pytest.approx(434.41, abs=0.005)
    assert frame.loc["fc6", "macs_per_byte"] == pytest.approx(30.62, abs=0.005)
    assert frame.loc["lstm", "macs_per_byte"] == pytest.approx(118.52, abs=0.005)
    assert frame.loc["lstm", "macs_per_byte_weights_reread"] == pytest.approx(21.3, abs=0.05)
    assert frame["macs_per_byte_weights_reread"].notna().sum() == 1


def test_intensity_by_batch_and_pass() -> None:
    run = synthetic.run(batch=16, nodes=(1, 2, 8))
    frame = tables.of_run(run).intensity
    assert len(frame) == 9 * 3 * 3
    for row in row_tuples(frame[frame["layer"] == "fc6"]):
        layer = next(layer for layer in run.manifest.layers if layer.name == "fc6")
        assert row.local_batch == 16 // row.nodes
        record = next(r for r in run.records if r.key == ("fc6", row[3], row.nodes))
        assert row.macs_per_byte == pytest.approx(record.macs / record.bytes)
        assert layer.kind == row.kind


def test_weak_scaling_has_one_batch_of_a_rank() -> None:
    frame = tables.of_run(synthetic.run(scaling="weak")).intensity
    assert set(frame["local_batch"]) == {16}
    assert set(frame["nodes"]) == {1}


def test_breakdown_is_what_belongs_to_the_step() -> None:
    run = synthetic.run()
    frame = tables.of_run(run).breakdown.set_index(["kind", "nodes", "part"])
    conv = [layer.name for layer in run.manifest.layers if layer.kind == "conv"]
    for part in ("forward", "backward_data", "backward_weights"):
        records = [r for r in run.records if (r.part, r.nodes) == (part, 2) and r.layer in conv and r.in_step]
        assert len(records) == (4 if part == "backward_data" else 5)
        expected = math.fsum(median(r.samples) for r in records)
        row = frame.loc[("conv", 2, part)]
        assert row["seconds"] == pytest.approx(expected)
        assert row["share"] == pytest.approx(expected / row["step_seconds"])
    modelled = math.fsum(
        r.modelled_seconds for r in run.records if (r.kind, r.part, r.nodes) == ("fc", "communication", 8)
    )
    assert frame.loc[("fc", 8, "communication"), "seconds"] == pytest.approx(modelled)


def test_breakdown_leaves_out_what_is_incomplete() -> None:
    frame = tables.of_run(synthetic.run(change=synthetic.failed("conv3", 4))).breakdown
    assert set(frame.loc[frame["kind"] == "conv", "nodes"]) == {1, 2, 8}


def with_roofline(run: StoredRun, **changes: object) -> StoredRun:
    measured = {"device": "host", "dtype": "fp32", "threads": 1, "flops": 1e11, "bandwidth": 1e10, **changes}
    return StoredRun(run.path, msgspec.structs.replace(run.manifest, roofline=Roofline(**measured)), run.records)


def test_every_pass_is_set_against_the_roofline_of_a_rank() -> None:
    run = with_roofline(synthetic.run(batch=16))
    computed = tables.of_run(run)
    frame = computed.records
    ceilings = computed.ceilings.iloc[0]
    assert ceilings["ridge"] == pytest.approx(5)
    for nodes, batch in ((1, 16), (8, 2)):
        row = frame[(frame["layer"] == "fc6") & (frame["part"] == "forward") & (frame["nodes"] == nodes)].iloc[0]
        macs = batch * 9216 * 4096
        moved = 4 * (batch * (9216 + 4096) + 9216 * 4096)
        assert row["flops_per_rank"] == pytest.approx(2 * macs / row["median"])
        assert row["roof_flops"] == pytest.approx(min(1e11, 1e10 * 2 * macs / moved))
        assert row["fraction_of_roofline"] == pytest.approx(row["flops_per_rank"] / row["roof_flops"])
        assert row["bound"] == ("memory" if row["fraction_of_roofline"] <= 1 else "cache")
    assert set(frame.loc[frame["kind"] == "fc", "bound"]) == {"", "memory", "cache"}
    conv = frame[(frame["layer"] == "conv2") & (frame["part"] == "forward")]
    assert (conv["roof_flops"] == 1e11).all()
    assert (conv["bound"] == "computation").all()
    assert frame.loc[~frame["part"].isin(["forward", "backward_data", "backward_weights"]), "roof_flops"].isna().all()


def test_an_uneven_split_is_judged_by_its_busiest_rank() -> None:
    run = with_roofline(synthetic.run(batch=16, nodes=(1, 3), measured=3))
    frame = tables.of_run(run).records
    row = frame[(frame["layer"] == "fc6") & (frame["part"] == "forward") & (frame["nodes"] == 3)].iloc[0]
    assert row["local_batch"] == 6
    assert row["flops_per_rank"] == pytest.approx(2 * 6 * 9216 * 4096 / row["median"])


@pytest.mark.parametrize("other", [{"dtype": "bf16"}, {"device": "cuda"}, {"threads": 2}, {"flops": 0.0}])
def test_a_roofline_of_something_else_says_nothing(other: dict[str, object]) -> None:
    computed = tables.of_run(with_roofline(synthetic.run(), **other))
    assert computed.records["fraction_of_roofline"].isna().all()


def test_several_runs_are_told_apart_in_every_frame() -> None:
    runs = [
        columns.of_records(run.path, run.manifest, run.records)
        for run in (synthetic.run(), synthetic.run(path=Path("runs/b"), batch=32, nodes=(2, 4)))
    ]
    together = tables.compute(runs)
    assert list(together.runs) == ["batch 16", "batch 32"]
    for of_run, run in zip(together.each(), runs, strict=True):
        alone = tables.compute([run])
        assert of_run.base_nodes == alone.base_nodes
        for name in tables.FRAMES:
            ours, theirs = (getattr(one, name).drop(columns="run").reset_index(drop=True) for one in (of_run, alone))
            assert len(ours) == len(theirs)
            for column in theirs:
                assert list(ours[column].astype(object).fillna(-1)) == list(theirs[column].astype(object).fillna(-1))
