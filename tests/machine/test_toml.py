"""Profiles as TOML: what is written is read again, and every mistake is one line that names file and entry."""

from __future__ import annotations

import contextlib
import tomllib
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from layerbench.errors import UsageError
from layerbench.layers import DTYPES, PASSES
from layerbench.machine import (
    Exchanged,
    Figure,
    Fit,
    KernelPoint,
    Link,
    Machine,
    exact,
    parse,
    rate_of,
    to_toml,
)
from layerbench.machine.read import DEVICES, MOMENT, OPERATIONS, PEAK, RATE
from layerbench.machine.write import _value
from tests.machine.made import LAYERS, MACHINE

LEAST = """
launch_seconds = 1e-5
bytes_per_second = 250e9
[peak_flops]
fp32 = 4e12
"""
"""The least that a profile must have."""

LINK = """
[between]
alpha_seconds = 1e-6
bytes_per_second = 6e9
"""


def read(text: str) -> Machine:
    return parse(text.encode(), "lab", "lab.toml")


def test_a_profile_of_a_data_sheet_is_a_few_lines() -> None:
    found = read(LEAST + LINK)
    assert found == Machine(
        name="lab",
        peak={"fp32": exact(4e12)},
        bandwidth=exact(250e9),
        launch=exact(1e-5),
        between=Link(alpha=exact(1e-6), beta=exact(1 / 6e9)),
    )


def test_a_figure_may_have_an_interval_and_a_source() -> None:
    text = LEAST.replace("250e9", '{ value = 250e9, low = 200e9, high = 260e9, source = "measured" }')
    assert read(text).bandwidth == Figure(value=250e9, low=200e9, high=260e9, source="measured")


def test_the_interval_of_a_bandwidth_is_that_of_its_inverse() -> None:
    text = LEAST + LINK.replace("6e9", "{ value = 4e9, low = 2e9, high = 8e9 }")
    between = read(text).between
    assert between is not None
    assert between.beta == Figure(value=1 / 4e9, low=1 / 8e9, high=1 / 2e9)
    assert rate_of(between.beta).low == pytest.approx(2e9)
    assert rate_of(between.beta).high == pytest.approx(8e9)


@pytest.mark.parametrize("rate", ["6e9", "8.3e9", "1.177e8", "123456789.0"])
def test_a_bandwidth_is_written_as_it_was_typed(rate: str) -> None:
    written = to_toml(read(LEAST + LINK.replace("6e9", rate)))
    assert f"bytes_per_second = {float(rate)!r}" in written.splitlines()


def test_sweeps_may_be_tables_of_their_own() -> None:
    text = LEAST + LINK + '[[between.sweep]]\noperation = "all_gather"\nranks = 2\nbytes = 8\nseconds = 1e-6\n'
    between = read(text).between
    assert between is not None
    assert between.sweeps == [Exchanged(operation="all_gather", ranks=2, bytes=8, seconds=1e-6, low=1e-6, high=1e-6)]


def test_a_machine_without_a_network_says_why() -> None:
    found = read('no_network = "one core"\n' + LEAST)
    assert found.between is None
    assert found.no_network == "one core"


def test_what_is_written_is_read_again() -> None:
    assert parse(to_toml(MACHINE).encode(), "made", "made.toml") == MACHINE


def test_what_is_written_can_be_read_by_a_person() -> None:
    lines = to_toml(MACHINE).splitlines()
    assert 'description = "One that has everything"' in lines
    assert 'launch_seconds = { value = 1e-05, source = "an estimate" }' in lines
    assert "fp64 = 1000000000000.0" in lines
    assert "[between]" in lines
    assert sum(line.startswith('    { operation = "all_reduce", ranks = 2, bytes = 4,') for line in lines) == 1


positive = st.floats(1e-30, 1e30, allow_nan=False)
peaks, rates, moments = (st.floats(known.least, known.most) for known in (PEAK, RATE, MOMENT))
text = st.text(st.characters(exclude_categories=("Cs", "Cc", "Zl", "Zp", "Cf", "Co", "Cn")), max_size=20).map(
    lambda words: " ".join(words.split())
)
count = st.integers(1, 2**63 - 1)


