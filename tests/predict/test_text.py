from __future__ import annotations

import io
from dataclasses import replace

import msgspec
import pytest
from rich.console import Console

from layerbench.layers import FC
from layerbench.machine import Link, exact
from layerbench.predict import text
from layerbench.predict.answers import Threshold
from layerbench.predict.notes import notes
from layerbench.predict.prediction import Prediction, predict
from tests.predict.made import World, machine, question


def printed(found: Prediction, *, layers: bool = False) -> str:
    out = io.StringIO()
    text.print_prediction(found, Console(file=out, width=120), layers=layers)
    return out.getvalue()


@pytest.fixture(scope="module")
def calibrated() -> Prediction:
    return predict(question((1, 2, 4, 64, 128), World(waiting=0.02).records((1, 2, 4), 2)), each_layer=True)


def test_types_answers_and_thresholds_are_printed(calibrated: Prediction) -> None:
    told = printed(calibrated)
    assert told.splitlines()[:2] == [
        "alexnet on made: a training step on 1, 2, 4, 64 and 128 nodes",
        "strong scaling, batch 64 over all nodes · fp32 · data layout",
    ]
    for words in ("least time, of these", "knee: efficiency ≥ 50 % up to", "communication bound from", "90 % interval"):
        assert words in told
    assert "Batches at which communication takes over half of the step" in told
    assert "conv1" not in told.split("\n\n")[1]
    assert "backward_weights" in printed(calibrated, layers=True)


def test_a_title_names_few_counts_one_by_one_and_of_many_the_ends() -> None:
    told = [text.title(predict(question(tuple(2**power for power in range(end))))) for end in (8, 13)]
    assert told[0].endswith("on 1, 2, 4, 8, 16, 32, 64 and 128 nodes")
    assert told[1].endswith("on 1 to 4,096 nodes")


def test_each_type_stands_once_and_marks_stand_at_their_rows(calibrated: Prediction) -> None:
    table = printed(calibrated).split("\n\n")[1].splitlines()
    assert [line.split()[0] for line in table if line[:1].isalpha()] == ["type", "conv", "fc", "lstm", "all"]
    marked = [line for line in table if line.rstrip().endswith("* 64 idle")]
    assert len(marked) == 4


def test_nothing_is_cut_off_in_a_log(calibrated: Prediction) -> None:
    wide = printed(predict(question(tuple(2**power for power in range(17)), layout="best")))
    assert "…" not in wide
    assert "65,536" in wide


def test_batches_at_which_communication_takes_over_are_told_on_the_side_where_they_are() -> None:
    spans: list[tuple[tuple[int, int | None], ...]] = [(), ((4, None),), ((4, 89),), ((2100, None),), ((9, 24),)]
    told = [text.threshold(Threshold(4, 4, each)) for each in spans]
    assert told == ["none", "all", "< 89", "≥ 2.1 k", "9 to 23"]
    assert text.threshold(Threshold(4, 4, ((4, 10), (700, None)))) == "< 10, ≥ 700"


def test_in_the_model_layout_communication_takes_over_at_large_batches() -> None:
    """Weights are read whatever the batch is, and activations grow with it: few samples leave it compute bound."""
    slow = machine(between=Link(alpha=exact(2e-6), beta=exact(1 / 2e8)))
    layers = [FC(name="fc", in_features=4096, out_features=4096)]
    found = predict(question((1, 16), layout="model", layers=layers, machine=slow))
    (threshold,) = found.of_types[0].thresholds
    ((first, beyond),) = threshold.spans
    assert beyond is None
    assert threshold.least == 1
    shares = [predict(replace(found.question, batch=batch)).types[1].share for batch in (first - 1, first)]
    assert shares[0] < 0.5 <= shares[1]


def test_layouts_and_totals_are_printed_for_best() -> None:
    told = printed(predict(question((1, 8), layout="best")))
    assert "Layouts: D by data (batch split), M by model (outputs split)" in told
    rows = {line.split("  ")[0]: line.split() for line in told.splitlines()}
    assert rows["fc6"][-1] == "M"
    assert rows["conv2"][-1] == "D"
    assert {"all layers, data", "all layers, model", "all layers, best"} <= set(rows)


def test_on_what_times_rest_is_told(calibrated: Prediction) -> None:
    told = " ".join(notes(calibrated))
    assert "calibrated on runs/made (1, 2 and 4 nodes, batch 64)" in told
    assert "On 4 nodes shards were timed by themselves (emulated)" in told
    assert "what 2 nodes measured: all_reduce × 1.0" in told
    assert "waiting for the slowest rank" in told


def test_where_times_are_not_to_be_trusted_as_the_rest_is_told(calibrated: Prediction) -> None:
    told = " ".join(notes(calibrated))
    assert "Extrapolated beyond 8 times what was measured: all layers on 64 and 128 nodes (*)." in told
    assert "Ranks without work: from 128 nodes on there are more ranks than samples for all layers" in told


def test_what_rests_on_published_devices_is_told() -> None:
    told = " ".join(notes(predict(question((1, 2)))))
    assert "For passes of all layers the times are those of published devices" in told


def test_layers_without_records_of_their_own_are_told() -> None:
    records = [record for record in World().records((1, 2), 2) if record.layer != "fc8"]
    told = " ".join(notes(predict(question((1, 2), records))))
    assert "For passes of fc8 the times are those of the machine's other layers of their type and pass." in told


def test_more_nodes_than_there_are_and_steps_that_do_not_fit_are_told() -> None:
    small = machine(nodes=4, memory_bytes=1e9)
    told = " ".join(notes(predict(question((1, 8), machine=small, batch=256))))
    assert "made has 4 nodes, larger counts are of a machine like it." in told
    assert "conv2 does not fit the 1 GB of a rank on 1 node" in told


def test_weak_scaling_overlap_and_unused_runs_are_told() -> None:
    told = " ".join(notes(predict(question((1, 2), scaling="weak", overlap=0.5))))
    assert "Weak scaling" in told
    assert "50 % does" in told
    fp64 = [msgspec.structs.replace(record, dtype="fp64") for record in World().records((1, 2), 2)]
    assert "nothing of it is used" in " ".join(notes(predict(question((1, 2), fp64))))
