import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from layerbench import suite
from layerbench.errors import LayerError
from layerbench.layers import FC, ITEMSIZE, LSTM, AnyLayer, Conv

# batch, layer, output pixels, weights, MACs, bytes, MAC/byte; forward pass, fp32, no bias
ALEXNET = """
1 conv1 55 34848 105415200 1903104 55.39
1 conv2 55 614400 1858560000 6716800 276.70
1 conv3 27 884736 644972544 5405184 119.32
1 conv4 13 1327104 224280576 5827584 38.49
1 conv5 13 884736 149520384 3971584 37.65
1 fc6 - 37748736 37748736 151048192 0.25
1 fc7 - 16777216 16777216 67141632 0.25
1 fc8 - 4096000 4096000 16404384 0.25
1 lstm - 131072 6553600 575488 11.39
128 conv1 55 34848 13493145600 225894528 59.73
128 conv2 55 614400 237895680000 547635200 434.41
128 conv3 27 884736 82556485632 242417664 340.55
128 conv4 13 1327104 28707913728 71761920 400.04
128 conv5 13 884736 19138609152 58916864 324.84
128 fc6 - 37748736 4831838208 157810688 30.62
128 fc7 - 16777216 2147483648 71303168 30.12
128 fc8 - 4096000 524288000 18993152 27.60
128 lstm - 131072 838860800 7077888 118.52
"""
ALEXNET_2012 = """
128 conv1 55 34848 13493145600 227972736 59.19
128 conv2 27 307200 28665446400 132612096 216.16
128 conv3 13 884736 19138609152 58916864 324.84
128 conv4 13 663552 14353956864 69107712 207.70
128 conv5 13 442368 9569304576 57147392 167.45
128 fc6 - 37748736 4831838208 157810688 30.62
128 fc7 - 16777216 2147483648 71303168 30.12
128 fc8 - 4096000 524288000 18993152 27.60
"""
ROWS = [("alexnet", *row.split()) for row in ALEXNET.strip().splitlines()]
ROWS += [("alexnet-2012", *row.split()) for row in ALEXNET_2012.strip().splitlines()]


def layer_of(suite_name: str, name: str) -> AnyLayer:
    (found,) = suite.select(suite.load(suite_name), name)
    return found


@pytest.mark.parametrize("row", ROWS, ids=lambda row: "-".join(row[:3]))
def test_the_published_tables_hold(row):
    suite_name, batch, name, output, weights, macs, size, intensity = row
    layer = layer_of(suite_name, name)
    if output != "-":
        assert layer.output == (int(output), int(output))
    assert layer.weights == int(weights)
    assert layer.macs(int(batch)) == int(macs)
    assert layer.bytes(int(batch)) == int(size)
    assert f"{layer.macs(int(batch)) / layer.bytes(int(batch)):.2f}" == intensity


def test_the_tables_cover_every_layer_of_the_suites():
    for name, batch in (("alexnet", "1"), ("alexnet", "128"), ("alexnet-2012", "128")):
        told = [row[2] for row in ROWS if row[:2] == (name, batch)]
        assert told == [layer.name for layer in suite.load(name).layers]


@pytest.mark.parametrize(
    ("batch", "size", "megabytes", "intensity"), [(128, 39_321_600, "39.3", 21.3), (1, 26_316_800, "26.3", 0.25)]
)
def test_lstm_traffic_where_every_step_reads_the_weights_again(batch, size, megabytes, intensity):
    lstm = layer_of("alexnet", "lstm")
    reread = lstm.bytes_weights_reread(batch)
    assert reread == size
    assert f"{reread / 1e6:.1f}" == megabytes
    assert lstm.macs(batch) / reread == pytest.approx(intensity, rel=0.005)


def test_layers_without_time_steps_have_one_convention_of_bytes():
    assert layer_of("alexnet", "conv1").bytes_weights_reread(8) is None
    assert layer_of("alexnet", "fc6").bytes_weights_reread(8) is None


def test_intensity_orders_fc_above_lstm_only_where_weights_are_read_again():
    fc, lstm = layer_of("alexnet", "fc6"), layer_of("alexnet", "lstm")
    fc_intensity = fc.macs(128) / fc.bytes(128)
    assert lstm.macs(128) / lstm.bytes_weights_reread(128) < fc_intensity < lstm.macs(128) / lstm.bytes(128)


sizes = st.integers(1, 12)


@st.composite
def convs(draw) -> Conv:
    groups = draw(st.integers(1, 4))
    pair = st.tuples(st.integers(1, 3), st.integers(1, 3))
    filter_, dilation = draw(pair), draw(pair)
    padding = draw(st.tuples(st.integers(0, 2), st.integers(0, 2)))
    reach = [d * (f - 1) + 1 for f, d in zip(filter_, dilation, strict=True)]
    least = [max(1, r - 2 * p) for r, p in zip(reach, padding, strict=True)]
    return Conv(
        name="c",
        input=tuple(size + draw(st.integers(0, 9)) for size in least),
        in_channels=groups * draw(sizes),
        out_channels=groups * draw(sizes),
        filter=filter_,
        stride=draw(pair),
        padding=padding,
        dilation=dilation,
        groups=groups,
    )