@st.composite
def figures(draw: st.DrawFn, numbers: st.SearchStrategy[float] = positive) -> Figure:
    low, value, high = sorted(draw(st.tuples(numbers, numbers, numbers)))
    return Figure(value=value, low=low, high=high, source=draw(text))


betas = figures(st.floats(2 * RATE.least, 1e15).map(lambda rate: 1 / rate)).filter(lambda figure: not figure.source)


@st.composite
def exchanges(draw: st.DrawFn) -> Exchanged:
    known = draw(figures())
    return Exchanged(
        operation=draw(st.sampled_from(OPERATIONS)),
        ranks=draw(st.integers(2, 2**20)),
        bytes=draw(count),
        seconds=known.value,
        low=known.low,
        high=known.high,
    )


fits = st.builds(
    Fit,
    operation=st.sampled_from(OPERATIONS),
    alpha=figures(),
    beta=betas,
    crossover=st.dictionaries(st.integers(2, 10**6), st.none() | st.integers(0, 2**40), max_size=3),
    residual=st.none() | st.floats(0, 10),
)
links = st.builds(
    Link,
    alpha=figures(moments),
    beta=betas,
    source=text,
    sweeps=st.lists(exchanges(), max_size=3),
    fits=st.lists(fits, max_size=2),
)


@st.composite
def kernels(draw: st.DrawFn) -> KernelPoint:
    known = draw(figures())
    return KernelPoint(
        layer=draw(st.sampled_from(LAYERS)),
        pass_=draw(st.sampled_from(PASSES)),
        batch=draw(count),
        dtype=draw(st.sampled_from(DTYPES)),
        seconds=known.value,
        low=known.low,
        high=known.high,
    )


machines = st.builds(
    Machine,
    name=st.just("any"),
    description=text,
    source=text,
    device=st.sampled_from(DEVICES),
    nodes=st.none() | count,
    ranks_per_node=count,
    peak=st.dictionaries(st.sampled_from(DTYPES), figures(peaks), min_size=1),
    bandwidth=figures(rates),
    memory_bytes=st.none() | positive,
    caches=st.lists(count, max_size=4).map(sorted),
    launch=figures(moments),
    between=st.none() | links,
    no_network=text,
    within=st.none() | links,
    kernels=st.lists(kernels(), max_size=2),
)


def test_a_fit_may_leave_next_to_nothing() -> None:
    left = "fit = [{ operation = 'all_reduce', alpha_seconds = 1, bytes_per_second = 1e6, residual = 1e-45 }]"
    link = read(LEAST + LINK + left).between
    assert link is not None
    assert [fit.residual for fit in link.fits] == [1e-45]


@given(machines)
def test_any_machine_that_is_written_is_read_again(machine: Machine) -> None:
    written = to_toml(machine)
    again = parse(written.encode(), "any", "any.toml")
    assert again.between == machine.between
    assert again == machine
    assert to_toml(again) == written
    tomllib.loads(written)


