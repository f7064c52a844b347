"""A run against published devices: ratios, geometric means, what has no match, and how all of it is told."""

from __future__ import annotations

import csv
import io
import math
import re
from pathlib import Path
from typing import Any

import msgspec
import pandas as pd
import pytest
from rich.console import Console

from layerbench import reference
from layerbench.errors import UsageError
from layerbench.layers import FC, LSTM, AnyLayer, Conv
from layerbench.records import Record
from layerbench.report import against, against_cells, columns, markdown, report, tables, text
from layerbench.report.columns import of_records, row_tuples
from layerbench.report.tables import Tables
from layerbench.store import StoredRun
from tests.conftest import Layerbench, assert_one_line
from tests.report import synthetic, twinned

PUBLISHED = Path(__file__).parents[2] / "results/deepbench/published_times.csv"

IMAGE = Conv(name="image", input=(224, 224), in_channels=3, out_channels=64, filter=(3, 3), padding=(1, 1))
INNER = Conv(name="inner", input=(28, 28), in_channels=256, out_channels=512, filter=(3, 3), padding=(1, 1))
DENSE = FC(name="dense", in_features=4096, out_features=4096)
TWICE = Conv(name="twice", input=(7, 7), in_channels=512, out_channels=512, filter=(3, 3), padding=(1, 1))
ODD = Conv(name="odd", input=(9, 9), in_channels=3, out_channels=5, filter=(3, 3))
STATE = LSTM(name="state", input_size=512, hidden_size=512, time_steps=25)
LAYERS: list[AnyLayer] = [IMAGE, INNER, DENSE, ODD, STATE]


def compared(*devices: str, runs: list[StoredRun] | None = None, **options: Any) -> Tables:
    made = runs or [synthetic.run(**{"layers": LAYERS, "nodes": [1], **options})]
    return tables.compute([of_records(run.path, run.manifest, run.records) for run in made], devices)


def published(layer: AnyLayer, part: Any, device: str, precision: str = "fp32") -> list[float]:
    """Seconds as they stand in the file, read by other means."""
    listed = reference.params_of(layer, 16, part)
    with PUBLISHED.open(newline="") as file:
        return [
            float(row["time_ms"]) / 1e3
            for row in csv.DictReader(file)
            if (row["device"], row["precision"], row["op"], row["params"]) == (device, precision, *(listed or ()))
            and row["pass"] == ("forward" if row["op"] == "gemm" else part)
        ]


def median_of(computed: Tables, layer: str, part: str) -> float:
    records = computed.records
    return float(records.loc[(records["layer"] == layer) & (records["part"] == part), "median"].item())


def told_of(against_: against.Against | None) -> list[str]:
    assert against_ is not None
    return against_cells.sentences(against_)


def means_of(computed: Tables) -> dict[tuple[str, str, str], Any]:
    assert computed.against is not None
    return {(row.device, row.kind, row.part): row for row in row_tuples(computed.against.means)}


@pytest.mark.parametrize(
    ("words", "devices"),
    [
        (["deepbench:V100"], ("V100",)),
        (["deepbench:MI25", "DeepBench:v100"], ("MI25", "V100")),
        (["deepbench:V100, titanx_pascal,deepbench:M40"], ("V100", "TitanX_Pascal", "M40")),
        (["deepbench:V100", "deepbench:V100"], ("V100",)),
        ([], ()),
    ],
)
def test_devices_are_asked_for_by_name(words: list[str], devices: tuple[str, ...]) -> None:
    assert against.asked(words) == devices


@pytest.mark.parametrize("word", ["deepbench:H100", "V100", "deepbench:", "", "mlperf:V100", "deepbench:V100,", "list"])
def test_an_unknown_device_lists_those_there_are(word: str) -> None:
    with pytest.raises(UsageError, match=r"^--against must be deepbench:DEVICE, not '.*'; devices: 1080Ti, ") as raised:
        against.asked([word])
    assert str(raised.value).endswith(", ".join(reference.devices()))


