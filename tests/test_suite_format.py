import copy
import datetime
import importlib.resources
import json
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from layerbench import suite_format
from layerbench.errors import SuiteError
from layerbench.layers import FC, LSTM, Conv
from layerbench.suite_format import MAX_SIZE, Suite, flat, parse, printable

CONV = {"kind": "conv", "name": "conv1", "input": 8, "in_channels": 4, "out_channels": 6, "filter": 3}
FC_ = {"kind": "fc", "name": "fc2", "in_features": 10, "out_features": 5}
LSTM_ = {"kind": "lstm", "name": "lstm3", "input_size": 3, "hidden_size": 4, "time_steps": 5}
VALID = {"name": "tiny", "description": "three kinds", "batch": 4, "layer": [CONV, FC_, LSTM_]}


def toml(value: object) -> str:
    """A value as inline TOML."""
    match value:
        case bool():
            return str(value).lower()
        case str():
            return '"' + "".join(c if c.isprintable() and c not in '"\\' else f"\\U{ord(c):08X}" for c in value) + '"'
        case list():
            return "[" + ", ".join(map(toml, value)) + "]"
        case dict():
            return "{" + ", ".join(f"{toml(k)} = {toml(v)}" for k, v in value.items()) + "}"
        case datetime.date():
            return value.isoformat()
        case _:
            return str(value)


def document(value: dict) -> str:
    """A dict as a TOML document, ``layer`` as an array of inline tables."""
    return "".join(f"{toml(key)} = {toml(part)}\n" for key, part in value.items())


def read(value: dict) -> Suite:
    return parse(document(value).encode(), "tiny.toml")


def mistake(content: str | bytes) -> str:
    with pytest.raises(SuiteError) as caught:
        parse(content.encode() if isinstance(content, str) else content, "tiny.toml")
    message = str(caught.value)
    assert message.isprintable(), message
    assert message.startswith("tiny.toml: "), message
    return message.removeprefix("tiny.toml: ")


def changed(index: int, **change: object) -> str:
    layers = copy.deepcopy(VALID["layer"])
    layers[index] |= change
    return document(VALID | {"layer": layers})


def without(index: int, field: str) -> str:
    layers = copy.deepcopy(VALID["layer"])
    del layers[index][field]
    return document(VALID | {"layer": layers})


def test_a_valid_suite_is_read_whole():
    found = read(VALID)
    assert found == Suite(
        name="tiny",
        description="three kinds",
        batch=4,
        layers=(
            Conv(name="conv1", input=(8, 8), in_channels=4, out_channels=6, filter=(3, 3)),
            FC(name="fc2", in_features=10, out_features=5),
            LSTM(name="lstm3", input_size=3, hidden_size=4, time_steps=5),
        ),
        source="tiny.toml",
    )


def test_the_module_docstring_shows_a_suite_that_can_be_read():
    example = "\n".join(line for line in suite_format.__doc__.splitlines() if line.startswith("    "))
    found = parse("\n".join(line[4:] for line in example.splitlines()).encode(), "example.toml")
    assert found.batch == 64
    assert [layer.kind for layer in found.layers] == ["conv", "fc"]
    assert found.layers[0].output == (55, 55)
    assert not found.layers[0].backward_data_in_step


def test_pairs_are_height_and_width():
    (layer,) = read(
        {
            "layer": [
                CONV
                | {"input": [20, 30], "filter": [1, 5], "stride": [2, 3], "padding": [0, 2], "dilation": [1, 2]}
                | {"groups": 2}
            ]
        }
    ).layers
    assert (layer.input, layer.filter, layer.stride) == ((20, 30), (1, 5), (2, 3))
    assert (layer.padding, layer.dilation, layer.groups) == ((0, 2), (1, 2), 2)


def test_what_is_left_out_has_its_default():
    found = read({"layer": [FC_]})
    assert (found.name, found.description, found.batch) == ("tiny", "", 128)
    assert found.layers[0].backward_data_in_step


def test_a_byte_order_mark_and_a_description_over_several_lines_are_taken():
    content = '\ufeffdescription = """\nover two\n  lines"""\n' + document({"layer": [FC_]})
    assert parse(content.encode(), "x.toml").description == "over two lines"