WRONG: list[tuple[str, list[str]]] = [
    ("launch_seconds = ", ["not valid TOML"]),
    ("", ["peak_flops", "missing"]),
    (LEAST.replace("fp32 = 4e12", ""), ["peak_flops", "missing"]),
    (LEAST.replace("launch_seconds = 1e-5", ""), ["launch_seconds", "missing"]),
    (LEAST.replace("bytes_per_second = 250e9", ""), ["bytes_per_second", "missing"]),
    (LEAST.replace("250e9", "-250e9"), ["bytes_per_second", "greater than 0", "-250000000000.0"]),
    (LEAST.replace("250e9", "0"), ["bytes_per_second", "greater than 0", "not 0"]),
    (LEAST.replace("250e9", "nan"), ["bytes_per_second", "nan"]),
    (LEAST.replace("250e9", "inf"), ["bytes_per_second", "inf"]),
    (LEAST.replace("250e9", "1e-300"), ["bytes_per_second", "from 1e-30 to 1e+30"]),
    (LEAST.replace("250e9", "1e300"), ["bytes_per_second", "from 1e-30 to 1e+30"]),
    (LEAST.replace("4e12", "4"), ["fp32", "FLOP/s (19.5 TFLOP/s is 19.5e12)", "not 4.0"]),
    (LEAST.replace("250e9", "250"), ["bytes_per_second", "900 GB/s is 900e9", "not 250.0"]),
    (LEAST.replace("1e-5", "5"), ["launch_seconds", "2 µs is 2e-6", "not 5.0"]),
    (LEAST + LINK.replace("1e-6", "1.5"), ["between", "alpha_seconds", "not 1.5"]),
    ('device = "gpu"\n' + LEAST, ["device", "host, cuda", "'gpu'"]),
    (LEAST.replace("250e9", "true"), ["bytes_per_second", "true"]),
    (LEAST.replace("250e9", '"fast"'), ["bytes_per_second", "'fast'"]),
    (LEAST.replace("250e9", "1" + "0" * 400), ["bytes_per_second", "bits"]),
    (LEAST.replace("250e9", "[250e9]"), ["bytes_per_second", "[250000000000.0]"]),
    (LEAST.replace("250e9", "{ low = 1.0 }"), ["bytes_per_second", "value", "missing"]),
    (LEAST.replace("250e9", "{ value = 2.0, low = 3.0, high = 4.0 }"), ["bytes_per_second", "3.0, 2.0 and 4.0"]),
    (LEAST.replace("250e9", "{ value = 2.0, low = 1.0 }"), ["bytes_per_second", "high", "missing"]),
    (LEAST.replace("250e9", "{ value = 2.0, low = 1.0, high = -4.0 }"), ["bytes_per_second", "high", "-4.0"]),
    (LEAST.replace("250e9", "{ value = 2.0, source = 3 }"), ["bytes_per_second", "source", "text"]),
    (LEAST.replace("250e9", "{ value = 2.0, sauce = 'x' }"), ["bytes_per_second", "'sauce'", "did you mean 'source'"]),
    (LEAST.replace("launch_seconds", "launch_secs"), ["'launch_secs'", "did you mean 'launch_seconds'"]),
    (LEAST.replace("fp32", "fp33"), ["peak_flops", "'fp33'", "did you mean 'fp32'"]),
    (LEAST.replace("4e12", "-4e12"), ["peak_flops", "fp32", "-4000000000000.0"]),
    ("peak_flops = 3\n", ["peak_flops", "[peak_flops]", "3"]),
    ("nodes = 0\n" + LEAST, ["nodes", "at least 1", "0"]),
    ("nodes = 1.5\n" + LEAST, ["nodes", "whole number", "1.5"]),
    ("nodes = 1" + "0" * 30 + "\n" + LEAST, ["nodes"]),
    ("ranks_per_node = -2\n" + LEAST, ["ranks_per_node", "-2"]),
    ("memory_bytes = -1\n" + LEAST, ["memory_bytes", "-1"]),
    ("caches = [2, 1]\n" + LEAST, ["caches", "smallest first", "[2, 1]"]),
    ("caches = [0]\n" + LEAST, ["caches", "[0]"]),
    ("caches = 7\n" + LEAST, ["caches", "7"]),
    ('description = "a\\u001b[2Jb"\n' + LEAST, ["description", "control characters"]),
    ("description = 3\n" + LEAST, ["description", "text"]),
    (LEAST + "between = 3\n", ["peak_flops", "'between'"]),
    (LEAST + LINK.replace("alpha_seconds", "alpha_second"), ["between", "'alpha_second'", "did you mean"]),
    (LEAST + LINK.replace("bytes_per_second = 6e9", ""), ["between", "bytes_per_second", "missing"]),
    (LEAST + LINK.replace("1e-6", "0.0"), ["between", "alpha_seconds", "greater than 0"]),
    (LEAST + LINK + "sweep = 3", ["between", "sweep", "[[sweep]]", "3"]),
    (LEAST + LINK + "sweep = [{ operation = 'all_reduced' }]", ["sweep 1", "operation", "did you mean 'all_reduce'"]),
    (LEAST + LINK + "sweep = [{ operation = 'all_reduce', ranks = 1 }]", ["sweep 1", "ranks", "at least 2"]),
    (LEAST + LINK + "sweep = [{}]", ["sweep 1", "operation", "missing"]),
    (LEAST + LINK + "fit = [{ operation = 'all_reduce' }]", ["fit 1", "alpha_seconds", "missing"]),
    (
        LEAST + LINK + "fit = [{ operation = 'all_reduce', alpha_seconds = 1, bytes_per_second = 1, residual = -1 }]",
        ["fit 1", "residual", "at least 0"],
    ),
    (
        LEAST
        + LINK
        + "fit = [{ operation = 'all_reduce', alpha_seconds = 1, bytes_per_second = 1, crossover_bytes = { 4 = -1 } }]",
        ["fit 1", "crossover_bytes", "-1 for '4'"],
    ),
    (
        LEAST
        + LINK
        + "fit = [{ operation = 'all_reduce', alpha_seconds = 1, bytes_per_second = 1, crossover_bytes = 3 }]",
        ["fit 1", "crossover_bytes", "3"],
    ),
    (LEAST + "[[kernel]]\nseconds = 1.0\n", ["kernel 1", "layer"]),
    (
        LEAST + '[[kernel]]\nlayer = { kind = "fc", name = "a", in_features = 0, out_features = 1 }\nseconds = 1.0\n',
        ["kernel 1", "layer", "in_features", "at least 1"],
    ),
    (
        LEAST + '[[kernel]]\nseconds = 1.0\n[kernel.layer]\nkind = "split-lstm"\n',
        ["kernel 1", "layer", "split-lstm"],
    ),
]  # fmt: skip