def test_ratios_are_published_over_here_of_the_device_asked_for_alone() -> None:
    computed = compared("MI25")
    assert set(computed.reference["device"]) == {"MI25"}
    assert len(computed.reference) == sum(
        len(published(layer, part, "MI25"))
        for layer in (IMAGE, INNER, DENSE)
        for part in ("forward", "backward_data", "backward_weights")
    )
    for row in row_tuples(computed.reference):
        (layer,) = [layer for layer in LAYERS if layer.name == row.layer]
        assert row.published_seconds in published(layer, row.part, "MI25")
        assert row.ratio == row.published_seconds / median_of(computed, row.layer, row.part)


def test_means_are_geometric_by_operation_and_by_pass() -> None:
    computed = compared("MI25")
    ratios = {
        (layer.kind, part, layer.name): [
            seconds / median_of(computed, layer.name, part) for seconds in published(layer, part, "MI25")
        ]
        for layer in (IMAGE, INNER, DENSE)
        for part in ("forward", "backward_data", "backward_weights")
    }
    means = means_of(computed)
    for kind, part in {(kind, part) for kind, part, _ in ratios} | {("conv", "all"), ("fc", "all")}:
        kernels = [
            math.prod(of_kernel) ** (1 / len(of_kernel))
            for (of, its, _), of_kernel in ratios.items()
            if of == kind and part in (its, "all") and of_kernel
        ]
        if not kernels:
            assert ("MI25", kind, part) not in means
            continue
        row = means["MI25", kind, part]
        assert row.kernels == len(kernels)
        assert row.ratio == pytest.approx(math.prod(kernels) ** (1 / len(kernels)))
        assert (row.least, row.greatest) == pytest.approx((min(kernels), max(kernels)))
    assert (means["MI25", "conv", "all"].kernels, means["MI25", "fc", "all"].kernels) == (6, 2)
    assert means["MI25", "fc", "all"].op == "gemm"


def test_a_kernel_that_was_published_twice_counts_once() -> None:
    computed = compared("MI25", layers=[TWICE, IMAGE])
    both = published(TWICE, "forward", "MI25")
    assert len(set(both)) == 2
    of_twice = computed.reference[(computed.reference["layer"] == "twice") & (computed.reference["part"] == "forward")]
    assert sorted(of_twice["published_seconds"]) == sorted(both)
    row = means_of(computed)["MI25", "conv", "forward"]
    own = math.sqrt(math.prod(both)) / median_of(computed, "twice", "forward")
    other = published(IMAGE, "forward", "MI25")[0] / median_of(computed, "image", "forward")
    assert (row.kernels, row.ratio) == (2, pytest.approx(math.sqrt(own * other)))


def test_every_kernel_has_a_ratio_or_a_reason() -> None:
    computed = compared("V100", "KNL7250", nodes=[1, 2])
    found = computed.against
    assert found is not None
    passes = computed.records[computed.records["part"].isin(["forward", "backward_data", "backward_weights"])]
    for device in ("V100", "KNL7250"):
        of_device = found.kernels[found.kernels["device"] == device]
        assert len(of_device) == len(passes)
        timed = computed.reference[computed.reference["device"] == device]
        keys = ["layer", "part", "nodes"]
        matched = of_device.loc[of_device["why"] == "", keys]
        assert set(matched.itertuples(index=False, name=None)) == set(timed[keys].itertuples(index=False, name=None))
    whys = found.unmatched[found.unmatched["device"] == "V100"].set_index(["layer", "part", "nodes"])["why"]
    assert whys["image", "backward_data", 1] == reference.NOT_PUBLISHED["pass"]
    assert whys["odd", "forward", 1] == reference.NOT_PUBLISHED["shape"]
    assert whys["state", "forward", 1] == reference.objection(STATE)
    assert (whys[:, :, 2] == "on several ranks, where published times are of one device").all()