MISTAKES = [
    # what is wrong with the document
    ("", "has no layers; expected at least one [[layer]] table"),
    ("layer = []", "has no layers"),
    ("layer = 3", "layer: expected one [[layer]] table for each layer, not 3"),
    ('[layer]\nkind = "fc"', "layer: expected one [[layer]] table for each layer, not a table"),
    ("layer = [1]", "layer: expected one [[layer]] table for each layer, not [1]"),
    ('[[layers]]\nkind = "fc"', "unknown field 'layers' (did you mean 'layer'?); a suite has name, description,"),
    (document(VALID | {"batchs": 3}), "unknown field 'batchs' (did you mean 'batch'?)"),
    (document(VALID | {"batch": 0}), f"batch: expected a whole number from 1 to {MAX_SIZE}, not 0"),
    (document(VALID | {"batch": "many"}), f"batch: expected a whole number from 1 to {MAX_SIZE}, not 'many'"),
    (document(VALID | {"name": "../x"}), "name: expected up to 64 letters, digits and . _ + -"),
    (document(VALID | {"name": ""}), "name: expected up to 64 letters"),
    (document(VALID | {"name": "a" * 65}), "name: expected up to 64 letters"),
    (document(VALID | {"description": "<script>"}), "description: expected text without control characters, < and >"),
    (document(VALID | {"description": "\x1b[31mred"}), r"description: expected text"),
    (document(VALID | {"description": 3}), "not 3"),
    ("batch = = 1", "is not valid TOML: Invalid value (at line 1, column 9)"),
    ("batch = 1\nbatch = 2\n", "is not valid TOML: Cannot overwrite a value (at line 2, column 10)"),
    ("x = " + "[" * 5000, "is nested too deeply"),
    ("x = " + "9" * 5000, "is not valid TOML: "),
    (b'# fine\nname = "caf\xe9"', "line 2: is not UTF-8 (byte 0xe9); save it as UTF-8"),
    (b"#" * (2**20 + 1), "is larger than 1.05 MB"),
    # what is wrong with a layer
    (without(0, "kind"), "layer 1 (conv1): kind: is missing; expected one of conv, fc, lstm"),
    (
        changed(0, kind="cnov"),
        "layer 1 (conv1): kind: expected one of conv, fc, lstm, not 'cnov' (did you mean 'conv'?)",
    ),
    (changed(0, kind=["conv"]), "layer 1 (conv1): kind: expected one of conv, fc, lstm, not ['conv']"),
    (
        changed(0, strid=2),
        "layer 1 (conv1): unknown field 'strid' (did you mean 'stride'?); conv has kind, name, ",
    ),
    (changed(1, stride=2), "layer 2 (fc2): unknown field 'stride'; fc has kind, name, "),
    (
        without(2, "time_steps"),
        "layer 3 (lstm3): time_steps: is missing; lstm needs name, input_size, hidden_size, time_steps",
    ),
    (without(1, "name"), "layer 2: name: is missing; fc needs name, in_features, out_features"),
    (changed(1, name="conv1"), "layer 2 (conv1): name: 'conv1' is the name of layer 1 too; names must differ"),
    (changed(1, name="a/b"), "layer 2: name: expected up to 64 letters, digits and . _ + -"),
    (changed(1, name="a\nb"), r"not 'a\nb'"),
    (changed(1, name="<b>"), "layer 2: name: expected up to 64 letters"),
    (changed(1, name="-x"), "of which the first is a letter or digit, not '-x'"),
    (changed(1, name="fünf"), "layer 2: name: expected up to 64 letters"),
    (changed(1, name=7), "layer 2: name: expected up to 64 letters"),
    (changed(1, in_features=0), f"layer 2 (fc2): in_features: expected a whole number from 1 to {MAX_SIZE}, not 0"),
    (changed(1, in_features=-3), "layer 2 (fc2): in_features: expected a whole number from 1 to 2147483647, not -3"),
    (changed(1, in_features=3.0), "layer 2 (fc2): in_features: expected a whole number from 1 to 2147483647, not 3.0"),
    (changed(1, in_features="3"), "in_features: expected a whole number from 1 to 2147483647, not '3'"),
    (changed(1, in_features=True), "in_features: expected a whole number from 1 to 2147483647, not true"),
    (changed(1, in_features={}), "in_features: expected a whole number from 1 to 2147483647, not a table"),
    (changed(1, in_features=datetime.date(2020, 1, 2)), "2147483647, not 2020-01-02"),
    (changed(1, in_features=2**31), "in_features: expected a whole number from 1 to 2147483647, not 2147483648"),
    (changed(1, in_features=2**200), "2147483647, not a number of 201 bits"),
    (changed(1, in_features="x" * 99), "not 'xxxxxxxx"),
    (changed(1, in_features=[1, [2]]), "2147483647, not [1, [...]]"),
    (changed(0, padding=-1), "layer 1 (conv1): padding: expected a whole number from 0 to 2147483647, not -1"),
    (changed(0, input=[8]), "layer 1 (conv1): input: expected one number or [height, width], not [8]"),
    (changed(0, input=[8, 8, 8]), "input: expected one number or [height, width], not [8, 8, 8]"),
    (changed(0, input=[8, 0.5]), "input: expected a whole number from 1 to 2147483647, not 0.5"),
    (
        changed(0, filter=9),
        "layer 1 (conv1): filter: must fit the padded input: its height reaches over 9 pixels (with dilation), "
        "the padded input has 8",
    ),
    (
        changed(0, filter=[3, 11], padding=1),
        "its width reaches over 11 pixels (with dilation), the padded input has 10",
    ),
    (changed(0, groups=3), "layer 1 (conv1): groups: must divide in_channels = 4, and 3 does not"),
    (changed(0, groups=4), "layer 1 (conv1): groups: must divide out_channels = 6, and 4 does not"),
    (changed(0, backward_data_in_step=0), "layer 1 (conv1): backward_data_in_step: expected true or false, not 0"),
    (changed(0, backward_data_in_step="no"), "backward_data_in_step: expected true or false, not 'no'"),
]


