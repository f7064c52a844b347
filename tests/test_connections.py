"""What the layers of a suite make as a network, and what goes between them forward and back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from layerbench import suite
from layerbench.connections import chains, connection, has_samples_first, sample_shape, samples_first
from layerbench.layers import FC, LSTM, AnyLayer, Conv


def conv(size: int | tuple[int, int], into: int, out: int, *, first: bool = False) -> Conv:
    """A convolution whose output has as many pixels as its input."""
    pair = (size, size) if isinstance(size, int) else size
    return Conv(
        name=f"conv {pair} {into} {out}",
        input=pair,
        in_channels=into,
        out_channels=out,
        filter=(1, 1),
        backward_data_in_step=not first,
    )


def fc(into: int, out: int) -> FC:
    return FC(name=f"fc {into} {out}", in_features=into, out_features=out)


def lstm(into: int, hidden: int, steps: int) -> LSTM:
    return LSTM(name=f"lstm {into} {hidden} {steps}", input_size=into, hidden_size=hidden, time_steps=steps)


def passed_on(layer: AnyLayer, following: AnyLayer, batch: int = 2) -> np.ndarray:
    """Which elements of a layer's output are the next one's input: their indices in the flat output."""
    between = connection(layer, following)
    assert between is not None
    shape = layer.output_shape(batch)
    into = np.full(following.input_shape(batch), -1)
    between.forward(np.arange(np.prod(shape)).reshape(shape), into)
    return into


@pytest.mark.parametrize("name", suite.names())
def test_every_built_in_suite_makes_chains_of_all_its_layers_in_order(name: str) -> None:
    layers = suite.load(name).layers
    found = chains(layers)
    assert [layer for chain in found for layer in chain.layers] == list(layers)
    assert all(len(chain.connections) == len(chain.layers) - 1 for chain in found)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("alexnet", [["conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "fc8"], ["lstm"]]),
        ("alexnet-2012", [["conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "fc8"]]),
    ],
)
def test_alexnet_is_one_network(name: str, expected: list[list[str]]) -> None:
    assert [[layer.name for layer in chain.layers] for chain in chains(suite.load(name).layers)] == expected


def test_of_alexnet_every_second_pixel_stands_for_pooling() -> None:
    layers = {layer.name: layer for layer in suite.load("alexnet").layers}
    for names, size, wanted in [
        (("conv2", "conv3"), 55, range(0, 53, 2)),
        (("conv3", "conv4"), 27, range(0, 25, 2)),
        (("conv5", "fc6"), 13, range(0, 11, 2)),
    ]:
        layer, following = (layers[name] for name in names)
        channels = layer.output_shape(1)[1]
        pixels = np.arange(channels * size * size).reshape(1, channels, size, size)
        expected = pixels[:, :, list(wanted)][:, :, :, list(wanted)]
        np.testing.assert_array_equal(passed_on(layer, following, 1).reshape(expected.shape), expected)
    between = connection(layers["conv1"], layers["conv2"])
    assert between is not None
    assert between.whole


@pytest.mark.parametrize(
    ("layer", "following"),
    [
        (conv(5, 3, 4), conv(5, 4, 2)),
        (conv((5, 3), 3, 4), fc(60, 7)),
        (fc(3, 4), fc(4, 5)),
        (lstm(3, 4, 5), lstm(4, 2, 5)),
        (lstm(3, 4, 1), fc(4, 2)),
    ],
    ids=lambda layer: layer.name,
)
def test_an_output_of_the_right_size_is_passed_on_as_it_is(layer: AnyLayer, following: AnyLayer) -> None:
    between = connection(layer, following)
    assert between is not None
    assert between.whole
    np.testing.assert_array_equal(passed_on(layer, following).reshape(-1), np.arange(np.prod(layer.output_shape(2))))


@pytest.mark.parametrize(
    ("layer", "following", "rows", "columns"),
    [
        (conv(7, 1, 1), conv(3, 1, 1), [0, 3, 6], [0, 3, 6]),
        (conv(7, 1, 1), conv(4, 1, 1), [0, 2, 4, 6], [0, 2, 4, 6]),
        (conv(7, 1, 1), conv(5, 1, 1), [0, 1, 2, 3, 4], [0, 1, 2, 3, 4]),
        (conv((9, 4), 1, 1), conv((3, 4), 1, 1), [0, 4, 8], [0, 1, 2, 3]),
        (conv(6, 1, 1), conv(1, 1, 1), [0], [0]),
        (conv(6, 1, 1), fc(1, 2), [0], [0]),
        (conv(13, 1, 1), fc(36, 2), range(0, 11, 2), range(0, 11, 2)),
        # Of 3 x 4 and 2 x 6, which both fit, the second has the proportions of 3 x 9.
        (conv((3, 9), 1, 1), fc(12, 2), [0, 2], range(0, 6)),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_of_too_many_pixels_evenly_spread_ones_are_passed_on(
    layer: Conv, following: AnyLayer, rows: list[int], columns: list[int]
) -> None:
    pixels = np.arange(2 * layer.output[0] * layer.output[1]).reshape(2, 1, *layer.output)
    expected = pixels[:, :, rows][:, :, :, columns]
    np.testing.assert_array_equal(passed_on(layer, following).reshape(expected.shape), expected)


def test_a_fully_connected_layer_gets_the_last_hidden_state() -> None:
    layer = lstm(3, 4, 5)
    expected = np.arange(5 * 2 * 4).reshape(5, 2, 4)[-1]
    np.testing.assert_array_equal(passed_on(layer, fc(4, 3)), expected)


@pytest.mark.parametrize(
    ("layer", "following"),
    [
        (conv(5, 3, 4), conv(5, 3, 2)),
        (conv(5, 3, 4), conv(6, 4, 2)),
        (conv(5, 3, 4), conv((5, 6), 4, 2)),
        (conv(5, 3, 4), fc(102, 7)),  # no whole channels
        (conv(5, 3, 4), fc(4 * 26, 7)),  # more pixels than there are
        (conv(5, 3, 4), fc(4 * 11, 7)),  # no rectangle of 5 x 5
        (conv(5, 3, 4), lstm(4, 4, 5)),
        (fc(3, 4), fc(5, 5)),
        (fc(3, 4), conv(1, 4, 2)),
        (fc(3, 4), lstm(4, 4, 5)),
        (lstm(3, 4, 5), lstm(3, 4, 5)),
        (lstm(3, 4, 5), lstm(4, 4, 6)),
        (lstm(3, 4, 5), fc(20, 3)),
        (lstm(3, 4, 5), conv(1, 4, 3)),
    ],
    ids=lambda layer: layer.name,
)
def test_what_does_not_fit_begins_a_chain_of_its_own(layer: AnyLayer, following: AnyLayer) -> None:
    assert connection(layer, following) is None
    assert [chain.layers for chain in chains([layer, following])] == [(layer,), (following,)]


def test_the_first_layer_of_a_network_follows_no_other() -> None:
    assert connection(conv(5, 3, 3), conv(5, 3, 3)) is not None
    assert connection(conv(5, 3, 3), conv(5, 3, 3, first=True)) is None


def test_no_layers_make_no_chains() -> None:
    assert chains([]) == ()


@st.composite
def connected(draw: st.DrawFn) -> tuple[AnyLayer, AnyLayer]:
    pair = st.tuples(st.integers(1, 9), st.integers(1, 9))
    there, channels = draw(pair), draw(st.integers(1, 3))
    wanted = (draw(st.integers(1, there[0])), draw(st.integers(1, there[1])))
    steps = draw(st.integers(1, 4))
    return draw(
        st.sampled_from(
            [
                (conv(there, 2, channels), conv(wanted, channels, 2)),
                (conv(there, 2, channels), fc(channels * wanted[0] * wanted[1], 2)),
                (lstm(2, channels, steps), fc(channels, 2)),
                (lstm(2, channels, steps), lstm(channels, 2, steps)),
                (fc(2, channels), fc(channels, 2)),
            ]
        )
    )


@given(layers=connected(), batch=st.integers(1, 3), seed=st.integers(0, 2**32))
def test_gradients_go_back_by_the_exact_adjoint(layers: tuple[AnyLayer, AnyLayer], batch: int, seed: int) -> None:
    layer, following = layers
    between = connection(layer, following)
    assert between is not None
    generator = np.random.default_rng(seed)
    # Whole numbers, whose products add up without rounding.
    x = generator.integers(-9, 10, layer.output_shape(batch)).astype(np.float64)
    y = generator.integers(-9, 10, following.input_shape(batch)).astype(np.float64)
    forward, back = np.full(y.shape, np.nan), np.full(x.shape, np.nan)
    between.forward(x, forward)
    between.backward(y, back)
    assert np.vdot(forward, y) == np.vdot(x, back)
    assert between.whole == (forward.size == x.size)


def test_a_batch_has_samples_first_also_where_the_layer_has_time_steps_first() -> None:
    assert sample_shape(conv((4, 5), 3, 2)) == (3, 4, 5)
    assert sample_shape(fc(7, 2)) == (7,)
    assert sample_shape(lstm(3, 4, 5)) == (5, 3)
    assert has_samples_first(fc(7, 2))
    assert not has_samples_first(lstm(3, 4, 5))
    canonical = np.arange(5 * 2 * 3).reshape(5, 2, 3)
    np.testing.assert_array_equal(samples_first(lstm(3, 4, 5), canonical)[1], canonical[:, 1])
    np.testing.assert_array_equal(samples_first(fc(3, 4), canonical[0]), canonical[0])
