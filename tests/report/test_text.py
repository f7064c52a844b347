import io
import re

import msgspec
import pytest
from rich.console import Console

from layerbench import units
from layerbench.layers import FC
from layerbench.records import Launch, Record
from layerbench.report import tables, text
from layerbench.store import StoredRun
from tests.report import synthetic


def markdown(run: StoredRun, **options: object) -> str:
    return text.markdown(tables.compute(run), **options)


def section(report: str, title: str) -> str:
    return report.split(f"## {title}\n")[1].split("\n## ", maxsplit=1)[0]


def rows(part: str) -> list[list[str]]:
    """Cells of a Markdown table, without its head."""
    lines = [line for line in part.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines[2:]]


def printed(run: StoredRun, width: int = 100) -> str:
    out = io.StringIO()
    text.print_summary(run, Console(file=out, width=width))
    return out.getvalue()


def test_every_table_has_rows_of_equal_length() -> None:
    report = markdown(synthetic.run(change=synthetic.failed("conv3", 4)))
    for part in report.split("\n## ")[1:]:
        lines = [line for line in part.splitlines() if line.startswith("|")]
        assert len({len(re.split(r"(?<!\\)\|", line)) for line in lines}) <= 1


def test_types_are_tabulated_with_units_marks_and_placement() -> None:
    run = synthetic.run()
    types = tables.layer_types(run)
    found = rows(section(markdown(run), "Running time of a step"))
    assert len(found) == len(types) == 12
    for cells, row in zip(found, tables.row_tuples(types), strict=True):
        assert cells[:3] == [row.kind, str(row.nodes), row.placement]
        assert cells[3].startswith(f"{units.seconds(row.seconds)} ± ")
        assert cells[4] == f"{row.speedup:.3g}"
        assert cells[5] == f"{100 * row.efficiency:.0f} %"
        assert cells[6] == f"{100 * row.communication_share:.1f} %"
        assert ("○" in cells[7]) == (row.nodes > 2)


def test_what_was_emulated_is_said_with_its_network() -> None:
    report = markdown(synthetic.run())
    assert "○ emulated (4 and 8 nodes)" in report
    assert "this-machine (α 1.6 µs a message, 1/β 3.8 GB/s)" in report
    assert "median residual of the fit 8.0 %" in report
    assert "emulated" not in markdown(synthetic.run(measured=8))


def test_waiting_is_said_where_communication_was_measured() -> None:
    told = "measured communication includes waiting for the slowest rank"
    assert told in markdown(synthetic.run())
    assert told in printed(synthetic.run())
    assert told not in markdown(synthetic.run(measured=1))


def test_intensity_has_both_conventions() -> None:
    found = {cells[0]: cells for cells in rows(section(markdown(synthetic.run(batch=128)), "MACs per byte"))}
    assert found["conv2"][2:] == ["238 G", "522 MiB", "434", "–"]
    assert found["lstm"][4:] == ["119", "21.3"]


def test_parts_of_each_layer() -> None:
    found = {tuple(cells[:2]): cells[2:] for cells in rows(section(markdown(synthetic.run()), "Parts of each layer"))}
    assert len(found) == 45
    assert ("conv1", "backward data (not in the step)") in found
    assert ("conv2", "backward data") in found
    assert [("○" in cell) for cell in found[("fc6", "communication")]] == [False, False, True, True]


def test_failures_are_named_with_their_reason() -> None:
    report = markdown(synthetic.run(change=synthetic.failed("conv3", 4, "rank 2 died: signal 9 | stderr: *boom*")))
    (cells,) = rows(section(report, "What has no time"))
    assert cells[:3] == ["failed", "conv3", "4"]
    assert cells[4] == r"rank 2 died: signal 9 \| stderr: \*boom\*"
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
    assert told in printed(run)


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
    assert found["caches"] == "L1d 32 KiB, L2 512 KiB, L3 32 MiB"
    assert found["memory total"] == "16 GiB"
    assert found["libraries"] == "numpy 2.4.6, onednn-cpu-gomp 2023.2.0"
    assert found["MPI"] == "MPICH 5.0.2"
    assert found["hosts"] == "a, b"
    assert "frequency governor" not in found


def test_figure_and_warnings() -> None:
    report = markdown(synthetic.run(), figure="figure.png", warnings=["line 7 is cut off"])
    assert "](figure.png)" in report
    assert "- line 7 is cut off" in section(report, "Run folder")
    assert "there is no figure" in markdown(synthetic.run())


def test_names_are_escaped() -> None:
    layers = [FC(name="a|b*c_d`<e>", in_features=10, out_features=10)]
    report = markdown(synthetic.run(layers=layers, nodes=[1]))
    assert rows(section(report, "MACs per byte"))[0][0] == r"a\|b\*c\_d\`\<e\>"
    assert text.escape("two\nlines") == "two lines"


def test_long_tables_end_with_where_the_rest_is() -> None:
    layers = [FC(name=f"fc{i}", in_features=10, out_features=10) for i in range(130)]
    report = markdown(synthetic.run(layers=layers, nodes=[1]))
    assert len(rows(section(report, "MACs per byte"))) == 100
    assert "30 more are in intensity.csv." in report


def test_terminal_table() -> None:
    run = synthetic.run()
    out = printed(run)
    assert "alexnet: a training step on 1, 2, 4 and 8 nodes" in out
    lines = [line for line in out.splitlines() if re.match(r"(conv|fc|lstm)? +\d", line)]
    assert len(lines) == 12
    assert [("○" in line) for line in lines] == [False, False, True, True] * 3
    types = tables.layer_types(run)
    for line, row in zip(lines, tables.row_tuples(types), strict=True):
        assert units.seconds(row.seconds) in line
        assert "±" in line
        assert f"{row.speedup:.3g}" in line
    assert "○ emulated (4 and 8 nodes)" in out


def test_terminal_names_failures_and_skips() -> None:
    def change(record: Record) -> Record:
        if record.nodes == 8:
            return msgspec.structs.replace(record, status="skipped", reason="a batch of 4", samples=[])
        return synthetic.failed("conv3", 4, "wrong result [/bold]")(record)

    out = printed(synthetic.run(change=change))
    assert "failed: 5 of 180 records" in out
    assert "  conv3 on 4 nodes: wrong result [/bold]" in out
    assert "skipped: 45 of 180 records" in out
    assert "  and 3 more" in out
    assert "incomplete" in out


@pytest.mark.parametrize("width", [40, 80, 200])
def test_terminal_of_a_run_without_records(width: int) -> None:
    out = printed(synthetic.run(change=lambda record: None, nodes=[1]), width)
    assert "not measured yet" in out


def test_an_interval_wider_than_its_median_is_given_by_its_ends() -> None:
    assert text._plus_minus(1e-3, 0.99e-3, 1.01e-3) == "± 1 %"
    assert text._plus_minus(1.16e-3, 0.9e-3, 5e-3) == "(900 µs to 5 ms)"