@pytest.mark.parametrize(("content", "words"), MISTAKES, ids=[words[:60] for _, words in MISTAKES])
def test_each_mistake_gives_its_one_line(content, words):
    assert words in mistake(content)


def test_the_line_stays_short_whatever_came():
    assert len(mistake(changed(1, in_features=["x" * 1000] * 100))) < 250


def reads_or_tells(content: bytes) -> None:
    """The whole contract of the reader: a Suite, or one SuiteError of one printable line."""
    told = "tiny.toml: "
    try:
        found = parse(content, "tiny.toml")
        assert found.layers
        assert all(layer.macs(1) > 0 for layer in found.layers)
    except SuiteError as error:
        told = str(error)
    assert told.isprintable(), repr(told)
    assert told.startswith("tiny.toml: ")


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_told(content):
    reads_or_tells(content)


@given(st.text(max_size=200))
def test_any_text_is_read_or_told(text):
    reads_or_tells(text.encode(errors="replace"))


@given(st.integers(0, 10**6), st.text(max_size=3), st.integers(0, 4))
def test_any_edit_of_a_real_file_is_read_or_told(place, inserted, removed):
    text = (importlib.resources.files("layerbench.suites") / "alexnet.toml").read_text()
    place %= len(text)
    reads_or_tells((text[:place] + inserted + text[place + removed :]).encode(errors="replace"))


scalars = st.one_of(
    st.integers(-(2**40), 2**40),
    st.integers(0, 12),
    st.floats(),
    st.booleans(),
    st.text(max_size=8),
    st.sampled_from(["conv", "fc", "lstm", "conv1"]),
    st.dates(),
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
fields = st.sampled_from(sorted({*CONV, *FC_, *LSTM_, "stride", "padding", "dilation", "groups"}))


@st.composite
def mutated(draw) -> dict:
    found = copy.deepcopy(VALID)
    for _ in range(draw(st.integers(1, 3))):
        table = draw(st.sampled_from([found, *(x for x in found["layer"] if isinstance(x, dict))]))
        key = draw(st.sampled_from(["name", "batch", "description"]) if table is found else fields)
        match draw(st.sampled_from(["set", "delete", "rename", "repeat"])):
            case "set":
                table[key] = draw(values)
            case "delete":
                table.pop(key, None)
            case "rename" if key in table:
                table[draw(st.text(max_size=8))] = table.pop(key)
            case "repeat":
                found["layer"].append(draw(st.sampled_from(found["layer"])) | {"name": draw(st.text(max_size=5))})
    return found


@settings(max_examples=300)
@given(mutated())
def test_any_mutation_of_a_valid_suite_is_read_or_told(found):
    reads_or_tells(document(found).encode(errors="replace"))


def test_the_mutations_do_reach_valid_suites_and_many_mistakes():
    told: set[str] = set()

    @settings(max_examples=300, database=None, derandomize=True)
    @given(mutated())
    def collect(found):
        try:
            parse(document(found).encode(errors="replace"), "tiny.toml")
            told.add("valid")
        except SuiteError as error:
            told.add(str(error).partition(" expected")[0][:40])

    collect()
    assert "valid" in told
    assert len(told) > 20, json.dumps(sorted(told), indent=1)


SPACES = "\u00a0\u202f\u2003\u3000"
"""At which no line breaks, or of a width of their own."""


@pytest.mark.parametrize("make", [printable, flat])
def test_spaces_of_every_width_are_shown_as_they_are(make: Callable[[str], str]) -> None:
    for space in SPACES:
        assert make(f"± 8.6{space}%") == f"± 8.6{space}%"


def test_control_characters_are_escaped_and_gaps_are_one_space() -> None:
    assert printable("a\x1b[2J\x9b\u200e\u2028") == r"a\x1b[2J\x9b\u200e\u2028"
    assert flat(" two \t\r\nlines\u2028and\x85\x1c a third\n") == "two lines and a third"
