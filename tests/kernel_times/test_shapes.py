from __future__ import annotations

import math

import pytest

from layerbench import reference
from layerbench.errors import UsageError
from layerbench.kernel_times.shapes import FEATURES, OPS, parse, recurrent
from layerbench.layers import FC, PASSES, Conv, Pass

IMAGE = Conv(
    name="image", input=(224, 200), in_channels=3, out_channels=64, filter=(7, 5), padding=(3, 2), stride=(2, 2)
)
DENSE = FC(name="dense", in_features=4096, out_features=1000)


@pytest.mark.parametrize("pass_", PASSES)
@pytest.mark.parametrize("layer", [IMAGE, DENSE], ids=lambda layer: layer.kind)
def test_a_layers_work_and_traffic_are_those_that_layers_have(layer: Conv | FC, pass_: Pass) -> None:
    listed = reference.params_of(layer, 16, pass_)
    assert listed is not None
    shape = parse(listed[0], reference.pass_of(listed[0], pass_), listed[1], "here")
    assert shape.macs == layer.macs(16)
    assert 4 * shape.elements == layer.bytes(16)


def test_a_recurrent_layer_reads_its_weights_at_every_step_but_for_their_gradient() -> None:
    params = "hidden=512;batch=16;timesteps=25;cell=lstm"
    forward, weights = (parse("rnn", pass_, params, "here") for pass_ in ("forward", "backward_weights"))
    assert forward.macs == weights.macs == 25 * 16 * 4 * 512 * 512
    assert forward.elements == 25 * (4 * 512 * 512 + 16 * 5 * 512)
    assert weights.elements == 4 * 512 * 512 + 25 * 16 * 5 * 512


def test_a_roofline_is_the_greater_of_arithmetic_and_traffic() -> None:
    shape = parse("gemm", "forward", "m=100;n=10;k=1000;a_t=0;b_t=1", "here")
    assert shape.roofline(1e12, 1e20) == pytest.approx(2e6 / 1e12)
    assert shape.roofline(1e20, 1e9) == pytest.approx(4 * (1000 + 100_000 + 10_000) / 1e9)
    assert shape.roofline(1e20, 1e9, itemsize=2) == pytest.approx(2 * (1000 + 100_000 + 10_000) / 1e9)


def test_every_published_shape_is_read_and_has_finite_features() -> None:
    times = reference.published().astype({"op": "str", "pass": "str", "params": "str"})
    distinct = times[times["op"].isin(OPS)][["op", "pass", "params"]].drop_duplicates()
    for op, pass_, params in distinct.itertuples(index=False):
        shape = parse(op, pass_, params, "here")
        assert len(shape.features) == len(FEATURES[op])
        assert all(map(math.isfinite, shape.features))


@pytest.mark.parametrize(
    ("op", "params"),
    [
        ("gemm", ""),
        ("gemm", "m=1;n=1;k=1;a_t=0"),
        ("gemm", "m=1;n=1;k=1;a_t=0;b_t=0;x=1"),
        ("gemm", "m=1;n=1;k=0;a_t=0;b_t=0"),
        ("gemm", "m=1;n=-1;k=1;a_t=0;b_t=0"),
        ("gemm", "m=1;m=1;n=1;k=1;a_t=0;b_t=0"),
        ("gemm", "m=1.5;n=1;k=1;a_t=0;b_t=0"),
        ("rnn", "hidden=1;batch=1;timesteps=1;cell=mamba"),
        ("rnn", "hidden=1;batch=1;timesteps=1;cell=4"),
        ("rnn", "hidden=1;batch=lstm;timesteps=1;cell=lstm"),
        ("conv", "w=8;h=8;c=1;n=1;k=1;filter_w=3;filter_h=3;pad_w=0;pad_h=0;stride_w=0;stride_h=1"),
        ("conv", "\x1b[31m"),
    ],
)
def test_what_is_no_shape_is_told_with_what_is_expected(op: str, params: str) -> None:
    with pytest.raises(UsageError, match=f"here: params .* are not those of {op}; expected ") as caught:
        parse(op, "forward", params, "here")
    assert str(caught.value).isprintable()


def test_a_filter_that_does_not_fit_is_told() -> None:
    params = "w=8;h=2;c=1;n=1;k=1;filter_w=3;filter_h=5;pad_w=0;pad_h=1;stride_w=1;stride_h=1"
    with pytest.raises(UsageError, match="filter_h=5 does not fit 4 padded pixels"):
        parse("conv", "forward", params, "here")


def test_a_layer_with_all_of_its_units_is_as_wide_as_it_is_deep() -> None:
    part = recurrent("forward", units=64, hidden=1024, batch=8, steps=10, gates=4)
    square = recurrent("forward", units=256, hidden=256, batch=8, steps=10, gates=4)
    assert part.macs == square.macs
    assert part.features[2] == square.features[2] == pytest.approx(math.log(256))