@pytest.mark.parametrize(("text", "words"), WRONG)
def test_a_mistake_in_a_profile_is_one_line(text: str, words: list[str]) -> None:
    with pytest.raises(UsageError) as caught:
        read(text)
    said = str(caught.value)
    assert "\n" not in said
    assert said.startswith("lab.toml: ")
    for word in words:
        assert word in said, said


@pytest.mark.parametrize(
    ("content", "word"),
    [(b"\xff\xfe = 1", "not valid TOML"), (b"x = " + b"[" * 5000, "TOML"), (b"#" * (2**20 + 1), "larger than 1.05 MB")],
)
def test_what_is_no_profile_at_all_is_refused(content: bytes, word: str) -> None:
    with pytest.raises(UsageError, match=word) as caught:
        parse(content, "lab", "lab.toml")
    assert "\n" not in str(caught.value)


@given(
    st.recursive(
        st.booleans() | st.integers() | st.floats() | text,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["value", "low", "x"]), inner),
        max_leaves=5,
    ),
    st.sampled_from(
        ["launch_seconds", "peak_flops", "between", "caches", "nodes", "kernel", "within", "description", "device"]
    ),
)
def test_no_value_of_an_entry_is_more_than_a_mistake(value: Any, entry: str) -> None:
    document: dict[str, Any] = {**tomllib.loads(LEAST + LINK), entry: value}
    with contextlib.suppress(UsageError):
        read("".join(f"{name} = {_value(each)}\n" for name, each in document.items()))


def test_kernel_layers_are_those_of_a_suite() -> None:
    written = to_toml(msgspec.structs.replace(MACHINE, between=None, within=None))
    table = tomllib.loads(written)["kernel"]
    assert [each["layer"]["kind"] for each in table] == ["conv", "fc", "lstm"]
    assert table[0]["layer"]["input"] == [13, 9]