def test_what_has_no_match_is_counted_and_told_with_why() -> None:
    (told,) = told_of(compared("V100").against)
    assert told.startswith("V100: 7 of 15 kernels have a published time; 8 have none (")
    assert "shape not published: 3, of odd" in told
    assert "pass not published of this shape and precision: 2, of image and dense" in told
    assert "leaves out: 3, of state" in told


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"cache": "cold"}, "with caches flushed"),
        ({"placement": "emulated"}, "emulated"),
        ({"status": "failed", "samples": [], "ci_method": "none"}, "without a time here"),
    ],
)
def test_a_kernel_that_is_not_comparable_says_so(changes: dict[str, Any], why: str) -> None:
    def change(record: Record) -> Record:
        return msgspec.structs.replace(record, **changes) if record.part == "forward" else record

    computed = compared("V100", layers=[DENSE], change=change)
    (told,) = told_of(computed.against)
    assert told.startswith("V100: 1 of 3 kernels has a published time; 2 have none (")
    assert re.search(rf"\b{why}[^:;]*: 1[;)]", told), told
    assert set(computed.reference["part"]) == {"backward_data"}


def test_another_precision_is_told() -> None:
    (told,) = told_of(compared("V100", dtype="bf16", layers=[DENSE, IMAGE]).against)
    assert told == (
        "V100: DeepBench published no time of the same shape, precision and pass for any of the run's 6 kernels "
        "(precision not published of this shape: 6)."
    )


def markdown_of(computed: Tables) -> str:
    whole = markdown.markdown(computed, pd.DataFrame(columns=["run", "id", "claim", "verdict", "evidence"]))
    found = re.search(r"^## Against DeepBench's published times\n(.*?)^## ", whole, re.MULTILINE | re.DOTALL)
    assert found, whole
    return found[1]


def printed(computed: Tables) -> str:
    out = io.StringIO()
    text.print_tables(computed, Console(file=out, width=140))
    return out.getvalue()


def test_where_nothing_matches_one_sentence_says_so_and_no_table() -> None:
    computed = compared("V100", layers=[ODD, STATE])
    section = markdown_of(computed)
    assert [line for line in section.splitlines() if line] == [
        "V100: DeepBench published no time of the same shape, precision and pass for any of the run's 6 kernels (shape "
        "not published: 3, of odd; recurrent layers, whose product with the input DeepBench leaves out: 3, of state)."
    ]
    assert printed(computed).rstrip().endswith("leaves out: 3, of state).")
    assert "reference" not in twinned.drawn(computed)


def test_means_ratios_and_specs_stand_in_markdown() -> None:
    computed = compared("V100", "MI25")
    section = markdown_of(computed)
    row = means_of(computed)["V100", "conv", "forward"]
    assert f"| V100 | conv | forward | 2 | {row.ratio:.3g} | {row.least:.3g} to {row.greatest:.3g} |" in section
    assert "| V100 | fc (gemm) | all passes | 2 |" in section
    assert re.search(r"^\| image \| backward weights \| .* \| V100 \| .* \|$", section, re.MULTILINE)
    assert "| GPU Model | NVIDIA V100 | AMD MI25 |" in section
    assert "| CUDA Version | 10.1.243 | – |" in section


def test_means_ratios_and_specs_stand_on_the_terminal() -> None:
    computed = compared("V100")
    shown = printed(computed)
    row = means_of(computed)["V100", "conv", "all"]
    assert re.search(rf"^V100 +conv +all passes +5 +{row.ratio:.3g} ", shown, re.MULTILINE)
    (ratio,) = computed.reference.query("layer == 'dense' and part == 'forward'")["ratio"]
    assert re.search(rf"^V100 +dense +16 +{ratio:.3g} +\S+ +–$", shown, re.MULTILINE)
    assert "GPU Model NVIDIA V100; " in shown
    assert "Against DeepBench" not in printed(compared())


