import io
import json

import pytest
from rich.console import Console, RenderableType

from layerbench import suite, suite_table
from layerbench.layers import FC, Conv
from layerbench.suite import Suite


def printed(renderable: RenderableType, width: int = 100) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(renderable)
    return console.file.getvalue()


def rows(text: str) -> dict[str, list[str]]:
    """Words of each line by its first word."""
    return {words[0]: words for line in text.splitlines() if (words := line.split())}


def test_json_has_every_field_and_what_follows_from_it():
    conv, *_, lstm = suite_table.as_json(suite.load("alexnet"), 128)
    assert conv == {
        "kind": "conv",
        "name": "conv1",
        "backward_data_in_step": False,
        "input": [224, 224],
        "in_channels": 3,
        "out_channels": 96,
        "filter": [11, 11],
        "stride": [4, 4],
        "padding": [2, 2],
        "dilation": [1, 1],
        "groups": 1,
        "batch": 128,
        "dtype": "fp32",
        "weights": 34848,
        "output": [55, 55],
        "input_shape": [128, 3, 224, 224],
        "output_shape": [128, 96, 55, 55],
        "macs": 13493145600,
        "bytes": 225894528,
        "macs_per_byte": pytest.approx(59.73, abs=0.005),
        "bytes_weights_reread": None,
        "macs_per_byte_weights_reread": None,
    }
    assert lstm["bytes"] == 7077888
    assert lstm["bytes_weights_reread"] == 39321600
    assert lstm["macs_per_byte_weights_reread"] == pytest.approx(21.33, abs=0.005)
    assert lstm["output"] is None


def test_json_is_a_list_in_the_suites_order_that_json_can_hold():
    found = suite.load("alexnet-2012")
    told = suite_table.as_json(found)
    assert json.loads(json.dumps(told)) == told
    assert [row["name"] for row in told] == [layer.name for layer in found.layers]
    assert {row["batch"] for row in told} == {found.batch}


def test_narrower_numbers_halve_the_bytes_and_leave_the_macs():
    found = suite.load("alexnet")
    for wide, narrow in zip(suite_table.as_json(found, 4, "fp32"), suite_table.as_json(found, 4, "bf16"), strict=True):
        assert narrow["bytes"] * 2 == wide["bytes"]
        assert narrow["macs"] == wide["macs"]


def test_the_table_shows_layers_totals_and_both_conventions_of_bytes():
    text = printed(suite_table.as_table(suite.load("alexnet"), 128))
    found = rows(text)
    assert found["conv2"][-7:] == ["614", "k", "238", "G", "548", "MB", "434.41"]
    assert found["lstm"][-7:] == ["131", "k", "839", "M", "7.08", "MB", "118.52"]
    assert found["total"] == ["total", "62.5", "M", "390", "G", "1.4", "GB", "278.31"]
    again = [line.split() for line in text.splitlines() if "weights read again each step" in line]
    assert [words[-3:] for words in again] == [["39.3", "MB", "21.33"], ["1.43", "GB", "272.05"]]


def test_a_table_without_time_steps_has_one_convention():
    text = printed(suite_table.as_table(suite.load("alexnet-2012")))
    assert "read again" not in text
    assert "batch 128 in fp32" in text


def test_no_number_is_cut_off_in_80_columns():
    for name in suite.names():
        wide = rows(printed(suite_table.as_table(suite.load(name)), 200))
        narrow = rows(printed(suite_table.as_table(suite.load(name)), 80))
        for layer in suite.load(name).layers:
            assert narrow[layer.name][-7:] == wide[layer.name][-7:]


def test_shapes_name_what_is_unusual():
    conv = {"name": "c", "in_channels": 4, "out_channels": 8, "filter": (3, 3)}
    assert suite_table.shape(Conv(**conv, input=(9, 9))) == "4→8, 9→7, 3×3"
    unusual = Conv(**conv, input=(9, 12), stride=(1, 2), padding=(1, 1), dilation=(2, 2), groups=2)
    assert suite_table.shape(unusual) == "4→8 in 2 groups, 9×12→7×5, 3×3, stride 1×2, pad 1, dilation 2"
    assert suite_table.shape(FC(name="f", in_features=3, out_features=5)) == "3→5"
    assert suite_table.shape(suite.load("alexnet").layers[-1]) == "128→128, 50 steps"


def test_a_description_in_square_brackets_is_shown_as_it_is():
    layers = (FC(name="f", in_features=3, out_features=5),)
    odd = Suite(name="odd", description="a [bold]word[/bold]", batch=2, layers=layers, source="odd.toml")
    assert "a [bold]word[/bold]" in printed(suite_table.as_table(odd))


def test_the_listing_has_a_row_for_each_built_in_suite():
    text = printed(suite_table.listing(), 200)
    assert rows(text)["alexnet"][1:5] == ["9", "128", "390", "G"]
    assert rows(text)["alexnet-2012"][1:5] == ["8", "128", "92.7", "G"]
    told = suite_table.listing_json()
    assert [row["name"] for row in told] == suite.names()
    for row in told:
        found = suite.load(row["name"])
        assert row["macs"] == sum(layer.macs(found.batch) for layer in found.layers)
        assert row["description"] in text