layers = st.one_of(
    convs(),
    st.builds(FC, name=st.just("f"), in_features=sizes, out_features=sizes),
    st.builds(LSTM, name=st.just("l"), input_size=sizes, hidden_size=sizes, time_steps=sizes),
)


@given(convs())
def test_output_size_is_the_number_of_places_the_filter_fits(conv):
    for axis in (0, 1):
        first = -conv.padding[axis]
        reach = conv.dilation[axis] * (conv.filter[axis] - 1)
        last = conv.input[axis] + conv.padding[axis] - 1
        places = [at for at in range(first, last + 1, conv.stride[axis]) if at + reach <= last]
        assert conv.output[axis] == len(places)


@given(convs(), st.integers(1, 5))
def test_conv_macs_are_the_innermost_iterations_of_the_loop_nest(conv, batch):
    loops = [range(batch), range(conv.out_channels), *map(range, conv.output)]
    inner = math.prod((conv.in_channels // conv.groups, *conv.filter))
    assert conv.macs(batch) == inner * sum(1 for _ in itertools.product(*loops))
    assert conv.fan_in == inner


@given(layers, st.integers(1, 64), st.integers(1, 64))
def test_macs_are_proportional_to_the_batch(layer, batch, times):
    assert layer.macs(batch * times) == times * layer.macs(batch)


@given(convs(), st.integers(2, 4))
def test_groups_divide_macs_and_weights(conv, groups):
    shape = {"name": "c", "input": conv.input, "filter": conv.filter, "padding": conv.padding}
    shape |= {"dilation": conv.dilation, "in_channels": groups * 3, "out_channels": groups * 2}
    whole, split = Conv(**shape), Conv(**shape, groups=groups)
    assert split.macs(7) * groups == whole.macs(7)
    assert split.weights * groups == whole.weights
    assert split.output == whole.output


@given(layers, st.integers(1, 64), st.sampled_from(sorted(ITEMSIZE)))
def test_bytes_are_those_of_input_weights_and_output(layer, batch, dtype):
    elements = math.prod(layer.input_shape(batch)) + math.prod(layer.output_shape(batch))
    elements += sum(math.prod(shape) for shape in layer.weight_shapes.values())
    assert layer.bytes(batch, dtype) == elements * ITEMSIZE[dtype]
    assert layer.operand_bytes(batch, dtype) == 2 * layer.bytes(batch, dtype)


@given(st.integers(2, 50), sizes)
def test_reading_weights_again_costs_more_than_once(steps, batch):
    lstm = LSTM(name="l", input_size=5, hidden_size=7, time_steps=steps)
    assert lstm.bytes_weights_reread(batch) > lstm.bytes(batch)


def test_sizes_stay_exact_beyond_64_bits():
    big = 2**31 - 1
    assert FC(name="f", in_features=big, out_features=big).macs(big) == big**3


CONV = {"name": "c", "input": (5, 5), "in_channels": 4, "out_channels": 6, "filter": (3, 3)}


@pytest.mark.parametrize(
    ("change", "field", "words"),
    [
        ({"input": (5, 0)}, "input", "at least 1, not 0"),
        ({"in_channels": -4}, "in_channels", "at least 1, not -4"),
        ({"padding": (0, -1)}, "padding", "at least 0, not -1"),
        ({"stride": (0, 1)}, "stride", "at least 1, not 0"),
        ({"groups": 3}, "groups", "must divide in_channels = 4, and 3 does not"),
        ({"groups": 4}, "groups", "must divide out_channels = 6, and 4 does not"),
        ({"filter": (6, 3)}, "filter", "height reaches over 6 pixels (with dilation), the padded input has 5"),
        ({"dilation": (1, 3)}, "filter", "width reaches over 7 pixels (with dilation), the padded input has 5"),
    ],
)
def test_impossible_shapes_are_refused(change, field, words):
    with pytest.raises(LayerError) as caught:
        Conv(**CONV | change)
    assert caught.value.field == field
    assert words in str(caught.value)
    assert str(caught.value).startswith(f"{field}: ")


def test_a_filter_as_large_as_the_padded_input_is_allowed():
    assert Conv(**CONV | {"filter": (7, 7), "padding": (1, 1)}).output == (1, 1)


@pytest.mark.parametrize(
    ("layer", "kind"),
    [
        (Conv(**CONV), "conv"),
        (FC(name="f", in_features=1, out_features=1), "fc"),
        (LSTM(name="l", input_size=1, hidden_size=1, time_steps=1), "lstm"),
    ],
)
def test_kind_is_what_a_suite_file_calls_it(layer, kind):
    assert layer.kind == kind


@pytest.mark.parametrize("field", ["input_size", "hidden_size", "time_steps"])
def test_an_lstm_needs_sizes_of_at_least_one(field):
    with pytest.raises(LayerError, match=f"{field}: .*at least 1, not 0"):
        LSTM(**{"name": "l", "input_size": 1, "hidden_size": 1, "time_steps": 1} | {field: 0})
