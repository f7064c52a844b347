import importlib.resources
import os

import pytest

from layerbench import suite
from layerbench.errors import SuiteError, UsageError
from layerbench.layers import FC
from layerbench.suite import Suite

TINY = '[[layer]]\nkind = "fc"\nname = "fc1"\nin_features = 100\nout_features = 50\n'


def test_the_built_in_suites_are_known_by_name():
    assert {"alexnet", "alexnet-2012"} <= set(suite.names())
    assert suite.names() == sorted(suite.names())


@pytest.mark.parametrize("name", suite.names())
def test_every_built_in_suite_reads_and_is_named_for_its_file(name):
    found = suite.load(name)
    assert found.name == name
    assert found.source == f"suites/{name}.toml"
    assert found.description


@pytest.mark.parametrize("name", suite.names())
def test_only_a_networks_first_layer_is_spared_backward_data(name):
    assert [layer.name for layer in suite.load(name).layers if not layer.backward_data_in_step] == ["conv1"]


def test_the_two_alexnets_differ_as_their_files_say():
    reported, published = suite.load("alexnet"), suite.load("alexnet-2012")
    assert [layer.name for layer in reported.layers][:-1] == [layer.name for layer in published.layers]
    assert reported.layers[-1].kind == "lstm"
    assert [layer.groups for layer in published.layers[:5]] == [1, 2, 1, 2, 2]
    assert [layer.input[0] for layer in published.layers[:5]] == [227, 27, 13, 13, 13]
    assert reported.batch == published.batch == 128


def test_a_suite_is_read_by_path(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(TINY)
    for given in (path, str(path)):
        found = suite.load(given)
        assert found.layers == (FC(name="fc1", in_features=100, out_features=50),)
        assert found.name == "mine"
        assert found.source == str(path)


def test_a_file_name_that_is_no_name_is_made_one(tmp_path):
    path = tmp_path / "my <own> net.toml"
    path.write_text(TINY)
    assert suite.load(path).name == "my-own-net"


def test_a_built_in_name_counts_before_a_file_of_that_name(tmp_path, monkeypatch):
    (tmp_path / "alexnet").mkdir()
    monkeypatch.chdir(tmp_path)
    assert suite.load("alexnet").name == "alexnet"


def refusal(wanted: object) -> str:
    with pytest.raises(SuiteError) as caught:
        suite.load(wanted)
    assert str(caught.value).isprintable()
    return str(caught.value)


def test_a_misspelled_name_is_told_with_the_names_there_are():
    told = refusal("alexnt")
    assert told.startswith("alexnt: no such suite or file (did you mean 'alexnet'?)")
    assert "alexnet, alexnet-2012" in told


def test_a_missing_file_a_directory_and_a_null_character(tmp_path):
    assert "no such suite or file" in refusal(tmp_path / "none.toml")
    assert refusal(tmp_path) == f"{tmp_path}: is a directory; expected a .toml file"
    assert "cannot be read: embedded null byte" in refusal("a\0b")
    assert "cannot be read: File name too long" in refusal("x" * 5000)
    assert refusal("a\n\x1b[31mb").startswith(r"a\n\x1b[31mb: no such")


def test_a_file_that_may_not_be_read(tmp_path):
    path = tmp_path / "secret.toml"
    path.write_text(TINY)
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("root may read every file")
    assert "cannot be read: Permission denied" in refusal(path)


def test_a_file_without_end_is_not_read_to_its_end():
    assert refusal("/dev/zero") == "/dev/zero: is larger than 1.05 MB; expected a suite in TOML"


def test_a_mistake_in_a_file_names_the_file_as_it_was_given(tmp_path):
    path = tmp_path / "bad.toml"
    path.write_text(TINY.replace("100", "0"))
    assert refusal(path).startswith(f"{path}: layer 1 (fc1): in_features: ")


def chosen(pattern: str) -> list[str]:
    return [layer.name for layer in suite.select(suite.load("alexnet"), pattern)]


def test_select_takes_patterns_and_keeps_the_suites_order():
    assert chosen("conv*") == ["conv1", "conv2", "conv3", "conv4", "conv5"]
    assert chosen("lstm, fc[67]") == ["fc6", "fc7", "lstm"]
    assert chosen("conv?,conv1") == chosen("conv*")
    assert len(chosen("")) == len(chosen("*")) == 9


@pytest.mark.parametrize("pattern", ["conv9", "conv*,gru", ",", "conv1,", "CONV1"])
def test_a_pattern_that_matches_nothing_is_told_with_the_layers_there_are(pattern):
    with pytest.raises(UsageError) as caught:
        chosen(pattern)
    assert "matches no layer of alexnet, which has conv1, conv2, conv3, conv4, conv5, fc6, fc7, fc8, lstm" in str(
        caught.value
    )


def fc_suite(in_features: int) -> Suite:
    layers = (
        FC(name="small", in_features=1, out_features=1),
        FC(name="big", in_features=in_features, out_features=1000),
    )
    return Suite(name="s", description="", batch=1, layers=layers, source="s.toml")


def test_what_fits_in_memory_passes_and_one_byte_less_does_not():
    found = fc_suite(1000)
    needed = suite.memory_needed(found.layers[1], 8, "fp32")
    assert needed == 3 * 4 * (8 * 1000 + 1000 * 1000 + 8 * 1000)
    suite.check_memory(found, found.layers, 8, "fp32", needed)
    suite.check_memory(found, found.layers, 8, "fp32", 2 * needed, ranks=2)
    with pytest.raises(UsageError, match=f"{needed} bytes.*{needed - 1} bytes"):
        suite.check_memory(found, found.layers, 8, "fp32", needed - 1)
    with pytest.raises(UsageError, match="on each of 2 ranks"):
        suite.check_memory(found, found.layers, 8, "fp32", 2 * needed - 1, ranks=2)


def test_a_shape_beyond_the_machine_is_told_before_it_is_allocated():
    found = fc_suite(2**31 - 1)
    with pytest.raises(UsageError) as caught:
        suite.check_memory(found, found.layers[1:], 2**31 - 1, "fp64", 2**34)
    told = str(caught.value)
    assert told.startswith("s.toml: layer 2 (big): batch 2147483647 in fp64 needs ")
    assert "17.2 GB (17179869184 bytes) are available" in told
    assert told.isprintable()


def test_narrow_dtypes_need_less_memory():
    found = fc_suite(1000)
    needed = suite.memory_needed(found.layers[1], 8, "bf16")
    suite.check_memory(found, found.layers, 8, "bf16", needed)
    with pytest.raises(UsageError, match="layer 2"):
        suite.check_memory(found, found.layers, 8, "fp32", needed)


def test_suite_files_say_where_their_shapes_come_from():
    for name in suite.names():
        text = (importlib.resources.files("layerbench.suites") / f"{name}.toml").read_text()
        assert "# Source: " in text, f"suites/{name}.toml must name its source"
