from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pandas as pd
import pytest

from layerbench import units
from layerbench.layers import FC
from layerbench.records import Launch, Record, Roofline
from layerbench.report import cells, columns, tables
from layerbench.report import markdown as md
from layerbench.report.columns import row_tuples
from layerbench.store import StoredRun
from tests.report import synthetic

NO_CLAIMS = pd.DataFrame(columns=["run", "id", "claim", "verdict", "evidence"])


def markdown(run: StoredRun, *pictures: md.Picture) -> str:
    return md.markdown(tables.of_run(run), NO_CLAIMS, pictures)


def section(report: str, title: str) -> str:
    return report.split(f"## {title}\n")[1].split("\n## ", maxsplit=1)[0]


def rows(part: str) -> list[list[str]]:
    """Cells of a Markdown table, without its head."""
    lines = [line for line in part.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines[2:]]


def test_every_table_has_rows_of_equal_length() -> None:
    report = markdown(synthetic.run(change=synthetic.failed("conv3", 4)))
    for part in report.split("\n## ")[1:]:
        lines = [line for line in part.splitlines() if line.startswith("|")]
        assert len({len(re.split(r"(?<!\\)\|", line)) for line in lines}) <= 1


def test_types_are_tabulated_with_units_marks_and_placement() -> None:
    run = synthetic.run()
    types = tables.of_run(run).layer_types
    found = rows(section(markdown(run), "Running time of a step"))
    assert len(found) == len(types) == 12
    for shown, row in zip(found, row_tuples(types), strict=True):
        assert shown[:3] == [row.kind, str(row.nodes), row.placement]
        assert shown[3].startswith(f"{units.seconds(row.seconds)} ± ")
        assert shown[4] == f"{row.speedup:.3g}"
        assert shown[5] == cells.percent(row.efficiency)
        assert shown[6] == cells.percent(row.communication_share, 1)
        assert ("○" in shown[7]) == (row.nodes > 2)


def test_what_was_emulated_is_said_with_its_network() -> None:
    report = markdown(synthetic.run())
    assert "○ emulated (4 and 8 nodes)" in report
    assert "this-machine (α 1.6 µs a message, 1/β 3.8 GB/s)" in report
    assert "median residual of the fit 8.0 %" in report
    assert "emulated" not in markdown(synthetic.run(measured=8))


def test_waiting_is_said_where_communication_was_measured() -> None:
    told = "measured communication includes waiting for the slowest rank"
    assert told in markdown(synthetic.run())
    assert told not in markdown(synthetic.run(measured=1))


def test_intensity_has_both_conventions() -> None:
    found = {cells[0]: cells for cells in rows(section(markdown(synthetic.run(batch=128)), "MACs per byte"))}
    assert found["conv2"][2:] == ["128", "238 G", "548 MB", "434", "–"]
    assert found["lstm"][5:] == ["119", "21.3"]


def test_parts_of_each_layer() -> None:
    found = {tuple(cells[:2]): cells[2:] for cells in rows(section(markdown(synthetic.run()), "Parts of each layer"))}
    assert len(found) == 45
    assert ("conv1", "backward data (not in the step)") in found
    assert ("conv2", "backward data") in found
    assert [("○" in cell) for cell in found[("fc6", "communication")]] == [False, False, True, True]


def test_failures_are_named_with_their_reason() -> None:
    report = markdown(synthetic.run(change=synthetic.failed("conv3", 4, "rank 2 died: signal 9 | stderr: *boom*")))
    (shown,) = rows(section(report, "What has no time"))
    assert shown[:3] == ["failed", "conv3", "4"]
    assert shown[4] == r"rank 2 died: signal 9 \| stderr: \*boom\*"
    assert "incomplete: no conv3" in section(report, "Running time of a step")
    assert "What has no time" not in markdown(synthetic.run())


def test_what_was_never_measured_is_named() -> None:
    report = markdown(synthetic.run(change=lambda record: record if record.nodes < 8 else None))
    assert "Not measured yet: conv1, conv2, conv3, conv4, conv5, fc6 and 3 more on 8 nodes." in report


def test_noisy_records_are_counted_and_named() -> None:
    def change(record: Record) -> Record:
        return msgspec.structs.replace(record, noisy=record.layer == "fc7" and record.nodes == 2)

    run = synthetic.run(change=change)
    told = "noisy: 5 of 180 records, whose 95 % interval did not shrink to ±1 %: fc7"
    assert told in markdown(run)