def test_a_long_suite_is_printed_in_part() -> None:
    layers = [FC(name=f"fc{i}", in_features=4096, out_features=4096) for i in range(25)]
    shown = printed(compared("V100", layers=layers, samples=6))
    assert "5 more are in reference.csv of the report" in shown
    assert "fc24" not in shown.partition("Against DeepBench")[2]


def test_several_runs_each_have_their_own() -> None:
    runs = [synthetic.run(path=Path(f"r/{name}"), layers=LAYERS, nodes=[1], dtype=name) for name in ("fp32", "fp16")]
    computed = compared("V100", runs=runs)
    assert computed.against is not None
    assert set(computed.against.means["dtype"]) == {"fp32", "fp16"}
    for of_run in computed.each():
        (label,) = of_run.runs
        assert of_run.against is not None
        assert set(of_run.against.means["dtype"]) == set(of_run.records["dtype"])
        assert told_of(of_run.against)[0].startswith("V100: 7 of 15 kernels"), label
    section = markdown_of(computed)
    assert section.count("7 of 15 kernels") == section.count("| V100 | conv | all passes | 5 |") == 2
    one = compared("V100", runs=[runs[0], synthetic.run(path=Path("r/other"), layers=[ODD], nodes=[1])])
    assert one.against is not None
    assert one.against.means["run"].nunique() == 1
    section = markdown_of(one)
    assert "7 of 15 kernels" in section
    assert "for any of the run's 3 kernels" in section


def test_the_figure_shows_that_device_alone_with_the_means() -> None:
    computed = compared("MI25")
    twin = twinned.drawn(computed)["reference"]
    assert set(twin.numbers["device"]) == {"MI25"}
    row = means_of(computed)["MI25", "conv", "all"]
    mean = f"MI25: conv {row.ratio:.3g} ({row.least:.3g} to {row.greatest:.3g}, 6 kernels), fc (gemm) "
    assert mean in twin.caption
    assert "geometric means" not in twinned.drawn(compared())["reference"].caption


def test_without_it_all_devices_are_shown_as_before() -> None:
    computed = compared()
    assert computed.against is None
    assert len(set(computed.reference["device"])) > 5


def test_files_are_written_and_a_later_report_without_it_takes_them_away(tmp_path: Path) -> None:
    folder = synthetic.stored(synthetic.run(path=tmp_path / "run", layers=LAYERS, nodes=[1], samples=6))
    written = {path.name for path in report([folder], html=False, against=["deepbench:V100"])}
    assert {"reference.csv", "reference_means.csv", "reference_unmatched.csv"} <= written
    computed = tables.compute([columns.load(folder)], ["V100"])
    assert computed.against is not None
    means = pd.read_csv(folder / "report/reference_means.csv")
    pd.testing.assert_series_equal(means["ratio"], computed.against.means["ratio"], check_exact=True)
    unmatched = pd.read_csv(folder / "report/reference_unmatched.csv")
    assert list(unmatched["why"]) == list(computed.against.unmatched["why"])
    assert set(pd.read_csv(folder / "report/reference.csv")["device"]) == {"V100"}
    report([folder], html=False)
    assert not list((folder / "report").glob("reference_*.csv"))
    assert len(set(pd.read_csv(folder / "report/reference.csv")["device"])) > 5


def test_the_command(tmp_path: Path, layerbench: Layerbench) -> None:
    folder = synthetic.stored(synthetic.run(path=tmp_path / "run", layers=[ODD], nodes=[1], samples=6))
    done = layerbench("report", folder, "--no-html", "--against", "deepbench:V100", "--against", "deepbench:M40")
    assert done.returncode == 0, done.stderr
    assert "M40: DeepBench published no time" in done.stdout
    refused = layerbench("report", folder, "--output", tmp_path / "out", "--against", "deepbench:A100")
    assert_one_line(refused, "--against must be deepbench:DEVICE, not 'deepbench:A100'", *reference.devices())
    assert not (tmp_path / "out").exists()
