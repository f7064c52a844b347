"""What a report says of layers that are not split by the batch."""

from __future__ import annotations

import io

import msgspec
import pytest
from matplotlib.text import Text
from rich.console import Console

from layerbench.records import LayoutChoice, Record
from layerbench.report import columns, describe, layouts
from layerbench.report.cells import NOTHING
from layerbench.report.claims import check
from layerbench.report.markdown import markdown
from layerbench.report.tables import Tables, compute
from layerbench.report.text import print_tables
from layerbench.report.twins import captions, intensity
from tests.report import synthetic

CHOICES = [
    LayoutChoice(nodes=1, layer="fc6", layout="data", why="data: one rank has nothing to split"),
    LayoutChoice(
        nodes=4, layer="fc6", layout="model", data_seconds=0.4, model_seconds=0.05, why="model: its 151 MB of gradient"
    ),
    LayoutChoice(nodes=4, layer="conv1", layout="data", data_seconds=0.1, model_seconds=0.2, why="data: its gradient"),
]


def tables(layout: str = "data", *choices: LayoutChoice) -> Tables:
    run = synthetic.run(layout=layout)
    manifest = msgspec.structs.replace(run.manifest, layouts=list(choices))
    return compute([columns.of_records(run.path, manifest, run.records)])


def printed(of: Tables) -> str:
    told = io.StringIO()
    print_tables(of, Console(width=160, file=told))
    return told.getvalue()


@pytest.mark.parametrize(
    ("layout", "said"),
    [("model", "layers split by outputs (model layout)"), ("best", "as the cost model chose (best layout)")],
)
def test_another_layout_is_said_everywhere(layout: str, said: str) -> None:
    of = tables(layout)
    for text in (printed(of), markdown(of, check(of)), captions.how(of)):
        assert said in text
    usual = tables()
    for text in (printed(usual), markdown(usual, check(usual)), captions.how(usual)):
        assert "layout" not in text


def test_what_was_computed_for_emulated_counts_is_called_by_its_name() -> None:
    def hollow(of: Tables) -> str:
        return " ".join(captions.marks(of, of.records))

    assert "the all-reduce computed" in describe.emulation(tables())
    assert "the all-reduce computed" in hollow(tables())
    assert "what ranks exchange computed" in describe.emulation(tables("model"))
    assert "what ranks exchange computed" in hollow(tables("model"))
    assert "the all-reduce" not in hollow(tables("model"))


def test_a_claim_does_not_call_activations_a_gradient() -> None:
    told = {layout: " ".join(map(str, check(tables(layout))["evidence"])) for layout in ("data", "model")}
    assert "for each byte of gradient" in told["data"]
    assert "for each byte that is exchanged" in told["model"]
    assert "of gradient" not in told["model"]


def half_split_by_outputs(record: Record) -> Record:
    """FC by outputs, with all samples on every rank, and the others by the batch."""
    if record.kind != "fc":
        return record
    return msgspec.structs.replace(record, layout="model", local_batch=record.batch)


def test_batches_of_ranks_that_differ_by_layer_are_all_named() -> None:
    run = synthetic.run(nodes=(4,), measured=4, batch=16, layout="best", change=half_split_by_outputs)
    of = compute([columns.of_records(run.path, run.manifest, run.records)])
    assert "A rank with a batch of 4 to 16 has" in " ".join(map(str, check(of)["evidence"]))
    drawn = intensity.intensity(of)
    assert drawn is not None
    assert "Filled: the largest batch of a rank (16 and 4)." in drawn.caption, "of no layer is there another"
    assert "smaller batches" not in {text.get_text() for text in drawn.figure.findobj(Text)}


def test_in_weak_scaling_no_node_has_a_batch_of_its_own_where_outputs_are_split() -> None:
    def told(layout: str) -> str:
        run = synthetic.run(layout=layout, scaling="weak", batch=3)
        return describe.settings(columns.of_records(run.path, run.manifest, run.records))[0]

    assert told("data") == "weak scaling, batch 3 on each node"
    assert told("model") == "weak scaling, batch 3 times the nodes"


def test_choices_are_shown_by_layer_and_count_with_both_figures() -> None:
    head, rows = layouts.table_of(tables("best", *CHOICES).manifest)
    assert head == ["layer", "1 node", "4 nodes"]
    assert rows == [
        ["conv1", NOTHING, "data (data 100 ms, model 200 ms)"],
        ["fc6", "data", "model (data 400 ms, model 50 ms)"],
    ]
    assert layouts.reasons(tables("best", *CHOICES).manifest) == ["fc6 on 4 nodes: model: its 151 MB of gradient"]


def test_the_slower_layout_is_not_left_without_its_reason() -> None:
    slower = LayoutChoice(
        nodes=4, layer="fc8", layout="data", data_seconds=0.3, model_seconds=0.2, why="data: only 2 outputs"
    )
    assert layouts.reasons(tables("best", *CHOICES, slower).manifest)[-1] == "fc8 on 4 nodes: data: only 2 outputs"


def test_choices_are_in_the_text_and_on_the_terminal() -> None:
    of = tables("best", *CHOICES)
    text = markdown(of, check(of))
    assert "## Layouts" in text
    assert "| fc6 | data | model (data 400 ms, model 50 ms) |" in text
    assert "- fc6 on 4 nodes: model: its 151 MB of gradient" in text
    assert "model (data 400 ms, model 50 ms)" in printed(of)
    assert "fc6 by outputs on 4 nodes; all others by the batch" in text
    assert "## Layouts" not in markdown(tables("model"), check(tables("model")))