def test_what_exchanges_nothing_is_not_noisy() -> None:
    def change(record: Record) -> Record:
        return msgspec.structs.replace(record, noisy=record.layer == "fc7" and record.nodes <= 2)

    report = markdown(synthetic.run(change=change))
    assert "noisy: 9 of 180 records" in report
    (communication,) = (
        cells for cells in rows(section(report, "Parts of each layer")) if cells[:2] == ["fc7", "communication"]
    )
    assert communication[2] == "0 s"
    assert communication[3].endswith("\\~")


def test_the_models_error_is_said_to_be_in_no_interval() -> None:
    told = "; intervals leave out the model's own error"
    assert f"{told} (8.0 % in the median)\n" in markdown(synthetic.run())
    named = msgspec.structs.replace(synthetic.NETWORK, name="gemini", residual=None)
    run = synthetic.run()
    run = StoredRun(run.path, msgspec.structs.replace(run.manifest, network=named), run.records)
    assert f"{told}\n" in markdown(run)
    assert told not in markdown(synthetic.run(measured=8))


def test_parts_are_said_not_to_add_up() -> None:
    told = section(markdown(synthetic.run()), "Parts of a step")
    assert "of each part the slowest rank counts, by which together they may exceed it" in told
    assert "the medians of parts need not add up to the median of the step." in told


def test_several_runs_have_a_title_of_their_suites() -> None:
    def title(*runs: StoredRun) -> str:
        return md.title(tables.compute([columns.of_records(one.path, one.manifest, one.records) for one in runs]))

    one, other = synthetic.run(Path("a")), synthetic.run(Path("b"), batch=32)
    assert title(one) == "alexnet: a training step on 1, 2, 4 and 8 nodes"
    assert title(one, other) == "2 runs of alexnet: a training step on 1, 2, 4 and 8 nodes"
    fewer = synthetic.run(Path("c"), nodes=[1, 2])
    vgg = StoredRun(Path("d"), msgspec.structs.replace(fewer.manifest, suite="vgg"), fewer.records)
    assert title(one, fewer) == "2 runs of alexnet: a training step"
    assert title(one, other, vgg) == "3 runs of alexnet and vgg: a training step"


def test_ranges_are_marked() -> None:
    report = markdown(synthetic.run(samples=3))
    assert "† the range: there were too few samples" in report
    assert all("†" in cells[7] for cells in rows(section(report, "Running time of a step")))
    assert "†" not in markdown(synthetic.run())


def test_environment_and_launches() -> None:
    run = synthetic.run()
    launches = [Launch(purpose="measure", nodes=2, ranks=2, placement="measured", mpi="MPICH 5.0.2", hosts=["b", "a"])]
    manifest = msgspec.structs.replace(run.manifest, launches=launches)
    found = dict(rows(section(markdown(StoredRun(run.path, manifest, run.records)), "Environment")))
    assert found["cpu model"] == "AMD EPYC 7R13 Processor"
    assert found["caches"] == "L1d 32.8 kB, L2 524 kB, L3 33.6 MB"
    assert found["memory total"] == "17.2 GB"
    assert found["libraries"] == "numpy 2.4.6, onednn-cpu-gomp 2023.2.0"
    assert found["MPI"] == "MPICH 5.0.2"
    assert found["hosts"] == "a, b"
    assert "frequency governor" not in found


def test_pictures_and_warnings() -> None:
    run = synthetic.run()
    warned = StoredRun(run.path, run.manifest, run.records, ["line 7 is cut off"])
    report = markdown(warned, md.Picture("figure.png", "four panels"), md.Picture("figures/x.png", "x", "What x is."))
    assert (
        report.index("![four panels](figure.png)") < report.index("## Running time") < report.index("](figures/x.png)")
    )
    assert "What x is." in section(report, "Figures")
    assert "- line 7 is cut off" in section(report, "Run folder")
    failed = markdown(synthetic.run(nodes=[1], change=lambda record: synthetic.failed(record.layer, 1)(record)))
    assert "there is no figure of running times" in failed


def test_parts_of_a_step_are_the_breakdown() -> None:
    run = synthetic.run()
    frame = tables.of_run(run).breakdown
    found = {(shown[0], shown[1]): shown for shown in rows(section(markdown(run), "Parts of a step"))}
    assert len(found) == 12
    for row in row_tuples(frame[frame["part"] == "communication"]):
        shown = found[row.kind, str(row.nodes)]
        assert shown[2] == row.placement
        assert shown[-1] == f"{units.seconds(row.seconds)} ({cells.percent(row.share)})"


def test_the_roofline_or_why_there_is_none() -> None:
    run = synthetic.run()
    assert "The run has no measured roofline" in section(markdown(run), "Roofline")
    ceilings = Roofline(device="host", dtype="fp32", threads=1, flops=0.0, bandwidth=1e10, reason="no kernel does it")
    failed = msgspec.structs.replace(run.manifest, roofline=ceilings)
    assert "could not be measured: no kernel does it." in markdown(StoredRun(run.path, failed, run.records))
    measured = msgspec.structs.replace(run.manifest, roofline=msgspec.structs.replace(ceilings, flops=1e11))
    told = section(markdown(StoredRun(run.path, measured, run.records)), "Roofline")
    assert "reaches 100 GFLOP/s and 10 GB/s; below 5 MACs per byte memory is the limit" in told
    assert len(rows(told)) == 9 * 3
    assert {shown[-1] for shown in rows(told)} == {"computation", "memory"}


def test_observations_are_tabulated() -> None:
    claims = pd.DataFrame([{"run": "a", "id": "b", "claim": "It | scales", "verdict": "holds", "evidence": "2 < 3"}])
    report = md.markdown(tables.of_run(synthetic.run()), claims)
    assert rows(section(report, "Observations")) == [["b", r"It \| scales", "holds", r"2 \< 3"]]


def test_several_runs_stand_in_one_report() -> None:
    runs = [
        columns.of_records(run.path, run.manifest, run.records)
        for run in (synthetic.run(), synthetic.run(batch=32, change=synthetic.failed("conv3", 4, "boom")))
    ]
    report = md.markdown(tables.compute(runs), NO_CLAIMS)
    assert report.startswith("# 2 runs of alexnet: a training step on 1, 2, 4 and 8 nodes\n")
    assert [shown[0] for shown in rows(report.split("\n## ")[0])] == ["batch 16", "batch 32"]
    types = rows(section(report, "Running time of a step"))
    assert len(types) == 24
    assert {shown[0] for shown in types} == {"batch 16", "batch 32"}
    assert "- batch 32: ○ emulated (4 and 8 nodes)" in report
    assert "## Parts of each layer: batch 16" in report
    assert "boom" in section(report, "What has no time: batch 32")
    assert "What has no time: batch 16" not in report
    facts = rows(section(report, "Environment"))
    assert {len(shown) for shown in facts} == {3}


@pytest.mark.parametrize("mark", ["noisy", "throttled"])
def test_what_a_record_is_marked_as_is_shown_at_its_time(mark: str) -> None:
    def change(record: Record) -> Record:
        marks = {"noisy": False, "throttled": False} | {mark: record.key == ("fc7", "step", 2)}
        return msgspec.structs.replace(record, **marks)

    report = markdown(synthetic.run(change=change))
    sign = {"noisy": "\\~", "throttled": "▽"}[mark]
    found = {tuple(shown[:2]): shown[2:] for shown in rows(section(report, "Parts of each layer"))}
    assert [sign in shown for shown in found["fc7", "step"]] == [False, True, False, False]
    assert sign not in found["fc6", "step"][1]
    types = {tuple(shown[:2]): shown[-1] for shown in rows(section(report, "Running time of a step"))}
    assert sign in types["fc", "2"]
    assert f"{mark}: 1 of 180 records" in report


def test_names_are_escaped() -> None:
    layers = [FC(name="a|b*c_d`<e>", in_features=10, out_features=10)]
    report = markdown(synthetic.run(layers=layers, nodes=[1]))
    assert rows(section(report, "MACs per byte"))[0][0] == r"a\|b\*c\_d\`\<e\>"
    assert cells.escape("two\nlines") == "two lines"


def test_long_tables_end_with_where_the_rest_is() -> None:
    layers = [FC(name=f"fc{i}", in_features=10, out_features=10) for i in range(130)]
    report = markdown(synthetic.run(layers=layers, nodes=[1]))
    assert len(rows(section(report, "MACs per byte"))) == 100
    assert "30 more are in intensity.csv." in report
